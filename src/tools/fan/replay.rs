//! Reports of earlier runs: listed, and run again.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::json;

use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::report::{self, Kind, Run, Which};
use crate::hosts::Host;

/// The options of tools whose runs are written down.
pub fn arguments(command: clap::Command) -> clap::Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    command
        .arg(flag("report_loc", "Say on standard error where the report of this run is").alias("report-loc"))
        .arg(
            Arg::new("retry")
                .long("retry")
                .value_name("WHICH")
                .value_parser(["failed", "succeeded", "unreachable", "all"])
                .help("Do what a report says again on these of its hosts"),
        )
        .arg(
            Arg::new("report")
                .long("report")
                .value_name("FILE|N")
                .value_parser(value_parser!(PathBuf))
                .requires("retry")
                .help("The report for --retry, by its file or its number in --reports [default: 1, the newest]"),
        )
        .arg(flag("reports", "List the reports that are kept, the newest first"))
}

/// Says where a report is, if that was asked for, or why there is none.
pub fn say_where(prog: &str, matches: &ArgMatches, dir: &Path, written: io::Result<PathBuf>) {
    match written {
        Ok(path) if matches.get_flag("report_loc") => stderr_line(&format!("{prog}: report: {}", path.display())),
        Ok(_) => {}
        Err(e) => stderr_line(&format!("{prog}: cannot write a report to {}: {e}", dir.display())),
    }
}

/// The hosts and the run to repeat (`--retry`). `said`: the argument that the report stands for, and what that is.
pub fn again(
    prog: &str,
    matches: &ArgMatches,
    dir: &Path,
    said: (&str, &str),
) -> Result<Option<(Vec<Host>, Run)>, Fail> {
    let Some(which) = matches.get_one::<String>("retry") else {
        return Ok(None);
    };
    let (words, what) = said;
    if matches.contains_id(words) || matches.contains_id("hosts") {
        return Err(Fail::usage(format!(
            "--retry takes {what} and the hosts from the report"
        )));
    }
    let unusable = |e: &dyn std::fmt::Display| Fail::new(Exit::Policy, "cannot use the report").because(e);
    let given = matches.get_one::<PathBuf>("report");
    let number = given.map_or(Some(1), |path| path.to_str()?.parse::<usize>().ok());
    let path = match (given, number) {
        (Some(path), None) => path.clone(),
        (_, number) => {
            let number = number.unwrap_or(1);
            let all = report::list(dir, prog).map_err(|e| unusable(&e))?;
            let count = all.len();
            let found = number.checked_sub(1).and_then(|at| all.into_iter().nth(at));
            found.ok_or_else(|| match count {
                0 => Fail::usage("there is no report yet"),
                _ => Fail::usage(format!("there is no report {number}: they are 1 to {count}")),
            })?
        }
    };
    let shown = path.display();
    let run = report::read(&path).map_err(|e| unusable(&format!("{shown}: {e}")))?;
    if run.tool != prog {
        return Err(unusable(&format!("{shown}: it is one of {}", run.tool)));
    }
    if !run.exact {
        return Err(unusable(&format!("{shown}: {what} of it is not UTF-8 text")));
    }
    if run.stdin && !matches.get_flag("stdin") {
        return Err(
            unusable(&format!("{shown}: its command read standard input, which is not kept"))
                .hint("give it again with --stdin"),
        );
    }
    let given = matches.try_get_many::<String>("env").ok().flatten();
    let given: Vec<&String> = given.unwrap_or_default().collect();
    let has = |name: &String| given.iter().any(|text| text.split('=').next() == Some(name));
    if let Some(name) = run.env.iter().find(|name| !has(name)) {
        return Err(unusable(&format!(
            "{shown}: its command had the variable {name}, whose value is not kept"
        ))
        .hint(format!("give it again with --env {name}=...")));
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

/// Lists the reports (`--reports`).
pub fn reports(prog: &str, dir: &Path, json: bool) -> Result<Exit, Fail> {
    let fail = |e: io::Error| Fail::new(Exit::Failed, "cannot list the reports").because(e);
    let mut out = Out::stdout();
    for (at, path) in report::list(dir, prog).map_err(fail)?.into_iter().enumerate() {
        let text = match report::read(&path) {
            Ok(run) if json => {
                let mut object = json!(run);
                object["number"] = json!(at + 1);
                object["file"] = json!(path.to_string_lossy());
                object.to_string()
            }
            // Not among the objects: whoever reads them expects no other lines.
            Err(error) if json => {
                stderr_line(&format!("{prog}: {}: {error}", path.display()));
                continue;
            }
            Ok(run) => format!(
                "{}  {}  {} succeeded, {} failed, {} unreachable  {}\n    {}",
                at + 1,
                run.started,
                run.count(Kind::Succeeded),
                run.count(Kind::Failed),
                run.count(Kind::Unreachable) + run.count(Kind::Stopped),
                run.options
                    .iter()
                    .chain(&run.script)
                    .chain(&run.command)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" "),
                path.display()
            ),
            Err(error) => format!("{}: {error}", path.display()),
        };
        out.line(text).map_err(fail)?;
    }
    Ok(Exit::Done)
}
