//! A server as a source of trees, and its agent as something to start.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::connect::{Dial, Greeted};
use super::content::{Content, End};
use super::link::Link;
use super::manifest::{Listing, Manifest};
use super::shelf::{self, Shelf};
use crate::fsx::{Deliver, Entry, Olds, Select, Source, SourceError};
use crate::tls::Deadline;
use crate::wire::{self, Policy, Ran, Reply, Request, WANT_SIZE, WANT_WINDOW, Want};

/// A server we are connected to.
pub struct Remote {
    pub(super) dial: Dial,
    pub(super) stream: Option<Link>,
    features: u32,
    id: u32,
    unread: Vec<(BString, String)>,
    notes: Vec<String>,
    shelf: Option<Box<dyn Shelf>>,
    ran: Option<Ran>,
}

impl Remote {
    pub(super) fn open(dial: Dial, tcp: TcpStream) -> Result<Self, SourceError> {
        let greeted = dial.greet(tcp)?;
        Ok(Remote {
            dial,
            stream: Some(greeted.stream),
            features: greeted.features,
            id: 0,
            unread: Vec::new(),
            notes: greeted.notes,
            shelf: None,
            ran: None,
        })
    }

    /// Where manifests are remembered from now on.
    pub fn set_shelf(&mut self, shelf: Option<Box<dyn Shelf>>) {
        self.shelf = shelf;
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.dial.address
    }

    /// What a person may want to know, once: a key that was accepted on trust.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// As [`Source::manifest`]; a tree that is still what `known` stands for costs one short exchange.
    pub fn list(&mut self, root: &Path, select: &Select, known: Option<[u8; 32]>) -> Result<Listing, SourceError> {
        let id = self.ask(root, select, known)?;
        self.hear(id, known.is_some()).map(|(listing, _)| listing)
    }

    /// Asks for a manifest; gives the number of the request, which is on its way.
    fn ask(&mut self, root: &Path, select: &Select, known: Option<[u8; 32]>) -> Result<u32, SourceError> {
        self.unread.clear();
        let id = self.send(Request::Manifest {
            root: root.as_os_str().as_bytes().into(),
            known,
            select: select.clone(),
        })?;
        let flushed = self.stream()?.out().flush();
        flushed.map_err(|error| {
            self.stream = None;
            self.dial.lost(error)
        })?;
        Ok(id)
    }

    /// The manifest that was asked for, and its entries as they are encoded.
    fn hear(&mut self, id: u32, known: bool) -> Result<(Listing, Vec<u8>), SourceError> {
        let mut manifest = Manifest::new(known);
        loop {
            let reply = self.reply(id)?;
            if let Reply::Error { code, text } = reply {
                return Err(self.dial.said(code, &text));
            }
            match manifest.take(reply) {
                Ok(None) => {}
                Ok(Some(listing)) => {
                    self.unread = manifest.unread;
                    return Ok((listing, manifest.body));
                }
                Err(what) => return Err(self.broken(what)),
            }
        }
    }

    /// Starts the agent of the server with these options, if one of the classes is defined there (always without any).
    /// Each line of output goes to `line` as it comes. Gives the exit status.
    pub fn exec(
        &mut self,
        args: &[BString],
        classes: &[BString],
        line: &mut dyn FnMut(&BStr),
    ) -> Result<i32, SourceError> {
        let id = self.send(Request::Exec {
            args: args.to_vec(),
            classes: classes.to_vec(),
        })?;
        self.ran = None;
        loop {
            match self.reply(id)? {
                Reply::Line(text) => line(text.as_bstr()),
                Reply::Ran(ran) => self.ran = Some(ran),
                Reply::Alive => {}
                Reply::Exit { status } => return Ok(status),
                Reply::Error { code, text } => return Err(self.dial.said(code, &text)),
                _ => return Err(self.broken("a reply that does not belong to a command")),
            }
        }
    }

    /// What the agent did that was started last, where it is known.
    pub fn take_ran(&mut self) -> Option<Ran> {
        self.ran.take()
    }

    /// Tells the server which policy runs here from now on. What cannot be told now is told the next time.
    pub fn tell_policy(&mut self, policy: Policy) {
        self.dial.options.policy = Some(policy.clone());
        if let (Some(stream), true) = (&mut self.stream, self.features & wire::FLEET != 0)
            && Request::Policy(policy).encode(0, stream.buffer()).is_ok()
        {
            let _ = stream.out().flush();
        }
    }

    /// The connection, made anew when the server let go of it while nothing was under way.
    pub(super) fn stream(&mut self) -> Result<&mut Link, SourceError> {
        if self.stream.as_ref().is_some_and(Link::stale) {
            self.stream = None;
        }
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let Greeted {
                    stream,
                    notes,
                    features,
                } = self.dial.greet(self.dial.tcp()?)?;
                self.notes.extend(notes);
                self.features = features;
                stream
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// Whether the server knows about chunks.
    pub(super) fn cuts(&self) -> bool {
        self.features & wire::CHUNKS != 0
    }

    pub(super) fn send(&mut self, request: Request) -> Result<u32, SourceError> {
        self.id = self.id.wrapping_add(1).max(1);
        let id = self.id;
        request
            .encode(id, self.stream()?.buffer())
            .map_err(|e| SourceError::Protocol(e.to_string()))?;
        Ok(id)
    }

    /// The next reply to a request. After an error of the connection it is not used again.
    pub(super) fn reply(&mut self, id: u32) -> Result<Reply, SourceError> {
        let deadline = self.dial.deadline();
        let Some(stream) = &mut self.stream else {
            return Err(self.dial.lost(ErrorKind::UnexpectedEof.into()));
        };
        let read = stream.arm(deadline).and_then(|()| stream.next());
        match read {
            Ok((got, reply)) if got == id => Ok(reply),
            // The connection is over, and this is why.
            Ok((0, Reply::Error { code, text })) => {
                self.stream = None;
                Err(self.dial.said(code, &text))
            }
            Ok(_) => Err(self.broken("a reply to another request")),
            Err(error) => {
                self.stream = None;
                Err(self.dial.lost(error))
            }
        }
    }

    pub(super) fn broken(&mut self, what: &str) -> SourceError {
        self.stream = None;
        SourceError::Protocol(format!("{} sent {what}", self.dial.server))
    }

    /// Sends one more list of wanted files, as many as fit well; gives how many.
    fn want(&mut self, id: u32, wanted: &[&Entry]) -> Result<usize, SourceError> {
        let mut files = Vec::new();
        let mut size = 0;
        for entry in wanted {
            let want = want_of(entry);
            size += want.encoded_len();
            if size > WANT_SIZE && !files.is_empty() {
                break;
            }
            files.push(want);
        }
        let count = files.len();
        let request = Request::Want {
            last: count == wanted.len(),
            files,
        };
        let Some(stream) = &mut self.stream else {
            return Err(self.dial.lost(ErrorKind::UnexpectedEof.into()));
        };
        request
            .encode(id, stream.buffer())
            .map_err(|e| SourceError::Protocol(e.to_string()))?;
        Ok(count)
    }

    /// One file: hands it over, and sees to it that the next reply is the next file's.
    fn one(&mut self, id: u32, entry: &Entry, deliver: &mut Deliver<'_>) -> Result<(), SourceError> {
        let size = match self.reply(id)? {
            Reply::File { size } => size,
            Reply::FileError { code, text } => {
                let error = self.dial.said(code, &text);
                return self.given(deliver(entry, Err(error)));
            }
            Reply::Error { code, text } => {
                self.stream = None;
                return Err(self.dial.said(code, &text));
            }
            _ => return Err(self.broken("a reply that does not belong into a fetch")),
        };
        if size != entry.size {
            return Err(self.broken("a file of another size"));
        }
        let Some(mut stream) = self.stream.take() else {
            return Err(self.dial.lost(ErrorKind::UnexpectedEof.into()));
        };
        let deadline = || -> Deadline { self.dial.deadline() };
        let mut content = Content::new(&mut stream, &deadline, id, entry);
        if let Err(error) = content.vouch_if_empty() {
            return Err(self.dial.lost(error));
        }
        let given = match content.refused() {
            Some((code, text)) => deliver(entry, Err(self.dial.said(code, text))),
            None => deliver(entry, Ok(&mut content)),
        };
        // The caller's own failure ends the stream; the connection still has the rest of it and is of no more use.
        given?;
        match content.finish() {
            Ok(End::Whole | End::Error(..)) => {
                self.stream = Some(stream);
                Ok(())
            }
            Err(error) => Err(self.dial.lost(error)),
        }
    }

    pub(super) fn given(&mut self, result: io::Result<()>) -> Result<(), SourceError> {
        result.map_err(|error| {
            self.stream = None;
            SourceError::Io(error)
        })
    }
}

/// A file as its manifest says it is.
pub(super) fn want_of(entry: &Entry) -> Want {
    Want {
        path: entry.path.clone(),
        size: entry.size,
        mtime: entry.mtime,
        digest: entry.digest,
    }
}

/// Says good-bye.
impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.close();
        }
    }
}

impl Source for Remote {
    fn name(&self) -> &str {
        &self.dial.server
    }

    fn manifest(&mut self, root: &Path, select: &Select) -> Result<Vec<Entry>, SourceError> {
        self.manifest_while(root, select, &mut |_| ())
    }

    fn manifest_while(
        &mut self,
        root: &Path,
        select: &Select,
        meanwhile: &mut dyn FnMut(&[Entry]),
    ) -> Result<Vec<Entry>, SourceError> {
        let name = shelf::name(&self.dial.server, self.dial.address.port(), root, select);
        let kept = self.shelf.as_ref().and_then(|shelf| shelf.find(&name));
        let id = self.ask(root, select, kept.as_ref().map(|(_, digest)| *digest))?;
        let known = kept.is_some();
        // While the server looks, what it will most likely say is read.
        let entries = kept.and_then(|(body, _)| wire::take_entries(&body).ok());
        if let Some(entries) = &entries {
            meanwhile(entries);
        }
        let heard = match (self.hear(id, known)?, entries) {
            ((Listing::Unchanged, _), Some(entries)) => return Ok(entries),
            // What is kept cannot be read.
            ((Listing::Unchanged, _), None) => {
                let id = self.ask(root, select, None)?;
                self.hear(id, false)?
            }
            (heard, _) => heard,
        };
        match heard {
            (Listing::Unchanged, _) => Err(self.broken("an answer that was not asked for")),
            (Listing::Entries(entries, digest), body) => {
                // What could not be read there is looked at again in full, and a short list is as fast as the question.
                if let Some(shelf) = &self.shelf
                    && self.unread.is_empty()
                    && entries.len() >= shelf::LEAST
                {
                    shelf.keep(&name, &body, &digest);
                }
                Ok(entries)
            }
        }
    }

    fn vouches(&self) -> bool {
        true
    }

    fn unread(&self) -> &[(BString, String)] {
        &self.unread
    }

    fn fetch(&mut self, root: &Path, wanted: &[&Entry], deliver: &mut Deliver<'_>) -> Result<(), SourceError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let id = self.send(Request::Fetch {
            root: root.as_os_str().as_bytes().into(),
        })?;
        // Lists are sent a few ahead of the files: the server always has something to do, and neither side's lists
        // outgrow what the sockets hold.
        let mut asked = 0;
        let mut lists = std::collections::VecDeque::new();
        for (i, entry) in wanted.iter().enumerate() {
            while asked < wanted.len() && lists.len() < WANT_WINDOW {
                asked += self.want(id, wanted.get(asked..).unwrap_or_default())?;
                lists.push_back(asked);
            }
            self.one(id, entry, deliver)?;
            if lists.front() == Some(&(i + 1)) {
                lists.pop_front();
            }
        }
        match self.reply(id)? {
            Reply::FetchEnd => Ok(()),
            Reply::Error { code, text } => Err(self.dial.said(code, &text)),
            _ => Err(self.broken("a reply that does not belong into a fetch")),
        }
    }

    fn fetch_over(
        &mut self,
        root: &Path,
        wanted: &[&Entry],
        olds: &mut Olds<'_>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), SourceError> {
        self.fetch_with(root, wanted, olds, deliver)
    }
}
