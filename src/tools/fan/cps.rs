//! `cps`: the processes of many hosts in one table (FO-03).

use std::ffi::OsString;

use clap::{Arg, ArgAction, value_parser};
use serde_json::json;

use super::processes::{Choice, Process, listing, parse};
use super::survey::{Side, Survey, Table, print_json, print_table, span};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail, Out};
use crate::fan::Input;
use crate::hosts;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cps",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

static HEAD: &[(&str, Side)] = &[
    ("HOST", Side::Left),
    ("USER", Side::Left),
    ("PID", Side::Right),
    ("PPID", Side::Right),
    ("%CPU", Side::Right),
    ("RSS", Side::Right),
    ("STAT", Side::Left),
    ("ELAPSED", Side::Right),
    ("COMMAND", Side::Left),
];

fn command() -> clap::Command {
    let command = targets::arguments(crate::tools::base("cps", "Show the processes of many hosts"));
    Choice::arguments(command)
        .arg(
            Arg::new("sort")
                .long("sort")
                .value_name("BY")
                .value_parser(["host", "cpu", "rss", "age"])
                .default_value("host")
                .help("Sort by host, or all together by processor time, memory or age, the largest first"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object per process"),
        )
        .arg(
            Arg::new("words")
                .value_name("PS_OPTION")
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .conflicts_with_all(["match", "owner", "sort", "json"])
                .help("Options for ps itself: its output is shown as it is, after the host"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let targets = Targets::find(&matches)?;
    let choice = Choice::of(&matches, Vec::new())?;
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let words: Vec<OsString> = matches.get_many("words").unwrap_or_default().cloned().collect();
    if !words.is_empty() {
        let mut command = vec![OsString::from("ps")];
        command.extend(words);
        let survey = Survey::ask(TOOL.name, &targets, &Input::Nothing, command)?;
        as_it_is(&survey)?;
        return Ok(survey.status());
    }
    let survey = Survey::ask(TOOL.name, &targets, &Input::Nothing, listing())?;
    let mut found: Vec<(&str, Process)> = Vec::new();
    for (host, answer) in survey.good() {
        let all = parse(&String::from_utf8_lossy(&answer.out));
        found.extend(
            all.into_iter()
                .filter(|process| choice.takes(process))
                .map(|p| (host, p)),
        );
    }
    let by = matches.get_one::<String>("sort").map_or("host", String::as_str);
    found.sort_by(|(left, a), (right, b)| match by {
        "cpu" => b.cpu.total_cmp(&a.cpu),
        "rss" => b.rss.cmp(&a.rss),
        "age" => b.age.cmp(&a.age),
        _ => hosts::natural(left.as_bytes(), right.as_bytes()).then(a.pid.cmp(&b.pid)),
    });
    if matches.get_flag("json") {
        let object = |(host, process): &(&str, Process)| {
            json!({
                "host": host, "user": process.user, "pid": process.pid, "ppid": process.parent, "cpu": process.cpu,
                "rss": process.rss, "state": process.state, "seconds": process.age,
                "name": process.name, "command": process.command,
            })
        };
        print_json(&found.iter().map(object).collect::<Vec<_>>())?;
    } else if !found.is_empty() {
        let mut table = Table::new(HEAD);
        for (host, process) in found {
            table.row(vec![
                host.to_string(),
                process.user,
                process.pid.to_string(),
                process.parent.to_string(),
                format!("{:.1}", process.cpu),
                process.rss.to_string(),
                process.state,
                span(process.age),
                process.command,
            ]);
        }
        print_table(&table)?;
    }
    Ok(survey.status())
}

/// What ps said, each line after its host.
fn as_it_is(survey: &Survey) -> Result<(), Fail> {
    use std::io::Write;
    let fail = |error| Fail::new(Exit::Failed, "cannot write the output").because(error);
    let mut out = Out::stdout();
    for (label, answer) in survey.labels.iter().zip(&survey.answers) {
        for line in answer.out.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            out.write_all(format!("{label}: ").as_bytes())
                .and_then(|()| out.line(line))
                .map_err(fail)?;
        }
    }
    out.flush().map_err(fail)
}
