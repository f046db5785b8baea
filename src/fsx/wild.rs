//! Shell wildcards on byte strings: `*`, `?`, `[a-z]`, `[!a-z]`, `\x`. Names are bytes and need not be UTF-8.

use bstr::{BStr, BString, ByteSlice};

/// Whether the whole name matches. `*` matches anything, slashes included, so that one pattern serves names and relative
/// paths alike. Time is bounded by the product of the lengths.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when the part after the last star does not fit: one byte further in the name.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        match one(&pattern[p..], name[n]) {
            Some(used) => {
                p += used;
                n += 1;
            }
            None => match retry {
                Some((after_star, at)) => {
                    p = after_star;
                    n = at + 1;
                    retry = Some((after_star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether any of the patterns matches the last component or the whole relative path.
pub fn any_matches(patterns: &[BString], path: &BStr) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    patterns
        .iter()
        .any(|pattern| matches(pattern, name) || (name.len() != path.len() && matches(pattern, path)))
}

/// Matches one byte against the beginning of a pattern; gives how much of the pattern was used.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((true, used)) => Some(used + 1),
            Some((false, _)) => None,
            // Not closed: a bracket like any other character.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Matches a byte against what follows a `[`: whether it is in the set, and how long the set is with its `]`.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    // A `]` that comes first stands for itself.
    let end = pattern.get(start + 1..)?.find_byte(b']')? + start + 1;
    let members = &pattern[start..end];
    let mut found = false;
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == b'-' {
            found |= (members[at]..=members[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= members[at] == byte;
            at += 1;
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell_on_bytes() {
        for (pattern, name, wanted) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[x", "[x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**a", "xa", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
        assert!(matches(b"\xff?", b"\xff\xfe"));
    }

    #[test]
    fn a_pattern_may_name_the_last_component_or_the_whole_path() {
        let patterns = [BString::from("sub/*.o"), BString::from("core")];
        assert!(any_matches(&patterns, "sub/x.o".into()));
        assert!(any_matches(&patterns, "a/b/core".into()));
        assert!(!any_matches(&patterns, "x.o".into()));
    }
}
