//! Variables: used and never set, set and never used, used by a function before they are set.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bstr::{BStr, BString, ByteSlice};

use super::{Lint, Tone};
use crate::policy::ast::Value;
use crate::policy::source::{did_you_mean, distance};
use crate::policy::uses::{Reader, Reference, references};
use crate::policy::{Body, Pos, Scope, Section, names, uses};

/// Commands that people write as `$(command)` in a text for a shell.
static COMMANDS: &[&str] = &[
    "hostname",
    "pwd",
    "whoami",
    "uname",
    "tty",
    "nproc",
    "id",
    "logname",
    "who",
    "uptime",
    "mktemp",
    "dirname",
    "basename",
    "cat",
    "runlevel",
    "domainname",
    "dnsdomainname",
    "users",
    "groups",
    "locale",
    "getconf",
];

pub(super) fn check(lint: &mut Lint<'_>) {
    let set = set(lint);
    unset(lint, &set);
    too_late(lint);
    unused(lint, &set);
}

/// Names that something sets: the policy, also under classes that do not hold here.
fn set(lint: &Lint<'_>) -> BTreeMap<BString, Pos> {
    let mut set = BTreeMap::new();
    for assignment in lint.program.text.iter().flat_map(|text| &text.assignments) {
        if assignment.groups {
            continue;
        }
        set.entry(assignment.name.clone()).or_insert(assignment.pos.clone());
        if names::own(&assignment.name) == Some("methodparameters") {
            for value in &assignment.values {
                if let Value::Word(name, pos) | Value::Text(name, pos) = value {
                    set.entry(name.clone()).or_insert(pos.clone());
                }
            }
        }
    }
    set
}

fn unset(lint: &mut Lint<'_>, set: &BTreeMap<BString, Pos>) {
    let program = lint.program;
    let modules = lint.definers.open;
    let methods = program.rules.iter().any(|rule| rule.section == Section::Methods);
    let asked: HashSet<BString> = uses::asked_by_name(program).into_iter().collect();
    let known = |reference: &Reference<'_>| {
        let name = reference.name;
        uses::is_special(name)
            || set.contains_key(name)
            || asked.contains(name)
            || program.context.lookup(name).is_some()
            || program
                .context
                .lookup(&reference.written[2..reference.written.len() - 1])
                .is_some()
            || name.iter().all(u8::is_ascii_digit)
            || reference
                .scope
                .is_some_and(|scope| scope != "main" && scope != "update")
            || (methods && reference.scope.is_some())
    };
    let whole = lint.whole && !modules;
    let mut found: BTreeMap<BString, (Pos, Tone, BString, Option<String>, usize)> = BTreeMap::new();
    uses::texts(program, &mut |used| {
        for reference in references(used.text) {
            if known(&reference) {
                continue;
            }
            if let Some((.., count)) = found.get_mut(reference.name) {
                *count += 1;
                continue;
            }
            let near = near(set, reference.name);
            if near.is_none() && (!whole || !meant(&reference, used.text, used.reader)) {
                continue;
            }
            let pos = used.pos.clone();
            found.insert(
                reference.name.into(),
                (pos, Tone::Warning, reference.written.into(), near, 1),
            );
        }
    });
    for (name, (pos, tone, written, near, count)) in found {
        let times = if count > 1 {
            format!(", {count} times")
        } else {
            String::new()
        };
        let message = format!("{written} is used{times}, but nothing sets '{name}'");
        let hint = near.or_else(|| {
            Some("set it in control: or in the environment; otherwise the text stays as it is written".into())
        });
        lint.say("unset-variable", tone, &pos, message, hint);
    }
}

/// Whether a reference to what is not set was meant for the agent. A shell and the readers of an edited file have
/// variables of their own.
fn meant(reference: &Reference<'_>, text: &BStr, reader: Reader) -> bool {
    let name = reference.name.to_str_lossy();
    let braces = reference.written.starts_with(b"${");
    let upper = !name.bytes().any(|byte| byte.is_ascii_lowercase());
    match reader {
        Reader::Agent => true,
        Reader::Shell if COMMANDS.contains(&&*name) || name == "date" => false,
        Reader::Shell => !(shell_sets(text, &name) || (braces && upper)),
        Reader::Other => false,
    }
}

/// Whether a command line sets a variable itself: `x=`, `for x in`, `read x`.
fn shell_sets(text: &BStr, name: &str) -> bool {
    let boundary = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    text.find_iter(name.as_bytes()).any(|at| {
        let before = &text[..at];
        let after = &text[at + name.len()..];
        let alone = boundary(before.last()) && !before.ends_with(b"${") && !before.ends_with(b"$(");
        alone
            && (after.starts_with(b"=")
                || before.ends_with(b"for ")
                || (before.contains_str("read ") && boundary(after.first())))
    })
}

/// The variable that a name was probably meant to be.
fn near(set: &BTreeMap<BString, Pos>, name: &BStr) -> Option<String> {
    if name.len() < 4 {
        return None;
    }
    let letters = |text: &[u8]| -> Vec<u8> { text.iter().filter(|byte| !byte.is_ascii_digit()).copied().collect() };
    let most = if name.len() < 9 { 1 } else { 2 };
    let alike = set.keys().filter(|known| {
        letters(known) != letters(name) && (known.eq_ignore_ascii_case(name) || distance(known, name) <= most)
    });
    did_you_mean(name, alike.filter_map(|known| known.to_str().ok()))
}

/// Functions are called while the policy is read: what they get must be set above.
fn too_late(lint: &mut Lint<'_>) {
    let Some(text) = &lint.program.text else { return };
    let mut later: BTreeMap<&BString, &Pos> = BTreeMap::new();
    for assignment in text.assignments.iter().rev().filter(|assignment| !assignment.groups) {
        later.insert(&assignment.name, &assignment.pos);
    }
    let mut found = Vec::new();
    for assignment in &text.assignments {
        for value in &assignment.values {
            let Value::Call(call) = value else { continue };
            for reference in references(&call.whole) {
                if uses::is_special(reference.name) {
                    continue;
                }
                if let Some(pos) = later.get(&BString::from(reference.name)) {
                    let message = format!(
                        "{} gets {}, which is set only later, at {pos}",
                        call.name, reference.written
                    );
                    found.push((call.pos.clone(), message));
                }
            }
        }
        if !assignment.groups {
            later.remove(&assignment.name);
        }
    }
    let hint = "a function is called where it stands, while the policy is read";
    for (pos, message) in found {
        lint.warn("variable-too-late", &pos, message, hint);
    }
}

fn unused(lint: &mut Lint<'_>, set: &BTreeMap<BString, Pos>) {
    // What update.conf sets may be used by the policy it fetches.
    if !lint.whole || lint.program.context.scope() == Scope::Update {
        return;
    }
    let Some(text) = &lint.program.text else { return };
    let mut used: BTreeSet<BString> = uses::asked_by_name(lint.program).into_iter().collect();
    for source in &text.sources {
        used.extend(mentioned(&source.bytes));
    }
    for rule in &lint.program.rules {
        for attr in rule.attrs.all("returnvars") {
            used.extend(attr.value.split(|byte| *byte == b',').map(BString::from));
        }
        if let Body::Call(args) = &rule.body {
            used.extend(args.iter().cloned());
        }
    }
    let own: Vec<(&BString, &Pos)> = set
        .iter()
        .filter(|(name, _)| !uses::is_special(name) && !used.contains(*name))
        .collect();
    for (name, pos) in own {
        let hint = did_you_mean(name, names::SCALARS.iter().chain(names::LISTS).copied());
        let message = format!("nothing uses the variable '{name}'");
        lint.say("unused-variable", Tone::Note, pos, message, hint);
    }
}

/// Every name after a `$(` or `${`, in comments and texts alike; contexts in front of it are left out.
fn mentioned(bytes: &[u8]) -> impl Iterator<Item = BString> {
    bytes.find_iter(b"$").filter_map(|at| {
        let inner = bytes[at + 1..]
            .strip_prefix(b"(")
            .or(bytes[at + 1..].strip_prefix(b"{"))?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.';
        let end = inner.iter().position(|byte| !is_name(byte)).unwrap_or(inner.len());
        let name = &inner[..end];
        Some(BString::from(name.rsplit(|byte| *byte == b'.').next().unwrap_or(name)))
    })
}
