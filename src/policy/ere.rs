//! Regular expressions of policies: POSIX extended, on bytes, matched by the `regex` crate (linear time, so a hostile
//! pattern costs no more than its length).
//!
//! Owns the translation. What differs from the C library: no back-references (refused), bytes instead of locales, and
//! the GNU escapes `\w \W \s \S \b \B \< \>` are known while `\d` is a plain `d`, as there.

use std::fmt;

use bstr::{BStr, ByteSlice};
use regex::bytes::{Regex, RegexBuilder};

/// Memory that one compiled expression may take.
const SIZE_LIMIT: usize = 4 * 1024 * 1024;

/// Names in `[:…:]`.
const CLASSES: &[&[u8]] = &[
    b"alnum", b"alpha", b"blank", b"cntrl", b"digit", b"graph", b"lower", b"print", b"punct", b"space", b"upper",
    b"xdigit",
];

/// Why an expression was refused: one sentence that names the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EreError(String);

impl fmt::Display for EreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EreError {}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Ere {
    part: Regex,
    whole: Regex,
    /// Whether a longer match than the crate's may be looked for.
    alternatives: bool,
}

impl Ere {
    /// Compiles an expression.
    pub fn new(pattern: impl AsRef<[u8]>) -> Result<Ere, EreError> {
        let pattern = pattern.as_ref();
        let refuse = |why: &str| EreError(format!("regular expression \"{}\": {why}", BStr::new(pattern)));
        let text = translate(pattern).map_err(|why| refuse(&why))?;
        let build = |text: &str| {
            RegexBuilder::new(text)
                .unicode(false)
                .size_limit(SIZE_LIMIT)
                .build()
                .map_err(|error| match error {
                    regex::Error::CompiledTooBig(_) => refuse("it is too big"),
                    other => refuse(last_line(&other.to_string())),
                })
        };
        Ok(Ere {
            part: build(&text)?,
            whole: build(&format!(r"\A(?:{text})\z"))?,
            // A part of a line cannot tell where `$` and `\b` hold: those keep the crate's order.
            alternatives: pattern.contains_str("|") && !pattern.contains_str("$") && !pattern.contains_str(r"\"),
        })
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.whole.is_match(text)
    }

    /// Whether some part of the text matches.
    pub fn found_in(&self, text: &[u8]) -> bool {
        self.part.is_match(text)
    }

    /// The first match at or after `from`, as a range. Of several alternatives at one place the longest counts, as POSIX
    /// has it.
    pub fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = self.part.find_at(text, from)?;
        let (start, mut end) = (found.start(), found.end());
        // The crate prefers the first alternative, POSIX the longest match.
        if self.alternatives {
            let longer = |&e: &usize| self.whole.is_match(&text[start..e]);
            end = (end + 1..=text.len()).rev().find(longer).unwrap_or(end);
        }
        Some((start, end))
    }
}

/// The crate explains over several lines; its last says what is wrong.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").trim()
}

/// Where one nesting level stands: where its last atom starts in the output, and whether that is already repeated.
#[derive(Clone, Copy, Default)]
struct Level {
    open: usize,
    atom: Option<usize>,
    repeated: bool,
}

fn translate(pattern: &[u8]) -> Result<String, String> {
    let mut out = String::new();
    let mut level = Level::default();
    let mut stack: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        let start = out.len();
        match byte {
            b'(' => {
                stack.push(level);
                level = Level {
                    open: start,
                    ..Level::default()
                };
                out.push('(');
                continue;
            }
            b')' if !stack.is_empty() => {
                out.push(')');
                let open = level.open;
                level = stack.pop().unwrap_or_default();
                level.atom = Some(open);
                level.repeated = false;
                continue;
            }
            b'|' => {
                out.push('|');
                level.atom = None;
                continue;
            }
            b'*' | b'+' | b'?' => {
                repeat(&mut out, &mut level, (byte as char).encode_utf8(&mut [0; 4]))?;
                continue;
            }
            b'{' => {
                if let Some((count, next)) = interval(pattern, at) {
                    repeat(&mut out, &mut level, &count)?;
                    at = next;
                    continue;
                }
                out.push_str(r"\{");
            }
            b'^' | b'$' => {
                out.push(byte as char);
                level.atom = None;
                continue;
            }
            b'.' => out.push('.'),
            b'[' => at = bracket(pattern, at, &mut out)?,
            b'\\' => {
                let Some(&next) = pattern.get(at) else {
                    return Err("it ends in a backslash".into());
                };
                at += 1;
                escape(next, &mut out)?;
            }
            other => literal(other, &mut out),
        }
        level.atom = Some(start);
        level.repeated = false;
    }
    if !stack.is_empty() {
        return Err("a ( is not closed".into());
    }
    Ok(out)
}

/// Adds a repetition. One that follows another is wrapped, because `a*?` means something else to the crate.
fn repeat(out: &mut String, level: &mut Level, sign: &str) -> Result<(), String> {
    let Some(atom) = level.atom else {
        return Err(format!("nothing to repeat before {sign}"));
    };
    if level.repeated {
        out.insert_str(atom, "(?:");
        out.push(')');
    }
    out.push_str(sign);
    level.repeated = true;
    Ok(())
}

/// `{n}`, `{n,}`, `{,m}`, `{n,m}`; anything else is literal.
fn interval(pattern: &[u8], at: usize) -> Option<(String, usize)> {
    let close = at + pattern[at..].find_byte(b'}')?;
    let inner = pattern[at..close].to_str().ok()?;
    let number = |text: &str| !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    let count = match inner.split_once(',') {
        None if number(inner) => format!("{{{inner}}}"),
        Some((low, "")) if number(low) => format!("{{{low},}}"),
        Some(("", high)) if number(high) => format!("{{0,{high}}}"),
        Some((low, high)) if number(low) && number(high) => format!("{{{low},{high}}}"),
        _ => return None,
    };
    Some((count, close + 1))
}

fn escape(byte: u8, out: &mut String) -> Result<(), String> {
    match byte {
        b'1'..=b'9' => {
            return Err(format!("back-references such as \\{} are not supported", byte as char));
        }
        b'w' | b'W' | b's' | b'S' | b'b' | b'B' | b'<' | b'>' => {
            out.push('\\');
            out.push(byte as char);
        }
        b'`' => out.push_str(r"\A"),
        b'\'' => out.push_str(r"\z"),
        other => literal(other, out),
    }
    Ok(())
}

fn literal(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() || byte == b' ' || byte == b'_' {
        out.push(byte as char);
    } else {
        out.push_str(&format!(r"\x{byte:02x}"));
    }
}

/// A bracket expression; a backslash in it is a plain character. Gives the position after it.
fn bracket(pattern: &[u8], mut at: usize, out: &mut String) -> Result<usize, String> {
    let open = "a [ is not closed";
    out.push('[');
    if pattern.get(at) == Some(&b'^') {
        out.push('^');
        at += 1;
    }
    let first = at;
    loop {
        let byte = *pattern.get(at).ok_or(open)?;
        match byte {
            b']' if at > first => {
                out.push(']');
                return Ok(at + 1);
            }
            b'[' if matches!(pattern.get(at + 1), Some(b':' | b'.' | b'=')) => {
                let mark = pattern[at + 1];
                let close = pattern[at + 2..].find([mark, b']']).ok_or(open)?;
                let name = &pattern[at + 2..at + 2 + close];
                at += close + 4;
                if mark == b':' {
                    if !CLASSES.contains(&name) {
                        return Err(format!("unknown character class [:{}:]", BStr::new(name)));
                    }
                    out.push_str(&format!("[:{}:]", BStr::new(name)));
                } else if let [single] = name {
                    literal(*single, out);
                } else {
                    return Err(format!("unknown collating element {}", BStr::new(name)));
                }
            }
            b'-' if at > first && pattern.get(at + 1).is_some_and(|&next| next != b']') => {
                out.push('-');
                at += 1;
            }
            other => {
                literal(other, out);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, text: &str) -> bool {
        Ere::new(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn matching_means_the_whole_text() {
        assert!(whole("brav.", "bravo") && !whole("rav", "bravo"));
        assert!(whole("a|ab", "ab") && whole("", ""));
        assert!(Ere::new("rav").unwrap().found_in(b"bravo"));
    }

    #[test]
    fn a_backslash_in_brackets_is_a_plain_character() {
        assert!(whole(r"[\.]", r"\") && whole(r"[\.]", "."));
        assert!(whole("[]a]+", "]a]") && whole("[^]a]", "b") && whole("[a-]+", "a-"));
        assert!(whole("[[:alpha:][:space:]]+", "a b") && whole("[[.-.]x]+", "-x"));
        assert!(whole("[&~^[]+", "&&~~^["));
    }

    #[test]
    fn signs_that_are_literal_in_the_c_library_stay_literal() {
        assert!(whole("a{x}", "a{x}") && whole("a)", "a)") && whole("a{2}", "aa"));
        assert!(whole(r"\$\(x\)\/\d", "$(x)/d"));
        assert!(whole("a{,2}", "aa") && !whole("a{,2}", "aaa"));
    }

    #[test]
    fn doubled_repetitions_are_not_lazy_ones() {
        let find = |pattern: &str, text: &str| Ere::new(pattern).unwrap().find(text.as_bytes(), 0);
        assert_eq!(find("a+?", "aaa"), Some((0, 3)));
        assert_eq!(find("(ab)*?", "abab"), Some((0, 4)));
        assert_eq!(find("a**b", "aab"), Some((0, 3)));
    }

    #[test]
    fn the_longest_alternative_counts() {
        assert_eq!(
            Ere::new("yes|yesterday").unwrap().find(b"on yesterday", 0),
            Some((3, 12))
        );
    }

    #[test]
    fn what_cannot_be_matched_is_refused_with_its_reason() {
        let why = |pattern: &str| Ere::new(pattern).unwrap_err().to_string();
        assert!(why(r"(a)\1").ends_with(r"back-references such as \1 are not supported"));
        assert!(why("(a").ends_with("a ( is not closed"));
        assert!(why("[a").ends_with("a [ is not closed"));
        assert!(why("(?i)a").ends_with("nothing to repeat before ?"));
        assert!(why("*a").ends_with("nothing to repeat before *"));
        assert!(why("a\\").ends_with("it ends in a backslash"));
        assert!(why("[[:nope:]]").ends_with("unknown character class [:nope:]"));
        assert!(why("((a{999}){999}){999}").ends_with("it is too big"));
    }

    #[test]
    fn bytes_that_are_no_text_match_themselves() {
        let ere = Ere::new(b"\xff[\xfe]\xc3\xa4.".as_slice()).unwrap();
        assert!(ere.matches(b"\xff\xfe\xc3\xa4\x80"));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in proptest::collection::vec(proptest::num::u8::ANY, 0..20), text in ".*") {
            if let Ok(ere) = Ere::new(&pattern) {
                let _ = ere.matches(text.as_bytes());
                let _ = ere.find(text.as_bytes(), 0);
            }
        }

        #[test]
        fn an_escaped_text_matches_itself_only(text in "[ -~]{1,12}", other in "[ -~]{1,12}") {
            let escaped: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\{c}") }).collect();
            // \< \> \` \' stand for places, not characters.
            proptest::prop_assume!(!text.contains(['<', '>', '`', '\'']));
            let ere = Ere::new(&escaped).unwrap();
            proptest::prop_assert!(ere.matches(text.as_bytes()));
            proptest::prop_assert_eq!(ere.matches(other.as_bytes()), text == other);
        }
    }
}
