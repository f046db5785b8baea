//! Words that choose among hosts by their names: `/regular expression/`, `web*`, `db?`.

use regex::{Regex, RegexBuilder};

use super::error::ListError;
use super::range;

/// The most memory one compiled expression may take, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// The most wildcard words one word with ranges may stand for.
const GLOBS: u128 = 10_000;

/// Chooses hosts by their names.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    /// Matches anywhere in the name.
    Regex(Regex),
    /// Matches the whole name: `*` is any text, `?` any one character.
    Globs(Vec<String>),
}

impl Matcher {
    /// The matcher that a word is, when it is one.
    pub fn of(word: &str) -> Result<Option<Self>, ListError> {
        if let Some(inside) = word.strip_prefix('/') {
            let inside = inside.strip_suffix('/').unwrap_or(inside);
            let regex = RegexBuilder::new(inside).size_limit(REGEX_LIMIT).build();
            return regex.map(|regex| Some(Matcher::Regex(regex))).map_err(|error| {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                ListError::new(format!("'{word}' is not a regular expression: {why}"))
            });
        }
        if !word.contains(['*', '?']) {
            return Ok(None);
        }
        let pattern = range::Pattern::parse(word).map_err(|why| ListError::new(format!("'{word}': {why}")))?;
        if pattern.count() > GLOBS {
            return Err(ListError::new(format!("'{word}' is more than {GLOBS} wildcard words")));
        }
        Ok(Some(Matcher::Globs(pattern.names())))
    }

    /// How many words it is.
    pub fn words(&self) -> usize {
        match self {
            Matcher::Regex(_) => 1,
            Matcher::Globs(globs) => globs.len(),
        }
    }

    /// Whether it matches a name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Matcher::Regex(regex) => regex.is_match(name),
            Matcher::Globs(globs) => globs.iter().any(|glob| glob_matches(glob.as_bytes(), name.as_bytes())),
        }
    }
}

/// `*` and `?`, in time of at most the product of both lengths.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match star {
                // The last star takes one character more.
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    g = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(word: &str, name: &str) -> bool {
        Matcher::of(word).unwrap().unwrap().matches(name)
    }

    #[test]
    fn wildcards_match_the_whole_name_and_expressions_any_part_of_it() {
        for (word, yes, no) in [
            ("web*", "web12", "aweb1"),
            ("*serv1", "dbserv1", "dbserv11"),
            ("db?", "db1", "db12"),
            ("a*b*c", "axxbyybzc", "axxbyybz"),
            ("w*[1-2]", "web2", "web3"),
            ("/eb/", "web1", "db1"),
            ("/^n(1|2)$", "n2", "n12"),
        ] {
            assert!(matches(word, yes), "{word} {yes}");
            assert!(!matches(word, no), "{word} {no}");
        }
        assert!(Matcher::of("web1").unwrap().is_none());
    }

    #[test]
    fn an_expression_that_is_wrong_or_too_large_is_refused() {
        let why = |word| Matcher::of(word).unwrap_err().to_string();
        assert_eq!(why("/a(/"), "'/a(/' is not a regular expression: unclosed group");
        assert!(why("/(((a{99}){99}){99}){99}/").contains("size limit"));
        assert!(why("n[1-99999]*").contains("more than 10000 wildcard words"));
    }
}
