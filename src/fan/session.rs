//! One host's command over a connection that is kept: no process on this side, a socket instead.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::remote::Kept;
use crate::remote::mux::{self, Message, Reader, VERSION};
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

/// How far a session has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Asked for.
    Asked,
    /// The command runs.
    Open,
    /// Closed without a status; the owner of the connection is asked whether it still lives.
    Doubted,
}

/// A session, from the request on.
pub(super) struct Session {
    path: PathBuf,
    socket: UnixStream,
    reader: Reader,
    held: Option<OwnedFd>,
    stage: Stage,
    /// How long the owner of the connection may take for an answer, and until when one is due.
    patience: Duration,
    by: Instant,
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
            stage: Stage::Asked,
            patience: kept.patience,
            by: Instant::now() + kept.patience,
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

    /// Until when an answer must be there, as long as one is waited for.
    pub fn due(&self) -> Option<Instant> {
        (self.stage != Stage::Open && self.end.is_none()).then_some(self.by)
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
            match (self.reader.message(), self.stage) {
                (Ok(None), _) => return,
                (Ok(Some(Message::Hello(VERSION))), _) => {}
                (Ok(Some(Message::Opened(..))), Stage::Asked) => self.stage = Stage::Open,
                (Ok(Some(Message::Exit(_, status))), _) => self.status = Some(status),
                // A command that a signal ended has no status, and ssh itself exits with 255 then.
                (Ok(Some(Message::Alive(..))), Stage::Doubted) => return self.finish(End::Exited(255)),
                (Ok(Some(Message::Hello(_) | Message::Refused(..))) | Err(_), stage) => {
                    // After it was open, what cannot be understood is a broken connection.
                    return self.finish(match stage {
                        Stage::Asked => End::Refused,
                        Stage::Open | Stage::Doubted => End::Lost,
                    });
                }
                (Ok(Some(_)), _) => {}
            }
        }
    }

    /// The other side has closed: all output is in the pipes.
    fn close(&mut self) {
        match (self.status, self.stage) {
            (Some(status), _) => self.finish(End::Exited(u8::try_from(status).unwrap_or(255))),
            (None, Stage::Asked) => self.finish(End::Refused),
            (None, Stage::Doubted) => self.finish(End::Lost),
            (None, Stage::Open) if self.doubt().is_err() => self.finish(End::Lost),
            (None, Stage::Open) => {}
        }
    }

    /// Asks the owner of the connection whether it lives. That its socket takes us in says nothing: the sockets of a
    /// process that is being killed close one after the other.
    fn doubt(&mut self) -> io::Result<()> {
        let mut socket = connect_now(&self.path)?;
        let request = [mux::hello(), mux::alive(1)].concat();
        if socket.write(&request)? != request.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.socket = socket;
        self.reader = Reader::default();
        self.held = None;
        self.stage = Stage::Doubted;
        self.by = Instant::now() + self.patience;
        Ok(())
    }

    /// Gives up an owner that does not answer. It is stuck, or its connection is dead: nobody shall ask it again.
    pub fn late(&mut self, buffer: &mut [u8]) {
        self.read(buffer);
        if self.due().is_some() {
            let _ = std::fs::remove_file(&self.path);
            self.finish(match self.stage {
                Stage::Asked => End::Refused,
                Stage::Open | Stage::Doubted => End::Lost,
            });
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
