//! How the answers of many hosts are shown: a line at a time, gathered, or as JSON.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde_json::json;

use super::gathered::{self, Group};
use super::gauge::{Gauge, Progress};
use super::groups;
use super::json::line as json_line;
use super::look::{Labelled, Look, normalized};
use super::targets::Outside;
use crate::diag::Out;
use crate::fan::{Report, Sink, State, Stream, Transcripts};
use crate::hosts::{self, Host};
use crate::remote::Cause;

/// The shape of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `HOST: line`, as it comes.
    Tagged,
    /// The lines alone, as they come.
    Bare,
    /// At the end: the same output once, under the folded list of hosts.
    Gathered,
    /// At the end: the lines of one host after the other, in the order of their names.
    Ordered,
    /// One JSON object per host, as each ends.
    Json,
}

/// What a tool adds to the JSON object of a host.
pub type More = Box<dyn Fn(usize) -> serde_json::Map<String, serde_json::Value>>;

/// Shows what hosts say and how they ended.
pub struct Show {
    prog: &'static str,
    shape: Shape,
    look: Look,
    labels: Vec<String>,
    hosts: Vec<Host>,
    out: Out,
    gauge: Gauge,
    transcripts: Option<Transcripts>,
    ends: Vec<Option<State>>,
    dirs: [Option<PathBuf>; 2],
    failed: Option<io::Error>,
    causes: Vec<Cause>,
    regroup: Option<Outside>,
    /// Where the jobs of the run that is going on begin among all hosts.
    pub first: usize,
    /// More about each host, for JSON.
    pub more: Option<More>,
}

impl Show {
    /// A display for these hosts. `dirs`: where each host's standard output and standard error go as files instead.
    pub fn new(
        prog: &'static str,
        shape: Shape,
        hosts: &[Host],
        labels: Vec<String>,
        dirs: [Option<PathBuf>; 2],
    ) -> Self {
        let keep = matches!(shape, Shape::Gathered | Shape::Ordered | Shape::Json) || dirs.iter().any(Option::is_some);
        Show {
            prog,
            shape,
            look: Look::default(),
            gauge: Gauge::new(prog, hosts.len(), false, false),
            transcripts: keep.then(|| Transcripts::new(hosts.len())),
            ends: vec![None; hosts.len()],
            labels,
            hosts: hosts.to_vec(),
            out: Out::stdout(),
            dirs,
            failed: None,
            causes: Vec::new(),
            regroup: None,
            first: 0,
            more: None,
        }
    }

    /// With a special look.
    #[must_use]
    pub fn with(mut self, look: Look) -> Self {
        self.gauge = Gauge::new(self.prog, self.hosts.len(), look.gauge, look.keys);
        self.look = look;
        self
    }

    /// With hosts named by groups, as far as they are made of them.
    #[must_use]
    pub fn regrouped(mut self, outside: Option<Outside>) -> Self {
        self.regroup = outside;
        self
    }

    /// With a gauge that says how far the work itself is.
    pub fn follow(&mut self, progress: Progress) {
        self.gauge.follow(progress);
    }

    /// Whether so many hosts failed that the rest is not wanted.
    pub fn halted(&self) -> bool {
        self.look.halt.is_some_and(|most| self.gauge.failed() >= most)
    }

    /// Whether nobody reads the output any more.
    pub fn deaf(&self) -> bool {
        self.out.closed()
    }

    /// What was typed on the terminal meanwhile, but for empty lines.
    pub fn typed(&mut self) -> Vec<u8> {
        self.gauge.typed()
    }

    /// Shows what was kept until the end; gives the error if something could not be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.gauge.clear();
        if self.late() && self.failed.is_none() {
            let shown = match self.shape {
                Shape::Ordered => self.ordered(),
                _ => self.gathered(),
            };
            self.note(shown);
            if !self.look.live {
                self.failures();
            }
        }
        let flushed = self.out.flush();
        self.note(flushed);
        for cause in std::mem::take(&mut self.causes) {
            if let Some(hint) = cause.hint() {
                self.err(&[b"  hint: ", hint.as_bytes()]);
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Hosts that ended in the same way in one line.
    fn failures(&mut self) {
        let mut ways: Vec<(String, Vec<usize>)> = Vec::new();
        let mut known = HashMap::new();
        for (job, end) in self.ends.iter().enumerate() {
            if let Some(state) = end.as_ref().filter(|state| self.telling(state)) {
                let text = state.to_string();
                let at = *known.entry(text.clone()).or_insert_with(|| {
                    ways.push((text, Vec::new()));
                    ways.len() - 1
                });
                ways[at].1.push(job);
            }
        }
        for (text, jobs) in ways {
            let names = self.names(&jobs);
            let count = if jobs.len() == 1 {
                String::new()
            } else {
                format!(" ({})", jobs.len())
            };
            self.err(&[format!("{}: {names}{count}: {text}", self.prog).as_bytes()]);
        }
    }

    /// Whether what is said is shown when all have ended.
    fn late(&self) -> bool {
        matches!(self.shape, Shape::Gathered | Shape::Ordered)
    }

    /// Whether a state is told of.
    fn telling(&self, state: &State) -> bool {
        worth_telling(state) && !(self.look.quiet && matches!(state, State::Exited(_)))
    }

    fn names(&mut self, jobs: &[usize]) -> String {
        let hosts = jobs.iter().map(|&job| &self.hosts[job]);
        if let Some(outside) = &mut self.regroup {
            let set = hosts.clone().cloned().collect();
            // Groups that cannot be read are no reason to show nothing.
            if let Ok(names) = groups::regrouped(outside, false, set) {
                return names;
            }
        }
        hosts::fold(hosts)
    }

    /// The lines of one host after the other.
    fn ordered(&mut self) -> io::Result<()> {
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.sort_by(|&a, &b| hosts::natural(self.labels[a].as_bytes(), self.labels[b].as_bytes()));
        for job in order {
            for stream in [Stream::Out, Stream::Err] {
                if self.dirs[stream as usize].is_some() || transcripts.size(job, stream) == 0 {
                    continue;
                }
                let label = self.look.heads.colored(&format!("{}: ", self.labels[job]), stream);
                match stream {
                    Stream::Out => transcripts.write(job, stream, &mut Labelled::new(label, &mut self.out))?,
                    Stream::Err => {
                        self.out.flush()?;
                        transcripts.write(job, stream, &mut Labelled::new(label, &mut io::stderr()))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// One line on standard error, in one write, after what went to standard output before.
    fn err(&mut self, parts: &[&[u8]]) {
        self.gauge.clear();
        let flushed = self.out.flush();
        self.note(flushed);
        let mut line = parts.concat();
        line.push(b'\n');
        let _ = io::stderr().lock().write_all(&line);
    }

    fn gathered(&mut self) -> io::Result<()> {
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        // What a host said before the connection was lost or stopped is shown as well, but silence is no answer then.
        let key = |job: usize| match self.ends[job].as_ref()? {
            State::Exited(code) => Some((0, i32::from(*code))),
            State::Killed(signal) => Some((1, *signal)),
            State::TimedOut(_) => Some((2, 0)),
            _ => {
                let said = [Stream::Out, Stream::Err].map(|stream| transcripts.size(job, stream));
                (said != [0, 0]).then_some((3, 0))
            }
        };
        let ended = |job: usize| match self.ends[job].as_ref()? {
            State::Exited(0) | State::Unreachable(_) | State::NotStarted(_) | State::Cancelled => None,
            state => Some(state.to_string()),
        };
        let groups = transcripts.alike(key);
        let ends: Vec<_> = groups
            .iter()
            .map(|hosts| hosts.jobs.first().and_then(|&job| ended(job)))
            .collect();
        let groups = groups.into_iter().zip(ends);
        let mut groups: Vec<Group> = groups
            .map(|(hosts, ended)| Group {
                names: self.names(&hosts.jobs),
                ended,
                hosts,
            })
            .collect();
        // Of two answers that are as common, the one that went well is the measure.
        groups.sort_by_key(|group| (Reverse(group.hosts.jobs.len()), group.ended.is_some()));
        let streams = [Stream::Out, Stream::Err].into_iter();
        let streams: Vec<Stream> = streams.filter(|&s| self.dirs[s as usize].is_none()).collect();
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        gathered::show(transcripts, &groups, &streams, &self.look, &mut self.out)
    }

    fn json(&mut self, job: usize, report: &Report) -> io::Result<()> {
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        let (kind, status) = match &report.state {
            State::Exited(0) => ("ok", Some(0)),
            State::Exited(code) => ("failed", Some(*code)),
            State::Killed(_) => ("killed", None),
            State::TimedOut(_) => ("timeout", None),
            State::Unreachable(_) => ("unreachable", None),
            State::NotStarted(_) => ("not-started", None),
            State::Cancelled => ("stopped", None),
        };
        let mut object = json!({
            "host": self.labels[job],
            "state": kind,
            "status": status,
            "cause": if status.is_some() { None } else { Some(report.state.to_string()) },
            "seconds": (report.took.as_secs_f64() * 1000.0).round() / 1000.0,
            "attempts": report.attempts,
        });
        if let (Some(more), Some(object)) = (&self.more, object.as_object_mut()) {
            object.extend(more(job));
        }
        let texts = [("stdout", job, Stream::Out), ("stderr", job, Stream::Err)];
        json_line(&mut self.out, &object, transcripts, &texts)
    }

    fn files(&mut self, job: usize) -> io::Result<()> {
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        for stream in [Stream::Out, Stream::Err] {
            if let Some(dir) = &self.dirs[stream as usize] {
                let path = dir.join(&self.labels[job]);
                let wrap = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                // Into one directory both go, one after the other.
                let file = match stream == Stream::Err && self.dirs[Stream::Out as usize].as_ref() == Some(dir) {
                    true => std::fs::OpenOptions::new().append(true).open(&path),
                    false => std::fs::File::create(&path),
                };
                transcripts.write(job, stream, &mut file.map_err(wrap)?).map_err(wrap)?;
            }
        }
        Ok(())
    }
}

/// Whether a state is a failure of which nothing was said yet.
fn worth_telling(state: &State) -> bool {
    !state.is_ok() && *state != State::Cancelled
}

impl Sink for Show {
    fn line(&mut self, job: usize, host: &Host, stream: Stream, line: &[u8]) {
        let job = self.first + job;
        if let Some(transcripts) = &mut self.transcripts {
            match self.look.normalize {
                true => transcripts.line(job, stream, &normalized(line, &host.name)),
                false => transcripts.line(job, stream, line),
            }
        }
        let silent = match self.shape {
            Shape::Gathered | Shape::Ordered => !self.look.live,
            Shape::Json => true,
            Shape::Tagged | Shape::Bare => false,
        };
        if silent || self.dirs[stream as usize].is_some() {
            return;
        }
        self.gauge.clear();
        let colored;
        let (label, colon): (&[u8], &[u8]) = match self.shape {
            Shape::Bare => (b"", b""),
            _ if self.look.heads.color[stream as usize] => {
                colored = self.look.heads.colored(&format!("{}: ", self.labels[job]), stream);
                (colored.as_bytes(), b"")
            }
            _ => (self.labels[job].as_bytes(), b": "),
        };
        match stream {
            Stream::Out => {
                let out = &mut self.out;
                let written = out.write_all(label).and_then(|()| out.write_all(colon));
                let written = written.and_then(|()| out.line(line));
                self.note(written);
            }
            Stream::Err => {
                let label = label.to_vec();
                self.err(&[&label, colon, line]);
            }
        }
    }

    fn started(&mut self, job: usize) {
        self.gauge.started(self.first + job);
    }

    fn done(&mut self, job: usize, report: &Report) {
        let job = self.first + job;
        if report.state != State::Cancelled || report.attempts > 0 {
            self.gauge.done(job, !worth_telling(&report.state));
        }
        self.ends[job] = Some(report.state.clone());
        if let Some(transcripts) = &mut self.transcripts {
            transcripts.done(job);
        }
        if self.shape == Shape::Json {
            self.gauge.clear();
            let written = self.json(job, report);
            self.note(written);
        }
        let written = self.files(job);
        self.note(written);
        if !self.late()
            && let Some(transcripts) = &mut self.transcripts
        {
            transcripts.forget(job);
        }
        if !self.telling(&report.state) {
            return;
        }
        if let State::Unreachable(trouble) = &report.state
            && !self.causes.iter().any(|cause| cause.hint() == trouble.cause.hint())
        {
            self.causes.push(trouble.cause);
        }
        // Gathered answers end with one line for all hosts that ended alike.
        if !self.late() || self.look.live {
            let text = format!("{}: {}: {}", self.prog, self.labels[job], report.state);
            self.err(&[text.as_bytes()]);
        }
    }

    fn notice(&mut self, text: &str) {
        self.err(&[format!("{}: {text}", self.prog).as_bytes()]);
    }

    fn idle(&mut self) {
        let flushed = self.out.flush();
        self.note(flushed);
        self.gauge.draw(&self.labels);
    }

    fn watch(&mut self) -> Vec<OwnedFd> {
        self.gauge.watch()
    }

    fn woken(&mut self) -> bool {
        self.gauge.woken(&self.hosts)
    }

    fn closed(&self) -> bool {
        self.out.closed() || self.failed.is_some() || self.halted()
    }
}
