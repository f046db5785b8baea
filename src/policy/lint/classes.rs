//! Classes: predicates that can never hold, names nobody defines, names nobody asks for, names that come too late.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};

use super::{Lint, Tone};
use crate::policy::ast::Value;
use crate::policy::definers::When;
use crate::policy::hard::{self, Shape};
use crate::policy::source::did_you_mean;
use crate::policy::{ClassExpr, Pos, names, satisfy, uses};

pub(super) fn check(lint: &mut Lint<'_>) {
    let mut asked: Vec<(ClassExpr, Pos)> = Vec::new();
    uses::predicates(lint.program, &mut |class, pos, _| {
        asked.push((class.clone(), pos.clone()))
    });
    never_runs(lint, &asked);
    unknown(lint, &asked);
    too_late(lint);
    unused(lint, &asked);
}

fn never_runs(lint: &mut Lint<'_>, asked: &[(ClassExpr, Pos)]) {
    for (class, pos) in asked {
        if satisfy::possible(&[(class, true)]) {
            continue;
        }
        let text = class.text();
        let names = class.names();
        let never = names.iter().find_map(|name| match hard::shape(name) {
            Shape::Never(how) => Some((name, how)),
            _ => None,
        });
        let rivals = names.iter().enumerate().find_map(|(at, name)| {
            let kind = hard::rivals(name)?;
            let other = names[..at].iter().find(|other| hard::rivals(other) == Some(kind))?;
            Some(format!(
                "'{other}' and '{name}' are never true together: {kind} is one at a time; '|' means or"
            ))
        });
        let hint = match never {
            Some((name, how)) => format!("no moment has the class '{name}': {how}"),
            None if text.contains_str("..") || text.contains_str("&&") => {
                "an empty term is false; 'a.b' means both".into()
            }
            None => rivals.unwrap_or_else(|| "it contradicts itself".into()),
        };
        let message = format!("'{text}::' never holds, on no machine and at no time");
        lint.warn("never-runs", pos, message, &hint);
    }
}

/// Whether a name can only be that of a class of the policy's own: hosts are hardly called so.
fn is_own_word(name: &BStr) -> bool {
    let upper = name.iter().any(u8::is_ascii_uppercase);
    let counted = name.last().is_some_and(u8::is_ascii_digit);
    (name.contains(&b'_') || upper) && !counted
}

/// Whether anybody, or the machine, sets a class of that name.
fn is_known(lint: &Lint<'_>, name: &BStr) -> bool {
    let context = &lint.program.context;
    context.has(name) || context.negated().iter().any(|known| known == name) || lint.definers.knows(name)
}

/// Members of groups that are hosts: words with no operator but the dots of a full name, of which nothing is known.
fn hosts(lint: &Lint<'_>) -> BTreeSet<BString> {
    let mut hosts = BTreeSet::new();
    let text = lint.program.text.iter();
    for assignment in text.flat_map(|text| &text.assignments).filter(|one| one.groups) {
        for value in &assignment.values {
            let Value::Word(word, _) = value else { continue };
            let word = word.strip_prefix(b"-").unwrap_or(word);
            let names: Vec<&BStr> = word.split(|byte| *byte == b'.').map(BStr::new).collect();
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let free = |name: &&BStr| !name.is_empty() && name.bytes().all(plain) && !is_known(lint, name);
            if names.iter().all(free) {
                hosts.extend(names.into_iter().map(BString::from));
            }
        }
    }
    hosts
}

fn unknown(lint: &mut Lint<'_>, asked: &[(ClassExpr, Pos)]) {
    let mut places: BTreeMap<&BStr, (&Pos, usize)> = BTreeMap::new();
    for (class, pos) in asked {
        for name in class.names() {
            places.entry(name).or_insert((pos, 0)).1 += 1;
        }
    }
    let hosts = hosts(lint);
    let mut found = Vec::new();
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, (pos, _))| (pos.line, pos.col));
    for (name, (pos, count)) in places {
        if is_known(lint, name) {
            continue;
        }
        let shape = hard::shape(name);
        if !matches!(shape, Shape::Free) {
            continue;
        }
        let near = near(lint, name);
        let whole = lint.whole && !lint.definers.open;
        let tone = match (&near, is_own_word(name)) {
            (Some(_), _) => Tone::Warning,
            (None, _) if !whole || hosts.contains(name) => continue,
            (None, true) => Tone::Warning,
            (None, false) => Tone::Note,
        };
        let times = if count > 1 {
            format!(" ({count} predicates ask for it)")
        } else {
            String::new()
        };
        let (message, hint) = match tone {
            Tone::Warning => (format!("nobody defines the class '{name}'{times}"), near),
            Tone::Note => (
                format!("nobody defines the class '{name}'{times}; a host or a domain may have that name"),
                None,
            ),
        };
        found.push((tone, pos, message, hint));
    }
    // A policy that defines no class at all gets them from the command line: one word about that is enough.
    let guided = lint.definers.by_name.is_empty();
    let mut told = false;
    for (tone, pos, message, hint) in found {
        if guided && hint.is_none() {
            if !told {
                let message = format!("{message}, nor any other class");
                let hint = "this policy wants its classes from outside: name them with -D";
                lint.say("unknown-class", Tone::Note, pos, message, Some(hint.into()));
            }
            told = true;
            continue;
        }
        lint.say("unknown-class", tone, pos, message, hint);
    }
}

/// The class that a name was probably meant to be. Names that differ in a number only are different things.
fn near(lint: &Lint<'_>, name: &BStr) -> Option<String> {
    if name.len() < 4 {
        return None;
    }
    let letters = |text: &[u8]| -> Vec<u8> { text.iter().filter(|byte| !byte.is_ascii_digit()).copied().collect() };
    let own = lint.definers.by_name.keys().filter_map(|known| known.to_str().ok());
    let known: Vec<&str> = own.chain(hard::well_known().map(|word| -> &str { word })).collect();
    let alike = |known: &&str| {
        let numbered = letters(known.as_bytes()) == letters(name);
        let last = |text: &[u8]| {
            text.rsplit(|byte| *byte == b'_')
                .next()
                .is_some_and(|part| part.len() < 2)
        };
        !numbered && !last(known.as_bytes()) && !last(name) && close(known, name)
    };
    did_you_mean(name, known.into_iter().filter(alike))
}

/// Nearer than what is offered for an unknown word of the language: names of classes may be alike.
fn close(known: &str, name: &BStr) -> bool {
    known.eq_ignore_ascii_case(&name.to_str_lossy())
        || (known.len().abs_diff(name.len()) <= 1
            && crate::policy::source::distance(known.as_bytes(), name) <= if name.len() < 9 { 1 } else { 2 })
}

/// Where the evaluation stands: what is assigned before what.
fn too_late(lint: &mut Lint<'_>) {
    let Some(text) = &lint.program.text else { return };
    let order: BTreeMap<&Pos, usize> = text
        .assignments
        .iter()
        .enumerate()
        .map(|(at, one)| (&one.pos, at))
        .collect();
    let mut asked: Vec<(usize, ClassExpr, &Pos)> = Vec::new();
    for (at, assignment) in text.assignments.iter().enumerate() {
        let bound = names::own(&assignment.name).is_some_and(|own| names::BOUND.contains(&own));
        if !bound || assignment.groups {
            asked.push((at, assignment.class.clone(), &assignment.pos));
        }
        if assignment.groups {
            for value in &assignment.values {
                if let Value::Word(word, pos) = value {
                    asked.extend(uses::member(word).map(|class| (at, class, pos)));
                }
            }
        }
    }
    for (class, pos) in &text.imports {
        asked.push((usize::MAX, class.clone(), pos));
    }
    let mut said: BTreeSet<(BString, BString)> = BTreeSet::new();
    let mut found = Vec::new();
    for (at, class, pos) in asked {
        for name in class.names() {
            let Some(definers) = lint
                .definers
                .by_name
                .get(name)
                .filter(|_| hard::shape(name) == Shape::Free)
            else {
                continue;
            };
            let early = definers.iter().any(|definer| {
                definer.when == When::Reading && order.get(&definer.pos).is_none_or(|defined| *defined < at)
            });
            let own = text
                .assignments
                .get(at)
                .is_some_and(|one| one.groups && one.name == name);
            if early || own || lint.definers.open || !said.insert((class.text().into(), name.into())) {
                continue;
            }
            let first = &definers[0];
            let message = match first.when {
                When::Reading => format!("'{name}' is not defined yet here: {} does so later", first.pos),
                When::Running => format!(
                    "'{name}' is never defined yet here: it is set while rules run ({})",
                    first.pos
                ),
            };
            found.push((pos.clone(), message));
        }
    }
    let hint = "control:, groups: and import: are worked through once, from top to bottom, before any rule runs";
    for (pos, message) in found {
        lint.warn("class-too-late", &pos, message, hint);
    }
}

fn unused(lint: &mut Lint<'_>, asked: &[(ClassExpr, Pos)]) {
    if !lint.whole || lint.definers.open || uses::looks_at_all(lint.program) {
        return;
    }
    let mut used: BTreeSet<BString> = BTreeSet::new();
    for (class, _) in asked {
        used.extend(class.names().into_iter().map(BString::from));
    }
    used.extend(uses::named_elsewhere(lint.program));
    let mut found = Vec::new();
    for (name, definers) in &lint.definers.by_name {
        if used.contains(name) {
            continue;
        }
        // Classes of an entry of the action sequence, and those that other runs get to see, are used by being there.
        let first = &definers[0];
        let elsewhere = definers.iter().any(|definer| {
            let how = &definer.how;
            how.contains("action sequence") || how.starts_with("SetState") || how.starts_with("the method")
        });
        if !elsewhere && first.how != "autodefine" {
            let message = match first.how.starts_with(&format!("{name} = (")) {
                true => format!("the class '{name}' is defined here and nobody asks for it"),
                false => format!("nobody asks for the class '{name}' ({})", first.how),
            };
            found.push((first.pos.clone(), message));
        }
    }
    for (pos, message) in found {
        lint.say("unused-class", Tone::Note, &pos, message, None);
    }
}
