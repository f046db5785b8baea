//! Walks a tree by directory descriptors: no link is followed, no path resolved twice, names are bytes in byte order.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BStr, BString};

use super::{Entry, Kind, Place, Select, any_matches};
use crate::sys::at::{Dir, Meta};

/// Deeper trees are not entered: each level holds a descriptor.
const MAX_DEPTH: usize = 250;

/// Walks the tree at `root`: the root's own entry first, parents before children, names in byte order.
///
/// The last component of `root` is not followed when it is a link, unless the path ends in `/` or `/.`. What cannot be
/// read below the root is handed to `trouble` with its path below the root, and the walk goes on; what vanishes
/// meanwhile is left out. Only a failure at the root itself is an error.
pub fn scan(root: &Path, select: &Select, trouble: &mut dyn FnMut(&BStr, io::Error)) -> io::Result<Vec<Entry>> {
    scan_with(root, select, &mut digest_in, trouble)
}

/// As [`scan`]; `digest` gives the digest of a plain file, from memory perhaps.
pub(super) fn scan_with(
    root: &Path,
    select: &Select,
    digest: &mut DigestOf<'_>,
    trouble: &mut dyn FnMut(&BStr, io::Error),
) -> io::Result<Vec<Entry>> {
    let bytes = root.as_os_str().as_bytes();
    let bounds = Bounds {
        limit: usize::MAX,
        tick: &mut || Ok(()),
    };
    if bytes == b"/" || bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes == b"." || bytes.ends_with(b"/..") {
        scan_in(&Dir::open(root)?, None, select, bounds, digest, trouble)
    } else {
        let place = Place::of(root)?;
        scan_in(&place.dir, Some(place.name()), select, bounds, digest, trouble)
    }
}

/// How far a walk may go.
pub struct Bounds<'a> {
    /// More objects are an error.
    pub limit: usize,
    /// Called at every name that is looked at; its error ends the walk.
    pub tick: &'a mut dyn FnMut() -> io::Result<()>,
}

/// As [`scan`], from a directory held open: the directory itself, or one object in it, within bounds.
pub fn scan_in(
    dir: &Dir,
    name: Option<&BStr>,
    select: &Select,
    bounds: Bounds<'_>,
    digest: &mut DigestOf<'_>,
    trouble: &mut dyn FnMut(&BStr, io::Error),
) -> io::Result<Vec<Entry>> {
    let mut walk = Walk {
        select,
        device: 0,
        entries: Vec::new(),
        bounds,
        over: None,
        digest,
        trouble,
    };
    match name {
        None => {
            let meta = dir.self_meta()?;
            walk.device = meta.inode().0;
            walk.entries.push(entry(BString::default(), &meta));
            walk.enter(dir, &BString::default(), 0);
        }
        Some(name) => {
            let meta = dir.meta(name)?;
            walk.device = meta.inode().0;
            walk.add(dir, name, BString::default(), &meta, 0)?;
        }
    }
    match walk.over {
        Some(error) => Err(error),
        None => Ok(walk.entries),
    }
}

/// Gives the digest of a plain file in a directory.
pub type DigestOf<'a> = dyn FnMut(&Dir, &BStr, &Meta) -> io::Result<[u8; 32]> + 'a;

fn digest_in(dir: &Dir, name: &BStr, meta: &Meta) -> io::Result<[u8; 32]> {
    digest_sized(dir.read(name)?, meta.size())
}

/// blake3 of everything a reader gives.
pub fn digest_of(reader: impl Read) -> io::Result<[u8; 32]> {
    digest_sized(reader, u64::MAX)
}

/// As [`digest_of`], of about so many bytes: a small file does not pay for a large buffer.
pub(super) fn digest_sized(mut reader: impl Read, size: u64) -> io::Result<[u8; 32]> {
    const LEAST: usize = 512;
    const MOST: usize = 128 * 1024;
    let mut hasher = blake3::Hasher::new();
    // One more than the size, so that the end is seen without a full buffer before it.
    let size = usize::try_from(size).unwrap_or(MOST).saturating_add(1);
    let mut buffer = vec![0; size.clamp(LEAST, MOST)];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(read) => {
                hasher.update(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Walk<'a, 'd, 't> {
    select: &'a Select,
    device: u64,
    entries: Vec<Entry>,
    bounds: Bounds<'t>,
    /// Why the walk ended early.
    over: Option<io::Error>,
    digest: &'a mut DigestOf<'d>,
    trouble: &'a mut dyn FnMut(&BStr, io::Error),
}

impl Walk<'_, '_, '_> {
    /// Adds an object, and what is in it when it is a directory to be entered.
    fn add(&mut self, dir: &Dir, name: &BStr, path: BString, meta: &Meta, depth: usize) -> io::Result<()> {
        if self.entries.len() >= self.bounds.limit {
            let text = format!("more than {} files and directories", self.bounds.limit);
            self.over = Some(io::Error::other(text));
            return Ok(());
        }
        let mut found = entry(path, meta);
        match found.kind {
            Kind::Link => found.target = dir.read_link(name)?,
            Kind::File if self.select.digest => {
                found.digest = match (self.digest)(dir, name, meta) {
                    Ok(digest) => Some(digest),
                    Err(error) => {
                        (self.trouble)(found.path.as_ref(), error);
                        None
                    }
                }
            }
            _ => {}
        }
        let enter = found.kind == Kind::Dir && !(self.select.xdev && meta.inode().0 != self.device);
        let path = enter.then(|| found.path.clone());
        self.entries.push(found);
        if let Some(path) = path
            && u32::try_from(depth).is_ok_and(|depth| depth < self.select.recurse)
        {
            match dir.dir(name) {
                Ok(inner) => self.enter(&inner, &path, depth),
                // It was shown already: that it is empty must not be concluded.
                Err(error) => (self.trouble)(path.as_ref(), error),
            }
        }
        Ok(())
    }

    fn enter(&mut self, dir: &Dir, path: &BString, depth: usize) {
        if self.select.recurse == 0 {
            return;
        }
        if depth >= MAX_DEPTH {
            let error = io::Error::other(format!("more than {MAX_DEPTH} levels of directories"));
            return (self.trouble)(path.as_ref(), error);
        }
        let names = match dir.names() {
            Ok(names) => names,
            Err(error) => return (self.trouble)(path.as_ref(), error),
        };
        for name in names {
            if self.over.is_some() {
                return;
            }
            if let Err(error) = (self.bounds.tick)() {
                self.over = Some(error);
                return;
            }
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
            if any_matches(&self.select.ignore, below.as_ref()) {
                continue;
            }
            let result = dir.look(name.as_ref()).and_then(|meta| match meta {
                Some(meta) if self.wanted(below.as_ref(), &meta) => {
                    self.add(dir, name.as_ref(), below.clone(), &meta, depth + 1)
                }
                _ => Ok(()),
            });
            if let Err(error) = result {
                self.unread(&below, error);
            }
        }
    }

    /// Directories are always shown and entered; the patterns choose among everything else.
    fn wanted(&self, path: &BStr, meta: &Meta) -> bool {
        if meta.is_dir() {
            return true;
        }
        let included = !meta.is_file() || self.select.include.is_empty() || any_matches(&self.select.include, path);
        included && !any_matches(&self.select.exclude, path)
    }

    fn unread(&mut self, path: &BString, error: io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            (self.trouble)(path.as_ref(), error);
        }
    }
}

fn entry(path: BString, meta: &Meta) -> Entry {
    let kind = Kind::of(meta);
    Entry {
        path,
        kind,
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        size: if kind == Kind::File { meta.size() } else { 0 },
        mtime: meta.mtime(),
        ctime: meta.ctime(),
        inode: meta.inode(),
        nlink: meta.nlink(),
        target: BString::default(),
        digest: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;

    fn names(root: &Path, select: &Select) -> Vec<BString> {
        let mut trouble = |path: &BStr, error: io::Error| panic!("{path}: {error}");
        let entries = scan(root, select, &mut trouble).unwrap();
        entries.into_iter().map(|entry| entry.path).collect()
    }

    #[test]
    fn names_are_bytes_in_byte_order_and_links_are_not_entered() {
        let top = tempfile::tempdir().unwrap();
        let odd = OsStr::from_bytes(b"b \n\xff");
        fs::create_dir(top.path().join("d")).unwrap();
        fs::write(top.path().join("d").join("x"), "x").unwrap();
        fs::write(top.path().join(odd), "y").unwrap();
        std::os::unix::fs::symlink("d", top.path().join("a")).unwrap();
        let all = Select {
            recurse: u32::MAX,
            ..Select::default()
        };
        let wanted: Vec<BString> = vec![
            "".into(),
            "a".into(),
            BString::from(b"b \n\xff".to_vec()),
            "d".into(),
            "d/x".into(),
        ];
        assert_eq!(names(top.path(), &all), wanted);
        assert_eq!(names(&top.path().join("a"), &all), [BString::default()]);
        assert_eq!(names(&top.path().join("a/."), &all).len(), 2);
        let flat = Select {
            recurse: 1,
            ..Select::default()
        };
        assert_eq!(names(top.path(), &flat).len(), 4);
        assert_eq!(names(top.path(), &Select::default()).len(), 1);
    }

    #[test]
    fn include_exclude_and_ignore_choose() {
        let top = tempfile::tempdir().unwrap();
        for path in ["a.c", "b.o", "skip/x.c", "keep/y.c", "keep/z.o"] {
            let path = top.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let select = Select {
            recurse: u32::MAX,
            include: vec!["*.c".into()],
            exclude: vec!["a.*".into()],
            ignore: vec!["skip".into()],
            ..Select::default()
        };
        assert_eq!(names(top.path(), &select), ["", "keep", "keep/y.c"]);
    }

    #[test]
    fn a_digest_is_that_of_the_content() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("f"), "hello").unwrap();
        let select = Select {
            digest: true,
            ..Select::default()
        };
        let mut trouble = |_: &BStr, _: io::Error| ();
        let entries = scan(&top.path().join("f"), &select, &mut trouble).unwrap();
        assert_eq!(entries[0].digest, Some(*blake3::hash(b"hello").as_bytes()));
    }

    #[test]
    fn a_directory_that_goes_while_it_is_listed_is_not_taken_for_an_empty_one() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("t")).unwrap();
        let dir = Dir::open(&top.path().join("t")).unwrap();
        fs::remove_dir(top.path().join("t")).unwrap();
        let all = Select {
            recurse: u32::MAX,
            ..Select::default()
        };
        let mut unread = 0;
        let bounds = Bounds {
            limit: 9,
            tick: &mut || Ok(()),
        };
        let entries = scan_in(&dir, None, &all, bounds, &mut digest_in, &mut |_, _| unread += 1);
        assert!(entries.is_err() || unread == 1);
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        let error = scan(&top.path().join("none"), &Select::default(), &mut |_, _| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
