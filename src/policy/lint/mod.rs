//! What is legal in a policy and yet hardly meant: `cfagent -p --lint`. One file for each concern; [`CHECKS`] is the
//! table. A check that is not sure says less: a finding that is none costs more than one that is missed.
//!
//! | file | owns |
//! |---|---|
//! | `classes` | classes nobody defines or uses, rules that never run, classes that come too late |
//! | `variables` | variables that are used and never set, set and never used |
//! | `sequence` | rules whose action has no turn |
//! | `overrides` | promises that contradict each other |
//! | `access` | admit and deny rules that do not say what they seem to |
//! | `dangers` | what anybody may write, what clears a system |

mod access;
mod classes;
mod dangers;
mod overrides;
mod sequence;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::HashMap;

pub(super) use sequence::words;

use super::definers::Definers;
use super::{PolicyError, Pos, Program};

/// How sure a finding is, and how bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// It is hardly meant.
    Warning,
    /// It may be meant; worth a look.
    Note,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The name of the check, one of [`CHECKS`].
    pub check: &'static str,
    /// Warning or note.
    pub tone: Tone,
    /// Where, what and the hint.
    pub what: PolicyError,
}

/// A check: its name and what it finds, in a line.
pub type Check = (&'static str, &'static str);

/// Every check.
pub static CHECKS: &[Check] = &[
    ("never-runs", "a predicate that no machine fulfils at any time"),
    ("unknown-class", "a class that nobody defines"),
    (
        "class-too-late",
        "a class that is defined after the place where it is asked for",
    ),
    ("unused-class", "a class that is defined and nobody asks for"),
    ("no-turn", "rules whose action is in no action sequence"),
    ("unset-variable", "a variable that is used and never set"),
    ("variable-too-late", "a variable that a function gets before it is set"),
    ("unused-variable", "a variable that is set and never used"),
    ("contradiction", "promises that want different things of one object"),
    (
        "edited-copy",
        "a file that is edited, and put back by a copy in each run",
    ),
    ("made-and-removed", "an object that one rule makes and another removes"),
    (
        "shadowed-admit",
        "an admit rule that an earlier one keeps from ever deciding",
    ),
    (
        "denied-admit",
        "an admit rule of which a deny rule takes everything back",
    ),
    ("open-admit", "everybody may read what only few should"),
    ("world-writable", "a mode that lets everybody write"),
    (
        "command-in-tmp",
        "a command that everybody can put something else in place of",
    ),
    (
        "clears-system",
        "a tidy or a purge that clears a directory of the system",
    ),
];

/// What every check gets.
struct Lint<'a> {
    program: &'a Program,
    definers: Definers,
    /// There is an action sequence, or access rules: the policy is whole. A part of one is judged by its own words only.
    whole: bool,
    findings: Vec<Finding>,
}

/// Judges a program that was read with [`super::Options::keep_text`]. The findings come in the order of the text.
pub fn lint(program: &Program) -> Vec<Finding> {
    let mut lint = Lint {
        program,
        definers: Definers::of(program),
        whole: !program.sequence.is_empty() || program.rules.iter().any(|rule| rule.section == super::Section::Admit),
        findings: Vec::new(),
    };
    classes::check(&mut lint);
    sequence::check(&mut lint);
    variables::check(&mut lint);
    overrides::check(&mut lint);
    access::check(&mut lint);
    dangers::check(&mut lint);
    let order: HashMap<&str, usize> = program
        .text
        .iter()
        .flat_map(|text| text.sources.iter().enumerate())
        .map(|(at, source)| (&*source.name, at))
        .collect();
    let mut findings = lint.findings;
    let place = |pos: &Pos| (order.get(&*pos.file).copied(), pos.line, pos.col);
    findings.sort_by_key(|finding| place(&finding.what.pos));
    findings.dedup_by(|a, b| a.check == b.check && a.what.pos == b.what.pos && a.what.message == b.what.message);
    findings
}

impl Lint<'_> {
    fn say(&mut self, check: &'static str, tone: Tone, pos: &Pos, message: String, hint: Option<String>) {
        debug_assert!(CHECKS.iter().any(|(name, _)| *name == check));
        if self.findings.len() >= MOST_FINDINGS {
            return;
        }
        let what = self.program.error_at(pos, message).with_hint(hint);
        self.findings.push(Finding { check, tone, what });
    }

    fn warn(&mut self, check: &'static str, pos: &Pos, message: String, hint: &str) {
        self.say(check, Tone::Warning, pos, message, Some(hint.into()));
    }
}

/// More findings than this are not told.
const MOST_FINDINGS: usize = 1000;
