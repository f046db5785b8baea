//! Programs of this system: fed, listened to, and ended when they take too long.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::remote::Output;

/// What is kept of one output stream.
pub(super) const MAX_OUTPUT: usize = 1 << 20;
/// How long one step may take: the longest is a first run of cfagent.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);

/// Runs a command with input, keeping what it says. One that takes longer than [`PATIENCE`] is ended, with all of its
/// process group if it leads one.
///
/// # Errors
/// What the system says when it cannot be started or waited for, and a time-out.
pub fn feed(command: &mut Command, stdin: &[u8]) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let out = scope.spawn(|| drain(stdout));
        let err = scope.spawn(|| drain(stderr));
        scope.spawn(|| {
            if let Some(mut input) = input {
                // A script that does not read to the end fails by its own status.
                let _ = input.write_all(stdin);
            }
        });
        let status = await_end(&mut child, PATIENCE);
        Ok(Output {
            stdout: out.join().unwrap_or_default(),
            stderr: err.join().unwrap_or_default(),
            status: status?,
            heard: None,
        })
    })
}

/// Waits for a program; ends it when it takes too long. Gives its status, 128 + n when signal n ended it.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`], and what the system says.
pub(super) fn await_end(child: &mut Child, patience: Duration) -> io::Result<i32> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
        }
        if Instant::now() >= deadline {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    // What does not lead a group of its own is killed alone.
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    if let Ok(group) = group {
        let _ = killpg(group, Signal::SIGKILL);
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("it did not end within {} seconds", patience.as_secs()),
    ))
}

/// Reads to the end, so that the writer never blocks, and keeps the first part.
fn drain(stream: Option<impl Read>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.by_ref().take(MAX_OUTPUT as u64).read_to_end(&mut kept);
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_program_that_hangs_is_ended_with_all_it_started() {
        let start = Instant::now();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let error = await_end(&mut child, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // The sleep held the pipe open too.
        drain(child.stdout.take());
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn more_output_than_is_kept_does_not_block() {
        let out = feed(
            Command::new("/bin/sh").args(["-c", "head -c 3000000 /dev/zero; cat >/dev/null; echo end >&2; exit 3"]),
            &vec![b'x'; 2_000_000],
        )
        .unwrap();
        assert_eq!((out.status, out.stdout.len()), (3, MAX_OUTPUT));
        assert_eq!(out.last_words(), "end");
    }
}
