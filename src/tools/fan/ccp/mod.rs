//! `ccp`: copy files to many hosts (CMD-06, FO-04).

mod rcopy;
mod record;
mod tree;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::json;

use super::look::Look;
use super::replay;
use super::show::{Shape, Show};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail, stderr_line};
use crate::fan::copy::{Delivery, Order, Outcome, Parcel};
use crate::fan::{self, Job, Report, Stop};
use crate::hosts::Host;
use crate::tools::{Place, Tool};
use record::Record;

/// From how many bytes on it pays to ask which ssh this is.
const MUCH: u64 = 1 << 20;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "ccp",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    let long = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let flag = |name, letter, help| long(name, help).short(letter);
    replay::arguments(targets::arguments(crate::tools::base(
        "ccp",
        "Copy files to many hosts",
    )))
    .mut_arg("dry-run", |arg| arg.long("list-hosts"))
    .arg(flag("recursive", 'r', "Copy directories with all that is in them"))
    .arg(flag("preserve", 'p', "Keep owner, group and time of the source"))
    .arg(long("delete", "Remove what is in a directory there and not in the one here").requires("recursive"))
    .arg(
        Arg::new("recon")
            .short('n')
            .long("dry-run")
            .action(ArgAction::SetTrue)
            .help("Change nothing; say what would be done on each host"),
    )
    .arg(long(
        "same-path",
        "Copy each source to its own path on the hosts; the default for one source alone",
    ))
    .arg(long(
        "per-host",
        "In the names of sources %h stands for the host: each gets a file of its own",
    ))
    .arg(long(
        "rcopy",
        "Copy from the hosts: SOURCE... of each come into the directory TARGET here, as NAME.HOST",
    ))
    .arg(
        Arg::new("tree")
            .long("tree")
            .value_name("N")
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(value_parser!(u32).range(1..))
            .conflicts_with_all(["per-host", "rcopy", "recon"])
            .help("Let N hosts that have it pass it on to the others [default: the square root of their number]"),
    )
    .arg(Arg::new("source-name").long("source-name").hide(true))
    .arg(long("json", "Print one JSON object per host"))
    .arg(
        Arg::new("paths")
            .value_name("SOURCE... TARGET")
            .num_args(1..)
            .value_parser(value_parser!(OsString))
            .help("What to copy, and where to on the hosts: a file name, or a directory that exists"),
    )
}

/// What goes to one place.
struct Trip<'a> {
    sources: Vec<&'a OsStr>,
    target: BString,
    into: bool,
}

/// Which sources go where, from the words of the command line.
fn trips<'a>(matches: &ArgMatches, paths: &'a [&OsString]) -> Result<Vec<Trip<'a>>, Fail> {
    let same = matches.get_flag("same-path") || paths.len() == 1;
    let (sources, target) = match paths {
        [] => {
            return Err(Fail::usage("something to copy is needed").hint("try 'ccp FILE... TARGET'"));
        }
        all if same => (all, None),
        [sources @ .., target] => (sources, Some(target)),
    };
    if paths.iter().any(|path| path.is_empty()) {
        return Err(Fail::usage("an empty name can be neither source nor target"));
    }
    let Some(target) = target else {
        let mut places: BTreeMap<PathBuf, Vec<&OsStr>> = BTreeMap::new();
        for source in sources {
            let fail = |e: io::Error| Fail::new(Exit::Failed, Path::new(source).display()).because(e);
            let mut path = std::path::absolute(source).map_err(fail)?;
            if path.file_name().is_none() {
                path = path.canonicalize().map_err(fail)?;
            }
            let place = path.parent().unwrap_or(Path::new("/")).to_path_buf();
            places.entry(place).or_default().push(source.as_os_str());
        }
        let trip = |(place, sources): (PathBuf, Vec<&'a OsStr>)| Trip {
            sources,
            target: place.into_os_string().into_vec().into(),
            into: true,
        };
        return Ok(places.into_iter().map(trip).collect());
    };
    Ok(vec![Trip {
        // Several sources were named, so the target is a directory, even if only one of them can be read.
        into: sources.len() > 1,
        sources: sources.iter().map(|source| source.as_os_str()).collect(),
        target: target.as_bytes().into(),
    }])
}

/// Collects what goes on a trip; for one host where each has its own files. Says what cannot go.
fn collect(matches: &ArgMatches, trip: &Trip<'_>, host: Option<&str>, missing: &mut bool) -> Parcel {
    let mut parcel = Parcel::new();
    for source in &trip.sources {
        let bytes = source.as_bytes();
        let (path, name) = match host {
            None => {
                let name = matches
                    .get_one::<String>("source-name")
                    .filter(|_| trip.sources.len() == 1);
                (PathBuf::from(source), name.map(|name| BString::from(name.as_str())))
            }
            Some(host) => {
                let own = bytes
                    .strip_suffix(b"/")
                    .unwrap_or(bytes)
                    .rsplit(|&b| b == b'/')
                    .next()
                    .unwrap_or_default();
                // What `--rcopy` called NAME.HOST is called NAME again.
                let name = own.strip_suffix(b".%h").filter(|name| !name.is_empty()).unwrap_or(own);
                (
                    PathBuf::from(OsString::from_vec(bytes.replace(b"%h", host))),
                    Some(BString::from(name.replace(b"%h", host))),
                )
            }
        };
        let name = name.as_ref().map(|name| name.as_bstr());
        parcel.add(&path, name as Option<&BStr>, matches.get_flag("recursive"));
    }
    for note in parcel.troubles().iter().chain(parcel.notes()) {
        stderr_line(&format!("{}: {note}", TOOL.name));
    }
    *missing |= !parcel.troubles().is_empty();
    parcel
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let mut matches = crate::tools::parse(&TOOL, args)?;
    let reports = record::place();
    if matches.get_flag("reports") {
        return replay::reports(TOOL.name, &reports, matches.get_flag("json"));
    }
    let mut targets = match replay::again(TOOL.name, &matches, &reports, ("paths", "what to copy"))? {
        Some((hosts, run)) => {
            matches = record::resume(args, &matches, &run)?;
            Targets::again(&matches, hosts, &run)?
        }
        None => Targets::find(&matches)?,
    };
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let paths: Vec<&OsString> = matches.get_many::<OsString>("paths").unwrap_or_default().collect();
    let large = |path: &&&OsString| std::fs::metadata(path).is_ok_and(|meta| meta.is_dir() || meta.len() >= MUCH);
    if matches.get_flag("rcopy") || paths.iter().any(|path| large(&path)) {
        Arc::make_mut(&mut targets.ssh).for_much();
    }
    let internal = |e: io::Error| Fail::new(Exit::Internal, "cannot run anything").because(e);
    let stop = Stop::catch().map_err(internal)?;
    let mut record = Record::begin(&matches, &targets, &paths);
    let ended = match matches.get_flag("rcopy") {
        true => rcopy::run(&matches, &targets, &paths, &stop, &mut record),
        false => travel_all(&matches, &targets, &paths, &stop, &mut record),
    };
    record.write(&matches);
    ended
}

fn travel_all(
    matches: &ArgMatches,
    targets: &Targets,
    paths: &[&OsString],
    stop: &Stop,
    record: &mut Record,
) -> Result<Exit, Fail> {
    let mut worst = Exit::Done;
    for trip in trips(matches, paths)? {
        if stop.signal().is_some() {
            record.cut_short();
            break;
        }
        let ended = travel(matches, targets, &trip, stop, record)?;
        if ended.code() > worst.code() {
            worst = ended;
        }
    }
    Ok(worst)
}

fn travel(
    matches: &ArgMatches,
    targets: &Targets,
    trip: &Trip<'_>,
    stop: &Stop,
    record: &mut Record,
) -> Result<Exit, Fail> {
    let order = Order {
        target: trip.target.clone(),
        into: trip.into,
        keep: matches.get_flag("preserve"),
        delete: matches.get_flag("delete"),
        dry: matches.get_flag("recon"),
    };
    let mut missing = false;
    let mut deliveries: Vec<Option<Arc<Delivery>>> = Vec::new();
    if matches.get_flag("per-host") {
        for host in &targets.hosts {
            let parcel = collect(matches, trip, Some(&host.name), &mut missing);
            deliveries.push((parcel.count() > 0).then(|| Delivery::new(parcel, order.clone())));
        }
    } else {
        let parcel = collect(matches, trip, None, &mut missing);
        let delivery = (parcel.count() > 0).then(|| Delivery::new(parcel, order));
        deliveries.resize(targets.hosts.len(), delivery);
    }
    // A host that has no file of its own is not called.
    let served = targets.hosts.iter().zip(targets.labels()).zip(deliveries);
    let served = served.filter_map(|((host, label), delivery)| Some((host.clone(), label, delivery?)));
    let served: Vec<Served> = served.collect();
    if served.is_empty() {
        return Err(Fail::silent(Exit::Failed));
    }
    let mut show = show(matches, &served);
    let known: Vec<Arc<Delivery>> = served.iter().map(|(.., delivery)| Arc::clone(delivery)).collect();
    let target = trip.target.to_string();
    show.more = Some(Box::new(move |job| more(&target, known[job].outcome(job))));
    let mut all: Vec<Arc<Delivery>> = served.iter().map(|(.., delivery)| Arc::clone(delivery)).collect();
    all.dedup_by(|a, b| Arc::ptr_eq(a, b));
    show.follow(Box::new(move || progress(&all)));
    let reports = match tree::relays(matches, served.len()) {
        Some(relays) => tree::run(
            matches,
            targets,
            trip.target.as_bstr(),
            &served,
            relays,
            stop,
            &mut show,
        )?,
        None => deliver(targets, &served, 0, stop, &mut show)?,
    };
    record.add(&reports);
    show.finish()
        .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    let worst = super::status(TOOL.name, &reports, stop, super::manner::Counts::Own);
    Ok(match worst.code() {
        0 if missing => Exit::Failed,
        _ => worst,
    })
}

/// A host, how it is called, and what it gets.
type Served = (Host, String, Arc<Delivery>);

fn show(matches: &ArgMatches, served: &[Served]) -> Show {
    let hosts: Vec<Host> = served.iter().map(|(host, ..)| host.clone()).collect();
    let labels = served.iter().map(|(_, label, _)| label.clone()).collect();
    display(matches, &hosts, labels)
}

/// How hosts are shown, with a gauge on a terminal.
fn display(matches: &ArgMatches, hosts: &[Host], labels: Vec<String>) -> Show {
    let shape = match matches.get_flag("json") {
        true => Shape::Json,
        false => Shape::Tagged,
    };
    let look = Look {
        gauge: true,
        ..Look::default()
    };
    Show::new(TOOL.name, shape, hosts, labels, [None, None]).with(look)
}

/// Delivers to these hosts, the first of which has this number among all.
fn deliver(
    targets: &Targets,
    served: &[Served],
    first: usize,
    stop: &Stop,
    show: &mut Show,
) -> Result<Vec<Report>, Fail> {
    let mut command: Option<(Arc<Delivery>, Arc<[OsString]>)> = None;
    let job = |(host, _, delivery): &Served| {
        let words = match &command {
            Some((known, words)) if Arc::ptr_eq(known, delivery) => words,
            _ => &command.insert((Arc::clone(delivery), delivery.command().into())).1,
        };
        targets.job(host, words, delivery.input(first))
    };
    let jobs: Vec<Job> = served.iter().map(job).collect();
    show.first = first;
    fan::run(&jobs, &targets.options, Some(stop), show)
        .map_err(|e| Fail::new(Exit::Internal, "cannot run anything").because(e))
}

/// How much of what is to be sent is on its way.
fn progress(deliveries: &[Arc<Delivery>]) -> String {
    let parts = deliveries.iter().map(|delivery| delivery.progress());
    let (done, all) = parts.fold((0, 0), |(a, b), (done, all)| (a + done, b + all));
    match all {
        0 => String::new(),
        _ => format!(" {} of {} MB sent,", done / 1_000_000, all.div_ceil(1_000_000)),
    }
}

/// What JSON says of a host besides.
fn more(target: &str, outcome: Outcome) -> serde_json::Map<String, serde_json::Value> {
    let fields = [
        ("target", json!(target)),
        ("sent", json!(outcome.sent)),
        ("unchanged", json!(outcome.same)),
        ("removed", json!(outcome.removed)),
        ("bytes", json!(outcome.bytes)),
        ("resumed", json!(outcome.resumed)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}
