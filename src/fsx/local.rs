//! This machine as a source of trees.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use bstr::{BStr, BString, ByteSlice};

use super::scan::scan_with;
use super::{Deliver, Digests, Entry, Place, Select, Source, SourceError, scan};
use crate::sys::at::{self, Dir, Meta};

/// Trees of this machine.
#[derive(Debug, Default)]
pub struct Local {
    /// Put the access time of each file back after reading it (`stealth=true`).
    pub stealth: bool,
    /// Digests that are remembered; none where each file is to be read.
    sums: Option<Rc<Digests>>,
    unread: Vec<(BString, String)>,
}

impl Local {
    /// A source that restores access times when `stealth` is set.
    pub fn new(stealth: bool) -> Self {
        Local {
            stealth,
            ..Local::default()
        }
    }

    /// A file whose digest is remembered there is not read again to make one.
    pub fn remembering(mut self, sums: Rc<Digests>) -> Self {
        self.sums = Some(sums);
        self
    }
}

impl Source for Local {
    fn name(&self) -> &str {
        "localhost"
    }

    fn manifest(&mut self, root: &Path, select: &Select) -> Result<Vec<Entry>, SourceError> {
        let mut unread = Vec::new();
        let mut trouble = |path: &BStr, error: io::Error| unread.push((path.to_owned(), error.to_string()));
        let result = match &self.sums {
            None => scan(root, select, &mut trouble),
            Some(sums) => {
                sums.mind_clock();
                let mut digest = |dir: &Dir, name: &BStr, meta: &Meta| {
                    sums.of(dir, name, meta, &mut || Ok(())).map(|found| found.digest)
                };
                scan_with(root, select, &mut digest, &mut trouble)
            }
        };
        self.unread = unread;
        result.map_err(missing)
    }

    fn unread(&self) -> &[(BString, String)] {
        &self.unread
    }

    fn fetch(&mut self, root: &Path, wanted: &[&Entry], deliver: &mut Deliver<'_>) -> Result<(), SourceError> {
        let top = Top::open(root).map_err(missing)?;
        for entry in wanted {
            match top.open_file(entry.path.as_ref()) {
                Ok(file) => {
                    let before = at::file_meta(&file)?;
                    let mut reader = Exact {
                        left: before.size(),
                        file: &file,
                    };
                    deliver(entry, Ok(&mut reader))?;
                    if self.stealth {
                        // Somebody else's file cannot be stamped by a user who is not root: nothing is lost by that.
                        let _ = at::file_times(&file, before.atime(), before.mtime());
                    }
                }
                Err(error) => deliver(entry, Err(missing(error)))?,
            }
        }
        Ok(())
    }
}

fn missing(error: io::Error) -> SourceError {
    match error.raw_os_error() {
        Some(nix::libc::ENOENT | nix::libc::ENOTDIR) => SourceError::Missing,
        _ => SourceError::Io(error),
    }
}

/// The root of a tree, open: a directory, or a single object in one.
enum Top {
    Dir(Dir),
    One(Place),
}

impl Top {
    fn open(root: &Path) -> io::Result<Top> {
        let bytes = root.as_os_str().as_bytes();
        if bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes.ends_with(b"..") || bytes == b"." {
            return Ok(Top::Dir(Dir::open(root)?));
        }
        let place = Place::of(root)?;
        match place.look()? {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(meta) if meta.is_dir() => Ok(Top::Dir(place.dir.dir(place.name())?)),
            Some(_) => Ok(Top::One(place)),
        }
    }

    fn open_file(&self, path: &BStr) -> io::Result<File> {
        match self {
            Top::One(place) if path.is_empty() => place.dir.read(place.name()),
            Top::Dir(top) if !path.is_empty() => {
                let (dir, name) = top.parent_of(path.as_bytes().as_bstr())?;
                dir.read(name)
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Exactly as many bytes as the file had when it was opened. A file that shrinks meanwhile is an error, never a short
/// copy; what a growing file gains is left for the next run.
struct Exact<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn wanted_files_come_in_order_and_a_missing_one_does_not_stop_the_rest() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("d")).unwrap();
        for name in ["a", "d/b", "c"] {
            fs::write(top.path().join(name), name).unwrap();
        }
        let all = Select {
            recurse: u32::MAX,
            ..Select::default()
        };
        let mut local = Local::default();
        let entries = local.manifest(top.path(), &all).unwrap();
        fs::remove_file(top.path().join("c")).unwrap();
        let wanted: Vec<&Entry> = entries.iter().filter(|e| e.kind == crate::fsx::Kind::File).collect();
        let mut got = Vec::new();
        local
            .fetch(top.path(), &wanted, &mut |entry, content| {
                let mut text = String::new();
                match content {
                    Ok(reader) => reader.read_to_string(&mut text).map(|_| ())?,
                    Err(error) => text = error.to_string(),
                }
                got.push((entry.path.to_string(), text));
                Ok(())
            })
            .unwrap();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(
            got,
            [
                pair("a", "a"),
                pair("c", "no such file or directory"),
                pair("d/b", "d/b")
            ]
        );
    }

    #[test]
    fn a_link_put_in_place_of_a_directory_is_not_followed() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("t/d")).unwrap();
        fs::write(top.path().join("t/d/f"), "mine").unwrap();
        fs::create_dir(top.path().join("secret")).unwrap();
        fs::write(top.path().join("secret/f"), "secret").unwrap();
        let root = top.path().join("t");
        let mut local = Local::default();
        let all = Select {
            recurse: u32::MAX,
            ..Select::default()
        };
        let entries = local.manifest(&root, &all).unwrap();
        fs::rename(root.join("d"), root.join("old")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("d")).unwrap();
        let wanted: Vec<&Entry> = entries.iter().filter(|e| e.path == "d/f").collect();
        let mut refused = false;
        local
            .fetch(&root, &wanted, &mut |_, content| {
                refused = content.is_err();
                Ok(())
            })
            .unwrap();
        assert!(refused);
    }

    #[test]
    fn a_source_that_is_not_there_is_missing() {
        let error = Local::default()
            .manifest(Path::new("/nonexistent/x"), &Select::default())
            .unwrap_err();
        assert!(matches!(error, SourceError::Missing));
    }

    #[test]
    fn a_file_whose_digest_is_remembered_is_not_read_again() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("f"), "x").unwrap();
        let select = Select {
            digest: true,
            recurse: u32::MAX,
            ..Select::default()
        };
        let sums = Rc::new(Digests::default());
        let look = || {
            let mut local = Local::new(false).remembering(Rc::clone(&sums));
            local.manifest(top.path(), &select).unwrap()
        };
        assert_eq!(look(), Local::new(false).manifest(top.path(), &select).unwrap());
        let meta = Dir::open(top.path()).unwrap().meta("f".into()).unwrap();
        assert_eq!(sums.known(&meta), None, "it was written just now");
        std::thread::sleep(std::time::Duration::from_millis(150));
        let entries = look();
        assert_eq!(sums.known(&meta), Some(crate::digest::blake3(b"x")));
        assert_eq!(look(), entries);
    }
}
