//! Function calls: where their arguments end and how they split (cfengine2.md 6, 11; quirk Q23: brackets may nest).

use bstr::{BString, ByteSlice};

use super::ast::Call;
use super::lexer::{Cursor, Quoted, is_blank, is_quote};

/// A call may have at most so many arguments.
pub(super) const MOST_ARGS: usize = 8;

/// The longest text between the brackets of a call.
pub(super) const LONGEST: usize = 16 << 10;

/// Reads the call at the cursor, if there is one. `Err` names the missing bracket; the cursor is then behind the name.
pub(super) fn read(cursor: &mut Cursor) -> Option<Result<Call, String>> {
    let (name, negated, len) = cursor.call_name()?;
    let pos = cursor.source.pos(cursor.at);
    let start = cursor.at + len;
    cursor.at = start;
    let Some(inside) = inside_len(cursor) else {
        return Some(Err(format!("the bracket of {}( is never closed", name.as_bstr())));
    };
    let text = &cursor.bytes()[start..start + inside];
    cursor.at = start + inside + 1;
    let args = split(text);
    Some(Ok(Call {
        name: name.into(),
        negated,
        whole: match args.as_slice() {
            [only] => only.clone(),
            _ => text.trim_with(|c| c.is_ascii_whitespace()).into(),
        },
        args,
        pos,
    }))
}

/// The length of the text between the brackets; the cursor stands behind the opening one.
fn inside_len(cursor: &Cursor) -> Option<usize> {
    let text = &cursor.rest()[..cursor.rest().len().min(LONGEST)];
    let lead = leading_quoted(text);
    let line_end = text[lead..].find_byte(b'\n').map_or(text.len(), |at| lead + at);
    let mut depth = 0usize;
    let mut first = None;
    let mut fresh = false;
    let mut at = lead;
    while at < text.len() {
        // A quoted argument in the middle, brackets in it included.
        if fresh && !is_blank(text[at]) {
            fresh = false;
            if let Some(end) = quoted_argument(text, at) {
                at = end;
                continue;
            }
        }
        let reference = Cursor::reference_len(&text[at..]);
        if reference > 0 {
            at += reference;
            continue;
        }
        match text[at] {
            b'\\' => at += 1,
            b',' if depth == 0 => fresh = true,
            b'(' => depth += 1,
            b')' => {
                first.get_or_insert(at);
                if depth == 0 {
                    return Some(at);
                }
                depth -= 1;
            }
            _ => {}
        }
        // Unbalanced on its own line: the first bracket counts, as in the original.
        if at >= line_end && first.is_some() && depth > 0 {
            return first;
        }
        at += 1;
    }
    first.or_else(|| text[lead..line_end].find_byte(b')').map(|at| lead + at))
}

/// The length of quoted arguments at the beginning, in which brackets are safe.
fn leading_quoted(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let start = at + text[at..].iter().take_while(|byte| is_blank(**byte)).count();
        let Some(end) = quoted_end(text, start) else {
            return at;
        };
        let after = end + text[end..].iter().take_while(|byte| is_blank(**byte)).count();
        match text.get(after) {
            Some(b',') => at = after + 1,
            Some(b')') => return end,
            _ => return at,
        }
    }
}

/// The offset behind a quoted argument: a quoted string that a comma or the closing bracket follows.
fn quoted_argument(text: &[u8], start: usize) -> Option<usize> {
    let end = quoted_end(text, start)?;
    let after = text[end..].iter().find(|byte| !is_blank(**byte))?;
    matches!(after, b',' | b')').then_some(end)
}

/// The offset behind the quoted string that starts at an offset.
fn quoted_end(text: &[u8], start: usize) -> Option<usize> {
    let quote = *text.get(start).filter(|byte| is_quote(**byte))?;
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        if byte == b'\\' && quote != b'`' {
            at += 1;
        } else if byte == quote {
            return Some(at + 1);
        }
        at += 1;
    }
    None
}

/// Splits arguments at commas outside quotes and brackets; quotes around a whole argument are removed.
fn split(text: &[u8]) -> Vec<BString> {
    let mut args = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut depth = 0usize;
    let mut fresh = true;
    while at < text.len() {
        let byte = text[at];
        if fresh && !is_blank(byte) {
            fresh = false;
            if let Some(end) = quoted_end(text, at) {
                at = end;
                continue;
            }
        }
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                args.push(argument(&text[start..at]));
                start = at + 1;
                fresh = true;
            }
            _ => {}
        }
        at += 1;
    }
    if !args.is_empty() || !text[start..].trim_with(|c| c.is_ascii_whitespace()).is_empty() {
        args.push(argument(&text[start..]));
    }
    args
}

fn argument(text: &[u8]) -> BString {
    let text = text.trim_with(|c| c.is_ascii_whitespace());
    if quoted_end(text, 0) == Some(text.len()) {
        let source = super::source::Source::new("".into(), text.to_vec());
        if let Quoted::Text(inner) = Cursor::new(&source).quoted() {
            return inner;
        }
    }
    text.into()
}
