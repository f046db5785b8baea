//! How far a run is: a line on the terminal that is drawn anew, and a report on request.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::SIGUSR1;

use crate::hosts::{self, Host};

/// Counts hosts and knows who is at work.
pub struct Gauge {
    prog: &'static str,
    drawn: bool,
    show: bool,
    text: String,
    total: usize,
    done: usize,
    failed: usize,
    /// In the order of their start: the first are the stragglers.
    running: Vec<usize>,
    asked: Option<UnixStream>,
    keys: bool,
    /// How far the work itself is, in words.
    progress: Option<Progress>,
    latest: Option<Instant>,
    typed: Vec<u8>,
}

/// The most that is kept of what is typed, in bytes.
const TYPED: usize = 64 * 1024;

/// Says how far the work itself is.
pub type Progress = Box<dyn Fn() -> String>;

/// What moves all the time is drawn so often.
const PACE: Duration = Duration::from_millis(200);

impl Gauge {
    /// A gauge for this many hosts. `wanted`: drawn when standard error is a terminal; `keys`: Enter asks for a report.
    pub fn new(prog: &'static str, total: usize, wanted: bool, keys: bool) -> Self {
        Gauge {
            prog,
            drawn: false,
            show: wanted && total > 1 && io::stderr().is_terminal(),
            text: String::new(),
            total,
            done: 0,
            failed: 0,
            running: Vec::new(),
            asked: None,
            keys: keys && io::stdin().is_terminal(),
            progress: None,
            latest: None,
            typed: Vec::new(),
        }
    }

    /// Shows how far the work is as well, and for one host alone too.
    pub fn follow(&mut self, progress: Progress) {
        self.progress = Some(progress);
        self.show = io::stderr().is_terminal();
    }

    /// What is to be watched: SIGUSR1 and the terminal.
    pub fn watch(&mut self) -> Vec<OwnedFd> {
        let mut fds = Vec::new();
        if self.asked.is_none() {
            self.asked = signals().ok();
        }
        fds.extend(
            self.asked
                .as_ref()
                .and_then(|asked| asked.try_clone().ok())
                .map(OwnedFd::from),
        );
        if self.keys {
            fds.extend(io::stdin().as_fd().try_clone_to_owned().ok());
        }
        fds
    }

    /// Takes what came and says how far the run is; false when there is nothing left to watch.
    pub fn woken(&mut self, hosts: &[Host]) -> bool {
        let mut buffer = [0; 1024];
        let mut wanted = false;
        if let Some(asked) = &mut self.asked {
            wanted |= matches!(asked.read(&mut buffer), Ok(1..));
        }
        while self.keys && readable() {
            // In the background the line is another's, and reading would stop us.
            let ours = nix::unistd::tcgetpgrp(io::stdin()).is_ok_and(|group| group == nix::unistd::getpgrp());
            match ours.then(|| nix::unistd::read(io::stdin(), &mut buffer)) {
                Some(Ok(count @ 1..)) => {
                    wanted = true;
                    if buffer[..count] != *b"\n" && self.typed.len() < TYPED {
                        self.typed.extend_from_slice(&buffer[..count]);
                    }
                }
                _ => self.keys = false,
            }
            if !self.keys {
                return false;
            }
        }
        if wanted {
            self.clear();
            crate::diag::stderr_line(&self.report(hosts));
        }
        true
    }

    /// What was typed, but for empty lines.
    pub fn typed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.typed)
    }

    /// A host has been started.
    pub fn started(&mut self, job: usize) {
        if !self.running.contains(&job) {
            self.running.push(job);
        }
    }

    /// A host is done.
    pub fn done(&mut self, job: usize, well: bool) {
        self.running.retain(|&other| other != job);
        self.done += 1;
        self.failed += usize::from(!well);
    }

    /// How many hosts are not well.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// All that is known, in one line.
    fn report(&self, hosts: &[Host]) -> String {
        let waiting = self.total.saturating_sub(self.done + self.running.len());
        let mut text = format!("{}: {} of {} hosts done", self.prog, self.done, self.total);
        if self.failed > 0 {
            text += &format!(", {} failed", self.failed);
        }
        if waiting > 0 {
            text += &format!(", {waiting} not begun");
        }
        if !self.running.is_empty() {
            let names = hosts::fold(self.running.iter().map(|&job| &hosts[job]));
            text += &format!("; at work: {names}");
        }
        text
    }

    /// Draws the line, unless it stands there already.
    pub fn draw(&mut self, labels: &[String]) {
        if !self.show || self.running.is_empty() {
            return;
        }
        let mut text = format!("[{}/{}]", self.done, self.total);
        if self.failed > 0 {
            text += &format!(" {} failed,", self.failed);
        }
        if let Some(progress) = &self.progress {
            if self.drawn && self.latest.is_some_and(|latest| latest.elapsed() < PACE) {
                return;
            }
            text += &progress();
        }
        text += " at work:";
        for &job in &self.running {
            if text.len() + labels[job].len() > 72 {
                text += " ...";
                break;
            }
            text += &format!(" {}", labels[job]);
        }
        if self.drawn && text == self.text {
            return;
        }
        let _ = io::stderr().write_all(format!("\r\x1b[K{text}").as_bytes());
        (self.drawn, self.text, self.latest) = (true, text, Some(Instant::now()));
    }

    /// Takes the line away, before anything else is written to the terminal.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

fn signals() -> io::Result<UnixStream> {
    let (asked, sender) = UnixStream::pair()?;
    asked.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGUSR1, sender)?;
    Ok(asked)
}

fn readable() -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
}
