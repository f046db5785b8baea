//! Calling the hosts, some at a time, and telling what came of each.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bstr::BString;

use crate::diag::{Out, harmless, stderr_line};
use crate::fsx::SourceError;
use crate::hosts::{CfrunHost, CfrunHosts, OutputLevel};
use crate::sync::{self, Compress, Options};
use crate::sys::Paths;
use crate::tools::fan::gauge::Gauge;
use crate::wire::Ran;

/// How long a host may be silent. cfservd gives a sign of life every two seconds while the agent works.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most bytes of output kept of one host.
const MAX_OUTPUT: usize = 16 << 20;
/// How long connecting to each address of a host may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Hosts called at once where the file has no `maxchild=`.
pub const AT_ONCE: u16 = 16;
/// Hosts called at once at most: each has a thread and a connection.
pub const MOST_AT_ONCE: u16 = 1000;
/// Hosts with another policy are named up to here.
const FEW: usize = 5;
/// What a thread that waits for one host needs.
const STACK: usize = 512 << 10;

/// A run over many hosts.
pub struct Run<'a> {
    pub trusted: Vec<bool>,
    pub options: Vec<BString>,
    pub classes: Vec<BString>,
    pub silent: bool,
    pub paths: Paths,
    pub list: &'a CfrunHosts,
    pub output_dir: Option<PathBuf>,
    pub at_once: usize,
}

/// How the call of one host went.
struct Report {
    lines: Vec<BString>,
    failure: Option<(Why, String)>,
    ran: Option<Ran>,
}

/// Why a host is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Its agent, or it, said no.
    Failed,
    /// There was no answer.
    Unreachable,
}

/// What came of all hosts.
#[derive(Debug, Default)]
pub struct Tally {
    /// The numbers of those that are not done.
    pub failed: Vec<usize>,
    done: usize,
    changed: usize,
    whys: BTreeMap<Why, usize>,
    /// Policy → the numbers of the hosts that run it.
    policies: BTreeMap<String, Vec<usize>>,
}

impl Tally {
    /// `5 hosts: 3 done, 1 failed, 1 unreachable`; `missing` are those that were asked for and are nowhere to be found.
    pub fn summary(&self, missing: usize) -> String {
        let count = |why| self.whys.get(&why).copied().unwrap_or_default();
        let (failed, unreachable) = (count(Why::Failed) + missing, count(Why::Unreachable));
        let changed = match self.changed {
            0 => String::new(),
            changed => format!(" ({changed} changed)"),
        };
        format!(
            "{} hosts: {} done{changed}, {failed} failed, {unreachable} unreachable",
            self.done + failed + unreachable,
            self.done
        )
    }

    /// Which policies ran, the most frequent first: `policy 3f9a1c0b77e2 on 940 hosts, 77ab12cd90ef on web1 web2`.
    pub fn policies(&self, hosts: &[&CfrunHost]) -> Option<String> {
        let mut all: Vec<(&String, &Vec<usize>)> = self.policies.iter().collect();
        all.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.len()));
        let shown = |(policy, numbers): &(&String, &Vec<usize>)| match numbers.len() {
            1..=FEW if all.len() > 1 => {
                let names: Vec<&str> = numbers.iter().map(|number| hosts[*number].name.as_str()).collect();
                format!("{policy} on {}", names.join(" "))
            }
            count => format!("{policy} on {count} hosts"),
        };
        let texts: Vec<String> = all.iter().map(shown).collect();
        (!texts.is_empty()).then(|| format!("policy {}", texts.join(", ")))
    }

    fn ran(&mut self, number: usize, ran: &Ran) {
        self.changed += usize::from(ran.repaired > 0);
        if !ran.policy.is_empty() {
            let policy = crate::log::clean(&ran.policy.to_string());
            self.policies.entry(policy).or_default().push(number);
        }
    }

    fn add(&mut self, number: usize, why: Option<Why>) {
        match why {
            None => self.done += 1,
            Some(why) => {
                *self.whys.entry(why).or_default() += 1;
                self.failed.push(number);
            }
        }
    }
}

/// What a thread tells.
enum Told {
    Began(usize),
    Ended(usize, Report),
}

impl Run<'_> {
    /// Calls all hosts, some at a time. The output of a host comes in one piece, when it is done.
    pub fn all(&self, hosts: &[&CfrunHost]) -> Tally {
        let next = AtomicUsize::new(0);
        let (sender, told) = mpsc::channel();
        let labels: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
        let mut gauge = Gauge::new("cfrun", hosts.len(), true, false);
        let mut tally = Tally::default();
        thread::scope(|scope| {
            for started in 0..self.at_once.min(hosts.len()) {
                let (sender, next) = (sender.clone(), &next);
                let work = move || loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(host) = hosts.get(number) else { return };
                    let began = sender.send(Told::Began(number));
                    if began.is_err() || sender.send(Told::Ended(number, self.call(number, host))).is_err() {
                        return;
                    }
                };
                let thread = thread::Builder::new().stack_size(STACK);
                if let Err(error) = thread.spawn_scoped(scope, work.clone()) {
                    // With fewer it only takes longer; without any it is done here, below.
                    ::log::info!("only {started} hosts are called at once: {error}");
                    if started == 0 {
                        work();
                    }
                    break;
                }
            }
            drop(sender);
            let mut out = Out::stdout();
            for told in told {
                match told {
                    Told::Began(number) => gauge.started(number),
                    Told::Ended(number, report) => {
                        gauge.clear();
                        if let Some(ran) = &report.ran {
                            tally.ran(number, ran);
                        }
                        let failure = self.tell(&mut out, number, hosts[number], report);
                        if let Some((_, text)) = &failure {
                            stderr_line(&format!("cfrun: {text}"));
                        }
                        gauge.done(number, failure.is_none());
                        tally.add(number, failure.map(|(why, _)| why));
                    }
                }
                gauge.draw(&labels);
            }
        });
        gauge.clear();
        tally.failed.sort_unstable();
        tally
    }

    fn call(&self, number: usize, host: &CfrunHost) -> Report {
        let options = Options {
            paths: self.paths.clone(),
            port: host.port.unwrap_or_else(sync::port),
            trustkey: self.trusted.get(number).copied().unwrap_or(false),
            connect: CONNECT,
            timeout: PATIENCE,
            patience: PATIENCE,
            policy: None,
            compress: Compress::Auto,
            bind: self.list.bind_to,
            ipv4_only: false,
            program: concat!("cfrun ", env!("CARGO_PKG_VERSION")).to_string(),
        };
        let mut args = self.options.clone();
        // The words of the file come after those of the command line.
        args.extend(crate::sys::process::split(&host.options));
        if self.list.output_level == OutputLevel::Error {
            args.push("--silent".into());
        }
        let (mut lines, mut size, mut dropped, mut ran) = (Vec::new(), 0, 0u64, None);
        let done = sync::connect(&host.name, &options).and_then(|mut remote| {
            for note in remote.take_notes() {
                stderr_line(&format!("cfrun:{}: {note}", host.name));
            }
            let status = remote.exec(&args, &self.classes, &mut |line| {
                size += line.len() + 32;
                match size <= MAX_OUTPUT {
                    true => lines.push(line.to_owned()),
                    false => dropped += 1,
                }
            })?;
            ran = remote.take_ran();
            Ok(status)
        });
        if dropped > 0 {
            lines.push(format!("... {dropped} more lines are left out").into());
        }
        let failure = match done {
            Ok(0) => None,
            Ok(status) => Some((
                Why::Failed,
                format!("the agent of {} ended with status {status}", host.name),
            )),
            Err(error) => {
                let why = match error {
                    SourceError::Unreachable(_) => Why::Unreachable,
                    _ => Why::Failed,
                };
                Some((why, failure(&host.name, &error)))
            }
        };
        Report { lines, failure, ran }
    }

    /// Prints one host's report, or puts it into its file. Gives what failed.
    fn tell(&self, out: &mut Out, number: usize, host: &CfrunHost, report: Report) -> Option<(Why, String)> {
        let mut text = Vec::new();
        let rule = "- ".repeat(40);
        if !self.silent {
            text.extend_from_slice(
                format!(
                    "cfrun({number}):         .......... [ Hailing {} ] ..........\n\n",
                    host.name
                )
                .as_bytes(),
            );
        }
        if !report.lines.is_empty() {
            if !self.silent {
                text.extend_from_slice(format!("{}\n\n", rule.trim_end()).as_bytes());
            }
            for line in &report.lines {
                text.extend(harmless(line));
                text.push(b'\n');
            }
            if !self.silent {
                text.extend_from_slice(format!("{}\n", rule.trim_end()).as_bytes());
            }
        }
        let written = match &self.output_dir {
            Some(dir) => fs::write(dir.join(host.name.replace('/', "_")), &text),
            None => out.write_all(&text).and_then(|()| out.flush()),
        };
        match written {
            Ok(()) => report.failure,
            Err(error) => {
                let text = format!("the output of {} cannot be written: {error}", host.name);
                Some((Why::Failed, text))
            }
        }
    }
}

/// The original's words for what went wrong, and the cause.
fn failure(host: &str, error: &SourceError) -> String {
    let said = match error {
        SourceError::Unreachable(_) => format!("No response hailing {host}"),
        SourceError::Authentication(_) => format!("Key-authentication for {host} failed"),
        SourceError::Protocol(_) => format!("Hail succeeded, but unable to open channel to {host}"),
        _ => format!("{host} refused"),
    };
    let cause = error.to_string();
    let cause = cause.strip_prefix(&format!("{host}: ")).unwrap_or(&cause);
    format!("{said}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_every_host_once() {
        let mut tally = Tally::default();
        for (number, why) in [
            (0, None),
            (1, Some(Why::Unreachable)),
            (2, None),
            (3, Some(Why::Failed)),
        ] {
            tally.add(number, why);
        }
        assert_eq!(tally.failed, [1, 3]);
        assert_eq!(tally.summary(0), "4 hosts: 2 done, 1 failed, 1 unreachable");
        assert_eq!(tally.summary(2), "6 hosts: 2 done, 3 failed, 1 unreachable");
    }
}
