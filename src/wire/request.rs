//! What a client says.

use bstr::BString;

use super::codec::{Put, Take};
use super::entry::{put_select, take_select};
use super::frame::{Header, put_frame};
use super::{MAX_NAME, MAX_PATH, MAX_REQUEST, MAX_TEXT, MAX_WORDS, WireError};
use crate::fsx::Select;

const HELLO: u8 = 0x01;
const MANIFEST: u8 = 0x02;
const FETCH: u8 = 0x03;
const WANT: u8 = 0x04;
const EXEC: u8 = 0x05;
/// The first bytes of HELLO, so that another protocol inside TLS is recognised.
const MAGIC: &[u8; 4] = b"dsau";
/// Files in one WANT frame.
const MAX_WANTS: usize = 4096;

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest and highest version the client speaks.
    pub versions: (u16, u16),
    /// Optional parts of the protocol the client knows; none is defined yet.
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
                for file in files {
                    put.text("a path", &file.path, MAX_PATH)?;
                    put.u64(file.size);
                    put.time(file.mtime);
                    put.maybe_digest(file.digest.as_ref());
                }
                Ok(())
            }
            Request::Exec { args, classes } => {
                put.texts("an argument", args, MAX_WORDS, MAX_TEXT)?;
                put.texts("a class", classes, MAX_WORDS, MAX_TEXT)
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
                let file = |_| {
                    Ok(Want {
                        path: take.text("a path", MAX_PATH)?,
                        size: take.u64()?,
                        mtime: take.time()?,
                        digest: take.maybe_digest()?,
                    })
                };
                let files = (0..count).map(file).collect::<Result<_, WireError>>()?;
                Request::Want { last, files }
            }
            EXEC => Request::Exec {
                args: take.texts("an argument", MAX_WORDS, MAX_TEXT)?,
                classes: take.texts("a class", MAX_WORDS, MAX_TEXT)?,
            },
            other => return Err(WireError::Type(other)),
        };
        take.end()?;
        Ok(request)
    }
}

impl Want {
    /// About how many bytes it takes in a frame.
    pub fn encoded_len(&self) -> usize {
        self.path.len() + 23 + if self.digest.is_some() { 32 } else { 0 }
    }
}
