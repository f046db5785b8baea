//! Host lists: the grammar `n[1-10,12]`, groups, readers of `cfrun.hosts` and WCOLL files, and address ranges.
//!
//! Pure but for reading a named file, and for `groups`. Does not resolve names (see `dns`).

pub mod addr;
pub mod cfrun_hosts;
mod error;
mod fold;
pub mod groups;
mod host;
mod items;
mod list;
mod matcher;
mod natural;
mod range;
mod set;
mod sources;

pub use addr::{AddrRange, NoRange};
pub use cfrun_hosts::{CfrunHost, CfrunHosts, CfrunHostsFile, OutputLevel};
pub use error::ListError;
pub use fold::{Steps, Style, fold, fold_parts};
pub use groups::Groups;
pub use host::Host;
pub use list::{Choice, HOST_LIMIT, expand, expand_lines, expand_with, filter_with, only_filters};
pub use natural::natural;
pub use range::indices;
pub use set::HostSet;
pub use sources::{GroupName, GroupText, Sources, TextOnly};

use std::fmt;
use std::path::{Path, PathBuf};

/// A host file that cannot be used: where, and one sentence why. Reads `file:line: why`, or `file: why` when the
/// file as a whole is meant (line 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file as it was named.
    pub file: PathBuf,
    /// The line, counted from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Why.
    pub why: String,
}

impl FileError {
    pub(crate) fn new(file: &Path, line: usize, why: impl fmt::Display) -> Self {
        FileError {
            file: file.to_path_buf(),
            line,
            why: why.to_string(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.why),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.why),
        }
    }
}

impl std::error::Error for FileError {}

/// The largest host file that is read, in bytes.
pub const FILE_LIMIT: u64 = 64 << 20;

/// Reads a named file whole, bounded by [`FILE_LIMIT`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read;
    let whole = |why: &dyn fmt::Display| FileError::new(path, 0, why);
    let file = std::fs::File::open(path).map_err(|e| whole(&plain(&e)))?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| whole(&plain(&e)))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(whole(&"larger than 64 MiB, which no list of hosts is"));
    }
    Ok(bytes)
}

/// The text of an I/O error without Rust's `(os error N)`.
fn plain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
