//! `tidy`: old files go (cfengine2.md 14.4).
//!
//! Here is what a rule asks; `sweep` does it.

mod sweep;

use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};

use crate::agent::Outcome;
use crate::agent::action::{Action, Work, in_text_order, iterate};
use crate::agent::filters::{self, Filters};
use crate::agent::job::BytesPath;
use crate::agent::objects::{self, Ignore};
use crate::agent::suspicious::Suspicion;
use crate::agent::{Job, Run, settings};
use crate::policy::Section;

/// The line of the table.
pub static ACTION: Action = Action {
    name: "tidy",
    section: Section::Tidy,
    operator: "tidy",
    expand: iterate,
    order: in_text_order,
    once: false,
    work: Work::Each(work),
};

/// Nanoseconds of a day.
const DAY: i128 = 24 * 3600 * 1_000_000_000;

/// Which time tells the age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Access,
    Change,
    Inode,
}

/// What becomes of empty directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    Keep,
    Remove,
    /// All but the top.
    Below,
}

/// What becomes of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// Like files, unless they lead to directories.
    Stop,
    /// Those to directories are entered.
    Follow,
    /// Those that lead nowhere go.
    Dead,
}

/// How big a file must be to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    AtLeast(u64),
    Empty,
}

/// A tidy rule, read.
#[derive(Debug)]
struct Plan {
    patterns: Vec<BString>,
    exclude: Vec<BString>,
    ignore: Ignore,
    suspicion: Suspicion,
    filters: Filters,
    age: i128,
    clock: Clock,
    size: Size,
    empty: Empty,
    links: Links,
    dir_links: bool,
    recurse: u32,
    xdev: bool,
    compress: Option<BString>,
    /// What is deleted is written into `.cfengine.rm` of the home directory, so many levels up from what is swept.
    log: Option<usize>,
}

fn work(run: &mut Run<'_>, job: &Job) {
    let mut plan = match plan(run, job) {
        Ok(plan) => plan,
        Err(why) => {
            run.report.error(format_args!("{}: {why}", job.rule.pos));
            run.broken = true;
            return run.record(job, Outcome::Failed);
        }
    };
    plan.log = home_part(job.object.as_bstr()).filter(|_| settings::is_on(&run.ctx, "LogTidyHomeFiles", true));
    let places = folders(job.object.as_bstr(), || run.homes());
    let outcome = sweep::run(run, job, plan, &places);
    // What came of each object is marked already.
    run.record_classes(job, outcome);
}

fn plan(run: &Run<'_>, job: &Job) -> Result<Plan, String> {
    let words = |name: &str| run.value(job, name).map(|word| word.to_ascii_lowercase());
    let bad = |name: &str, word: Vec<u8>| format!("{name} cannot be {}", word.as_bstr());
    let age = run.value(job, "age").ok_or("Must specify an age for tidy actions")?;
    let age: i128 = age
        .to_str()
        .ok()
        .and_then(|age| age.trim().parse::<u32>().ok())
        .ok_or_else(|| bad("age", age.to_vec()))?
        .into();
    let mut patterns = run.values(job, "pattern");
    patterns.extend(run.values(job, "include"));
    Ok(Plan {
        patterns: patterns
            .iter()
            .map(|pattern| plain_brackets(pattern.as_bstr()))
            .collect(),
        exclude: run.values(job, "exclude"),
        ignore: run.ignored(&run.values(job, "ignore")),
        suspicion: Suspicion::of(run),
        filters: filters::named(run, job)?,
        age: age * DAY,
        clock: match words("type") {
            None => Clock::Access,
            Some(word) => match word.as_slice() {
                b"a" | b"atime" => Clock::Access,
                b"m" | b"mtime" => Clock::Change,
                b"c" | b"ctime" => Clock::Inode,
                _ => return Err(bad("type", word)),
            },
        },
        size: match words("size") {
            None => Size::AtLeast(0),
            Some(word) if word == b"empty" => Size::Empty,
            Some(word) => Size::AtLeast(size(&word).ok_or_else(|| bad("size", word))?),
        },
        empty: match words("rmdirs") {
            None => Empty::Keep,
            Some(word) => match word.as_slice() {
                b"true" | b"all" | b"on" | b"yes" => Empty::Remove,
                b"sub" => Empty::Below,
                b"false" | b"off" | b"no" => Empty::Keep,
                _ => return Err(bad("rmdirs", word)),
            },
        },
        links: match words("links") {
            None => Links::Stop,
            Some(word) => match word.as_slice() {
                b"stop" | b"keep" | b"false" => Links::Stop,
                b"traverse" | b"follow" | b"true" => Links::Follow,
                b"tidy" => Links::Dead,
                _ => return Err(bad("links", word)),
            },
        },
        dir_links: match words("dirlinks") {
            None => false,
            Some(word) => match word.as_slice() {
                b"keep" => false,
                b"tidy" | b"delete" => true,
                _ => return Err(bad("dirlinks", word)),
            },
        },
        recurse: run.recurse(job).map_err(|bad| bad.0)?,
        xdev: run.flag(job, "xdev", false),
        compress: match run.flag(job, "compress", false) {
            false => None,
            true => Some(
                run.ctx
                    .get("CompressCommand")
                    .ok_or("compress=true needs CompressCommand in control")?,
            ),
        },
        log: None,
    })
}

/// A size: kilobytes unless it says `b` or `m`; a `>` before it changes nothing.
fn size(word: &[u8]) -> Option<u64> {
    let word = word.strip_prefix(b">").unwrap_or(word);
    crate::agent::job::size(word, 1024)
}

/// Square brackets mean nothing in tidy patterns (22.2).
fn plain_brackets(pattern: &BStr) -> BString {
    let mut plain = BString::default();
    for byte in pattern.bytes() {
        if matches!(byte, b'[' | b'\\') {
            plain.push(b'\\');
        }
        plain.push(byte);
    }
    plain
}

/// How many levels below a home directory a rule sweeps; nothing when it sweeps elsewhere.
fn home_part(object: &BStr) -> Option<usize> {
    let rest = object.strip_prefix(b"home")?;
    (rest.is_empty() || rest.starts_with(b"/")).then(|| {
        rest.split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .count()
    })
}

/// The directories a rule means: those its wildcards match (brackets are plain here), or a place in every home.
fn folders(object: &BStr, homes: impl FnOnce() -> Vec<PathBuf>) -> Vec<PathBuf> {
    match object.strip_prefix(b"home") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
            let rest = rest.strip_prefix(b"/").unwrap_or_default().as_bstr();
            let homes = homes().into_iter();
            homes
                .map(|home| {
                    if rest.is_empty() {
                        home
                    } else {
                        home.join(rest.as_path())
                    }
                })
                .collect()
        }
        _ if !object.contains(&b'*') && !object.contains(&b'?') => vec![object.as_path().to_path_buf()],
        _ => objects::expand(plain_brackets(object).as_bstr()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::matches;

    #[test]
    fn sizes_are_kilobytes_unless_they_say_otherwise() {
        assert_eq!(
            (size(b"2"), size(b">2"), size(b"2b"), size(b"1m")),
            (Some(2048), Some(2048), Some(2), Some(1 << 20))
        );
        assert_eq!(size(b"x"), None);
    }

    #[test]
    fn brackets_are_plain_characters_in_patterns() {
        let pattern = plain_brackets("[ab]*.o".into());
        assert!(!matches(&pattern, b"a1.o") && matches(&pattern, b"[ab]1.o"));
    }

    #[test]
    fn a_wildcard_in_the_folder_means_every_folder_it_matches() {
        let top = tempfile::tempdir().unwrap();
        for name in ["u1/tmp", "u2/tmp", "v/tmp"] {
            std::fs::create_dir_all(top.path().join(name)).unwrap();
        }
        let pattern = format!("{}/u*/tmp", top.path().display());
        let found = folders(BStr::new(&pattern), Vec::new);
        assert_eq!(found, [top.path().join("u1/tmp"), top.path().join("u2/tmp")]);
        assert_eq!(folders("/no/wild".into(), Vec::new), [PathBuf::from("/no/wild")]);
    }
}
