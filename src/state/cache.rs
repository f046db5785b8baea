//! Files that only save work: `dsau-cache 1 BLAKE3` on the first line, bytes after it. Replaced atomically but not synced:
//! one that is damaged or gone is as good as none, and nothing is said of it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::Store;
use super::store::bytes_of;
use crate::fsx::{Dir, Fresh, Wanted, sweep};

const MAGIC: &str = "dsau-cache 1 ";
/// So many files of one folder are kept, and so many bytes: the ones used last.
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 64 << 20;

impl Store {
    /// What a cache holds, and its blake3; nothing where it is damaged or not there.
    pub fn cached(&self, name: &str) -> Option<(Vec<u8>, [u8; 32])> {
        let mut bytes = bytes_of(&self.dir().join(name)).ok()??;
        let (head, body) = bytes.split_once_str("\n")?;
        let said = head.strip_prefix(MAGIC.as_bytes())?;
        let sum = blake3::hash(body);
        if said != sum.to_hex().as_bytes() {
            return None;
        }
        let start = head.len() + 1;
        bytes.drain(..start);
        Some((bytes, *sum.as_bytes()))
    }

    /// Keeps bytes in a cache.
    pub fn cache(&self, name: &str, body: &[u8]) -> io::Result<()> {
        let head = format!("{MAGIC}{}\n", blake3::hash(body).to_hex());
        self.keep(name, &[head.as_bytes(), body])
    }

    /// A file that checks itself, open; nothing where it is not there.
    pub fn file(&self, name: &str) -> Option<fs::File> {
        fs::File::open(self.dir().join(name)).ok()
    }

    /// Replaces a file that checks itself.
    pub fn keep(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.may_write()?;
        let path = self.dir().join(name);
        let (parent, file) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(file)) => (parent, BString::from(file.as_encoded_bytes())),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if parent != self.dir() && !parent.is_dir() {
            fs::DirBuilder::new().mode(0o700).create(parent)?;
        }
        let dir = Dir::open(parent)?;
        let _ = sweep(&dir);
        let mut fresh = Fresh::new(&dir)?;
        fresh = fresh.vouched();
        parts.iter().try_for_each(|part| fresh.write_all(part))?;
        let temp = fresh.stage(file.as_bstr(), &Wanted::default())?;
        dir.rename(temp.as_bstr(), &dir, file.as_bstr())
            .inspect_err(|_| drop(dir.unlink(temp.as_bstr())))
    }

    /// As [`Store::cache`], in a folder of the store that holds a bounded number of them: those go that were not kept for
    /// the longest time.
    pub fn cache_in(&self, folder: &str, name: &str, body: &[u8]) -> io::Result<()> {
        if body.len() as u64 > MOST_BYTES {
            return self.remove(&format!("{folder}/{name}"));
        }
        self.cache(&format!("{folder}/{name}"), body)?;
        thin(&self.dir().join(folder))
    }
}

/// Removes the oldest files of a folder until it is within its bounds.
fn thin(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        files.push((meta.modified()?, meta.len(), entry.path()));
    }
    files.sort_unstable();
    let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
    let mut count = files.len();
    for (_, size, path) in files {
        if count <= MOST_FILES && bytes <= 2 * MOST_BYTES {
            break;
        }
        fs::remove_file(path)?;
        bytes -= size;
        count -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_cut_is_as_good_as_nothing_and_is_made_anew() {
        let top = tempfile::tempdir().unwrap();
        let store = Store::open(top.path()).unwrap();
        assert_eq!(store.cached("c"), None);
        store.cache("c", b"\0bytes\n").unwrap();
        let whole = (b"\0bytes\n".to_vec(), *blake3::hash(b"\0bytes\n").as_bytes());
        assert_eq!(store.cached("c"), Some(whole.clone()));
        let good = fs::read(top.path().join("c")).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [&good[..good.len() - 1], &flipped, b"", b"junk"] {
            fs::write(top.path().join("c"), bad).unwrap();
            assert_eq!(store.cached("c"), None);
        }
        store.cache("c", b"\0bytes\n").unwrap();
        assert_eq!(store.cached("c"), Some(whole));
        assert!(Store::reading(top.path()).cache("c", b"x").is_err());
    }

    #[test]
    fn a_folder_of_them_is_bounded_and_the_oldest_goes() {
        let top = tempfile::tempdir().unwrap();
        let store = Store::open(top.path()).unwrap();
        for number in 0..MOST_FILES + 3 {
            store.cache_in("d", &format!("{number:03}"), b"x").unwrap();
            let file = fs::File::options()
                .write(true)
                .open(top.path().join(format!("d/{number:03}")))
                .unwrap();
            let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            file.set_modified(then).unwrap();
        }
        let left = fs::read_dir(top.path().join("d")).unwrap().count();
        assert_eq!(left, MOST_FILES);
        assert_eq!(store.cached("d/000"), None);
        assert!(store.cached("d/066").is_some());
    }
}
