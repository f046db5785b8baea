//! Promises that want different things of one object, and may hold together.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use super::{Lint, Tone};
use crate::policy::{Body, ClassExpr, Pos, Rule, Section, satisfy};

/// Objects of one rule that are looked at; a list may make very many.
const MOST_OBJECTS: usize = 1000;
/// Rules about one object that are compared.
const MOST_RULES: usize = 50;

/// What a rule wants of one object, as far as two rules may contradict.
struct Wish<'a> {
    rule: &'a Rule,
    /// The permission bits, where they are given as a whole.
    mode: Option<(u32, &'a Pos)>,
    owner: Option<(BString, &'a Pos)>,
    group: Option<(BString, &'a Pos)>,
    /// Where the content comes from.
    copied: Option<BString>,
    linked: Option<BString>,
    /// Which objects below are meant, by depth and patterns. Wishes of different reach do not contradict.
    reach: BString,
}

pub(super) fn check(lint: &mut Lint<'_>) {
    let program = lint.program;
    let mut wishes: HashMap<BString, Vec<Wish<'_>>> = HashMap::new();
    for rule in &program.rules {
        for (object, wish) in wishes_of(lint, rule) {
            let known = wishes.entry(object).or_default();
            if known.len() < MOST_RULES {
                known.push(wish);
            }
        }
    }
    let mut objects: Vec<(&BString, &Vec<Wish<'_>>)> = wishes.iter().filter(|(_, wishes)| wishes.len() > 1).collect();
    objects.sort_by_key(|(object, _)| *object);
    for (object, wishes) in objects {
        for (at, second) in wishes.iter().enumerate() {
            for first in &wishes[..at] {
                if satisfy::together(&first.rule.class, &second.rule.class) {
                    compare(lint, object, first, second);
                }
            }
        }
    }
}

/// Predicates of which one implies the other certainly hold together; of two others it is only possible.
fn tone(a: &ClassExpr, b: &ClassExpr) -> Tone {
    match satisfy::implies(a, b) || satisfy::implies(b, a) {
        true => Tone::Warning,
        false => Tone::Note,
    }
}

fn compare(lint: &mut Lint<'_>, object: &BString, first: &Wish<'_>, second: &Wish<'_>) {
    let (a, b) = (first.rule, second.rule);
    let tone = tone(&a.class, &b.class);
    let both = match a.class == b.class {
        true => String::new(),
        false => format!(", where '{}' and '{}' hold both", a.class.text(), b.class.text()),
    };
    if first.reach == second.reach {
        let mut differ = |what: &str, mine: Option<(String, &Pos)>, other: Option<(String, &Pos)>| {
            if let (Some((mine, pos)), Some((other, there))) = (mine, other)
                && mine != other
            {
                let message = format!("{object} gets {what}={mine} here and {what}={other} at {there}{both}");
                lint.say(
                    "contradiction",
                    tone,
                    pos,
                    message,
                    Some("each run would change it twice".into()),
                );
            }
        };
        let octal = |wish: &Option<(u32, &'_ Pos)>| wish.map(|(bits, _)| format!("{bits:o}"));
        let mode = |wish: &'_ Wish<'_>| octal(&wish.mode);
        differ(
            "mode",
            mode(second).zip(second.mode.map(|(_, pos)| pos)),
            mode(first).zip(first.mode.map(|(_, pos)| pos)),
        );
        let text = |value: &Option<(BString, &'_ Pos)>| value.as_ref().map(|(text, _)| text.to_string());
        differ(
            "owner",
            text(&second.owner).zip(second.owner.as_ref().map(|(_, pos)| *pos)),
            text(&first.owner).zip(first.owner.as_ref().map(|(_, pos)| *pos)),
        );
        differ(
            "group",
            text(&second.group).zip(second.group.as_ref().map(|(_, pos)| *pos)),
            text(&first.group).zip(first.group.as_ref().map(|(_, pos)| *pos)),
        );
    }
    for (one, other, how) in [
        (&second.copied, &first.copied, "is copied from"),
        (&second.linked, &first.linked, "is a link to"),
    ] {
        if let (Some(one), Some(other)) = (one, other)
            && one != other
        {
            let message = format!("{object} {how} {one} here, and {other} at {}{both}", a.pos);
            lint.say(
                "contradiction",
                tone,
                &b.pos,
                message,
                Some("the rule that runs last has its way".into()),
            );
        }
    }
    meets(lint, object, first, second, tone);
    meets(lint, object, second, first, tone);
}

/// A copy that meets an edit, a maker that meets a remover.
fn meets(lint: &mut Lint<'_>, object: &BString, one: &Wish<'_>, other: &Wish<'_>, tone: Tone) {
    let (a, b) = (one.rule, other.rule);
    if b.section == Section::EditFiles && one.copied.is_some() && compares_content(a) {
        let message = format!(
            "{object} is edited here, but the copy at {} compares its content",
            a.pos
        );
        let hint = "each run copies it and edits it again; copy to another name, or edit the original";
        lint.say("edited-copy", tone, &b.pos, message, Some(hint.into()));
    }
    let makes = match a.section {
        Section::Files => a.attrs.get("action").is_some_and(|attr| {
            attr.value.eq_ignore_ascii_case(b"touch") || attr.value.eq_ignore_ascii_case(b"create")
        }),
        Section::Copy | Section::Links | Section::Directories => true,
        Section::EditFiles => {
            matches!(&a.body, Body::Edit(commands) if commands.iter().any(|c| c.name == "AutoCreate"))
        }
        _ => false,
    };
    let warns = b
        .attrs
        .get("action")
        .is_some_and(|attr| attr.value.eq_ignore_ascii_case(b"warn"));
    let removes = b.section == Section::Disable && b.attrs.get("rotate").is_none() && !warns;
    // `type=file` lets a link be, `type=link` a file.
    let other_kind = b
        .attrs
        .get("type")
        .is_some_and(|attr| attr.value.to_ascii_lowercase().starts_with(b"link") != (a.section == Section::Links));
    let moved_first = b.attrs.get("destination").is_some() || a.section == Section::Links;
    if makes && removes && !other_kind && !moved_first {
        let message = format!(
            "{object} is removed here, and made by {} at {}",
            a.section.name(),
            a.pos
        );
        lint.say(
            "made-and-removed",
            tone,
            &b.pos,
            message,
            Some("each run would do both".into()),
        );
    }
}

/// Whether a copy looks at the content: times alone let an edited file be.
fn compares_content(rule: &Rule) -> bool {
    rule.attrs.get("type").is_some_and(|attr| {
        let kind = attr.value.to_ascii_lowercase();
        ["checksum", "sum", "byte", "binary", "any"]
            .iter()
            .any(|name| kind == name.as_bytes())
    })
}

/// The objects of a rule and what it wants of each.
fn wishes_of<'a>(lint: &Lint<'_>, rule: &'a Rule) -> Vec<(BString, Wish<'a>)> {
    let context = &lint.program.context;
    let value = |name: &str| {
        rule.attrs
            .get(name)
            .map(|attr| (context.expand(attr.value.as_bstr()), &attr.pos))
    };
    let recurse = value("recurse").is_some_and(|(text, _)| text != "0");
    let wish = || Wish {
        rule,
        mode: value("mode").and_then(|(text, pos)| Some((whole_mode(&text)?, pos))),
        owner: value("owner"),
        group: value("group"),
        copied: None,
        linked: None,
        reach: reach(rule),
    };
    let plain = |object: BString| {
        let object = object.strip_suffix(b"/.").map_or(object.clone(), BString::from);
        let trimmed = if object.len() > 1 {
            object.trim_end_with(|c| c == '/')
        } else {
            &object
        };
        BString::from(trimmed)
    };
    let promiser = rule.promiser.as_bstr();
    let mut found: Vec<(BString, Wish<'a>)> = Vec::new();
    match rule.section {
        Section::Files | Section::Directories | Section::Disable => {
            found.extend(
                context
                    .iterate(promiser)
                    .into_iter()
                    .take(MOST_OBJECTS)
                    .map(|object| (plain(object), wish())),
            );
        }
        Section::Copy => {
            let dest = rule.attrs.get("destination").map(|attr| attr.value.as_bstr());
            let server = value("server").map(|(text, _)| text).unwrap_or_default();
            for (source, dest) in context
                .iterate_tied(promiser, dest.unwrap_or_default())
                .into_iter()
                .take(MOST_OBJECTS)
            {
                let mut wish = wish();
                let purges = rule
                    .attrs
                    .get("purge")
                    .is_some_and(|attr| attr.value.eq_ignore_ascii_case(b"true"));
                // Trees from several places may be laid over each other, unless one clears away the others.
                if !recurse || purges {
                    wish.copied = Some(if server.is_empty() {
                        source
                    } else {
                        format!("{server}:{source}").into()
                    });
                }
                found.push((plain(dest), wish));
            }
        }
        Section::Links => {
            if let Body::Link {
                to, children: false, ..
            } = &rule.body
            {
                let mut wish = wish();
                wish.linked = Some(context.expand(to.as_bstr()));
                found.push((plain(context.expand(promiser)), wish));
            }
        }
        Section::EditFiles => found.push((plain(context.expand(promiser)), wish())),
        _ => {}
    }
    found
}

/// What says which objects a rule is about, besides its own.
fn reach(rule: &Rule) -> BString {
    let mut reach = BString::default();
    let mut recurse = false;
    for attr in &rule.attrs.0 {
        match attr.name {
            "recurse" => recurse = attr.value != "0",
            "include" | "exclude" | "ignore" | "filter" | "pattern" | "action" | "links" | "type" => {
                reach.extend_from_slice(format!("{}={} ", attr.name, attr.value).as_bytes());
            }
            _ => {}
        }
    }
    // Alone an object is what it is, whichever section names it; of trees only the same kind of sweep is compared.
    match recurse {
        false if rule.section == Section::Copy => BString::default(),
        false => reach,
        true => format!("{} recurse {reach}", rule.section.name()).into(),
    }
}

/// `644` or `=644`: all bits given. What only adds or takes bits contradicts nothing for certain.
fn whole_mode(text: &BString) -> Option<u32> {
    let digits = text.strip_prefix(b"=").unwrap_or(text).to_str().ok()?;
    u32::from_str_radix(digits, 8).ok()
}
