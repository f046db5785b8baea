//! Variables that must be set before they are used, and references that never close.

use bstr::ByteSlice;

use crate::policy::lexer::Cursor;
use crate::policy::{Body, Context, PolicyError, Pos, Program};

/// Variables that must be set before they are used (quirk Q8), with the messages of section 8.
static MUST_BE_SET: &[&str] = &["site", "faculty", "sysadm", "timezone"];

/// The first variable a text uses that must be set and is not.
pub(in crate::policy) fn undefined(context: &Context, text: &[u8]) -> Option<String> {
    if !text.contains(&b'$') {
        return None;
    }
    MUST_BE_SET
        .iter()
        .filter(|name| !context.is_set(name))
        .find(|name| {
            text.find_iter(name.as_bytes()).any(|at| {
                let end = text.get(at + name.len());
                at >= 2
                    && text[at - 2] == b'$'
                    && b"({".contains(&text[at - 1])
                    && end.is_some_and(|b| b")}".contains(b))
            })
        })
        .map(|name| match *name {
            "site" | "faculty" => "faculty/site undefined variable".to_string(),
            name => format!("{name} undefined variable"),
        })
}

/// Rules that use a variable that must be set and is not, once all files are read (an import may have set it).
pub(in crate::policy) fn undefined_in_rules(program: &Program) -> Vec<PolicyError> {
    let context = &program.context;
    if MUST_BE_SET.iter().all(|name| context.is_set(name)) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for rule in program.rules.iter().filter(|rule| context.could_hold(&rule.class)) {
        let mut look = |text: &[u8], pos: &Pos| {
            if let Some(message) = undefined(context, text) {
                errors.push(PolicyError {
                    pos: pos.clone(),
                    message,
                    hint: Some("it is set in control:".into()),
                    excerpt: None,
                });
            }
        };
        look(&rule.promiser, &rule.pos);
        for attr in &rule.attrs.0 {
            look(&attr.value, &attr.pos);
        }
        match &rule.body {
            Body::Link { to, .. } | Body::Restart(to) => look(to, &rule.pos),
            Body::Edit(commands) => commands.iter().for_each(|command| look(&command.arg, &command.pos)),
            _ => {}
        }
        if errors.len() > 100 {
            break;
        }
    }
    errors
}

/// Whether a reference is opened and never closed: `$(x` at the end of a text, or before a blank where no text may hold one.
pub(super) fn unclosed(text: &[u8]) -> bool {
    text.find_iter(b"$").any(|at| {
        let rest = &text[at..];
        let close = match rest.get(1) {
            Some(b'(') => b')',
            Some(b'{') => b'}',
            _ => return false,
        };
        Cursor::reference_len(rest) == 0 && !rest.contains(&close)
    })
}
