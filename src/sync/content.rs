//! A file as it arrives. Its last bytes are handed out only after the server vouched for the whole: who reads to the end
//! has the file, who gets an error has nothing to use.

use std::io::{self, ErrorKind, Read};

use bstr::BString;

use super::connect::next;
use crate::digest::Blake3;
use crate::fsx::Entry;
use crate::tls::{ClientStream, Deadline};
use crate::wire::{Code, Reply};

/// Reads one file of a fetch.
pub(super) struct Content<'a> {
    stream: &'a mut ClientStream,
    deadline: &'a dyn Fn() -> Deadline,
    id: u32,
    left: u64,
    /// What the manifest said it is.
    wanted: Option<[u8; 32]>,
    hasher: Blake3,
    piece: Vec<u8>,
    used: usize,
    end: Option<End>,
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
    pub fn new(stream: &'a mut ClientStream, deadline: &'a dyn Fn() -> Deadline, id: u32, entry: &Entry) -> Self {
        Content {
            stream,
            deadline,
            id,
            left: entry.size,
            wanted: entry.digest,
            hasher: Blake3::new(),
            piece: Vec::new(),
            used: 0,
            end: None,
        }
    }

    /// Reads away what the caller left, so that the next file can come. An error is one of the connection.
    pub fn finish(mut self) -> io::Result<End> {
        loop {
            if let Some(end) = self.end.take() {
                return Ok(end);
            }
            self.advance()?;
        }
    }

    /// An empty file has no last piece: it is vouched for before it is handed out.
    pub fn vouch_if_empty(&mut self) -> io::Result<()> {
        while self.left == 0 && self.end.is_none() {
            self.advance()?;
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

    fn advance(&mut self) -> io::Result<()> {
        let broken = |why: &str| Err(io::Error::new(ErrorKind::InvalidData, why.to_string()));
        self.stream.arm((self.deadline)())?;
        let (id, reply) = next(self.stream)?;
        if id != self.id {
            return broken("a reply to another request");
        }
        match reply {
            Reply::Data(bytes) if !bytes.is_empty() && bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                self.hasher.update(&bytes);
                self.piece = bytes;
                self.used = 0;
            }
            Reply::Data(_) => return broken("content that was not announced"),
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
        while self.used == self.piece.len() {
            match &self.end {
                Some(End::Whole) => return Ok(0),
                Some(End::Error(_, text)) => return Err(io::Error::other(crate::log::clean(&text.to_string()))),
                None => self.advance()?,
            }
        }
        if self.left == 0 && self.end.is_none() {
            // `piece` is the last one: keep it until the file is vouched for.
            let (piece, used) = (std::mem::take(&mut self.piece), self.used);
            self.used = 0;
            self.advance()?;
            if self.piece.is_empty() {
                (self.piece, self.used) = (piece, used);
            }
        }
        if let Some(End::Error(_, text)) = &self.end {
            return Err(io::Error::other(crate::log::clean(&text.to_string())));
        }
        let rest = self.piece.get(self.used..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.used += count;
        Ok(count)
    }
}
