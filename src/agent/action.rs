//! The table of actions: what a word of the action sequence does. A new action is one file and one line here.

use bstr::{BString, ByteSlice};

use super::{
    Job, Run, alerts, checktimezone, copy, directories, disable, editfiles, files, links, methods, mounts, netconfig,
    packages, processes, required, resolve, shellcommands, tidy,
};
use crate::policy::{Rule, Section};

/// One type of action.
pub struct Action {
    /// Its word in the action sequence.
    pub name: &'static str,
    /// The section its rules stand in.
    pub section: Section,
    /// What its promises are called in locks and messages about them (`shellcommand`).
    pub operator: &'static str,
    /// The promises of a rule: promiser and a second value that goes with it, expanded.
    pub expand: fn(&Run<'_>, &Rule) -> Vec<(BString, BString)>,
    /// Rules with a smaller number come first, otherwise they come in text order.
    pub order: fn(&Rule) -> u8,
    /// Only in the first pass of a phase.
    pub once: bool,
    /// What is done.
    pub work: Work,
}

/// How an action does its work.
pub enum Work {
    /// It is called for each promise when its turn comes: its class holds, it was not done yet, and no lock is on it.
    Each(fn(&mut Run<'_>, &Job)),
    /// It walks its rules itself, by [`Run::jobs`], [`Run::holds`], [`Run::begin`] and [`Run::end`].
    All(fn(&mut Run<'_>, &'static Action)),
}

/// Every action, by its word in the action sequence.
pub static ACTIONS: &[&Action] = &[
    &copy::ACTION,
    &files::ACTION,
    &directories::ACTION,
    &links::ACTION,
    &editfiles::ACTION,
    &shellcommands::ACTION,
    &tidy::ACTION,
    &disable::DISABLE,
    &disable::RENAME,
    &processes::ACTION,
    &packages::ACTION,
    &methods::ACTION,
    &required::REQUIRED,
    &required::DISKS,
    &resolve::ACTION,
    &mounts::ADDMOUNTS,
    &mounts::MOUNTALL,
    &mounts::MOUNTINFO,
    &mounts::MAILCHECK,
    &netconfig::ACTION,
    &mounts::UNMOUNT,
    &checktimezone::ACTION,
];

/// The alerts, which are no word of the action sequence: they come after it.
pub static ALERTS: &Action = &alerts::ACTION;

/// Sections that an action reads besides its own.
static MORE: &[(&str, &[Section])] = &[
    ("addmounts", &[Section::Mountables]),
    ("netconfig", &[Section::Broadcast, Section::DefaultRoute]),
];

impl Action {
    /// Whether the rules of a section are this action's.
    pub fn covers(&self, section: Section) -> bool {
        let more = MORE.iter().find(|(name, _)| *name == self.name);
        self.section == section || more.is_some_and(|(_, sections)| sections.contains(&section))
    }
}

/// The action a word of the action sequence means.
pub fn find(word: &[u8]) -> Option<&'static Action> {
    ACTIONS.iter().copied().find(|action| action.name.as_bytes() == word)
}

/// No order but that of the text.
pub fn in_text_order(_: &Rule) -> u8 {
    0
}

/// One promise for each value of the list variables in the promiser.
pub fn iterate(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    let objects = run.ctx.iterate(rule.promiser.as_bstr());
    objects.into_iter().map(|object| (object, BString::default())).collect()
}

/// One promise, whatever its variables hold.
pub fn whole(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    vec![(run.ctx.expand(rule.promiser.as_bstr()), BString::default())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_knows_every_action_and_no_other() {
        let mut built: Vec<&str> = ACTIONS.iter().map(|action| action.name).collect();
        let mut known = crate::policy::ACTION_WORDS.to_vec();
        built.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, built);
    }
}
