//! Fan-out: one command, every machine.

pub mod ccollate;
pub mod ccp;
pub mod cexec;
pub mod chosts;
pub mod ckill;
pub mod cps;
pub mod csshsetup;
pub mod cuptime;
pub mod cwall;
mod gathered;
mod gauge;
mod groups;
mod processes;
mod replay;
mod secret;
mod show;
mod survey;
mod targets;
mod work;

use crate::diag::Exit;
use crate::fan::{Report, State, Stop};

/// The worst status of all hosts; 128 + n after signal n. With -S a host that was not reached, or not in time, counts
/// 254, as pdsh has it.
fn status(prog: &str, reports: &[Report], stop: &Stop, pdsh: bool) -> Exit {
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
    let code = |report: &Report| match report.state {
        State::Unreachable(_) | State::NotStarted(_) | State::TimedOut(_) if pdsh => 254,
        State::Cancelled => 0,
        ref state => state.code(),
    };
    Exit::Code(reports.iter().map(code).max().unwrap_or(0))
}
