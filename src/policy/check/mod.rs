//! What is wrong with a rule by its meaning: values of attributes, absolute paths (cfengine2.md 8). A text that still
//! holds unknown references is judged when it is used, not here.

mod undefined;
mod values;

use bstr::{BStr, BString, ByteSlice};

use super::{Body, Context, PolicyError, Pos, Rule, Section};

pub(super) use undefined::{undefined, undefined_in_rules};

/// The errors of a rule.
pub(super) fn rule(rule: &Rule, context: &Context, report: &mut dyn FnMut(Pos, String, Option<&str>)) {
    unclosed(rule, report);
    for attr in &rule.attrs.0 {
        let Some(value) = known(context, attr.value.as_ref()) else {
            continue;
        };
        if let Err(wrong) = values::attribute(rule.section, attr, &value) {
            report(attr.pos.clone(), wrong.message, wrong.hint.as_deref());
        }
    }
    if iterates(rule.section) && context.too_many(rule.promiser.as_ref()) {
        report(rule.pos.clone(), super::TooMany.to_string(), None);
    }
    let missing = |name: &str| rule.attrs.get(name).is_none();
    match rule.section {
        Section::Tidy if missing("age") => {
            report(
                rule.pos.clone(),
                "Must specify an age for tidy actions".into(),
                Some("age=DAYS; 0 means any age"),
            );
        }
        Section::Copy if missing("destination") => {
            report(
                rule.pos.clone(),
                "a copy needs a destination".into(),
                Some("dest=/absolute/name"),
            );
        }
        Section::Copy => {
            let attr = rule.attrs.get("linktype");
            if let Some(attr) = attr.filter(|attr| attr.value.eq_ignore_ascii_case(b"hard")) {
                let text = "hard links inappropriate for copy".into();
                report(attr.pos.clone(), text, Some("linktype=copy takes what a link leads to"));
            }
        }
        Section::ShellCommands => {
            let relative = known(context, rule.promiser.as_ref()).is_some_and(|text| !text.starts_with(b"/"));
            let allowed = rule.attrs.get("noabspath").is_some_and(|attr| is_true(&attr.value));
            // The original looks at a command only where its class can become true.
            if relative && !allowed && context.could_hold(&rule.class) {
                let text = "scripts or commands must have absolute path names".into();
                report(
                    rule.pos.clone(),
                    text,
                    Some("noabspath=true lets a command be looked up"),
                );
            }
        }
        Section::Alerts if rule.class.is_any() && !returns(rule) => {
            let text = "Alerts cannot be in class any - probably a mistake".into();
            report(rule.pos.clone(), text, Some("put a class predicate before the alert"));
        }
        Section::Links => {
            let hard = rule
                .attrs
                .get("type")
                .is_some_and(|attr| attr.value.eq_ignore_ascii_case(b"hard"));
            if hard && matches!(rule.body, Body::Link { children: true, .. }) {
                report(
                    rule.pos.clone(),
                    "hard links inappropriate for multiple linkage".into(),
                    None,
                );
            }
        }
        Section::Strategies => strategy(rule, report),
        Section::EditFiles => lists_in_groups(rule, context, report),
        _ => {}
    }
}

/// How many old copies of a file are still a sensible number: nearly three years of daily ones.
const MANY_COPIES: u64 = 1000;

/// What is odd about a rule, though it means something (cfengine2.md 8, warnings).
pub(super) fn odd(rule: &Rule, context: &Context, report: &mut dyn FnMut(Pos, &str, Option<&str>)) {
    if let Some(pos) = odd_mode(rule, context) {
        report(pos.clone(), "Symbolic and numeric form for modes mixed", None);
        let hint = "letters that do not say whose change nothing; 'a+x' is for everybody";
        report(pos, "mode string is incomplete", Some(hint));
    }
    if rule.promiser == "=" {
        let hint = "an attribute is written name=value, without blanks";
        report(
            rule.pos.clone(),
            "'=' stands alone here, as the name of an object",
            Some(hint),
        );
    }
    for again in rule.attrs.all("links").skip(1) {
        report(
            again.pos.clone(),
            "redefinition of links= option",
            Some("the last one counts"),
        );
    }
    let copies = rule.attrs.get("rotate").filter(|_| rule.section == Section::Disable);
    if let Some(attr) = copies
        && let Some(value) = known(context, attr.value.as_ref())
        && values::number(&value).is_some_and(|count| count == 0 || count > MANY_COPIES)
    {
        let hint = "rotate=N keeps N old copies, rotate=empty none";
        report(attr.pos.clone(), "rotate value looks silly", Some(hint));
    }
}

/// Letters in a mode that do not say whose they are.
fn odd_mode(rule: &Rule, context: &Context) -> Option<Pos> {
    let attr = rule.attrs.get("mode").filter(|_| rule.section != Section::MiscMounts)?;
    let value = known(context, attr.value.as_ref())?;
    let whose = |part: &[u8]| part.first().is_none_or(|byte| b"ugoa".contains(byte));
    let letters = |part: &[u8]| part.last().is_some_and(|byte| b"rwxst".contains(byte));
    let odd = value
        .split(|byte| *byte == b',')
        .any(|part| letters(part) && !whose(part));
    odd.then(|| attr.pos.clone())
}

/// The answer of a method to its caller is no alert.
fn returns(rule: &Rule) -> bool {
    matches!(rule.body, Body::Call(_))
        && (rule.promiser.eq_ignore_ascii_case(b"ReturnVariables")
            || rule.promiser.eq_ignore_ascii_case(b"ReturnClasses"))
}

/// Whether lists iterate in the promiser of a section.
pub(super) fn iterates(section: Section) -> bool {
    matches!(
        section,
        Section::Copy
            | Section::Files
            | Section::Tidy
            | Section::Disable
            | Section::Directories
            | Section::Disks
            | Section::Resolve
            | Section::Ignore
            | Section::ShellCommands
            | Section::Admit
            | Section::Deny
    )
}

fn strategy(rule: &Rule, report: &mut dyn FnMut(Pos, String, Option<&str>)) {
    if let Body::Pairs(pairs) = &rule.body {
        for (_, weight, pos) in pairs {
            if weight_of(weight).is_none() {
                let text = "strategy distribution weight must be an integer";
                report(pos.clone(), text.into(), Some("a weight is greater than 0"));
            }
        }
    }
}

/// A weight of a strategy.
pub(super) fn weight_of(text: &BString) -> Option<u64> {
    text.to_str()
        .ok()?
        .parse()
        .ok()
        .filter(|weight| (1..=1_000_000_000).contains(weight))
}

/// The expanded text, unless a reference is left in it.
fn known<'a>(context: &Context, text: &'a BStr) -> Option<std::borrow::Cow<'a, BStr>> {
    if !text.contains(&b'$') {
        return Some(std::borrow::Cow::Borrowed(text));
    }
    let expanded = context.expand(text);
    (!expanded.contains_str("$(") && !expanded.contains_str("${")).then_some(std::borrow::Cow::Owned(expanded))
}

fn is_true(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"true") || value.eq_ignore_ascii_case(b"on")
}

/// References that are opened and never closed, where the agent alone reads the text.
fn unclosed(rule: &Rule, report: &mut dyn FnMut(Pos, String, Option<&str>)) {
    let mut look = |text: &[u8], pos: &Pos| {
        if undefined::unclosed(text) {
            let hint = "a reference is written $(name) or ${name}";
            report(
                pos.clone(),
                "Incomplete variable syntax or bracket mismatch".into(),
                Some(hint),
            );
        }
    };
    look(&rule.promiser, &rule.pos);
    if let Body::Link { to, .. } = &rule.body {
        look(to, &rule.pos);
    }
    for attr in &rule.attrs.0 {
        look(&attr.value, &attr.pos);
    }
}

/// Lists iterate in most edit commands once `EditSplit` is set, but not where a condition or a replacement stands.
fn lists_in_groups(rule: &Rule, context: &Context, report: &mut dyn FnMut(Pos, String, Option<&str>)) {
    let Body::Edit(commands) = &rule.body else { return };
    let mut separator = None;
    for command in commands.iter() {
        if command.name == "EditSplit" {
            separator = command.arg.first().copied();
        }
        let Some(separator) = separator.filter(|_| command.arg.contains(&b'$')) else {
            continue;
        };
        let what = match command.name {
            name if name.starts_with("BeginGroup") => "BeginGroup*",
            "ReplaceAll" | "ReplaceFirst" | "With" => "ReplaceAll/With",
            _ => continue,
        };
        let count = |text: &[u8]| text.iter().filter(|byte| **byte == separator).count();
        if known(context, command.arg.as_ref()).is_some_and(|text| count(&text) > count(&command.arg))
            && context.could_hold(&rule.class)
        {
            let text = format!("List variables are not currently supported in {what}");
            report(
                command.pos.clone(),
                text,
                Some("another EditSplit takes the text as a whole"),
            );
        }
    }
}

/// An error for a rule's list of errors.
pub(super) fn error(source: &super::source::Source, pos: Pos, message: String, hint: Option<&str>) -> PolicyError {
    source.error_at(pos, message).with_hint(hint.map(str::to_string))
}
