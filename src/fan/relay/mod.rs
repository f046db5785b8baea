//! Many hosts through a few: each gateway serves its share of them with the suite it has itself, and says here, a frame
//! a line, what they answer.
//!
//! All gateways get the same *order* on their standard input: one line of JSON, then what the commands read. The end of
//! that input is the end of the connection: the gateway stops what it runs.

mod far;
mod near;

pub use far::serve;
pub use near::run;

use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use bstr::{BString, ByteSlice, ByteVec};
use serde::{Deserialize, Serialize};

use super::{Input, Job, Options, Report, State, Stream};
use crate::hosts::Host;
use crate::remote::{Mark, Ssh};

/// The first line of a gateway; what comes before is the chatter of a login.
const GREETING: &[u8] = b"dsau relay 1";

/// The longest order, in bytes: 100,000 hosts with a command of their own each.
const ORDER_LIMIT: u64 = 256 << 20;

/// The version of an order.
const VERSION: u32 = 2;

/// What all gateways are told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    version: u32,
    /// Each host and its command, by number.
    hosts: Vec<(String, usize)>,
    /// The commands, their bytes escaped.
    commands: Vec<String>,
    connect_seconds: u32,
    user: Option<String>,
    ssh_options: Vec<String>,
    window: usize,
    command_timeout: Option<Duration>,
    retries: u32,
    patience: u32,
    mark: Option<Mark>,
    reads: Reads,
    /// How many bytes follow for the commands to read.
    size: u64,
}

/// As [`Input`], without the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Reads {
    Nothing,
    Held,
    Spool,
    Fed,
}

impl Order {
    /// The order for jobs that all read the same; the ssh of each gateway takes the options of ours.
    fn of(jobs: &[Job], ssh: &Ssh, options: &Options) -> io::Result<Order> {
        let mut commands = Vec::new();
        let mut hosts = Vec::with_capacity(jobs.len());
        let mut last: Option<OsString> = None;
        for job in jobs {
            let command = job.remote_command();
            let command = command.ok_or_else(|| io::Error::other("a gateway cannot run a command of this machine"))?;
            if last.as_ref() != Some(&command) {
                commands.push(command.as_bytes().escape_bytes().to_string());
                last = Some(command);
            }
            hosts.push((job.host.to_string(), commands.len() - 1));
        }
        let (reads, size) = match jobs.first().map(|job| &job.input) {
            None | Some(Input::Nothing) => (Reads::Nothing, 0),
            Some(Input::Held) => (Reads::Held, 0),
            Some(Input::Spool(spool)) => (Reads::Spool, spool.size()?),
            Some(Input::Fed(spool)) => (Reads::Fed, spool.size()?),
            Some(Input::Talk(_)) => return Err(io::Error::other("a gateway cannot hold a conversation")),
        };
        Ok(Order {
            version: VERSION,
            hosts,
            commands,
            connect_seconds: ssh.connect_seconds,
            user: ssh.user.clone(),
            ssh_options: ssh.options.clone(),
            window: options.window,
            command_timeout: options.command_timeout,
            retries: options.retries,
            patience: options.patience,
            mark: options.mark.clone(),
            reads,
            size,
        })
    }

    fn read(input: &mut dyn BufRead) -> io::Result<Order> {
        let mut line = Vec::new();
        input.take(ORDER_LIMIT).read_until(b'\n', &mut line)?;
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let order: Order = serde_json::from_slice(&line).map_err(|e| wrong(format!("not an order: {e}")))?;
        if order.version != VERSION || order.hosts.iter().any(|(_, at)| *at >= order.commands.len()) {
            return Err(wrong("not an order of this version".into()));
        }
        Ok(order)
    }

    fn command(&self, at: usize) -> OsString {
        OsString::from_vec(Vec::unescape_bytes(&self.commands[at]))
    }
}

/// The share of gateway `number` out of `all`, counted from 1, of so many hosts: one piece of the list.
fn share(number: usize, all: usize, hosts: usize) -> Range<usize> {
    let begin = |number: usize| hosts * number / all.max(1);
    begin(number.saturating_sub(1))..begin(number)
}

/// One thing a gateway says. Hosts are numbers in the order.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Started(usize),
    /// A line, or the beginning of one that is longer than a frame.
    Line(usize, Stream, BString, bool),
    Done(usize, Ended),
}

/// A report without its host.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    state: State,
    took: Duration,
    attempts: u32,
}

impl From<&Report> for Ended {
    fn from(report: &Report) -> Self {
        Ended {
            state: report.state.clone(),
            took: report.took,
            attempts: report.attempts,
        }
    }
}

impl Frame {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        match self {
            Frame::Started(job) => write!(out, "s {job} ")?,
            Frame::Line(job, stream, text, whole) => {
                let kind = match (stream, whole) {
                    (Stream::Out, true) => 'o',
                    (Stream::Out, false) => 'O',
                    (Stream::Err, true) => 'e',
                    (Stream::Err, false) => 'E',
                };
                write!(out, "{kind} {job} ")?;
                out.write_all(text)?;
            }
            Frame::Done(job, ended) => {
                write!(out, "d {job} ")?;
                serde_json::to_writer(&mut *out, ended)?;
            }
        }
        out.write_all(b"\n")
    }

    /// Reads a line; none: it is not a frame.
    fn read(line: &[u8]) -> Option<Frame> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (kind, job, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let job = job.to_str().ok()?.parse().ok()?;
        let text = |stream, whole| Frame::Line(job, stream, rest.into(), whole);
        Some(match kind {
            b"s" => Frame::Started(job),
            b"o" => text(Stream::Out, true),
            b"O" => text(Stream::Out, false),
            b"e" => text(Stream::Err, true),
            b"E" => text(Stream::Err, false),
            b"d" => Frame::Done(job, serde_json::from_slice(rest).ok()?),
            _ => return None,
        })
    }
}

/// The host of a job of an order.
fn host(text: &str) -> io::Result<Host> {
    Host::parse(text).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests;
