//! Tree entries and selections.

use bstr::{BStr, BString, ByteSlice};

use super::codec::{Put, Take};
use super::{MAX_PATH, WireError};
use crate::fsx::{Entry, Kind, Select};

/// Patterns in one list of a selection.
pub const MAX_PATTERNS: usize = 1024;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// The fewest bytes an entry takes.
pub(super) const LEAST_ENTRY: usize = 2 + 1 + 12 + 8 + 12 + 12 + 16 + 8 + 2 + 1;

/// Whether a path stays below its root whatever the root is: components without empty ones, `.`, `..` and NUL. The
/// empty path is the root itself.
pub fn relative(path: &BStr) -> bool {
    path.is_empty()
        || path
            .split_str("/")
            .all(|part| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0))
}

/// Appends one entry of a manifest.
pub fn put_entry(entry: &Entry, out: &mut Vec<u8>) -> Result<(), WireError> {
    let mut put = Put(out);
    put.text("a path", &entry.path, MAX_PATH)?;
    match entry.kind {
        Kind::File => put.u8(0),
        Kind::Dir => put.u8(1),
        Kind::Link => put.u8(2),
        Kind::Fifo => put.u8(3),
        Kind::Socket => put.u8(4),
        Kind::Char(device) => {
            put.u8(5);
            put.u64(device);
        }
        Kind::Block(device) => {
            put.u8(6);
            put.u64(device);
        }
    }
    put.u32(entry.mode);
    put.u32(entry.uid);
    put.u32(entry.gid);
    put.u64(entry.size);
    put.time(entry.mtime);
    put.time(entry.ctime);
    put.u64(entry.inode.0);
    put.u64(entry.inode.1);
    put.u64(entry.nlink);
    put.text("a link target", &entry.target, MAX_PATH)?;
    put.maybe_digest(entry.digest.as_ref());
    Ok(())
}

/// Reads one entry; its path is [`relative`].
pub(super) fn take_entry(take: &mut Take<'_>) -> Result<Entry, WireError> {
    let path = take.text("a path", MAX_PATH)?;
    if !relative(path.as_ref()) {
        return Err(WireError::Value("a path"));
    }
    let kind = match take.u8()? {
        0 => Kind::File,
        1 => Kind::Dir,
        2 => Kind::Link,
        3 => Kind::Fifo,
        4 => Kind::Socket,
        5 => Kind::Char(take.u64()?),
        6 => Kind::Block(take.u64()?),
        _ => return Err(WireError::Value("a kind of file")),
    };
    let mode = take.u32()?;
    if mode & !0o7777 != 0 {
        return Err(WireError::Value("a mode"));
    }
    Ok(Entry {
        path,
        kind,
        mode,
        uid: take.u32()?,
        gid: take.u32()?,
        size: take.u64()?,
        mtime: take.time()?,
        ctime: take.time()?,
        inode: (take.u64()?, take.u64()?),
        nlink: take.u64()?,
        target: take.text("a link target", MAX_PATH)?,
        digest: take.maybe_digest()?,
    })
}

/// Entries as [`put_entry`] wrote them one behind the other.
pub fn take_entries(bytes: &[u8]) -> Result<Vec<Entry>, WireError> {
    let mut take = Take::new(bytes);
    let mut entries = Vec::with_capacity(bytes.len() / (2 * LEAST_ENTRY));
    while !take.is_empty() {
        entries.push(take_entry(&mut take)?);
    }
    Ok(entries)
}

/// A selection as it is written in a request: equal ones have equal bytes.
pub fn select_bytes(select: &Select) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    put_select(select, &mut Put(&mut bytes))?;
    Ok(bytes)
}

pub(super) fn put_select(select: &Select, put: &mut Put<'_>) -> Result<(), WireError> {
    put.u32(select.recurse);
    put.flag(select.xdev);
    put.flag(select.digest);
    let lists: [&[BString]; 3] = [&select.include, &select.exclude, &select.ignore];
    lists
        .iter()
        .try_for_each(|list| put.texts("a pattern", list, MAX_PATTERNS, MAX_PATTERN))
}

pub(super) fn take_select(take: &mut Take<'_>) -> Result<Select, WireError> {
    Ok(Select {
        recurse: take.u32()?,
        xdev: take.flag("a flag")?,
        digest: take.flag("a flag")?,
        include: take.texts("a pattern", MAX_PATTERNS, MAX_PATTERN)?,
        exclude: take.texts("a pattern", MAX_PATTERNS, MAX_PATTERN)?,
        ignore: take.texts("a pattern", MAX_PATTERNS, MAX_PATTERN)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_its_root_is_not_relative() {
        for good in ["", "a", "a/b", "...", "a/..b", "\u{1b}x"] {
            assert!(relative(good.into()), "{good}");
        }
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0"] {
            assert!(!relative(bad.into()), "{bad}");
        }
    }
}
