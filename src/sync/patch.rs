//! A large file of which something is here already: its chunks are asked for, then what is nowhere here.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;

use bstr::BString;

use super::Remote;
use super::assembly::{Afar, Assembly, Plan, chunks_of};
use super::remote::want_of;
use crate::digest::{Blake3, Chunk, MOST_CHUNKS, MOST_SIZE};
use crate::fsx::{Again, Deliver, Entry, LARGE, Olds, Source, SourceError};
use crate::wire::{Range, Reply, Request, Want};

impl Remote {
    /// Content of files, of some of which something is here.
    pub(super) fn fetch_with(
        &mut self,
        root: &Path,
        wanted: &[&Entry],
        olds: &mut Olds<'_>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), SourceError> {
        let mut begin = 0;
        while begin < wanted.len() {
            // Everything up to the next file of which something is here comes in one stream.
            let rest = wanted.iter().enumerate().skip(begin);
            let next = rest.filter(|(_, entry)| self.cuts() && (LARGE..=MOST_SIZE).contains(&entry.size));
            let found = next.map(|(at, _)| (at, olds(at))).find(|(_, files)| !files.is_empty());
            let (end, files) = found.unwrap_or((wanted.len(), Vec::new()));
            self.fetch(root, wanted.get(begin..end).unwrap_or_default(), deliver)?;
            begin = end;
            if let Some(&entry) = wanted.get(end) {
                if !self.patch(root, entry, &files, deliver)? {
                    self.fetch(root, &[entry], deliver)?;
                }
                begin += 1;
            }
        }
        Ok(())
    }

    /// Hands over a file that is made of old ones as far as that goes. False: it has to come whole; it was not handed over,
    /// or its reader ended in [`Again`].
    fn patch(
        &mut self,
        root: &Path,
        entry: &Entry,
        olds: &[File],
        deliver: &mut Deliver<'_>,
    ) -> Result<bool, SourceError> {
        // The connection may have to be made anew, to another version perhaps.
        self.stream()?;
        if !self.cuts() {
            return Ok(false);
        }
        let root = BString::from(root.as_os_str().as_bytes());
        // Why it cannot be given is asked for, and told, as of any other file.
        let Some(first) = olds.first() else {
            return Ok(false);
        };
        // Both ends cut at the same time.
        let (found, asked) = thread::scope(|scope| {
            let looking = scope.spawn(|| chunks_of(first, entry.size));
            let asked = self.chunks(&root, entry);
            (looking.join().unwrap_or_default(), asked)
        });
        let Some((chunks, digest)) = asked? else {
            return Ok(false);
        };
        let Some(plan) = Plan::knowing(entry.size, chunks, &found, olds) else {
            return Err(self.broken("chunks that do not make the file"));
        };
        if plan.here() == 0 {
            return Ok(false);
        }
        let want = want_of(entry);
        let parts = Parts {
            remote: self,
            root: &root,
            want,
            id: 0,
            left: 0,
            hasher: Blake3::new(),
            fault: None,
        };
        let mut assembly = Watched {
            inner: Assembly::new(plan, olds, digest, parts),
            again: false,
        };
        let given = deliver(entry, Ok(&mut assembly));
        let Watched { inner, again } = assembly;
        let due = inner.afar.left > 0;
        let fault = inner.afar.fault;
        if due && let Some(stream) = self.stream.take() {
            // The rest of it is of no use to anybody.
            stream.close();
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.given(given)?;
        Ok(!again)
    }

    /// The chunks of a file and the digest of the whole. `None` where the server does not give them.
    fn chunks(&mut self, root: &BString, entry: &Entry) -> Result<Option<(Vec<Chunk>, [u8; 32])>, SourceError> {
        let id = self.send(Request::Cut {
            root: root.clone(),
            file: want_of(entry),
        })?;
        let (mut chunks, mut sum) = (Vec::new(), 0);
        loop {
            match self.reply(id)? {
                Reply::Alive => {}
                Reply::Chunks(more) => {
                    sum += more.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
                    if sum > entry.size || chunks.len() + more.len() > MOST_CHUNKS {
                        return Err(self.broken("chunks that do not end"));
                    }
                    chunks.extend(more);
                }
                Reply::FileEnd { digest } if entry.digest.is_some_and(|wanted| wanted != digest) => {
                    return Err(self.broken("chunks of another file"));
                }
                Reply::FileEnd { digest } => return Ok(Some((chunks, digest))),
                Reply::FileError { .. } | Reply::Error { .. } => return Ok(None),
                _ => return Err(self.broken("a reply that does not belong among chunks")),
            }
        }
    }
}

/// Parts of a file, from a server.
struct Parts<'a> {
    remote: &'a mut Remote,
    root: &'a BString,
    want: Want,
    /// The request that is being answered.
    id: u32,
    left: u64,
    hasher: Blake3,
    /// The connection is of no more use, and why.
    fault: Option<SourceError>,
}

impl Parts<'_> {
    fn result<T>(&mut self, result: Result<T, SourceError>) -> io::Result<T> {
        result.map_err(|error| {
            let said = io::Error::other(error.to_string());
            self.left = 0;
            self.fault = Some(error);
            said
        })
    }

    fn broken(&mut self, what: &str) -> io::Error {
        let error = self.remote.broken(what);
        let said = io::Error::new(ErrorKind::InvalidData, error.to_string());
        self.left = 0;
        self.fault = Some(error);
        said
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let reply = self.remote.reply(self.id);
        self.result(reply)
    }

    /// The server does not give it, or takes it back; the connection goes on.
    fn refused(&mut self, text: &BString) -> io::Error {
        self.left = 0;
        io::Error::other(crate::log::clean(&text.to_string()))
    }
}

impl Afar for Parts<'_> {
    fn ask(&mut self, ranges: &[Range]) -> io::Result<()> {
        let size = ranges.iter().map(|range| range.len).sum::<u64>();
        let sent = self.remote.send(Request::Ranges {
            root: self.root.clone(),
            file: self.want.clone(),
            ranges: ranges.to_vec(),
        });
        self.id = self.result(sent)?;
        match self.reply()? {
            Reply::File { size: said } if said == size => {
                self.left = size;
                self.hasher = Blake3::new();
                Ok(())
            }
            Reply::FileError { text, .. } | Reply::Error { text, .. } => Err(self.refused(&text)),
            _ => Err(self.broken("a reply that does not belong to parts of a file")),
        }
    }

    fn next(&mut self) -> io::Result<Vec<u8>> {
        let piece = match self.reply()? {
            Reply::Data(piece) if !piece.is_empty() && piece.len() as u64 <= self.left => piece,
            Reply::FileError { text, .. } => return Err(self.refused(&text)),
            _ => return Err(self.broken("parts of a file that were not asked for")),
        };
        self.left -= piece.len() as u64;
        self.hasher.update(&piece);
        if self.left == 0 {
            match self.reply()? {
                Reply::FileEnd { digest } if digest == self.hasher.finish() => {}
                Reply::FileError { text, .. } => return Err(self.refused(&text)),
                _ => return Err(self.broken("parts of a file that do not agree with their digest")),
            }
        }
        Ok(piece)
    }
}

/// Sees whether a reader ended in [`Again`].
struct Watched<R> {
    inner: R,
    again: bool,
}

impl<R: io::Read> io::Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner
            .read(buffer)
            .inspect_err(|error| self.again |= Again::is(error))
    }
}
