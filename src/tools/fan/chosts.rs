//! `chosts`: work with lists of hosts; the filter between the fan-out tools.

use std::ffi::OsString;
use std::io::{self, Read};

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::groups;
use super::targets::{Outside, chosen, refused};
use crate::diag::{Exit, Fail, Out};
use crate::hosts::{self, Choice, Host, HostSet, ListError, Sources, Steps, Style};
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
    let long = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let flag = |name: &'static str, letter, help: &'static str| long(name, help).short(letter);
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let list = |name: &'static str, letter, help: &'static str| {
        value(name, "LIST", help)
            .short(letter)
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
    };
    let number =
        |name: &'static str, help: &'static str| value(name, "N", help).value_parser(value_parser!(u32).range(1..));
    crate::tools::base("chosts", "Expand, fold, count and combine lists of hosts")
        .arg(flag("expand", 'e', "Print each host, one a line"))
        .arg(flag(
            "fold",
            'f',
            "Print the list in its short form (this is the default)",
        ))
        .arg(flag("count", 'c', "Print how many hosts there are"))
        .arg(
            flag(
                "list-groups",
                'l',
                "Print the groups, of LIST if given; -ll with their hosts, -lll with counts too",
            )
            .action(ArgAction::Count),
        )
        .arg(flag("list-all", 'L', "As -l, the groups of all sources"))
        .arg(flag(
            "regroup",
            'r',
            "Print the list in groups, as far as it is made of them",
        ))
        .arg(long("groupsources", "Print the group sources, the default one first"))
        .arg(value(
            "contains",
            "HOSTS",
            "Print nothing; exit with 0 when all of HOSTS are in the list, else with 1",
        ))
        .arg(flag("all", 'a', "Begin with all hosts of the group source"))
        .arg(value(
            "groupsource",
            "SOURCE",
            "Groups named without a source are of this one",
        ))
        .arg(flag("groupbase", 'G', "Print groups without their source"))
        .arg(list("exclude", 'x', "Take these hosts away"))
        .arg(list("intersect", 'i', "Keep only what is in this list too").visible_alias("intersection"))
        .arg(list("xor", 'X', "Keep what is in one of the lists but not in both"))
        .arg(flag(
            "sort",
            's',
            "Sort by name and number; otherwise hosts stay as they were named",
        ))
        .arg(
            value(
                "slice",
                "PLACES",
                "Keep the hosts at these places, counted from 0: 0-3,9 or 0-99/2",
            )
            .short('I'),
        )
        .arg(number("pick", "Keep N hosts taken at random"))
        .arg(number("split", "Print N lists of about the same size, one a line"))
        .arg(long("contiguous", "Print a list for every run of numbers, one a line").conflicts_with("split"))
        .arg(
            value(
                "separator",
                "TEXT",
                "Put TEXT instead of a newline between the hosts of -e",
            )
            .short('S')
            .allow_hyphen_values(true)
            .conflicts_with("count"),
        )
        .arg(
            value("output-format", "FORMAT", "Print each host so; %s stands for it")
                .short('O')
                .allow_hyphen_values(true)
                .conflicts_with("count"),
        )
        .arg(value(
            "autostep",
            "N",
            "Fold N numbers (or N% of a name's) and more with a step: n[0-10/2]; 'auto' is 100%",
        ))
        .arg(
            value(
                "axis",
                "PLACES",
                "Fold only these numbers of a name, counted from 1, or -1 from the end",
            )
            .allow_hyphen_values(true),
        )
        .arg(flag(
            "rangeset",
            'R',
            "The lists are numbers, such as 1,5,18-31, without names",
        ))
        .arg(
            Arg::new("list")
                .value_name("LIST")
                .num_args(0..)
                .action(ArgAction::Append)
                .help("The hosts; '-' reads standard input. None: those that cexec would act on"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let mut source = Outside::default();
    if let Some(name) = matches.get_one::<String>("groupsource") {
        source
            .groups
            .prefer(name)
            .map_err(|e| refused(Some("--groupsource"), &e))?;
    }
    let style = style(&matches)?;
    if matches.get_flag("groupsources") {
        let sources = source.groups.sources().map_err(|e| refused(None, &e))?;
        return print(sources);
    }
    let depth = matches
        .get_count("list-groups")
        .max(u8::from(matches.get_flag("list-all")));
    if depth > 0 {
        let of = match named(&matches) || matches.get_flag("all") {
            true => Some(combined(&matches, &mut source)?),
            false => None,
        };
        let every = matches.get_flag("list-all");
        let base = matches.get_flag("groupbase");
        return print(groups::listed(&mut source, every, base, depth, of.as_ref()).map_err(|e| refused(None, &e))?);
    }
    let set = combined(&matches, &mut source)?;
    if let Some(text) = matches.get_one::<String>("contains") {
        let wanted = hosts::expand_with(&plain(text, &matches), &mut source);
        let wanted = wanted.map_err(|e| refused(Some("--contains"), &e))?;
        return Ok(match set.contains_all(&wanted) && !wanted.is_empty() {
            true => Exit::Done,
            false => Exit::Failed,
        });
    }
    let list = arranged(&matches, set)?;
    if matches.get_flag("regroup") {
        let base = matches.get_flag("groupbase");
        let text =
            groups::regrouped(&mut source, base, HostSet::from_iter(list)).map_err(|e| refused(Some("-r"), &e))?;
        return print((!text.is_empty()).then_some(text));
    }
    let parts: Vec<Vec<Host>> = match matches.get_one::<u32>("split") {
        Some(&n) => split(&list, n as usize).into_iter().map(<[Host]>::to_vec).collect(),
        None if style.contiguous => {
            let lists = hosts::fold_parts(&list, &style);
            let lists = lists
                .iter()
                .map(|list| hosts::expand(list).map(|set| set.into_iter().collect()));
            lists.collect::<Result<_, ListError>>().map_err(|e| refused(None, &e))?
        }
        None => vec![list],
    };
    print(parts.iter().filter_map(|part| shown(&matches, &style, part)))
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<Exit, Fail> {
    let mut out = Out::stdout();
    for line in lines {
        out.line(line)
            .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    }
    Ok(Exit::Done)
}

fn named(matches: &ArgMatches) -> bool {
    ["list", "exclude", "intersect", "xor"]
        .iter()
        .any(|name| matches.contains_id(name))
}

/// The lists and operations in the order they were given. Lists after the first operation are added where they stand,
/// but there must be something to begin with: when an operation comes first, the lists after it do.
fn combined(matches: &ArgMatches, source: &mut Outside) -> Result<HostSet, Fail> {
    let mut given: Vec<(usize, &str, &str)> = Vec::new();
    for name in ["list", "exclude", "intersect", "xor"] {
        let texts = matches.get_many::<String>(name).unwrap_or_default();
        let places = matches.indices_of(name).unwrap_or_default();
        given.extend(places.zip(texts).map(|(at, text)| (at, name, text.as_str())));
    }
    given.sort_unstable();
    let mut set = HostSet::new();
    if matches.get_flag("all") {
        set = hosts::expand_with("@*", source).map_err(|e| refused(Some("-a"), &e))?;
    } else if let Some(first) = given.iter().position(|(_, name, _)| *name == "list") {
        let run = given[first..].iter().take_while(|(_, name, _)| *name == "list").count();
        let texts: Vec<String> = given
            .drain(first..first + run)
            .map(|(_, _, text)| plain(text, matches))
            .collect();
        set = match matches.get_flag("rangeset") {
            true => numbers(&texts, source)?,
            false => first_lists(&texts.join(","), source)?,
        };
    } else {
        set.add(&chosen("list", matches, source)?.0);
    }
    for (_, name, text) in given {
        let option = format!("--{name}");
        let option = (name != "list").then_some(option.as_str());
        let text = plain(text, matches);
        if matches!(name, "exclude" | "intersect") {
            let choice = Choice::read(&text, source).map_err(|e| refused(option, &e))?;
            set.keep(|host| choice.holds(host) == (name == "intersect"));
            continue;
        }
        let other = hosts::expand_with(&text, source).map_err(|e| refused(option, &e))?;
        match name {
            "xor" => set.xor(&other),
            _ => set.add(&other),
        }
    }
    Ok(set)
}

fn first_lists(text: &str, source: &mut Outside) -> Result<HostSet, Fail> {
    let fail = |e: ListError| refused(None, &e);
    if hosts::only_filters(text).map_err(fail)? {
        let set = super::targets::usual(source)?.0;
        return hosts::filter_with(text, set, source).map_err(fail);
    }
    hosts::expand_with(text, source).map_err(fail)
}

/// With `-R` numbers become names in brackets, so that the one grammar reads them.
fn plain(text: &str, matches: &ArgMatches) -> String {
    if !matches.get_flag("rangeset") || text == "-" {
        return text.to_string();
    }
    let word = |word: &str| format!("[{word}]");
    text.split_whitespace().map(word).collect::<Vec<_>>().join(",")
}

fn numbers(texts: &[String], source: &mut Outside) -> Result<HostSet, Fail> {
    let mut set = HostSet::new();
    for text in texts {
        let text = match text.as_str() {
            "-" => {
                let bytes = source.stdin().map_err(|e| refused(None, &e))?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                text.split_whitespace()
                    .map(|word| format!("[{word}]"))
                    .collect::<Vec<_>>()
                    .join(",")
            }
            text => text.to_string(),
        };
        set.add(&hosts::expand(&text).map_err(|e| refused(Some("-R"), &e))?);
    }
    Ok(set)
}

/// Sorted, sliced, picked: in this order.
fn arranged(matches: &ArgMatches, set: HostSet) -> Result<Vec<Host>, Fail> {
    let mut list: Vec<Host> = set.into_iter().collect();
    if matches.get_flag("sort") {
        list.sort_by(|a, b| hosts::natural(a.name.as_bytes(), b.name.as_bytes()));
    }
    if let Some(places) = matches.get_one::<String>("slice") {
        let places = hosts::indices(places, list.len()).map_err(|why| Fail::usage("--slice").because(why))?;
        list = places.into_iter().map(|at| list[at].clone()).collect();
    }
    if let Some(&wanted) = matches.get_one::<u32>("pick") {
        list =
            pick(list, wanted as usize).map_err(|e| Fail::new(Exit::Internal, "cannot pick at random").because(e))?;
    }
    Ok(list)
}

fn style(matches: &ArgMatches) -> Result<Style, Fail> {
    let steps = match matches.get_one::<String>("autostep").map(String::as_str) {
        None => None,
        Some("auto") => Some(Steps::Percent(100)),
        Some(text) => {
            let percent = text
                .strip_suffix('%')
                .map(|n| n.parse().ok().filter(|n| (1..=100).contains(n)));
            let steps = match percent {
                Some(percent) => percent.map(Steps::Percent),
                None => text.parse().ok().filter(|&n| n >= 3).map(Steps::Count),
            };
            let wrong = || {
                Fail::usage(format!(
                    "--autostep is a number from 3 on, a percentage or 'auto', not '{text}'"
                ))
            };
            Some(steps.ok_or_else(wrong)?)
        }
    };
    let axes = match matches.get_one::<String>("axis") {
        None => None,
        Some(text) => Some(axes(text).ok_or_else(|| {
            Fail::usage(format!(
                "--axis is a list of places such as 1 or 1-2, or -1 for the last, not '{text}'"
            ))
        })?),
    };
    if let Some(format) = matches.get_one::<String>("output-format")
        && format.matches("%s").count() != 1
    {
        return Err(Fail::usage(format!(
            "-O needs one %s where the host belongs, not '{format}'"
        )));
    }
    Ok(Style {
        steps,
        axes,
        contiguous: matches.get_flag("contiguous"),
    })
}

fn axes(text: &str) -> Option<Vec<i32>> {
    if text.starts_with('-') {
        return Some(vec![text.parse().ok()?]);
    }
    // No name has more numbers that are folded than these.
    let places = hosts::indices(text, 100).ok()?;
    (!places.is_empty() && !places.contains(&0)).then(|| places.into_iter().map(|place| place as i32).collect())
}

fn shown(matches: &ArgMatches, style: &Style, list: &[Host]) -> Option<String> {
    if matches.get_flag("count") {
        return Some(list.len().to_string());
    }
    if list.is_empty() {
        return None;
    }
    let format = matches.get_one::<String>("output-format");
    let formed: Option<Vec<Host>> = format.map(|format| {
        let name = |host: &Host| Host {
            name: format.replacen("%s", &host.to_string(), 1),
            user: None,
            port: None,
        };
        list.iter().map(name).collect()
    });
    let separator = matches.get_one::<String>("separator");
    if matches.get_flag("expand") || separator.is_some() {
        // With --split and --contiguous every list stays on a line of its own.
        let between = match matches.contains_id("split") || style.contiguous {
            true => ",",
            false => "\n",
        };
        let names: Vec<String> = match &formed {
            Some(formed) => formed.iter().map(|host| host.name.clone()).collect(),
            None => list.iter().map(Host::to_string).collect(),
        };
        return Some(names.join(separator.map_or(between, String::as_str)));
    }
    let folded = hosts::fold_parts(formed.as_deref().unwrap_or(list), style).join(",");
    Some(match matches.get_flag("rangeset") {
        true => folded.trim_start_matches('[').trim_end_matches(']').to_string(),
        false => folded,
    })
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
pub fn pick(list: Vec<Host>, wanted: usize) -> io::Result<Vec<Host>> {
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
