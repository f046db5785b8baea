//! Hosts that are reached through gateways: `cexec --gateway LIST`.

use std::io;

use clap::{Arg, ArgMatches};

use super::targets::{Outside, Targets, refused};
use crate::diag::{Exit, Fail};
use crate::fan::{self, Job, Report, Sink, Stop, relay};
use crate::hosts::{self, Host};

/// `--gateway`, and what a gateway is started with.
pub fn arguments(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("gateway")
                .long("gateway")
                .value_name("LIST")
                .help("Share the hosts out among these, which run the command on them and pass on what they say"),
        )
        .arg(
            Arg::new("relay")
                .long("relay")
                .value_name("N/M")
                .hide(true)
                .exclusive(true),
        )
}

/// As a gateway: serves the share that was asked for. None: it is no gateway that is wanted.
pub fn relay(matches: &ArgMatches) -> Result<Option<Exit>, Fail> {
    let Some(text) = matches.get_one::<String>("relay") else {
        return Ok(None);
    };
    let share = text.split_once('/').map(|(number, all)| (number.parse(), all.parse()));
    let Some((Ok(number), Ok(all))) = share.filter(|share| matches!(share, (Ok(1..), Ok(1..)))) else {
        return Err(Fail::usage(format!("--relay: '{text}' is not a share")));
    };
    let stop = Stop::catch().map_err(super::once::internal)?;
    relay::serve(number, all, &stop).map_err(|e| Fail::new(Exit::Internal, "no order came").because(e))?;
    Ok(Some(Exit::Done))
}

/// The gateways that are asked for; none: the hosts are reached from here.
pub fn chosen(matches: &ArgMatches, targets: &Targets) -> Result<Vec<Host>, Fail> {
    let Some(text) = matches.get_one::<String>("gateway") else {
        return Ok(Vec::new());
    };
    if targets.local {
        return Err(Fail::usage("a command of this machine needs no gateway"));
    }
    let set = hosts::expand_with(text, &mut Outside::default()).map_err(|e| refused(Some("--gateway"), &e))?;
    match set.is_empty() {
        true => Err(Fail::usage("--gateway: the list is empty")),
        false => Ok(set.into_iter().collect()),
    }
}

/// Runs jobs through these gateways, or from here when there are none.
pub fn run(
    jobs: &[Job],
    gateways: &[Host],
    targets: &Targets,
    stop: &Stop,
    sink: &mut dyn Sink,
) -> io::Result<Vec<Report>> {
    match gateways {
        [] => fan::run(jobs, &targets.options, Some(stop), sink),
        _ => relay::run(jobs, gateways, &targets.ssh, &targets.options, Some(stop), sink),
    }
}
