//! One host's process, or its session on a kept connection: its pipes, its deadline, its end.

mod ending;
mod opening;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

pub(super) use ending::Why;
use opening::{Connecting, Holder, acknowledge};

use super::pipes::{Feed, Pipe};
use super::session::Session;
use super::talk::Talk;
use super::{Input, Job, Stream};
use crate::remote::{Kept, Launch};
use crate::sys::tie;

/// How much of ssh's own messages is kept, in bytes.
const LOG_LIMIT: usize = 8 * 1024;

/// The number of a session's socket among what can be read, after the pipes and the input; also of what tells that a
/// connection was made.
const SOCKET: usize = 4;

/// How often it is seen to it that opening a session is not held up.
const SOON: Duration = Duration::from_millis(4);

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
    /// What is to be started, as long as the connection for it is being made.
    launch: Option<Arc<Launch>>,
    /// The connection, until the session on it is open.
    connection: Option<TcpStream>,
    /// Which of the two outputs have come to the mark of a command that has ended; its status, and since when both have.
    marked: [bool; 2],
    over: Option<(u8, Instant)>,
    /// Its processes are in a group of their own.
    apart: bool,
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
    /// Starts a job: over the kept connection where there is one, else as a process. `apart`: in a group of its own.
    pub fn start(index: usize, job: &Job, attempt: u32, way: Way, apart: bool) -> io::Result<Self> {
        let launch = job.launch();
        let Some(kept) = launch.kept.as_ref().filter(|_| way == Way::Kept) else {
            return Self::process(index, job, attempt, &launch, apart);
        };
        let none_there = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        match Self::session(index, job, attempt, kept) {
            Ok(child) => Ok(child),
            Err(error) if none_there.contains(&error.kind()) => match &kept.hold {
                Some(hold) => Self::connecting(index, attempt, &launch, hold, apart),
                None => Self::keeping(index, job, attempt, &launch, apart),
            },
            Err(_) => Self::process(index, job, attempt, &launch, apart),
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
            launch: None,
            connection: None,
            marked: [false; 2],
            over: None,
            apart: false,
            stopping: None,
            killed: false,
        }
    }

    /// An ssh of its own that leaves its connection behind. It clears away the socket of one that died.
    fn keeping(index: usize, job: &Job, attempt: u32, launch: &Launch, apart: bool) -> io::Result<Self> {
        let mut child = Self::process(index, job, attempt, &launch.keeping(), apart)?;
        child.kept = launch.kept.as_ref().map(|kept| kept.socket.clone());
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

    fn process(index: usize, job: &Job, attempt: u32, launch: &Launch, apart: bool) -> io::Result<Self> {
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
        if apart || !launch.ssh {
            // A local command may have children of its own, which must end with it.
            command.process_group(0);
        }
        if apart {
            tie::end_with_us(&mut command);
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
    /// may be more. Up to `mark`, if the command writes one when it has ended.
    pub fn read(
        &mut self,
        number: usize,
        mark: Option<&[u8]>,
        buffer: &mut [u8],
        line: &mut dyn FnMut(Stream, &[u8]),
    ) -> bool {
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
                    None => {
                        if let Some(status) = pipe.take(&buffer[..count], mark, &mut |text| line(stream, text)) {
                            self.pipes[number] = None;
                            self.mark(number, status);
                            return false;
                        }
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    pipe.end(&mut |text| line(stream, text));
                    self.pipes[number] = None;
                    return false;
                }
            }
        }
        true
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
    pub fn drain(&mut self, mark: Option<&[u8]>, buffer: &mut [u8], line: &mut dyn FnMut(Stream, &[u8])) {
        self.log_end = None;
        for number in [2, 0, 1] {
            // A background process that writes without end must not hold us: a pipe holds at most 1 MiB.
            let mut left = 1 << 20;
            while left > 0 && self.read(number, mark, buffer, line) {
                left -= buffer.len().min(left);
            }
            if let Some(mut pipe) = self.pipes[number].take() {
                let stream = if number == 0 { Stream::Out } else { Stream::Err };
                pipe.end(&mut |text| line(stream, text));
            }
        }
    }
}

/// Where ssh writes its own messages: our end, its end, and the path of that for ssh to open.
fn log() -> io::Result<(Pipe, OwnedFd, OsString)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), write.as_raw_fd());
    Ok((Pipe::new(read)?, write, path.into()))
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
