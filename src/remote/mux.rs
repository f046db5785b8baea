//! The protocol of a kept connection: what OpenSSH's `PROTOCOL.mux` calls a passenger.
//!
//! Pure: bytes to messages and back. A packet is a length, a kind and a body, all numbers 32 bits with the highest byte
//! first, a string its length and its bytes. What the other side sends is never trusted: every length is checked.

use bstr::BString;

/// The only version there is.
pub const VERSION: u32 = 4;

/// The longest packet taken from the other side, in bytes. Its answers are a few words.
const LIMIT: usize = 16 * 1024;

/// The longest request made, in bytes: it must fit into the socket at once, and ssh takes no longer one than 256 KiB.
pub const REQUEST_LIMIT: usize = 64 * 1024;

const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const ALIVE_CHECK: u32 = 0x1000_0004;
const TERMINATE: u32 = 0x1000_0005;
const OK: u32 = 0x8000_0001;
const DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT: u32 = 0x8000_0004;
const ALIVE: u32 = 0x8000_0005;
const OPENED: u32 = 0x8000_0006;
const NO_TERMINAL: u32 = 0x8000_0008;

/// What the owner of the connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Its version, first of all.
    Hello(u32),
    /// A request was carried out.
    Ok(u32),
    /// A request was refused by its owner, or failed: why.
    Refused(u32, BString),
    /// The command of a session ended with this status.
    Exit(u32, u32),
    /// It lives, with this process id.
    Alive(u32, u32),
    /// The session asked for is open, under this number.
    Opened(u32, u32),
    /// Anything else that is well-formed and of no concern.
    Other(u32),
}

/// The other side does not speak the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The greeting of this side.
pub fn hello() -> Vec<u8> {
    Packet::new(HELLO).number(VERSION).end()
}

/// Asks for a session without terminal, agent or X11 that runs `command`. `environment` are `NAME=value` strings. The
/// three standard descriptors must follow, one by one.
pub fn open(id: u32, command: &[u8], environment: &[BString]) -> Vec<u8> {
    const NO_ESCAPE: u32 = u32::MAX;
    let mut packet = Packet::new(NEW_SESSION).number(id).string(b"");
    for _flag in ["terminal", "X11", "agent", "subsystem"] {
        packet = packet.number(0);
    }
    packet = packet.number(NO_ESCAPE).string(b"").string(command);
    for entry in environment {
        packet = packet.string(entry);
    }
    packet.end()
}

/// Asks whether it lives.
pub fn alive(id: u32) -> Vec<u8> {
    Packet::new(ALIVE_CHECK).number(id).end()
}

/// Asks it to close the connection at once.
pub fn terminate(id: u32) -> Vec<u8> {
    Packet::new(TERMINATE).number(id).end()
}

struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u32) -> Self {
        // The length comes in at the end.
        Packet(vec![0; 4]).number(kind)
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn string(self, bytes: &[u8]) -> Self {
        let mut packet = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        packet.0.extend_from_slice(bytes);
        packet
    }

    fn end(mut self) -> Vec<u8> {
        let size = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&size.to_be_bytes());
        self.0
    }
}

/// Puts packets together from what is read, as it comes.
#[derive(Debug, Default)]
pub struct Reader(Vec<u8>);

impl Reader {
    /// Adds bytes. More than a packet's limit is never kept when [`Reader::next`] is asked until it has no more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there.
    pub fn message(&mut self) -> Result<Option<Message>, Malformed> {
        let Some(head) = self.0.first_chunk::<4>() else {
            return Ok(None);
        };
        let size = u32::from_be_bytes(*head) as usize;
        if !(4..=LIMIT).contains(&size) {
            return Err(Malformed);
        }
        let Some(packet) = self.0.get(4..4 + size) else {
            return Ok(None);
        };
        let message = parse(packet)?;
        self.0.drain(..4 + size);
        Ok(Some(message))
    }
}

fn parse(packet: &[u8]) -> Result<Message, Malformed> {
    let mut body = Body(packet);
    let kind = body.number()?;
    Ok(match kind {
        HELLO => Message::Hello(body.number()?),
        OK => Message::Ok(body.number()?),
        DENIED | FAILURE => Message::Refused(body.number()?, body.string()?),
        EXIT => Message::Exit(body.number()?, body.number()?),
        ALIVE => Message::Alive(body.number()?, body.number()?),
        OPENED => Message::Opened(body.number()?, body.number()?),
        // We ask for no terminal; one that is refused all the same changes nothing.
        NO_TERMINAL => Message::Other(kind),
        _ => Message::Other(kind),
    })
}

struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn number(&mut self) -> Result<u32, Malformed> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Result<BString, Malformed> {
        let size = self.number()? as usize;
        let (string, rest) = self.0.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(string.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut packet = Packet::new(kind);
        packet.0.extend_from_slice(body);
        packet.end()
    }

    #[test]
    fn a_request_for_a_session_is_laid_out_as_the_document_says() {
        let bytes = open(7, b"ls", &["A=b".into()]);
        let mut wanted = vec![0, 0, 0, 53, 0x10, 0, 0, 2, 0, 0, 0, 7];
        wanted.extend([0; 4]); // reserved
        wanted.extend([0; 16]); // four flags
        wanted.extend([255; 4]); // no escape character
        wanted.extend([0; 4]); // no terminal type
        wanted.extend(b"\0\0\0\x02ls\0\0\0\x03A=b");
        wanted[3] = u8::try_from(wanted.len() - 4).unwrap();
        assert_eq!(bytes, wanted);
        assert_eq!(hello(), [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4]);
    }

    #[test]
    fn messages_are_understood_however_they_are_cut() {
        let mut all = packet(HELLO, &[0, 0, 0, 4, 0, 0, 0, 0]);
        all.extend(packet(OPENED, &[0, 0, 0, 1, 0, 0, 0, 2]));
        all.extend(packet(NO_TERMINAL, &[0, 0, 0, 2]));
        all.extend(packet(EXIT, &[0, 0, 0, 2, 0, 0, 0, 255]));
        all.extend(packet(FAILURE, b"\0\0\0\x01\0\0\0\x04full"));
        all.extend(packet(ALIVE, &[0, 0, 0, 1, 0, 0, 1, 0]));
        for step in [1, 3, 1000] {
            let mut reader = Reader::default();
            let mut got = Vec::new();
            for part in all.chunks(step) {
                reader.feed(part);
                while let Some(message) = reader.message().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(
                got,
                [
                    Message::Hello(4),
                    Message::Opened(1, 2),
                    Message::Other(NO_TERMINAL),
                    Message::Exit(2, 255),
                    Message::Refused(1, "full".into()),
                    Message::Alive(1, 256),
                ]
            );
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_before_anything_is_kept() {
        let next = |bytes: &[u8]| {
            let mut reader = Reader::default();
            reader.feed(bytes);
            reader.message()
        };
        assert_eq!(next(&[255, 255, 255, 255]), Err(Malformed));
        assert_eq!(next(&[0, 0, 0, 3, 1, 2, 3]), Err(Malformed));
        assert_eq!(next(&packet(EXIT, &[0, 0, 0, 2, 0, 0])), Err(Malformed));
        assert_eq!(next(&packet(FAILURE, b"\0\0\0\x01\xff\xff\xff\xffno")), Err(Malformed));
        assert_eq!(next(&[0, 0, 64, 0, 1]), Ok(None));
        assert_eq!(next(&[0, 0, 64, 1, 1]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_reader(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut reader = Reader::default();
            for part in parts {
                reader.feed(&part);
                loop {
                    match reader.message() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(Malformed) => return Ok(()),
                    }
                }
                prop_assert!(reader.0.len() <= LIMIT + 4);
            }
        }
    }
}
