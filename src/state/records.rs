//! What the state files hold.

use std::collections::BTreeMap;

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

/// A name of arbitrary bytes as a key of a JSON object, without loss.
pub fn key_of(name: &[u8]) -> String {
    name.escape_bytes().to_string()
}

/// File `promises`: when each promise was last looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promises {
    /// Key of the promise → seconds since the epoch.
    pub last: BTreeMap<String, i64>,
}

impl Promises {
    /// The file's name in the store.
    pub const FILE: &'static str = "promises";

    /// Takes over what another run recorded later, and forgets what is older than `oldest`.
    pub fn merge(&mut self, other: &Promises, oldest: i64) {
        for (key, at) in &other.last {
            let mine = self.last.entry(key.clone()).or_insert(*at);
            *mine = (*mine).max(*at);
        }
        self.last.retain(|_, at| *at >= oldest);
    }
}

/// File `digests`: what watched files contained when they were last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Path (see [`key_of`]) → algorithm → digest in hexadecimal.
    pub files: BTreeMap<String, BTreeMap<String, String>>,
}

impl Digests {
    /// The file's name in the store.
    pub const FILE: &'static str = "digests";
}

/// File `classes`: persistent classes (`SetState`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Class → seconds since the epoch when it ends.
    pub until: BTreeMap<String, i64>,
}

impl Classes {
    /// The file's name in the store.
    pub const FILE: &'static str = "classes";

    /// The classes that still hold.
    pub fn holding(&self, now: i64) -> impl Iterator<Item = &str> {
        self.until
            .iter()
            .filter(move |(_, until)| **until > now)
            .map(|(class, _)| class.as_str())
    }

    /// Sets a class for some minutes. With `preserve` a timer that is running goes on.
    pub fn set(&mut self, class: &str, now: i64, minutes: i64, preserve: bool) {
        let running = self.until.get(class).is_some_and(|until| *until > now);
        if !(preserve && running) {
            self.until.insert(class.to_string(), now + minutes * 60);
        }
        self.until.retain(|_, until| *until > now);
    }
}

/// File `generation`: which policy this machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name, hexadecimal; empty: none was in order yet.
    pub id: String,
    /// Seconds since the epoch when it was read first.
    pub since: i64,
    /// `cfinputs_version`; may be empty.
    pub version: String,
}

impl Standing {
    /// The file's name in the store.
    pub const FILE: &'static str = "generation";
    /// Digits of a name.
    pub const ID: usize = 12;
    /// So much of the version is kept.
    pub const VERSION: usize = 100;
}

/// File `runs`: how the last runs of the agent ended, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// At most [`Runs::MOST`].
    pub runs: Vec<RunSummary>,
}

/// How one run of the agent ended. Every promise that was visited is counted once, whatever it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// When it began, in seconds since the epoch.
    pub began: i64,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Number of its process.
    pub pid: u32,
    /// `cfinputs_version` of the policy (see [`key_of`]), where it has one.
    pub version: Option<String>,
    /// Exit status.
    pub status: u8,
    /// The policy says `DryRun`: nothing was changed. A run with `-n` leaves no record at all.
    pub dry: bool,
    /// Promises that were kept already.
    pub kept: u64,
    /// Promises that were repaired; in a dry run, that would have been.
    pub repaired: u64,
    /// Promises that could not be kept.
    pub failed: u64,
    /// Promises that were left alone: looked after a short while ago, left out by an option, or not for this machine.
    pub skipped: u64,
}

impl Runs {
    /// The file's name in the store.
    pub const FILE: &'static str = "runs";
    /// So many runs are remembered.
    pub const MOST: usize = 100;

    /// Adds the newest and forgets the oldest.
    pub fn add(&mut self, run: RunSummary) {
        self.runs.push(run);
        let old = self.runs.len().saturating_sub(Runs::MOST);
        self.runs.drain(..old);
    }
}

impl RunSummary {
    /// All promises that were visited.
    pub fn promises(&self) -> u64 {
        self.kept + self.repaired + self.failed + self.skipped
    }
}

/// `12 promises: 10 kept, 1 repaired, 1 failed, 0 skipped, in 0.123 s`
impl std::fmt::Display for RunSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}: {} kept, {} repaired, {} failed, {} skipped, in {}.{:03} s",
            self.promises(),
            if self.promises() == 1 { "promise" } else { "promises" },
            self.kept,
            self.repaired,
            self.failed,
            self.skipped,
            self.millis / 1000,
            self.millis % 1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preserved_class_keeps_its_timer_and_a_reset_one_starts_again() {
        let mut classes = Classes::default();
        classes.set("a", 0, 10, true);
        classes.set("a", 300, 10, true);
        assert_eq!(classes.until["a"], 600);
        classes.set("a", 300, 10, false);
        assert_eq!(classes.until["a"], 900);
        assert_eq!(classes.holding(899).count(), 1);
        assert_eq!(classes.holding(900).count(), 0);
    }

    #[test]
    fn names_of_any_bytes_become_different_keys() {
        assert_ne!(key_of(b"\xff"), key_of(b"\\xff"));
        assert_eq!(key_of(b"/etc/hosts"), "/etc/hosts");
    }

    #[test]
    fn merging_keeps_the_later_time() {
        let mut mine = Promises::default();
        mine.last.insert("a".into(), 5);
        mine.last.insert("old".into(), 1);
        let mut other = Promises::default();
        other.last.insert("a".into(), 9);
        mine.merge(&other, 2);
        assert_eq!(mine.last, BTreeMap::from([("a".to_string(), 9)]));
    }

    #[test]
    fn the_last_hundred_runs_are_remembered() {
        let mut runs = Runs::default();
        for began in 0..103 {
            runs.add(RunSummary {
                began,
                ..RunSummary::default()
            });
        }
        assert_eq!((runs.runs.len(), runs.runs[0].began), (Runs::MOST, 3));
        assert_eq!(runs.runs[99].began, 102);
    }

    #[test]
    fn a_run_is_one_line_in_words() {
        let run = RunSummary {
            kept: 10,
            repaired: 1,
            failed: 1,
            millis: 2045,
            ..RunSummary::default()
        };
        assert_eq!(
            run.to_string(),
            "12 promises: 10 kept, 1 repaired, 1 failed, 0 skipped, in 2.045 s"
        );
    }
}
