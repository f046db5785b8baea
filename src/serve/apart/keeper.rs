//! The holder's side of the one socket: starts the network process, hears it, and starts it again when it has ended.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::net::ARGUMENT;
use crate::keys::PublicKey;
use crate::sys::pass;

/// Begin: who to become, how many connections, how much to log, and the server's key; the listener comes with it.
pub(super) const BEGIN: u8 = b'B';
/// How many connections there may be now.
pub(super) const MOST: u8 = b'M';
/// It serves; what is missing of its walls, in words.
pub(super) const READY: u8 = b'R';
/// It cannot begin, in words.
pub(super) const FAILED: u8 = b'X';
/// A line for the log: the level, and the text.
pub(super) const LOG: u8 = b'L';
/// A connection, with its descriptor and that of the stream that belongs to it.
pub(super) const CALL: u8 = b'C';

/// The longest message.
pub(super) const MESSAGE: usize = 1024;
/// So many messages are heard in one go.
const AT_ONCE: usize = 256;
/// Lines of the log that are taken in a second.
const LINES: u32 = 200;
/// How long the network process may take to begin, in seconds.
const BEGINNING: i64 = 10;
/// Who has served for so long is started again at once.
const WELL: Duration = Duration::from_secs(60);
/// How long to wait before the first and at most before a later start.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Who the network process becomes.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

impl User {
    /// The first of these users that there is here. None of them may be root.
    pub fn first(names: &[&str]) -> Option<User> {
        names.iter().find_map(|name| {
            let user = nix::unistd::User::from_name(name).ok().flatten()?;
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            (uid != 0 && gid != 0).then_some(User {
                name: user.name,
                uid,
                gid,
            })
        })
    }
}

/// A connection that the network process has taken in: where it comes from, and the stream that belongs to it.
pub type Call<'a> = &'a dyn Fn(IpAddr, UnixStream);

/// The network process, from outside.
pub struct Keeper {
    user: User,
    key: PublicKey,
    listener: TcpListener,
    news: Epoll,
    state: Mutex<State>,
}

struct State {
    running: Option<Running>,
    /// The one before, until it has ended.
    before: Option<Child>,
    /// When to start the next one, and how long to wait for the one after it.
    next: Instant,
    pause: Duration,
    most: usize,
    /// Lines taken in this second.
    lines: (Instant, u32),
}

struct Running {
    child: Child,
    control: OwnedFd,
    since: Instant,
}

impl Keeper {
    /// Starts the network process and waits until it serves. Gives also what is missing of its walls.
    pub fn start(user: User, key: PublicKey, listener: TcpListener, most: usize) -> io::Result<(Self, String)> {
        let keeper = Keeper {
            user,
            key,
            listener,
            news: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            state: Mutex::new(State::new(most)),
        };
        let missing = keeper.begin(&mut keeper.state())?;
        Ok((keeper, missing))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it takes connections from.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Readable when [`Keeper::hear`] has something to do.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.news.0.as_fd()
    }

    /// There may be so many connections from now on.
    pub fn most(&self, most: usize) {
        let mut state = self.state();
        state.most = most;
        if let Some(running) = &state.running {
            let number = u32::try_from(most).unwrap_or(u32::MAX).to_be_bytes();
            let message = [&[MOST], &number[..]].concat();
            if let Err(error) = pass::send(running.control.as_fd(), &message, &[], false) {
                ::log::warn!("the network process does not hear how many connections there may be: {error}");
            }
        }
    }

    fn begin(&self, state: &mut State) -> io::Result<String> {
        let (control, theirs) = pass::messages()?;
        setsockopt(&control, sockopt::ReceiveTimeout, &TimeVal::seconds(BEGINNING))?;
        let child = Command::new("/proc/self/exe")
            .arg0("cfservd")
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        let begin = [
            &[BEGIN][..],
            &self.user.uid.to_be_bytes(),
            &self.user.gid.to_be_bytes(),
            &number(state.most),
            &number(::log::max_level() as usize),
            self.key.pem().as_bytes(),
        ]
        .concat();
        let mut space = [0; MESSAGE];
        let heard = pass::send(control.as_fd(), &begin, &[self.listener.as_fd()], true)
            .and_then(|_| pass::receive(control.as_fd(), &mut space, true));
        let said = match heard {
            Ok((count, _)) => space.get(..count).unwrap_or_default(),
            Err(error) => {
                state.before = Some(child);
                return Err(match error.kind() {
                    ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "it does not begin to serve"),
                    _ => error,
                });
            }
        };
        match said.split_first() {
            Some((&READY, text)) => {
                self.news.add(&control, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
                ::log::debug!("the network process {} serves as {}", child.id(), self.user.name);
                state.running = Some(Running {
                    child,
                    control,
                    since: Instant::now(),
                });
                Ok(String::from_utf8_lossy(text).into_owned())
            }
            other => {
                state.before = Some(child);
                Err(io::Error::other(match other {
                    Some((&FAILED, text)) => String::from_utf8_lossy(text).into_owned(),
                    _ => "it ended before it could serve".to_string(),
                }))
            }
        }
    }

    /// Hears what the network process says, and starts it again when its time has come. Gives the time after which this is
    /// to be called again even if nothing happens.
    pub fn hear(&self, call: Call<'_>) -> Option<Duration> {
        let mut state = self.state();
        if let Some(before) = &mut state.before
            && !matches!(before.try_wait(), Ok(None))
        {
            state.before = None;
        }
        if state.running.is_none() {
            let wait = state.next.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Some(wait);
            }
            match self.begin(&mut state) {
                Ok(_) => ::log::info!("the network process runs again"),
                Err(error) => {
                    let pause = state.later();
                    ::log::error!("the network process cannot be started, next try in {pause:?}: {error}");
                    return Some(pause);
                }
            }
        }
        for _ in 0..AT_ONCE {
            let Some(running) = &state.running else {
                break;
            };
            let mut space = [0; MESSAGE];
            let error = match pass::receive(running.control.as_fd(), &mut space, false) {
                Ok((0, _)) => None,
                Ok((count, fds)) => {
                    state.take(space.get(..count).unwrap_or_default(), fds, call);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => Some(error),
            };
            return Some(self.ended(&mut state, error.as_ref()));
        }
        // There may be more: others want a word too.
        Some(Duration::ZERO)
    }

    /// The network process is gone, or is not to be understood. Gives the time until the next one.
    fn ended(&self, state: &mut State, error: Option<&io::Error>) -> Duration {
        let Some(mut running) = state.running.take() else {
            return Duration::ZERO;
        };
        let _ = self.news.delete(&running.control);
        // It ends when it finds its socket closed; where we may, at once.
        drop(running.control);
        let _ = running.child.kill();
        let until = Instant::now() + Duration::from_millis(200);
        let mut status = running.child.try_wait();
        while matches!(status, Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            status = running.child.try_wait();
        }
        let how = match (error, &status) {
            (Some(error), _) => error.to_string(),
            (None, Ok(Some(status))) => status.to_string(),
            (None, _) => "it hung up".to_string(),
        };
        if matches!(status, Ok(None)) {
            state.before = Some(running.child);
        }
        if running.since.elapsed() >= WELL {
            state.pause = PAUSES.0;
        }
        let pause = state.later();
        ::log::error!("the network process ended ({how}): it is started again in {pause:?}");
        pause
    }
}

impl State {
    fn new(most: usize) -> Self {
        let now = Instant::now();
        State {
            running: None,
            before: None,
            next: now,
            pause: PAUSES.0,
            most,
            lines: (now, 0),
        }
    }

    /// The next start comes later than the one before.
    fn later(&mut self) -> Duration {
        let pause = self.pause;
        self.next = Instant::now() + pause;
        self.pause = (pause * 2).min(PAUSES.1);
        pause
    }

    fn take(&mut self, message: &[u8], fds: Vec<OwnedFd>, call: Call<'_>) {
        match (message.split_first(), <[OwnedFd; 2]>::try_from(fds)) {
            (Some((&CALL, [])), Ok([tcp, line])) => {
                // Whose connection it is, the kernel says.
                if let Ok(from) = TcpStream::from(tcp).peer_addr() {
                    call(from.ip().to_canonical(), UnixStream::from(line));
                }
            }
            (Some((&LOG, [level, text @ ..])), Err(fds)) if fds.is_empty() => {
                if self.lines.0.elapsed() >= Duration::from_secs(1) {
                    self.lines = (Instant::now(), 0);
                }
                self.lines.1 = self.lines.1.saturating_add(1);
                if self.lines.1 <= LINES {
                    let level = level_of(*level);
                    ::log::log!(level, "net: {}", String::from_utf8_lossy(text));
                }
            }
            _ => ::log::warn!("the network process says what does not fit here"),
        }
    }
}

/// A level out of its number.
pub(super) fn level_of(number: u8) -> Level {
    Level::iter()
        .find(|level| *level as usize == usize::from(number))
        .unwrap_or(Level::Debug)
}

/// Hears one message of a network process, of which no connection comes.
#[cfg(test)]
pub(super) fn hear_once(control: BorrowedFd<'_>) {
    let mut space = [0; MESSAGE];
    let (count, fds) = pass::receive(control, &mut space, true).unwrap();
    State::new(1).take(&space[..count], fds, &|_, _| panic!("a connection came"));
}
