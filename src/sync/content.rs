//! A file as it arrives. Its last bytes are handed out only after the server vouched for the whole: who reads to the end
//! has the file, who gets an error has nothing to use.

use std::io::{self, ErrorKind, Read};

use bstr::BString;

use super::link::Link;
use crate::digest::Blake3;
use crate::fsx::Entry;
use crate::tls::Deadline;
use crate::wire::{self, Code, Reply};

/// Reads one file of a fetch.
pub(super) struct Content<'a> {
    stream: &'a mut Link,
    deadline: &'a dyn Fn() -> Deadline,
    id: u32,
    left: u64,
    /// Bytes of the frame that has come.
    here: usize,
    /// What the manifest said it is.
    wanted: Option<[u8; 32]>,
    hasher: Blake3,
    end: Option<End>,
    /// Nothing more can be read.
    lost: Option<ErrorKind>,
}

/// How a file ended.
pub(super) enum End {
    /// Whole, and the digest agrees.
    Whole,
    /// The server took it back.
    Error(Code, BString),
}

impl<'a> Content<'a> {
    /// The file whose header was just read.
    pub fn new(stream: &'a mut Link, deadline: &'a dyn Fn() -> Deadline, id: u32, entry: &Entry) -> Self {
        Content {
            stream,
            deadline,
            id,
            left: entry.size,
            here: 0,
            wanted: entry.digest,
            hasher: Blake3::new(),
            end: None,
            lost: None,
        }
    }

    /// Reads away what the caller left, so that the next file can come. An error is one of the connection.
    pub fn finish(mut self) -> io::Result<End> {
        let mut sink = Vec::new();
        loop {
            if let Some(end) = self.end.take() {
                return Ok(end);
            }
            if let Some(kind) = self.lost {
                return Err(kind.into());
            }
            if self.here > 0 {
                sink.resize(wire::MAX_DATA, 0);
                self.content(&mut sink)?;
            } else {
                self.frame()?;
            }
        }
    }

    /// An empty file has no last piece: it is vouched for before it is handed out.
    pub fn vouch_if_empty(&mut self) -> io::Result<()> {
        while self.left == 0 && self.end.is_none() {
            self.frame()?;
        }
        Ok(())
    }

    /// Why the server took the file back.
    pub fn refused(&self) -> Option<(Code, &BString)> {
        match &self.end {
            Some(End::Error(code, text)) => Some((*code, text)),
            _ => None,
        }
    }

    /// Content of the frame that has come, as much as there is room for; some.
    fn content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.here.min(buffer.len());
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        let read = self.stream.read_exact(buffer);
        read.inspect_err(|error| self.lost = Some(error.kind()))?;
        self.hasher.update(buffer);
        self.here -= count;
        self.left -= count as u64;
        Ok(count)
    }

    /// The next frame; of content only its header.
    fn frame(&mut self) -> io::Result<()> {
        let result = self.next();
        result.inspect_err(|error| self.lost = Some(error.kind()))
    }

    fn next(&mut self) -> io::Result<()> {
        let broken = |why: &str| Err(io::Error::new(ErrorKind::InvalidData, why.to_string()));
        self.stream.arm((self.deadline)())?;
        let header = self.stream.header()?;
        if header.id != self.id {
            return broken("a reply to another request");
        }
        if header.is_data() {
            if header.len == 0 || header.len > wire::MAX_DATA || header.len as u64 > self.left {
                return broken("content that was not announced");
            }
            self.here = header.len;
            return Ok(());
        }
        match self.stream.reply(header)? {
            Reply::FileEnd { .. } if self.left > 0 => return broken("less content than was announced"),
            Reply::FileEnd { digest } if self.wanted.is_some_and(|wanted| wanted != digest) => {
                return broken("other content than its manifest says");
            }
            Reply::FileEnd { digest } if digest == self.hasher.finish() => self.end = Some(End::Whole),
            Reply::FileEnd { .. } => return broken("content that does not agree with its digest"),
            Reply::FileError { code, text } => self.end = Some(End::Error(code, text)),
            _ => return broken("a reply that does not belong into a file"),
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &self.end {
                Some(End::Whole) => return Ok(0),
                Some(End::Error(_, text)) => return Err(io::Error::other(crate::log::clean(&text.to_string()))),
                None => {}
            }
            if let Some(kind) = self.lost {
                return Err(kind.into());
            }
            if self.here == 0 {
                self.frame()?;
                continue;
            }
            let count = self.content(buffer)?;
            // The last bytes are in the buffer, but they are not given before the file is vouched for.
            self.vouch_if_empty()?;
            if self.refused().is_none() {
                return Ok(count);
            }
        }
    }
}
