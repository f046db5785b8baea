//! One host's command over a connection that is kept: no process on this side, a socket instead.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use crate::remote::Kept;
use crate::remote::keep::lives;
use crate::remote::mux::{Message, Reader, VERSION};
use crate::sys::pass::{connect_now, send_fd};

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command has ended with this status.
    Exited(u8),
    /// The command was not begun: no more sessions, no answer in time, or not understood.
    Refused,
    /// The connection broke while the command ran.
    Lost,
    /// Given up by this side.
    Left,
}

/// A session, from the request on.
pub(super) struct Session {
    path: PathBuf,
    socket: UnixStream,
    reader: Reader,
    held: Option<OwnedFd>,
    /// Until when it must be open.
    by: Instant,
    opened: bool,
    status: Option<u32>,
    end: Option<End>,
}

impl Session {
    /// Asks for a session with these three descriptors, which the owner of the connection gets copies of; `held` is
    /// kept open as long as the command may run. Nothing has been begun when this fails.
    pub fn start(kept: &Kept, standard: [BorrowedFd<'_>; 3], held: Option<OwnedFd>) -> io::Result<Self> {
        let mut socket = connect_now(&kept.socket)?;
        if socket.write(&kept.request)? != kept.request.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for fd in standard {
            send_fd(&socket, fd)?;
        }
        Ok(Session {
            path: kept.socket.clone(),
            socket,
            reader: Reader::default(),
            held,
            by: Instant::now() + kept.patience,
            opened: false,
            status: None,
            end: None,
        })
    }

    /// What to wait for; none after the end.
    pub fn open(&self) -> Option<BorrowedFd<'_>> {
        self.end.is_none().then(|| self.socket.as_fd())
    }

    /// How it ended, if it did.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Until when it must be open, as long as it is not.
    pub fn due(&self) -> Option<Instant> {
        (!self.opened && self.end.is_none()).then_some(self.by)
    }

    /// Reads what the owner of the connection has to say.
    pub fn read(&mut self, buffer: &mut [u8]) {
        while self.end.is_none() {
            match self.socket.read(buffer) {
                Ok(count @ 1..) => {
                    self.reader.feed(&buffer[..count]);
                    self.take();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.close(),
            }
        }
    }

    fn take(&mut self) {
        loop {
            match self.reader.message() {
                Ok(None) => return,
                Ok(Some(Message::Hello(VERSION))) => {}
                Ok(Some(Message::Opened(..))) => self.opened = true,
                Ok(Some(Message::Exit(_, status))) => self.status = Some(status),
                Ok(Some(Message::Hello(_) | Message::Refused(..))) | Err(_) => {
                    // After it was open, what cannot be understood is a broken connection.
                    return self.finish(if self.opened { End::Lost } else { End::Refused });
                }
                Ok(Some(_)) => {}
            }
        }
    }

    /// The other side has closed: all output is in the pipes.
    fn close(&mut self) {
        let end = match self.status {
            Some(status) => End::Exited(u8::try_from(status).unwrap_or(255)),
            None if !self.opened => End::Refused,
            // A command that a signal ended has no status, and ssh itself exits with 255 then.
            None if lives(&self.path) => End::Exited(255),
            None => End::Lost,
        };
        self.finish(end);
    }

    /// Gives up an owner that does not answer. It is stuck, or its connection is dead: nobody shall ask it again.
    pub fn late(&mut self, buffer: &mut [u8]) {
        self.read(buffer);
        if self.due().is_some() {
            let _ = std::fs::remove_file(&self.path);
            self.finish(End::Refused);
        }
    }

    /// Leaves the session. Its owner sees that and closes it; on the other side, standard input ends.
    pub fn leave(&mut self) {
        if self.end.is_none() {
            self.finish(End::Left);
        }
    }

    fn finish(&mut self, end: End) {
        self.end = Some(end);
        self.held = None;
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}
