//! What anybody may write, and what clears a directory of the system.

use bstr::{BStr, BString, ByteSlice};

use super::Lint;
use crate::policy::ast::Value;
use crate::policy::{Body, Pos, Rule, Section};

/// Directories that everybody may write.
static COMMON: &[&str] = &["/tmp", "/var/tmp", "/usr/tmp", "/dev/shm"];

/// Directories that a system cannot do without.
static SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/stand",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/spool",
    "/var/mail",
    "/var/log",
    "/var/opt",
    "/net",
    "/export",
];

pub(super) fn check(lint: &mut Lint<'_>) {
    for rule in &lint.program.rules {
        match rule.section {
            Section::Files | Section::Directories | Section::Copy => writable(lint, rule),
            Section::ShellCommands => command(lint, rule.promiser.as_bstr(), &rule.pos),
            Section::Processes => {
                if let Body::Restart(text) = &rule.body {
                    command(lint, text.as_bstr(), &rule.pos);
                }
            }
            Section::Tidy => tidy(lint, rule),
            _ => {}
        }
        if rule.section == Section::Copy && is(rule, "purge", &["true", "on", "yes"]) {
            purge(lint, rule);
        }
    }
    let functions = ["execresult", "execshellresult", "returnszero", "returnszeroshell"];
    for assignment in lint.program.text.iter().flat_map(|text| &text.assignments) {
        for value in &assignment.values {
            match value {
                Value::Call(call)
                    if functions
                        .iter()
                        .any(|name| call.name.eq_ignore_ascii_case(name.as_bytes())) =>
                {
                    command(lint, call.whole.as_bstr(), &call.pos);
                }
                Value::Word(text, pos) | Value::Text(text, pos) if assignment.groups && text.starts_with(b"/") => {
                    command(lint, text.as_bstr(), pos);
                }
                _ => {}
            }
        }
    }
}

fn is(rule: &Rule, name: &str, values: &[&str]) -> bool {
    let value = rule.attrs.get(name).map(|attr| attr.value.to_ascii_lowercase());
    value.is_some_and(|value| values.iter().any(|one| value == one.as_bytes()))
}

fn writable(lint: &mut Lint<'_>, rule: &Rule) {
    let Some(attr) = rule.attrs.get("mode") else { return };
    let context = &lint.program.context;
    let mode = context.expand(attr.value.as_bstr());
    let object = match rule.section {
        Section::Copy => rule.attrs.get("destination").map(|attr| &attr.value),
        _ => Some(&rule.promiser),
    };
    let object = object.map(|text| context.expand(text.as_bstr())).unwrap_or_default();
    if !open_to_all(&mode) || object.contains_str("/dev/") || object.ends_with(b"/dev") {
        return;
    }
    let message = format!("mode={mode} lets everybody write {object}");
    let hint = match rule.section {
        Section::Directories => "1777 keeps people from removing what belongs to others",
        _ => "o-w takes the right back",
    };
    lint.warn("world-writable", &attr.pos, message, hint);
}

/// Whether a mode gives everybody the right to write, without the sticky bit.
fn open_to_all(mode: &BString) -> bool {
    let (mut open, mut sticky) = (false, false);
    for part in mode.split(|byte| *byte == b',') {
        let (digits, takes) = match part.first() {
            Some(b'-') => (&part[1..], true),
            Some(b'+' | b'=') => (&part[1..], false),
            _ => (part, false),
        };
        if let Some(bits) = digits
            .to_str()
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        {
            open |= !takes && bits & 0o002 != 0;
            sticky |= !takes && bits & 0o1000 != 0;
        } else if let Some(at) = part.find_byteset(b"+=") {
            let whose = part[..at].iter().any(|byte| b"oa".contains(byte));
            open |= whose && part[at..].contains(&b'w');
            sticky |= part[at..].contains(&b't');
        }
    }
    open && !sticky
}

fn command(lint: &mut Lint<'_>, text: &BStr, pos: &Pos) {
    let text = lint.program.context.expand(text);
    let program = text.fields().next().unwrap_or_default();
    let program = program.trim_with(|c| matches!(c, '"' | '\'' | '(' | ';'));
    if let Some(dir) = COMMON
        .iter()
        .find(|dir| super::access::covers(dir.as_bytes().as_bstr(), program.as_bstr()))
    {
        let message = format!("{} is run, but everybody may put a file into {dir}", program.as_bstr());
        lint.warn(
            "command-in-tmp",
            pos,
            message,
            "whoever is there first decides what runs here as root",
        );
    }
}

fn is_system(path: &BString) -> bool {
    let path = match path.trim_end_with(|c| c == '/' || c == '.') {
        b"" => b"/",
        path => path,
    };
    SYSTEM.iter().any(|system| path == system.as_bytes())
}

fn tidy(lint: &mut Lint<'_>, rule: &Rule) {
    let everything = rule
        .attrs
        .all("pattern")
        .chain(rule.attrs.all("include"))
        .any(|attr| attr.value == "*" || attr.value == ".*");
    let deep = rule.attrs.get("recurse").is_some_and(|attr| attr.value != "0");
    let narrowed = ["filter", "exclude", "size"]
        .iter()
        .any(|name| rule.attrs.get(name).is_some());
    if !everything || !deep || narrowed || !is(rule, "age", &["0"]) {
        return;
    }
    for dir in lint
        .program
        .context
        .iterate(rule.promiser.as_bstr())
        .into_iter()
        .take(100)
    {
        if is_system(&dir) {
            let message = format!("this removes every file below {dir}, however young it is");
            lint.warn("clears-system", &rule.pos, message, "age=0 means any age");
        }
    }
}

fn purge(lint: &mut Lint<'_>, rule: &Rule) {
    let Some(dest) = rule.attrs.get("destination") else {
        return;
    };
    for dir in lint.program.context.iterate(dest.value.as_bstr()).into_iter().take(100) {
        if is_system(&dir) {
            let message = format!("purge=true removes everything in {dir} that the source does not have");
            lint.warn(
                "clears-system",
                &dest.pos,
                message,
                "only ignore= protects what is there",
            );
        }
    }
}
