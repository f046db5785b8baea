//! `chosts`: work with lists of hosts; the filter between the fan-out tools.

use std::ffi::OsString;
use std::io::{self, Read};

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::targets::{Outside, chosen};
use crate::diag::{Exit, Fail, Out};
use crate::hosts::{self, Host, HostSet};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "chosts",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |name: &'static str, letter, help: &'static str| {
        Arg::new(name)
            .short(letter)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let list = |name: &'static str, letter, help: &'static str| {
        Arg::new(name)
            .short(letter)
            .long(name)
            .value_name("LIST")
            .action(ArgAction::Append)
            .help(help)
    };
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .value_parser(value_parser!(u32).range(1..))
            .help(help)
    };
    crate::tools::base("chosts", "Expand, fold, count and combine lists of hosts")
        .arg(flag("expand", 'e', "Print each host, one a line"))
        .arg(flag(
            "fold",
            'f',
            "Print the list in its short form (this is the default)",
        ))
        .arg(flag("count", 'c', "Print how many hosts there are"))
        .arg(flag(
            "sort",
            's',
            "Sort by name and number; otherwise hosts stay as they were named",
        ))
        .arg(list("exclude", 'x', "Take these hosts away"))
        .arg(list("intersect", 'i', "Keep only what is in this list too"))
        .arg(list("xor", 'X', "Keep what is in one of the lists but not in both"))
        .arg(
            Arg::new("separator")
                .short('S')
                .long("separator")
                .value_name("TEXT")
                .allow_hyphen_values(true)
                .conflicts_with("count")
                .help("Put TEXT instead of a newline between the hosts of -e"),
        )
        .arg(number("pick", "Keep N hosts taken at random"))
        .arg(number("split", "Print N lists of about the same size, one a line"))
        .arg(
            Arg::new("list")
                .value_name("LIST")
                .num_args(0..)
                .help("The hosts; '-' reads standard input. None: those that cexec would act on"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let mut source = Outside { stdin_used: false };
    let (mut set, _) = chosen("list", &matches, &mut source)?;
    let mut each = |name: &str, change: fn(&mut HostSet, &HostSet)| -> Result<(), Fail> {
        for text in matches.get_many::<String>(name).unwrap_or_default() {
            let other =
                hosts::expand_with(text, &mut source).map_err(|e| Fail::usage(format!("--{name}")).because(e))?;
            change(&mut set, &other);
        }
        Ok(())
    };
    each("exclude", HostSet::minus)?;
    each("intersect", HostSet::and)?;
    each("xor", HostSet::xor)?;
    let mut list: Vec<Host> = set.into_iter().collect();
    if let Some(&wanted) = matches.get_one::<u32>("pick") {
        list =
            pick(list, wanted as usize).map_err(|e| Fail::new(Exit::Internal, "cannot pick at random").because(e))?;
    }
    if matches.get_flag("sort") {
        list.sort_by_cached_key(|host| (host.port, host.user.clone()));
        list.sort_by(|a, b| hosts::natural(a.name.as_bytes(), b.name.as_bytes()));
    }
    let parts = match matches.get_one::<u32>("split") {
        None => vec![list.as_slice()],
        Some(&n) => split(&list, n as usize),
    };
    let mut out = Out::stdout();
    for part in parts {
        if let Some(text) = shown(&matches, part) {
            out.line(text)
                .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
        }
    }
    Ok(Exit::Done)
}

fn shown(matches: &ArgMatches, list: &[Host]) -> Option<String> {
    if matches.get_flag("count") {
        return Some(list.len().to_string());
    }
    if list.is_empty() {
        return None;
    }
    let separator = matches.get_one::<String>("separator");
    if matches.get_flag("expand") || separator.is_some() {
        // With --split every list stays on a line of its own.
        let between = match matches.contains_id("split") {
            true => ",",
            false => "\n",
        };
        let names: Vec<String> = list.iter().map(Host::to_string).collect();
        return Some(names.join(separator.map_or(between, String::as_str)));
    }
    Some(hosts::fold(list))
}

/// `n` parts whose sizes differ by one at most; fewer when there are fewer hosts.
fn split(list: &[Host], n: usize) -> Vec<&[Host]> {
    let n = n.min(list.len()).max(1);
    let (size, more) = (list.len() / n, list.len() % n);
    let mut rest = list;
    let mut parts = Vec::with_capacity(n);
    for index in 0..n {
        let (part, after) = rest.split_at(size + usize::from(index < more));
        parts.push(part);
        rest = after;
    }
    parts
}

/// Picks hosts at random, each with the same chance; they stay in their order.
fn pick(list: Vec<Host>, wanted: usize) -> io::Result<Vec<Host>> {
    let mut random = io::BufReader::new(std::fs::File::open("/dev/urandom")?);
    let (mut left, mut wanted) = (list.len() as u64, wanted as u64);
    let mut picked = Vec::new();
    for host in list {
        // Taken with the chance wanted/left: what remains to be taken out of what remains.
        let mut bytes = [0; 16];
        random.read_exact(&mut bytes)?;
        if u128::from_le_bytes(bytes) % u128::from(left) < u128::from(wanted) {
            picked.push(host);
            wanted -= 1;
        }
        left -= 1;
    }
    Ok(picked)
}
