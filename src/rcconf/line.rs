//! One line of an rc file: `[export ]NAME=WORD[ # comment]`, WORD plain or quoted as in the shell.

use std::ops::Range;

use bstr::BString;

/// A line with its line break.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Anything that is not a single assignment.
    Other(BString),
    /// An assignment.
    Setting(Found),
}

/// An assignment and where its value lies.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub raw: BString,
    pub key: String,
    pub value: BString,
    word: Range<usize>,
}

impl Found {
    /// A new line.
    pub fn new(key: &str, value: &[u8]) -> Self {
        let mut found = Found {
            raw: BString::from(format!("{key}=\n")),
            key: key.to_string(),
            value: BString::default(),
            word: key.len() + 1..key.len() + 1,
        };
        found.replace(value);
        found
    }

    /// Puts another value in the place of the old one; a value that was quoted stays quoted.
    pub fn replace(&mut self, value: &[u8]) {
        let quoted = matches!(self.raw.get(self.word.start), Some(b'"' | b'\''));
        let word = quote(value, quoted);
        let end = self.word.start + word.len();
        self.raw.splice(self.word.clone(), word);
        self.word.end = end;
        self.value = BString::from(value);
    }
}

/// True for blank lines and comments.
pub(super) fn is_blank(raw: &[u8]) -> bool {
    matches!(raw.trim_ascii_start().first(), None | Some(b'#'))
}

/// A shell name, or an element of an array of the old rc files (`VG[0]`, VAR-10).
pub(super) fn is_key(key: &[u8]) -> bool {
    let (name, index) = match key.iter().position(|&b| b == b'[') {
        Some(open) => (&key[..open], Some(&key[open..])),
        None => (key, None),
    };
    let name_ok = name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let index_ok = match index {
        None => true,
        Some([b'[', digits @ .., b']']) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    name_ok && index_ok && key.len() <= 255
}

/// Parses one line.
pub(super) fn parse(raw: &[u8]) -> Result<Line, String> {
    let other = || Ok(Line::Other(BString::from(raw)));
    let mut at = blanks(raw, 0);
    if raw[at..].starts_with(b"export ") {
        at = blanks(raw, at + "export ".len());
    }
    let Some(length) = raw[at..].iter().position(|&b| b == b'=') else {
        return other();
    };
    let key = &raw[at..at + length];
    if !is_key(key) {
        return other();
    }
    let start = at + length + 1;
    let (value, end) = word(raw, start)?;
    // After the word only a comment may follow; `A=1 command` or `A=1; B=2` is a piece of shell, not a setting.
    let rest = blanks(raw, end);
    let comment = raw.get(rest) == Some(&b'#') && rest > end;
    if !comment && !raw[rest..].trim_ascii().is_empty() {
        return other();
    }
    Ok(Line::Setting(Found {
        raw: BString::from(raw),
        key: String::from_utf8_lossy(key).into_owned(),
        value: BString::from(value),
        word: start..end,
    }))
}

fn blanks(raw: &[u8], at: usize) -> usize {
    at + raw[at..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// Reads the word at `at`: its value and where it ends.
fn word(raw: &[u8], mut at: usize) -> Result<(Vec<u8>, usize), String> {
    const OPEN: &str = "the quote is not closed on this line";
    let mut value = Vec::new();
    loop {
        match raw.get(at) {
            None | Some(b'\n' | b'\r' | b' ' | b'\t' | b';') => return Ok((value, at)),
            Some(b'\'') => {
                let length = raw[at + 1..].iter().position(|&b| b == b'\'').ok_or(OPEN)?;
                value.extend_from_slice(&raw[at + 1..at + 1 + length]);
                at += length + 2;
            }
            Some(b'"') => {
                at += 1;
                loop {
                    match (raw.get(at), raw.get(at + 1)) {
                        (Some(b'"'), _) => break,
                        (Some(b'\\'), Some(next @ (b'"' | b'\\' | b'$' | b'`'))) => {
                            value.push(*next);
                            at += 2;
                        }
                        (Some(b), _) => {
                            value.push(*b);
                            at += 1;
                        }
                        (None, _) => return Err(OPEN.to_string()),
                    }
                }
                at += 1;
            }
            Some(b'\\') if raw.get(at + 1).is_some_and(|b| *b != b'\n') => {
                value.push(raw[at + 1]);
                at += 2;
            }
            Some(b) => {
                value.push(*b);
                at += 1;
            }
        }
    }
}

/// A value as a shell word.
fn quote(value: &[u8], always: bool) -> Vec<u8> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./:@%+,*".contains(b);
    if !always && value.iter().all(plain) {
        return value.to_vec();
    }
    let mut word = vec![b'"'];
    for b in value {
        if matches!(b, b'"' | b'\\' | b'$' | b'`') {
            word.push(b'\\');
        }
        word.push(*b);
    }
    word.push(b'"');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<String> {
        match parse(text.as_bytes()).unwrap() {
            Line::Setting(found) => Some(found.value.to_string()),
            Line::Other(_) => None,
        }
    }

    #[test]
    fn words_are_read_as_the_shell_reads_them() {
        assert_eq!(value("A=b\\ c\n").unwrap(), "b c");
        assert_eq!(value("A=\"a \\\"q\\\" $x\"\n").unwrap(), "a \"q\" $x");
        assert_eq!(value("A='it'\"'\"'s'\n").unwrap(), "it's");
        assert_eq!(value("A=\n").unwrap(), "");
        assert_eq!(value("A=x#y # z\n").unwrap(), "x#y");
    }

    #[test]
    fn pieces_of_shell_are_no_settings() {
        for text in [
            "A=1 command\n",
            "A=1; B=2\n",
            "[ $A = 1 ] && x\n",
            "1A=2\n",
            "VG[x]=1\n",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
