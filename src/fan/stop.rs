//! The user's wish to stop: Ctrl-C and its relatives, seen by the loop that waits for hosts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Catches SIGINT, SIGTERM and SIGHUP from the moment it is made until the process ends. For tools; a library caller
/// that has its own idea of signals passes none to [`super::run`].
pub struct Stop {
    last: Arc<AtomicUsize>,
    wake: UnixStream,
}

impl Stop {
    /// Begins to catch.
    pub fn catch() -> io::Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&last), number)?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Stop { last, wake })
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

    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
