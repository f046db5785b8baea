//! One host's process, or its session on a kept connection: its pipes, its deadline, its end.

mod opening;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, pipe2};

use opening::{Connecting, Holder, acknowledge};

use super::pipes::{Feed, Pipe};
use super::session::{End, Session};
use super::talk::Talk;
use super::{Input, Job, State, Stream};
use crate::remote::keep::lives;
use crate::remote::{Cause, Kept, Launch, Trouble, explain};

/// How much of ssh's own messages is kept, in bytes.
const LOG_LIMIT: usize = 8 * 1024;

/// How long a process that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The number of a session's socket among what can be read, after the pipes and the input; also of what tells that a
/// connection was made.
const SOCKET: usize = 4;

/// How often it is seen to it that opening a session is not held up.
const SOON: Duration = Duration::from_millis(4);

/// Why a process is being stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    TimedOut,
    Cancelled,
}

pub(super) struct Child {
    pub job: usize,
    pub attempt: u32,
    pub started: Instant,
    work: Work,
    ssh: bool,
    // The connection that this process goes over, if it is kept.
    kept: Option<PathBuf>,
    pipes: [Option<Pipe>; 3],
    feed: Option<Feed>,
    talk: Option<Box<dyn Talk>>,
    log: Vec<u8>,
    // The end that ssh opens through /proc; held so that the other end does not see the end of the stream before.
    log_end: Option<OwnedFd>,
    /// The connection, until the session on it is open.
    connection: Option<TcpStream>,
    stopping: Option<(Why, Instant)>,
    killed: bool,
}

enum Work {
    /// A connection is being made; nothing else is there yet.
    Connecting(Connecting),
    /// ssh logs in on it.
    Holder(Holder),
    Process(Process),
    Session(Box<Session>),
}

/// How something ended, before it is known what that means.
#[derive(Clone, Copy)]
pub(super) enum Ended {
    Process(ExitStatus),
    Session(End),
}

/// Which way a host's command may go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Over a connection that is kept, or else over one that is kept from now on.
    Kept,
    /// Over one of its own.
    Plain,
}

/// Begins the conversation of a job that is one.
fn begin(index: usize, job: &Job) -> Option<Box<dyn Talk>> {
    match &job.input {
        Input::Talk(script) => Some(Arc::clone(script).begin(index)),
        _ => None,
    }
}

impl Child {
    /// Starts a job: over the kept connection where there is one, else as a process.
    pub fn start(index: usize, job: &Job, attempt: u32, way: Way) -> io::Result<Self> {
        let Some(kept) = job.launch.kept.as_ref().filter(|_| way == Way::Kept) else {
            return Self::process(index, job, attempt, &job.launch);
        };
        let none_there = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        match Self::session(index, job, attempt, kept) {
            Ok(child) => Ok(child),
            Err(error) if none_there.contains(&error.kind()) => match &kept.hold {
                Some(hold) => Self::connecting(index, attempt, hold),
                None => Self::keeping(index, job, attempt, kept),
            },
            Err(_) => Self::process(index, job, attempt, &job.launch),
        }
    }

    fn of(index: usize, attempt: u32, work: Work, ssh: bool) -> Self {
        Child {
            job: index,
            attempt,
            started: Instant::now(),
            work,
            ssh,
            kept: None,
            pipes: [None, None, None],
            feed: None,
            talk: None,
            log: Vec::new(),
            log_end: None,
            connection: None,
            stopping: None,
            killed: false,
        }
    }

    /// An ssh of its own that leaves its connection behind. It clears away the socket of one that died.
    fn keeping(index: usize, job: &Job, attempt: u32, kept: &Kept) -> io::Result<Self> {
        let mut child = Self::process(index, job, attempt, &job.launch.keeping())?;
        child.kept = Some(kept.socket.clone());
        Ok(child)
    }

    /// Opens a session. What is sent is there before anybody is told: nothing has begun when this fails.
    fn session(index: usize, job: &Job, attempt: u32, kept: &Kept) -> io::Result<Self> {
        let ((out, their_out), (err, their_err)) = (pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
        let (input, held): (OwnedFd, _) = match &job.input {
            Input::Spool(spool) => (spool.reader()?.into(), None),
            Input::Nothing => (File::open("/dev/null")?.into(), None),
            Input::Held | Input::Fed(_) | Input::Talk(_) => {
                let (theirs, held) = pipe2(OFlag::O_CLOEXEC)?;
                (theirs, Some(held))
            }
        };
        let mut talk = begin(index, job);
        let (feed, held) = match (&job.input, held) {
            (Input::Fed(_) | Input::Talk(_), Some(ours)) => (Some(Feed::new(ours, &job.input, talk.as_mut())?), None),
            (_, held) => (None, held),
        };
        let standard = [input.as_fd(), their_out.as_fd(), their_err.as_fd()];
        let pipes = [Some(Pipe::new(out)?), Some(Pipe::new(err)?), None];
        let session = Session::start(kept, standard, held)?;
        let mut child = Self::of(index, attempt, Work::Session(Box::new(session)), true);
        (child.pipes, child.feed) = (pipes, feed);
        child.talk = talk;
        Ok(child)
    }

    fn process(index: usize, job: &Job, attempt: u32, launch: &Launch) -> io::Result<Self> {
        let (log_pipe, log_end, argv) = match launch.ssh {
            true => {
                let (pipe, end, path) = log()?;
                (Some(pipe), Some(end), launch.log_to(&path))
            }
            false => (None, None, launch.argv.clone()),
        };
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::other("there is nothing to start"))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(launch.env.iter().cloned());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A held input is closed when the process is dropped, after its end: try_wait leaves it open.
        command.stdin(match &job.input {
            Input::Spool(spool) => Stdio::from(spool.reader()?),
            Input::Nothing => Stdio::null(),
            Input::Held | Input::Fed(_) | Input::Talk(_) => Stdio::piped(),
        });
        if !launch.ssh {
            // A local command may have children of its own, which must end with it.
            command.process_group(0);
        }
        let mut process = command.spawn()?;
        let pipe = |fd: Option<OwnedFd>| fd.map(Pipe::new).transpose();
        let out = pipe(process.stdout.take().map(OwnedFd::from))?;
        let err = pipe(process.stderr.take().map(OwnedFd::from))?;
        let mut talk = begin(index, job);
        let feed = match (&job.input, process.stdin.take()) {
            (Input::Fed(_) | Input::Talk(_), Some(stdin)) => Some(Feed::new(stdin.into(), &job.input, talk.as_mut())?),
            (_, stdin) => {
                process.stdin = stdin;
                None
            }
        };
        let mut child = Self::of(index, attempt, Work::Process(process), launch.ssh);
        (child.pipes, child.feed, child.log_end) = ([out, err, log_pipe], feed, log_end);
        child.talk = talk;
        Ok(child)
    }

    /// What can be read: number and descriptor of the open pipes, and of the session's socket.
    pub fn open(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let pipes = self.pipes.iter().enumerate();
        let socket = match &self.work {
            Work::Session(session) => session.open(),
            Work::Connecting(connecting) => Some(connecting.open()),
            Work::Process(_) | Work::Holder(_) => None,
        };
        pipes
            .filter_map(|(n, pipe)| pipe.as_ref().map(|pipe| (n, pipe.file.as_fd())))
            .chain(socket.map(|fd| (SOCKET, fd)))
    }

    /// The input that has not been taken whole yet.
    pub fn hungry(&self) -> Option<BorrowedFd<'_>> {
        let feed = self.feed.as_ref().filter(|feed| feed.hungry());
        feed.map(Feed::fd)
    }

    /// Writes more of the input, as much as there is room for.
    pub fn feed(&mut self, buffer: &mut [u8]) {
        if self.feed.as_mut().is_some_and(|feed| !feed.more(buffer)) {
            self.feed = None;
        }
    }

    /// Ends the conversation, if there is one: gives what went wrong on this side.
    pub fn hang_up(&mut self, well: bool) -> Vec<String> {
        match self.talk.take() {
            Some(mut talk) => talk.end(well),
            None => Vec::new(),
        }
    }

    /// Reads what a pipe has, at most a few buffers so that one flood does not starve the others. Gives whether there
    /// may be more.
    pub fn read(&mut self, number: usize, buffer: &mut [u8], line: &mut dyn FnMut(Stream, &[u8])) -> bool {
        if number == SOCKET {
            if let Work::Session(session) = &mut self.work {
                session.read(buffer);
            }
            return false;
        }
        let Some(pipe) = self.pipes.get_mut(number).and_then(Option::as_mut) else {
            return false;
        };
        let stream = if number == 0 { Stream::Out } else { Stream::Err };
        for _ in 0..4 {
            match pipe.file.read(buffer) {
                Ok(count @ 1..) if number == 2 => {
                    self.log.extend_from_slice(&buffer[..count]);
                    let room = self.log.len().saturating_sub(LOG_LIMIT);
                    self.log.drain(..room);
                }
                Ok(count @ 1..) => match self.talk.as_mut().filter(|_| number == 0) {
                    Some(talk) => {
                        for text in Feed::hear(&mut self.feed, talk.as_mut(), &buffer[..count]) {
                            line(stream, &text);
                        }
                    }
                    None => pipe.lines.feed(&buffer[..count], &mut |text| line(stream, text)),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    pipe.lines.end(&mut |text| line(stream, text));
                    self.pipes[number] = None;
                    return false;
                }
            }
        }
        true
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

    /// Has a session opened soon, and gives up one that is not opened in time.
    pub fn hurry(&mut self, now: Instant, buffer: &mut [u8]) {
        let Work::Session(session) = &mut self.work else {
            return;
        };
        match session.due() {
            Some(due) if due <= now => session.late(buffer),
            Some(_) => self.connection.iter().for_each(acknowledge),
            None => self.connection = None,
        }
    }

    /// Reads what is left in the pipes after the process has ended, without waiting for others who hold them.
    pub fn drain(&mut self, buffer: &mut [u8], line: &mut dyn FnMut(Stream, &[u8])) {
        self.log_end = None;
        for number in [2, 0, 1] {
            // A background process that writes without end must not hold us: a pipe holds at most 1 MiB.
            let mut left = 1 << 20;
            while left > 0 && self.read(number, buffer, line) {
                left -= buffer.len().min(left);
            }
            if let Some(mut pipe) = self.pipes[number].take() {
                let stream = if number == 0 { Stream::Out } else { Stream::Err };
                pipe.lines.end(&mut |text| line(stream, text));
            }
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
                limit.into_iter().chain(open).min()
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
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

/// Where ssh writes its own messages: our end, its end, and the path of that for ssh to open.
fn log() -> io::Result<(Pipe, OwnedFd, OsString)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), write.as_raw_fd());
    Ok((Pipe::new(read)?, write, path.into()))
}

fn lost() -> State {
    State::Unreachable(Trouble {
        cause: Cause::Lost,
        said: String::new(),
    })
}

impl Drop for Child {
    fn drop(&mut self) {
        // Only after an error of our own: nothing we started is left behind.
        if self.ended(true).is_none() {
            self.signal(Signal::SIGKILL);
            let _ = match &mut self.work {
                Work::Process(process) => process.wait(),
                Work::Holder(holder) => holder.process.wait(),
                Work::Connecting(_) | Work::Session(_) => return,
            };
        }
    }
}
