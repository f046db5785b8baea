//! What a run tells programs: one event per promise, one per fault of the policy, one at the end (`cfagent --json`).
//!
//! Text is UTF-8: other bytes are replaced. Names that had such bytes stand once more beside, in hexadecimal, under the
//! field's name with `_hex` behind it.

use std::time::Duration;

use bstr::{BString, ByteSlice};
use serde::{Serialize, Serializer};

use super::report::Level;
use crate::policy::PolicyError;
use crate::state::RunSummary;

/// One event; the tag `event` tells which.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// What came of a promise.
    Promise(Box<Told>),
    /// The policy is broken here.
    Error(Fault),
    /// Something about the policy that does not stop a run.
    Warning(Fault),
    /// The run is over.
    Summary(Ended),
}

/// What came of a promise, for programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Told {
    /// `update` or `main`.
    pub phase: &'static str,
    /// The word of the action sequence, or `alerts`.
    pub action: &'static str,
    /// Where the rule stands.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its column in bytes, from 1.
    pub column: u32,
    /// The promiser, expanded.
    #[serde(flatten)]
    pub promiser: Promiser,
    /// The second value, where there is one: the destination of a copy, the target of a link.
    #[serde(flatten)]
    pub other: Other,
    /// The class predicate of the rule.
    pub class: String,
    /// `kept`, `repaired`, `failed`, `skipped`.
    pub outcome: &'static str,
    /// Why it failed or was skipped, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What came of its objects, where it has more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
    /// Digest of the one content that changed or would; absent where nothing was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Digest of the new content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where the content of more than one file changed or would.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Changes and messages that were too many to be here.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// What was said for it, without prefix.
    pub messages: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// Nothing was changed: this is what would have come of it.
    pub dry: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A field of bytes, and its twin where they are not UTF-8.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $text:ident, $hex:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct $type {
            /// The text; bytes that are not UTF-8 are replaced.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $text: Option<String>,
            /// All bytes in hexadecimal, where they are not UTF-8.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $hex: Option<String>,
        }

        impl $type {
            /// From bytes.
            pub fn of(bytes: &[u8]) -> Self {
                $type { $text: Some(bytes.to_str_lossy().into_owned()), $hex: hex_of(bytes) }
            }
        }
    };
}

name!(
    /// A promiser.
    Promiser, promiser, promiser_hex
);
name!(
    /// What goes with a promiser.
    Other, other, other_hex
);
name!(
    /// A path.
    Named, path, path_hex
);

fn hex_of(bytes: &[u8]) -> Option<String> {
    let digits = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    std::str::from_utf8(bytes).is_err().then(digits)
}

/// A digest as events show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of this content.
    pub fn of(content: &[u8]) -> Digest {
        Digest(*blake3::hash(content).as_bytes())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "blake3:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Content that changed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which file.
    #[serde(flatten)]
    pub path: Named,
    /// Its digest before; absent where it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// Its digest after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
}

/// How many objects of a promise were kept, repaired, failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Objects {
    /// Were right already.
    pub kept: u64,
    /// Were repaired.
    pub repaired: u64,
    /// Could not be kept.
    pub failed: u64,
}

/// An error or warning about the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&PolicyError> for Fault {
    fn from(error: &PolicyError) -> Fault {
        Fault {
            file: error.pos.file.to_string(),
            line: error.pos.line,
            column: error.pos.col,
            message: error.message.clone(),
            hint: error.hint.clone(),
        }
    }
}

/// How the run ended: the last event. A run that a signal ended has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ended {
    /// `cfinputs_version` of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Exit status.
    pub status: u8,
    /// All promises that were visited.
    pub promises: u64,
    /// Were kept already.
    pub kept: u64,
    /// Were repaired.
    pub repaired: u64,
    /// Could not be kept.
    pub failed: u64,
    /// Were left alone.
    pub skipped: u64,
    /// Errors in the policy.
    pub errors: u64,
    /// How long the run took.
    pub seconds: f64,
    /// Nothing was changed.
    pub dry: bool,
}

impl Ended {
    /// The same as what is remembered of the run.
    pub fn of(run: &RunSummary, errors: u64) -> Ended {
        Ended {
            version: run.version.clone(),
            status: run.status,
            promises: run.promises(),
            kept: run.kept,
            repaired: run.repaired,
            failed: run.failed,
            skipped: run.skipped,
            errors,
            seconds: seconds(Duration::from_millis(run.millis)),
            dry: run.dry,
        }
    }
}

/// Seconds to the microsecond.
pub fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e6
}

/// What was said and changed since a promise was begun. Kept only where somebody listens.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    lines: Vec<BString>,
    changes: Vec<Change>,
    left_out: u64,
    /// The first error, and the last message that only `-v` shows.
    error: Option<BString>,
    last: Option<BString>,
}

impl Heard {
    /// So many messages and changes of one promise are kept.
    const MOST: usize = 100;
    /// So much of one message.
    const LENGTH: usize = 1024;

    /// A message, without prefix.
    pub(super) fn message(&mut self, level: Level, text: &[u8], shown: bool) {
        let text = text.trim();
        let text = BString::from(&text[..text.len().min(Heard::LENGTH)]);
        if level == Level::Error {
            self.error.get_or_insert_with(|| text.clone());
        }
        if level == Level::Verbose {
            self.last = Some(text.clone());
        }
        if shown || level != Level::Verbose {
            if self.lines.len() < Heard::MOST {
                self.lines.push(text);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// A change of content.
    pub(super) fn change(&mut self, path: &[u8], before: Option<Digest>, after: Option<Digest>) {
        if self.changes.len() < Heard::MOST {
            let path = Named::of(path);
            self.changes.push(Change { path, before, after });
        } else {
            self.left_out += 1;
        }
    }

    /// What came later joins what was there.
    pub(super) fn join(&mut self, later: Heard) {
        self.lines.extend(later.lines);
        self.changes.extend(later.changes);
        self.left_out += later.left_out;
        self.error = self.error.take().or(later.error);
        self.last = later.last.or(self.last.take());
    }

    /// Puts it into the event of a promise.
    pub(super) fn tell(self, told: &mut Told) {
        if matches!(told.outcome, "failed" | "skipped") && told.why.is_none() {
            let why = self.error.or(self.last).or_else(|| self.lines.last().cloned());
            told.why = why.map(|why| why.trim().to_str_lossy().into_owned());
        }
        told.messages = self.lines.iter().map(|line| line.to_str_lossy().into_owned()).collect();
        told.left_out = self.left_out;
        match self.changes.as_slice() {
            [one] => {
                told.before = one.before.map(|digest| digest.to_string());
                told.after = one.after.map(|digest| digest.to_string());
            }
            _ => told.changes = self.changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(event: &Event) -> serde_json::Value {
        serde_json::to_value(event).unwrap()
    }

    #[test]
    fn bytes_that_are_not_utf8_stand_in_a_twin_field() {
        let told = Told {
            promiser: Promiser::of(b"/t/caf\xe9"),
            other: Other::of(b"/plain"),
            ..Told::default()
        };
        let value = json(&Event::Promise(Box::new(told)));
        assert_eq!(value["event"], "promise");
        assert_eq!(value["promiser"], "/t/caf\u{fffd}");
        assert_eq!(value["promiser_hex"], "2f742f636166e9");
        assert_eq!((&value["other"], value.get("other_hex")), (&"/plain".into(), None));
    }

    #[test]
    fn one_change_stands_in_the_event_itself_and_more_in_a_list() {
        let told = |count: u8| {
            let mut heard = Heard::default();
            for number in 0..count {
                heard.change(&[b'a' + number], None, Some(Digest::of(b"")));
            }
            let mut told = Told::default();
            heard.tell(&mut told);
            json(&Event::Promise(Box::new(told)))
        };
        let empty = format!("blake3:{}", blake3::hash(b"").to_hex());
        assert_eq!(
            (&told(1)["after"], told(1).get("changes")),
            (&empty.clone().into(), None)
        );
        let two = told(2);
        assert_eq!((two.get("after"), &two["changes"][1]["path"]), (None, &"b".into()));
        assert_eq!(two["changes"][1]["after"], empty);
    }

    #[test]
    fn why_is_the_first_error_else_what_only_verbose_shows_else_what_was_said_last() {
        let why = |said: &[(Level, &str)]| {
            let mut heard = Heard::default();
            for (level, text) in said {
                heard.message(*level, text.as_bytes(), false);
            }
            let mut told = Told {
                outcome: "failed",
                ..Told::default()
            };
            heard.tell(&mut told);
            told.why.unwrap_or_default()
        };
        assert_eq!(
            why(&[(Level::Inform, "a"), (Level::Error, "b"), (Level::Error, "c")]),
            "b"
        );
        assert_eq!(why(&[(Level::Verbose, "b"), (Level::Inform, "a")]), "b");
        assert_eq!(why(&[(Level::Inform, "a")]), "a");
    }

    #[test]
    fn messages_are_bounded_in_number_and_length() {
        let mut heard = Heard::default();
        for _ in 0..Heard::MOST + 7 {
            heard.message(Level::Error, &[b'x'; 5000], true);
        }
        let mut told = Told::default();
        heard.tell(&mut told);
        assert_eq!((told.messages.len(), told.left_out), (Heard::MOST, 7));
        assert_eq!(told.messages[0].len(), Heard::LENGTH);
    }
}
