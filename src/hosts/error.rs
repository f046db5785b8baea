//! Why a list cannot be used, and the place in it.

use std::fmt;

/// The most characters of a list that are shown around the wrong place.
const SHOWN: usize = 60;

/// Why a host list cannot be used: one sentence, and the place in the text where it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError {
    why: String,
    pointer: Option<String>,
}

impl ListError {
    /// An error with its sentence.
    pub fn new(why: impl fmt::Display) -> Self {
        ListError {
            why: why.to_string(),
            pointer: None,
        }
    }

    /// The same, with the place: `part` is the wrong piece of `text`. A place that is there already stays, it is nearer.
    pub(super) fn at(mut self, text: &str, part: &str) -> Self {
        if self.pointer.is_none() {
            self.pointer = pointer(text, part);
        }
        self
    }

    /// The same sentence, after what names the file and line it was found in.
    pub(super) fn found_in(mut self, place: &str) -> Self {
        self.why = format!("{place}: {}", self.why);
        self
    }

    /// Two lines: the piece of the list that is wrong, and signs below it that point at the place.
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for ListError {}

/// `part` must be a slice of `text`; else there is nothing to point at.
fn pointer(text: &str, part: &str) -> Option<String> {
    let at = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let before = text.get(..at)?.chars().count();
    let text: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = before.saturating_sub(SHOWN / 2);
    let to = text.len().min(from + SHOWN);
    let (left, right) = (
        if from > 0 { "..." } else { "" },
        if to < text.len() { "..." } else { "" },
    );
    let middle: String = text.get(from..to)?.iter().collect();
    let blank = " ".repeat(left.len() + before - from);
    let width = part.chars().count().clamp(1, (to - before).max(1));
    Some(format!("{left}{middle}{right}\n{blank}{}", "^".repeat(width)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, from: usize, to: usize) -> String {
        let error = ListError::new("no").at(text, &text[from..to]);
        error.pointer().unwrap().to_string()
    }

    #[test]
    fn the_wrong_place_is_marked_below_the_list() {
        assert_eq!(shown("a,n[3-1],b", 2, 8), "a,n[3-1],b\n  ^^^^^^");
        assert_eq!(shown("a!", 2, 2), "a!\n  ^");
        assert_eq!(shown("ü\tb", 3, 4), "ü b\n  ^");
    }

    #[test]
    fn of_a_long_list_only_the_neighbourhood_is_shown() {
        let text = "n1,".repeat(100) + "X" + &",n2".repeat(100);
        let shown = shown(&text, 300, 301);
        let (list, marks) = shown.split_once('\n').unwrap();
        assert!(list.len() <= SHOWN + 6 && list.starts_with("...") && list.ends_with("..."));
        assert_eq!(list.find('X'), marks.find('^'));
    }

    #[test]
    fn a_text_of_somebody_else_is_not_pointed_into() {
        assert_eq!(ListError::new("no").at("abc", &String::from("b")).pointer(), None);
    }
}
