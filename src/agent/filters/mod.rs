//! `filters:`: conditions on files and processes, used by `filter=` (cfengine2.md 14.14).
//!
//! A filter names criteria and combines them in its `Result` with the class operators. An unknown filter matches
//! everything (22.2).

mod bound;
mod facts;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use crate::agent::mode::ModeChange;
use crate::agent::{Job, Run, owner};
use crate::fsx::{Dir, Entry, Kind, Meta};
use crate::policy::{Body, ClassExpr, Ere, Section};
use facts::{Facts, file};

/// The filters of a rule; all must pass.
#[derive(Debug, Default)]
pub struct Filters(Vec<Filter>);

/// One filter, read.
#[derive(Debug)]
struct Filter {
    criteria: Vec<(&'static str, Test)>,
    result: ClassExpr,
    define: Vec<BString>,
    else_define: Vec<BString>,
}

/// What one criterion asks.
#[derive(Debug)]
enum Test {
    /// Numbers of users or groups; `None` stands for a number without a name.
    Ids(Vec<Option<u32>>),
    Mode(ModeChange),
    Kinds(Vec<BString>),
    /// From, to; inclusive.
    Range(i128, i128),
    Regex(Ere),
    Program(BString),
    Output(BString, Ere),
}

/// A process as filters see it: columns of ps by the criterion they answer.
pub type Columns<'a> = dyn Fn(&str) -> Option<BString> + 'a;

/// The filters that `filter=` names.
pub fn named(run: &Run<'_>, job: &Job) -> Result<Filters, String> {
    by_name(run, &run.values(job, "filter"))
}

/// The filters of these names.
pub fn by_name(run: &Run<'_>, names: &[BString]) -> Result<Filters, String> {
    let mut filters = Vec::new();
    if names.is_empty() {
        return Ok(Filters::default());
    }
    for rule in run.rules(Section::Filters) {
        if !names.contains(&run.ctx.expand(rule.promiser.as_bstr())) || !run.ctx.holds(&rule.class) {
            continue;
        }
        if let Body::Pairs(pairs) = &rule.body {
            let now = run.now.clone();
            let expand = |text: &BString| run.ctx.expand(text.as_bstr());
            let filter = read(pairs.iter().map(|(key, value, _)| (key.as_bstr(), expand(value))), &now);
            filters.push(filter.map_err(|why| format!("filter {}: {why}", rule.promiser))?);
        }
    }
    Ok(Filters(filters))
}

/// The criteria, by the name that `Result` uses, with those that make a range.
const RANGES: &[(&str, &str, &str)] = &[
    ("Size", "FromSize", "ToSize"),
    ("Ctime", "FromCtime", "ToCtime"),
    ("Mtime", "FromMtime", "ToMtime"),
    ("Atime", "FromAtime", "ToAtime"),
    ("TTime", "FromTTime", "ToTTime"),
    ("STime", "FromSTime", "ToSTime"),
];

/// Criteria that are regular expressions for the whole value.
const REGEXES: &[&str] = &[
    "NameRegex",
    "IsSymLinkTo",
    "PID",
    "PPID",
    "PGID",
    "RSize",
    "VSize",
    "Status",
    "Command",
    "TTY",
    "Priority",
    "Threads",
];

fn read<'a>(pairs: impl Iterator<Item = (&'a BStr, BString)>, now: &jiff::Zoned) -> Result<Filter, String> {
    let mut criteria: Vec<(&'static str, Test)> = Vec::new();
    let mut result = None;
    let (mut define, mut else_define) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        let key = key.trim_end_with(|c| c == ':').to_str_lossy();
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if let Some((name, from, _)) = RANGES.iter().find(|(_, from, to)| is(from) || is(to)) {
            let bound = bound::read(name, value.as_bstr(), now)?;
            let at = criteria.iter().position(|(known, _)| known == name);
            let at = at.unwrap_or_else(|| {
                criteria.push((name, Test::Range(i128::MIN, i128::MAX)));
                criteria.len() - 1
            });
            if let Some((_, Test::Range(low, high))) = criteria.get_mut(at) {
                *(if is(from) { low } else { high }) = bound;
            }
        } else if let Some(name) = REGEXES.iter().find(|name| is(name)) {
            criteria.push((name, Test::Regex(Ere::new(&value).map_err(|e| e.to_string())?)));
        } else if is("Owner") {
            criteria.push(("Owner", Test::Ids(ids(&value, owner::uid)?)));
        } else if is("Group") {
            criteria.push(("Group", Test::Ids(ids(&value, owner::gid)?)));
        } else if is("Mode") {
            criteria.push(("Mode", Test::Mode(ModeChange::parse(&value)?)));
        } else if is("Type") {
            criteria.push(("Type", Test::Kinds(words(&value))));
        } else if is("ExecProgram") {
            criteria.push(("ExecProgram", Test::Program(value)));
        } else if is("ExecRegex") {
            let (command, regex) = exec_regex(&value)?;
            criteria.push(("ExecRegex", Test::Output(command, regex)));
        } else if is("Result") {
            result = Some(ClassExpr::parse(&value)?);
        } else if is("DefineClasses") {
            define = classes(&value);
        } else if is("ElseDefineClasses") {
            else_define = classes(&value);
        } else {
            return Err(format!("there is no criterion {key}"));
        }
    }
    Ok(Filter {
        criteria,
        result: result.ok_or("it has no Result")?,
        define,
        else_define,
    })
}

fn words(value: &[u8]) -> Vec<BString> {
    value
        .split(|byte| *byte == b'|')
        .map(|word| BString::from(word.trim().to_ascii_lowercase()))
        .collect()
}

fn classes(value: &[u8]) -> Vec<BString> {
    let parts = value.split(|byte| matches!(byte, b':' | b',' | b'.'));
    parts
        .map(|class| BString::from(class.trim()))
        .filter(|class| !class.is_empty())
        .collect()
}

fn ids(value: &[u8], find: fn(&BStr) -> Result<u32, String>) -> Result<Vec<Option<u32>>, String> {
    let parts = value.split(|byte| *byte == b'|').map(|name| name.trim().as_bstr());
    parts
        .map(|name| match name.eq_ignore_ascii_case(b"none") {
            true => Ok(None),
            false => find(name).map(Some),
        })
        .collect()
}

/// `"/cmd $(this) (regex)"`
fn exec_regex(value: &[u8]) -> Result<(BString, Ere), String> {
    let wrong = || "ExecRegex wants a command and a regular expression in brackets".to_string();
    let text = value.trim_end().strip_suffix(b")").ok_or_else(wrong)?;
    // `$(this)` opens a bracket, too.
    let at = text.rfind(b" (").ok_or_else(wrong)?;
    Ok((text[..at].into(), Ere::new(&text[at + 2..]).map_err(|e| e.to_string())?))
}

impl Filters {
    /// Whether a file passes all filters. Programs of filters run; classes of filters are set.
    pub fn pass(&self, run: &mut Run<'_>, dir: &Dir, name: &BStr, path: &Path, meta: &Meta) -> bool {
        let target = || dir.read_link(name).ok();
        let facts = Facts {
            kind: Kind::of(meta),
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            size: meta.size(),
            ctime: meta.ctime(),
            mtime: meta.mtime(),
            atime: Some(meta.atime()),
            name,
            path: Some(path),
            target: &target,
        };
        self.pass_facts(run, &facts)
    }

    /// Whether an object of a source passes all filters. What a source does not tell (access times, and what a program
    /// would say of a file on another machine) is no match.
    pub fn pass_entry(&self, run: &mut Run<'_>, entry: &Entry, path: &Path, local: bool) -> bool {
        let target = || Some(entry.target.clone());
        let facts = Facts {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            ctime: entry.ctime,
            mtime: entry.mtime,
            atime: None,
            name: path
                .file_name()
                .map_or(BStr::new(""), |name| BStr::new(name.as_bytes())),
            path: local.then_some(path),
            target: &target,
        };
        self.pass_facts(run, &facts)
    }

    fn pass_facts(&self, run: &mut Run<'_>, facts: &Facts<'_>) -> bool {
        self.0.iter().all(|filter| {
            let holds = filter
                .result
                .eval(&|criterion: &BStr| filter.ask(criterion, |test, name_of_test| file(test, name_of_test, facts)));
            filter.conclude(run, holds)
        })
    }

    /// Whether a process passes all filters.
    pub fn pass_process(&self, run: &mut Run<'_>, columns: &Columns<'_>) -> bool {
        self.0.iter().all(|filter| {
            let holds = filter.result.eval(&|criterion: &BStr| {
                filter.ask(criterion, |test, name_of_test| {
                    process_fits(test, name_of_test, columns)
                })
            });
            filter.conclude(run, holds)
        })
    }

    /// Whether there is nothing to pass.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Filter {
    /// A name in `Result` that stands for no criterion is false.
    fn ask(&self, criterion: &BStr, answer: impl Fn(&Test, &str) -> bool) -> bool {
        let mut tests = self
            .criteria
            .iter()
            .filter(|(name, _)| name.as_bytes().eq_ignore_ascii_case(criterion))
            .peekable();
        tests.peek().is_some() && tests.all(|(name, test)| answer(test, name))
    }

    fn conclude(&self, run: &mut Run<'_>, holds: bool) -> bool {
        for class in if holds { &self.define } else { &self.else_define } {
            run.define(class.as_bstr());
        }
        holds
    }
}

fn process_fits(test: &Test, criterion: &str, columns: &Columns<'_>) -> bool {
    let Some(value) = columns(criterion) else { return false };
    match test {
        Test::Ids(ids) => ids.iter().any(|id| *id == owner::uid(value.as_bstr()).ok()),
        Test::Regex(ere) => ere.matches(&value),
        Test::Range(low, high) => {
            let value = value.to_str().ok().and_then(|text| text.parse::<i128>().ok());
            value.is_some_and(|value| (*low..=*high).contains(&value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> jiff::Zoned {
        "2026-11-21T20:00:00+00:00[UTC]".parse().unwrap()
    }

    fn filter(pairs: &[(&str, &str)]) -> Result<Filter, String> {
        read(
            pairs
                .iter()
                .map(|(key, value)| (BStr::new(*key), BString::from(*value))),
            &now(),
        )
    }

    #[test]
    fn a_filter_without_result_and_unknown_criteria_are_refused() {
        assert_eq!(filter(&[("Owner", "root")]).unwrap_err(), "it has no Result");
        assert_eq!(
            filter(&[("Colour", "red"), ("Result", "Colour")]).unwrap_err(),
            "there is no criterion Colour"
        );
    }

    #[test]
    fn criteria_choose_files_and_results_combine_them() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("a.c"), "x".repeat(300)).unwrap();
        std::fs::write(top.path().join("b.o"), "x".repeat(9000)).unwrap();
        std::os::unix::fs::symlink("a.c", top.path().join("ln")).unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let pass = |pairs: &[(&str, &str)], name: &str| {
            let filter = filter(pairs).unwrap();
            let meta = dir.meta(name.into()).unwrap();
            let path = top.path().join(name);
            let target = || dir.read_link(name.into()).ok();
            let facts = Facts {
                kind: Kind::of(&meta),
                mode: meta.mode(),
                uid: meta.uid(),
                gid: meta.gid(),
                size: meta.size(),
                ctime: meta.ctime(),
                mtime: meta.mtime(),
                atime: Some(meta.atime()),
                name: name.into(),
                path: Some(&path),
                target: &target,
            };
            filter
                .result
                .eval(&|criterion: &BStr| filter.ask(criterion, |test, name_of_test| file(test, name_of_test, &facts)))
        };
        let sized = [
            ("FromSize", "5k"),
            ("ToSize", "inf"),
            ("NameRegex", r".*\.[co]"),
            ("Result", "Size.NameRegex"),
        ];
        assert!(pass(&sized, "b.o") && !pass(&sized, "a.c"));
        let links = [
            ("Type", "link|dir"),
            ("IsSymLinkTo", "a.*"),
            ("Result", "Type.IsSymLinkTo"),
        ];
        assert!(pass(&links, "ln") && !pass(&links, "a.c"));
        let either = [("Type", "link"), ("NameRegex", "b.*"), ("Result", "Type|NameRegex")];
        assert!(pass(&either, "ln") && pass(&either, "b.o") && !pass(&either, "a.c"));
        let program = [("ExecProgram", "/usr/bin/test -L $(this)"), ("Result", "!ExecProgram")];
        assert!(!pass(&program, "ln") && pass(&program, "b.o"));
        let output = [
            ("ExecRegex", r"/bin/echo size $(this) (size .*/a\.c)"),
            ("Result", "ExecRegex"),
        ];
        assert!(pass(&output, "a.c") && !pass(&output, "b.o"));
        let old = [("ToMtime", "tminus(0,0,1,0,0,0)"), ("Result", "Mtime")];
        // Files made just now are younger than any day, unless the clock of the test stands in their future.
        assert!(!pass(&old, "a.c") || now().timestamp() > jiff::Timestamp::now());
    }
}
