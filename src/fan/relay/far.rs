//! The side of the gateway: takes an order, runs its share, tells what it sees.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::super::{Input, Job, LINE_LIMIT, Options, Report, Sink, Spool, Stop, Stream};
use super::{Frame, GREETING, Order, Reads, host, share};
use crate::hosts::Host;
use crate::remote::Ssh;

/// The longest text in one frame, in bytes: with what is around it, a frame is a line that is kept whole.
const TEXT_LIMIT: usize = LINE_LIMIT - 64;

/// Serves share `number` out of `all` of the order on standard input, with frames on standard output, until all is done
/// or standard input ends.
pub fn serve(number: usize, all: usize, stop: &Stop) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    out.write_all(GREETING)?;
    out.write_all(b"\n")?;
    out.flush()?;
    // Not the reader of the library: what comes after the order is the sign of the end, and must not be taken early.
    let mut input = BufReader::new(std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let order = Order::read(&mut input)?;
    let spool = match order.reads {
        Reads::Nothing | Reads::Held => None,
        // What is fed may be a password.
        Reads::Fed => Some(Spool::in_memory()?),
        Reads::Spool => Some(Spool::new()?),
    };
    let spool = match spool {
        Some(mut spool) => {
            let got = io::copy(&mut (&mut input).take(order.size), &mut spool)?;
            if got != order.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Some(Arc::new(spool))
        }
        None => None,
    };
    let reads = match (order.reads, spool) {
        (Reads::Spool, Some(spool)) => Input::Spool(spool),
        (Reads::Fed, Some(spool)) => Input::Fed(spool),
        (Reads::Held, _) => Input::Held,
        _ => Input::Nothing,
    };
    let ssh = Arc::new(Ssh {
        connect_seconds: order.connect_seconds,
        user: order.user.clone(),
        options: order.ssh_options.clone(),
        ..Ssh::default()
    });
    let commands: Vec<Arc<[_]>> = (0..order.commands.len()).map(|at| [order.command(at)].into()).collect();
    let range = share(number, all, order.hosts.len());
    let jobs = order.hosts[range.clone()]
        .iter()
        .map(|(name, command)| Ok(Job::over(&ssh, host(name)?, &commands[*command], reads.clone())));
    let jobs = jobs.collect::<io::Result<Vec<Job>>>()?;
    let options = Options {
        window: order.window.clamp(1, super::super::widest_window()),
        command_timeout: order.command_timeout,
        retries: order.retries,
        patience: order.patience,
        mark: order.mark.clone(),
        apart: false,
    };
    let mut teller = Teller {
        out,
        first: range.start,
        input: Some(input.into_inner().into()),
        gone: false,
    };
    super::super::run(&jobs, &options, Some(stop), &mut teller)?;
    Ok(())
}

struct Teller<W: Write> {
    out: W,
    first: usize,
    input: Option<OwnedFd>,
    gone: bool,
}

impl<W: Write> Teller<W> {
    fn tell(&mut self, frame: &Frame) {
        if !self.gone && frame.write(&mut self.out).is_err() {
            self.gone = true;
        }
    }
}

impl<W: Write> Sink for Teller<W> {
    fn line(&mut self, job: usize, _: &Host, stream: Stream, line: &[u8]) {
        let mut rest = line;
        while rest.len() > TEXT_LIMIT {
            let (head, tail) = rest.split_at(TEXT_LIMIT);
            self.tell(&Frame::Line(self.first + job, stream, head.into(), false));
            rest = tail;
        }
        self.tell(&Frame::Line(self.first + job, stream, rest.into(), true));
    }

    fn started(&mut self, job: usize) {
        self.tell(&Frame::Started(self.first + job));
    }

    fn done(&mut self, job: usize, report: &Report) {
        self.tell(&Frame::Done(self.first + job, report.into()));
    }

    fn idle(&mut self) {
        self.gone |= self.out.flush().is_err();
    }

    fn closed(&self) -> bool {
        self.gone
    }

    fn watch(&mut self) -> Vec<OwnedFd> {
        let copy = self.input.as_ref().and_then(|fd| fd.try_clone().ok());
        copy.into_iter().collect()
    }

    /// Standard input says nothing more; when it can be read, it is at its end.
    fn woken(&mut self) -> bool {
        let mut byte = [0];
        let read = self.input.as_ref().map(|fd| nix::unistd::read(fd, &mut byte));
        self.gone |= !matches!(read, Some(Ok(1..)));
        !self.gone
    }
}
