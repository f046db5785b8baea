//! Word of children that have ended, for a loop that waits for other things as well.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;

/// Tells when a child has ended.
pub(super) struct Deaths {
    pub wake: UnixStream,
    id: SigId,
}

impl Deaths {
    pub fn watch() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let id = signal_hook::low_level::pipe::register(SIGCHLD, sender)?;
        Ok(Deaths { wake, id })
    }

    /// Whether any child has ended since the last time.
    pub fn any(&mut self) -> bool {
        let (mut buffer, mut any) = ([0; 256], false);
        while matches!(self.wake.read(&mut buffer), Ok(1..)) {
            any = true;
        }
        any
    }
}

impl Drop for Deaths {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}
