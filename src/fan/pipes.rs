//! The two ends of a host's streams on this side: what is read from it, and what it is given.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::Input;
use super::lines::Lines;
use super::talk::{self, Piece, Reply, Talk};
use crate::remote::mark::Sieve;

/// An output of a host, read without waiting.
pub(super) struct Pipe {
    pub file: File,
    pub lines: Lines,
    sieve: Sieve,
}

impl Pipe {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Pipe {
            file: File::from(fd),
            lines: Lines::default(),
            sieve: Sieve::default(),
        })
    }

    /// Takes what was read and gives the lines that it completes. Where the mark of a command that has ended stands in it:
    /// the status, and the last line.
    pub fn take(&mut self, bytes: &[u8], mark: Option<&[u8]>, line: &mut dyn FnMut(&[u8])) -> Option<u8> {
        let Some(mark) = mark else {
            self.lines.feed(bytes, line);
            return None;
        };
        let lines = &mut self.lines;
        let status = self.sieve.sift(mark, bytes, &mut |bytes| lines.feed(bytes, line))?;
        self.end(line);
        Some(status)
    }

    /// Nothing more will come: gives what is left, a line without its newline.
    pub fn end(&mut self, line: &mut dyn FnMut(&[u8])) {
        self.lines.feed(&self.sieve.rest(), line);
        self.lines.end(line);
    }
}

/// What a process is given to read, a piece at a time; the pipe stays open when all is written, unless it is said that
/// nothing follows.
pub(super) struct Feed {
    file: File,
    reply: Reply,
}

impl Feed {
    /// Feeds all of a spool, or what a conversation has to say.
    pub fn new(fd: OwnedFd, input: &Input, talk: Option<&mut Box<dyn Talk>>) -> io::Result<Self> {
        let (file, mut reply) = (Pipe::new(fd)?.file, Reply::default());
        if let Input::Fed(spool) = input {
            reply.say(Piece::Part(Arc::clone(spool), 0, spool.size()?));
        }
        if let Some(talk) = talk {
            talk::widen(&file);
            talk.start(&mut reply);
        }
        Ok(Feed { file, reply })
    }

    /// Whether it has not been taken whole yet.
    pub fn hungry(&self) -> bool {
        self.reply.waiting()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes as much as there is room for. False: all is said, it reads no more, or there is nothing to give it; it
    /// shall see the end then, so that it does not wait for the rest.
    pub fn more(&mut self, buffer: &mut [u8]) -> bool {
        match self.reply.write(&mut self.file, buffer) {
            Ok(()) => !self.reply.over(),
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Hands what came to the conversation, and gives the lines that are not part of it.
    pub fn hear(feed: &mut Option<Feed>, talk: &mut dyn Talk, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut nowhere = Reply::default();
        let reply = feed.as_mut().map_or(&mut nowhere, |feed| &mut feed.reply);
        talk.hear(bytes, reply);
        let shown = reply.shown();
        if reply.over() {
            *feed = None;
        }
        shown
    }
}
