//! The printer: rules back to policy text. What the parser made of a text, printed and parsed again, is the same but for
//! the positions; the tests and the fuzz targets hold that.

use super::attr;
use super::call;
use super::edit;
use super::lexer::{Cursor, is_blank, is_quote};
use super::source::Source;
use super::{Attr, Body, ClassExpr, Rule, Section};

/// Writes rules as a policy, one section after another in the order of the rules. Assignments, imports and the action
/// sequence are no rules: a text that leans on variables is read back the same where these are set alike.
///
/// `None` for a rule that no text gives, such as an attribute whose value holds a line feed: the parser makes none.
pub fn print<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut section: Option<Section> = None;
    let mut class = ClassExpr::any();
    for rule in rules {
        if section != Some(rule.section) {
            section = Some(rule.section);
            class = ClassExpr::any();
            put(&mut out, &[rule.section.name().as_bytes(), b":\n"]);
        }
        // A predicate ends a rule: without it the next mount would be taken for the mount point of this one.
        if class != rule.class || rule.section == Section::MiscMounts {
            class = rule.class.clone();
            if class.text().is_empty() {
                return None;
            }
            put(&mut out, &[b" ", class.text(), b"::\n"]);
        }
        match rule.section.braces() {
            true => braces(rule, &mut out)?,
            false => entry(rule, &mut out)?,
        }
    }
    Some(out)
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A rule of a section without braces: the object, then what belongs to it, an attribute a line.
fn entry(rule: &Rule, out: &mut Vec<u8>) -> Option<()> {
    let members = matches!(rule.section, Section::Admit | Section::Deny | Section::MiscMounts);
    let object = promiser(rule)?;
    match (rule.section, &rule.body) {
        (Section::Links, Body::Link { to, children, force }) => {
            let arrow: &[u8] = if *children { b" +>" } else { b" ->" };
            let bang: &[u8] = if *force { b"! " } else { b" " };
            put(out, &[b"  ", &object, arrow, bang, &word(to), b"\n"]);
        }
        (Section::Processes, Body::SetOptionString) => {
            put(out, &[b"  SetOptionString ", &quoted(&rule.promiser), b"\n"]);
        }
        (Section::Alerts | Section::Methods, Body::Call(args)) => {
            let args = args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(&b',');
            if args.len() >= call::LONGEST {
                return None;
            }
            put(out, &[b"  ", &rule.promiser, b"(", &args, b")\n"]);
        }
        (_, Body::Members(words)) if members => {
            put(out, &[b"  ", &object, b"\n"]);
            for (member, _) in words {
                put(out, &[b"    ", &word(member), b"\n"]);
            }
        }
        (Section::Processes, Body::Restart(_)) => put(out, &[b"  ", &object, b"\n"]),
        (section, Body::None) if section != Section::Links && !members => put(out, &[b"  ", &object, b"\n"]),
        _ => return None,
    }
    for Attr { name, value, .. } in &rule.attrs.0 {
        attr::allowed(rule.section)?;
        put(out, &[b"    ", name.as_bytes(), b"=", &attribute(value)?, b"\n"]);
    }
    if let Body::Restart(command) = &rule.body {
        put(out, &[b"    restart ", &quoted(command), b"\n"]);
    }
    Some(())
}

/// A `{ … }` group.
fn braces(rule: &Rule, out: &mut Vec<u8>) -> Option<()> {
    let name = promiser(rule)?;
    put(out, &[b"  { ", &name]);
    let body = out.len();
    out.push(b'\n');
    match &rule.body {
        Body::Edit(commands) if rule.section == Section::EditFiles => {
            for command in commands {
                put(out, &[b"    ", command.name.as_bytes()]);
                if edit::find(command.name.as_bytes())?.1 {
                    put(out, &[b" ", &quoted(&command.arg)]);
                }
                out.push(b'\n');
            }
        }
        Body::Words(words) if rule.section == Section::Acl => {
            for (text, _) in words {
                put(out, &[b"    ", &word(text), b"\n"]);
            }
        }
        Body::Pairs(pairs) if matches!(rule.section, Section::Filters | Section::Strategies) => {
            for (key, value, _) in pairs {
                put(out, &[b"    ", key, b": ", &quoted(value), b"\n"]);
            }
        }
        _ => return None,
    }
    // A closing brace too many at the end of a bare name would be taken for the end of the group, were it not followed
    // by that end: such a group is empty.
    if !rule.quoted && sticks(&name) {
        if out.len() > body + 1 {
            return None;
        }
        out.truncate(body);
        put(out, &[b"}\n"]);
        return Some(());
    }
    put(out, &[b"  }\n"]);
    Some(())
}

/// Whether a word in braces loses its last character, because that closes the braces.
fn sticks(word: &[u8]) -> bool {
    let count = |brace: u8| word.iter().filter(|byte| **byte == brace).count();
    word.ends_with(b"}") && count(b'{') < count(b'}')
}

/// The object as it was written, in quotes or bare.
fn promiser(rule: &Rule) -> Option<Vec<u8>> {
    let text = &rule.promiser;
    if rule.quoted {
        return Some(quoted(text));
    }
    let first = text.first()?;
    (!is_quote(*first) && *first != b'#' && !text.iter().any(|byte| is_blank(*byte))).then(|| text.to_vec())
}

/// A text of which the parser does not note whether it was quoted: bare where that cannot be mistaken.
fn word(text: &[u8]) -> Vec<u8> {
    let plain = text
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte));
    match plain && !text.is_empty() {
        true => text.to_vec(),
        false => quoted(text),
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    out
}

/// The value of an attribute: no escapes there, so the form is taken that the scanner reads back as the value.
fn attribute(value: &[u8]) -> Option<Vec<u8>> {
    if value.is_empty() {
        return None;
    }
    ["", "\"", "'"]
        .iter()
        .map(|quote| [quote.as_bytes(), value, quote.as_bytes()].concat())
        .find(|form| {
            let source = Source::new("".into(), [form.as_slice(), b"\n"].concat());
            let mut cursor = Cursor::new(&source);
            cursor.option_value() == value && cursor.at == form.len()
        })
}
