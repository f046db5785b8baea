//! Classes and variables: who sets them, who asks for them.

use bstr::{BStr, BString, ByteSlice};

use super::{About, Explained, Mention, turn};
use crate::policy::ast::{Assignment, Value};
use crate::policy::definers::{Definers, When};
use crate::policy::hard::{self, Shape};
use crate::policy::uses::{self, references};
use crate::policy::{ClassExpr, Pos, Program, Rule, Section};

/// Where a statement stands, as the run sees it.
struct Placed<'a> {
    section: Section,
    class: &'a ClassExpr,
}

/// The statement at a place.
fn placed<'a>(program: &'a Program, pos: &Pos) -> Option<Placed<'a>> {
    let of_rule = |rule: &&Rule| {
        rule.pos == *pos
            || rule.attrs.0.iter().any(|attr| attr.pos == *pos)
            || matches!(&rule.body, crate::policy::Body::Edit(commands) if commands.iter().any(|c| c.pos == *pos))
            || matches!(&rule.body, crate::policy::Body::Pairs(pairs) if pairs.iter().any(|(.., p)| p == pos))
    };
    if let Some(rule) = program.rules.iter().find(of_rule) {
        return Some(Placed {
            section: rule.section,
            class: &rule.class,
        });
    }
    let at = |value: &Value| match value {
        Value::Word(_, at) | Value::Text(_, at) => at == pos,
        Value::Call(call) => call.pos == *pos,
    };
    let of_assignment = |one: &&Assignment| one.pos == *pos || one.values.iter().any(at);
    let mut assignments = program.text.iter().flat_map(|text| &text.assignments);
    if let Some(one) = assignments.find(of_assignment) {
        let section = if one.groups { Section::Groups } else { Section::Control };
        return Some(Placed {
            section,
            class: &one.class,
        });
    }
    let entry = program.sequence.iter().find(|entry| entry.pos == *pos)?;
    Some(Placed {
        section: Section::Control,
        class: &entry.class,
    })
}

fn mention(program: &Program, relation: &'static str, pos: &Pos, does: String) -> Mention {
    let place = placed(program, pos);
    let class = place.as_ref().map_or_else(ClassExpr::any, |place| place.class.clone());
    Mention {
        relation,
        pos: pos.clone(),
        section: place.as_ref().map_or("", |place| place.section.name()),
        holds: program.context.holds(&class),
        turn: place.as_ref().and_then(|place| turn(program, place.section)),
        class,
        does,
        decides: Vec::new(),
    }
}

/// A class, or an expression of several.
pub(super) fn class(program: &Program, word: &BStr) -> Explained {
    let mut facts = Vec::new();
    let mut mentions = Vec::new();
    let definers = Definers::of(program);
    let mut known = false;
    let expr = ClassExpr::parse(word).ok();
    let names: Vec<BString> = match &expr {
        Some(expr) => expr.names().into_iter().map(BString::from).collect(),
        None => vec![word.into()],
    };
    if let Some(expr) = expr
        .as_ref()
        .filter(|_| names.len() > 1 || names.first().is_none_or(|name| name != word))
    {
        let holds = if program.context.holds(expr) {
            "holds now"
        } else {
            "does not hold now"
        };
        facts.push(format!("{word} {holds}"));
    }
    for name in &names {
        known |= one_class(program, name, &definers, &mut facts, &mut mentions);
    }
    mentions.dedup_by(|a, b| a.pos == b.pos && a.relation == b.relation);
    Explained {
        about: About::Class,
        word: word.into(),
        facts,
        mentions,
        known,
    }
}

fn one_class(
    program: &Program,
    name: &BString,
    definers: &Definers,
    facts: &mut Vec<String>,
    mentions: &mut Vec<Mention>,
) -> bool {
    let before = mentions.len();
    let none = Vec::new();
    let own = definers.by_name.get(name).unwrap_or(&none);
    let negated = program.context.negated().contains(name);
    let state = match program.context.has(name) {
        true => "is set now",
        false if negated => "is false: -N negates it, whatever sets it",
        false => "is not set now",
    };
    let reading = own.iter().any(|definer| definer.when == When::Reading);
    let why = match (program.context.has(name), own.is_empty(), hard::shape(name.as_bstr())) {
        (true, _, _) if !reading => ": it is one of this machine or this moment, or given with -D",
        (false, false, _) if own.iter().all(|definer| definer.when == When::Running) => {
            ": it can be set while the rules run"
        }
        (false, true, Shape::Never(_)) => ": no moment has it",
        (false, true, Shape::Possible) => ": it is one of another machine or another moment",
        (false, true, _) if definers.open => ": only a module can set it",
        (false, true, _) => ": no statement sets it",
        _ => "",
    };
    facts.push(format!("class {name} {state}{why}"));
    for definer in own {
        mentions.push(mention(program, "defines", &definer.pos, definer.how.clone()));
    }
    for (_, pos) in definers.announced.iter().filter(|(known, _)| known == name) {
        mentions.push(mention(program, "announces", pos, "AddInstallable".into()));
    }
    // What stands under a predicate, rule by rule; then predicates that stand for themselves.
    for assignment in program.text.iter().flat_map(|text| &text.assignments) {
        if assignment.class.names().contains(&name.as_bstr()) {
            mentions.push(mention(
                program,
                "asks",
                &assignment.pos,
                format!("sets {}", assignment.name),
            ));
        }
        for value in assignment.values.iter().filter(|_| assignment.groups) {
            if let Value::Word(word, pos) = value
                && uses::member(word).is_some_and(|class| class.names().contains(&name.as_bstr()))
            {
                mentions.push(mention(
                    program,
                    "asks",
                    pos,
                    format!("a member of the group {}", assignment.name),
                ));
            }
        }
    }
    for (class, pos) in program.text.iter().flat_map(|text| &text.imports) {
        if class.names().contains(&name.as_bstr()) {
            let mut mention = mention(program, "asks", pos, "an import".into());
            mention.class = class.clone();
            mention.section = Section::Import.name();
            mention.holds = program.context.holds(class);
            mentions.push(mention);
        }
    }
    for rule in program
        .rules
        .iter()
        .filter(|rule| rule.class.names().contains(&name.as_bstr()))
    {
        mentions.push(mention(
            program,
            "asks",
            &rule.pos,
            format!("guards {}", uses::shown(&rule.promiser)),
        ));
    }
    uses::predicates(program, &mut |class, pos, section| {
        if section == Some(Section::EditFiles)
            && class.names().contains(&name.as_bstr())
            && mentions[before..].iter().all(|known| known.pos != *pos)
            && !program
                .text
                .iter()
                .flat_map(|text| &text.predicates)
                .any(|predicate| predicate.pos == *pos)
        {
            mentions.push(mention(program, "asks", pos, "a group of edit commands".into()));
        }
    });
    program.context.has(name) || mentions.len() > before || negated
}

/// A variable.
pub(super) fn variable(program: &Program, name: &BStr) -> Explained {
    let mut facts = Vec::new();
    let mut mentions = Vec::new();
    let bare = name.split(|byte| *byte == b'[').next().unwrap_or_default().as_bstr();
    let bare = match bare.split_once_str(".") {
        Some((b"main" | b"update" | b"global", rest)) => rest.as_bstr(),
        _ => bare,
    };
    let value = program.context.lookup(name);
    if let Some(value) = &value {
        let value = program.context.expand(value.as_bstr());
        let own = program.context.is_set(name);
        let from = if own {
            ""
        } else {
            " (from the language or the environment)"
        };
        facts.push(format!("$({name}) is '{value}' now{from}"));
        let elements = program.context.iterate(format!("$({name})").as_bytes().as_bstr());
        if elements.len() > 1 {
            facts.push(format!("as a list it has {} elements", elements.len()));
        }
    } else {
        facts.push(format!(
            "$({name}) is not set now: it stays in the text as it is written"
        ));
    }
    for assignment in program.text.iter().flat_map(|text| &text.assignments) {
        let same = assignment.name.as_bstr() == bare
            || (crate::policy::names::own(bare).is_some() && assignment.name.eq_ignore_ascii_case(bare));
        if !assignment.groups && same {
            mentions.push(mention(program, "sets", &assignment.pos, uses::written(assignment)));
        }
    }
    uses::texts(program, &mut |used| {
        if references(used.text).iter().any(|reference| reference.name == bare) {
            mentions.push(mention(program, "uses", used.pos, uses::shown(&used.text.into())));
        }
    });
    Explained {
        about: About::Variable,
        word: name.into(),
        facts,
        known: value.is_some() || !mentions.is_empty(),
        mentions,
    }
}
