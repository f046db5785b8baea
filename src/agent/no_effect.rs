//! What a policy may say and what has no effect on Linux: told once a run with its place, for whoever looks closely. The
//! same table stands in cfagent.conf(5).

use std::collections::HashSet;

use super::Run;
use crate::policy::Section;

/// Something that has no effect, and why.
struct Vain {
    what: What,
    why: &'static str,
}

enum What {
    /// Every rule of a section.
    Section(Section),
    /// An attribute, in any section.
    Attribute(&'static str),
    /// A variable of `control:`.
    Variable(&'static str),
}

const fn section(section: Section, why: &'static str) -> Vain {
    Vain {
        what: What::Section(section),
        why,
    }
}

const fn attribute(name: &'static str, why: &'static str) -> Vain {
    Vain {
        what: What::Attribute(name),
        why,
    }
}

const fn variable(name: &'static str, why: &'static str) -> Vain {
    Vain {
        what: What::Variable(name),
        why,
    }
}

const OTHER_SYSTEM: &str = "it is for another system's package manager";
const ONE_PLACE: &str = "locks and logs are in the state directory";

static TABLE: &[Vain] = &[
    section(Section::Scli, "there is no SNMP interpreter"),
    attribute("findertype", "only the Macintosh has types of files"),
    attribute("flags", "only BSD has such flags"),
    attribute(
        "expireafter",
        "one agent is at work at a time, and ExpireAfter says how long it may be",
    ),
    attribute("verify", "what arrives is always compared with its digest"),
    attribute("oldserver", "there is one protocol"),
    attribute("scanarrivals", "times of arrival are not gathered"),
    variable("AIXInstallCommand", OTHER_SYSTEM),
    variable("FreeBSDInstallCommand", OTHER_SYSTEM),
    variable("FreeBSDRemoveCommand", OTHER_SYSTEM),
    variable("SUNInstallCommand", OTHER_SYSTEM),
    variable("SunRemoveCommand", OTHER_SYSTEM),
    variable("FullEncryption", "everything is encrypted"),
    variable("LockDirectory", ONE_PLACE),
    variable("LogDirectory", ONE_PLACE),
    variable("MaxCfengines", "one agent is at work at a time"),
    variable("SkipIdentify", "a client is known by its key"),
];

/// Tells what of the policy has no effect.
pub fn tell(run: &mut Run<'_>) {
    if !run.report.shows(super::Level::Verbose) {
        return;
    }
    let mut told: HashSet<&'static str> = HashSet::new();
    for rule in run.all_rules() {
        if !run.holds_class(&rule.class) {
            continue;
        }
        for vain in TABLE {
            let (name, pos) = match vain.what {
                What::Section(section) if rule.section == section => (section.name(), &rule.pos),
                What::Attribute(name) => match rule.attrs.get(name) {
                    Some(attr) => (name, &attr.pos),
                    None => continue,
                },
                _ => continue,
            };
            if told.insert(name) {
                let mark = if rule.section.name() == name { ":" } else { "=" };
                run.report.verbose(format_args!(
                    "{}:{}: {name}{mark} has no effect here: {}",
                    pos.file, pos.line, vain.why
                ));
            }
        }
    }
    for vain in TABLE {
        let What::Variable(name) = vain.what else { continue };
        if let Some((_, pos)) = run.ctx.placed_list(name).last() {
            let place = pos.as_ref().map(|pos| format!("{}:{}: ", pos.file, pos.line));
            let place = place.unwrap_or_else(|| "control: ".into());
            run.report
                .verbose(format_args!("{place}{name} has no effect here: {}", vain.why));
        }
    }
}

/// The names of the table as a policy writes them: `scli:`, `flags=`, `FullEncryption`.
pub fn names() -> Vec<String> {
    let name = |vain: &Vain| match vain.what {
        What::Section(section) => format!("{}:", section.name()),
        What::Attribute(name) => format!("{name}="),
        What::Variable(name) => name.to_string(),
    };
    TABLE.iter().map(name).collect()
}
