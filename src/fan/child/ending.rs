//! How a host comes to its end: by itself, at its mark, at its deadline, by the user's wish.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{Child, SOON, Work};
use crate::fan::State;
use crate::fan::session::End;
use crate::remote::keep::lives;
use crate::remote::{Cause, Trouble, explain};

/// How long a process that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long a connection may take to close when its command has said on both outputs that it has ended. Longer: something
/// that the command left running holds it.
const LINGER: Duration = Duration::from_millis(250);

/// Why a process is being stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::fan) enum Why {
    TimedOut,
    Cancelled,
    /// The command has ended, with this status, and its connection does not.
    Over(u8),
}

/// How something ended, before it is known what that means.
#[derive(Clone, Copy)]
pub(in crate::fan) enum Ended {
    Process(ExitStatus),
    Session(End),
}

impl Child {
    /// An output has come to its mark.
    pub(super) fn mark(&mut self, number: usize, status: u8) {
        self.marked[number] = true;
        if self.marked == [true; 2] {
            self.over = Some((status, Instant::now()));
        }
    }

    /// Whether it has ended, and how. A process is only asked when `died`: when any has ended since the last time.
    pub fn ended(&mut self, died: bool) -> Option<Ended> {
        match &mut self.work {
            Work::Process(process) if died => process.try_wait().unwrap_or(None).map(Ended::Process),
            Work::Holder(holder) if died => holder.ended().map(Ended::Process),
            Work::Process(_) | Work::Holder(_) => None,
            Work::Connecting(_) => self.stopping.map(|_| Ended::Session(End::Left)),
            Work::Session(session) => session.end().map(Ended::Session),
        }
    }

    /// How the host ended, once its process or session has. None: it was not begun, and a connection of its own may do.
    pub fn state(&self, ended: Ended, limit: Option<Duration>) -> Option<State> {
        Some(match (self.stopped(limit), ended) {
            (Some(state), _) => state,
            (None, Ended::Process(status)) if matches!(self.work, Work::Holder(_)) => match status.code() {
                // The command was not begun. Where ssh does not say why, it may do so without a connection of ours.
                Some(255) => State::Unreachable(explain(&self.log)?),
                Some(_) => return None,
                None => self.status(status),
            },
            (None, Ended::Process(status)) => self.status(status),
            (None, Ended::Session(End::Exited(code))) => State::Exited(code),
            (None, Ended::Session(End::Lost | End::Left)) => lost(),
            (None, Ended::Session(End::Refused)) => return None,
        })
    }

    fn stopped(&self, limit: Option<Duration>) -> Option<State> {
        match (self.stopping, limit) {
            (Some((Why::Cancelled, _)), _) => Some(State::Cancelled),
            (Some((Why::TimedOut, _)), Some(limit)) => Some(State::TimedOut(limit)),
            (Some((Why::Over(status), _)), _) => Some(State::Exited(status)),
            _ => None,
        }
    }

    fn status(&self, status: ExitStatus) -> State {
        match (status.code(), status.signal()) {
            (Some(255), _) if self.ssh => match explain(&self.log) {
                Some(trouble) => State::Unreachable(trouble),
                // ssh has no word for it when the owner of its connection has died, which leaves its socket behind.
                None if self.log.is_empty() && self.kept.as_ref().is_some_and(|path| path.exists() && !lives(path)) => {
                    lost()
                }
                None => State::Exited(255),
            },
            (Some(code), _) => State::Exited(u8::try_from(code).unwrap_or(255)),
            (None, signal) => State::Killed(signal.unwrap_or_default()),
        }
    }

    /// The time is over: of the command, or of a connection that outlives it.
    pub fn late(&mut self) {
        self.stop(match self.over {
            Some((status, _)) => Why::Over(status),
            None => Why::TimedOut,
        });
    }

    /// Asks the process to end; the second time, and after a while, it is killed.
    pub fn stop(&mut self, why: Why) {
        match self.stopping {
            None => {
                self.stopping = Some((why, Instant::now()));
                self.signal(Signal::SIGTERM);
            }
            Some((_, since)) if !self.killed && since.elapsed() >= GRACE => {
                self.killed = true;
                self.signal(Signal::SIGKILL);
            }
            Some(_) => {}
        }
    }

    /// The user has called all off: an ssh that has then ended without a status of the command got the same signal from
    /// the terminal, sooner than it was asked to end.
    pub fn called_off(&mut self, ended: Ended) {
        if let Ended::Process(status) = ended
            && self.ssh
            && matches!(status.code(), None | Some(255))
        {
            self.stopping.get_or_insert((Why::Cancelled, Instant::now()));
        }
    }

    /// Whether it was asked to end.
    pub fn stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// When it must be looked at though nothing can be read. A session that was given up is to be buried at once.
    pub fn wake(&self, limit: Option<Duration>) -> Option<Instant> {
        let own = match &self.work {
            Work::Session(session) if session.end().is_some() => Some(self.started),
            Work::Connecting(_) if self.stopping() => Some(self.started),
            Work::Connecting(connecting) => Some(connecting.by()),
            _ => self.connection.as_ref().map(|_| Instant::now() + SOON),
        };
        own.into_iter().chain(self.due(limit)).min()
    }

    /// When the next step against it is due.
    pub fn due(&self, limit: Option<Duration>) -> Option<Instant> {
        match self.stopping {
            Some((_, since)) => (!self.killed).then(|| since + GRACE),
            None => {
                let open = match &self.work {
                    Work::Session(session) => session.due(),
                    _ => None,
                };
                let limit = limit.map(|limit| self.started + limit);
                let over = self.over.map(|(_, since)| since + LINGER);
                limit.into_iter().chain(open).chain(over).min()
            }
        }
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        let process = match &mut self.work {
            Work::Process(process) => process,
            Work::Holder(holder) => &holder.process,
            Work::Connecting(_) => return,
            Work::Session(session) => {
                self.feed = None;
                return session.leave();
            }
        };
        let Ok(pid) = i32::try_from(process.id()) else {
            return;
        };
        // An error means that it is gone already.
        let _ = match self.ssh {
            true => kill(Pid::from_raw(pid), signal),
            false => killpg(Pid::from_raw(pid), signal),
        };
    }
}

fn lost() -> State {
    State::Unreachable(Trouble {
        cause: Cause::Lost,
        said: String::new(),
    })
}
