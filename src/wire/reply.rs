//! What a server says.

use bstr::BString;

use super::codec::{Put, Take};
use super::entry::{LEAST_ENTRY, put_entry, relative, take_entry};
use super::frame::{Header, put_frame};
use super::{MAX_CHUNKS, MAX_DATA, MAX_NAME, MAX_PATH, MAX_REPLY, MAX_TEXT, WireError};
use crate::digest::Chunk;
use crate::fsx::Entry;

const WELCOME: u8 = 0x81;
pub(super) const ENTRIES: u8 = 0x82;
const MANIFEST_END: u8 = 0x83;
const UNCHANGED: u8 = 0x84;
const FILE: u8 = 0x85;
pub(super) const DATA: u8 = 0x86;
const FILE_END: u8 = 0x87;
const FILE_ERROR: u8 = 0x88;
const FETCH_END: u8 = 0x89;
const LINE: u8 = 0x8a;
const EXIT: u8 = 0x8b;
const ALIVE: u8 = 0x8c;
const UNREAD: u8 = 0x8d;
const CHUNKS: u8 = 0x8e;
const ERROR: u8 = 0x8f;
const RAN: u8 = 0x90;
const BUSY: u8 = 0x91;

/// What kind of failure a text explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: not granted; says nothing about whether it exists.
    Refused,
    /// 2: the object is not there.
    Missing,
    /// 3: it is no longer what the manifest said.
    Changed,
    /// 4: reading or starting it failed.
    Failed,
    /// 5: too many clients; come again later.
    Busy,
    /// 6: the client broke the protocol.
    Protocol,
    /// 7: the key or the address of the client is not accepted.
    Identity,
    /// 8: larger than this server serves.
    Limit,
}

const CODES: [Code; 8] = [
    Code::Refused,
    Code::Missing,
    Code::Changed,
    Code::Failed,
    Code::Busy,
    Code::Protocol,
    Code::Identity,
    Code::Limit,
];

impl Code {
    fn number(self) -> u8 {
        CODES
            .iter()
            .position(|code| *code == self)
            .and_then(|i| u8::try_from(i + 1).ok())
            .unwrap_or(0)
    }

    fn from(number: u8) -> Result<Self, WireError> {
        usize::from(number)
            .checked_sub(1)
            .and_then(|i| CODES.get(i).copied())
            .ok_or(WireError::Value("an error code"))
    }
}

/// What an agent that was started did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Promises that were kept already.
    pub kept: u32,
    /// Promises that were repaired.
    pub repaired: u32,
    /// Promises that could not be kept.
    pub failed: u32,
    /// The policy it ran; may be empty.
    pub policy: BString,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The client is accepted.
    Welcome {
        /// The version both speak from now on.
        version: u16,
        /// The optional parts both know.
        features: u32,
        /// The server's clock, seconds since the epoch.
        time: i64,
        /// Name and version of the server's program.
        program: BString,
    },
    /// Some entries of a manifest.
    Entries(Vec<Entry>),
    /// The server could not read here: nothing may be concluded about what is there.
    Unread {
        /// Path below the root.
        path: BString,
        /// Why, for a person.
        text: BString,
    },
    /// The manifest is complete.
    ManifestEnd {
        /// How many entries it has.
        count: u64,
        /// blake3 of all its entries as encoded.
        digest: [u8; 32],
    },
    /// The manifest is the one the client has.
    Unchanged,
    /// The next wanted file follows.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// A piece of content.
    Data(Vec<u8>),
    /// The file is complete.
    FileEnd {
        /// blake3 of the content sent.
        digest: [u8; 32],
    },
    /// The file does not come, or what came of it is not to be used.
    FileError {
        /// Why.
        code: Code,
        /// For a person.
        text: BString,
    },
    /// The next chunks of a file, in order.
    Chunks(Vec<Chunk>),
    /// All files of the fetch are answered.
    FetchEnd,
    /// A line of output, without its line end.
    Line(BString),
    /// What the agent did; its end follows.
    Ran(Ran),
    /// There is no room now; the connection is over.
    Busy {
        /// When to come again, in seconds.
        again: u16,
        /// For a person.
        text: BString,
    },
    /// The command ended.
    Exit {
        /// Its exit status; 128 + n for signal n.
        status: i32,
    },
    /// Still at work; keeps the client from giving up.
    Alive,
    /// The request failed; with id 0 the connection is over.
    Error {
        /// Why.
        code: Code,
        /// For a person.
        text: BString,
    },
}

impl Reply {
    /// Appends the frame.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) -> Result<(), WireError> {
        let kind = match self {
            Reply::Welcome { .. } => WELCOME,
            Reply::Entries(_) => ENTRIES,
            Reply::Unread { .. } => UNREAD,
            Reply::ManifestEnd { .. } => MANIFEST_END,
            Reply::Unchanged => UNCHANGED,
            Reply::File { .. } => FILE,
            Reply::Data(_) => DATA,
            Reply::FileEnd { .. } => FILE_END,
            Reply::FileError { .. } => FILE_ERROR,
            Reply::Chunks(_) => CHUNKS,
            Reply::FetchEnd => FETCH_END,
            Reply::Line(_) => LINE,
            Reply::Ran(_) => RAN,
            Reply::Busy { .. } => BUSY,
            Reply::Exit { .. } => EXIT,
            Reply::Alive => ALIVE,
            Reply::Error { .. } => ERROR,
        };
        put_frame(out, kind, id, MAX_REPLY, |out| self.payload(out))
    }

    fn payload(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut put = Put(out);
        match self {
            Reply::Welcome {
                version,
                features,
                time,
                program,
            } => {
                put.u16(*version);
                put.u32(*features);
                put.i64(*time);
                put.text("a program name", program, MAX_NAME)
            }
            Reply::Entries(entries) => {
                put.count("a list of entries", entries.len(), MAX_REPLY)?;
                entries.iter().try_for_each(|entry| put_entry(entry, put.0))
            }
            Reply::Unread { path, text } => {
                put.text("a path", path, MAX_PATH)?;
                put.text("a text", text, MAX_TEXT)
            }
            Reply::ManifestEnd { count, digest } => {
                put.u64(*count);
                put.raw(digest);
                Ok(())
            }
            Reply::File { size } => {
                put.u64(*size);
                Ok(())
            }
            Reply::Data(bytes) => {
                super::codec::check("a piece of content", bytes.len(), MAX_DATA)?;
                put.raw(bytes);
                Ok(())
            }
            Reply::FileEnd { digest } => {
                put.raw(digest);
                Ok(())
            }
            Reply::FileError { code, text } | Reply::Error { code, text } => {
                put.u8(code.number());
                put.text("a text", text, MAX_TEXT)
            }
            Reply::Chunks(chunks) => {
                put.count("a list of chunks", chunks.len(), MAX_CHUNKS)?;
                for chunk in chunks {
                    put.u32(chunk.len);
                    put.raw(&chunk.id);
                }
                Ok(())
            }
            Reply::Line(text) => put.text("a line", text, MAX_TEXT),
            Reply::Ran(ran) => {
                put.u32(ran.kept);
                put.u32(ran.repaired);
                put.u32(ran.failed);
                put.text("a policy", &ran.policy, MAX_NAME)
            }
            Reply::Busy { again, text } => {
                put.u16(*again);
                put.text("a text", text, MAX_TEXT)
            }
            Reply::Exit { status } => {
                put.i32(*status);
                Ok(())
            }
            Reply::Unchanged | Reply::FetchEnd | Reply::Alive => Ok(()),
        }
    }

    /// Reads a payload whole.
    pub fn decode(header: Header, payload: Vec<u8>) -> Result<Self, WireError> {
        if header.kind == DATA {
            super::codec::check("a piece of content", payload.len(), MAX_DATA)?;
            return Ok(Reply::Data(payload));
        }
        let mut take = Take::new(&payload);
        let reply = match header.kind {
            WELCOME => Reply::Welcome {
                version: take.u16()?,
                features: take.u32()?,
                time: take.i64()?,
                program: take.text("a program name", MAX_NAME)?,
            },
            ENTRIES => {
                let count = take.count("a list of entries", MAX_REPLY, LEAST_ENTRY)?;
                let entries = (0..count).map(|_| take_entry(&mut take)).collect::<Result<_, _>>()?;
                Reply::Entries(entries)
            }
            UNREAD => {
                let path = take.text("a path", MAX_PATH)?;
                if !relative(path.as_ref()) {
                    return Err(WireError::Value("a path"));
                }
                let text = take.text("a text", MAX_TEXT)?;
                Reply::Unread { path, text }
            }
            MANIFEST_END => Reply::ManifestEnd {
                count: take.u64()?,
                digest: take.digest()?,
            },
            UNCHANGED => Reply::Unchanged,
            FILE => Reply::File { size: take.u64()? },
            FILE_END => Reply::FileEnd { digest: take.digest()? },
            FILE_ERROR => Reply::FileError {
                code: Code::from(take.u8()?)?,
                text: take.text("a text", MAX_TEXT)?,
            },
            CHUNKS => {
                let count = take.count("a list of chunks", MAX_CHUNKS, 20)?;
                let mut chunk = |_| match take.u32()? {
                    0 => Err(WireError::Value("a chunk")),
                    len => Ok(Chunk { len, id: take.id()? }),
                };
                Reply::Chunks((0..count).map(&mut chunk).collect::<Result<_, _>>()?)
            }
            FETCH_END => Reply::FetchEnd,
            LINE => Reply::Line(take.text("a line", MAX_TEXT)?),
            RAN => Reply::Ran(Ran {
                kept: take.u32()?,
                repaired: take.u32()?,
                failed: take.u32()?,
                policy: take.text("a policy", MAX_NAME)?,
            }),
            BUSY => Reply::Busy {
                again: take.u16()?,
                text: take.text("a text", MAX_TEXT)?,
            },
            EXIT => Reply::Exit { status: take.i32()? },
            ALIVE => Reply::Alive,
            ERROR => Reply::Error {
                code: Code::from(take.u8()?)?,
                text: take.text("a text", MAX_TEXT)?,
            },
            other => return Err(WireError::Type(other)),
        };
        take.end()?;
        Ok(reply)
    }
}
