//! The text being edited: its lines, the pointer, and the ways to choose lines.

use bstr::{BStr, BString, ByteSlice};

use super::table::Test;
use super::{EditWorld, Tone};
use crate::policy::{Ere, EreError};

/// Why a command did not end as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A pointer command failed: on to the next `CatchAbort`, else the edit ends; what was done is kept.
    Abort(String),
    /// A command cannot be done at all; its messages. Otherwise like [`Stop::Abort`].
    Fail(Vec<String>),
    /// `BreakIfLineMatches`: the edit ends.
    End,
}

impl From<EreError> for Stop {
    fn from(error: EreError) -> Stop {
        Stop::Fail(vec![error.to_string()])
    }
}

/// A command's result.
pub type Step = Result<(), Stop>;

/// The state of an edit.
pub struct Text<'w> {
    /// The edited file, for messages.
    pub file: &'w BStr,
    /// Its lines, without line feeds.
    pub lines: Vec<BString>,
    /// The current line; 0 in an empty file, otherwise always a line.
    pub here: usize,
    /// `SetLine`, or the line of the loop.
    pub line: Option<BString>,
    /// `SetCommentStart`
    pub comment_start: BString,
    /// `SetCommentEnd`
    pub comment_end: BString,
    /// `SplitOn`
    pub field_separator: BString,
    /// `AbortAtLineMatching`
    pub boundary: Option<Ere>,
    /// `SetScript`
    pub script: Option<BString>,
    /// `ReplaceAll`, `ReplaceFirst` on their way to `With`.
    pub pending: Option<(bool, BString)>,
    /// Inside a group.
    pub in_group: bool,
    /// What is on disk, as far as we know: the content read, or that after the last script.
    pub on_disk: Vec<BString>,
    /// A script changed the file.
    pub by_script: bool,
    /// The machine.
    pub world: &'w mut dyn EditWorld,
}

/// Content as lines; a last line without a line feed counts.
pub fn lines_of(content: &[u8]) -> Vec<BString> {
    content
        .lines_with_terminator()
        .map(|line| BString::from(line.strip_suffix(b"\n").unwrap_or(line)))
        .collect()
}

/// Lines as content: each ends in a line feed.
pub fn content_of(lines: &[BString]) -> Vec<u8> {
    let mut content = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        content.extend_from_slice(line);
        content.push(b'\n');
    }
    content
}

/// A test with its argument, ready to be asked of many lines.
pub enum Chooser<'a> {
    Starting(&'a [u8]),
    Containing(&'a [u8]),
    Same(&'a [u8]),
    Matching(Ere),
}

impl<'a> Chooser<'a> {
    /// Prepares a test.
    pub fn new(test: Test, arg: &'a BStr) -> Result<Chooser<'a>, Stop> {
        Ok(match test {
            Test::Starting => Chooser::Starting(arg),
            Test::Containing => Chooser::Containing(arg),
            Test::Same => Chooser::Same(arg),
            Test::Matching => Chooser::Matching(Ere::new(arg)?),
        })
    }

    /// Whether a line is chosen.
    pub fn takes(&self, line: &[u8]) -> bool {
        match self {
            Chooser::Starting(text) => line.starts_with(text),
            Chooser::Containing(text) => line.contains_str(text),
            Chooser::Same(text) => line == *text,
            Chooser::Matching(ere) => ere.matches(line),
        }
    }
}

impl Text<'_> {
    /// The current line, where there is any.
    pub fn current(&self) -> Option<&BString> {
        self.lines.get(self.here)
    }

    /// The end of what searching commands may touch, from a line on (`AbortAtLineMatching`).
    pub fn end_from(&self, from: usize) -> usize {
        match &self.boundary {
            None => self.lines.len(),
            Some(ere) => {
                let rest = self.lines.iter().skip(from);
                from + rest.take_while(|line| !ere.matches(line)).count()
            }
        }
    }

    /// The first line from the current one on that matches, within the boundary.
    pub fn locate(&self, ere: &Ere) -> Option<usize> {
        (self.here..self.end_from(self.here)).find(|&at| ere.matches(&self.lines[at]))
    }

    /// The pointer follows its line when lines come before it.
    pub fn insert(&mut self, at: usize, line: BString) {
        if at <= self.here && !self.lines.is_empty() {
            self.here += 1;
        }
        self.lines.insert(at, line);
    }

    /// Deletes the chosen lines of a range. A deleted current line hands the pointer to the next one left.
    pub fn delete(&mut self, from: usize, to: usize, chosen: &mut dyn FnMut(&[u8]) -> bool) {
        let here = self.here;
        let mut before = 0;
        let mut at = 0;
        self.lines.retain(|line| {
            let gone = (from..to).contains(&at) && chosen(line);
            if gone && at < here {
                before += 1;
            }
            at += 1;
            !gone
        });
        self.here = (here - before).min(self.lines.len().saturating_sub(1));
    }

    /// A count of lines as an argument.
    pub fn count(&self, command: &str, arg: &BStr) -> Result<usize, Stop> {
        number(arg)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| Stop::Fail(vec![format!("{command} needs a number of lines, not \"{arg}\"")]))
    }

    /// The end of the next N lines; an abort when there are fewer.
    pub fn next_lines(&self, command: &str, arg: &BStr) -> Result<usize, Stop> {
        let count = self.count(command, arg)?;
        let left = self.lines.len() - self.here.min(self.lines.len());
        if count > left {
            return Err(Stop::Abort(format!("{command} {count}: only {left} lines are left")));
        }
        Ok(self.here + count)
    }

    /// A message.
    pub fn say(&mut self, tone: Tone, text: impl AsRef<[u8]>) {
        self.world.say(tone, BStr::new(text.as_ref()));
    }
}

/// A decimal number, perhaps with a sign.
pub fn number(arg: &BStr) -> Option<i64> {
    arg.trim().to_str().ok()?.parse().ok()
}

/// No line matches: what a failed search says.
pub fn no_match(command: &str, arg: &BStr) -> Stop {
    Stop::Abort(format!("{command}: no line matches \"{arg}\""))
}
