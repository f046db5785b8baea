//! `cexec`: run a command on many hosts (CMD-05, FO-03).

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::look::{self, Heads};
use super::manner::Manner;
use super::once::{self, Call};
use super::show::Shape;
use super::targets::{self, Targets};
use super::{chosts, gateways, prompt, replay, work};
use crate::diag::{Exit, Fail, Out};
use crate::fan::{Stop, report};
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
    replay::arguments(look::arguments(gateways::arguments(work::arguments(base))))
        .arg(
            flag(
                "pdsh-status",
                "Exit with the worst remote status, 254 when a host was not reached",
            )
            .short('S'),
        )
        .arg(
            flag(
                "interactive",
                "Read commands from a prompt, or one a line from standard input",
            )
            .short('i')
            .conflicts_with_all(["words", "stdin", "script", "retry", "reports", "mux-exit"]),
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
        .arg(flag(
            "mux-exit",
            "Close all connections that are kept, and say how many there were",
        ))
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
    let again = replay::again(TOOL.name, &matches, &dir, ("words", "the command"))?;
    let mut targets = match &again {
        Some((hosts, run)) => Targets::again(&matches, hosts.clone(), run)?,
        None => Targets::find(&matches)?,
    };
    if matches.get_flag("local") {
        targets.local = true;
    }
    if let Some(&wanted) = matches.get_one::<u32>("pick") {
        targets.hosts = chosts::pick(targets.hosts, wanted as usize).map_err(once::internal)?;
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
    let dirs = ["outdir", "errdir"].map(|name| matches.get_one::<PathBuf>(name).cloned());
    if let Some(dir) = dirs.iter().flatten().find(|dir| !dir.is_dir()) {
        return Err(Fail::usage(format!("{} is not a directory", dir.display())));
    }
    once::halt(&matches, targets.hosts.len())?;
    let interactive = matches.get_flag("interactive");
    if interactive && targets.stdin_used {
        return Err(Fail::usage(
            "standard input cannot be both the list of hosts and the commands",
        ));
    }
    let (wrap, script) = work::wrap(&matches, again.as_ref().map(|(_, run)| run))?;
    if !interactive && script.is_none() && words.iter().all(|word| word.is_empty()) {
        return Err(Fail::usage("no command given").hint("try 'cexec uptime', or 'cexec -i' for a prompt"));
    }
    if let Some(&tries) = matches.get_one::<u32>("retries") {
        targets.options.patience = tries;
    }
    let call = Call {
        prog,
        matches: &matches,
        wrap,
        script,
        dirs,
        gateways,
        heads: heads(&matches, manner),
        counts: manner.counts,
        reports: dir,
        stop: Stop::catch().map_err(once::internal)?,
    };
    let shape = shape(&matches, true);
    match interactive {
        true => prompt::run(&call, targets, shape),
        false => Ok(call.run(&targets, &words, shape)?.status),
    }
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

fn heads(matches: &ArgMatches, manner: &Manner) -> Heads {
    let mut heads = manner.heads.clone();
    if matches.get_flag("lines") {
        heads.dashes = 0;
    }
    heads.color = look::colors(matches);
    heads
}

/// The shape of the output; `gather` decides whether it may be the gathered one.
pub(super) fn shape(matches: &ArgMatches, gather: bool) -> Shape {
    let flag = |name| matches.get_flag(name);
    match () {
        () if flag("json") => Shape::Json,
        () if gather && (flag("gather") || flag("diff")) => Shape::Gathered,
        () if flag("lines") => Shape::Ordered,
        () if flag("no-prefix") => Shape::Bare,
        () => Shape::Tagged,
    }
}
