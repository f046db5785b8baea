//! The scanner: a cursor over the bytes of a file with the token shapes of cfengine2.md 6. Sections decide which shape
//! they expect; nothing here knows about sections.

use bstr::{BString, ByteSlice};

use super::class::is_class_byte;
use super::source::Source;

/// How far the closing quote of an option's value may be.
const LONGEST_VALUE: usize = 4096;

/// A cursor.
pub(super) struct Cursor<'a> {
    pub source: &'a Source,
    pub at: usize,
}

/// A quoted string, or why it is none.
pub(super) enum Quoted {
    Text(BString),
    /// The closing quote is missing; the cursor stands at the end of its first line.
    Open,
}

/// What stands before `::`.
pub(super) enum Predicate {
    None,
    /// Bytes of the predicate and its start; the cursor is behind the `::`.
    Text(usize, usize),
    /// A character that no predicate may hold, and where it is; the cursor is behind the `::`.
    Illegal(usize),
}

/// Blank as the scanner sees it.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// An opening quote.
pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

impl<'a> Cursor<'a> {
    pub fn new(source: &'a Source) -> Self {
        Cursor { source, at: 0 }
    }

    pub fn bytes(&self) -> &'a [u8] {
        &self.source.bytes
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.source.bytes[self.at.min(self.source.bytes.len())..]
    }

    pub fn peek(&self) -> Option<u8> {
        self.source.bytes.get(self.at).copied()
    }

    pub fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.source.bytes.get(self.at + ahead).copied()
    }

    /// Skips white space and comments; a `#` begins one only where a token could start.
    pub fn skip_blank(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                self.skip_line();
            } else if is_blank(byte) {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    /// Skips to the end of the line.
    pub fn skip_line(&mut self) {
        self.at += self.rest().find_byte(b'\n').unwrap_or(self.rest().len());
    }

    /// The run of non-blank bytes at the cursor.
    pub fn run(&self) -> &'a [u8] {
        let rest = self.rest();
        let end = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
        &rest[..end]
    }

    /// A word followed by one colon and a blank: a section keyword, known or not. The cursor stays.
    pub fn keyword(&self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let len = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if len == 0 || rest.get(len) != Some(&b':') {
            return None;
        }
        match rest.get(len + 1) {
            None => Some(&rest[..len]),
            Some(byte) if is_blank(*byte) || *byte == b'#' || *byte == b'"' => Some(&rest[..len]),
            _ => None,
        }
    }

    /// Whether the cursor is the first thing on its line.
    pub fn first_on_line(&self) -> bool {
        let start = self.source.line_start(self.at);
        self.bytes()[start..self.at].iter().all(|byte| is_blank(*byte))
    }

    /// A class predicate at the cursor.
    pub fn predicate(&mut self) -> Predicate {
        let run = self.run();
        let Some(len) = run.find(b"::") else {
            return Predicate::None;
        };
        let after = run.get(len + 2);
        let closed = after.is_none_or(|byte| is_quote(*byte) || matches!(byte, b'{' | b'#'));
        if !closed || len == 0 || is_quote(run[0]) || run[0] == b'/' || self.option_name().is_some() {
            return Predicate::None;
        }
        let start = self.at;
        match run[..len].iter().position(|byte| !is_class_byte(*byte)) {
            None => {
                self.at += len + 2;
                Predicate::Text(start, start + len)
            }
            Some(_) if after.is_some() => Predicate::None,
            Some(bad) => {
                self.at += len + 2;
                Predicate::Illegal(start + bad)
            }
        }
    }

    /// The name of an option `name=` at the cursor; the cursor stays.
    pub fn option_name(&self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        (len > 0 && rest.get(len) == Some(&b'=')).then(|| &rest[..len])
    }

    /// The value of an option after its `=`: all up to the next blank. A value in quotes that close before a blank
    /// loses them.
    pub fn option_value(&mut self) -> BString {
        let run = self.run();
        if run.first().is_some_and(|byte| *byte == b'"' || *byte == b'\'') {
            let near = &self.rest()[..self.rest().len().min(LONGEST_VALUE)];
            let line = &near[..near.find_byte(b'\n').unwrap_or(near.len())];
            if let Some(len) = line[1..].find_byte(run[0])
                && line.get(len + 2).is_none_or(|byte| is_blank(*byte))
            {
                self.at += len + 2;
                return line[1..=len].into();
            }
        }
        self.at += run.len();
        run.into()
    }

    /// A quoted string at the cursor, which stands on its opening quote. `\"`, `\'` and `\\` give the second
    /// character, backslash-newline joins lines, any other backslash stays; back quotes know no escapes.
    pub fn quoted(&mut self) -> Quoted {
        let start = self.at;
        let quote = self.bytes()[start];
        let mut text = Vec::new();
        let mut at = start + 1;
        let bytes = self.bytes();
        while let Some(&byte) = bytes.get(at) {
            if byte == quote {
                self.at = at + 1;
                return Quoted::Text(text.into());
            }
            at += 1;
            if byte == b'\\' && quote != b'`' {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(next @ (b'\\' | b'"' | b'\'')) => {
                        text.push(*next);
                        at += 1;
                    }
                    _ => text.push(b'\\'),
                }
            } else {
                text.push(byte);
            }
        }
        self.skip_line();
        Quoted::Open
    }

    /// The name of a function call `name(` at the cursor, and its length with `!`s and bracket. A name of `!`s only is
    /// the beginning of a class expression, not a call.
    pub fn call_name(&self) -> Option<(&'a [u8], bool, usize)> {
        let rest = self.rest();
        let bangs = rest.iter().take_while(|byte| **byte == b'!').count();
        let len = rest[bangs..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let end = bangs + len;
        (len > 0 && rest.get(end) == Some(&b'(')).then(|| (&rest[bangs..end], bangs % 2 == 1, end + 1))
    }

    /// The length of a `$(…)` or `${…}` at an offset, nested ones included; 0 where there is none.
    pub fn reference_len(bytes: &[u8]) -> usize {
        let (open, close) = match bytes {
            [b'$', b'(', ..] => (b'(', b')'),
            [b'$', b'{', ..] => (b'{', b'}'),
            _ => return 0,
        };
        let mut depth = 0usize;
        for (at, &byte) in bytes.iter().enumerate().skip(1).take(1024) {
            if byte == open {
                depth += 1;
            } else if byte == close {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            } else if is_blank(byte) {
                return 0;
            }
        }
        0
    }

    /// A bare word inside `( … )`: a run of non-blanks. A bracket it did not open ends it when a blank or the end
    /// follows (quirk Q3); a bracket inside belongs to it.
    pub fn list_word(&mut self) -> &'a [u8] {
        let run = self.run();
        let mut depth = 0usize;
        for (at, &byte) in run.iter().enumerate() {
            match byte {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b')' if at > 0 && at + 1 == run.len() => {
                    self.at += at;
                    return &run[..at];
                }
                _ => {}
            }
        }
        self.at += run.len();
        run
    }
}
