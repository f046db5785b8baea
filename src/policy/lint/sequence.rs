//! Rules whose action has no turn.

use std::collections::BTreeMap;

use super::{Lint, Tone};
use crate::policy::Section;

/// The words of the action sequence that give the rules of a section their turn; none where they need none.
pub(in crate::policy) fn words(section: Section) -> &'static [&'static str] {
    match section {
        Section::Copy => &["copy"],
        Section::Files => &["files"],
        Section::Directories => &["directories"],
        Section::Tidy => &["tidy"],
        Section::Links => &["links"],
        Section::ShellCommands => &["shellcommands"],
        Section::Disable => &["disable", "rename"],
        Section::EditFiles => &["editfiles"],
        Section::Processes => &["processes"],
        Section::Packages => &["packages"],
        Section::Methods => &["methods"],
        Section::Disks => &["required", "disks"],
        Section::Resolve => &["resolve"],
        Section::Mountables => &["mountall", "mountinfo", "addmounts"],
        Section::MiscMounts => &["addmounts", "mountall"],
        Section::Unmount => &["unmount"],
        Section::MailServer => &["mailcheck", "addmounts"],
        Section::Interfaces | Section::DefaultRoute | Section::Broadcast => &["netconfig"],
        _ => &[],
    }
}

pub(super) fn check(lint: &mut Lint<'_>) {
    let sequence = &lint.program.sequence;
    if sequence.is_empty() || sequence.iter().any(|entry| entry.text.contains(&b'$')) {
        return;
    }
    let has = |word: &str| {
        sequence
            .iter()
            .any(|entry| entry.text.split(|byte| *byte == b'.').next() == Some(word.as_bytes()))
    };
    let mut idle = BTreeMap::new();
    for rule in &lint.program.rules {
        let words = words(rule.section);
        if !words.is_empty() && !words.iter().any(|word| has(word)) {
            idle.entry(rule.section).or_insert((&rule.pos, 0)).1 += 1;
        }
    }
    for (section, (pos, count)) in idle {
        let rules = if count == 1 {
            "this rule".to_string()
        } else {
            format!("these {count} rules")
        };
        let message = format!(
            "{rules} of {}: never run: {} is in no action sequence",
            section.name(),
            words(section).join(" or ")
        );
        let hint = format!("add '{}' to actionsequence in control:", words(section)[0]);
        lint.say("no-turn", Tone::Warning, pos, message, Some(hint));
    }
}
