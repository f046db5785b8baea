//! Positions in policy files and the errors that carry them.

use std::fmt;
use std::sync::Arc;

use bstr::{BString, ByteSlice};

/// A place in a policy file. Lines and columns count from 1; columns count bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub col: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.col)
    }
}

/// An error or warning about policy: `file:line:col: message`, with the line it is about and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Where.
    pub pos: Pos,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do about it, "did you mean" and the like.
    pub hint: Option<String>,
    /// The source line, for an excerpt with a caret on a terminal.
    pub excerpt: Option<BString>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pos, self.message)
    }
}

impl std::error::Error for PolicyError {}

/// Renders an error for a person: `file:line:col: message`; with `excerpt` also the source line, a caret and the hint
/// on lines of their own. No newline at the end.
pub fn format_error(error: &PolicyError, excerpt: bool) -> String {
    let mut text = error.to_string();
    if excerpt {
        if let Some(line) = &error.excerpt {
            let gutter = error.pos.line.to_string();
            let shown: String = line.to_str_lossy().replace('\t', " ");
            let before = error.pos.col.saturating_sub(1) as usize;
            let indent = line[..before.min(line.len())].to_str_lossy().chars().count();
            text.push_str(&format!("\n {gutter} | {shown}"));
            text.push_str(&format!("\n {} | {}^", " ".repeat(gutter.len()), " ".repeat(indent)));
        }
    }
    if let Some(hint) = &error.hint {
        text.push_str("\n  hint: ");
        text.push_str(hint);
    }
    text
}

/// One policy file while it is read: its bytes and where its lines begin.
pub(super) struct Source {
    /// The name shown in messages.
    pub name: Arc<str>,
    /// The content.
    pub bytes: Vec<u8>,
    lines: Vec<u32>,
}

impl Source {
    pub fn new(name: Arc<str>, bytes: Vec<u8>) -> Self {
        let mut lines = vec![0u32];
        lines.extend(bytes.find_iter(b"\n").map(|at| at as u32 + 1));
        Source { name, bytes, lines }
    }

    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start as usize <= at).max(1) - 1
    }

    /// The position of a byte offset.
    pub fn pos(&self, at: usize) -> Pos {
        let line = self.line_of(at);
        Pos {
            file: Arc::clone(&self.name),
            line: line as u32 + 1,
            col: (at - self.lines[line] as usize) as u32 + 1,
        }
    }

    /// The text of a line (numbered from 1), cut at 200 bytes.
    pub fn line(&self, number: u32) -> BString {
        let index = (number as usize).clamp(1, self.lines.len()) - 1;
        let start = self.lines[index] as usize;
        let rest = &self.bytes[start..];
        let end = rest.find_byte(b'\n').unwrap_or(rest.len()).min(200);
        rest[..end].trim_end_with(|c| c == '\r').into()
    }

    /// An error at a position of this file.
    pub fn error_at(&self, pos: Pos, message: impl Into<String>) -> PolicyError {
        PolicyError {
            excerpt: Some(self.line(pos.line)),
            pos,
            message: message.into(),
            hint: None,
        }
    }
}

impl PolicyError {
    /// The error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// "did you mean": the candidate nearest to a word, when it is near enough.
pub(super) fn did_you_mean<'a>(word: &[u8], candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word: Vec<u8> = word.iter().take(64).map(u8::to_ascii_lowercase).collect();
    let most = 1 + word.len() / 4;
    candidates
        .into_iter()
        .map(|name| (distance(&word, name.to_ascii_lowercase().as_bytes()), name))
        .filter(|(far, _)| *far <= most)
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| format!("did you mean '{name}'?"))
}

/// Edit distance with transpositions of neighbours counted as two.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = if x == y {
                diagonal
            } else {
                1 + diagonal.min(row[j]).min(row[j + 1])
            };
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}
