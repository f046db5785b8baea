//! Running one thing on many hosts: window, time-outs, line-tagged output, transcripts, status of each host.
//!
//! One thread watches all processes. A host is done when its process has ended, not when its pipes are closed: something
//! left running in the background may hold them for ever. ssh itself waits for that; so a command of ours leaves a mark when
//! it has ended (see [`crate::remote::mark`]). Every host ends in exactly one [`State`].

mod capture;
mod child;
pub mod copy;
mod deaths;
pub mod fetch;
mod lines;
mod pipes;
pub mod relay;
pub mod report;
mod run;
mod session;
mod spool;
mod stop;
pub mod talk;
mod tar;
pub mod trust;
mod window;
mod wrap;

pub use capture::{Answer, Gathered, Transcripts, ask};
pub use run::run;
pub use spool::Spool;
pub use stop::{At, Stop};
pub use window::{default_window, widest_window};
pub use wrap::{Bond, SCRIPT_LIMIT, Sizes, Wrap};

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::hosts::Host;
use crate::remote::{Launch, Mark, Ssh, Trouble};

/// The longest line that is kept whole, in bytes; a longer one is cut here, and what follows is a line of its own.
pub const LINE_LIMIT: usize = 256 * 1024;

/// One host and what to start for it.
#[derive(Clone, Debug)]
pub struct Job {
    /// The host, as it is shown.
    pub host: Host,
    /// What to start.
    pub start: Start,
    /// Its standard input.
    pub input: Input,
}

impl Job {
    /// A command over ssh, which is shared by all that have the same.
    pub fn over(ssh: &Arc<Ssh>, host: Host, command: &Arc<[OsString]>, input: Input) -> Self {
        Job {
            host,
            start: Start::Over(Arc::clone(ssh), Arc::clone(command)),
            input,
        }
    }

    /// The process to start now.
    fn launch(&self) -> Arc<Launch> {
        match &self.start {
            Start::Over(ssh, command) => Arc::new(ssh.launch(&self.host, command)),
            Start::Launch(launch) => Arc::clone(launch),
        }
    }

    /// The words that the remote shell reads, joined with blanks as ssh does it; none for a process of another kind.
    fn remote_command(&self) -> Option<OsString> {
        match &self.start {
            Start::Over(_, command) => Some(command.join(OsStr::new(" "))),
            Start::Launch(_) => None,
        }
    }

    /// What became of it.
    fn report(&self, state: State, took: Duration, attempts: u32) -> Report {
        Report {
            host: self.host.clone(),
            state,
            took,
            attempts,
        }
    }
}

/// What is started for a host.
#[derive(Clone, Debug)]
pub enum Start {
    /// A command over ssh. Its command line is put together when the host's turn comes: those that wait, be they ten
    /// thousand, have nothing of their own.
    Over(Arc<Ssh>, Arc<[OsString]>),
    /// A process whose command line is known.
    Launch(Arc<Launch>),
}

impl From<Launch> for Start {
    fn from(launch: Launch) -> Self {
        Start::Launch(Arc::new(launch))
    }
}

/// What a process reads.
#[derive(Clone, Debug, Default)]
pub enum Input {
    /// Nothing: the end at once.
    #[default]
    Nothing,
    /// Nothing, but no end either before this process ends: what [`crate::remote::tied`] watches.
    Held,
    /// All of a spool, each host from its beginning.
    Spool(Arc<Spool>),
    /// All of a spool, and then as [`Input::Held`].
    Fed(Arc<Spool>),
    /// What a conversation has to say; the standard output of the command belongs to it.
    Talk(Arc<dyn talk::Script>),
}

/// How a fan-out goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many hosts are served at once.
    pub window: usize,
    /// How long one host's command may take, from the start of its ssh; not limited when not given.
    pub command_timeout: Option<Duration>,
    /// How often a host that closed the connection before login (too many at once) is tried again.
    pub retries: u32,
    /// How often a host that was not reached for another passing cause is tried again, later each time: one that is
    /// down or does not answer. Never once a command may have begun.
    pub patience: u32,
    /// What the commands write when they have ended, if they do (see [`crate::remote::tied`]).
    pub mark: Option<Mark>,
    /// Processes are in groups of their own: a key of the terminal does not reach them. They end when this one is killed.
    pub apart: bool,
}

impl Options {
    /// The usual ones, with a window that is known: looking for the best one takes a while.
    pub fn windowed(window: usize) -> Self {
        Options {
            window,
            command_timeout: None,
            retries: 3,
            patience: 0,
            mark: None,
            apart: false,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::windowed(default_window())
    }
}

/// How a host ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The command ended with this status.
    Exited(u8),
    /// The process on this side was killed by a signal.
    Killed(i32),
    /// The command took longer than it was given.
    TimedOut(Duration),
    /// ssh did not get through, or lost the connection.
    Unreachable(Trouble),
    /// The process on this side could not be started.
    NotStarted(String),
    /// Stopped by the user, or not begun when the user stopped it.
    Cancelled,
}

impl State {
    /// Whether the command ran and ended with 0.
    pub fn is_ok(&self) -> bool {
        *self == State::Exited(0)
    }

    /// The number this host counts with when the worst status is taken: the command's own; 128 + n for a signal;
    /// 124 for a command time-out, as timeout(1) has it; 4 when the host was not reached, 5 when nothing could be started.
    pub fn code(&self) -> u8 {
        match self {
            State::Exited(code) => *code,
            State::Killed(signal) => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(127)),
            State::TimedOut(_) => 124,
            State::Unreachable(_) => 4,
            State::NotStarted(_) => 5,
            State::Cancelled => 130,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Exited(code) => write!(f, "exit status {code}"),
            State::Killed(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(f, "ssh was killed by {signal}"),
                Err(_) => write!(f, "ssh was killed by signal {signal}"),
            },
            State::TimedOut(limit) => write!(f, "command time-out after {} s", limit.as_secs_f64()),
            State::Unreachable(trouble) => trouble.fmt(f),
            State::NotStarted(why) => f.write_str(why),
            State::Cancelled => f.write_str("stopped"),
        }
    }
}

/// What became of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The host.
    pub host: Host,
    /// How it ended.
    pub state: State,
    /// How long its last attempt took.
    pub took: Duration,
    /// How often it was tried.
    pub attempts: u32,
}

/// Which of the two outputs of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Who gets what the hosts say. Calls come from the thread that runs the fan-out.
pub trait Sink {
    /// A whole line of a host, without its newline; a last line that had none as well. Never longer than [`LINE_LIMIT`].
    fn line(&mut self, job: usize, host: &Host, stream: Stream, line: &[u8]);
    /// A host's process has been started, for the first time or again.
    fn started(&mut self, _job: usize) {}
    /// A host is done. All its lines have been given before.
    fn done(&mut self, job: usize, report: &Report);
    /// The jobs that shall be begun now, of those that were held back; asked for when a job is done.
    fn released(&mut self) -> Vec<usize> {
        Vec::new()
    }
    /// Something the user should know that is no answer of a host.
    fn notice(&mut self, _text: &str) {}
    /// Nothing is there to read just now: what was buffered can be shown.
    fn idle(&mut self) {}
    /// True when nobody listens any more and the rest shall be stopped.
    fn closed(&self) -> bool {
        false
    }
    /// What else shall be watched while hosts are waited for; asked for once.
    fn watch(&mut self) -> Vec<OwnedFd> {
        Vec::new()
    }
    /// Something that is watched can be read. False: it need not be watched any more.
    fn woken(&mut self) -> bool {
        false
    }
}

/// The worst status of all hosts: the largest of their [`State::code`]s; 0 without hosts.
pub fn worst(reports: &[Report]) -> u8 {
    reports.iter().map(|report| report.state.code()).max().unwrap_or(0)
}

#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;
