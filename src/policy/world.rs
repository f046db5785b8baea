//! The questions the language asks of the machine. `facts::Machine` answers them for real, tests answer from a table.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use bstr::{BStr, BString};

/// What a command printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// Standard output and standard error, merged in order.
    pub text: BString,
    /// The exit status; 128 + n for a signal n.
    pub status: i32,
}

/// What kind of object a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileKind {
    Plain,
    Dir,
    Link,
    Other,
}

/// What lstat(2) says, as far as class functions ask. Times are nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The kind of object, links not followed.
    pub kind: FileKind,
    /// Last access.
    pub atime: i128,
    /// Last content change.
    pub mtime: i128,
    /// Last inode change.
    pub ctime: i128,
}

/// The machine as the language sees it.
pub trait World {
    /// Reads a policy file. A name that starts with neither `.` nor `/` is looked up in the inputs directory
    /// (`CFINPUTS`). Gives the path that was opened and its content.
    fn read_policy(&mut self, name: &BStr) -> io::Result<(PathBuf, Vec<u8>)>;

    /// An environment variable.
    fn env(&self, name: &BStr) -> Option<BString>;

    /// Runs a command: without a shell it is split at blanks, quotes honoured, and must be an absolute path.
    fn run(&mut self, command: &BStr, shell: bool) -> io::Result<CommandOutput>;

    /// Looks at a path without following a link.
    fn lstat(&self, path: &BStr) -> Option<FileFacts>;

    /// The first `limit` bytes of a file.
    fn read_file(&self, path: &BStr, limit: usize) -> io::Result<Vec<u8>>;

    /// Whether a user exists, by name or number.
    fn user_exists(&self, user: &BStr) -> bool;

    /// Whether a group exists, by name or number.
    fn group_exists(&self, group: &BStr) -> bool;

    /// Whether this host is in a netgroup.
    fn in_netgroup(&self, group: &BStr) -> bool;

    /// The addresses of this host's interfaces, loopback left out.
    fn addresses(&self) -> Vec<IpAddr>;

    /// Runs a module (cfengine2.md 14.16) and gives its output lines; `None` where there is no such module. It finds the
    /// classes, separated by `:`, in its environment as `CFALLCLASSES`.
    fn run_module(&mut self, name: &BStr, args: &BStr, classes: &BStr) -> Option<io::Result<CommandOutput>>;

    /// Connects, sends text, and reads at most `limit` bytes.
    fn read_tcp(&mut self, host: &BStr, port: u16, send: &BStr, limit: usize) -> io::Result<Vec<u8>>;

    /// A random number in `low..high`.
    fn random(&mut self, low: u64, high: u64) -> u64;

    /// Something worth telling at verbose level.
    fn verbose(&mut self, text: &str);
}
