//! The loop over all hosts.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{Child, Way, Why};
use super::deaths::Deaths;
use super::{Job, Options, Report, Sink, State, Stop, Stream};
use crate::remote::{Cause, Mark};
use crate::sys::code::give_back;

/// Stands for the input of a child where its outputs have their numbers.
const FEED: usize = 3;

/// How much is read at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long one host may be listened to while others wait, so that one that floods does not hold them up.
const TURN: Duration = Duration::from_millis(2);

/// From so many hosts on, what only the start needed is given back before they are served.
const MANY: usize = 128;

/// A host that waits for its turn.
struct Waiting {
    job: usize,
    attempt: u32,
    not_before: Option<Instant>,
    way: Way,
}

impl Waiting {
    fn first(job: usize) -> Self {
        Waiting {
            job,
            attempt: 1,
            not_before: None,
            way: Way::Kept,
        }
    }

    /// A host whose command was not begun, and gets a connection of its own now.
    fn plainly(child: &Child) -> Self {
        Waiting {
            job: child.job,
            attempt: child.attempt,
            not_before: None,
            way: Way::Plain,
        }
    }
}

/// Runs all jobs and gives a report of each, in the order of the jobs. After `stop` has seen a signal, or nobody listens
/// any more, what runs is ended, the rest is not begun, and every process is waited for.
///
/// Fails only when this machine cannot do it at all (no descriptors, no signals).
pub fn run(jobs: &[Job], options: &Options, stop: Option<&Stop>, sink: &mut dyn Sink) -> io::Result<Vec<Report>> {
    begin(jobs, 0, options, stop, sink)?.run()
}

/// As [`run`], but only the first `lead` jobs are begun: at once, beside the window and without a limit of their time.
/// The others are begun when the sink releases them; those it never does have no report.
pub(super) fn run_led(
    jobs: &[Job],
    lead: usize,
    options: &Options,
    stop: Option<&Stop>,
    sink: &mut dyn Sink,
) -> io::Result<Vec<Report>> {
    let mut all = begin(jobs, lead, options, stop, sink)?;
    all.waiting.truncate(lead);
    all.run()
}

fn begin<'a>(
    jobs: &'a [Job],
    lead: usize,
    options: &'a Options,
    stop: Option<&'a Stop>,
    sink: &'a mut dyn Sink,
) -> io::Result<Loop<'a>> {
    let watched = sink.watch();
    if jobs.len() >= MANY {
        give_back();
    }
    Ok(Loop {
        jobs,
        lead,
        options,
        stop,
        sink,
        deaths: Deaths::watch()?,
        watched,
        waiting: (0..jobs.len()).map(Waiting::first).collect(),
        running: Vec::new(),
        reports: vec![None; jobs.len()],
        buffer: vec![0; BUFFER],
        shares: vec![BUFFER; jobs.len()],
        mark: options.mark.as_ref().map(Mark::text),
    })
}

struct Loop<'a> {
    jobs: &'a [Job],
    /// So many of the jobs are none of the hosts that the options are about.
    lead: usize,
    options: &'a Options,
    stop: Option<&'a Stop>,
    sink: &'a mut dyn Sink,
    deaths: Deaths,
    watched: Vec<OwnedFd>,
    waiting: VecDeque<Waiting>,
    running: Vec<Child>,
    reports: Vec<Option<Report>>,
    buffer: Vec<u8>,
    /// How much of the buffer each job fills at once.
    shares: Vec<usize>,
    /// What the commands write when they have ended.
    mark: Option<Vec<u8>>,
}

impl Loop<'_> {
    fn run(mut self) -> io::Result<Vec<Report>> {
        while !self.waiting.is_empty() || !self.running.is_empty() {
            if self.stopped() {
                self.cancel();
            }
            self.start();
            if self.running.is_empty() && self.waiting.is_empty() {
                // All were called off, or none could be started: no process would ever wake us.
                break;
            }
            self.enforce();
            let ready = self.wait()?;
            self.read(&ready);
            self.bury();
        }
        self.sink.idle();
        Ok(self.reports.into_iter().flatten().collect())
    }

    fn stopped(&self) -> bool {
        self.sink.closed() || self.stop.is_some_and(|stop| stop.signal().is_some())
    }

    fn cancel(&mut self) {
        for child in &mut self.running {
            child.stop(Why::Cancelled);
        }
        while let Some(waiting) = self.waiting.pop_front() {
            self.report(waiting.job, State::Cancelled, Duration::ZERO, waiting.attempt - 1);
        }
    }

    fn report(&mut self, job: usize, state: State, took: Duration, attempts: u32) {
        let report = self.jobs[job].report(state, took, attempts);
        self.sink.done(job, &report);
        self.reports[job] = Some(report);
        self.waiting
            .extend(self.sink.released().into_iter().map(Waiting::first));
    }

    /// How many may run at once.
    fn window(&self) -> usize {
        let leading = self.reports[..self.lead].iter().filter(|report| report.is_none());
        self.options.window.max(1) + leading.count()
    }

    /// How long a job may take.
    fn limit(&self, job: usize) -> Option<Duration> {
        self.options.command_timeout.filter(|_| job >= self.lead)
    }

    fn start(&mut self) {
        let now = Instant::now();
        while self.running.len() < self.window() {
            let ready = |w: &Waiting| w.not_before.is_none_or(|time| time <= now);
            let Some(next) = self
                .waiting
                .iter()
                .position(ready)
                .and_then(|at| self.waiting.remove(at))
            else {
                return;
            };
            match Child::start(
                next.job,
                &self.jobs[next.job],
                next.attempt,
                next.way,
                self.options.apart,
            ) {
                Ok(child) => {
                    self.running.push(child);
                    // One that was refused a session has been told of before.
                    if next.way == Way::Kept {
                        self.sink.started(next.job);
                    }
                }
                Err(error) if out_of_room(&error) && !self.running.is_empty() => {
                    // Fewer at once, then: it is its turn again when one of the others has ended.
                    self.waiting.push_front(next);
                    return;
                }
                Err(error) => {
                    let program = self.jobs[next.job].launch().argv.first().cloned().unwrap_or_default();
                    let why = format!("cannot start {}: {}", program.to_string_lossy(), plain(&error));
                    self.report(next.job, State::NotStarted(why), Duration::ZERO, next.attempt);
                }
            }
        }
    }

    fn enforce(&mut self) {
        let now = Instant::now();
        for index in 0..self.running.len() {
            let limit = self.limit(self.running[index].job);
            let child = &mut self.running[index];
            child.hurry(now, &mut self.buffer);
            if child.due(limit).is_some_and(|due| due <= now) {
                child.late();
            }
        }
    }

    /// Waits until something is to be done; gives the pipes that can be read.
    fn wait(&mut self) -> io::Result<Vec<(usize, usize)>> {
        let mut sources = Vec::with_capacity(self.running.len() * 3);
        let mut fds = vec![PollFd::new(self.deaths.wake.as_fd(), PollFlags::POLLIN)];
        // The wish to stop is asked for once; after that it would only keep us awake.
        if let Some(stop) = self.stop
            && stop.signal().is_none()
        {
            fds.push(PollFd::new(stop.wake(), PollFlags::POLLIN));
        }
        let watched = fds.len();
        fds.extend(self.watched.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        let first = fds.len();
        for (index, child) in self.running.iter().enumerate() {
            for (number, fd) in child.open() {
                sources.push((index, number));
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
            }
            if let Some(fd) = child.hungry() {
                sources.push((index, FEED));
                fds.push(PollFd::new(fd, PollFlags::POLLOUT));
            }
        }
        let mut count = again(|| poll(&mut fds, PollTimeout::ZERO))?;
        if count == 0 {
            self.sink.idle();
            count = again(|| poll(&mut fds, timeout(self.next_due())))?;
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let readable = match count {
            0 => Vec::new(),
            _ => {
                let pairs = fds[first..].iter().zip(sources);
                pairs.filter(|(fd, _)| ready(fd)).map(|(_, source)| source).collect()
            }
        };
        let woken = fds[watched..first].iter().any(ready);
        drop(fds);
        if woken && !self.sink.woken() {
            self.watched.clear();
        }
        Ok(readable)
    }

    /// When the loop must wake up though nothing can be read.
    fn next_due(&self) -> Option<Instant> {
        let children = self
            .running
            .iter()
            .filter_map(|child| child.wake(self.limit(child.job)));
        let room = self.running.len() < self.window();
        // Thousands may wait; without room for them none is looked at.
        let turns = room.then_some(&self.waiting).into_iter().flatten();
        let turns = turns.filter_map(|waiting| waiting.not_before);
        children.chain(turns).min()
    }

    fn read(&mut self, ready: &[(usize, usize)]) {
        for &(index, number) in ready {
            let begin = Instant::now();
            let child = &mut self.running[index];
            if number == FEED {
                child.feed(&mut self.buffer);
                continue;
            }
            let (job, host) = (child.job, &self.jobs[child.job].host);
            let share = self.shares[job];
            child.read(
                number,
                self.mark.as_deref(),
                &mut self.buffer[..share],
                &mut |stream, line| {
                    self.sink.line(job, host, stream, line);
                },
            );
            self.shares[job] = match begin.elapsed() {
                took if took > TURN && self.running.len() > 1 => (share / 2).max(1024),
                took if took < TURN / 4 => (share * 2).min(BUFFER),
                _ => share,
            };
        }
    }

    /// Reports the children that have ended.
    fn bury(&mut self) {
        let (died, now) = (self.deaths.any(), Instant::now());
        let mut index = 0;
        while index < self.running.len() {
            let child = &mut self.running[index];
            if child.advance(&self.jobs[child.job], died, now).is_err() {
                let child = self.running.swap_remove(index);
                self.waiting.push_front(Waiting::plainly(&child));
                continue;
            }
            let Some(ended) = self.running[index].ended(died) else {
                index += 1;
                continue;
            };
            let mut child = self.running.swap_remove(index);
            if self.stop.is_some_and(|stop| stop.signal().is_some()) {
                child.called_off(ended);
            }
            let (job, host) = (child.job, &self.jobs[child.job].host);
            child.drain(self.mark.as_deref(), &mut self.buffer, &mut |stream, line| {
                self.sink.line(job, host, stream, line);
            });
            let Some(state) = child.state(ended, self.limit(job)) else {
                self.waiting.push_front(Waiting::plainly(&child));
                continue;
            };
            if self.again(&child, &state) {
                continue;
            }
            let troubles = child.hang_up(state.is_ok());
            for trouble in &troubles {
                self.sink.line(job, host, Stream::Err, trouble.as_bytes());
            }
            let state = match state {
                State::Exited(0) if !troubles.is_empty() => State::Exited(1),
                state => state,
            };
            self.report(job, state, child.started.elapsed(), child.attempt);
        }
    }

    /// Puts a host that may be reached later back into the row, later each time and not all at once.
    fn again(&mut self, child: &Child, state: &State) -> bool {
        let State::Unreachable(trouble) = state else {
            return false;
        };
        let tries = match trouble.cause {
            cause if cause.passing() => self.options.retries.max(self.options.patience),
            Cause::Connect | Cause::TimeOut => self.options.patience,
            _ => 0,
        };
        if child.attempt > tries || child.stopping() {
            return false;
        }
        let spread = Duration::from_millis(u64::from(child.started.elapsed().subsec_nanos() % 250));
        self.waiting.push_back(Waiting {
            job: child.job,
            attempt: child.attempt + 1,
            not_before: Some(Instant::now() + back_off(child.attempt) + spread),
            way: Way::Kept,
        });
        true
    }
}

/// The pause after the n-th try: a quarter of a second, doubled each time, half a minute at most.
fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(250 << attempt.saturating_sub(1).min(7)).min(Duration::from_secs(30))
}

fn timeout(due: Option<Instant>) -> PollTimeout {
    let Some(due) = due else {
        return PollTimeout::NONE;
    };
    // Rounded up: waking too early would only mean waiting again.
    let left = due.saturating_duration_since(Instant::now()).as_millis() + 1;
    i32::try_from(left)
        .ok()
        .and_then(|left| PollTimeout::try_from(left).ok())
        .unwrap_or(PollTimeout::MAX)
}

fn again(mut call: impl FnMut() -> nix::Result<i32>) -> io::Result<i32> {
    loop {
        match call() {
            // A signal has come: its pipe tells which, so the next poll returns at once.
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

fn out_of_room(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(
        code,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::ENOMEM)
    )
}

fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_string(),
        None => error.to_string(),
    }
}
