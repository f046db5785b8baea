//! `nodeset` and `cluset` (of ClusterShell 1.9): `chosts` with their options.

use std::ffi::OsString;
use std::io::IsTerminal;

use super::options::{Item, Opt, To, flag, ours, value};
use super::{About, Spelling};
use crate::diag::{Exit, Fail, stderr_line};
use crate::tools::fan::chosts;

pub static NODESET: Spelling = spelling("nodeset");
pub static CLUSET: Spelling = spelling("cluset");

const fn spelling(name: &'static str) -> Spelling {
    Spelling {
        name,
        ours: "chosts(1)",
        table: TABLE,
        mixed: |_| true,
        about: About {
            help: "-h",
            version: "--version",
        },
        run,
    }
}

static TABLE: &[Opt] = &[
    flag(&["-h", "--help"], To::Own),
    flag(&["--version"], To::Own),
    value(&["-s", "--groupsource"], To::Is("--groupsource")),
    value(
        &["--groupsconf"],
        To::No("groups are read from files of their own", "hostlist(7) says which"),
    ),
    flag(&["-c", "--count"], To::Own),
    flag(&["-e", "--expand"], To::Own),
    flag(&["-f", "--fold"], To::Own),
    flag(&["-l", "--list"], To::Own),
    flag(&["-L", "--list-all"], To::Own),
    flag(&["-r", "--regroup"], To::Own),
    flag(&["--groupsources", "--list-sources"], To::Own),
    value(&["-x", "--exclude"], To::Own),
    value(&["-i", "--intersection"], To::Own),
    value(&["-X", "--xor"], To::Own),
    flag(&["-a", "--all"], To::Is("--all")),
    value(&["--autostep"], To::Is("--autostep")),
    flag(&["-d", "--debug"], To::Always),
    flag(&["-q", "--quiet"], To::Always),
    flag(&["-R", "--rangeset"], To::Is("--rangeset")),
    flag(&["-G", "--groupbase"], To::Is("--groupbase")),
    value(&["-S", "--separator"], To::Own),
    value(&["-O", "--output-format"], To::Is("--output-format")),
    value(&["-I", "--slice"], To::Is("--slice")),
    value(&["--split"], To::Is("--split")),
    flag(&["--contiguous"], To::Is("--contiguous")),
    value(&["--axis"], To::Is("--axis")),
    value(&["--pick"], To::Is("--pick")),
];

/// The options of which there must be one, and what they are with us.
const COMMANDS: &[(&str, &str)] = &[
    ("-c", "--count"),
    ("-e", "--expand"),
    ("-f", "--fold"),
    ("-l", "--list-groups"),
    ("-L", "--list-all"),
    ("-r", "--regroup"),
    ("--groupsources", "--groupsources"),
];

const OPERATIONS: &[(&str, &str)] = &[("-x", "--exclude"), ("-i", "--intersect"), ("-X", "--xor")];

fn run(spelling: &Spelling, items: Vec<Item>) -> Result<Exit, Fail> {
    let mut line = vec![OsString::from("chosts")];
    let mut lists: Vec<OsString> = Vec::new();
    let mut command: Option<&str> = None;
    let mut separator = None;
    let begun = items.iter().any(|item| item.is("-a"));
    let words = items.iter().any(|item| matches!(item, Item::Word(_)));
    let mut left = begun || !words;
    for item in items {
        let (opt, value) = match item {
            Item::Word(word) => {
                left = true;
                lists.push(word);
                continue;
            }
            Item::Option(opt, value) => (opt, value),
        };
        let name = opt.names.first().copied().unwrap_or_default();
        if let Some(own) = ours(opt, &value)? {
            line.extend(own);
        } else if let Some((_, own)) = COMMANDS.iter().find(|(theirs, _)| *theirs == name) {
            if command.is_some_and(|given| given != *own) {
                return Err(Fail::usage(
                    "only one of -c -e -f -l -L -r --groupsources can be done at a time",
                ));
            }
            command = Some(*own);
            line.push(own.into());
            if *own == "--list-all" {
                // How often it is given says how much is listed.
                line.push("--list-groups".into());
            }
        } else if let Some((_, own)) = OPERATIONS.iter().find(|(theirs, _)| *theirs == name) {
            if left {
                let mut text = OsString::from(format!("{own}="));
                text.push(&value);
                lists.push(text);
            } else {
                // What stands on its left is empty, so only a xor leaves anything.
                stderr_line(&format!("{}: {name}: there are no hosts on its left", spelling.name));
                if name == "-X" {
                    left = true;
                    lists.push(value);
                }
            }
        } else if name == "-S" {
            separator = Some(unescaped(&value.to_string_lossy()));
        }
    }
    match command {
        None => return Err(Fail::usage("nothing to do is given").hint("-f folds, -e expands, -c counts")),
        Some("--expand") => {
            line.push("--sort".into());
            line.push(format!("--separator={}", separator.as_deref().unwrap_or(" ")).into());
        }
        Some("--list-groups" | "--list-all" | "--groupsources") => {}
        Some(_) => line.push("--sort".into()),
    }
    let lists_groups = matches!(command, Some("--list-groups" | "--list-all" | "--groupsources"));
    if !words && !begun && !lists_groups {
        // A filter reads what comes down the pipe; at a terminal there is nothing to be had.
        match std::io::stdin().is_terminal() {
            false => line.push("-".into()),
            true => return Err(Fail::usage("no hosts are named")),
        }
    }
    line.extend(lists);
    (chosts::TOOL.main)(&line)
}

/// A separator with `\n`, `\t` and `\\` as they are meant.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('\\') | None => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
            },
            c => out.push(c),
        }
    }
    out
}
