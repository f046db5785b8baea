//! Who was in touch with whom.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::history::keep_newest;
use super::{Spread, Standing};

/// Hosts that are remembered.
const MOST: usize = 10_000;
/// What comes again within these seconds is the same contact.
const SAME: i64 = 60;

/// Who began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We asked them: `+`.
    Out,
    /// They asked us: `-`.
    In,
}

impl Direction {
    /// `+` or `-`.
    pub fn sign(self) -> char {
        match self {
            Direction::Out => '+',
            Direction::In => '-',
        }
    }
}

/// File `hosts`: when other hosts were last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hosts {
    /// Sign and address (`+10.0.0.1`) → the host.
    pub seen: BTreeMap<String, Contact>,
}

/// A host that was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// Its name; its address where no name is known.
    pub name: String,
    /// Seconds since the epoch of the last contact.
    pub at: i64,
    /// Seconds between contacts.
    pub interval: Spread,
    /// The policy it runs, as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Standing>,
}

/// One contact that is to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who began it.
    pub direction: Direction,
    /// The other host's address.
    pub address: IpAddr,
    /// Its name; empty where none is known.
    pub name: String,
    /// Seconds since the epoch.
    pub at: i64,
    /// The policy it runs, where it said so.
    pub policy: Option<Standing>,
}

impl Hosts {
    /// The file's name in the store.
    pub const FILE: &'static str = "hosts";

    /// A host was seen. The table is bounded by [`Hosts::forget`].
    pub fn add(&mut self, seen: &Sighting) {
        let key = format!("{}{}", seen.direction.sign(), seen.address);
        let known = self.seen.contains_key(&key);
        let contact = self.seen.entry(key).or_default();
        let interval = seen.at - contact.at;
        if known && interval >= SAME {
            contact.interval.add(interval as f64);
        }
        contact.at = contact.at.max(seen.at);
        if seen.policy.is_some() {
            contact.policy.clone_from(&seen.policy);
        }
        if !seen.name.is_empty() {
            contact.name.clone_from(&seen.name);
        } else if contact.name.is_empty() {
            contact.name = seen.address.to_string();
        }
    }

    /// Forgets who was not seen since `oldest`, and the oldest of too many.
    pub fn forget(&mut self, oldest: i64) {
        self.seen.retain(|_, contact| contact.at >= oldest);
        keep_newest(&mut self.seen, MOST, |contact| contact.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(direction: Direction, name: &str, at: i64) -> Sighting {
        Sighting {
            direction,
            address: "10.0.0.1".parse().unwrap(),
            name: name.into(),
            at,
            policy: None,
        }
    }

    #[test]
    fn the_policy_a_host_told_last_stays_when_it_tells_none() {
        let mut hosts = Hosts::default();
        let told = Standing {
            id: "abc".into(),
            ..Standing::default()
        };
        let mut first = seen(Direction::In, "c", 1);
        first.policy = Some(told.clone());
        hosts.add(&first);
        hosts.add(&seen(Direction::In, "c", 2));
        assert_eq!(hosts.seen["-10.0.0.1"].policy, Some(told));
        // Files of before have none.
        let old = r#"{"seen":{"-10.0.0.1":{"name":"c","at":1,"interval":{"count":0,"average":0.0,"variance":0.0}}}}"#;
        let old: Hosts = serde_json::from_str(old).unwrap();
        assert_eq!(old.seen["-10.0.0.1"].policy, None);
    }

    #[test]
    fn contacts_have_a_direction_and_an_average_interval() {
        let mut hosts = Hosts::default();
        for at in [0, 10, 3600, 3610, 10_800] {
            hosts.add(&seen(Direction::Out, "srv", at));
        }
        hosts.add(&seen(Direction::In, "", 5));
        let out = &hosts.seen["+10.0.0.1"];
        assert_eq!((out.name.as_str(), out.at, out.interval.count), ("srv", 10_800, 2));
        assert!((out.interval.average - (3590.0 + 7190.0) / 2.0).abs() < 1e-6, "{out:?}");
        let inward = &hosts.seen["-10.0.0.1"];
        assert_eq!(
            (inward.name.as_str(), inward.at, inward.interval.count),
            ("10.0.0.1", 5, 0)
        );
        hosts.forget(6);
        assert_eq!(hosts.seen.len(), 1);
    }
}
