//! `cfshow`: what this machine remembers (cfengine2.md 17, 18).

mod forget;
mod views;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};
use regex::Regex;

use crate::diag::{Exit, Fail, Out, harmless, stderr_line};
use crate::sys::Paths;
use crate::tools::{Place, Tool};
use views::{LAST, Look, VIEWS, View};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfshow",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |id: &'static str, short: char, help: &'static str| {
        Arg::new(id).short(short).long(id).action(ArgAction::SetTrue).help(help)
    };
    crate::tools::base("cfshow", "Show what this machine remembers of its promises")
        .args(VIEWS.iter().map(|view| flag(view.option, view.short, view.help)))
        .arg(
            Arg::new(LAST.option)
                .long(LAST.option)
                .value_name("N")
                .num_args(0..=1)
                .default_missing_value("1")
                .value_parser(clap::value_parser!(u16).range(1..))
                .help(LAST.help),
        )
        .arg(flag(
            "purge",
            'P',
            "Forget what is older than --days, of the views named or of all; checksums of files that are gone",
        ))
        .arg(
            Arg::new("days")
                .long("days")
                .value_name("DAYS")
                .value_parser(clap::value_parser!(u32))
                .default_value("30")
                .help("What counts as old for --purge"),
        )
        .arg(
            Arg::new("regex")
                .short('r')
                .long("regex")
                .value_name("REGEX")
                .value_parser(clap::builder::ValueParser::new(|text: &str| Regex::new(text)))
                .help("Show only what has a name in which this regular expression is found"),
        )
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Show this state file instead of the one of this machine"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("One JSON object a line"),
        )
        .arg(flag("html", 'H', "Refused; use --json"))
        .arg(flag("xml", 'X', "Refused; use --json"))
        .arg(flag("verbose", 'v', "Say which files are read"))
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    for option in ["html", "xml"] {
        if matches.get_flag(option) {
            let fail = Fail::usage(format!("--{option} is refused: there is one form for programs"));
            return Err(fail.hint("--json prints one object a line, which jq and every language can read"));
        }
    }
    let mut named: Vec<&View> = VIEWS.iter().filter(|view| matches.get_flag(view.option)).collect();
    let mut look = Look::new(Paths::from_env().state(), matches.get_one::<PathBuf>("file").cloned());
    if let Some(runs) = matches.get_one::<u16>(LAST.option) {
        look.runs = usize::from(*runs);
        named.push(&LAST);
    }
    if matches.get_flag("purge") {
        return purge(&matches, &look, &named);
    }
    match (named.as_slice(), &look.file) {
        ([], _) => {
            Err(Fail::usage("nothing was asked for")
                .hint("one of -l -c -C -p -s -a -A --last; 'cfshow --help' lists them"))
        }
        ([_, _, ..], Some(_)) => Err(Fail::usage("a file holds one kind of records: name one view with -f")),
        _ => show(&matches, &look, &named),
    }
}

fn show(matches: &ArgMatches, look: &Look, views: &[&View]) -> Result<Exit, Fail> {
    let regex = matches.get_one::<Regex>("regex");
    let json = matches.get_flag("json");
    let mut out = Out::stdout();
    for view in views {
        let path = look.path(view.file);
        if matches.get_flag("verbose") {
            stderr_line(&format!("cfshow: {}: {}", view.option, path.display()));
        }
        let lines = (view.lines)(look).map_err(|error| {
            let fail = Fail::new(Exit::Failed, format!("cannot read {}", path.display())).because(&error);
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => fail.hint("the state of a machine is root's: run this as root"),
                std::io::ErrorKind::InvalidData => {
                    fail.hint("is it a state file of this kind? the next run of cfagent sets a damaged one aside")
                }
                _ => fail,
            }
        })?;
        for line in lines
            .iter()
            .filter(|line| regex.is_none_or(|regex| regex.is_match(&line.name)))
        {
            let written = match json {
                true => out.line(line.json.to_string()),
                false => out.line(harmless(line.text.as_bytes())),
            };
            written.map_err(|error| Fail::new(Exit::Failed, "cannot write").because(error))?;
        }
    }
    Ok(Exit::Done)
}

fn purge(matches: &ArgMatches, look: &Look, named: &[&View]) -> Result<Exit, Fail> {
    if look.file.is_some() || matches.contains_id("regex") {
        return Err(Fail::usage(
            "--purge works on the state of this machine and by age: not with -f or -r",
        ));
    }
    if !look.dir.is_dir() {
        return Ok(Exit::Done);
    }
    let days = matches.get_one::<u32>("days").copied().unwrap_or(30);
    let oldest = look.now() - i64::from(days) * 24 * 3600;
    let mut out = Out::stdout();
    for view in VIEWS {
        let Some(forget) = view
            .forget
            .filter(|_| named.is_empty() || named.iter().any(|n| n.option == view.option))
        else {
            continue;
        };
        let count = forget::records(&look.dir, oldest, forget).map_err(|error| {
            Fail::new(
                Exit::Failed,
                format!("cannot change {}", look.path(view.file).display()),
            )
            .because(error)
        })?;
        let _ = out.line(format!("{}: {count} forgotten", view.option));
    }
    Ok(Exit::Done)
}
