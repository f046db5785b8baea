//! The user's wish to stop: Ctrl-C and its relatives, seen by the loop that waits for hosts.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Catches SIGINT, SIGTERM and SIGHUP from the moment it is made until the process ends. For tools; a library caller
/// that has its own idea of signals passes none to [`super::run`].
pub struct Stop {
    last: Arc<AtomicUsize>,
    wake: UnixStream,
    ends_at: [Arc<AtomicBool>; 2],
}

/// What this process is at when a signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// It runs something: the signal says that this shall stop.
    Work,
    /// It waits for a command on a terminal: SIGTERM and SIGHUP end it.
    Prompt,
    /// It waits for a command that is read from elsewhere: all of them end it.
    Input,
}

impl Stop {
    /// Begins to catch.
    pub fn catch() -> io::Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let ends_at = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let ends = Arc::clone(&ends_at[usize::from(signal == SIGINT)]);
            signal_hook::flag::register_conditional_default(signal, ends)?;
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&last), number)?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Stop { last, wake, ends_at })
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// The exit status after a stop: 128 + signal, as a shell has it.
    pub fn code(&self) -> Option<u8> {
        self.signal()
            .map(|signal| 128u8.saturating_add(u8::try_from(signal).unwrap_or(0)))
    }

    /// Says what this process is at from now on.
    pub fn at(&self, what: At) {
        self.ends_at[0].store(what != At::Work, Ordering::Relaxed);
        self.ends_at[1].store(what == At::Input, Ordering::Relaxed);
    }

    /// Forgets the signal that came: the next run is a new one.
    pub fn forget(&self) {
        self.last.store(0, Ordering::Relaxed);
        while matches!((&self.wake).read(&mut [0; 64]), Ok(1..)) {}
    }

    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
