//! Key pairs and trusted keys: `ppkeys/localhost.{priv,pub}`, `ppkeys/USER-ADDRESS.pub` (KY-01, KY-02).
//!
//! The key is the identity of a host; the address in a file's name says where that host is expected.
//!
//! | file | owns |
//! |---|---|
//! | `pair` | Ed25519 keys and their PEM forms |
//! | `store` | the key directory: making, checking, trusting |

mod pair;
mod store;

pub use pair::{PrivateKey, PublicKey};
pub use store::{Store, Trusted};

use std::io;
use std::path::PathBuf;

/// What can be wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// KY-01; the wording is that of the original.
    #[error("A key file already exists at {0}.")]
    Exists(PathBuf),
    /// There is no key file.
    #[error("there is no key file {0}")]
    Missing(PathBuf),
    /// The file is not what it should be.
    #[error("{file} is not {expected}")]
    Format {
        /// The file.
        file: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// The private and the public file do not belong together.
    #[error("{public} does not belong to {private}")]
    Mismatch {
        /// The public key file.
        public: PathBuf,
        /// The private key file.
        private: PathBuf,
    },
    /// Others may read or write what they must not.
    #[error("{file} has mode {mode:o}, must be {wanted:o}")]
    Mode {
        /// The file or directory.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error("{file} belongs to user {uid}, not to you")]
    Owner {
        /// The file or directory.
        file: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A user name that cannot be part of a file name.
    #[error("'{0}' cannot be a user name in a key file's name")]
    User(String),
    /// Reading or writing failed.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}
