//! Files that were copied are put in place together. New policy files come together or not at all: what an update copies
//! into the inputs directory is first written completely under temporary names, then noted in a journal, then renamed. A
//! run that is killed on the way is completed by the next one before it reads any policy; where a rename fails, those
//! before it are taken back.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BString, ByteSlice, ByteVec};
use serde::{Deserialize, Serialize};

use super::copy::Spot;
use super::event::Digest;
use super::job::BytesPath;
use super::report::Report;
use super::undo::{Undo, Will};
use super::writer::{Order, Writer};
use super::{Job, Outcome, Run};
use crate::fsx::{self, Backup, Dir, Held, Meta, Sync, Wanted};
use crate::policy::Phase;
use crate::state::{Store, key_of};

/// The journal's name in the state directory.
const FILE: &str = "inputs.pending";

/// One rename; bytes are kept as [`key_of`] writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    dir: String,
    temp: String,
    name: String,
}

/// What is about to be renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    steps: Vec<Step>,
}

/// So many files, or so many bytes, are written before they are put in place together.
const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 256 << 20;
/// So many directories are held open for them.
const MOST_DIRS: usize = 256;

/// Files that are written and wait for others: making many durable together costs what one costs.
#[derive(Debug)]
pub struct Batch {
    /// Where the journal of policy files goes. Those are put in place together however many they are.
    journal: Option<Store>,
    policy: bool,
    sync: Sync,
    files: VecDeque<Waiting>,
    bytes: u64,
    /// The directories they are in: there may be more files than a process may hold open.
    dirs: Vec<Arc<Dir>>,
    /// Writes the small ones.
    writer: Writer,
}

#[derive(Debug)]
struct Waiting {
    dir: Arc<Dir>,
    dir_path: PathBuf,
    temp: BString,
    name: BString,
    keep: Option<Backup>,
    said: Said,
    will: Option<Will>,
    /// What was there when the change was written down.
    seen: Option<Option<Meta>>,
}

/// What is to be said of a file once it is in place.
#[derive(Debug, Default)]
pub struct Said {
    /// Where it comes from: host and path.
    pub from: String,
    /// Messages at inform level.
    pub said: Vec<String>,
    /// Digest of what was there, and of what is, where somebody listens.
    pub news: Option<(Option<Digest>, Digest)>,
    /// What the file will be, where that is known.
    pub will: Option<Will>,
}

impl Batch {
    /// An empty batch for a copy to that place. What the update phase copies into the inputs directory is policy.
    pub fn for_copy(run: &Run<'_>, to: &Path) -> Batch {
        let policy = run.phase == Phase::Update && to.starts_with(run.paths.inputs());
        Batch {
            journal: run.memory.store().filter(|_| policy).cloned(),
            policy,
            sync: if policy { Sync::Full } else { run.sync },
            files: VecDeque::new(),
            bytes: 0,
            dirs: Vec::new(),
            writer: Writer::default(),
        }
    }

    /// Has the content of the file that is added next written by another thread, under the name that is given. Nothing of
    /// a policy: there it must be known at once what fails.
    pub fn write(&mut self, spot: &Spot, content: Vec<u8>, wanted: Wanted) -> io::Result<BString> {
        let temp = fsx::temp_name();
        self.writer.order(Order {
            number: self.files.len(),
            dir: Arc::clone(&spot.dir),
            temp: temp.clone(),
            content,
            wanted,
        })?;
        Ok(temp)
    }

    /// Adds a file that is complete under its temporary name, with what is to be said once it is in place.
    pub fn add(&mut self, temp: BString, size: u64, spot: &Spot, keep: Option<Backup>, mut said: Said) {
        // They come directory by directory.
        if !self.dirs.last().is_some_and(|last| Arc::ptr_eq(last, &spot.dir)) {
            self.dirs.push(Arc::clone(&spot.dir));
        }
        self.bytes += size;
        self.files.push_back(Waiting {
            dir: Arc::clone(&spot.dir),
            dir_path: spot.path.parent().unwrap_or(Path::new("/")).to_path_buf(),
            temp,
            name: spot.name.clone(),
            keep,
            will: said.will.take(),
            said,
            seen: None,
        });
    }

    /// Whether these are policy files, which come together or not at all.
    pub fn is_policy(&self) -> bool {
        self.policy
    }

    /// Whether enough has come together to be put in place.
    pub fn is_full(&self) -> bool {
        !self.policy && (self.files.len() >= MOST_FILES || self.bytes >= MOST_BYTES || self.dirs.len() >= MOST_DIRS)
    }

    /// Puts all of them in place. One that cannot be is told, and the others still come; of policy files all or none
    /// do, and the error is given. The old files stay.
    pub fn commit(&mut self, run: &mut Run<'_>, job: &Job) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let mut failed = self.writer.wait()?;
        failed.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (number, error) in failed {
            if let Some(file) = self.files.remove(number) {
                file.tell_failure(run, job, &error);
            }
        }
        if self.sync != Sync::Off {
            fsx::settle(self.files.iter().map(|file| (&*file.dir, file.temp.as_bstr())))?;
        }
        self.bytes = 0;
        self.note(&run.undo());
        if self.policy {
            self.commit_policy(run, job)?;
        } else {
            self.commit_each(run, job)?;
        }
        self.dirs.clear();
        Ok(())
    }

    /// Writes down what is about to be changed, all of it before the first file is.
    fn note(&mut self, undo: &Undo) {
        for file in &mut self.files {
            if let Some(will) = file.will.take() {
                let path = file.dir_path.join(file.name.as_path());
                file.seen = undo.becomes(&file.dir, file.name.as_bstr(), &path, will).seen();
            }
        }
        undo.flush();
    }

    fn commit_each(&mut self, run: &mut Run<'_>, job: &Job) -> io::Result<()> {
        while let Some(mut file) = self.files.pop_front() {
            match file.keep_old().and_then(|()| file.put()) {
                Ok(()) => file.tell(run, job),
                Err(error) => {
                    let _ = file.dir.unlink(file.temp.as_bstr());
                    let shown = file.dir_path.join(file.name.as_path());
                    run.report.error(format_args!(
                        "Cannot put {} in place: {error}; the old file stays",
                        shown.display()
                    ));
                    super::copy::failover(run, job);
                }
            }
        }
        match self.sync {
            Sync::Full => self.dirs.iter().try_for_each(|dir| dir.sync()),
            Sync::Off | Sync::Rename => Ok(()),
        }
    }

    fn commit_policy(&mut self, run: &mut Run<'_>, job: &Job) -> io::Result<()> {
        for file in &mut self.files {
            file.keep_old()?;
        }
        let mut failed = None;
        let mut held = Vec::new();
        for file in &self.files {
            match Held::hold(&file.dir, file.name.as_bstr()) {
                Ok(one) => held.push(one),
                Err(error) => {
                    self.go_back(0, held);
                    return Err(error);
                }
            }
        }
        if let Some(store) = &self.journal {
            let steps = self.files.iter().map(Waiting::step).collect();
            store.update(FILE, |pending: &mut Pending| *pending = Pending { steps })?;
        }
        let put = self.files.iter().position(|file| match file.put() {
            Ok(()) => false,
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        if let (Some(done), Some(error)) = (put, failed) {
            self.go_back(done, held);
            return Err(error);
        }
        self.dirs.iter().try_for_each(|dir| dir.sync())?;
        for (file, held) in self.files.iter().zip(held) {
            held.let_go(&file.dir);
        }
        if let Some(store) = &self.journal {
            store.remove(FILE)?;
        }
        while let Some(file) = self.files.pop_front() {
            file.tell(run, job);
        }
        Ok(())
    }

    /// The first `done` files are in place and the next one could not be: all are again what they were. The journal is
    /// taken away first: what a killed run leaves of the way back is old and new as before a journal, until the next update.
    fn go_back(&self, done: usize, held: Vec<Held>) {
        if let Some(store) = &self.journal {
            let _ = store.remove(FILE);
        }
        for (at, (file, held)) in self.files.iter().zip(held).enumerate() {
            if at < done {
                let _ = held.give_back(&file.dir, file.name.as_bstr());
            } else {
                held.let_go(&file.dir);
            }
        }
    }
}

impl Waiting {
    /// Keeps what is there now, where the rule says so.
    fn keep_old(&mut self) -> io::Result<()> {
        if let Some(keep) = &self.keep
            // Gone meanwhile: nothing to keep.
            && self.seen.map_or_else(|| self.dir.look(self.name.as_bstr()), Ok)?.is_some()
            && let Some(moved) = fsx::save_unsynced(&self.dir, self.name.as_bstr(), keep)?.moved
        {
            let beside = keep.path.with_file_name(keep.name_of(self.name.as_bstr()).as_path());
            let text = format!("Moved {} to repository location {}", beside.display(), moved.display());
            self.said.said.push(text);
        }
        Ok(())
    }

    fn put(&self) -> io::Result<()> {
        self.dir.rename(self.temp.as_bstr(), &self.dir, self.name.as_bstr())
    }

    fn tell(self, run: &mut Run<'_>, job: &Job) {
        for text in self.said.said {
            run.report.inform(text);
        }
        if let Some((before, after)) = self.said.news {
            let path = self.dir_path.join(self.name.as_path());
            let path = path.as_os_str().as_encoded_bytes();
            run.report.changed(path, before, Some(after));
        }
        run.record(job, Outcome::Repaired);
    }

    fn tell_failure(self, run: &mut Run<'_>, job: &Job, error: &io::Error) {
        let to = self.dir_path.join(self.name.as_path());
        run.report.error(format_args!(
            "Cannot copy {} to {}: {error}; the old file stays",
            self.said.from,
            to.display()
        ));
        super::copy::failover(run, job);
    }

    fn step(&self) -> Step {
        Step {
            dir: key_of(self.dir_path.as_os_str().as_encoded_bytes()),
            temp: key_of(&self.temp),
            name: key_of(&self.name),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let _ = self.writer.wait();
        for file in &self.files {
            let _ = file.dir.unlink(file.temp.as_bstr());
        }
    }
}

/// Completes what a killed run had begun. To be called before any policy is read.
pub fn recover(store: &Store, report: &mut Report<'_>) {
    let (pending, damage) = match store.read::<Pending>(FILE) {
        Ok(read) => read,
        Err(error) => {
            return report.error(format_args!(
                "Cannot read {}: {error}",
                store.dir().join(FILE).display()
            ));
        }
    };
    if let Some(damage) = damage {
        report.error(damage);
    }
    if pending.steps.is_empty() {
        return;
    }
    report.verbose("The last update of the policy was interrupted; completing it");
    for step in &pending.steps {
        if let Err(error) = complete(step) {
            report.error(format_args!(
                "Cannot complete the update of {} in {}: {error}",
                step.name, step.dir
            ));
        }
    }
    if let Err(error) = store.remove(FILE) {
        report.error(format_args!(
            "Cannot remove {}: {error}",
            store.dir().join(FILE).display()
        ));
    }
}

fn complete(step: &Step) -> io::Result<()> {
    let bytes = |text: &str| BString::from(Vec::unescape_bytes(text));
    let dir = Dir::open(bytes(&step.dir).as_path())?;
    let (temp, name) = (bytes(&step.temp), bytes(&step.name));
    if dir.look(temp.as_bstr())?.is_some() {
        dir.rename(temp.as_bstr(), &dir, name.as_bstr())?;
        dir.sync()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::report::Levels;
    use crate::agent::report::testing::Lines;
    use crate::fsx::{Fresh, Wanted};
    use std::io::Write;

    #[test]
    fn an_update_that_was_interrupted_while_renaming_is_completed() {
        let top = tempfile::tempdir().unwrap();
        let inputs = top.path().join("inputs");
        std::fs::create_dir(&inputs).unwrap();
        let dir = Dir::open(&inputs).unwrap();
        let mut steps = Vec::new();
        for name in ["a", "b"] {
            std::fs::write(inputs.join(name), "old").unwrap();
            let mut fresh = Fresh::new(&dir).unwrap();
            fresh.write_all(b"new").unwrap();
            let temp = fresh.stage(name.into(), &Wanted::default()).unwrap();
            steps.push(Step {
                dir: key_of(inputs.as_os_str().as_encoded_bytes()),
                temp: key_of(&temp),
                name: name.into(),
            });
        }
        let store = Store::open(&top.path().join("state")).unwrap();
        store
            .update(FILE, |journal: &mut Pending| journal.steps = steps.clone())
            .unwrap();
        // Killed after the first rename.
        complete(&steps[0]).unwrap();
        let mut lines = Lines::default();
        recover(&store, &mut Report::new(&mut lines, "p", Levels::default()));
        for name in ["a", "b"] {
            assert_eq!(std::fs::read(inputs.join(name)).unwrap(), b"new");
        }
        assert_eq!(dir.names().unwrap(), ["a", "b"]);
        assert_eq!(store.read::<Pending>(FILE).unwrap(), (Pending::default(), None));
    }
}
