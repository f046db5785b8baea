//! What comes from a server over a connection: frames, and those that come packed as if they did not.

use std::io::{self, ErrorKind, Read, Write};

use crate::tls::{ClientStream, Deadline};
use crate::wire::{self, Header, Reply};

/// A connection to a server.
pub(super) struct Link {
    stream: ClientStream,
    /// The server may pack what it says.
    packed: bool,
    /// Whole frames that came packed, and how much of them was read.
    frames: Vec<u8>,
    read: usize,
}

impl Link {
    /// A connection on which nothing comes packed.
    pub fn new(stream: ClientStream) -> Self {
        Link {
            stream,
            packed: false,
            frames: Vec::new(),
            read: 0,
        }
    }

    /// From now on the server may pack what it says.
    pub fn may_pack(&mut self) {
        self.packed = true;
    }

    /// The connection itself, to be written to.
    pub fn out(&mut self) -> &mut ClientStream {
        &mut self.stream
    }

    /// From now on the server must have moved by this deadline.
    pub fn arm(&mut self, deadline: Deadline) -> io::Result<()> {
        self.stream.arm(deadline)
    }

    /// The buffer that goes out at the latest when something is read.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.stream.buffer()
    }

    /// Says good-bye.
    pub fn close(self) {
        self.stream.close();
    }

    /// Whether the server has hung up or sent something unasked while nothing was under way.
    pub fn stale(&self) -> bool {
        !self.here().is_empty() || self.stream.stale()
    }

    /// What came packed and was not read yet.
    fn here(&self) -> &[u8] {
        self.frames.get(self.read..).unwrap_or_default()
    }

    /// The header of the next frame; its payload is read next.
    pub fn header(&mut self) -> io::Result<Header> {
        // Whoever has the next frames here already must not keep back what the server waits for.
        self.stream.flush()?;
        let end = || io::Error::from(ErrorKind::UnexpectedEof);
        if self.here().is_empty() {
            let header = wire::read_header(&mut self.stream, wire::MAX_REPLY)?.ok_or_else(end)?;
            if !(self.packed && header.is_packed()) {
                return Ok(header);
            }
            let mut payload = vec![0; header.len];
            self.stream.read_exact(&mut payload)?;
            self.read = 0;
            wire::unpack(header, &payload, &mut self.frames).map_err(broken)?;
        }
        wire::read_header(self, wire::MAX_REPLY)?.ok_or_else(end)
    }

    /// The next reply, whatever its request.
    pub fn next(&mut self) -> io::Result<(u32, Reply)> {
        let header = self.header()?;
        Ok((header.id, self.reply(header)?))
    }

    /// The reply to which a header belongs that was just read.
    pub fn reply(&mut self, header: Header) -> io::Result<Reply> {
        let mut payload = vec![0; header.len];
        self.read_exact(&mut payload)?;
        Reply::decode(header, payload).map_err(broken)
    }
}

fn broken(error: wire::WireError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Reads payloads: frames that came packed are whole.
impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.here().is_empty() {
            return self.stream.read(buffer);
        }
        let count = self.here().read(buffer)?;
        self.read += count;
        Ok(count)
    }
}
