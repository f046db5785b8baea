//! One host's process: its pipes, its deadline, its end.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, pipe2};

use super::lines::Lines;
use super::{Input, Job, Spool, State, Stream};
use crate::remote::explain;

/// How much of ssh's own messages is kept, in bytes.
const LOG_LIMIT: usize = 8 * 1024;

/// How long a process that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

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
    process: Process,
    ssh: bool,
    pipes: [Option<Pipe>; 3],
    feed: Option<Feed>,
    log: Vec<u8>,
    // The end that ssh opens through /proc; held so that the other end does not see the end of the stream before.
    log_end: Option<OwnedFd>,
    stopping: Option<(Why, Instant)>,
    killed: bool,
}

struct Pipe {
    file: File,
    lines: Lines,
}

impl Pipe {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Pipe {
            file: File::from(fd),
            lines: Lines::default(),
        })
    }
}

/// What a process is given to read, a piece at a time; the pipe stays open when all is written.
struct Feed {
    file: File,
    spool: Arc<Spool>,
    at: u64,
    left: u64,
}

impl Child {
    /// Starts the process of a job.
    pub fn start(index: usize, job: &Job, attempt: u32) -> io::Result<Self> {
        let (log_pipe, log_end) = match job.launch.ssh {
            true => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                (Some(Pipe::new(read)?), Some(write))
            }
            false => (None, None),
        };
        let argv = match &log_end {
            Some(end) => {
                let path = format!("/proc/{}/fd/{}", std::process::id(), end.as_raw_fd());
                job.launch.log_to(OsString::from(path).as_ref())
            }
            None => job.launch.argv.clone(),
        };
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::other("there is nothing to start"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A held input is closed when the process is dropped, after its end: try_wait leaves it open.
        command.stdin(match &job.input {
            Input::Spool(spool) => Stdio::from(spool.reader()?),
            Input::Nothing => Stdio::null(),
            Input::Held | Input::Fed(_) => Stdio::piped(),
        });
        if !job.launch.ssh {
            // A local command may have children of its own, which must end with it.
            command.process_group(0);
        }
        let mut process = command.spawn()?;
        let pipe = |fd: Option<OwnedFd>| fd.map(Pipe::new).transpose();
        let out = pipe(process.stdout.take().map(OwnedFd::from))?;
        let err = pipe(process.stderr.take().map(OwnedFd::from))?;
        let feed = match (&job.input, process.stdin.take()) {
            (Input::Fed(spool), Some(stdin)) => Some(Feed {
                file: Pipe::new(OwnedFd::from(stdin))?.file,
                left: spool.size()?,
                spool: Arc::clone(spool),
                at: 0,
            }),
            (_, stdin) => {
                process.stdin = stdin;
                None
            }
        };
        Ok(Child {
            job: index,
            attempt,
            started: Instant::now(),
            process,
            ssh: job.launch.ssh,
            pipes: [out, err, log_pipe],
            feed,
            log: Vec::new(),
            log_end,
            stopping: None,
            killed: false,
        })
    }

    /// The open pipes: number and descriptor.
    pub fn open(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let pipes = self.pipes.iter().enumerate();
        pipes.filter_map(|(n, pipe)| pipe.as_ref().map(|pipe| (n, pipe.file.as_fd())))
    }

    /// The input that has not been taken whole yet.
    pub fn hungry(&self) -> Option<BorrowedFd<'_>> {
        let feed = self.feed.as_ref().filter(|feed| feed.left > 0);
        feed.map(|feed| feed.file.as_fd())
    }

    /// Writes more of the input, as much as there is room for.
    pub fn feed(&mut self, buffer: &mut [u8]) {
        let Some(feed) = self.feed.as_mut() else {
            return;
        };
        let size = usize::try_from(feed.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..size];
        let written = feed.spool.read_at(piece, feed.at).and_then(|()| feed.file.write(piece));
        match written {
            Ok(count @ 1..) => {
                feed.at += count as u64;
                feed.left -= count as u64;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // It reads no more, or there is nothing to give it: the end, so that it does not wait for the rest.
            Ok(_) | Err(_) => self.feed = None,
        }
    }

    /// Reads what a pipe has, at most a few buffers so that one flood does not starve the others. Gives whether there
    /// may be more.
    pub fn read(&mut self, number: usize, buffer: &mut [u8], line: &mut dyn FnMut(Stream, &[u8])) -> bool {
        let Some(pipe) = self.pipes[number].as_mut() else {
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
                Ok(count @ 1..) => pipe.lines.feed(&buffer[..count], &mut |text| line(stream, text)),
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

    /// Whether the process has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap_or(None)
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

    /// How the host ended, once the process has.
    pub fn state(&self, status: ExitStatus, limit: Option<Duration>) -> State {
        match (self.stopping, limit) {
            (Some((Why::Cancelled, _)), _) => return State::Cancelled,
            (Some((Why::TimedOut, _)), Some(limit)) => return State::TimedOut(limit),
            _ => {}
        }
        match (status.code(), status.signal()) {
            (Some(255), _) if self.ssh => match explain(&self.log) {
                Some(trouble) => State::Unreachable(trouble),
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

    /// Whether it was asked to end.
    pub fn stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// When the next step against it is due.
    pub fn due(&self, limit: Option<Duration>) -> Option<Instant> {
        match self.stopping {
            Some((_, since)) => (!self.killed).then(|| since + GRACE),
            None => limit.map(|limit| self.started + limit),
        }
    }

    fn signal(&self, signal: Signal) {
        let Ok(pid) = i32::try_from(self.process.id()) else {
            return;
        };
        // An error means that it is gone already.
        let _ = match self.ssh {
            true => kill(Pid::from_raw(pid), signal),
            false => killpg(Pid::from_raw(pid), signal),
        };
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Only after an error of our own: nothing we started is left behind.
        if self.ended().is_none() {
            self.signal(Signal::SIGKILL);
            let _ = self.process.wait();
        }
    }
}
