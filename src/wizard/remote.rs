//! Running a fixed script on another machine over the system's ssh: the seam between the wizard and the network.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::hosts::Host;
use crate::remote::{self, Cause, Trouble};

/// What is kept of one output stream.
const MAX_OUTPUT: u64 = 1 << 20;
/// How long one step may take: the longest is a first run of cfagent.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// ssh's own status for trouble of its own.
const SSH_TROUBLE: i32 = 255;

/// What is run there: takes the script and its arguments, one line without quotes as [`remote::script`] wants it.
const RUN: &str = concat!(
    "S=$(printf %b \"$1\"); shift; n=$#; ",
    "while [ $n -gt 0 ]; do a=$(printf %b. \"$1\"); shift; set -- \"$@\" \"${a%.}\"; n=$((n-1)); done; ",
    "exec /bin/sh -c \"$S\" csync_wizard \"$@\"",
);

/// What a script left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n when signal n ended it.
    pub status: i32,
    /// Standard output, at most 1 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 1 MiB.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The last line that says something, from standard error first.
    pub fn last_words(&self) -> String {
        [&self.stderr, &self.stdout]
            .into_iter()
            .find_map(|stream| {
                let text = String::from_utf8_lossy(stream);
                let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
                Some(line.chars().take(300).collect())
            })
            .unwrap_or_else(|| format!("it ended with status {}", self.status))
    }
}

/// Why nothing ran there.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The machine could not be reached, or let us not in.
    #[error("{0}")]
    Unreachable(Trouble),
    /// ssh could not be started here.
    #[error("cannot run ssh: {0}")]
    Io(#[from] io::Error),
}

/// Something that runs a script on a machine. Several threads use it at once.
pub trait Remote: Sync {
    /// Runs `/bin/sh` with the script and its arguments `$1 …` as root on the host; `stdin` is the script's input.
    ///
    /// # Errors
    /// [`RemoteError`] when it did not run at all; a script that failed is an [`Output`] with its status.
    fn run(&self, host: &str, script: &str, args: &[&str], stdin: &[u8]) -> Result<Output, RemoteError>;
}

/// The system's own ssh, asking nothing: ssh_config, agents and jump hosts keep working.
#[derive(Clone, Debug)]
pub struct Ssh {
    ssh: remote::Ssh,
}

impl Default for Ssh {
    fn default() -> Self {
        Ssh {
            ssh: remote::Ssh {
                user: Some("root".to_string()),
                ..remote::Ssh::default()
            },
        }
    }
}

impl Remote for Ssh {
    fn run(&self, host: &str, script: &str, args: &[&str], stdin: &[u8]) -> Result<Output, RemoteError> {
        match call(&self.ssh, host, script, args, stdin) {
            Err(RemoteError::Unreachable(trouble)) if trouble.cause == Cause::HostKeyUnknown => {
                // The host's key may be pinned under its short name, in a file that ssh reads for that name only. The
                // connection goes to the full name all the same and is made only if the key is that one.
                let Some((short, _)) = host.split_once('.') else {
                    return Err(RemoteError::Unreachable(trouble));
                };
                let mut alias = self.ssh.clone();
                alias.options.push(format!("HostName={host}"));
                alias.options.push(format!("HostKeyAlias={short}"));
                match call(&alias, short, script, args, stdin) {
                    Err(RemoteError::Unreachable(_)) => Err(RemoteError::Unreachable(trouble)),
                    other => other,
                }
            }
            other => other,
        }
    }
}

fn call(ssh: &remote::Ssh, host: &str, script: &str, args: &[&str], stdin: &[u8]) -> Result<Output, RemoteError> {
    let host = Host::named(host).map_err(io::Error::other)?;
    let launch = ssh.launch(&host, &line(script, args));
    let (program, words) = launch.argv.split_first().ok_or_else(|| io::Error::other("no ssh"))?;
    let mut command = Command::new(program);
    // A process group of its own: control-c at the terminal must not end a step half way (CW-16).
    command.args(words).process_group(0);
    let output = feed(&mut command, stdin)?;
    match output.status {
        SSH_TROUBLE => Err(RemoteError::Unreachable(remote::explain(&output.stderr).unwrap_or(
            Trouble {
                cause: Cause::Setup,
                said: output.last_words(),
            },
        ))),
        _ => Ok(output),
    }
}

/// What ssh hands to the remote login shell.
fn line(script: &str, args: &[&str]) -> Vec<std::ffi::OsString> {
    let mut words = vec![script.as_bytes()];
    words.extend(args.iter().map(|arg| arg.as_bytes()));
    remote::script(RUN, &words)
}

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
        let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reaches_the_script_as_it_is_whatever_the_login_shell() {
        let words = ["a b", "it's", "$(reboot)", "`x`", "!!", "a\nb\n", "", "\\0101"];
        let line = line("set -e\nprintf '[%s]' \"$@\" # it's\n", &words);
        let out = feed(Command::new("/bin/sh").arg("-c").args(&line), b"").unwrap();
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            "[a b][it's][$(reboot)][`x`][!!][a\nb\n][][\\0101]"
        );
    }

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
        assert_eq!((out.status, out.stdout.len() as u64), (3, MAX_OUTPUT));
        assert_eq!(out.last_words(), "end");
    }
}
