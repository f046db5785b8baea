//! One run of the agent, its output kept line by line as it comes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bstr::BString;
use jiff::Zoned;
use nix::unistd::geteuid;

use super::{Outputs, Record, SchedError};
use crate::state::{RunSummary, Runs, Store};
use crate::sys::Paths;
use crate::sys::process::{self, Argv, Command, Outcome};

/// What is run, and as what.
pub struct Job {
    /// The agent.
    pub agent: PathBuf,
    /// `-q`: it does not wait its splay time.
    pub no_splay: bool,
    /// It was the schedule that asked for it (class `scheduled_run`).
    pub scheduled: bool,
    /// `LD_LIBRARY_PATH` for it.
    pub library_path: Option<std::ffi::OsString>,
    /// The process of a run that was ended before, because its time was up; it stands in the output.
    pub ended: Option<i32>,
    /// The agent's state directory, where it writes down how a run ended.
    pub state: PathBuf,
}

/// The agent of this host: `WORK/bin/cfagent` (FIL-13), or the installed one where that is not there. Run as root, it
/// must belong to root and nobody else may be able to change it.
pub fn agent(paths: &Paths) -> Result<PathBuf, SchedError> {
    let own = paths.work_bin().join("cfagent");
    let installed = paths.opt().join("sbin/cfagent");
    for path in [&own, &installed] {
        let Ok(meta) = fs::metadata(path) else { continue };
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            continue;
        }
        let untrusted = |why: &str| SchedError::Untrusted {
            path: path.clone(),
            why: why.to_string(),
        };
        if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
            return Err(untrusted("it belongs to another user"));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(untrusted("others may write to it"));
        }
        return Ok(path.clone());
    }
    Err(SchedError::NoAgent(own, installed))
}

impl Job {
    fn argv(&self) -> Argv {
        let mut words = vec![BString::from(os(&self.agent))];
        if self.no_splay {
            words.push("-q".into());
        }
        words.push(match self.scheduled {
            true => "-Dfrom_cfexecd:scheduled_run".into(),
            false => "-Dfrom_cfexecd".into(),
        });
        Argv::Direct(words)
    }

    /// Runs the agent. What it says goes to a new file of `outputs`; gives that, whether it says something new, and how
    /// the agent ended.
    pub fn run(&self, outputs: &Outputs, host: &str, now: &Zoned) -> Result<(Record, bool, Outcome), SchedError> {
        let mut record = outputs.begin(host, now)?;
        let mut command = Command::new(self.argv());
        if let Some(path) = &self.library_path {
            command.env.push(("LD_LIBRARY_PATH".into(), path.clone()));
        }
        if let Some(pid) = self.ended {
            let told = format!("cfexecd: the run of process {pid} took more than ten minutes and was ended");
            record.line(told.as_bytes()).map_err(SchedError::file(&record.file))?;
        }
        let mut lost = None;
        let outcome = process::run(&command, &mut |line| {
            if let Err(error) = record.line(line) {
                lost.get_or_insert(error);
            }
        });
        let outcome = outcome.or_else(|error| {
            let told = format!("cfexecd: cannot run {}: {error}", self.agent.display());
            record.line(told.as_bytes()).map(|()| Outcome {
                status: 127,
                timed_out: false,
                pid: 0,
            })
        });
        let outcome = outcome.map_err(SchedError::file(&record.file))?;
        if outcome.status != 0 {
            let told = format!("cfexecd: {} ended with status {}", self.agent.display(), outcome.status);
            record.line(told.as_bytes()).map_err(SchedError::file(&record.file))?;
        }
        if let Some(error) = lost {
            return Err(SchedError::file(&record.file)(error));
        }
        if let Some(summary) = self.summary(&outcome, now) {
            record.end_with(&summary).map_err(SchedError::file(&record.file))?;
        }
        let differs = outputs.finish(&mut record)?;
        Ok((record, differs, outcome))
    }
}

impl Job {
    /// How the run ended, in the agent's own figures. An agent that came to no end left none.
    fn summary(&self, outcome: &Outcome, now: &Zoned) -> Option<RunSummary> {
        let runs = Store::peek::<Runs>(&self.state.join(Runs::FILE)).ok()??;
        let began = now.timestamp().as_second();
        let ours = |run: &RunSummary| run.pid == outcome.pid && run.began >= began;
        runs.runs.into_iter().rev().find(ours)
    }
}

fn os(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}
