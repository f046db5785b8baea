//! The lock against two agents at once: held with flock(2), so that it goes with the process however it ends.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use bstr::ByteSlice;

use crate::fsx::Dir;
use crate::sys::at;

const FILE: &str = "agent.lock";

/// Held as long as it lives.
#[derive(Debug)]
pub struct Single {
    _file: File,
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
            let mut text = String::new();
            Read::by_ref(&mut file).take(100).read_to_string(&mut text)?;
            let mut words = text.split_whitespace();
            return Ok(Err(Holder {
                pid: words.next().and_then(|word| word.parse().ok()).unwrap_or(0),
                since: words.next().and_then(|word| word.parse().ok()).unwrap_or(now),
            }));
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {now}", std::process::id())?;
        Ok(Ok(Single { _file: file }))
    }
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
        drop(first);
        assert!(Single::take(top.path(), 300).unwrap().is_ok());
    }
}
