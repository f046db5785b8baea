//! Where what runs changed is kept: `undo` in the state directory, one directory a run, its number the name. Nobody but
//! its owner can look into it.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::record::{After, Record};
use crate::fsx::{Dir, remove_tree};

const FOLDER: &str = "undo";
/// How many bytes a run keeps, written at its end.
const SUM: &str = "bytes";
/// So many runs are kept.
const MOST_RUNS: usize = 200;

/// What is kept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Days; 0 = nothing is kept.
    pub days: u32,
    /// Bytes of all runs together.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            days: 30,
            bytes: 256 << 20,
        }
    }
}

/// The directory of all runs.
#[derive(Debug)]
pub struct Shelf {
    dir: Dir,
}

impl Shelf {
    /// Opens it below the state directory; `None` where no run has left anything.
    pub fn open(state: &Path) -> io::Result<Option<Shelf>> {
        let dir = Dir::open(state).and_then(|state| state.dir(FOLDER.into()));
        match dir {
            Ok(dir) => Ok(Some(Shelf { dir })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens it, or makes it.
    pub fn make(state: &Path) -> io::Result<Shelf> {
        let state = Dir::open(state)?;
        match state.mkdir(FOLDER.into(), 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let dir = state.dir(FOLDER.into())?;
        let meta = dir.self_meta()?;
        if meta.uid() != nix::unistd::geteuid().as_raw() {
            let why = format!("{FOLDER} belongs to user {}", meta.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if meta.mode() & 0o077 != 0 {
            dir.chmod_self(0o700)?;
        }
        Ok(Shelf { dir })
    }

    /// The runs that left something, oldest first.
    pub fn runs(&self) -> io::Result<Vec<u32>> {
        let names = self.dir.names()?;
        let number = |name: &BString| name.to_str().ok()?.parse().ok();
        let mut runs: Vec<u32> = names.iter().filter_map(number).collect();
        runs.sort_unstable();
        Ok(runs)
    }

    /// The directory of a run; `None`: it is not kept.
    pub(super) fn run(&self, run: u32) -> io::Result<Option<Dir>> {
        match self.dir.dir(run.to_string().as_str().into()) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a run changed; `None`: it is not kept.
    pub fn record(&self, run: u32) -> io::Result<Option<Record>> {
        match self.run(run)?.map(|dir| Record::read(&dir)) {
            // Killed before it had changed anything.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Record::default())),
            other => other.transpose(),
        }
    }

    /// The objects of a run at which those who took it back were killed.
    pub(super) fn half_back(&self, run: u32) -> io::Result<HashSet<BString>> {
        let mut half = HashSet::new();
        for later in self.runs()?.into_iter().filter(|later| *later > run) {
            // One that cannot be read says nothing; what it did is then found to be changed by somebody.
            let record = self.record(later).ok().flatten().unwrap_or_default();
            if record.header.undo_of == Some(run) {
                for done in record
                    .changes
                    .iter()
                    .filter(|change| matches!(change.after, After::Is(_)))
                {
                    half.remove(&done.path);
                }
                half.extend(record.half);
            }
        }
        Ok(half)
    }

    /// Begins a new run.
    pub(super) fn begin(&self) -> io::Result<(u32, Dir)> {
        let mut next = self.runs()?.last().map_or(1, |last| last.saturating_add(1));
        loop {
            let name = next.to_string();
            match self.dir.mkdir(name.as_str().into(), 0o700) {
                Ok(()) => return Ok((next, self.dir.dir(name.as_str().into())?)),
                // Somebody was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && next < u32::MAX => next += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets runs go that are too old, and the oldest of what is too much. `newest` stays.
    pub(super) fn prune(&self, newest: u32, now: i64, limits: Limits) -> io::Result<()> {
        let oldest = now.saturating_sub(i64::from(limits.days) * 24 * 3600);
        let (mut bytes, mut count) = (0u64, 0);
        for run in self.runs()?.into_iter().rev().filter(|run| *run != newest) {
            let Some(dir) = self.run(run)? else { continue };
            count += 1;
            bytes = bytes.saturating_add(kept_bytes(&dir)?);
            let age = i64::try_from(dir.self_meta()?.mtime() / 1_000_000_000).unwrap_or(i64::MAX);
            if count >= MOST_RUNS || bytes > limits.bytes || age < oldest {
                remove_tree(&self.dir, run.to_string().as_str().into(), &mut |_, _, _| ())?;
            }
        }
        Ok(())
    }
}

/// Notes how much a run keeps, so that nobody has to count it again.
pub(super) fn note_bytes(dir: &Dir, bytes: u64) -> io::Result<()> {
    dir.create_new(SUM.into(), 0o600)?
        .write_all(bytes.to_string().as_bytes())
}

fn kept_bytes(dir: &Dir) -> io::Result<u64> {
    if let Ok(file) = dir.read(SUM.into()) {
        let mut text = String::new();
        if file.take(32).read_to_string(&mut text).is_ok()
            && let Ok(bytes) = text.parse()
        {
            return Ok(bytes);
        }
    }
    // It was killed.
    let mut bytes = 0;
    for name in dir.names()? {
        bytes += dir.look(name.as_bstr())?.map_or(0, |meta| meta.size());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_numbered_and_the_oldest_go_when_there_are_too_many_or_too_much() {
        let top = tempfile::tempdir().unwrap();
        assert!(Shelf::open(top.path()).unwrap().is_none());
        let shelf = Shelf::make(top.path()).unwrap();
        assert_eq!(shelf.dir.self_meta().unwrap().mode(), 0o700);
        for wanted in 1..=4 {
            let (run, dir) = shelf.begin().unwrap();
            assert_eq!(run, wanted);
            match run {
                // Killed: what it keeps is counted.
                1 | 2 => io::copy(&mut &[0; 40][..], &mut dir.create_new("7".into(), 0o600).unwrap())
                    .map(|_| ())
                    .unwrap(),
                _ => note_bytes(&dir, 40).unwrap(),
            }
        }
        let limits = Limits { days: 1, bytes: 90 };
        let now = jiff::Timestamp::now().as_second();
        shelf.prune(4, now, limits).unwrap();
        assert_eq!(shelf.runs().unwrap(), [2, 3, 4]);
        shelf.prune(4, now + 2 * 24 * 3600, limits).unwrap();
        assert_eq!(shelf.runs().unwrap(), [4]);
        assert_eq!(shelf.begin().unwrap().0, 5);
        assert!(shelf.record(1).unwrap().is_none());
        // Begun, and nothing changed yet.
        assert_eq!(shelf.record(5).unwrap(), Some(Record::default()));
        assert!(shelf.run(5).unwrap().unwrap().look("log".into()).unwrap().is_none());
    }
}
