//! How the answers of many hosts are shown: a line at a time, gathered, or as JSON.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

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
    /// One JSON object per host, as each ends.
    Json,
}

/// Shows what hosts say and how they ended.
pub struct Show {
    prog: &'static str,
    shape: Shape,
    labels: Vec<String>,
    hosts: Vec<Host>,
    out: Out,
    transcripts: Option<Transcripts>,
    dirs: [Option<PathBuf>; 2],
    failed: Option<io::Error>,
    causes: Vec<Cause>,
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
        let keep = matches!(shape, Shape::Gathered | Shape::Json) || dirs.iter().any(Option::is_some);
        Show {
            prog,
            shape,
            transcripts: keep.then(|| Transcripts::new(hosts.len())),
            labels,
            hosts: hosts.to_vec(),
            out: Out::stdout(),
            dirs,
            failed: None,
            causes: Vec::new(),
        }
    }

    /// Shows what was kept until the end; gives the error if something could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        if self.shape == Shape::Gathered && self.failed.is_none() {
            let shown = self.gathered();
            self.note(shown);
        }
        let flushed = self.out.flush();
        self.note(flushed);
        for cause in std::mem::take(&mut self.causes) {
            if let Some(hint) = cause.hint() {
                self.err(&[b"  hint: ", hint.as_bytes()]);
            }
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// One line on standard error, in one write, after what went to standard output before.
    fn err(&mut self, parts: &[&[u8]]) {
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
        for stream in [Stream::Out, Stream::Err] {
            if self.dirs[stream as usize].is_some() {
                continue;
            }
            for group in transcripts.gather(stream) {
                let names = hosts::fold(group.jobs.iter().map(|&job| &self.hosts[job]));
                let head = head(&names, group.jobs.len());
                let first = group.jobs.first().copied().unwrap_or_default();
                match stream {
                    Stream::Out => {
                        self.out.write_all(head.as_bytes())?;
                        transcripts.write(first, stream, &mut self.out)?;
                    }
                    Stream::Err => {
                        self.out.flush()?;
                        let mut err = io::stderr().lock();
                        let _ = err.write_all(head.as_bytes());
                        transcripts.write(first, stream, &mut err)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn json(&mut self, job: usize, report: &Report) -> io::Result<()> {
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        let text = |stream| -> io::Result<String> {
            let mut bytes = Vec::new();
            transcripts.write(job, stream, &mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        let object = json!({
            "host": self.labels[job],
            "state": kind,
            "status": status,
            "cause": if status.is_some() { None } else { Some(report.state.to_string()) },
            "seconds": (report.took.as_secs_f64() * 1000.0).round() / 1000.0,
            "attempts": report.attempts,
            "stdout": text(Stream::Out)?,
            "stderr": text(Stream::Err)?,
        });
        self.out.line(object.to_string())
    }

    fn files(&mut self, job: usize) -> io::Result<()> {
        let Some(transcripts) = &self.transcripts else {
            return Ok(());
        };
        for stream in [Stream::Out, Stream::Err] {
            if let Some(dir) = &self.dirs[stream as usize] {
                let path = dir.join(&self.labels[job]);
                let wrap = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                let mut file = std::fs::File::create(&path).map_err(wrap)?;
                transcripts.write(job, stream, &mut file).map_err(wrap)?;
            }
        }
        Ok(())
    }
}

/// What stands above the output of one or several hosts: as dshbak has it, so that its readers need not change.
pub fn head(names: &str, count: usize) -> String {
    let rule = "-".repeat(16);
    match count {
        1 => format!("{rule}\n{names}\n{rule}\n"),
        _ => format!("{rule}\n{names} ({count})\n{rule}\n"),
    }
}

impl Sink for Show {
    fn line(&mut self, job: usize, _: &Host, stream: Stream, line: &[u8]) {
        if let Some(transcripts) = &mut self.transcripts {
            transcripts.line(job, stream, line);
        }
        if matches!(self.shape, Shape::Gathered | Shape::Json) || self.dirs[stream as usize].is_some() {
            return;
        }
        let (label, colon): (&[u8], &[u8]) = match self.shape {
            Shape::Bare => (b"", b""),
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

    fn done(&mut self, job: usize, report: &Report) {
        let written = match self.shape {
            Shape::Json => self.json(job, report),
            _ => Ok(()),
        };
        self.note(written);
        let written = self.files(job);
        self.note(written);
        if report.state.is_ok() || report.state == State::Cancelled {
            return;
        }
        if let State::Unreachable(trouble) = &report.state
            && !self.causes.iter().any(|cause| cause.hint() == trouble.cause.hint())
        {
            self.causes.push(trouble.cause);
        }
        let text = format!("{}: {}: {}", self.prog, self.labels[job], report.state);
        self.err(&[text.as_bytes()]);
    }

    fn idle(&mut self) {
        let flushed = self.out.flush();
        self.note(flushed);
    }

    fn closed(&self) -> bool {
        self.out.closed() || self.failed.is_some()
    }
}
