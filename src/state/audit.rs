//! What was done, promise by promise, for `Auditing = ( on )`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Entries that are kept.
const MOST: usize = 5_000;

/// File `audit`: what the last runs changed or failed to, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// One entry a promise that was not kept already.
    pub entries: VecDeque<AuditEntry>,
}

/// What came of one promise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Seconds since the epoch when the run began.
    pub at: i64,
    /// `cfinputs_version` of the policy; may be empty.
    pub version: String,
    /// `FILE:LINE` of the rule.
    pub place: String,
    /// The kind of promise and its object (`files./etc/motd`).
    pub promise: String,
    /// `repaired` or `failed`.
    pub outcome: String,
}

impl Audit {
    /// The file's name in the store.
    pub const FILE: &'static str = "audit";

    /// Adds the entries of a run; the oldest of too many are dropped.
    pub fn add(&mut self, entries: impl IntoIterator<Item = AuditEntry>) {
        self.entries.extend(entries);
        let surplus = self.entries.len().saturating_sub(MOST);
        self.entries.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_kept() {
        let entry = |at| AuditEntry {
            at,
            ..AuditEntry::default()
        };
        let mut audit = Audit::default();
        audit.add((0..MOST as i64 + 10).map(entry));
        assert_eq!(audit.entries.len(), MOST);
        assert_eq!(audit.entries[0].at, 10);
    }
}
