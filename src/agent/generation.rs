//! New policy files come together or not at all: what an update copies into the inputs directory is first written
//! completely under temporary names, then noted in a journal, then renamed. A run that is killed on the way is completed
//! by the next one before it reads any policy.

use std::io;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice, ByteVec};
use serde::{Deserialize, Serialize};

use super::Run;
use super::copy::Spot;
use super::job::BytesPath;
use super::report::Report;
use crate::fsx::{self, Backup, Dir};
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

/// Policy files that are written and wait for the others.
#[derive(Debug)]
pub struct Batch {
    store: Option<Store>,
    files: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    dir: Dir,
    dir_path: PathBuf,
    temp: BString,
    name: BString,
    keep: Option<Backup>,
}

impl Batch {
    /// A batch, where a copy of the update phase goes into the inputs directory.
    pub fn for_copy(run: &Run<'_>, to: &Path) -> Option<Batch> {
        let inputs = run.paths.inputs();
        (run.phase == Phase::Update && !run.dry && to.starts_with(inputs)).then(|| Batch {
            store: run.memory.store().cloned(),
            files: Vec::new(),
        })
    }

    /// Adds a file that is complete under its temporary name.
    pub fn add(&mut self, temp: BString, spot: &Spot, keep: Option<Backup>) -> io::Result<()> {
        self.files.push(Waiting {
            dir: spot.dir.again()?,
            dir_path: spot.path.parent().unwrap_or(Path::new("/")).to_path_buf(),
            temp,
            name: spot.name.clone(),
            keep,
        });
        Ok(())
    }

    /// Puts all of them in place.
    pub fn commit(mut self, run: &mut Run<'_>) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        for file in &self.files {
            if let Some(keep) = &file.keep
                && let Some(moved) = fsx::save(&file.dir, file.name.as_bstr(), keep)?.moved
            {
                run.report.inform(format_args!(
                    "Moved {} to repository location {}",
                    keep.path.display(),
                    moved.display()
                ));
            }
        }
        let pending = Pending {
            steps: self
                .files
                .iter()
                .map(|file| Step {
                    dir: key_of(file.dir_path.as_os_str().as_encoded_bytes()),
                    temp: key_of(&file.temp),
                    name: key_of(&file.name),
                })
                .collect(),
        };
        if let Some(store) = &self.store {
            store.update(FILE, |journal: &mut Pending| *journal = pending)?;
        }
        for file in std::mem::take(&mut self.files) {
            file.dir.rename(file.temp.as_bstr(), &file.dir, file.name.as_bstr())?;
            file.dir.sync()?;
        }
        match &self.store {
            Some(store) => store.remove(FILE),
            None => Ok(()),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
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
