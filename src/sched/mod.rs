//! cfexecd: runs the agent, keeps what it said, tells somebody when that has changed (IN-02 … IN-04, cfengine2.md 18).
//!
//! | file | owns |
//! |---|---|
//! | `settings` | what the policy says about schedule and mail |
//! | `guard` | one run at a time, and not more often than every five minutes |
//! | `outputs` | the files of `outputs/`, the link `previous`, what counts as changed |
//! | `run` | one run of the agent |
//! | `mail` | the message and its way out |
//! | `smtp` | the way to a mail server |
//!
//! Does not own arguments, the terminal or the loop of the daemon: those are the tool's.

mod guard;
mod mail;
mod outputs;
mod run;
mod settings;
mod smtp;

pub use guard::{Busy, Guard};
pub use mail::{Mail, compose, send};
pub use outputs::{Outputs, Record};
pub use run::{Job, agent};
pub use settings::Settings;
pub use smtp::Server;

use std::io;
use std::path::PathBuf;

/// Why a run did not come about.
#[derive(Debug, thiserror::Error)]
pub enum SchedError {
    /// Another run stands in the way, or the last one was just now.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// There is no agent to run.
    #[error("there is no agent: neither {} nor {} can be run", .0.display(), .1.display())]
    NoAgent(PathBuf, PathBuf),
    /// Somebody other than root could have put it there.
    #[error("{} is not run: {why}", .path.display())]
    Untrusted {
        /// The program.
        path: PathBuf,
        /// One clause.
        why: String,
    },
    /// A file of ours could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The message found no way.
    #[error("cannot mail to {to}: {why}")]
    Mail {
        /// For whom it was.
        to: String,
        /// Why.
        why: String,
    },
}

impl SchedError {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SchedError {
        let path = path.into();
        move |source| SchedError::File { path, source }
    }
}
