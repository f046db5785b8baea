//! The way to a connection that is made here and then held by an ssh in the background; see [`crate::remote::Hold`].

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::TcpStreamExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::pipe2;

use super::{Child, Work, log};
use crate::fan::Job;
use crate::fan::pipes::Pipe;
use crate::remote::keep::lives;
use crate::remote::{Hold, Kept, Launch};

/// How much a thread that looks up a name needs, in bytes.
const STACK: usize = 256 * 1024;

impl Child {
    pub(super) fn connecting(
        index: usize,
        attempt: u32,
        launch: &Arc<Launch>,
        hold: &Hold,
        apart: bool,
    ) -> io::Result<Self> {
        let work = Work::Connecting(Connecting::start(hold)?);
        let mut child = Self::of(index, attempt, work, true);
        child.launch = Some(Arc::clone(launch));
        child.apart = apart;
        Ok(child)
    }

    /// Starts the ssh that logs in on a connection, and holds it.
    fn holder(&self, kept: &Kept, hold: &Hold, connection: TcpStream) -> io::Result<Self> {
        let made = Holder::place(&kept.socket);
        let (log, end, path) = log()?;
        let mut argv = hold.command(&made).into_iter();
        let mut command = Command::new(argv.next().unwrap_or_default());
        command.arg("-E").arg(path).args(argv).stderr(Stdio::piped());
        if self.apart {
            command.process_group(0);
        }
        let socket = || io::Result::Ok(Stdio::from(OwnedFd::from(connection.try_clone()?)));
        let mut process = command.stdin(socket()?).stdout(socket()?).spawn()?;
        let err = process.stderr.take().map(|err| Pipe::new(err.into())).transpose()?;
        let holder = Holder::new(process, connection, made, &kept.socket);
        let mut child = Self::of(self.job, self.attempt, Work::Holder(holder), true);
        (child.pipes, child.log_end) = ([None, err, Some(log)], Some(end));
        child.launch.clone_from(&self.launch);
        Ok(child)
    }

    /// Takes the next step on the way to a session, where one is due: from the connection to the ssh that logs in on it,
    /// from there to the session. `died`: as with [`Child::ended`]. When this fails nothing has begun on the host.
    pub fn advance(&mut self, job: &Job, died: bool, now: Instant) -> io::Result<()> {
        let Some(launch) = self.launch.clone().filter(|_| !self.stopping()) else {
            return Ok(());
        };
        let Some(kept) = &launch.kept else {
            return Ok(());
        };
        let Some(hold) = &kept.hold else {
            return Ok(());
        };
        let next = match &mut self.work {
            Work::Connecting(connecting) => match connecting.done(now) {
                None => return Ok(()),
                Some(Some(connection)) => self.holder(kept, hold, connection)?,
                // What is wrong is told by ssh, which also knows other ways.
                Some(None) => Self::keeping(self.job, job, self.attempt, &launch, self.apart)?,
            },
            Work::Holder(_) if !died => return Ok(()),
            Work::Holder(holder) => {
                let Some((socket, connection)) = holder.ready() else {
                    return Ok(());
                };
                let there = Kept { socket, ..kept.clone() };
                let mut child = Self::session(self.job, job, self.attempt, &there)?;
                child.connection = Some(connection);
                child
            }
            Work::Process(_) | Work::Session(_) => return Ok(()),
        };
        let started = self.started;
        *self = next;
        self.started = started;
        Ok(())
    }
}

/// A connection that a thread makes, because nobody can look up a name without waiting.
pub(super) struct Connecting {
    thread: Option<JoinHandle<io::Result<TcpStream>>>,
    /// Closed by the thread when it is done.
    over: OwnedFd,
    by: Instant,
}

impl Connecting {
    pub fn start(hold: &Hold) -> io::Result<Self> {
        let (over, end) = pipe2(OFlag::O_CLOEXEC)?;
        let (name, port, by) = (hold.name.clone(), hold.port, Instant::now() + hold.patience);
        let work = move || {
            let _end = end;
            connect(&name, port, by)
        };
        Ok(Connecting {
            thread: Some(Builder::new().stack_size(STACK).spawn(work)?),
            over,
            by,
        })
    }

    /// What tells that it is done.
    pub fn open(&self) -> BorrowedFd<'_> {
        self.over.as_fd()
    }

    /// Until when it is waited for.
    pub fn by(&self) -> Instant {
        self.by
    }

    /// Whether it is done, and the connection if there is one. A thread that is late is left to itself.
    pub fn done(&mut self, now: Instant) -> Option<Option<TcpStream>> {
        let finished = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        if !finished && now < self.by {
            return None;
        }
        let thread = self.thread.take().filter(|_| finished);
        Some(thread.and_then(|thread| thread.join().ok()?.ok()))
    }
}

fn connect(name: &str, port: u16, by: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (name, port).to_socket_addrs()? {
        let left = by.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // As ssh does it with a connection of its own (TCPKeepAlive).
                setsockopt(&stream, sockopt::KeepAlive, &true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Has what came in acknowledged at once. The server waits for that before it sends more, as long as it has not begun
/// the command; if nothing is to be sent from here, the kernel would take 40 ms to say so.
pub(super) fn acknowledge(connection: &TcpStream) {
    // Only speed is at stake.
    let _ = connection.set_quickack(true);
}

/// The ssh that logs in and then goes into the background, which is its exit as far as this process sees.
pub(super) struct Holder {
    pub process: Process,
    connection: TcpStream,
    made: PathBuf,
    wanted: PathBuf,
}

impl Holder {
    /// Where the next holder shall make its socket. The name is no other's, and nothing is there.
    pub fn place(wanted: &Path) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("new.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = wanted.with_file_name(name);
        let _ = std::fs::remove_file(&place);
        place
    }

    pub fn new(process: Process, connection: TcpStream, made: PathBuf, wanted: &Path) -> Self {
        Holder {
            process,
            connection,
            made,
            wanted: wanted.to_path_buf(),
        }
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.try_wait().unwrap_or(None);
        if status.is_some_and(|status| !status.success()) {
            // Where a signal ended it, its socket is still there.
            let _ = std::fs::remove_file(&self.made);
        }
        status
    }

    /// Once it is in the background: where its socket is now, and the connection.
    pub fn ready(&mut self) -> Option<(PathBuf, TcpStream)> {
        if !self.ended()?.success() {
            return None;
        }
        acknowledge(&self.connection);
        let connection = self.connection.try_clone().ok()?;
        Some((settle(&self.made, &self.wanted, lives), connection))
    }
}

/// Gives a socket that was made under a name of its own the name that others look for, and tells where it is now. Where
/// another lives there, it stays under its own until it is idle; ssh clears that away.
///
/// The name of one that died is taken over by an exchange: whoever else is settling just now must not lose the only name
/// under which `--mux-exit` finds it.
fn settle(made: &Path, wanted: &Path, lives: impl Fn(&Path) -> bool) -> PathBuf {
    let rename = |from: &Path, to: &Path, how| renameat2(AT_FDCWD, from, AT_FDCWD, to, how);
    if rename(made, wanted, RenameFlags::RENAME_NOREPLACE).is_ok() {
        return wanted.to_path_buf();
    }
    if lives(wanted) || rename(made, wanted, RenameFlags::RENAME_EXCHANGE).is_err() {
        return made.to_path_buf();
    }
    if lives(made) {
        // Its own ssh will clear away this name one day, but not another.
        let _ = rename(made, &Holder::place(wanted), RenameFlags::RENAME_NOREPLACE);
    } else {
        let _ = std::fs::remove_file(made);
    }
    wanted.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn lives(path: &Path) -> bool {
        UnixStream::connect(path).is_ok()
    }

    #[test]
    fn of_many_that_settle_at_once_in_the_place_of_a_dead_one_none_loses_its_name() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let wanted = dir.path().join("wanted");
            drop(UnixListener::bind(&wanted).unwrap());
            let made: Vec<(UnixListener, PathBuf)> = (0..8)
                .map(|n| dir.path().join(format!("made.{n}")))
                .map(|path| (UnixListener::bind(&path).unwrap(), path))
                .collect();
            let gate = std::sync::Barrier::new(made.len());
            std::thread::scope(|scope| {
                for (_, path) in &made {
                    scope.spawn(|| {
                        gate.wait();
                        assert!(lives(&settle(path, &wanted, lives)));
                    });
                }
            });
            let names = std::fs::read_dir(dir.path()).unwrap();
            let living = names.filter(|entry| lives(&entry.as_ref().unwrap().path())).count();
            assert!(lives(&wanted));
            assert_eq!(living, made.len());
        }
    }

    #[test]
    fn one_that_lives_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let [wanted, made] = ["wanted", "made"].map(|name| dir.path().join(name));
        let _both = [&wanted, &made].map(|path| UnixListener::bind(path).unwrap());
        assert_eq!(settle(&made, &wanted, lives), made);
        assert!(lives(&wanted) && lives(&made));
    }
}
