//! Commands that replace text.

use bstr::{BStr, BString, ByteSlice};

use super::table::Replace;
use super::text::{Step, Stop, Text};
use crate::policy::Ere;

impl Text<'_> {
    /// The replacing family.
    pub fn replace(&mut self, op: Replace, name: &str, arg: &BStr) -> Step {
        match op {
            Replace::All => self.pending = Some((true, arg.to_owned())),
            Replace::First => self.pending = Some((false, arg.to_owned())),
            Replace::With => {
                let Some((all, pattern)) = self.pending.take() else {
                    return Err(Stop::Fail(vec![
                        "With stands without ReplaceAll or ReplaceFirst".into(),
                    ]));
                };
                let ere = Ere::new(&pattern)?;
                if all {
                    self.replace_all(&ere, pattern.as_bstr(), arg)?;
                } else {
                    self.replace_first(&ere, arg);
                }
            }
            Replace::Line => {
                let here = self.here;
                match self.lines.get_mut(here) {
                    Some(line) => *line = arg.to_owned(),
                    None => return Err(Stop::Abort(format!("{name}: the file is empty"))),
                }
            }
            Replace::SplitOn => self.field_separator = arg.to_owned(),
            Replace::Field => self.replace_by_field(name, arg)?,
        }
        Ok(())
    }

    /// Every match in every line, or nothing at all: a result that would be changed again by the next run is refused,
    /// outside groups.
    fn replace_all(&mut self, ere: &Ere, pattern: &BStr, with: &BStr) -> Step {
        let end = self.end_from(0);
        let mut new = Vec::new();
        for (at, line) in self.lines[..end].iter().enumerate() {
            let result = substitute(ere, line, with);
            if result == *line {
                continue;
            }
            let settled = |found| found == (0, result.len()) && substitute(ere, &result, with) == result;
            let again = ere.find(&result, 0).is_some_and(|found| !settled(found));
            if again && !self.in_group {
                return Err(Stop::Fail(vec![
                    format!("WARNING: Non-convergent edit operation ReplaceAll [{pattern}] With [{with}]"),
                    format!("Line begins [{}]", line.chars().take(40).collect::<String>()),
                    "Replacement matches search string and will thus replace every time - edit was not done".into(),
                ]));
            }
            new.push((at, result));
        }
        for (at, line) in new {
            self.lines[at] = line;
        }
        Ok(())
    }

    fn replace_first(&mut self, ere: &Ere, with: &BStr) {
        let end = self.end_from(0);
        for line in &mut self.lines[..end] {
            if let Some((from, to)) = ere.find(line, 0) {
                line.splice(from..to, with.iter().copied());
            }
        }
    }

    /// Lines whose Nth field equals that of the set line become that line.
    fn replace_by_field(&mut self, name: &str, arg: &BStr) -> Step {
        let field = self.count(name, arg)?;
        let Some(new) = self.line.clone() else {
            return Err(Stop::Fail(vec![format!(
                "{name}: no line was set by SetLine or ForEachLineIn"
            )]));
        };
        if field == 0 || self.field_separator.is_empty() {
            return Err(Stop::Fail(vec![format!(
                "{name}: fields count from 1 and need a separator"
            )]));
        }
        let separator = self.field_separator.clone();
        let nth = |line: &BString| line.split_str(&separator).nth(field - 1).map(<[u8]>::to_vec);
        let Some(wanted) = nth(&new) else { return Ok(()) };
        let end = self.end_from(0);
        for line in &mut self.lines[..end] {
            if nth(line).as_ref() == Some(&wanted) {
                line.clone_from(&new);
            }
        }
        Ok(())
    }
}

/// Every match replaced by a literal text, from left to right.
fn substitute(ere: &Ere, line: &[u8], with: &[u8]) -> BString {
    let mut result = BString::default();
    let mut done = 0;
    let mut at = 0;
    while at <= line.len() {
        let Some((from, to)) = ere.find(line, at) else { break };
        // An empty match right after another one is none.
        if from == to && from == done && done > 0 {
            at = to + 1;
            continue;
        }
        result.extend_from_slice(&line[done..from]);
        result.extend_from_slice(with);
        done = to;
        at = if from == to { to + 1 } else { to };
    }
    result.extend_from_slice(&line[done..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitution_goes_from_left_to_right_and_ends() {
        let subst = |pattern: &str, line: &str, with: &str| {
            substitute(&Ere::new(pattern).unwrap(), line.as_bytes(), with.as_bytes()).to_string()
        };
        assert_eq!(subst("a", "banana", "o"), "bonono");
        assert_eq!(subst("x*", "abc", "-"), "-a-b-c-");
        assert_eq!(subst("a*", "baac", "-"), "-b-c-");
        assert_eq!(subst("^", "abc", "# "), "# abc");
        assert_eq!(subst("$", "abc", ";"), "abc;");
        assert_eq!(subst("^a", "aa", ""), "a");
    }
}
