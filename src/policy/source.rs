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
    if excerpt && let Some(line) = &error.excerpt {
        let gutter = error.pos.line.to_string();
        let shown: String = line.to_str_lossy().replace('\t', " ");
        let before = error.pos.col.saturating_sub(1) as usize;
        let indent = line[..before.min(line.len())].to_str_lossy().chars().count();
        text.push_str(&format!("\n {gutter} | {shown}"));
        text.push_str(&format!("\n {} | {}^", " ".repeat(gutter.len()), " ".repeat(indent)));
    }
    if let Some(hint) = &error.hint {
        text.push_str("\n  hint: ");
        text.push_str(hint);
    }
    text
}

/// How the detail of an error about an unknown section begins.
pub(super) const NO_SECTION: &str = "there is no section";

/// One policy file while it is read: its bytes and where its lines begin.
#[derive(Debug)]
pub(super) struct Source {
    /// The name shown in messages.
    pub name: Arc<str>,
    /// The content.
    pub bytes: Vec<u8>,
    lines: Vec<u32>,
    /// `#line N "file"` (output of a preprocessor): from which line on, counted from 0, what is said to come.
    marks: Vec<(u32, u32, Arc<str>)>,
}

impl Source {
    pub fn new(name: Arc<str>, bytes: Vec<u8>) -> Self {
        let mut lines = vec![0u32];
        lines.extend(bytes.find_iter(b"\n").map(|at| at as u32 + 1));
        let mut marks = Vec::new();
        for at in bytes.find_iter(b"#line ") {
            let line = lines.partition_point(|start| *start as usize <= at) - 1;
            if lines[line] as usize == at {
                let text = bytes[at + 6..].lines().next().unwrap_or_default();
                marks.extend(mark(text, &name).map(|(number, file)| (line as u32 + 1, number, file)));
            }
        }
        Source {
            name,
            bytes,
            lines,
            marks,
        }
    }

    /// The line (from 0) an offset stands in.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start as usize <= at).max(1) - 1
    }

    /// Where the line of an offset begins.
    pub fn line_start(&self, at: usize) -> usize {
        self.lines[self.line_of(at)] as usize
    }

    /// Whether a position is one of this file.
    pub fn holds(&self, pos: &Pos) -> bool {
        self.name == pos.file || self.marks.iter().any(|(_, _, file)| *file == pos.file)
    }

    /// The position of a byte offset.
    pub fn pos(&self, at: usize) -> Pos {
        let line = self.line_of(at);
        let col = (at - self.lines[line] as usize) as u32 + 1;
        let line = line as u32;
        match self.marks.iter().rev().find(|(from, ..)| *from <= line) {
            None => Pos {
                file: Arc::clone(&self.name),
                line: line + 1,
                col,
            },
            Some((from, number, file)) => Pos {
                file: Arc::clone(file),
                line: number.saturating_add(line - from),
                col,
            },
        }
    }

    /// The text of the line of a position, cut at 200 bytes.
    fn line(&self, pos: &Pos) -> BString {
        let marked = self.marks.iter().rev().find_map(|(from, number, file)| {
            (*file == pos.file && *number <= pos.line).then(|| from + (pos.line - number))
        });
        let index = marked.map_or(pos.line as usize, |line| line as usize + 1);
        let start = self.lines[index.clamp(1, self.lines.len()) - 1] as usize;
        let rest = &self.bytes[start..];
        let end = rest.find_byte(b'\n').unwrap_or(rest.len()).min(200);
        rest[..end].trim_end_with(|c| c == '\r').into()
    }

    /// An error at a position of this file.
    pub fn error_at(&self, pos: Pos, message: impl Into<String>) -> PolicyError {
        PolicyError {
            excerpt: Some(self.line(&pos)),
            pos,
            message: message.into(),
            hint: None,
        }
    }
}

/// `N "file"` of a `#line`; without a file the name stays.
fn mark(text: &[u8], name: &Arc<str>) -> Option<(u32, Arc<str>)> {
    let (number, file) = text.trim().split_once_str(" ").unwrap_or((text.trim(), b""));
    let file = file.trim().trim_with(|c| c == '"').to_str_lossy();
    let number = number.to_str().ok()?.parse().ok()?;
    match file.is_empty() {
        true => Some((number, Arc::clone(name))),
        false => Some((number, Arc::from(file.as_ref()))),
    }
}

impl PolicyError {
    /// The message in the original's words, and what ours adds: `syntax error` and `the brace is never closed`. Tools
    /// that look for the old wording find it at the end of a line.
    pub fn wording(&self) -> (&str, Option<&str>) {
        match self.message.split_once(": ") {
            Some((words, detail)) => (words, Some(detail)),
            None => (&self.message, None),
        }
    }

    /// What the original prints besides the message, on a line of its own; tools that look for it find it.
    pub fn aside(&self) -> Option<String> {
        match self.wording() {
            ("Illegal switch value", Some(detail)) => {
                let name = detail.split('=').next().unwrap_or(detail);
                Some(format!("Switch {name}=(true/false)|(on/off)"))
            }
            ("syntax error", Some(detail)) if detail.starts_with(NO_SECTION) => Some("Stray character (:)".into()),
            _ => None,
        }
    }

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
pub(super) fn distance(a: &[u8], b: &[u8]) -> usize {
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
