//! Commands that comment lines out and in again.
//!
//! A line that carries the mark already is left alone; blanks at the end of the mark do not count, so `#telnet` is a
//! commented line for the mark `# `. Taking marks away is exact.

use bstr::{BStr, BString, ByteSlice};

use super::table::{Comment, Mark};
use super::text::{Chooser, Step, Text, no_match};
use crate::policy::Ere;

/// What stands around a commented line.
struct Marks {
    start: BString,
    end: BString,
}

impl Marks {
    fn on(&self, line: &[u8]) -> bool {
        let start = self.start.trim_end();
        if start.is_empty() && self.end.is_empty() {
            line.starts_with(&self.start)
        } else if start.is_empty() {
            line.ends_with(&self.end)
        } else {
            line.starts_with(start)
        }
    }

    fn put(&self, line: &mut BString) {
        if !self.on(line) {
            line.splice(0..0, self.start.iter().copied());
            line.extend_from_slice(&self.end);
        }
    }

    /// The line without its marks; `None` when it has none.
    fn bare(&self, line: &[u8]) -> Option<BString> {
        let bare = line.strip_prefix(self.start.as_slice())?;
        Some(BString::from(bare.strip_suffix(self.end.as_slice()).unwrap_or(bare)))
    }

    fn take(&self, line: &mut BString) {
        if let Some(bare) = self.bare(line) {
            *line = bare;
        }
    }
}

impl Text<'_> {
    /// The commenting family.
    pub fn comment(&mut self, op: Comment, name: &str, arg: &BStr) -> Step {
        match op {
            Comment::Start => self.comment_start = arg.to_owned(),
            Comment::End => self.comment_end = arg.to_owned(),
            Comment::Lines(mark, test) => {
                let chooser = Chooser::new(test, arg)?;
                let marks = self.marks(mark);
                let end = self.end_from(0);
                for line in self.lines[..end].iter_mut().filter(|line| chooser.takes(line)) {
                    marks.put(line);
                }
            }
            Comment::UnLines(test) => {
                let chooser = Chooser::new(test, arg)?;
                let marks = self.marks(Mark::Set);
                let end = self.end_from(0);
                for line in self.lines[..end].iter_mut().filter(|line| chooser.takes(line)) {
                    marks.take(line);
                }
            }
            Comment::N | Comment::UnN => {
                let end = self.next_lines(name, arg)?;
                let marks = self.marks(Mark::Set);
                self.mark(end, &marks, op == Comment::N);
            }
            Comment::To(mark) => {
                let marks = self.marks(mark);
                let end = self.through(name, arg, &marks)?;
                self.mark(end, &marks, true);
            }
            Comment::UnTo => {
                let marks = self.marks(Mark::Set);
                let end = self.through(name, arg, &marks)?;
                self.mark(end, &marks, false);
            }
        }
        Ok(())
    }

    fn marks(&self, mark: Mark) -> Marks {
        match mark {
            Mark::Set => Marks {
                start: self.comment_start.clone(),
                end: self.comment_end.clone(),
            },
            Mark::Fixed(sign) => Marks {
                start: sign.into(),
                end: BString::default(),
            },
        }
    }

    /// Marks or unmarks from the current line to `end`; the pointer stays.
    fn mark(&mut self, end: usize, marks: &Marks, on: bool) {
        let here = self.here;
        for line in &mut self.lines[here..end] {
            if on {
                marks.put(line);
            } else {
                marks.take(line);
            }
        }
    }

    /// The end of the lines through the matching one. A line counts with and without its mark, so that a second run ends
    /// at the same line.
    fn through(&self, name: &str, arg: &BStr, marks: &Marks) -> Result<usize, super::text::Stop> {
        let ere = Ere::new(arg)?;
        (self.here..self.end_from(self.here))
            .find(|&at| {
                let line = &self.lines[at];
                ere.matches(line) || marks.bare(line).is_some_and(|bare| ere.matches(&bare))
            })
            .map(|at| at + 1)
            .ok_or_else(|| no_match(name, arg))
    }
}
