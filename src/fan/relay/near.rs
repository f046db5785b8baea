//! The side that asks: sends the order to the gateways, and passes on what they tell as if the hosts were served here.

use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bstr::{BString, ByteSlice};

use super::super::run::run_led;
use super::super::{Input, Job, Options, Report, Sink, Spool, State, Stop, Stream};
use super::{Frame, GREETING, Order, Reads, share};
use crate::hosts::Host;
use crate::remote::{Cause, Ssh, Trouble, script};

/// So many lines may a login print before the gateway greets.
const CHATTER: usize = 200;

/// Runs the jobs through these gateways and gives a report of each, as [`super::super::run`] does. The hosts of a gateway
/// that cannot serve are served from here, as far as nothing was begun on them; that is told.
pub fn run(
    jobs: &[Job],
    gateways: &[Host],
    ssh: &Arc<Ssh>,
    options: &Options,
    stop: Option<&Stop>,
    sink: &mut dyn Sink,
) -> io::Result<Vec<Report>> {
    let count = gateways.len().min(jobs.len());
    let order = Arc::new(spool(jobs, &Order::of(jobs, ssh, options)?)?);
    let asked = (1..=count).zip(gateways).map(|(number, gateway)| {
        // A login that is not interactive may not know where the suite is.
        let command = format!("PATH=$PATH:/opt/dsau/bin; export PATH; exec cexec --relay {number}/{count}");
        Job::over(
            ssh,
            gateway.clone(),
            &script(&command, &[]).into(),
            Input::Fed(Arc::clone(&order)),
        )
    });
    // The gateways, and behind them the hosts, which are held back as long as a gateway may serve them.
    let all: Vec<Job> = asked.chain(jobs.iter().cloned()).collect();
    let mut listener = Listener {
        jobs,
        shares: (1..=count)
            .map(|number| Share::new(share(number, count, jobs.len())))
            .collect(),
        names: gateways.iter().take(count).map(Host::to_string).collect(),
        begun: vec![false; jobs.len()],
        partial: Default::default(),
        reports: vec![None; jobs.len()],
        released: Vec::new(),
        sink,
    };
    run_led(&all, count, options, stop, &mut listener)?;
    Ok(listener.reports.into_iter().flatten().collect())
}

/// The order, and what the commands read.
fn spool(jobs: &[Job], order: &Order) -> io::Result<Spool> {
    let mut spool = match order.reads {
        Reads::Spool => Spool::new()?,
        Reads::Nothing | Reads::Held | Reads::Fed => Spool::in_memory()?,
    };
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    spool.write_all(&line)?;
    if let Some(Input::Spool(bytes) | Input::Fed(bytes)) = jobs.first().map(|job| &job.input) {
        io::copy(&mut bytes.reader()?, &mut spool)?;
    }
    Ok(spool)
}

/// What is known of one gateway.
struct Share {
    jobs: Range<usize>,
    greeted: bool,
    chatter: usize,
    /// The last it said on its standard error.
    said: BString,
}

impl Share {
    fn new(jobs: Range<usize>) -> Self {
        Share {
            jobs,
            greeted: false,
            chatter: 0,
            said: BString::default(),
        }
    }
}

struct Listener<'a> {
    jobs: &'a [Job],
    shares: Vec<Share>,
    names: Vec<String>,
    begun: Vec<bool>,
    /// The beginnings of long lines.
    partial: std::collections::HashMap<(usize, bool), BString>,
    reports: Vec<Option<Report>>,
    /// Hosts that are to be served from here, and have not been begun yet.
    released: Vec<usize>,
    sink: &'a mut dyn Sink,
}

impl Listener<'_> {
    fn frame(&mut self, gateway: usize, frame: Frame) {
        let (Frame::Started(job) | Frame::Line(job, ..) | Frame::Done(job, _)) = &frame;
        let job = *job;
        // It speaks for its own hosts only, and of each until it has ended.
        if !self.shares[gateway].jobs.contains(&job) || self.reports[job].is_some() {
            return;
        }
        self.begun[job] = true;
        match frame {
            Frame::Started(_) => self.sink.started(job),
            Frame::Line(_, stream, text, whole) => {
                let key = (job, stream == Stream::Err);
                let mut line = self.partial.remove(&key).unwrap_or_default();
                line.extend_from_slice(&text);
                match whole || line.len() > super::super::LINE_LIMIT {
                    true => self.sink.line(job, &self.jobs[job].host, stream, &line),
                    false => {
                        self.partial.insert(key, line);
                    }
                }
            }
            Frame::Done(_, ended) => {
                let mut state = ended.state;
                // One sentence on one line, whatever the gateway says.
                if let State::Unreachable(Trouble { said, .. }) | State::NotStarted(said) = &mut state {
                    said.retain(|c| !c.is_control());
                }
                if let State::Unreachable(trouble) = &mut state {
                    let from = format!("from gateway {}", self.names[gateway]);
                    trouble.said = match trouble.said.is_empty() {
                        true => from,
                        false => format!("{}, {from}", trouble.said),
                    };
                }
                self.report(job, state, ended.took, ended.attempts);
            }
        }
    }

    fn report(&mut self, job: usize, state: State, took: Duration, attempts: u32) {
        let report = self.jobs[job].report(state, took, attempts);
        self.sink.done(job, &report);
        self.reports[job] = Some(report);
    }

    /// A gateway has ended: reports the hosts that are lost with it, and releases those that nothing was begun on.
    fn close(&mut self, gateway: usize, end: &Report) {
        let left = self.shares[gateway].jobs.clone();
        let left: Vec<usize> = left.filter(|&job| self.reports[job].is_none()).collect();
        if left.is_empty() {
            return;
        }
        if end.state == State::Cancelled {
            for job in left {
                let attempts = u32::from(self.begun[job]);
                self.report(job, State::Cancelled, end.took, attempts);
            }
            return;
        }
        let share = &self.shares[gateway];
        let why = match (&end.state, share.said.trim()) {
            (State::Exited(_), said) if !said.is_empty() => said.to_str_lossy().into_owned(),
            (state, _) => state.to_string(),
        };
        let complete = said_all(&end.state, share.greeted);
        let (lost, unbegun): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|&job| !complete || self.begun[job]);
        for job in lost {
            for stream in [Stream::Out, Stream::Err] {
                if let Some(line) = self.partial.remove(&(job, stream == Stream::Err)) {
                    self.sink.line(job, &self.jobs[job].host, stream, &line);
                }
            }
            let said = format!("with gateway {}", self.names[gateway]);
            let cause = Cause::Lost;
            self.report(job, State::Unreachable(Trouble { cause, said }), end.took, 1);
        }
        if !unbegun.is_empty() {
            let name = &self.names[gateway];
            let which = match unbegun.len() {
                1 => "1 host is".to_string(),
                count => format!("{count} hosts are"),
            };
            let text = format!("gateway {name}: {why}; {which} served from here");
            self.sink.notice(&text);
        }
        self.released.extend(unbegun);
    }

    /// What comes from a gateway itself.
    fn relayed(&mut self, gateway: usize, stream: Stream, line: &[u8]) {
        let share = &mut self.shares[gateway];
        match stream {
            Stream::Err => {
                if !line.trim().is_empty() {
                    share.said = line.into();
                }
            }
            Stream::Out if share.greeted => {
                if let Some(frame) = Frame::read(line) {
                    self.frame(gateway, frame);
                }
            }
            Stream::Out => {
                share.greeted = line.trim_end() == GREETING && share.chatter <= CHATTER;
                share.chatter += 1;
            }
        }
    }

    /// The number of the host that a job serves from here; the other jobs are gateways.
    fn direct(&self, job: usize) -> Option<usize> {
        job.checked_sub(self.shares.len())
    }
}

/// Whether all that a gateway had to say has arrived: a host it has not named was then not begun. One that was lost may
/// have begun more than it could tell.
fn said_all(end: &State, greeted: bool) -> bool {
    match end {
        State::Unreachable(trouble) => !greeted && trouble.cause != Cause::Lost,
        State::NotStarted(_) => true,
        // From 128 on it was a signal, or ssh itself.
        State::Exited(code) => *code < 128,
        State::Killed(_) | State::TimedOut(_) | State::Cancelled => false,
    }
}

impl Sink for Listener<'_> {
    fn line(&mut self, job: usize, host: &Host, stream: Stream, line: &[u8]) {
        match self.direct(job) {
            Some(job) => self.sink.line(job, host, stream, line),
            None => self.relayed(job, stream, line),
        }
    }

    fn started(&mut self, job: usize) {
        if let Some(job) = self.direct(job) {
            self.sink.started(job);
        }
    }

    fn done(&mut self, job: usize, report: &Report) {
        match self.direct(job) {
            Some(job) => {
                self.sink.done(job, report);
                self.reports[job] = Some(report.clone());
            }
            None => self.close(job, report),
        }
    }

    fn released(&mut self) -> Vec<usize> {
        let gateways = self.shares.len();
        self.released.drain(..).map(|job| gateways + job).collect()
    }

    fn idle(&mut self) {
        self.sink.idle();
    }

    fn closed(&self) -> bool {
        self.sink.closed()
    }

    fn watch(&mut self) -> Vec<OwnedFd> {
        self.sink.watch()
    }

    fn woken(&mut self) -> bool {
        self.sink.woken()
    }
}
