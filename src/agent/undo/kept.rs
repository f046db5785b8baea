//! Content that is kept, and given back.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bstr::BStr;
use xattr::FileExt;

use super::record::Plain;
use crate::fsx::{Dir, Fresh, Meta, Wanted};
use crate::sys::at;

/// A file that is larger is not kept, by a second name; it costs room as long as it is.
const MOST_LINKED: u64 = 64 << 20;
/// A file that is larger is not copied: that costs time, too.
const MOST_COPIED: u64 = 16 << 20;
/// What is tidied away is to make room.
const MOST_SMALL: u64 = 1 << 20;

/// How the content of an object is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'p> {
    /// The object loses its name: a second name is enough.
    Link,
    /// As `Link`, if it is small.
    Small,
    /// The object itself is changed: a copy.
    Copy,
    /// It is only renamed.
    Moved(&'p Path),
}

/// Keeps the content of a file under a number. `false`: it is too large.
pub fn keep(dir: &Dir, name: &BStr, meta: &Meta, run: &Dir, number: u32, way: Way<'_>) -> io::Result<bool> {
    let own = number.to_string();
    let own = BStr::new(&own);
    let most = if way == Way::Small { MOST_SMALL } else { MOST_LINKED };
    if meta.size() > most {
        return Ok(false);
    }
    if way != Way::Copy && stays_as_it_is(dir, meta)? && dir.hard_link(name, run, own).is_ok() {
        if run.meta(own)?.inode() == meta.inode() {
            return Ok(true);
        }
        // Exchanged for something else meanwhile.
        run.unlink(own)?;
        return Err(io::Error::other("it was exchanged while it was kept"));
    }
    if meta.size() > MOST_COPIED {
        return Ok(false);
    }
    let mut from = dir.read(name)?;
    if at::file_meta(&from)?.inode() != meta.inode() {
        return Err(io::Error::other("it was exchanged while it was kept"));
    }
    let mut to = run.create_new(own, 0o600)?;
    let copied = io::copy(&mut from, &mut to).and_then(|_| {
        carry(&from, &to)?;
        at::file_times(&to, meta.atime(), meta.mtime())
    });
    if let Err(error) = copied {
        let _ = run.unlink(own);
        return Err(error);
    }
    Ok(true)
}

/// Keeps content that a file had.
pub fn keep_bytes(content: &[u8], was: &Meta, run: &Dir, number: u32) -> io::Result<bool> {
    if content.len() as u64 > MOST_COPIED {
        return Ok(false);
    }
    let own = number.to_string();
    let mut to = run.create_new(BStr::new(&own), 0o600)?;
    to.write_all(content)?;
    at::file_times(&to, was.atime(), was.mtime())?;
    Ok(true)
}

/// Whether a second name harms nobody. A file with two names in a directory where others may put files looks like one
/// that somebody linked there, and the agent would leave it alone from then on.
fn stays_as_it_is(dir: &Dir, meta: &Meta) -> io::Result<bool> {
    let here = dir.self_meta()?;
    Ok(here.mode() & 0o022 == 0 && (here.uid() == 0 || here.uid() == meta.uid()))
}

/// Writes content that was kept beside the name it had, and gives it everything that it had; it then only has to get
/// its name. An error where it is not what was kept.
pub fn fresh<'d>(run: &Dir, number: u32, was: &Plain, to: &'d Dir) -> io::Result<Fresh<'d>> {
    let mut from = run.read(number.to_string().as_str().into())?;
    let meta = at::file_meta(&from)?;
    if (meta.size(), meta.mtime()) != (was.size, was.mtime()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "somebody who had it open has written to it since",
        ));
    }
    let mut fresh = Fresh::new(to)?;
    fresh.fill(&mut from)?;
    let root = nix::unistd::geteuid().is_root();
    if root {
        at::file_chown(fresh.file(), Some(was.rights.uid), Some(was.rights.gid))?;
    }
    carry(&from, fresh.file())?;
    Ok(fresh)
}

/// What such a file must be when it gets its name. Its owner was set before its attributes, which a new owner would clear.
pub fn wanted(was: &Plain) -> Wanted {
    Wanted {
        mode: was.rights.mode,
        times: Some((was.mtime(), was.mtime())),
        size: Some(was.size),
        carry: false,
        ..Wanted::default()
    }
}

/// All attributes. Those that only the kernel or a file system of another kind can set stay away.
fn carry(from: &File, to: &File) -> io::Result<()> {
    let Ok(list) = from.list_xattr() else { return Ok(()) };
    for attribute in list {
        if let Some(value) = from.get_xattr(&attribute)?
            && let Err(error) = to.set_xattr(&attribute, &value)
            && attribute.as_encoded_bytes().starts_with(b"system.posix_acl")
        {
            return Err(error);
        }
    }
    Ok(())
}
