//! Frames and verbs of the csync protocol (`share/doc/protocol.md`). Pure: bytes in, messages out; no sockets.
//!
//! Every length and count is checked against a limit before memory is taken for it, and a message that has bytes left
//! over is as bad as one that is cut.
//!
//! | file | owns |
//! |---|---|
//! | `codec` | numbers, strings and lists in bounded buffers |
//! | `entry` | tree entries and selections |
//! | `frame` | the frame header, reading frames from a stream |
//! | `request` | what a client says |
//! | `reply` | what a server says |
//! | `pack` | frames in fewer bytes |

mod codec;
mod entry;
mod frame;
mod pack;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use entry::{MAX_PATTERNS, put_entry, relative, select_bytes, take_entries};
pub use frame::{HEADER, Header, put_data, put_entries, read_frame, read_header};
pub use pack::{MAX_UNPACKED, Packer, unpack};
pub use reply::{Code, Ran, Reply};
pub use request::{Hello, Policy, Range, Request, Want};

/// The versions this program speaks, lowest and highest.
pub const VERSIONS: (u16, u16) = (1, 1);
/// TCP port `cfengine`.
pub const PORT: u16 = 5308;
/// The largest payload a client may send, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The largest payload a server may send, in bytes.
pub const MAX_REPLY: usize = 128 * 1024;
/// The largest piece of content in one frame, in bytes.
pub const MAX_DATA: usize = 64 * 1024;
/// The longest path, in bytes.
pub const MAX_PATH: usize = 4096;
/// The longest text meant for a person, in bytes.
pub const MAX_TEXT: usize = 4096;
/// The longest user name or program name, in bytes.
pub const MAX_NAME: usize = 64;
/// Arguments or classes in one EXEC.
pub const MAX_WORDS: usize = 256;
/// Chunks in one CHUNKS frame.
pub const MAX_CHUNKS: usize = 4096;
/// Ranges in one RANGES frame.
pub const MAX_RANGES: usize = 2048;
/// The feature of HELLO and WELCOME: large files by their chunks.
pub const CHUNKS: u32 = 1;
/// The feature of HELLO and WELCOME: which policy a client runs, what an agent did, when to come again.
pub const FLEET: u32 = 2;
/// The feature of HELLO and WELCOME: what the server says may come packed.
pub const PACKED: u32 = 4;
/// All features that are known here.
pub const FEATURES: u32 = CHUNKS | FLEET | PACKED;
/// How many WANT frames may be on their way before the first of them is answered.
pub const WANT_WINDOW: usize = 3;
/// The payload size a client gives one WANT frame.
pub const WANT_SIZE: usize = 16 * 1024;

/// A message that cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends too early.
    #[error("a message is cut short")]
    Short,
    /// It has bytes left over.
    #[error("a message has {0} bytes left over")]
    Left(usize),
    /// Something is larger than the protocol allows.
    #[error("{what} of {size} is over the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A value that has no meaning.
    #[error("{0} has no valid value")]
    Value(&'static str),
    /// A frame type this side does not take.
    #[error("frame type {0:#04x} is not known here")]
    Type(u8),
}
