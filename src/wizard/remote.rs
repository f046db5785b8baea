//! Running a fixed script on another machine over the system's ssh: the seam between the wizard and the network.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

/// What is kept of one output stream.
const MAX_OUTPUT: u64 = 1 << 20;
/// Seconds until a machine that does not answer is given up.
const CONNECT_SECONDS: u32 = 10;
/// ssh's own status for trouble of its own.
const SSH_TROUBLE: i32 = 255;

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
    Unreachable(String),
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
    program: OsString,
}

impl Default for Ssh {
    /// `ssh` from the PATH unless `DSAU_SSH` names another.
    fn default() -> Self {
        let program = std::env::var_os("DSAU_SSH").filter(|path| !path.is_empty());
        Ssh {
            program: program.unwrap_or_else(|| "ssh".into()),
        }
    }
}

impl Remote for Ssh {
    fn run(&self, host: &str, script: &str, args: &[&str], stdin: &[u8]) -> Result<Output, RemoteError> {
        let mut command = Command::new(&self.program);
        command
            .args(["-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
            .args(["-o", &format!("ConnectTimeout={CONNECT_SECONDS}")])
            .args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"])
            .args(["-l", "root", "--", host, &remote_line(script, args)]);
        // A process group of its own: control-c at the terminal must not end a step half way (CW-16).
        command.process_group(0);
        let output = feed(&mut command, stdin)?;
        if output.status == SSH_TROUBLE {
            return Err(RemoteError::Unreachable(output.last_words()));
        }
        Ok(output)
    }
}

/// The line that ssh hands to the remote login shell: every word in single quotes, so that no shell reads anything into it.
fn remote_line(script: &str, args: &[&str]) -> String {
    let words = ["/bin/sh", "-c", script, "csync_wizard"];
    let words: Vec<String> = words.iter().chain(args).map(|word| quote(word)).collect();
    words.join(" ")
}

/// One word for any Bourne shell; csh wants `!` escaped too.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''").replace('!', "'\\!'"))
}

/// Runs a command with input, keeping what it says.
///
/// # Errors
/// What the system says when it cannot be started or waited for.
pub fn feed(command: &mut Command, stdin: &[u8]) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = thread::scope(|scope| {
        let out = scope.spawn(|| drain(stdout));
        let err = scope.spawn(|| drain(stderr));
        if let Some(mut input) = input {
            // A script that does not read to the end fails by its own status.
            let _ = input.write_all(stdin);
        }
        (out.join().unwrap_or_default(), err.join().unwrap_or_default())
    });
    let status = child.wait()?;
    Ok(Output {
        status: status
            .code()
            .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default()),
        stdout,
        stderr,
    })
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
    fn every_word_reaches_the_remote_shell_as_it_is() {
        let words = ["a b", "it's", "$(reboot)", "`x`", "!!", "a\nb", ""];
        let line = remote_line("printf '[%s]' \"$@\"", &words);
        let out = feed(Command::new("/bin/sh").args(["-c", &line]), b"").unwrap();
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            "[a b][it's][$(reboot)][`x`][!!][a\nb][]"
        );
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
