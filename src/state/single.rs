//! The lock against two agents at once: held with flock(2), so that it goes with the process however it ends.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bstr::ByteSlice;

use crate::fsx::Dir;
use crate::sys::at;

const FILE: &str = "agent.lock";

/// Held as long as it lives.
#[derive(Debug)]
pub struct Single {
    file: File,
}

impl Drop for Single {
    /// Closing alone would not do: a child that is being started holds the same lock until it becomes another program.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Who holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process number; 0 when it did not say.
    pub pid: i32,
    /// Seconds since the epoch when it began.
    pub since: i64,
}

impl Single {
    /// Takes the lock, or says who holds it. `now` is in seconds since the epoch.
    pub fn take(dir: &Path, now: i64) -> io::Result<Result<Single, Holder>> {
        let mut file = Dir::open(dir)?.open_or_create(FILE.as_bytes().as_bstr(), 0o600)?;
        if !at::try_lock(&file)? {
            return Ok(Err(noted(&mut file, now)?));
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {now}", std::process::id())?;
        Ok(Ok(Single { file }))
    }

    /// Who holds the lock now, without touching it: to take it even for a moment could turn an agent away.
    pub fn holder(dir: &Path) -> io::Result<Option<Holder>> {
        holder_of(&dir.join(FILE))
    }
}

/// Who has locked a file that says `PID SECONDS`: the process noted in it, as long as that has the file open.
pub fn holder_of(path: &Path) -> io::Result<Option<Holder>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (holder, meta) = (noted(&mut file, 0)?, file.metadata()?);
    // Ours is no sign of a holder.
    drop(file);
    Ok((holder.pid > 0 && has_open(holder.pid, &meta)?).then_some(holder))
}

fn has_open(pid: i32, wanted: &fs::Metadata) -> io::Result<bool> {
    let open = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // A descriptor may be closed while we look.
    let mut metas = open.flatten().filter_map(|fd| fs::metadata(fd.path()).ok());
    Ok(metas.any(|meta| meta.dev() == wanted.dev() && meta.ino() == wanted.ino()))
}

fn noted(file: &mut File, now: i64) -> io::Result<Holder> {
    let mut text = String::new();
    Read::by_ref(file).take(100).read_to_string(&mut text)?;
    let mut words = text.split_whitespace();
    Ok(Holder {
        pid: words.next().and_then(|word| word.parse().ok()).unwrap_or(0),
        since: words.next().and_then(|word| word.parse().ok()).unwrap_or(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let top = tempfile::tempdir().unwrap();
        let first = Single::take(top.path(), 100).unwrap().unwrap();
        let holder = Single::take(top.path(), 200).unwrap().unwrap_err();
        assert_eq!(
            holder,
            Holder {
                pid: i32::try_from(std::process::id()).unwrap(),
                since: 100
            }
        );
        assert_eq!(Single::holder(top.path()).unwrap(), Some(holder));
        // As a child between its beginning and its program.
        let _inherited = first.file.try_clone().unwrap();
        drop(first);
        assert!(Single::take(top.path(), 250).unwrap().is_ok());
    }

    #[test]
    fn one_that_is_gone_is_no_holder() {
        let top = tempfile::tempdir().unwrap();
        drop(Single::take(top.path(), 100).unwrap().unwrap());
        assert_eq!(Single::holder(top.path()).unwrap(), None);
        assert!(Single::take(top.path(), 300).unwrap().is_ok());
    }
}
