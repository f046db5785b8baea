//! A client, as the process that holds keys and files sees it: itself, or through the process that has the network.
//!
//! What comes from the other process is looked at as if it came from the client: kinds that fit, lengths with a bound,
//! frames decoded anew. Of what it says about the client nothing is believed, see `tls::witness`.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::letter::{self, HEAD};
use crate::keys::PublicKey;
use crate::serve::server::Limits;
use crate::sys::pass;
use crate::tls::{Deadline, Identity, Proof, ServerStream, TlsError, Witness};
use crate::wire::{self, Header};

/// What is told is gathered up to this many bytes.
const GATHER: usize = 64 * 1024;

/// So many pieces, for each of which a client has its time, may have to be taken before the first of a file was: what was
/// told before stands in the stream to the other process, which holds three of them, and in the buffers on both its sides.
const QUEUED: u32 = 8;

/// A client after the handshake.
pub enum Line {
    /// Here.
    Own(Box<ServerStream>),
    /// At the other process.
    Far(Far),
}

impl Line {
    /// From now on the client must have moved within this time.
    pub fn arm(&mut self, wait: Duration) -> io::Result<()> {
        match self {
            Line::Own(stream) => stream.arm(Deadline::after(wait)),
            Line::Far(far) => {
                far.wait = wait;
                Ok(())
            }
        }
    }

    /// Sends what was gathered and reads the next frame; none when the client has hung up.
    pub fn read_frame(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        match self {
            Line::Own(stream) => wire::read_frame(&mut **stream, wire::MAX_REQUEST),
            Line::Far(far) => far.read_frame(),
        }
    }

    /// The buffer that the next flush sends: frames are appended to it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        match self {
            Line::Own(stream) => stream.buffer(),
            Line::Far(far) => &mut far.out,
        }
    }

    /// Sends what was gathered when it has grown large.
    pub fn flush_when_large(&mut self) -> io::Result<()> {
        match self {
            Line::Own(stream) => stream.flush_when_large(),
            Line::Far(far) if far.out.len() >= GATHER => far.flush(&[]),
            Line::Far(_) => Ok(()),
        }
    }

    /// Sends what was gathered.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Own(stream) => stream.flush(),
            Line::Far(far) => far.flush(&[]),
        }
    }

    /// The client was welcomed.
    pub fn welcomed(&mut self) -> io::Result<()> {
        match self {
            Line::Own(_) => Ok(()),
            Line::Far(far) => far.flush(&letter::letter(letter::WELCOMED, &[])),
        }
    }

    /// Sends what was gathered as it is, and packs what comes after it.
    pub fn pack(&mut self) -> io::Result<()> {
        match self {
            Line::Own(stream) => stream.pack(),
            Line::Far(far) => far.flush(&letter::letter(letter::PACK, &[])),
        }
    }

    /// Says good-bye.
    pub fn close(self) {
        match self {
            Line::Own(stream) => stream.close(),
            Line::Far(far) => far.leave(letter::CLOSE),
        }
    }

    /// Says good-bye and waits a while until the client has hung up.
    pub fn close_after(self, wait: Duration) {
        match self {
            Line::Own(stream) => stream.close_after(wait),
            Line::Far(far) => far.leave(letter::CLOSE_AFTER),
        }
    }

    /// Who can send a whole file without our reading it.
    pub fn pourer(&mut self) -> Option<&mut Far> {
        match self {
            Line::Own(_) => None,
            Line::Far(far) => Some(far),
        }
    }
}

/// A connection that the other process has taken in.
pub struct Far {
    from: BufReader<UnixStream>,
    /// Room for the head of a letter, and what is to be told.
    out: Vec<u8>,
    body: Vec<u8>,
    /// How long the client may take.
    wait: Duration,
    /// How much longer the other process may.
    slack: Duration,
    /// How long the other process may be silent while it sends a file.
    silent: Duration,
    /// How long the other process may take just now.
    patience: Option<Duration>,
}

impl Far {
    /// Takes the stream that belongs to a connection.
    pub fn new(stream: UnixStream, limits: &Limits) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(limits.write + limits.slack))?;
        let mut far = Far {
            from: BufReader::with_capacity(4096, stream),
            out: vec![0; HEAD],
            body: Vec::new(),
            wait: limits.handshake,
            slack: limits.slack,
            silent: limits.write * QUEUED + limits.slack,
            patience: None,
        };
        far.patience(Some(limits.handshake + limits.slack))?;
        Ok(far)
    }

    fn patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        if patience != self.patience {
            self.from.get_ref().set_read_timeout(patience)?;
            self.patience = patience;
        }
        Ok(())
    }

    /// The handshake: signs for it, and gives the key that the client has proved to hold.
    pub fn accept(&mut self, identity: &Identity) -> Result<PublicKey, TlsError> {
        let mut witness = Witness::new(identity.clone())?;
        self.send(&letter::letter(letter::GO, &witness.nonce()))?;
        loop {
            match self.read(&[letter::SIGN, letter::PROOF])? {
                Some(letter::SIGN) => {
                    let signature = witness.sign(&self.body)?;
                    self.send(&letter::letter(letter::SIGN, &signature))?;
                }
                Some(_) => {
                    let (signature, transcript) = self.body.split_at_checked(64).unwrap_or_default();
                    let proof = Proof {
                        transcript: transcript.to_vec(),
                        signature: signature.to_vec(),
                    };
                    return witness
                        .judge(&proof)
                        .map_err(|why| TlsError::Protocol(format!("the client's key is not proved: {why}")));
                }
                // The other process has said why.
                None => return Err(TlsError::Io(ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    fn read(&mut self, kinds: &[u8]) -> io::Result<Option<u8>> {
        let read = letter::read(&mut self.from, kinds, &mut self.body);
        read.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => error,
        })
    }

    /// An error of sending may have been told before the other side hung up.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.from
            .get_ref()
            .write_all(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => match self.read(&[letter::BROKEN]) {
                    Ok(Some(_)) => letter::error_in(&self.body),
                    _ => error,
                },
                _ => error,
            })
    }

    /// Tells what was gathered, and sends a letter right behind it.
    fn flush(&mut self, and: &[u8]) -> io::Result<()> {
        let told = self.out.len().saturating_sub(HEAD);
        if told == 0 {
            return if and.is_empty() { Ok(()) } else { self.send(and) };
        }
        let mut out = std::mem::take(&mut self.out);
        if let Some(place) = out.get_mut(..HEAD) {
            place.copy_from_slice(&letter::head(letter::TELL, told));
        }
        out.extend_from_slice(and);
        let sent = self.send(&out);
        out.truncate(HEAD);
        self.out = out;
        sent
    }

    fn read_frame(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        let wait = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        self.flush(&letter::letter(letter::NEXT, &wait.to_be_bytes()))?;
        self.patience(Some(self.wait + self.slack))?;
        match self.read(&[letter::FRAME, letter::END, letter::BROKEN])? {
            Some(letter::FRAME) => {
                let mut rest = &self.body[..];
                let frame = wire::read_frame(&mut rest, wire::MAX_REQUEST)?;
                if frame.is_none() || !rest.is_empty() {
                    return Err(io::Error::new(
                        ErrorKind::Unsupported,
                        "the network process sent no frame",
                    ));
                }
                Ok(frame)
            }
            Some(letter::BROKEN) => Err(letter::error_in(&self.body)),
            _ => Ok(None),
        }
    }

    /// Has a file sent from where it stands. Gives how much of it was sent and, where wanted, a digest that the other
    /// process has made: good for nobody but the client.
    pub fn pour(&mut self, id: u32, file: &File, size: u64, digest: bool) -> io::Result<(u64, [u8; 32])> {
        self.flush(&[])?;
        let body = [&id.to_be_bytes()[..], &size.to_be_bytes(), &[u8::from(digest)]].concat();
        let letter = letter::letter(letter::POUR, &body);
        let sent = pass::send(self.from.get_ref().as_fd(), &letter, &[file.as_fd()], true)?;
        self.send(letter.get(sent..).unwrap_or_default())?;
        // The other process has the clock: whoever reads on is not cut off, however large the file is. That it goes on is
        // heard now and then; by then at least one piece more was sent.
        self.patience(Some(self.silent))?;
        let mut sent = 0;
        let said = loop {
            match self.read(&[letter::POURED, letter::POURING, letter::BROKEN])? {
                Some(letter::POURING) => match self.body.first_chunk().map(|now| u64::from_be_bytes(*now)) {
                    Some(now) if now <= size && now >= sent + wire::MAX_DATA as u64 => sent = now,
                    _ => {
                        let why = "the network process says of a file what cannot be";
                        return Err(io::Error::new(ErrorKind::Unsupported, why));
                    }
                },
                said => break said,
            }
        };
        self.patience(Some(self.wait + self.slack))?;
        match said {
            Some(letter::POURED) => {
                let parts = self
                    .body
                    .split_first_chunk()
                    .map(|(size, digest)| (size, digest.try_into()));
                match parts {
                    Some((size, Ok(digest))) => Ok((u64::from_be_bytes(*size), digest)),
                    _ => Err(ErrorKind::InvalidInput.into()),
                }
            }
            Some(_) => Err(letter::error_in(&self.body)),
            None => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// The last word.
    fn leave(mut self, how: u8) {
        let _ = self.flush(&letter::letter(how, &[]));
    }
}

/// The only word: the connection is refused. Never waits.
pub fn refuse(line: &UnixStream, busy: bool) {
    let kind = if busy { letter::FULL } else { letter::DENIED };
    let _ = pass::send(line.as_fd(), &letter::letter(kind, &[]), &[], false);
}
