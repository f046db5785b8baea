//! Names of files being written (`.dsau-new.PID-RANDOM`), and what runs that were killed left behind under them.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::{BStr, BString, ByteSlice};

use crate::sys::at::{self, Dir};

const PREFIX: &str = ".dsau-new.";

/// Older than this is a stray even if a process of that number lives: numbers come again, and a writer in another
/// namespace may have the number of a process here.
const OLD: Duration = Duration::from_secs(3600);

/// A name nobody else uses. The keys of the standard hasher are random for each call.
pub(super) fn temp_name() -> BString {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{PREFIX}{}-{random:016x}", std::process::id()).into()
}

/// Makes an empty file under such a name and locks it: a lock that can be taken tells that the writer is gone.
pub(super) fn create(dir: &Dir) -> io::Result<(BString, File)> {
    for _ in 0..16 {
        let name = temp_name();
        match dir.create_new(name.as_ref(), 0o600) {
            Ok(file) => {
                // File systems without locks: the process number and the age decide alone.
                let _ = at::try_lock(&file);
                return Ok((name, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "no free name for a new file",
    ))
}

/// Whether a name is one of ours, being written or left behind.
pub fn is_temporary(name: &BStr) -> bool {
    writer(name).is_some()
}

fn writer(name: &BStr) -> Option<i32> {
    let (pid, random) = name.strip_prefix(PREFIX.as_bytes())?.split_once_str("-")?;
    let hex = random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit);
    hex.then(|| std::str::from_utf8(pid).ok()?.parse().ok()).flatten()
}

/// Removes what killed runs left in a directory; gives how many there were. To be called once before a directory is
/// written for the first time in a run.
pub fn sweep(dir: &Dir) -> io::Result<usize> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut count = 0;
    for name in dir.names()? {
        let Some(pid) = writer(name.as_ref()) else { continue };
        let Some(meta) = dir.look(name.as_ref())? else { continue };
        let age = i128::try_from(now.as_nanos()).unwrap_or(0) - meta.mtime();
        let old = age > i128::try_from(OLD.as_nanos()).unwrap_or(i128::MAX);
        if at::process_exists(pid) && !old {
            continue;
        }
        // A link (a backup on its way into place) has no writer: age and process number decide.
        let free = !meta.is_file()
            || dir
                .read(name.as_ref())
                .and_then(|file| at::try_lock(&file))
                .unwrap_or(true);
        if free && dir.unlink(name.as_ref()).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_dead_runs_left_is_swept() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        // The highest process number Linux can give is 2^22.
        let dead = format!("{PREFIX}4194305-0123456789abcdef");
        fs::write(top.path().join(&dead), "half").unwrap();
        let (alive, _file) = create(&dir).unwrap();
        let foreign = format!("{PREFIX}notes");
        fs::write(top.path().join(&foreign), "a user's own").unwrap();
        assert_eq!(sweep(&dir).unwrap(), 1);
        let mut left = vec![alive, BString::from(foreign)];
        left.sort();
        assert_eq!(dir.names().unwrap(), left);
    }

    #[test]
    fn a_file_whose_lock_is_held_is_being_written_whatever_its_number_says() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let name = format!("{PREFIX}4194305-0123456789abcdef");
        let file = dir.create_new(name.as_bytes().as_bstr(), 0o600).unwrap();
        assert!(at::try_lock(&file).unwrap());
        assert_eq!(sweep(&dir).unwrap(), 0);
        drop(file);
        assert_eq!(sweep(&dir).unwrap(), 1);
    }
}
