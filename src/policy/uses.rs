//! Where a policy uses classes and variables: every text in it, and whether a shell or another program gets it.

use bstr::{BStr, BString, ByteSlice};

use super::ast::{Assignment, Value};
use super::lexer::Cursor;
use super::{Body, ClassExpr, EditCommand, Pos, Program, Rule, Section, names};

/// Who reads a text once the policy is through with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The agent alone.
    Agent,
    /// A shell, which has `$(…)` and `${…}` of its own.
    Shell,
    /// Whoever reads an edited file: it may be a program in any language.
    Other,
}

/// A text of a policy.
pub(super) struct Used<'a> {
    pub text: &'a BStr,
    pub pos: &'a Pos,
    pub reader: Reader,
}

/// Calls `look` for every text of a program that may hold references.
pub(super) fn texts<'a>(program: &'a Program, look: &mut dyn FnMut(Used<'a>)) {
    for assignment in program.text.iter().flat_map(|text| &text.assignments) {
        for value in &assignment.values {
            match value {
                Value::Word(text, pos) | Value::Text(text, pos) => {
                    let text = text.as_bstr();
                    let reader = Reader::Agent;
                    look(Used { text, pos, reader });
                }
                Value::Call(call) => {
                    let shell = call.name.to_ascii_lowercase();
                    let reader = match shell.as_slice() {
                        b"execshellresult" | b"returnszeroshell" | b"execresult" | b"returnszero" => Reader::Shell,
                        _ => Reader::Agent,
                    };
                    let (text, pos) = (call.whole.as_bstr(), &call.pos);
                    look(Used { text, pos, reader });
                }
            }
        }
    }
    for entry in &program.sequence {
        let reader = Reader::Agent;
        look(Used {
            text: entry.text.as_bstr(),
            pos: &entry.pos,
            reader,
        });
    }
    for rule in &program.rules {
        rule_texts(rule, look);
    }
}

/// The texts of one rule.
pub(super) fn rule_texts<'a>(rule: &'a Rule, look: &mut dyn FnMut(Used<'a>)) {
    let agent = Reader::Agent;
    let mut say = |text: &'a BString, pos: &'a Pos, reader: Reader| {
        let text = text.as_bstr();
        look(Used { text, pos, reader });
    };
    let promiser = if rule.section == Section::ShellCommands {
        Reader::Shell
    } else {
        agent
    };
    say(&rule.promiser, &rule.pos, promiser);
    for attr in &rule.attrs.0 {
        say(&attr.value, &attr.pos, agent);
    }
    match &rule.body {
        Body::Link { to, .. } => say(to, &rule.pos, agent),
        Body::Restart(command) => say(command, &rule.pos, Reader::Shell),
        Body::Edit(commands) => commands
            .iter()
            .for_each(|command| say(&command.arg, &command.pos, edited(command))),
        Body::Call(args) => args.iter().for_each(|arg| say(arg, &rule.pos, agent)),
        Body::Pairs(pairs) => pairs.iter().for_each(|(_, value, pos)| say(value, pos, agent)),
        Body::Words(words) | Body::Members(words) => words.iter().for_each(|(word, pos)| say(word, pos, agent)),
        Body::None | Body::SetOptionString => {}
    }
}

/// Who reads the argument of an edit command: where it becomes text of the file, whoever reads the file.
fn edited(command: &EditCommand) -> Reader {
    let ours = [
        "File",
        "Class",
        "Defined",
        "Script",
        "Split",
        "Repository",
        "Mode",
        "Elapsed",
        "After",
        "Umask",
    ];
    match ours.iter().any(|part| command.name.contains(part)) && !command.name.ends_with("Matching") {
        true => Reader::Agent,
        false => Reader::Other,
    }
}

/// A reference in a text: the name of the variable without index and context, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// `x` of `$(x)`, `$(x[k])` and `$(main.x)`.
    pub name: &'a BStr,
    /// The context in front of the name.
    pub scope: Option<&'a BStr>,
    /// The reference as written.
    pub written: &'a BStr,
}

/// Every reference of a text, those inside of others too. What is no name of a variable is left out.
pub(super) fn references(text: &[u8]) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find_byte(b'$').map(|next| at + next) {
        at = next + 1;
        let len = Cursor::reference_len(&text[next..]);
        if len < 4 {
            continue;
        }
        let written = &text[next..next + len];
        let inner = &written[2..len - 1];
        let end = inner
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.'))
            .unwrap_or(inner.len());
        // `${x:-y}`, `${#x}` and the like belong to a shell; `$(x$(y))` is not known before the run.
        if end == 0 || !matches!(inner.get(end), None | Some(b'[')) {
            continue;
        }
        let (scope, name) = match inner[..end].split_once_str(".") {
            Some((scope, name)) => (Some(scope.as_bstr()), name),
            None => (None, &inner[..end]),
        };
        found.push(Reference {
            name: name.as_bstr(),
            scope,
            written: written.as_bstr(),
        });
    }
    found
}

/// Calls `look` for every class predicate of a program, and for the class expressions that are members of groups or
/// arguments of edit commands, with the section each stands in.
pub(super) fn predicates(program: &Program, look: &mut dyn FnMut(&ClassExpr, &Pos, Option<Section>)) {
    let Some(text) = &program.text else { return };
    for predicate in &text.predicates {
        look(&predicate.class, &predicate.pos, predicate.section);
    }
    for assignment in text.assignments.iter().filter(|assignment| assignment.groups) {
        for value in &assignment.values {
            if let Value::Word(word, pos) = value
                && let Some(class) = member(word)
            {
                look(&class, pos, Some(Section::Groups));
            }
        }
    }
    for rule in &program.rules {
        let Body::Edit(commands) = &rule.body else { continue };
        for command in commands {
            if matches!(command.name, "BeginGroupIfDefined" | "BeginGroupIfNotDefined")
                && let Ok(class) = ClassExpr::parse(&command.arg)
            {
                look(&class, &command.pos, Some(Section::EditFiles));
            }
        }
    }
}

/// The class expression that a member of a group is; hosts of netgroups, commands and variables are none.
pub(super) fn member(word: &[u8]) -> Option<ClassExpr> {
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let plain = !word.is_empty() && !word.contains(&b'$') && !b"+@/".contains(&word[0]);
    plain.then(|| ClassExpr::parse(word).ok()).flatten()
}

/// An assignment as it was written, on one line, its values shortened.
pub(super) fn written(assignment: &Assignment) -> String {
    let value = |value: &Value| match value {
        Value::Word(text, _) => shown(text),
        Value::Text(text, _) => format!("\"{}\"", shown(text)),
        Value::Call(call) => format!("{}({})", call.name, shown(&call.whole)),
    };
    let mut values: Vec<String> = assignment.values.iter().take(10).map(value).collect();
    if assignment.values.len() > values.len() {
        values.push("...".into());
    }
    format!("{} = ( {} )", assignment.name, values.join(" "))
}

/// Words that name classes outside of predicates: `AbortClasses`, `schedule`, `sendclasses=` and their like.
pub(super) fn named_elsewhere(program: &Program) -> Vec<BString> {
    let mut found = Vec::new();
    for own in ["AbortClasses", "schedule"] {
        for word in program.context.list(own) {
            match ClassExpr::parse(&word) {
                Ok(class) => found.extend(class.names().into_iter().map(BString::from)),
                Err(_) => found.extend(super::class_list(&word)),
            }
        }
    }
    for rule in &program.rules {
        for attr in rule.attrs.all("sendclasses") {
            found.extend(super::class_list(&attr.value));
        }
        let returns = ["ReturnClasses", "UnsetState", "ShowState"];
        if let Body::Call(args) = &rule.body
            && returns
                .iter()
                .any(|name| rule.promiser.eq_ignore_ascii_case(name.as_bytes()))
        {
            found.extend(args.iter().flat_map(|arg| super::class_list(arg)));
        }
    }
    found
}

/// Whether the policy looks at all classes at once, so that any of them is used.
pub(super) fn looks_at_all(program: &Program) -> bool {
    let Some(text) = &program.text else { return true };
    let matches = |value: &Value| matches!(value, Value::Call(call) if call.name.eq_ignore_ascii_case(b"ClassMatch"));
    let classes = |source: &super::source::Source| source.bytes.to_ascii_lowercase().contains_str("allclasses");
    text.assignments
        .iter()
        .any(|assignment| assignment.values.iter().any(matches))
        || text.sources.iter().any(classes)
}

/// Whether a name is one that the language or the machine sets.
pub(super) fn is_special(name: &[u8]) -> bool {
    let measured: [&[u8]; 5] = [b"value_", b"average_", b"stddev_", b"ipv4", b"env_"];
    names::own(name).is_some()
        || names::character(name).is_some()
        || name.eq_ignore_ascii_case(b"allclasses")
        || measured.iter().any(|begin| name.starts_with(begin))
}

/// A text for a message: one line, not too long.
pub(super) fn shown(text: &BString) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.to_str_lossy().chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Variables that are named without a `$`: `IsDefined(x)`, the parameters of a method, `AllowRedefinitionOf`.
pub(super) fn asked_by_name(program: &Program) -> Vec<BString> {
    let mut found = Vec::new();
    for assignment in program.text.iter().flat_map(|text| &text.assignments) {
        for value in &assignment.values {
            match value {
                Value::Call(call) if call.name.eq_ignore_ascii_case(b"IsDefined") => {
                    let name = call.whole.split(|byte| *byte == b'[').next().unwrap_or_default();
                    found.push(name.into());
                }
                Value::Word(text, _) | Value::Text(text, _)
                    if matches!(
                        names::own(&assignment.name),
                        Some("methodparameters" | "allowredefinitionof")
                    ) =>
                {
                    found.push(text.clone());
                }
                _ => {}
            }
        }
    }
    found
}
