//! Cuts a list into its words, each with the operator before it.

use super::error::ListError;

/// One word of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// `,` union, `!` minus, `&` and, `^` either but not both.
    pub operator: u8,
    /// True: to be taken away from the whole list (`-word`, `!word`).
    pub away: bool,
    /// The word without its sign.
    pub word: &'a str,
}

/// The most words on one line.
const WORDS: usize = super::HOST_LIMIT;

/// Cuts a list. An operator stands right after a word, or between two words with blanks around it.
pub(super) fn items(text: &str) -> Result<Vec<Item<'_>>, ListError> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut pending: Option<usize> = None;
    let mut at = 0;
    while let Some(&c) = bytes.get(at) {
        if c.is_ascii_whitespace() || (c == b',' && pending.is_none()) {
            at += 1;
            continue;
        }
        let alone = bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace);
        let operator = c == b'&' || (matches!(c, b'!' | b'^') && alone);
        if operator && pending.is_none() {
            if found.is_empty() {
                let why = format!("nothing stands before the '{}'", char::from(c));
                return Err(ListError::new(why).at(text, &text[at..at + 1]));
            }
            pending = Some(at);
            at += 1;
            continue;
        }
        if operator || c == b',' {
            break;
        }
        let end = end(text, at)?;
        let item = &text[at..end];
        let (away, word) = match item.strip_prefix(['!', '-']) {
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, item),
        };
        if found.len() >= WORDS {
            return Err(ListError::new(format!("more than {WORDS} words on one line")));
        }
        found.push(Item {
            operator: pending.take().map_or(b',', |at| bytes[at]),
            away,
            word,
        });
        at = end;
        if matches!(bytes.get(at), Some(b'!' | b'&' | b'^')) {
            pending = Some(at);
            at += 1;
        }
    }
    match pending {
        Some(at) => {
            let why = format!("nothing follows the '{}'", char::from(bytes[at]));
            Err(ListError::new(why).at(text, &text[at..at + 1]))
        }
        None => Ok(found),
    }
}

/// Where the word that begins at `start` ends.
fn end(text: &str, start: usize) -> Result<usize, ListError> {
    let bytes = text.as_bytes();
    let mut at = start;
    if matches!(bytes[at], b'!' | b'-') {
        at += 1;
    }
    match bytes.get(at) {
        Some(b'/') => {
            if let Some(end) = closing_slash(bytes, at + 1) {
                return Ok(end + 1);
            }
        }
        Some(b'^') => at += 1,
        _ => {}
    }
    let mut open = None;
    while let Some(&c) = bytes.get(at) {
        match (c, open) {
            (b'[', None) => open = Some(at),
            (b'[', Some(_)) => {
                return Err(ListError::new("a bracket inside brackets").at(text, &text[at..at + 1]));
            }
            (b']', Some(_)) => open = None,
            (b']', None) => return Err(ListError::new("']' without '['").at(text, &text[at..at + 1])),
            (b',' | b'!' | b'&' | b'^', None) => break,
            (c, None) if c.is_ascii_whitespace() => break,
            _ => {}
        }
        at += 1;
    }
    match open {
        Some(open) => Err(ListError::new("'[' without ']'").at(text, &text[open..open + 1])),
        None => Ok(at),
    }
}

/// The slash that ends a regular expression; one after a backslash belongs to it.
fn closing_slash(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(&c) = bytes.get(at) {
        match c {
            b'/' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> String {
        let shown = |item: &Item<'_>| {
            let away = if item.away { "-" } else { "" };
            format!("{}{away}{}", char::from(item.operator), item.word)
        };
        match items(text) {
            Ok(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn words_and_operators_are_told_apart() {
        for (text, wanted) in [
            ("a,b c", ",a ,b ,c"),
            ("a!b&c^d", ",a !b &c ^d"),
            ("a ! b & c ^ d", ",a !b &c ^d"),
            ("a !b -c ^d", ",a ,-b ,-c ,^d"),
            ("a!^/etc/x!b", ",a !^/etc/x !b"),
            ("-,--", ",- ,--"),
            ("/n(1|2),x/,-/a\\/b/!/c d/", ",/n(1|2),x/ ,-/a\\/b/ !/c d/"),
            ("/n.*,m", ",/n.* ,m"),
            ("n[1,3 , 5-7],m", ",n[1,3 , 5-7] ,m"),
            ("@a:b[1-2]&@*", ",@a:b[1-2] &@*"),
            (" , ,, ", ""),
            ("a!", "nothing follows the '!'"),
            ("a!,b", "nothing follows the '!'"),
            ("&b", "nothing stands before the '&'"),
            ("a[[1]]", "a bracket inside brackets"),
        ] {
            assert_eq!(cut(text), wanted, "{text}");
        }
    }
}
