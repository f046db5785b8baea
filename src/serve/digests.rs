//! Digests kept in memory, by device, inode, size, mtime and ctime. Shared by all connections.
//!
//! A stamp that is as young as the reading itself could hide a second change within the same tick: such a digest is given
//! but not kept.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bstr::BStr;

use crate::fsx::{Dir, Meta, digest_of};

/// Beyond this many the memory starts anew.
const MAX: usize = 500_000;
/// How old a stamp must be to be kept: coarser than any clock of a filesystem (FAT has 2 s).
const SETTLED: i128 = 2_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl Stamp {
    fn of(meta: &Meta) -> Self {
        Stamp {
            size: meta.size(),
            mtime: meta.mtime(),
            ctime: meta.ctime(),
        }
    }
}

/// The memory.
#[derive(Default)]
pub struct Digests {
    known: Mutex<HashMap<(u64, u64), (Stamp, [u8; 32])>>,
}

impl Digests {
    /// The digest of a plain file in a directory. `tick` is called for each piece read; its error ends the reading.
    pub fn of(
        &self,
        dir: &Dir,
        name: &BStr,
        meta: &Meta,
        tick: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<[u8; 32]> {
        let stamp = Stamp::of(meta);
        if let Some((known, digest)) = self.lock().get(&meta.inode())
            && *known == stamp
        {
            return Ok(*digest);
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|age| i128::try_from(age.as_nanos()).unwrap_or(i128::MAX))
            .unwrap_or(0);
        let file = dir.read(name)?;
        let before = crate::sys::at::file_meta(&file)?;
        let digest = digest_of(Ticking { file: &file, tick })?;
        let after = crate::sys::at::file_meta(&file)?;
        let settled = stamp.mtime.max(stamp.ctime) < now - SETTLED;
        let same = before.inode() == meta.inode() && Stamp::of(&before) == stamp && Stamp::of(&after) == stamp;
        if settled && same {
            let mut known = self.lock();
            if known.len() >= MAX {
                known.clear();
            }
            known.insert(meta.inode(), (stamp, digest));
        }
        Ok(digest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(u64, u64), (Stamp, [u8; 32])>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ticking<'a> {
    file: &'a File,
    tick: &'a mut dyn FnMut() -> io::Result<()>,
}

impl Read for Ticking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.tick)()?;
        self.file.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_digest_is_kept_for_settled_files_and_dropped_with_their_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let top = Dir::open(dir.path()).unwrap();
        let digests = Digests::default();
        let look = || top.meta("f".into()).unwrap();
        assert_eq!(
            digests.of(&top, "f".into(), &look(), &mut || Ok(())).unwrap(),
            crate::digest::blake3(b"one")
        );
        // Just written: not kept.
        assert_eq!(digests.lock().len(), 0);
        // The content changes within the same stamp of mtime: ctime tells.
        let old = SystemTime::now() - Duration::from_secs(100);
        std::fs::write(&path, "two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
        assert_eq!(
            digests.of(&top, "f".into(), &look(), &mut || Ok(())).unwrap(),
            crate::digest::blake3(b"two")
        );
    }
}
