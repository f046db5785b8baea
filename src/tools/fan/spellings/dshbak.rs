//! `dshbak` (of pdsh 2.34) and `clubak` (of ClusterShell 1.9): `ccollate` with their options.

use super::options::{Item, To, flag, value};
use super::{About, Parts, Spelling};
use crate::diag::{Exit, Fail};
use crate::tools::fan::ccollate;
use crate::tools::fan::look::Heads;
use crate::tools::fan::manner::{Counts, Manner};

pub static DSHBAK: Spelling = Spelling {
    name: "dshbak",
    ours: "ccollate(1)",
    table: &[
        flag(&["-h"], To::Own),
        flag(&["-c"], To::Own),
        value(&["-d"], To::Is("--dir")),
        flag(&["-f"], To::Own),
        flag(&["--version"], To::Own),
    ],
    mixed: |_| true,
    about: About {
        help: "-h",
        version: "--version",
    },
    run: dshbak,
};

pub static CLUBAK: Spelling = Spelling {
    name: "clubak",
    ours: "ccollate(1)",
    table: &[
        flag(&["-h", "--help"], To::Own),
        flag(&["--version"], To::Own),
        flag(&["-b", "-c", "--dshbak"], To::Is("--coalesce")),
        flag(&["-B"], To::Is("--coalesce")),
        flag(&["-d", "--debug"], To::Always),
        flag(&["-q", "--quiet"], To::Always),
        flag(&["-v", "--verbose"], To::Always),
        flag(&["-L"], To::Is("--lines")),
        flag(&["-N"], To::Always),
        flag(&["-r", "--regroup"], To::Is("--regroup")),
        value(&["-s", "--groupsource"], To::Is("--groupsource")),
        value(
            &["--groupsconf"],
            To::No("groups are read from files of their own", "hostlist(7) says which"),
        ),
        flag(&["-G", "--groupbase"], To::Is("--groupbase")),
        value(&["-S", "--separator"], To::Own),
        flag(&["-F", "--fast"], To::Always),
        flag(
            &["-T", "--tree"],
            To::No("outputs are compared as a whole", "--diff shows where they differ"),
        ),
        value(&["--interpret-keys"], To::Always),
        value(&["--color"], To::Is("--color")),
        flag(&["--diff"], To::Is("--diff")),
        value(&["--outdir"], To::Is("--dir")),
        value(
            &["--errdir"],
            To::No("what is read has no errors apart", "--outdir takes all of it"),
        ),
    ],
    mixed: |_| true,
    about: About {
        help: "-h",
        version: "--version",
    },
    run: clubak,
};

fn dshbak(spelling: &Spelling, items: Vec<Item>) -> Result<Exit, Fail> {
    let mut parts = Parts::of("ccollate", items)?;
    if parts.has("-f") {
        if !parts.says("--dir") {
            return Err(Fail::usage("-f is only of use with -d").hint("-d names the directory that -f makes"));
        }
        parts.push("--force");
    }
    // To files each host goes by itself.
    if parts.has("-c") && !parts.says("--dir") {
        parts.push("--coalesce");
    }
    parts.push("--separator=:");
    ccollate::run(&parts.line(), &manner(spelling, 16, false))
}

fn clubak(spelling: &Spelling, items: Vec<Item>) -> Result<Exit, Fail> {
    let mut parts = Parts::of("ccollate", items)?;
    parts.push_value("--separator", parts.value("-S").unwrap_or_else(|| ":".into()));
    if parts.says("--dir") {
        parts.push("--force");
        // To files each host goes by itself.
        parts.ours.retain(|arg| *arg != *"--coalesce" && *arg != *"--lines");
    }
    if !parts.words.is_empty() {
        return Err(Fail::usage("only standard input is read").hint("'clubak <FILE'"));
    }
    ccollate::run(&parts.line(), &manner(spelling, 15, true))
}

fn manner(spelling: &Spelling, dashes: usize, count: bool) -> Manner {
    Manner {
        prog: spelling.name,
        counts: Counts::Nothing,
        heads: Heads {
            dashes,
            count,
            ended: false,
            bare_diff: true,
            ..Heads::default()
        },
    }
}
