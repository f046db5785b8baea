//! Reports of runs: what was run where and how it ended, kept in a file each, so that a run can be looked at later and
//! repeated on the hosts where it failed (dsau.md 2.7).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Report, State};
use crate::hosts::Host;
use crate::sys::Paths;

/// How many reports are kept, at least.
const KEPT: usize = 100;

/// The largest report that is read, in bytes.
const LIMIT: u64 = 256 << 20;

/// A run as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The tool: `cexec` or `ccp`.
    pub tool: String,
    /// The words of the command; of `ccp` its sources and target. Bytes that are not UTF-8 are replaced, and `exact` is false.
    pub command: Vec<String>,
    /// Whether the command stands here as it was given.
    pub exact: bool,
    /// Whether standard input went to the hosts; it is not kept.
    pub stdin: bool,
    /// The script that ran instead of a command, whose arguments the words are then.
    #[serde(default)]
    pub script: Option<String>,
    /// Whether it ran under sudo; the password is not kept.
    #[serde(default)]
    pub sudo: bool,
    /// Where it ran, when not in the home directory.
    #[serde(default)]
    pub chdir: Option<String>,
    /// The names of the variables it was given; the values are not kept.
    #[serde(default)]
    pub env: Vec<String>,
    /// The options of `ccp` that say what the copy is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// The directory of this machine in which the names of a copy begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether it ran on this machine for want of hosts.
    pub local: bool,
    /// The login name for hosts that name none.
    pub user: Option<String>,
    /// When it began (RFC 3339).
    pub started: String,
    /// When it ended.
    pub ended: String,
    /// The hosts.
    pub hosts: Vec<Line>,
}

/// One host of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The host as the list named it.
    pub host: String,
    /// How it ended, as a kind.
    pub kind: Kind,
    /// The status of the command, when it ran to its end.
    pub status: Option<u8>,
    /// The same in words, unless it is well.
    pub cause: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// How often it was tried.
    pub attempts: u32,
}

/// How a host ended, in the classes that can be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Status 0.
    Succeeded,
    /// Another status, a signal, or too late.
    Failed,
    /// The command did not run, or its end is not known.
    Unreachable,
    /// Stopped by the user, or not begun.
    Stopped,
}

/// Which hosts of a run are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Which {
    Succeeded,
    Failed,
    Unreachable,
    All,
}

impl State {
    /// The class of this end.
    pub fn kind(&self) -> Kind {
        match self {
            State::Exited(0) => Kind::Succeeded,
            State::Exited(_) | State::Killed(_) | State::TimedOut(_) => Kind::Failed,
            State::Unreachable(_) | State::NotStarted(_) => Kind::Unreachable,
            State::Cancelled => Kind::Stopped,
        }
    }
}

impl From<&Report> for Line {
    fn from(report: &Report) -> Self {
        Line {
            host: report.host.to_string(),
            kind: report.state.kind(),
            status: match report.state {
                State::Exited(code) => Some(code),
                _ => None,
            },
            cause: (!report.state.is_ok()).then(|| report.state.to_string()),
            millis: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
            attempts: report.attempts,
        }
    }
}

impl Run {
    /// The hosts of one class. Stopped hosts count as not reached: nothing is known of them.
    pub fn select(&self, which: Which) -> Result<Vec<Host>, String> {
        let wanted = |kind| match which {
            Which::All => true,
            Which::Succeeded => kind == Kind::Succeeded,
            Which::Failed => kind == Kind::Failed,
            Which::Unreachable => matches!(kind, Kind::Unreachable | Kind::Stopped),
        };
        let lines = self.hosts.iter().filter(|line| wanted(line.kind));
        lines.map(|line| Host::parse(&line.host)).collect()
    }

    /// How many hosts ended so.
    pub fn count(&self, kind: Kind) -> usize {
        self.hosts.iter().filter(|line| line.kind == kind).count()
    }
}

/// Where the reports of this user are.
pub fn place(paths: &Paths) -> PathBuf {
    let elsewhere = paths.at("/") != Path::new("/");
    match std::env::var_os("HOME") {
        Some(home) if !elsewhere && !nix::unistd::geteuid().is_root() => PathBuf::from(home).join(".dsau/reports"),
        _ => paths.at("/var/opt/dsau/fanout/reports"),
    }
}

/// Writes a report into a directory for this user alone. Gives its path. One in ten also removes the oldest when there are
/// many: to look at a hundred names takes as long as to run something on a host.
pub fn write(dir: &Path, run: &Run) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let stamp: String = run.started.chars().filter(char::is_ascii_digit).take(20).collect();
    let path = dir.join(format!("{}-{stamp:0<20}-{}.json", run.tool, std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let text = serde_json::to_string_pretty(run)? + "\n";
    file.write_all(text.as_bytes())?;
    let all = match stamp.get(19..) {
        None | Some("0") => list(dir, &run.tool)?,
        // The last digit of the time is as good as chance.
        Some(_) => Vec::new(),
    };
    for old in all.iter().skip(KEPT) {
        // Another run may have removed it just now.
        let _ = fs::remove_file(old);
    }
    Ok(path)
}

/// The reports of a tool, the newest first.
pub fn list(dir: &Path, tool: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with(&format!("{tool}-")) && text.ends_with(".json") {
            found.push(dir.join(&name));
        }
    }
    // The time is part of the name.
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Reads a report.
pub fn read(path: &Path) -> io::Result<Run> {
    let mut text = String::new();
    fs::File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|e| io::Error::other(format!("not a report: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Cause, Trouble};
    use std::time::Duration;

    fn run(number: usize) -> Run {
        let host = |name: &str, state| Report {
            host: Host::parse(name).unwrap(),
            state,
            took: Duration::from_millis(12),
            attempts: 1,
        };
        let trouble = Trouble {
            cause: Cause::Connect,
            said: "refused".into(),
        };
        let reports = [
            host("joe@a:22", State::Exited(0)),
            host("b", State::Exited(3)),
            host("c", State::Unreachable(trouble)),
            host("d", State::Cancelled),
            host("e", State::TimedOut(Duration::from_secs(1))),
        ];
        Run {
            tool: "cexec".into(),
            command: vec!["echo".into(), "a  b".into()],
            exact: true,
            stdin: false,
            script: None,
            sudo: false,
            chdir: None,
            env: Vec::new(),
            options: Vec::new(),
            from: None,
            local: false,
            user: None,
            started: format!("2026-11-21T23:21:{:02}.{:03}Z", number / 1000, number % 1000),
            ended: "2026-11-21T23:22:00Z".into(),
            hosts: reports.iter().map(Line::from).collect(),
        }
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written_and_is_private() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("reports");
        let path = write(&place, &run(1)).unwrap();
        assert_eq!(read(&path).unwrap(), run(1));
        assert_eq!(
            (
                path.metadata().unwrap().mode() & 0o777,
                place.metadata().unwrap().mode() & 0o777
            ),
            (0o600, 0o700)
        );
    }

    #[test]
    fn hosts_are_selected_by_how_they_ended() {
        let names = |which| -> Vec<String> { run(1).select(which).unwrap().iter().map(Host::to_string).collect() };
        assert_eq!(names(Which::Succeeded), ["joe@a:22"]);
        assert_eq!(names(Which::Failed), ["b", "e"]);
        assert_eq!(names(Which::Unreachable), ["c", "d"]);
        assert_eq!(names(Which::All).len(), 5);
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..KEPT + 5 {
            write(dir.path(), &run(number)).unwrap();
        }
        let all = list(dir.path(), "cexec").unwrap();
        assert_eq!(all.len(), KEPT);
        assert_eq!(read(&all[0]).unwrap(), run(KEPT + 4));
        assert_eq!(read(&all[KEPT - 1]).unwrap(), run(5));
        assert!(list(dir.path(), "ccp").unwrap().is_empty());
    }
}
