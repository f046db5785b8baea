//! Running other programs: one pipe for standard output and standard error (so that lines keep their order), standard
//! input from `/dev/null`, lines handed on as they come, a time limit that ends the whole process group.
//!
//! Owns how a command is started and reaped. Does not own what its lines mean: `cfengine-die`, labels and module lines
//! are the business of the callers. Nothing is inherited but the three standard descriptors: all of ours are close-on-exec.

#![allow(unsafe_code)] // one `pre_exec` below

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeReader, Read};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid};

/// Bytes of one line that are kept; the rest of a longer line is dropped.
pub const LINE_LIMIT: usize = 64 * 1024;

/// Bytes of the value of one variable in the environment: the kernel starts no program with a string of more than 128 KiB,
/// its name and its end counted.
pub const VALUE_LIMIT: usize = 128 * 1024 - 64;

/// How long we go on listening after a command has ended while somebody else holds its pipe: a daemon it started.
const AFTERMATH: Duration = Duration::from_secs(1);

/// How often we look whether a silent command has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How long a process group has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argv {
    /// A line for `/bin/sh -c`.
    Shell(BString),
    /// A program and its arguments, no shell.
    Direct(Vec<BString>),
}

impl Argv {
    /// A command line as policies write it: for the shell, or split at blanks ([`split`]).
    pub fn from_line(line: &BStr, shell: bool) -> Argv {
        if shell {
            Argv::Shell(line.to_owned())
        } else {
            Argv::Direct(split(line))
        }
    }
}

/// Splits a command line at blanks. A word that starts with `"`, `'` or `` ` `` goes to the same sign (or to the end); a
/// sign inside a word is an ordinary character. Nothing else is special.
pub fn split(line: &[u8]) -> Vec<BString> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(&first) = rest.first() {
        let end = if matches!(first, b'"' | b'\'' | b'`') {
            rest = &rest[1..];
            rest.find_byte(first).unwrap_or(rest.len())
        } else {
            rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len())
        };
        words.push(BString::from(&rest[..end]));
        rest = rest.get(end + 1..).unwrap_or_default().trim_start();
    }
    words
}

/// A command and the surroundings it runs in.
#[derive(Clone, Debug)]
pub struct Command {
    /// What is started.
    pub argv: Argv,
    /// The process group is ended after this time.
    pub timeout: Option<Duration>,
    /// The file mode mask.
    pub umask: Option<u32>,
    /// The user it runs as; needs root unless it is our own.
    pub uid: Option<u32>,
    /// The group it runs as. Supplementary groups are dropped whenever `uid` or `gid` is given and we are root.
    pub gid: Option<u32>,
    /// Working directory, inside `chroot` when that is given too.
    pub chdir: Option<PathBuf>,
    /// New root directory; the program is looked up inside.
    pub chroot: Option<PathBuf>,
    /// Do not wait and do not listen.
    pub background: bool,
    /// Additions to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// A program without a slash may be searched in `PATH`; otherwise its path must be absolute.
    pub search_path: bool,
    /// Bytes of one line that are kept.
    pub line_limit: usize,
    /// Standard error goes where ours goes, not into the pipe of standard output.
    pub errors_apart: bool,
}

impl Command {
    /// A command with nothing special about it.
    pub fn new(argv: Argv) -> Command {
        Command {
            argv,
            timeout: None,
            umask: None,
            uid: None,
            gid: None,
            chdir: None,
            chroot: None,
            background: false,
            env: Vec::new(),
            search_path: false,
            line_limit: LINE_LIMIT,
            errors_apart: false,
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status; 128 + n when signal n ended it; 0 for a command in the background.
    pub status: i32,
    /// It was ended because its time was up.
    pub timed_out: bool,
    /// The number its process had.
    pub pid: u32,
}

impl Outcome {
    /// Ended by itself with status 0.
    pub fn success(&self) -> bool {
        self.status == 0 && !self.timed_out
    }
}

/// Runs a command and hands over each line it prints, without the line feed. The error is that it could not be started;
/// a command that started and failed is an [`Outcome`].
pub fn run(command: &Command, line: &mut dyn FnMut(&[u8])) -> io::Result<Outcome> {
    run_until(command, &mut |text| {
        line(text);
        ControlFlow::Continue(())
    })
}

/// As [`run`]; when the callback breaks, the pipe is closed and the command's end awaited.
pub fn run_until(command: &Command, line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<Outcome> {
    let mut builder = build(command)?;
    let (pipe, writer) = if command.background {
        (None, None)
    } else {
        let (reader, writer) = io::pipe()?;
        (Some(reader), Some(writer))
    };
    if let Some(writer) = writer {
        match command.errors_apart {
            true => builder.stderr(Stdio::inherit()),
            false => builder.stderr(writer.try_clone()?),
        };
        builder.stdout(writer);
    } else {
        builder.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let mut child = builder.spawn()?;
    let pid = child.id();
    // The builder holds our copies of the writing end: without this the pipe would never end.
    drop(builder);
    let Some(pipe) = pipe else {
        // Somebody must reap it, or a long-lived caller collects zombies.
        std::thread::spawn(move || child.wait());
        return Ok(Outcome {
            status: 0,
            timed_out: false,
            pid,
        });
    };
    let deadline = command.timeout.map(|limit| Instant::now() + limit);
    let mut lines = Lines::new(command.line_limit, line);
    let timed_out = !listen(&mut child, pipe, deadline, &mut lines)?;
    if timed_out {
        end_group(&mut child);
    }
    lines.finish();
    let (status, late) = match deadline {
        Some(deadline) if !timed_out => wait_until(&mut child, deadline)?,
        _ => (child.wait()?, false),
    };
    Ok(Outcome {
        status: code(status),
        timed_out: timed_out || late,
        pid,
    })
}

/// The exit status as a shell shows it.
fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn build(command: &Command) -> io::Result<std::process::Command> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_string());
    let mut builder = match &command.argv {
        Argv::Shell(line) => {
            let mut builder = std::process::Command::new("/bin/sh");
            builder.arg("-c").arg(OsStr::from_bytes(line));
            builder
        }
        Argv::Direct(words) => {
            let program = words.first().ok_or_else(|| invalid("the command is empty"))?;
            if !program.starts_with(b"/") && !command.search_path {
                return Err(invalid(&format!("{program} is not an absolute path")));
            }
            let mut builder = std::process::Command::new(OsStr::from_bytes(program));
            builder.args(words[1..].iter().map(|word| OsStr::from_bytes(word)));
            builder
        }
    };
    builder.stdin(Stdio::null());
    builder.envs(command.env.iter().map(|(name, value)| (name, value)));
    if command.timeout.is_some() || command.background {
        // A group of its own, so that the time limit reaches its children. Without a limit it stays in ours, and an
        // interrupt from the terminal reaches it.
        builder.process_group(0);
    }
    surroundings(&mut builder, command)?;
    Ok(builder)
}

/// Mask, root, groups, user and directory, in the only order that works: std would change the user before the root.
fn surroundings(builder: &mut std::process::Command, command: &Command) -> io::Result<()> {
    let mask = command.umask.map(|bits| Mode::from_bits_truncate(bits & 0o777));
    let root = command.chroot.as_deref().map(c_path).transpose()?;
    let dir = match (&command.chdir, &root) {
        (Some(dir), _) => Some(c_path(dir)?),
        (None, Some(_)) => Some(c_path(Path::new("/"))?),
        (None, None) => None,
    };
    let uid = command.uid.map(Uid::from_raw);
    let gid = command.gid.map(Gid::from_raw);
    let privileged = Uid::effective().is_root();
    if mask.is_none() && root.is_none() && dir.is_none() && uid.is_none() && gid.is_none() {
        return Ok(());
    }
    // SAFETY: between fork and exec only system calls are made (umask, chroot, chdir, setgroups, setgid, setuid), on data
    // prepared before the fork; nothing allocates or locks.
    unsafe {
        builder.pre_exec(move || {
            if let Some(mask) = mask {
                umask(mask);
            }
            if let Some(root) = &root {
                nix::unistd::chroot(root.as_c_str())?;
            }
            if privileged && (uid.is_some() || gid.is_some()) {
                match gid {
                    Some(gid) => nix::unistd::setgroups(&[gid])?,
                    None => nix::unistd::setgroups(&[])?,
                }
            }
            if let Some(gid) = gid {
                nix::unistd::setgid(gid)?;
            }
            if let Some(uid) = uid {
                nix::unistd::setuid(uid)?;
            }
            if let Some(dir) = &dir {
                nix::unistd::chdir(dir.as_c_str())?;
            }
            Ok(())
        });
    }
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path holds a zero byte"))
}

/// Reads until the pipe ends or the callback has had enough; false when the time was up.
fn listen(child: &mut Child, mut pipe: PipeReader, deadline: Option<Instant>, lines: &mut Lines) -> io::Result<bool> {
    let mut ended: Option<Instant> = None;
    let mut buffer = [0; 8192];
    loop {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Ok(false);
        }
        if readable(&pipe, LOOK)? {
            match pipe.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(n) => {
                    if lines.take(&buffer[..n]).is_break() {
                        return Ok(true);
                    }
                    ended = ended.map(|_| now);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        } else if let Some(since) = ended {
            if now.duration_since(since) > AFTERMATH {
                return Ok(true);
            }
        } else if child.try_wait()?.is_some() {
            ended = Some(now);
        }
    }
}

fn readable(pipe: &PipeReader, wait: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let millis = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
    match poll(&mut fds, PollTimeout::from(millis)) {
        Ok(n) => Ok(n > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Waits for a command that closed its output before it ended; past the deadline it is ended (true).
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<(ExitStatus, bool)> {
    let mut nap = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, false));
        }
        if Instant::now() >= deadline {
            end_group(child);
            return Ok((child.wait()?, true));
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(LOOK);
    }
}

/// Ends the whole process group: politely, then for good.
fn end_group(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let group = Pid::from_raw(pid);
    // Not reaped yet, so the number cannot belong to anybody else.
    if killpg(group, Signal::SIGTERM).is_err() {
        return;
    }
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Children that outlived their leader keep the group, and its number, alive.
    let _ = killpg(group, Signal::SIGKILL);
}

/// Cuts a stream into lines.
struct Lines<'a> {
    part: Vec<u8>,
    limit: usize,
    line: &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    stopped: bool,
}

impl<'a> Lines<'a> {
    fn new(limit: usize, line: &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Self {
        Lines {
            part: Vec::new(),
            limit,
            line,
            stopped: false,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while let Some(end) = bytes.find_byte(b'\n') {
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.part);
            if (self.line)(&line).is_break() {
                self.stopped = true;
                return ControlFlow::Break(());
            }
        }
        self.keep(bytes);
        ControlFlow::Continue(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.part.len());
        self.part.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The last line may lack its line feed.
    fn finish(&mut self) {
        if !self.stopped && !self.part.is_empty() {
            let line = std::mem::take(&mut self.part);
            let _ = (self.line)(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(line: &str) -> Command {
        Command::new(Argv::Shell(line.into()))
    }

    fn lines(command: &Command) -> (Vec<String>, Outcome) {
        let mut got = Vec::new();
        let outcome = run(command, &mut |line| {
            got.push(String::from_utf8_lossy(line).into_owned())
        })
        .unwrap();
        (got, outcome)
    }

    #[test]
    fn output_and_errors_come_in_the_order_they_were_written() {
        let (got, outcome) = lines(&sh("echo a; echo b >&2; echo c; printf d"));
        assert_eq!(got, ["a", "b", "c", "d"]);
        assert!(outcome.success());
    }

    #[test]
    fn without_a_shell_words_are_split_at_blanks_and_quotes_are_honoured() {
        assert_eq!(
            split(b"/bin/echo  a 'b c' \"d 'e'\" it's `f g`"),
            ["/bin/echo", "a", "b c", "d 'e'", "it's", "f g"]
        );
        assert_eq!(split(b"/bin/echo \"\" 'open end"), ["/bin/echo", "", "open end"]);
        let (got, _) = lines(&Command::new(Argv::from_line(
            "/bin/echo one; /bin/echo two".into(),
            false,
        )));
        assert_eq!(got, ["one; /bin/echo two"]);
    }

    #[test]
    fn a_relative_program_is_refused_unless_the_search_path_is_allowed() {
        let mut command = Command::new(Argv::from_line("echo hi".into(), false));
        let error = run(&command, &mut |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "echo is not an absolute path");
        command.search_path = true;
        assert_eq!(lines(&command).0, ["hi"]);
        let empty = Command::new(Argv::from_line(" ".into(), false));
        assert!(run(&empty, &mut |_| ()).is_err());
    }

    #[test]
    fn the_status_is_the_one_a_shell_shows() {
        assert_eq!(lines(&sh("exit 7")).1.status, 7);
        assert_eq!(lines(&sh("kill -9 $$")).1.status, 128 + 9);
        let missing = Command::new(Argv::from_line("/no/such/program".into(), false));
        assert_eq!(run(&missing, &mut |_| ()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_time_limit_ends_the_command_and_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let mut command = sh(&format!("(sleep 3; echo late > {}) & sleep 30", mark.display()));
        command.timeout = Some(Duration::from_millis(300));
        let started = Instant::now();
        let (_, outcome) = lines(&command);
        assert!(outcome.timed_out && !outcome.success());
        assert!(started.elapsed() < Duration::from_secs(3));
        std::thread::sleep(Duration::from_secs(3).saturating_sub(started.elapsed()) + Duration::from_millis(500));
        assert!(!mark.exists(), "a child outlived its time limit");
    }

    #[test]
    fn a_limit_also_holds_for_a_command_that_closed_its_output() {
        let mut command = sh("exec >&- 2>&-; sleep 30");
        command.timeout = Some(Duration::from_millis(200));
        let started = Instant::now();
        assert!(lines(&command).1.timed_out);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_open_does_not_hold_us() {
        let started = Instant::now();
        let (got, outcome) = lines(&sh("sleep 20 & echo started"));
        assert_eq!(got, ["started"]);
        assert!(outcome.success());
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn lines_are_cut_at_the_limit_and_the_next_one_is_whole() {
        let mut command = sh("head -c 100000 /dev/zero | tr '\\0' x; echo; echo next");
        command.line_limit = 10;
        assert_eq!(lines(&command).0, ["xxxxxxxxxx", "next"]);
    }

    #[test]
    fn a_callback_that_breaks_gets_no_further_line() {
        let mut got = 0;
        let outcome = run_until(&sh("while echo y; do :; done"), &mut |_| {
            got += 1;
            ControlFlow::Break(())
        });
        assert_eq!(got, 1);
        assert!(outcome.is_ok());
    }

    #[test]
    fn surroundings_reach_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = sh("umask; pwd; echo $DSAU_X; cat");
        command.umask = Some(0o027);
        command.chdir = Some(dir.path().canonicalize().unwrap());
        command.env.push(("DSAU_X".into(), "y z".into()));
        let (got, _) = lines(&command);
        assert!(got[0].ends_with("027"), "{got:?}");
        assert_eq!(Path::new(&got[1]), dir.path().canonicalize().unwrap());
        assert_eq!(got[2], "y z");
        assert_eq!(got.len(), 3, "standard input is empty");
    }

    #[test]
    fn no_descriptor_of_ours_reaches_the_command() {
        use std::os::fd::AsRawFd;
        let open = std::fs::File::open("/dev/null").unwrap();
        let (got, _) = lines(&Command::new(Argv::from_line("/bin/ls -l /proc/self/fd".into(), false)));
        let ours = format!(" {} -> /dev/null", open.as_raw_fd());
        assert!(got.iter().any(|line| line.contains(" 0 -> /dev/null")), "{got:?}");
        assert!(!got.iter().any(|line| line.ends_with(&ours)), "{got:?}");
        // The one pipe, as standard output and standard error only.
        let target = |fd: &str| {
            let mark = format!(" {fd} -> ");
            got.iter()
                .find_map(|line| line.split_once(&mark))
                .map(|(_, to)| to.to_string())
        };
        let pipe = target("1").unwrap();
        assert_eq!(target("2").as_ref(), Some(&pipe));
        assert_eq!(got.iter().filter(|line| line.ends_with(&pipe)).count(), 2, "{got:?}");
    }

    #[test]
    fn another_user_has_no_groups_of_root() {
        if !Uid::effective().is_root() {
            assert!(std::env::var_os("CI").is_none(), "needs root");
            eprintln!("skipped: changing the user needs root");
            return;
        }
        let mut command = sh("id -u; id -g; id -G");
        command.uid = Some(65534);
        command.gid = Some(65534);
        assert_eq!(lines(&command).0, ["65534", "65534", "65534"]);
    }

    #[test]
    fn a_command_in_the_background_is_not_awaited() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let mut command = sh(&format!("sleep 1; echo done > {}", mark.display()));
        command.background = true;
        let started = Instant::now();
        assert!(lines(&command).1.success());
        assert!(started.elapsed() < Duration::from_millis(800) && !mark.exists());
        while !mark.exists() && started.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(mark.exists());
    }
}
