//! What the two processes say to each other: letters of one byte of kind, four of length, and a body, on a stream of their
//! own for each connection; and messages on the one socket that all share.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use crate::sys::pass;
use crate::wire;

/// Bytes before the body of a letter.
pub const HEAD: usize = 5;

/// The connection may go on: 32 random bytes for the handshake.
pub const GO: u8 = b'G';
/// The address is not accepted.
pub const DENIED: u8 = b'N';
/// There is no room.
pub const FULL: u8 = b'F';
/// A signature; asked for with what is to be signed.
pub const SIGN: u8 = b'S';
/// The client's proof: the signature of 64 bytes, and the transcript.
pub const PROOF: u8 = b'P';
/// Bytes for the client.
pub const TELL: u8 = b'T';
/// Read the next request: how long that may take, in milliseconds.
pub const NEXT: u8 = b'R';
/// A request: a frame as the client sent it.
pub const FRAME: u8 = b'Q';
/// The client has hung up.
pub const END: u8 = b'E';
/// The client cannot be heard or told anything any more: a byte of kind, and a text.
pub const BROKEN: u8 = b'B';
/// The client was welcomed.
pub const WELCOMED: u8 = b'W';
/// From now on the client takes what it is told packed.
pub const PACK: u8 = b'K';
/// Say good-bye.
pub const CLOSE: u8 = b'C';
/// Say good-bye and wait until the client has hung up.
pub const CLOSE_AFTER: u8 = b'A';
/// Send a file, whose descriptor comes with it: the request it belongs to, how much of it, and whether a digest is wanted.
pub const POUR: u8 = b'O';
/// It is being sent: how much of it was by now. Comes every few seconds, and when there is something new to tell.
pub const POURING: u8 = b'I';
/// It was sent: how much of it, and the digest.
pub const POURED: u8 = b'D';

/// The most that is told at once.
const MOST_TOLD: usize = 4 * 1024 * 1024;
/// The longest proof: a handshake's messages are 64 KB at most.
const MOST_PROOF: usize = 256 * 1024;
/// The longest text in a letter.
pub const MOST_TEXT: usize = 512;

/// The most bytes in a letter of this kind; none where there is no such kind.
fn most(kind: u8) -> Option<usize> {
    Some(match kind {
        GO => 32,
        SIGN => 256,
        PROOF => MOST_PROOF,
        TELL => MOST_TOLD,
        NEXT | POURING => 8,
        FRAME => wire::HEADER + wire::MAX_REQUEST,
        BROKEN => 1 + MOST_TEXT,
        POUR => 13,
        POURED => 40,
        DENIED | FULL | END | WELCOMED | PACK | CLOSE | CLOSE_AFTER => 0,
        _ => return None,
    })
}

/// What stands before a body.
pub fn head(kind: u8, len: usize) -> [u8; HEAD] {
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [kind, a, b, c, d]
}

/// A letter with a short body.
pub fn letter(kind: u8, body: &[u8]) -> Vec<u8> {
    [&head(kind, body.len()), body].concat()
}

/// Reads a letter into a buffer and gives its kind; none at the end. What is not one of `kinds`, or too long for its
/// kind, is refused before anything of it is read.
pub fn read(from: &mut impl BufRead, kinds: &[u8], body: &mut Vec<u8>) -> io::Result<Option<u8>> {
    let wrong = || io::Error::new(ErrorKind::Unsupported, "the other process says what does not fit here");
    loop {
        match from.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let [kind, a, b, c, d] = head;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if !kinds.contains(&kind) || most(kind).is_none_or(|most| len > most) {
        return Err(wrong());
    }
    // All of it is written over: what it was before need not be wiped.
    body.resize(len, 0);
    from.read_exact(body)?;
    Ok(Some(kind))
}

/// Descriptors that came, in their order.
pub type Came = Rc<RefCell<VecDeque<OwnedFd>>>;

/// A stream on which descriptors come too.
pub struct Bringing {
    stream: UnixStream,
    came: Came,
}

impl Bringing {
    /// Reads a stream, and what comes with it.
    pub fn new(stream: UnixStream) -> (BufReader<Self>, Came) {
        let came = Came::default();
        let bringing = Bringing {
            stream,
            came: came.clone(),
        };
        (BufReader::with_capacity(4096, bringing), came)
    }

    /// The stream itself.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl Read for Bringing {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let (count, fds) = pass::receive(self.stream.as_fd(), space, true)?;
        self.came.borrow_mut().extend(fds);
        Ok(count)
    }
}

/// Kinds of errors that the other side tells apart.
const KINDS: [ErrorKind; 4] = [
    ErrorKind::Other,
    ErrorKind::TimedOut,
    ErrorKind::ConnectionReset,
    ErrorKind::InvalidData,
];

/// An error as a body.
pub fn error_out(error: &io::Error) -> Vec<u8> {
    let kind = match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => ErrorKind::ConnectionReset,
        kind => kind,
    };
    let place = KINDS.iter().position(|known| *known == kind).unwrap_or(0);
    let mut body = vec![u8::try_from(place).unwrap_or(0)];
    body.extend(error.to_string().bytes().take(MOST_TEXT));
    body
}

/// An error out of a body.
pub fn error_in(body: &[u8]) -> io::Error {
    let (place, text) = body.split_first().unwrap_or((&0, b""));
    let kind = KINDS.get(usize::from(*place)).unwrap_or(&ErrorKind::Other);
    io::Error::new(*kind, String::from_utf8_lossy(text).into_owned())
}
