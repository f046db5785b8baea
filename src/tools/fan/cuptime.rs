//! `cuptime`: how long hosts are up, who is on them and how busy they are (FO-03).

use std::ffi::OsString;

use clap::{Arg, ArgAction};
use serde_json::json;

use super::survey::{Side, Survey, Table, print_json, print_table, script, span};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail};
use crate::fan::Input;
use crate::hosts;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cuptime",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

/// Prints: seconds since boot, the three loads, processors, users.
const ASK: &str = "read up rest </proc/uptime && read one five fifteen rest </proc/loadavg || exit 1
echo \"$up $one $five $fifteen $(grep -c ^processor /proc/cpuinfo) $(who | wc -l)\"";

static HEAD: &[(&str, Side)] = &[
    ("HOST", Side::Left),
    ("UP", Side::Right),
    ("USERS", Side::Right),
    ("CPUS", Side::Right),
    ("LOAD1", Side::Right),
    ("LOAD5", Side::Right),
    ("LOAD15", Side::Right),
];

fn command() -> clap::Command {
    targets::arguments(crate::tools::base(
        "cuptime",
        "Show how long hosts are up and how busy they are",
    ))
    .arg(
        Arg::new("sort")
            .long("sort")
            .value_name("BY")
            .value_parser(["load", "name", "up", "users"])
            .default_value("load")
            .help("Sort by load (the busiest first), name, time up (the shortest first) or users"),
    )
    .arg(
        Arg::new("reverse")
            .short('r')
            .long("reverse")
            .action(ArgAction::SetTrue)
            .help("Sort the other way round"),
    )
    .arg(
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print one JSON object per host"),
    )
}

struct Line {
    host: String,
    up: f64,
    loads: [f64; 3],
    cpus: u64,
    users: u64,
}

impl Line {
    fn parse(host: &str, text: &str) -> Option<Line> {
        let mut words = text.split_whitespace();
        let mut number = || words.next()?.parse::<f64>().ok();
        Some(Line {
            host: host.to_string(),
            up: number()?,
            loads: [number()?, number()?, number()?],
            cpus: number()? as u64,
            users: number()? as u64,
        })
    }
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let targets = Targets::find(&matches)?;
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let survey = Survey::ask(TOOL.name, &targets, &Input::Nothing, script(ASK, &[]))?;
    let said = |(host, answer): (&str, &crate::fan::Answer)| Line::parse(host, &String::from_utf8_lossy(&answer.out));
    let mut lines: Vec<Line> = survey.good().filter_map(said).collect();
    let by = matches.get_one::<String>("sort").map_or("load", String::as_str);
    lines.sort_by(|a, b| {
        let name = hosts::natural(a.host.as_bytes(), b.host.as_bytes());
        match by {
            "load" => b.loads[0].total_cmp(&a.loads[0]).then(name),
            "up" => a.up.total_cmp(&b.up).then(name),
            "users" => b.users.cmp(&a.users).then(name),
            _ => name,
        }
    });
    if matches.get_flag("reverse") {
        lines.reverse();
    }
    if matches.get_flag("json") {
        let object = |line: &Line| {
            json!({
                "host": line.host,
                "up": line.up,
                "users": line.users,
                "cpus": line.cpus,
                "load": line.loads,
            })
        };
        print_json(&lines.iter().map(object).collect::<Vec<_>>())?;
    } else if !lines.is_empty() {
        let mut table = Table::new(HEAD);
        for line in &lines {
            let mut cells = vec![
                line.host.clone(),
                span(line.up as u64),
                line.users.to_string(),
                line.cpus.to_string(),
            ];
            cells.extend(line.loads.map(|load| format!("{load:.2}")));
            table.row(cells);
        }
        print_table(&table)?;
    }
    Ok(survey.status())
}
