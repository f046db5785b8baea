//! `cexec`: run a command on many hosts (CMD-05, FO-03).

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::look::{self, Heads, Look};
use super::manner::{Counts, Manner};
use super::show::{Shape, Show};
use super::targets::{self, Outside, Targets};
use super::{chosts, gateways, replay, work};
use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::report::{self, Run};
use crate::fan::{Job, Report, State, Stop};
use crate::remote;
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cexec",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let dir = |name: &'static str, letter, help: &'static str| {
        Arg::new(name)
            .short(letter)
            .long(name)
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    let number = |name: &'static str, value: &'static str| {
        let parser = value_parser!(u32).range(1..);
        Arg::new(name).long(name).value_name(value).value_parser(parser)
    };
    let base = targets::arguments(crate::tools::base("cexec", "Run a command on many hosts"));
    look::arguments(gateways::arguments(work::arguments(base)))
        .arg(
            flag(
                "pdsh-status",
                "Exit with the worst remote status, 254 when a host was not reached",
            )
            .short('S'),
        )
        .arg(flag("gather", "Show the same answer once, under all hosts that gave it").short('b'))
        .arg(
            flag(
                "diff",
                "As --gather, but show of other answers only what differs from the most common",
            )
            .conflicts_with("json"),
        )
        .arg(flag(
            "live",
            "With --gather or --diff: show the lines as they come as well",
        ))
        .arg(
            flag(
                "normalize",
                "With --gather or --diff: a host's own name in its output counts as %h",
            )
            .conflicts_with_all(["json", "outdir", "errdir"]),
        )
        .arg(number("pick", "N").help("Act on N of the hosts, taken at random"))
        .arg(
            flag(
                "local",
                "Run the command on this machine, once for each host; see --subst",
            )
            .conflicts_with("retry"),
        )
        .arg(flag("no-gauge", "Do not show on the terminal how far the run is"))
        .arg(number("retries", "N").help("Try a host that is down or does not answer so many times more"))
        .arg(
            Arg::new("halt")
                .long("halt")
                .value_name("N|N%")
                .help("Stop all when so many hosts have failed"),
        )
        .arg(number("batch", "N").help("Serve the hosts in batches of N, one after the other"))
        .arg(
            number("delay", "SECONDS")
                .requires("batch")
                .help("Wait so long between two batches"),
        )
        .arg(flag("random", "Serve the hosts in random order"))
        .arg(flag("no-prefix", "Do not put the host before each line").short('N'))
        .arg(flag("json", "Print one JSON object per host"))
        .arg(dir("outdir", 'o', "Write each host's standard output to DIR/HOST"))
        .arg(dir("errdir", 'e', "Write each host's standard error to DIR/HOST"))
        .arg(
            Arg::new("report_loc")
                .long("report_loc")
                .alias("report-loc")
                .action(ArgAction::SetTrue)
                .help("Say on standard error where the report of this run is"),
        )
        .arg(
            Arg::new("retry")
                .long("retry")
                .value_name("WHICH")
                .value_parser(["failed", "succeeded", "unreachable", "all"])
                .help("Run the command of a report again on these of its hosts"),
        )
        .arg(
            Arg::new("report")
                .long("report")
                .value_name("FILE|N")
                .value_parser(value_parser!(PathBuf))
                .requires("retry")
                .help("The report for --retry, by its file or its number in --reports [default: 1, the newest]"),
        )
        .arg(flag(
            "mux-exit",
            "Close all connections that are kept, and say how many there were",
        ))
        .arg(flag("reports", "List the reports that are kept, the newest first"))
        .arg(
            Arg::new("words")
                .value_name("COMMAND")
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("The command and its arguments, joined with blanks and read by the remote shell"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    run(args, &Manner::own(TOOL.name))
}

/// The tool under its own or another name.
pub fn run(args: &[OsString], manner: &Manner) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    if let Some(exit) = gateways::relay(&matches)? {
        return Ok(exit);
    }
    let prog = manner.prog;
    let dir = report::place(&Paths::from_env());
    if matches.get_flag("reports") {
        return replay::reports(TOOL.name, &dir, matches.get_flag("json"));
    }
    if matches.get_flag("mux-exit") {
        return mux_exit();
    }
    let again = replay::again(TOOL.name, &matches, &dir)?;
    let mut targets = match &again {
        Some((hosts, run)) => Targets::again(&matches, hosts.clone(), run)?,
        None => Targets::find(&matches)?,
    };
    if matches.get_flag("local") {
        targets.local = true;
    }
    if let Some(&wanted) = matches.get_one::<u32>("pick") {
        targets.hosts = chosts::pick(targets.hosts, wanted as usize).map_err(internal)?;
    }
    if matches.get_flag("random") {
        let order = RandomState::new();
        targets.hosts.sort_by_cached_key(|host| order.hash_one(host));
    }
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let words: Vec<OsString> = match &again {
        Some((_, run)) => run.command.iter().map(OsString::from).collect(),
        None => {
            let words = matches.get_many::<OsString>("words");
            words.unwrap_or_default().cloned().collect()
        }
    };
    let gateways = gateways::chosen(&matches, &targets)?;
    let halt = halt(&matches, targets.hosts.len())?;
    let dirs = ["outdir", "errdir"].map(|name| matches.get_one::<PathBuf>(name).cloned());
    if let Some(dir) = dirs.iter().flatten().find(|dir| !dir.is_dir()) {
        return Err(Fail::usage(format!("{} is not a directory", dir.display())));
    }
    let (wrap, script) = work::wrap(&matches, again.as_ref().map(|(_, run)| run))?;
    if script.is_none() && words.iter().all(|word| word.is_empty()) {
        return Err(Fail::usage("no command given").hint("try 'cexec uptime'"));
    }
    if let Some(&tries) = matches.get_one::<u32>("retries") {
        targets.options.patience = tries;
    }
    let jobs = work::jobs(&matches, &targets, &words, &wrap)?;
    let started = jiff::Timestamp::now().to_string();
    let stop = Stop::catch().map_err(internal)?;
    let look = Look {
        diff: matches.get_flag("diff"),
        live: matches.get_flag("live"),
        normalize: matches.get_flag("normalize"),
        quiet: matches.get_flag("quiet"),
        gauge: !matches.get_flag("no-gauge"),
        keys: !matches.get_flag("stdin") && !targets.stdin_used,
        halt,
        heads: heads(&matches, manner),
    };
    let (shown, labels) = match matches.get_flag("short") {
        true => targets::without_domain(&targets.hosts),
        false => (targets.hosts.clone(), targets.labels()),
    };
    let outside = matches.get_flag("regroup").then(Outside::default);
    let mut show = Show::new(prog, shape(&matches), &shown, labels, dirs)
        .with(look)
        .regrouped(outside);
    let ended = batches(&matches, &jobs, &stop, &mut show, |batch, show| {
        gateways::run(batch, &gateways, &targets, &stop, show)
    });
    let ended = ended.map_err(internal)?;
    let run = Run {
        tool: TOOL.name.into(),
        command: words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        exact: words.iter().all(|word| word.to_str().is_some()),
        stdin: matches.get_flag("stdin"),
        script: script.map(|path| std::path::absolute(&path).unwrap_or(path).display().to_string()),
        sudo: wrap.sudo.is_some(),
        chdir: wrap.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()),
        env: wrap
            .env
            .iter()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect(),
        local: targets.local,
        user: targets.ssh.user.clone(),
        started,
        ended: jiff::Timestamp::now().to_string(),
        hosts: ended.iter().map(report::Line::from).collect(),
    };
    let written = report::write(&dir, &run);
    let halted = show.halted();
    let shown = show.finish();
    match written {
        Ok(path) if matches.get_flag("report_loc") => {
            stderr_line(&format!("{prog}: report: {}", path.display()));
        }
        Ok(_) => {}
        Err(e) => stderr_line(&format!("{prog}: cannot write a report to {}: {e}", dir.display())),
    }
    shown.map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    if halted && stop.signal().is_none() {
        let ended_early = ended
            .iter()
            .filter(|r| r.state == State::Cancelled && r.attempts > 0)
            .count();
        let waiting = ended.iter().filter(|r| r.attempts == 0).count();
        let failed = ended.iter().filter(|r| !r.state.is_ok()).count() - ended_early - waiting;
        stderr_line(&format!(
            "{prog}: halted: {failed} hosts failed, {ended_early} ended, {waiting} not begun"
        ));
    }
    let counts = match matches.get_flag("pdsh-status") {
        true => Counts::Instead {
            unreachable: 254,
            late: 254,
        },
        false => manner.counts,
    };
    Ok(super::status(prog, &ended, &stop, counts))
}

/// Runs all jobs, in batches where they are asked for. After a stop the batches that are left are only reported.
fn batches(
    matches: &ArgMatches,
    jobs: &[Job],
    stop: &Stop,
    show: &mut Show,
    mut run: impl FnMut(&[Job], &mut Show) -> io::Result<Vec<Report>>,
) -> io::Result<Vec<Report>> {
    let number = |name| matches.get_one::<u32>(name).map(|&n| n as usize);
    let size = number("batch").unwrap_or(jobs.len()).max(1);
    let pause = Duration::from_secs(number("delay").unwrap_or(0) as u64);
    let mut ended = Vec::with_capacity(jobs.len());
    for batch in jobs.chunks(size) {
        let begin = Instant::now();
        while !ended.is_empty() && begin.elapsed() < pause && stop.signal().is_none() && !show.halted() {
            std::thread::sleep(Duration::from_millis(50).min(pause - begin.elapsed().min(pause)));
        }
        show.first = ended.len();
        ended.extend(run(batch, show)?);
    }
    Ok(ended)
}

/// Closes the connections that are kept (`--mux-exit`).
fn mux_exit() -> Result<Exit, Fail> {
    let fail = |e: io::Error| Fail::new(Exit::Failed, "cannot close the kept connections").because(e);
    let count = remote::keep::close_all(&Paths::from_env()).map_err(fail)?;
    Out::stdout()
        .line(format!("{count} connections closed"))
        .map_err(fail)?;
    Ok(Exit::Done)
}

/// How many failed hosts stop the rest (`--halt`).
fn halt(matches: &ArgMatches, hosts: usize) -> Result<Option<usize>, Fail> {
    let Some(text) = matches.get_one::<String>("halt") else {
        return Ok(None);
    };
    let wrong = || {
        Fail::usage(format!(
            "--halt: '{text}' is neither a number of hosts nor a percentage"
        ))
    };
    let most = match text.strip_suffix('%') {
        None => text.parse::<usize>().map_err(|_| wrong())?,
        Some(percent) => {
            let percent = percent.parse::<usize>().map_err(|_| wrong())?;
            if percent > 100 {
                return Err(wrong());
            }
            (hosts * percent).div_ceil(100)
        }
    };
    if most == 0 {
        return Err(wrong());
    }
    Ok(Some(most))
}

pub(super) fn internal(error: io::Error) -> Fail {
    Fail::new(Exit::Internal, "cannot run anything").because(error)
}

fn heads(matches: &ArgMatches, manner: &Manner) -> Heads {
    let mut heads = manner.heads.clone();
    if matches.get_flag("lines") {
        heads.dashes = 0;
    }
    heads.color = look::colors(matches);
    heads
}

fn shape(matches: &ArgMatches) -> Shape {
    let flag = |name| matches.get_flag(name);
    match () {
        () if flag("json") => Shape::Json,
        () if flag("gather") || flag("diff") => Shape::Gathered,
        () if flag("lines") => Shape::Ordered,
        () if flag("no-prefix") => Shape::Bare,
        () => Shape::Tagged,
    }
}
