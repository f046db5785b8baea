//! What a client says.

use bstr::BString;

use super::codec::{Put, Take};
use super::entry::{put_select, take_select};
use super::frame::{Header, put_frame};
use super::{MAX_NAME, MAX_PATH, MAX_RANGES, MAX_REQUEST, MAX_TEXT, MAX_WORDS, WireError};
use crate::fsx::Select;

const HELLO: u8 = 0x01;
const MANIFEST: u8 = 0x02;
const FETCH: u8 = 0x03;
const WANT: u8 = 0x04;
const EXEC: u8 = 0x05;
const CUT: u8 = 0x06;
const RANGES: u8 = 0x07;
const POLICY: u8 = 0x08;
/// The first bytes of HELLO, so that another protocol inside TLS is recognised.
const MAGIC: &[u8; 4] = b"dsau";
/// Files in one WANT frame.
const MAX_WANTS: usize = 4096;

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest and highest version the client speaks.
    pub versions: (u16, u16),
    /// Optional parts of the protocol the client knows, as bits.
    pub features: u32,
    /// The client's clock, seconds since the epoch.
    pub time: i64,
    /// The user the client runs as: the USER of its key file on the server.
    pub user: BString,
    /// Name and version of the client's program, for the log.
    pub program: BString,
}

/// One file of a fetch, and what the manifest said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Path below the root of the fetch.
    pub path: BString,
    /// Bytes of content.
    pub size: u64,
    /// Content change, nanoseconds since the epoch.
    pub mtime: i128,
    /// blake3 of the content where the manifest gave it.
    pub digest: Option<[u8; 32]>,
}

/// A part of a file: where it begins, and how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Bytes before it.
    pub at: u64,
    /// Its bytes.
    pub len: u64,
}

/// The policy that a client runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub id: BString,
    /// Since when, seconds since the epoch.
    pub since: i64,
    /// Its `cfinputs_version`; may be empty.
    pub version: BString,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who is there.
    Hello(Hello),
    /// What is in a tree.
    Manifest {
        /// Absolute path of the root.
        root: BString,
        /// Digest of the manifest the client has; the same one is answered with "unchanged".
        known: Option<[u8; 32]>,
        /// Which part is wanted.
        select: Select,
    },
    /// Content of a tree will be asked for.
    Fetch {
        /// Absolute path of the root.
        root: BString,
    },
    /// Which content; belongs to the fetch of the same id.
    Want {
        /// The fetch ends with these.
        last: bool,
        /// The files.
        files: Vec<Want>,
    },
    /// Run the agent now (cfrun).
    Exec {
        /// Its options.
        args: Vec<BString>,
        /// Only if one of these classes is defined; always when empty.
        classes: Vec<BString>,
    },
    /// Of which chunks a file consists.
    Cut {
        /// Absolute path of the root.
        root: BString,
        /// The file.
        file: Want,
    },
    /// Parts of a file.
    Ranges {
        /// Absolute path of the root.
        root: BString,
        /// The file.
        file: Want,
        /// The parts: not empty, in order, apart from each other, within the file.
        ranges: Vec<Range>,
    },
    /// Which policy runs here. Has no answer.
    Policy(Policy),
}

impl Request {
    /// Appends the frame.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) -> Result<(), WireError> {
        let kind = match self {
            Request::Hello(_) => HELLO,
            Request::Manifest { .. } => MANIFEST,
            Request::Fetch { .. } => FETCH,
            Request::Want { .. } => WANT,
            Request::Exec { .. } => EXEC,
            Request::Cut { .. } => CUT,
            Request::Ranges { .. } => RANGES,
            Request::Policy(_) => POLICY,
        };
        put_frame(out, kind, id, MAX_REQUEST, |out| self.payload(&mut Put(out)))
    }

    fn payload(&self, put: &mut Put<'_>) -> Result<(), WireError> {
        match self {
            Request::Hello(hello) => {
                put.raw(MAGIC);
                put.u16(hello.versions.0);
                put.u16(hello.versions.1);
                put.u32(hello.features);
                put.i64(hello.time);
                put.text("a user name", &hello.user, MAX_NAME)?;
                put.text("a program name", &hello.program, MAX_NAME)
            }
            Request::Manifest { root, known, select } => {
                put.text("a path", root, MAX_PATH)?;
                put.maybe_digest(known.as_ref());
                put_select(select, put)
            }
            Request::Fetch { root } => put.text("a path", root, MAX_PATH),
            Request::Want { last, files } => {
                put.flag(*last);
                put.count("a list of files", files.len(), MAX_WANTS)?;
                files.iter().try_for_each(|file| file.put(put))
            }
            Request::Exec { args, classes } => {
                put.texts("an argument", args, MAX_WORDS, MAX_TEXT)?;
                put.texts("a class", classes, MAX_WORDS, MAX_TEXT)
            }
            Request::Cut { root, file } => {
                put.text("a path", root, MAX_PATH)?;
                file.put(put)
            }
            Request::Ranges { root, file, ranges } => {
                put.text("a path", root, MAX_PATH)?;
                file.put(put)?;
                put.count("a list of ranges", ranges.len(), MAX_RANGES)?;
                for range in ranges {
                    put.u64(range.at);
                    put.u64(range.len);
                }
                Ok(())
            }
            Request::Policy(policy) => {
                put.text("a policy", &policy.id, MAX_NAME)?;
                put.i64(policy.since);
                put.text("a version", &policy.version, MAX_NAME)
            }
        }
    }

    /// Reads a payload whole.
    pub fn decode(header: Header, payload: &[u8]) -> Result<Self, WireError> {
        let mut take = Take::new(payload);
        let request = match header.kind {
            HELLO => {
                if take.raw(MAGIC.len())? != MAGIC {
                    return Err(WireError::Value("the greeting"));
                }
                Request::Hello(Hello {
                    versions: (take.u16()?, take.u16()?),
                    features: take.u32()?,
                    time: take.i64()?,
                    user: take.text("a user name", MAX_NAME)?,
                    program: take.text("a program name", MAX_NAME)?,
                })
            }
            MANIFEST => Request::Manifest {
                root: take.text("a path", MAX_PATH)?,
                known: take.maybe_digest()?,
                select: take_select(&mut take)?,
            },
            FETCH => Request::Fetch {
                root: take.text("a path", MAX_PATH)?,
            },
            WANT => {
                let last = take.flag("a flag")?;
                let count = take.count("a list of files", MAX_WANTS, 23)?;
                let files = (0..count).map(|_| Want::take(&mut take)).collect::<Result<_, _>>()?;
                Request::Want { last, files }
            }
            EXEC => Request::Exec {
                args: take.texts("an argument", MAX_WORDS, MAX_TEXT)?,
                classes: take.texts("a class", MAX_WORDS, MAX_TEXT)?,
            },
            CUT => Request::Cut {
                root: take.text("a path", MAX_PATH)?,
                file: Want::take(&mut take)?,
            },
            RANGES => {
                let root = take.text("a path", MAX_PATH)?;
                let file = Want::take(&mut take)?;
                let ranges = take_ranges(&mut take, file.size)?;
                Request::Ranges { root, file, ranges }
            }
            POLICY => Request::Policy(Policy {
                id: take.text("a policy", MAX_NAME)?,
                since: take.i64()?,
                version: take.text("a version", MAX_NAME)?,
            }),
            other => return Err(WireError::Type(other)),
        };
        take.end()?;
        Ok(request)
    }
}

/// Ranges of a file of that size.
fn take_ranges(take: &mut Take<'_>, size: u64) -> Result<Vec<Range>, WireError> {
    let count = take.count("a list of ranges", MAX_RANGES, 16)?;
    let mut done = 0;
    let mut range = |_| {
        let range = Range {
            at: take.u64()?,
            len: take.u64()?,
        };
        let end = range.at.checked_add(range.len).filter(|end| *end <= size);
        match end {
            Some(end) if range.len > 0 && range.at >= done => done = end,
            _ => return Err(WireError::Value("a range")),
        }
        Ok(range)
    };
    (0..count).map(&mut range).collect()
}

impl Want {
    fn put(&self, put: &mut Put<'_>) -> Result<(), WireError> {
        put.text("a path", &self.path, MAX_PATH)?;
        put.u64(self.size);
        put.time(self.mtime);
        put.maybe_digest(self.digest.as_ref());
        Ok(())
    }

    fn take(take: &mut Take<'_>) -> Result<Want, WireError> {
        Ok(Want {
            path: take.text("a path", MAX_PATH)?,
            size: take.u64()?,
            mtime: take.time()?,
            digest: take.maybe_digest()?,
        })
    }

    /// About how many bytes it takes in a frame.
    pub fn encoded_len(&self) -> usize {
        self.path.len() + 23 + if self.digest.is_some() { 32 } else { 0 }
    }
}
