//! Positions in policy files and the errors that carry them.

use std::fmt;
use std::sync::Arc;

use bstr::BString;

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
