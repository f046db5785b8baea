//! What a user sees when something ends: exit codes, the error that reaches a person, and locked output that is quiet
//! on a closed pipe.

mod out;

pub use out::{Out, harmless, lost_output, relay_line, stderr_line};

use std::fmt;

/// Exit statuses of the suite (architecture: errors, exit codes, output). Where a manual fixes another status, the
/// tool returns [`Exit::Code`] and its man page says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: all done.
    Done,
    /// 1: some targets or promises failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: bad policy or configuration.
    Policy,
    /// 4: could not reach or authenticate.
    Unreachable,
    /// 5: internal error.
    Internal,
    /// A status that a manual or a remote command fixes.
    Code(u8),
}

impl Exit {
    /// The number given to the shell.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Policy => 3,
            Exit::Unreachable => 4,
            Exit::Internal => 5,
            Exit::Code(n) => n,
        }
    }
}

/// An error on its way to a person: one clear sentence, its cause, hints on lines of their own.
///
/// Modules have small typed errors; only `tools` turns them into this.
#[derive(Debug)]
pub struct Fail {
    exit: Exit,
    what: String,
    cause: Option<String>,
    shown: Vec<String>,
    hints: Vec<String>,
}

impl Fail {
    /// A failure with its exit status and one sentence without a full stop.
    pub fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Fail {
            exit,
            what: plain(&what.to_string()),
            cause: None,
            shown: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Wrong usage (exit 2).
    pub fn usage(what: impl fmt::Display) -> Self {
        Fail::new(Exit::Usage, what)
    }

    /// Adds why it happened; printed after a colon.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(plain(&cause.to_string()));
        self
    }

    /// Adds lines that show what is meant, such as the wrong place in a text; printed as they are, below the sentence.
    #[must_use]
    pub fn show(mut self, text: &str) -> Self {
        self.shown.extend(text.lines().map(str::to_string));
        self
    }

    /// Adds a hint; printed on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Everything was said already: only the status remains.
    pub fn silent(exit: Exit) -> Self {
        Fail::new(exit, "")
    }

    /// The exit status.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Writes `prog: what: cause` and the hints to standard error; nothing for a silent failure.
    pub fn report(&self, prog: &str) {
        if self.what.is_empty() {
            return;
        }
        stderr_line(&format!("{prog}: {self}"));
        for line in &self.shown {
            stderr_line(&format!("    {line}"));
        }
        for hint in &self.hints {
            stderr_line(&format!("  hint: {hint}"));
        }
    }
}

/// Without Rust's `(os error N)`, which says nothing that the words before it do not.
pub fn plain(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let digits = part.trim_start_matches(|c: char| c.is_ascii_digit());
        match digits.strip_prefix(')') {
            Some(rest) if digits.len() < part.len() => plain.push_str(rest),
            _ => plain.push_str(&format!(" (os error {part}")),
        }
    }
    plain
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fail {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_one_sentence_with_its_cause() {
        let fail = Fail::new(Exit::Unreachable, "cannot reach m.example.com")
            .because("connection refused")
            .hint("is cfservd up?");
        assert_eq!(fail.to_string(), "cannot reach m.example.com: connection refused");
        assert_eq!(fail.exit().code(), 4);
    }

    #[test]
    fn the_number_of_a_system_error_is_left_out() {
        let missing = std::io::Error::from_raw_os_error(2);
        let fail = Fail::new(Exit::Failed, format!("cannot read a: {missing}; b")).because(&missing);
        assert_eq!(
            fail.to_string(),
            "cannot read a: No such file or directory; b: No such file or directory"
        );
        for kept in ["x (os error )", "x (os error 2", "x (os error y)"] {
            assert_eq!(plain(kept), kept);
        }
    }
}
