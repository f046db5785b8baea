//! A file system whose server is dead answers nobody, and cannot be interrupted: whoever asks it does so on the side.

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long a file system may take to say what a path is.
pub const LOOK: Duration = Duration::from_secs(10);

/// The result of `work`, unless it takes longer than that: then the thread is left behind, and ends with the process.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (send, receive) = mpsc::channel();
    let worker = std::thread::Builder::new().name("mounts".into()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = send.send(work());
    });
    worker.ok()?;
    receive.recv_timeout(limit).ok()
}

/// What a path is, links followed. A file system that gives no answer is `TimedOut`.
pub fn look(path: &Path) -> io::Result<std::fs::Metadata> {
    let path = path.to_path_buf();
    within(LOOK, move || std::fs::metadata(path)).unwrap_or_else(|| Err(no_answer()))
}

/// The error for a file system that is silent.
pub fn no_answer() -> io::Error {
    let text = format!("its file system gave no answer for {} s", LOOK.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_too_long_is_left_behind() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let slow = || std::thread::sleep(Duration::from_secs(600));
        assert_eq!(within(Duration::from_millis(1), slow), None);
        assert!(look(Path::new("/")).unwrap().is_dir());
    }
}
