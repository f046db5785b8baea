//! What came from a host, kept apart until it is known to be whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use bstr::{BStr, BString, ByteSlice};
use sha2::{Digest, Sha256};

use super::untar::{Member, Taker, What};
use crate::digest::hex;
use crate::sys::at::{Dir, Meta, Node};

/// Holes are made of so many zeros in their place.
const HOLE: usize = 4096;

/// A directory beside the place, in which what comes is kept until it is known to be whole; gone when it is dropped.
pub(super) struct Stage {
    parent: Dir,
    name: BString,
    dir: Dir,
    keep: bool,
    /// The first component of all members.
    top: Option<BString>,
    file: Option<(File, u64, u64, Sha256)>,
    member: BString,
    mtime: i64,
    mode: u32,
    /// What came, to be compared with what the host says of it.
    sums: HashMap<BString, String>,
    wrong: Vec<BString>,
    dirs: Vec<(BString, u32, i64)>,
}

impl Stage {
    pub fn new(place: &Dir, keep: bool) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = BString::from(format!(".ccp.{}.{number}", std::process::id()));
            match place.mkdir(name.as_bstr(), 0o700) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            return Ok(Stage {
                parent: place.again()?,
                dir: place.dir(name.as_bstr())?,
                name,
                keep,
                top: None,
                file: None,
                member: BString::default(),
                mtime: 0,
                mode: 0,
                sums: HashMap::new(),
                wrong: Vec::new(),
                dirs: Vec::new(),
            });
        }
    }

    /// Where a member goes: below `f`, whatever the name of the source.
    fn path(&mut self, member: &BStr) -> io::Result<BString> {
        let refuse = || io::Error::other(format!("it sends the name '{member}', which was not asked for"));
        let mut parts = member
            .strip_prefix(b"./")
            .ok_or_else(refuse)?
            .split(|&b| b == b'/')
            .peekable();
        let top = BString::from(parts.next().unwrap_or_default());
        let known = self.top.get_or_insert_with(|| top.clone());
        if *known != top || top.is_empty() || top == "." || top == ".." {
            return Err(refuse());
        }
        let mut path = BString::from("f");
        while let Some(part) = parts.next() {
            // A directory may end with a slash.
            if part.is_empty() && parts.peek().is_none() {
                break;
            }
            if part.is_empty() || part == b"." || part == b".." {
                return Err(refuse());
            }
            path.push(b'/');
            path.extend_from_slice(part);
        }
        Ok(path)
    }

    /// A line of sha256sum.
    pub fn sum(&mut self, line: &[u8]) {
        let (line, escaped) = match line.strip_prefix(b"\\") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (Some(digest), Some(name)) = (line.get(..64), line.get(66..)) else {
            return;
        };
        let name = match escaped {
            true => crate::fan::copy::unescaped(name),
            false => name.to_vec(),
        };
        if let Ok(path) = self.path(name.as_bstr())
            && let Some(ours) = self.sums.remove(&path)
            && ours.as_bytes() != digest
        {
            self.wrong.push(path);
        }
    }

    /// Puts what is whole into its place.
    pub fn finish(self, place: &Dir, name: &BStr, troubles: &mut Vec<String>) -> io::Result<()> {
        let wrong = self.wrong.iter().chain(self.sums.keys());
        for path in wrong {
            let shown = path.strip_prefix(b"f").unwrap_or(path).as_bstr();
            troubles.push(format!(
                "{name}{shown}: it changed while it was copied, and was left out"
            ));
            let (dir, own) = self.dir.parent_of(path.as_bstr())?;
            dir.unlink(own)?;
        }
        // Inner ones first: what is made in a directory changes its time.
        for (path, mode, mtime) in self.dirs.iter().rev() {
            let (dir, own) = self.dir.parent_of(path.as_bstr())?;
            let mtime = i128::from(*mtime) * 1_000_000_000;
            dir.object(own)?.chmod(mode & 0o777 | 0o700)?;
            if self.keep {
                dir.set_times(own, mtime, mtime)?;
            }
        }
        self.dir.sync_file_system()?;
        let from = BStr::new(b"f");
        if self.dir.look(from)?.is_some() {
            merge(&self.dir, from, place, name, name, troubles);
            place.sync()?;
        }
        Ok(())
    }
}

/// Moves an object to its place. A directory that is there is merged; a link is never followed.
fn merge(from: &Dir, own: &BStr, to: &Dir, name: &BStr, shown: &BStr, troubles: &mut Vec<String>) {
    let mut trouble = |why: &str| troubles.push(format!("{shown}: {why}"));
    let (ours, theirs) = match (from.meta(own), to.look(name)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(error), _) | (_, Err(error)) => return trouble(&error.to_string()),
    };
    let is_dir = |meta: &Meta| meta.is_dir();
    match (ours.is_dir(), theirs.as_ref()) {
        (true, Some(there)) if is_dir(there) => {
            let opened = from.dir(own).and_then(|from| Ok((from.names()?, from, to.dir(name)?)));
            match opened {
                Ok((names, from, to)) => {
                    for inner in names {
                        let shown = BString::from([shown.as_bytes(), b"/", &inner].concat());
                        merge(&from, inner.as_bstr(), &to, inner.as_bstr(), shown.as_bstr(), troubles);
                    }
                    let _ = to.sync();
                }
                Err(error) => trouble(&error.to_string()),
            }
        }
        (true, Some(_)) => trouble("something else is where a directory should be"),
        (false, Some(there)) if is_dir(there) => trouble("a directory is where a file should be"),
        _ => {
            if let Err(error) = from.rename(own, to, name) {
                trouble(&error.to_string());
            }
        }
    }
}

impl Taker for Stage {
    fn member(&mut self, member: &Member) -> io::Result<()> {
        let path = self.path(member.path.as_bstr())?;
        let stage = self.dir.again()?;
        // Only directories that were made here are on the way: links are refused.
        let (dir, own) = stage.parent_of(path.as_bstr())?;
        // Set-user-ID and its like would be a gift of a host to its users here.
        let mode = member.mode & 0o777;
        match member.what {
            What::File => {
                let file = dir.create_new(own, 0o600)?;
                self.file = Some((file, 0, member.size, Sha256::new()));
                (self.mode, self.mtime) = (mode, member.mtime);
            }
            What::Dir => {
                dir.mkdir(own, 0o700)?;
                self.dirs.push((path.clone(), mode, member.mtime));
            }
            What::Link => dir.symlink(member.link.as_bstr(), own)?,
            What::Fifo => dir.mknod(own, Node::Fifo, mode)?,
            What::Device => {}
        }
        self.member = path;
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((file, at, _, digest)) = &mut self.file else {
            return Ok(());
        };
        digest.update(bytes);
        for piece in bytes.chunks(HOLE) {
            // The size is set in the end, so what is not written is a hole.
            if piece.len() < HOLE || piece.iter().any(|&b| b != 0) {
                file.write_all_at(piece, *at)?;
            }
            *at += piece.len() as u64;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let Some((mut file, _, size, digest)) = self.file.take() else {
            return Ok(());
        };
        file.set_len(size)?;
        file.flush()?;
        let (dir, own) = self.dir.parent_of(self.member.as_bstr())?;
        dir.object(own)?.chmod(self.mode)?;
        if self.keep {
            let mtime = i128::from(self.mtime) * 1_000_000_000;
            dir.set_times(own, mtime, mtime)?;
        }
        self.sums.insert(self.member.clone(), hex(&digest.finalize()));
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove(&self.dir);
        let _ = self.parent.rmdir(self.name.as_bstr());
    }
}

/// Removes what is in a directory of ours.
fn remove(dir: &Dir) {
    for name in dir.names().unwrap_or_default() {
        let name = name.as_bstr();
        if dir.unlink(name).is_err()
            && let Ok(inner) = dir.dir(name)
        {
            remove(&inner);
            let _ = dir.rmdir(name);
        }
    }
}
