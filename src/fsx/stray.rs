//! Names of files being written (`.dsau-new.PID-RANDOM`), and what runs that were killed left behind under them.
//!
//! A large file that comes from afar is written under `.dsau-part.PID-NAMERANDOM`, NAME being a digest of the name it is to
//! have: what a run that broke off has left of it is where the next one begins. There is one such part of a file at most,
//! for a day at most, and none once the file is whole.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::{BStr, BString, ByteSlice};

use super::LARGE;
use crate::sys::at::{self, Dir, Meta};

const PREFIX: &str = ".dsau-new.";
const PART: &str = ".dsau-part.";

/// Older than this is a stray even if a process of that number lives: numbers come again, and a writer in another
/// namespace may have the number of a process here.
const OLD: Duration = Duration::from_secs(3600);
/// How long a part of a large file is kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// So many parts of one file are looked at: there are more only where it is written by several at once.
const MOST_PARTS: usize = 2;

/// The keys of the standard hasher are random for each call.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A name nobody else uses, for a file being written.
pub fn temp_name() -> BString {
    format!("{PREFIX}{}-{:016x}", std::process::id(), random()).into()
}

fn part_name(name: &BStr) -> BString {
    let random = random() & 0xffff_ffff;
    let mut part = BString::from(format!("{PART}{}-", std::process::id()));
    part.extend_from_slice(mark(name).as_bytes());
    part.extend_from_slice(format!("{random:08x}").as_bytes());
    part
}

/// What the parts of a file have in their names.
fn mark(name: &BStr) -> String {
    let digest = blake3::hash(name).to_hex();
    digest[..8].to_string()
}

/// Makes an empty file under such a name and locks it: a lock that can be taken tells that the writer is gone.
pub(super) fn create(dir: &Dir) -> io::Result<(BString, File)> {
    create_as(dir, temp_name)
}

/// As [`create`], of a large file from afar that is to have a name.
pub(super) fn create_part(dir: &Dir, name: &BStr) -> io::Result<(BString, File)> {
    create_as(dir, || part_name(name))
}

/// As [`create`], under a name that [`temp_name`] gave.
pub(super) fn create_named(dir: &Dir, name: &BStr) -> io::Result<File> {
    let file = dir.create_new(name, 0o600)?;
    // File systems without locks: the process number and the age decide alone.
    let _ = at::try_lock(&file);
    Ok(file)
}

fn create_as(dir: &Dir, name: impl Fn() -> BString) -> io::Result<(BString, File)> {
    for _ in 0..16 {
        let name = name();
        match create_named(dir, name.as_ref()) {
            Ok(file) => return Ok((name, file)),
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

/// The number of the process that writes under a name, and the mark of the file it is a part of.
fn writer(name: &BStr) -> Option<(i32, Option<&[u8]>)> {
    let (rest, part) = match name.strip_prefix(PART.as_bytes()) {
        Some(rest) => (rest, true),
        None => (name.strip_prefix(PREFIX.as_bytes())?, false),
    };
    let (pid, random) = rest.split_once_str("-")?;
    if random.len() != 16 || !random.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pid = std::str::from_utf8(pid).ok()?.parse().ok()?;
    Some((pid, part.then(|| &random[..8])))
}

/// Removes what killed runs left in a directory; gives how many there were. To be called once before a directory is
/// written for the first time in a run. Of parts of large files the largest of each stays for a day.
pub fn sweep(dir: &Dir) -> io::Result<usize> {
    let mut count = 0;
    let mut gone = |name: &BString| count += usize::from(dir.unlink(name.as_ref()).is_ok());
    let mut kept: Vec<(Vec<u8>, u64, BString)> = Vec::new();
    for name in dir.names()? {
        let Some((pid, part)) = writer(name.as_ref()) else {
            continue;
        };
        let Some(meta) = dir.look(name.as_ref())? else { continue };
        if at::process_exists(pid) && !older(&meta, OLD) {
            continue;
        }
        if !is_free(dir, &name, &meta) {
            continue;
        }
        let Some(mark) = part.filter(|_| meta.is_file() && meta.size() >= LARGE && !older(&meta, KEEP)) else {
            gone(&name);
            continue;
        };
        match kept.iter_mut().find(|(of, ..)| of == mark) {
            Some((_, size, _)) if *size >= meta.size() => gone(&name),
            Some((_, size, other)) => {
                *size = meta.size();
                gone(&std::mem::replace(other, name));
            }
            None => kept.push((mark.to_vec(), meta.size(), name.clone())),
        }
    }
    Ok(count)
}

fn older(meta: &Meta, than: Duration) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = i128::try_from(now.as_nanos()).unwrap_or(0) - meta.mtime();
    age > i128::try_from(than.as_nanos()).unwrap_or(i128::MAX)
}

/// Whether nobody writes to it. A link (a backup on its way into place) has no writer: age and process number decide.
fn is_free(dir: &Dir, name: &BString, meta: &Meta) -> bool {
    let lock = || dir.read(name.as_ref()).and_then(|file| at::try_lock(&file));
    !meta.is_file() || lock().unwrap_or(true)
}

/// What is there of a file that is to have a name: the largest parts first.
fn parts_of(dir: &Dir, name: &BStr) -> Vec<(u64, BString)> {
    let mark = mark(name);
    let mut parts = Vec::new();
    for name in dir.names().unwrap_or_default() {
        if writer(name.as_ref()).is_some_and(|(_, part)| part == Some(mark.as_bytes()))
            && let Ok(Some(meta)) = dir.look(name.as_ref())
            && meta.is_file()
        {
            parts.push((meta.size(), name));
        }
    }
    parts.sort_unstable_by(|a, b| b.cmp(a));
    parts
}

/// What earlier runs have left of a large file that is to have a name, open. Nothing is known of the content.
pub fn parts(dir: &Dir, name: &BStr) -> Vec<File> {
    let parts = parts_of(dir, name).into_iter().filter(|(size, _)| *size >= LARGE);
    parts
        .take(MOST_PARTS)
        .filter_map(|(_, part)| dir.read(part.as_ref()).ok())
        .collect()
}

/// Removes what earlier runs have left of a large file, but for the part that it is made of now.
pub fn drop_parts(dir: &Dir, name: &BStr, but: Option<&BStr>) {
    for (_, part) in parts_of(dir, name) {
        if but != Some(part.as_ref())
            && let Ok(Some(meta)) = dir.look(part.as_ref())
            && is_free(dir, &part, &meta)
        {
            let _ = dir.unlink(part.as_ref());
        }
    }
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

    #[test]
    fn of_the_parts_of_a_large_file_the_largest_stays_for_a_day_and_small_ones_do_not() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let make = |name: &str, number: u32, size: u64| {
            let part = format!("{PART}4194305-{}{number:08x}", mark(name.into()));
            let file = File::create(top.path().join(&part)).unwrap();
            file.set_len(size).unwrap();
            (part, file)
        };
        make("f", 1, 3 * LARGE);
        make("f", 2, 5 * LARGE);
        make("f", 3, 4 * LARGE);
        make("g", 4, LARGE);
        make("small", 5, LARGE - 1);
        let (_, old) = make("old", 6, LARGE);
        let yesterday = SystemTime::now() - KEEP - Duration::from_secs(60);
        old.set_modified(yesterday).unwrap();
        drop(old);
        let (mine, held) = create_part(&dir, "f".into()).unwrap();
        assert_eq!(sweep(&dir).unwrap(), 4);
        assert_eq!(dir.names().unwrap().len(), 3);
        let found = parts(&dir, "f".into());
        assert_eq!(found.len(), 1, "what has just begun is no use");
        assert_eq!(found[0].metadata().unwrap().len(), 5 * LARGE);
        assert!(dir.names().unwrap().iter().all(|name| is_temporary(name.as_ref())));
        drop_parts(&dir, "f".into(), Some(mine.as_ref()));
        drop_parts(&dir, "g".into(), None);
        assert_eq!(dir.names().unwrap(), [mine]);
        drop(held);
    }
}
