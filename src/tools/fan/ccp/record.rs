//! The report of a copy, and the copy of a report (`--retry`).

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;

use super::TOOL;
use crate::diag::{Exit, Fail};
use crate::fan::Report;
use crate::fan::report::{self, Kind, Line, Run};
use crate::sys::Paths;
use crate::tools::fan::replay;
use crate::tools::fan::targets::Targets;

/// The options that say what a copy is; the others say how it gets there.
const WHAT: [&str; 6] = ["recursive", "preserve", "delete", "same-path", "per-host", "rcopy"];

/// Where the reports of this user are.
pub(super) fn place() -> PathBuf {
    report::place(&Paths::from_env())
}

/// The command line of an earlier run, with what this one says of the way.
pub(super) fn resume(args: &[OsString], matches: &ArgMatches, run: &Run) -> Result<ArgMatches, Fail> {
    if let Some(from) = &run.from {
        let fail = |e| Fail::new(Exit::Failed, format!("cannot go back to {from}, where that copy began")).because(e);
        std::env::set_current_dir(from).map_err(fail)?;
    }
    let mut line: Vec<OsString> = args.iter().take_while(|arg| *arg != "--").cloned().collect();
    for name in WHAT {
        let option = format!("--{name}");
        if run.options.contains(&option) && !matches.get_flag(name) {
            line.push(option.into());
        }
    }
    line.push("--".into());
    line.extend(run.command.iter().map(OsString::from));
    crate::tools::parse(&TOOL, &line)
}

/// What a run leaves behind.
pub(super) struct Record {
    dir: PathBuf,
    run: Run,
}

impl Record {
    /// Of a run that begins now.
    pub fn begin(matches: &ArgMatches, targets: &Targets, paths: &[&OsString]) -> Self {
        let options = WHAT.iter().filter(|name| matches.get_flag(name));
        let from = std::env::current_dir().unwrap_or_default();
        let run = Run {
            tool: TOOL.name.into(),
            command: paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            exact: from.to_str().is_some() && paths.iter().all(|path| path.to_str().is_some()),
            stdin: false,
            script: None,
            sudo: false,
            chdir: None,
            env: Vec::new(),
            options: options.map(|name| format!("--{name}")).collect(),
            from: Some(from.display().to_string()),
            local: targets.local,
            user: targets.ssh.user.clone(),
            started: jiff::Timestamp::now().to_string(),
            ended: String::new(),
            hosts: Vec::new(),
        };
        Record { dir: place(), run }
    }

    /// Adds what became of the hosts on one way; of a host that is there already the first that went wrong stays.
    pub fn add(&mut self, reports: &[Report]) {
        let hosts = &mut self.run.hosts;
        let places = hosts.iter().enumerate().map(|(at, line)| (line.host.clone(), at));
        let places: HashMap<String, usize> = places.collect();
        for line in reports.iter().map(Line::from) {
            match places.get(&line.host) {
                Some(&at) if hosts[at].kind == Kind::Succeeded => {
                    let millis = hosts[at].millis + line.millis;
                    hosts[at] = Line { millis, ..line };
                }
                Some(&at) => hosts[at].millis += line.millis,
                None => hosts.push(line),
            }
        }
    }

    /// Something was not begun any more: nothing that is well so far is whole.
    pub fn cut_short(&mut self) {
        for line in self.run.hosts.iter_mut().filter(|line| line.kind == Kind::Succeeded) {
            (line.kind, line.status) = (Kind::Stopped, None);
            line.cause = Some("not all was begun".into());
        }
    }

    /// Writes it down, and says where if that is wanted. A rehearsal leaves nothing.
    pub fn write(mut self, matches: &ArgMatches) {
        if matches.get_flag("recon") || self.run.hosts.is_empty() {
            return;
        }
        self.run.ended = jiff::Timestamp::now().to_string();
        let written = report::write(&self.dir, &self.run);
        replay::say_where(TOOL.name, matches, &self.dir, written);
    }
}
