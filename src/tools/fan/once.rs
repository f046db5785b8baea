//! One command of `cexec` on all its hosts: jobs, output, report, status.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::look::{Heads, Look};
use super::manner::Counts;
use super::show::{Shape, Show};
use super::targets::{self, Outside, Targets};
use super::{gateways, replay, work};
use crate::diag::{Exit, Fail, stderr_line};
use crate::fan::report::{self, Run};
use crate::fan::{Job, Report, State, Stop, Wrap};
use crate::hosts::Host;

/// What all commands of one call have in common.
pub struct Call<'a> {
    /// The name of the tool.
    pub prog: &'static str,
    /// Its options.
    pub matches: &'a ArgMatches,
    /// What surrounds the command.
    pub wrap: Wrap,
    /// The script that runs instead of a command.
    pub script: Option<PathBuf>,
    /// Where each host's standard output and standard error go as files.
    pub dirs: [Option<PathBuf>; 2],
    /// Through whom the hosts are served; nobody when empty.
    pub gateways: Vec<Host>,
    /// What stands above gathered output.
    pub heads: Heads,
    /// What hosts count with in the status.
    pub counts: Counts,
    /// Where the reports are.
    pub reports: PathBuf,
    /// The user's wish to stop.
    pub stop: Stop,
}

/// What became of a command.
pub struct Ended {
    /// The worst status of its hosts.
    pub status: Exit,
    /// What was typed on the terminal meanwhile, but for empty lines.
    pub typed: Vec<u8>,
    /// True: nobody reads the output any more.
    pub deaf: bool,
}

impl Call<'_> {
    /// Runs a command on all hosts, shows what they say, leaves a report.
    pub fn run(&self, targets: &Targets, words: &[OsString], shape: Shape) -> Result<Ended, Fail> {
        let matches = self.matches;
        let halt = halt(matches, targets.hosts.len())?;
        let jobs = work::jobs(matches, targets, words, &self.wrap)?;
        let started = jiff::Timestamp::now().to_string();
        let look = Look {
            diff: shape == Shape::Gathered && matches.get_flag("diff"),
            live: matches.get_flag("live"),
            normalize: matches.get_flag("normalize"),
            quiet: matches.get_flag("quiet"),
            gauge: !matches.get_flag("no-gauge"),
            keys: !matches.get_flag("stdin") && !targets.stdin_used,
            halt,
            heads: self.heads.clone(),
        };
        let (named, labels) = match matches.get_flag("short") {
            true => targets::without_domain(&targets.hosts),
            false => (targets.hosts.clone(), targets.labels()),
        };
        let groups = matches.get_flag("regroup").then(Outside::default);
        let mut show = Show::new(self.prog, shape, &named, labels, self.dirs.clone())
            .with(look)
            .regrouped(groups);
        let ended = self.batches(&jobs, targets, &mut show).map_err(internal)?;
        let written = report::write(&self.reports, &self.report(targets, words, started, &ended));
        let halted = show.halted();
        let shown = show.finish();
        let (typed, deaf) = (show.typed(), show.deaf());
        // Its lock on standard output would stand in the way of what is said next.
        drop(show);
        replay::say_where(self.prog, matches, &self.reports, written);
        shown.map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
        if halted && self.stop.signal().is_none() {
            self.say_halted(&ended);
        }
        let counts = match matches.get_flag("pdsh-status") {
            true => Counts::Instead {
                unreachable: 254,
                late: 254,
            },
            false => self.counts,
        };
        let status = super::status(self.prog, &ended, &self.stop, counts);
        Ok(Ended { status, typed, deaf })
    }

    /// Runs all jobs, in batches where they are asked for. After a stop the batches that are left are only reported.
    fn batches(&self, jobs: &[Job], targets: &Targets, show: &mut Show) -> io::Result<Vec<Report>> {
        let number = |name| self.matches.get_one::<u32>(name).map(|&n| n as usize);
        let size = number("batch").unwrap_or(jobs.len()).max(1);
        let pause = Duration::from_secs(number("delay").unwrap_or(0) as u64);
        let mut ended = Vec::with_capacity(jobs.len());
        for batch in jobs.chunks(size) {
            let begin = Instant::now();
            while !ended.is_empty() && begin.elapsed() < pause && self.stop.signal().is_none() && !show.halted() {
                std::thread::sleep(Duration::from_millis(50).min(pause - begin.elapsed().min(pause)));
            }
            show.first = ended.len();
            ended.extend(gateways::run(batch, &self.gateways, targets, &self.stop, show)?);
        }
        Ok(ended)
    }

    fn report(&self, targets: &Targets, words: &[OsString], started: String, ended: &[Report]) -> Run {
        let wrap = &self.wrap;
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let script = self.script.clone();
        Run {
            tool: super::cexec::TOOL.name.into(),
            command: words.iter().map(text).collect(),
            exact: words.iter().all(|word| word.to_str().is_some()),
            stdin: self.matches.get_flag("stdin"),
            script: script.map(|path| std::path::absolute(&path).unwrap_or(path).display().to_string()),
            sudo: wrap.sudo.is_some(),
            chdir: wrap.dir.as_ref().map(text),
            env: wrap.env.iter().map(|(name, _)| text(name)).collect(),
            options: Vec::new(),
            from: None,
            local: targets.local,
            user: targets.ssh.user.clone(),
            started,
            ended: jiff::Timestamp::now().to_string(),
            hosts: ended.iter().map(report::Line::from).collect(),
        }
    }

    fn say_halted(&self, ended: &[Report]) {
        let count = |wanted: fn(&Report) -> bool| ended.iter().filter(|r| wanted(r)).count();
        let early = count(|r| r.state == State::Cancelled && r.attempts > 0);
        let waiting = count(|r| r.attempts == 0);
        let failed = count(|r| !r.state.is_ok()) - early - waiting;
        stderr_line(&format!(
            "{}: halted: {failed} hosts failed, {early} ended, {waiting} not begun",
            self.prog
        ));
    }
}

/// How many failed hosts stop the rest (`--halt`).
pub fn halt(matches: &ArgMatches, hosts: usize) -> Result<Option<usize>, Fail> {
    let Some(text) = matches.get_one::<String>("halt") else {
        return Ok(None);
    };
    let wrong = || {
        Fail::usage(format!(
            "--halt: '{text}' is neither a number of hosts nor a percentage"
        ))
    };
    let most = match text.strip_suffix('%') {
        None => text.parse::<usize>().map_err(|_| wrong())?,
        Some(percent) => {
            let percent = percent.parse::<usize>().map_err(|_| wrong())?;
            if percent > 100 {
                return Err(wrong());
            }
            (hosts * percent).div_ceil(100)
        }
    };
    if most == 0 {
        return Err(wrong());
    }
    Ok(Some(most))
}

/// A failure of this machine before anything was begun.
pub fn internal(error: io::Error) -> Fail {
    Fail::new(Exit::Internal, "cannot run anything").because(error)
}
