//! `ckill`: signal processes by name on many hosts, after showing what will be hit (FO-03).

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::str::FromStr;

use clap::{Arg, ArgAction};
use nix::sys::signal::Signal;

use super::processes::{Choice, Process, listing, parse};
use super::survey::{Side, Survey, Table, print_table, script};
use super::targets::{self, Targets};
use crate::diag::{Exit, Fail, stderr_line};
use crate::fan::Input;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "ckill",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

/// Signals each process that is still the one that was shown: same number, same start.
const KILL: &str = "s=$1; shift; w=0
while [ $# -gt 1 ]; do
    t=; read -r l 2>/dev/null <\"/proc/$1/stat\" && t=$(printf %s \"${l##*) }\" | cut -d' ' -f20)
    if [ \"$t\" = \"$2\" ]; then kill -s \"$s\" \"$1\" && echo \"$1\" || w=1; fi
    shift 2
done; exit $w";

static HEAD: &[(&str, Side)] = &[
    ("HOST", Side::Left),
    ("USER", Side::Left),
    ("PID", Side::Right),
    ("COMMAND", Side::Left),
];

fn command() -> clap::Command {
    let command = targets::arguments(crate::tools::base("ckill", "Signal processes by name on many hosts"))
        // -f is force here.
        .mut_arg("fanout", |arg| arg.short(None));
    Choice::arguments(command)
        .arg(
            Arg::new("signal")
                .short('s')
                .long("signal")
                .value_name("SIGNAL")
                .default_value("TERM")
                .help("The signal, by name or number; also -SIGNAL as the first argument"),
        )
        .arg(
            Arg::new("force")
                .short('f')
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Do not ask"),
        )
        .arg(
            Arg::new("dry")
                .short('n')
                .long("no-action")
                .action(ArgAction::SetTrue)
                .help("Only show what would be hit"),
        )
        .arg(
            Arg::new("names")
                .value_name("NAME")
                .num_args(0..)
                .help("Names of processes: what ps calls comm, in full"),
        )
}

/// `ckill -HUP name`, as kill(1) has it: `-HUP` is `-s HUP`, where it is no option of ours.
fn kill_style(args: &[OsString]) -> Vec<OsString> {
    let mut out = args.to_vec();
    let name = out.get(1).and_then(|arg| arg.to_str()?.strip_prefix('-'));
    if let Some(name) = name.filter(|name| signal(name).is_ok()).map(OsString::from) {
        out.splice(1..2, [OsString::from("-s"), name]);
    }
    out
}

/// A signal by name (with or without SIG, in any case) or number.
fn signal(text: &str) -> Result<Signal, Fail> {
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    let number = text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    number
        .or_else(|| Signal::from_str(&full).ok())
        .ok_or_else(|| Fail::usage(format!("there is no signal '{text}'")))
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, &kill_style(args))?;
    let signal = signal(matches.get_one::<String>("signal").map_or("TERM", String::as_str))?;
    let names = matches.get_many("names").unwrap_or_default().cloned().collect();
    let choice = Choice::of(&matches, names)?;
    if choice.is_empty() {
        return Err(Fail::usage("nothing says which processes").hint("name them, or choose with -m or -o"));
    }
    let targets = Targets::find(&matches)?;
    if targets.only_shown(&matches) {
        return Ok(Exit::Done);
    }
    let survey = Survey::ask(TOOL.name, &targets, &Input::Nothing, listing())?;
    let labels = targets.labels();
    let mut hit: Vec<(usize, Vec<Process>)> = Vec::new();
    for (label, answer) in survey.good() {
        let mut found = parse(&String::from_utf8_lossy(&answer.out));
        found.retain(|process| process.pid > 1 && choice.takes(process));
        if let Some(at) = labels.iter().position(|known| known == label)
            && !found.is_empty()
        {
            hit.push((at, found));
        }
    }
    let count: usize = hit.iter().map(|(_, found)| found.len()).sum();
    if count == 0 {
        stderr_line(&format!("{}: no such process on any host", TOOL.name));
        let status = survey.status();
        return Ok(if status == Exit::Code(0) { Exit::Failed } else { status });
    }
    let mut table = Table::new(HEAD);
    for (at, found) in &hit {
        for process in found {
            table.row(vec![
                labels[*at].clone(),
                process.user.clone(),
                process.pid.to_string(),
                process.command.clone(),
            ]);
        }
    }
    print_table(&table)?;
    if matches.get_flag("dry") {
        return Ok(survey.status());
    }
    let many = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let (processes, on) = (many(count, "process", "processes"), many(hit.len(), "host", "hosts"));
    if !matches.get_flag("force") && !agreed(&format!("{signal} to {processes} on {on}"))? {
        return Ok(Exit::Failed);
    }
    let killed = Survey::each(TOOL.name, &targets, &Input::Nothing, |at| {
        let (_, found) = hit.iter().find(|(host, _)| *host == at)?;
        let name = signal.as_str().trim_start_matches("SIG").to_string();
        let mut words = vec![name];
        for process in found {
            words.extend([process.pid.to_string(), process.started.to_string()]);
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        Some(script(KILL, &words).into())
    })?;
    for (label, answer) in killed.labels.iter().zip(&killed.answers) {
        let done = String::from_utf8_lossy(&answer.out).lines().count();
        let wanted = labels
            .iter()
            .position(|known| known == label)
            .and_then(|at| hit.iter().find(|(host, _)| *host == at))
            .map_or(0, |(_, found)| found.len());
        if done < wanted && answer.report.state.is_ok() {
            stderr_line(&format!("{}: {label}: {} had ended already", TOOL.name, wanted - done));
        }
    }
    // Both rounds count: a host that could not be asked was not served.
    let (asked, done) = (survey.status(), killed.status());
    Ok(if done.code() >= asked.code() { done } else { asked })
}

/// Asks; who is no person is told what to do.
fn agreed(what: &str) -> Result<bool, Fail> {
    if !io::stdin().is_terminal() {
        return Err(
            Fail::usage(format!("would send {what}, and nobody can be asked")).hint("-f sends it without asking")
        );
    }
    let mut err = io::stderr();
    let _ = write!(err, "Send {what}? [n] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
