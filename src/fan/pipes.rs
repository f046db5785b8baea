//! The two ends of a host's streams on this side: what is read from it, and what it is given.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::Spool;
use super::lines::Lines;

/// An output of a host, read without waiting.
pub(super) struct Pipe {
    pub file: File,
    pub lines: Lines,
}

impl Pipe {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Pipe {
            file: File::from(fd),
            lines: Lines::default(),
        })
    }
}

/// What a process is given to read, a piece at a time; the pipe stays open when all is written.
pub(super) struct Feed {
    file: File,
    spool: Arc<Spool>,
    at: u64,
    left: u64,
}

impl Feed {
    pub fn new(fd: OwnedFd, spool: &Arc<Spool>) -> io::Result<Self> {
        Ok(Feed {
            file: Pipe::new(fd)?.file,
            left: spool.size()?,
            spool: Arc::clone(spool),
            at: 0,
        })
    }

    /// Whether it has not been taken whole yet.
    pub fn hungry(&self) -> bool {
        self.left > 0
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes as much as there is room for. False: it reads no more, or there is nothing to give it; it shall see the
    /// end then, so that it does not wait for the rest.
    pub fn more(&mut self, buffer: &mut [u8]) -> bool {
        let size = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..size];
        match self.spool.read_at(piece, self.at).and_then(|()| self.file.write(piece)) {
            Ok(count @ 1..) => {
                self.at += count as u64;
                self.left -= count as u64;
                true
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            Ok(_) => false,
        }
    }
}
