//! What a tree holds, and where its content comes from: this machine or a server.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bstr::BString;

use crate::sys::at::Meta;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Dir,
    Link,
    Fifo,
    Socket,
    /// With its device number.
    Char(u64),
    /// With its device number.
    Block(u64),
}

impl Kind {
    /// What an object is, by what the system says of it.
    pub fn of(meta: &Meta) -> Kind {
        if meta.is_dir() {
            Kind::Dir
        } else if meta.is_link() {
            Kind::Link
        } else if meta.is_fifo() {
            Kind::Fifo
        } else if meta.is_socket() {
            Kind::Socket
        } else if meta.is_char() {
            Kind::Char(meta.rdev())
        } else if meta.is_block() {
            Kind::Block(meta.rdev())
        } else {
            Kind::File
        }
    }
}

/// One object of a tree. Links are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the root that was asked for, without a leading slash; empty for the root itself.
    pub path: BString,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `mode & 07777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content; 0 for anything but plain files.
    pub size: u64,
    /// Content change, nanoseconds since the epoch.
    pub mtime: i128,
    /// Inode change, nanoseconds since the epoch.
    pub ctime: i128,
    /// Device and inode, to find hard links within one tree.
    pub inode: (u64, u64),
    /// Number of hard links.
    pub nlink: u64,
    /// Where a symbolic link points; empty otherwise.
    pub target: BString,
    /// blake3 of the content, where it was asked for and the entry is a plain file.
    pub digest: Option<[u8; 32]>,
}

/// Which part of a tree is wanted. Patterns are shell wildcards on names or whole relative paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Select {
    /// How many levels of directories are entered; 0 = the root only, `u32::MAX` = all.
    pub recurse: u32,
    /// Only plain files that match one of these (all when empty).
    pub include: Vec<BString>,
    /// Not what matches one of these.
    pub exclude: Vec<BString>,
    /// Neither looked at nor entered.
    pub ignore: Vec<BString>,
    /// Stay on one filesystem.
    pub xdev: bool,
    /// Give the digest of each plain file.
    pub digest: bool,
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The object is not there.
    #[error("no such file or directory")]
    Missing,
    /// The server does not grant it; the text is what the server said.
    #[error("{0}")]
    Refused(String),
    /// The server could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The server has too much to do now, and may have said when to come again.
    #[error("{0}")]
    Busy(String, Option<std::time::Duration>),
    /// One side did not accept the other's key.
    #[error("{0}")]
    Authentication(String),
    /// The peer broke the protocol.
    #[error("{0}")]
    Protocol(String),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// From this size on, in bytes, what is here already of a file is worth more than the look at it.
pub const LARGE: u64 = 1 << 20;

/// The error of a reader whose file cannot be made of what was here: the file is handed over once more.
#[derive(Debug, thiserror::Error)]
#[error("what was here of it did not stay what it was; it comes whole")]
pub struct Again;

impl Again {
    /// As an error of a reader.
    pub fn error() -> io::Error {
        io::Error::other(Again)
    }

    /// Whether a reader ended so.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Again>())
    }
}

/// Gives what is here of a wanted file, by its number in the list: open files whose content may be much like its own.
pub type Olds<'a> = dyn FnMut(usize) -> Vec<File> + 'a;

/// What takes the content of one file: the entry, and a reader of exactly its bytes or why there is none. An error of its
/// own ends the stream.
pub type Deliver<'a> = dyn FnMut(&Entry, Result<&mut dyn Read, SourceError>) -> io::Result<()> + 'a;

/// Where a tree comes from: this machine or a server. One manifest, one stream of content, no round trip per file.
pub trait Source {
    /// `localhost`, or the name of the server, for messages.
    fn name(&self) -> &str;

    /// What is at `root`: the root's own entry first, parents before children, names in byte order.
    fn manifest(&mut self, root: &Path, select: &Select) -> Result<Vec<Entry>, SourceError>;

    /// As [`Source::manifest`]. Where the manifest of an earlier run is remembered, `meanwhile` is given that while the
    /// source still looks whether it holds: what is here can be looked at in the same time.
    fn manifest_while(
        &mut self,
        root: &Path,
        select: &Select,
        _meanwhile: &mut dyn FnMut(&[Entry]),
    ) -> Result<Vec<Entry>, SourceError> {
        self.manifest(root, select)
    }

    /// Whether a reader of [`Source::fetch`] gives its last byte only when the content has the digest of the entry, where
    /// that has one: then it need not be digested again.
    fn vouches(&self) -> bool {
        false
    }

    /// What could not be read below the root when [`Source::manifest`] was last called: the path below the root and the
    /// cause. Nothing may be concluded about what is there, so nothing may be purged there.
    fn unread(&self) -> &[(BString, String)] {
        &[]
    }

    /// Content of the wanted plain files, each handed to `deliver` with a reader of exactly its bytes, in the order
    /// asked for. A file that could not be read is handed over as an error and the others still come.
    fn fetch(&mut self, root: &Path, wanted: &[&Entry], deliver: &mut Deliver<'_>) -> Result<(), SourceError>;

    /// As [`Source::fetch`]. Of files of [`LARGE`] and more bytes a source far away may send only what none of their olds
    /// has. Such a reader may end in [`Again`]: nothing of it is to be used, and the same entry is handed over next.
    fn fetch_over(
        &mut self,
        root: &Path,
        wanted: &[&Entry],
        _olds: &mut Olds<'_>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), SourceError> {
        self.fetch(root, wanted, deliver)
    }
}

impl<S: Source + ?Sized> Source for &mut S {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn manifest(&mut self, root: &Path, select: &Select) -> Result<Vec<Entry>, SourceError> {
        (**self).manifest(root, select)
    }

    fn manifest_while(
        &mut self,
        root: &Path,
        select: &Select,
        meanwhile: &mut dyn FnMut(&[Entry]),
    ) -> Result<Vec<Entry>, SourceError> {
        (**self).manifest_while(root, select, meanwhile)
    }

    fn vouches(&self) -> bool {
        (**self).vouches()
    }

    fn unread(&self) -> &[(BString, String)] {
        (**self).unread()
    }

    fn fetch(&mut self, root: &Path, wanted: &[&Entry], deliver: &mut Deliver<'_>) -> Result<(), SourceError> {
        (**self).fetch(root, wanted, deliver)
    }

    fn fetch_over(
        &mut self,
        root: &Path,
        wanted: &[&Entry],
        olds: &mut Olds<'_>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), SourceError> {
        (**self).fetch_over(root, wanted, olds, deliver)
    }
}
