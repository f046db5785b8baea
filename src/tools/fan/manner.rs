//! What a tool does in another way when it is called by the name of another one.

use super::look::Heads;
use crate::diag::Exit;
use crate::fan::{Report, State, Stop};

/// The name and the habits of a tool.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The name before its messages.
    pub prog: &'static str,
    /// What hosts count with in its exit status.
    pub counts: Counts,
    /// What stands above gathered output.
    pub heads: Heads,
}

impl Manner {
    /// That of a tool of the suite.
    pub fn own(prog: &'static str) -> Self {
        Manner {
            prog,
            counts: Counts::Own,
            heads: Heads::default(),
        }
    }
}

/// What the hosts of a run count with in the exit status, which is the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// With their own codes ([`State::code`]).
    Own,
    /// With the status of the command; a host that was not reached, or not in time, with these numbers.
    Instead {
        /// Not reached, or nothing could be started.
        unreachable: u8,
        /// Not in time.
        late: u8,
    },
    /// With nothing, whatever becomes of them.
    Nothing,
}

/// The worst status of all hosts; 128 + n after signal n.
pub fn status(prog: &str, reports: &[Report], stop: &Stop, counts: Counts) -> Exit {
    if let Some(code) = stop.code() {
        let count = |wanted: fn(&Report) -> bool| reports.iter().filter(|r| wanted(r)).count();
        let begun = count(|r| r.state == State::Cancelled && r.attempts > 0);
        let waiting = count(|r| r.attempts == 0);
        crate::diag::stderr_line(&format!(
            "{}: stopped: {} hosts done, {begun} ended, {waiting} not begun",
            prog,
            reports.len() - begun - waiting
        ));
        return Exit::Code(code);
    }
    let code = |report: &Report| match (&report.state, counts) {
        (State::Cancelled, _) | (_, Counts::Nothing) => 0,
        (State::Unreachable(_) | State::NotStarted(_), Counts::Instead { unreachable, .. }) => unreachable,
        (State::TimedOut(_), Counts::Instead { late, .. }) => late,
        (state, _) => state.code(),
    };
    Exit::Code(reports.iter().map(code).max().unwrap_or(0))
}
