//! `cexec`: run a command on many hosts (CMD-05, FO-03).

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::show::{Shape, Show};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail, Out};
use crate::fan::{self, Input, Job, Spool, Stop};
use crate::remote;
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
    let targets = Targets::find(&matches)?;
    if matches.get_flag("dry-run") {
        let mut out = Out::stdout();
        for label in targets.labels() {
            let _ = out.line(label);
        }
        return Ok(Exit::Done);
    }
    let words: Vec<OsString> = matches
        .get_many::<OsString>("words")
        .unwrap_or_default()
        .cloned()
        .collect();
    if words.iter().all(|word| word.is_empty()) {
        return Err(Fail::usage("no command given").hint("try 'cexec uptime'"));
    }
    let dirs = ["outdir", "errdir"].map(|name| matches.get_one::<PathBuf>(name).cloned());
    if let Some(dir) = dirs.iter().flatten().find(|dir| !dir.is_dir()) {
        return Err(Fail::usage(format!("{} is not a directory", dir.display())));
    }
    let jobs = jobs(&matches, &targets, &words)?;
    let stop = Stop::catch().map_err(internal)?;
    let mut show = Show::new(TOOL.name, shape(&matches), &targets.hosts, targets.labels(), dirs);
    let reports = fan::run(&jobs, &targets.options, Some(&stop), &mut show).map_err(internal)?;
    show.finish()
        .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    Ok(super::status(
        TOOL.name,
        &reports,
        &stop,
        matches.get_flag("pdsh-status"),
    ))
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
