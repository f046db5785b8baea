//! What `cps`, `ckill`, `cuptime` and `cwall` have in common: every host is asked the same, and the answers are used here.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::targets::Targets;
use crate::diag::{Exit, Fail, Out, harmless, relay_line, stderr_line};
use crate::fan::{self, Answer, Input, State, Stop};
use crate::remote;

/// More of one answer is not kept.
const LARGEST: usize = 16 << 20;

/// Hosts with what they answered.
pub struct Survey {
    prog: &'static str,
    /// How each host is called.
    pub labels: Vec<String>,
    /// What each host answered, in the order of the hosts.
    pub answers: Vec<Answer>,
    stop: Stop,
}

impl Survey {
    /// Asks all hosts the same. What went wrong is said.
    pub fn ask(prog: &'static str, targets: &Targets, input: &Input, command: Vec<OsString>) -> Result<Survey, Fail> {
        let command: Arc<[OsString]> = command.into();
        Survey::each(prog, targets, input, |_| Some(Arc::clone(&command)))
    }

    /// As [`Survey::ask`]; `command` gives what is run on the host with this number, or nothing where it is left out.
    pub fn each(
        prog: &'static str,
        targets: &Targets,
        input: &Input,
        command: impl Fn(usize) -> Option<Arc<[OsString]>>,
    ) -> Result<Survey, Fail> {
        let internal = |error: io::Error| Fail::new(Exit::Internal, "cannot run anything").because(error);
        let (mut jobs, mut labels) = (Vec::new(), Vec::new());
        for (at, (host, label)) in targets.hosts.iter().zip(targets.labels()).enumerate() {
            if let Some(command) = command(at) {
                jobs.push(targets.job(host, &command, input.clone()));
                labels.push(label);
            }
        }
        let stop = Stop::catch().map_err(internal)?;
        let answers = fan::ask(&jobs, &targets.options, Some(&stop), LARGEST).map_err(internal)?;
        let survey = Survey {
            prog,
            labels,
            answers,
            stop,
        };
        survey.complain();
        Ok(survey)
    }

    /// Hosts that gave their answer, with it.
    pub fn good(&self) -> impl Iterator<Item = (&str, &Answer)> {
        let pairs = self.labels.iter().map(String::as_str).zip(&self.answers);
        pairs.filter(|(_, answer)| answer.report.state.is_ok())
    }

    /// Says which hosts gave none, and why; and what the others said on their standard error.
    fn complain(&self) {
        let mut hints = Vec::new();
        for (label, answer) in self.labels.iter().zip(&self.answers) {
            for line in String::from_utf8_lossy(&answer.err).lines() {
                let line = harmless(line.as_bytes());
                relay_line(&format!("{label}: {}", String::from_utf8_lossy(&line)));
            }
            if answer.cut {
                stderr_line(&format!(
                    "{}: {label}: said more than 16 MiB; the rest is left out",
                    self.prog
                ));
            }
            match &answer.report.state {
                State::Exited(0) | State::Cancelled => continue,
                State::Unreachable(trouble) => hints.extend(trouble.cause.hint()),
                _ => {}
            }
            stderr_line(&format!("{}: {label}: {}", self.prog, answer.report.state));
        }
        hints.dedup();
        for hint in hints {
            stderr_line(&format!("  hint: {hint}"));
        }
    }

    /// The worst status of all hosts, as cexec has it.
    pub fn status(&self) -> Exit {
        let reports: Vec<fan::Report> = self.answers.iter().map(|answer| answer.report.clone()).collect();
        super::status(self.prog, &reports, &self.stop, super::manner::Counts::Own)
    }
}

/// A script of ours as a command, its arguments as they are.
pub fn script(text: &str, arguments: &[&[u8]]) -> Vec<OsString> {
    remote::carry(text, arguments)
}

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table: a head, and rows of as many cells. The last column is not filled up.
pub struct Table {
    head: &'static [(&'static str, Side)],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub fn new(head: &'static [(&'static str, Side)]) -> Table {
        Table { head, rows: Vec::new() }
    }

    /// Adds a row. What hosts say about themselves does not steer the terminal.
    pub fn row(&mut self, cells: Vec<String>) {
        let clean = |cell: String| String::from_utf8_lossy(&harmless(cell.as_bytes())).into_owned();
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Prints it.
    pub fn print(&self, out: &mut Out) -> io::Result<()> {
        let mut widths: Vec<usize> = self.head.iter().map(|(name, _)| name.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_string()).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let (pad, last) = (" ".repeat(width - cell.chars().count()), at + 1 == row.len());
                match self.head[at].1 {
                    Side::Right => line.push_str(&format!("{pad}{cell}")),
                    Side::Left if last => line.push_str(cell),
                    Side::Left => line.push_str(&format!("{cell}{pad}")),
                }
                if !last {
                    line.push_str("  ");
                }
            }
            out.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// Prints objects, one a line.
pub fn print_json(objects: &[Value]) -> Result<(), Fail> {
    let mut out = Out::stdout();
    let mut print = || -> io::Result<()> {
        for object in objects {
            out.line(object.to_string())?;
        }
        out.flush()
    };
    use io::Write;
    print().map_err(cannot_write)
}

/// Prints a table.
pub fn print_table(table: &Table) -> Result<(), Fail> {
    use io::Write;
    let mut out = Out::stdout();
    table.print(&mut out).and_then(|()| out.flush()).map_err(cannot_write)
}

fn cannot_write(error: io::Error) -> Fail {
    Fail::new(Exit::Failed, "cannot write the output").because(error)
}

/// Seconds as `12d03:04`, `03:04:05`.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{days}d{hours:02}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_does_not_hide_itself_from_whoever_reads_the_table() {
        let mut table = Table::new(&[("COMMAND", Side::Left)]);
        table.row(vec!["evil\x1b[2K\rgood\u{9b}1A".into()]);
        assert_eq!(table.rows, [["evil?[2K?good?1A"]]);
    }

    #[test]
    fn times_are_short() {
        for (seconds, wanted) in [(59, "00:00:59"), (3_661, "01:01:01"), (86_400 * 12 + 3_900, "12d01:05")] {
            assert_eq!(span(seconds), wanted);
        }
    }
}
