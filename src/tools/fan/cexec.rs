//! `cexec`: run a command on many hosts (CMD-05, FO-03).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::show::{Shape, Show};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::report::{self, Kind, Run, Which};
use crate::fan::{self, Input, Job, Spool, Stop};
use crate::hosts::Host;
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
    targets::arguments(crate::tools::base("cexec", "Run a command on many hosts"))
        .arg(
            flag(
                "pdsh-status",
                "Exit with the worst remote status, 254 when a host was not reached",
            )
            .short('S'),
        )
        .arg(flag("gather", "Show the same output once, under all hosts that gave it").short('b'))
        .arg(flag("no-prefix", "Do not put the host before each line").short('N'))
        .arg(flag("json", "Print one JSON object per host"))
        .arg(dir("outdir", 'o', "Write each host's standard output to DIR/HOST"))
        .arg(dir("errdir", 'e', "Write each host's standard error to DIR/HOST"))
        .arg(flag("stdin", "Give standard input to the command on every host"))
        .arg(flag(
            "detach",
            "Leave remote processes alone when the connection ends; run the command without any wrapping",
        ))
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
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .requires("retry")
                .help("The report for --retry [default: the newest]"),
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
    let matches = crate::tools::parse(&TOOL, args)?;
    let dir = report::place(&Paths::from_env());
    if matches.get_flag("reports") {
        return reports(&dir);
    }
    if matches.get_flag("mux-exit") {
        return mux_exit();
    }
    let again = again(&matches, &dir)?;
    let targets = match &again {
        Some((hosts, run)) => Targets::again(&matches, hosts.clone(), run)?,
        None => Targets::find(&matches)?,
    };
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
    if words.iter().all(|word| word.is_empty()) {
        return Err(Fail::usage("no command given").hint("try 'cexec uptime'"));
    }
    let dirs = ["outdir", "errdir"].map(|name| matches.get_one::<PathBuf>(name).cloned());
    if let Some(dir) = dirs.iter().flatten().find(|dir| !dir.is_dir()) {
        return Err(Fail::usage(format!("{} is not a directory", dir.display())));
    }
    let jobs = jobs(&matches, &targets, &words)?;
    let started = jiff::Timestamp::now().to_string();
    let stop = Stop::catch().map_err(internal)?;
    let mut show = Show::new(TOOL.name, shape(&matches), &targets.hosts, targets.labels(), dirs);
    let ended = fan::run(&jobs, &targets.options, Some(&stop), &mut show).map_err(internal)?;
    let run = Run {
        tool: TOOL.name.into(),
        command: words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        exact: words.iter().all(|word| word.to_str().is_some()),
        stdin: matches.get_flag("stdin"),
        local: targets.local,
        user: targets.ssh.user.clone(),
        started,
        ended: jiff::Timestamp::now().to_string(),
        hosts: ended.iter().map(report::Line::from).collect(),
    };
    let written = report::write(&dir, &run);
    let shown = show.finish();
    match written {
        Ok(path) if matches.get_flag("report_loc") => {
            stderr_line(&format!("{}: report: {}", TOOL.name, path.display()));
        }
        Ok(_) => {}
        Err(e) => stderr_line(&format!(
            "{}: cannot write a report to {}: {e}",
            TOOL.name,
            dir.display()
        )),
    }
    shown.map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    Ok(super::status(TOOL.name, &ended, &stop, matches.get_flag("pdsh-status")))
}

/// The hosts and the run to repeat (`--retry`).
fn again(matches: &ArgMatches, dir: &Path) -> Result<Option<(Vec<Host>, Run)>, Fail> {
    let Some(which) = matches.get_one::<String>("retry") else {
        return Ok(None);
    };
    if matches.contains_id("words") || matches.contains_id("hosts") {
        return Err(Fail::usage("--retry takes the command and the hosts from the report"));
    }
    let unusable = |e: &dyn std::fmt::Display| Fail::new(Exit::Policy, "cannot use the report").because(e);
    let path = match matches.get_one::<PathBuf>("report") {
        Some(path) => path.clone(),
        None => {
            let all = report::list(dir, TOOL.name).map_err(|e| unusable(&e))?;
            let newest = all.into_iter().next();
            newest.ok_or_else(|| Fail::usage("there is no report yet"))?
        }
    };
    let shown = path.display();
    let run = report::read(&path).map_err(|e| unusable(&format!("{shown}: {e}")))?;
    if !run.exact {
        return Err(unusable(&format!("{shown}: its command is not UTF-8 text")));
    }
    if run.stdin && !matches.get_flag("stdin") {
        return Err(
            unusable(&format!("{shown}: its command read standard input, which is not kept"))
                .hint("give it again with --stdin"),
        );
    }
    let hosts = run
        .select(match which.as_str() {
            "failed" => Which::Failed,
            "succeeded" => Which::Succeeded,
            "unreachable" => Which::Unreachable,
            _ => Which::All,
        })
        .map_err(|e| unusable(&format!("{shown}: {e}")))?;
    Ok(Some((hosts, run)))
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

/// Lists the reports (`--reports`).
fn reports(dir: &Path) -> Result<Exit, Fail> {
    let fail = |e: io::Error| Fail::new(Exit::Failed, "cannot list the reports").because(e);
    let mut out = Out::stdout();
    for path in report::list(dir, TOOL.name).map_err(fail)? {
        let text = match report::read(&path) {
            Ok(run) => format!(
                "{}  {} succeeded, {} failed, {} unreachable  {}\n    {}",
                run.started,
                run.count(Kind::Succeeded),
                run.count(Kind::Failed),
                run.count(Kind::Unreachable) + run.count(Kind::Stopped),
                run.command.join(" "),
                path.display()
            ),
            Err(error) => format!("{}: {error}", path.display()),
        };
        out.line(text).map_err(fail)?;
    }
    Ok(Exit::Done)
}

fn internal(error: io::Error) -> Fail {
    Fail::new(Exit::Internal, "cannot run anything").because(error)
}

fn shape(matches: &ArgMatches) -> Shape {
    let flag = |name| matches.get_flag(name);
    match () {
        () if flag("json") => Shape::Json,
        () if flag("gather") => Shape::Gathered,
        () if flag("no-prefix") => Shape::Bare,
        () => Shape::Tagged,
    }
}

fn jobs(matches: &ArgMatches, targets: &Targets, words: &[OsString]) -> Result<Vec<Job>, Fail> {
    let (command, input) = if matches.get_flag("stdin") {
        if targets.stdin_used {
            return Err(Fail::usage(
                "standard input cannot be both the list of hosts and the input of the command",
            ));
        }
        let spool = Spool::fill(&mut io::stdin().lock())
            .map_err(|e| Fail::new(Exit::Internal, "cannot keep standard input").because(e))?;
        (words.to_vec(), Input::Spool(Arc::new(spool)))
    } else if matches.get_flag("detach") || targets.local {
        (words.to_vec(), Input::Nothing)
    } else {
        (remote::tied(words), Input::Held)
    };
    let job = |host| Job {
        launch: targets.launch(host, &command),
        host: host.clone(),
        input: input.clone(),
    };
    Ok(targets.hosts.iter().map(job).collect())
}
