//! Clients that were here, until the tool writes them down: a session adds to a small table in memory and never waits for
//! a disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::rules::Peer;
use crate::state::{Direction, Sighting, Standing, key_of};
use crate::wire::Policy;

/// Clients kept until they are taken; more are left out, and seen the next time they come.
const MOST: usize = 10_000;

/// Clients that were welcomed since the last [`Seen::take`].
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<IpAddr, Sighting>>);

impl Seen {
    /// A client was welcomed. `at` is in seconds since the epoch.
    pub fn add(&self, address: IpAddr, name: Option<&String>, at: i64) {
        self.change(address, name, at, |seen| seen.at = at);
    }

    /// A client said which policy it runs.
    pub fn policy(&self, peer: &Peer, policy: Policy, at: i64) {
        self.change(peer.address, peer.names.first(), at, |seen| {
            seen.policy = Some(Standing {
                id: key_of(&policy.id),
                since: policy.since,
                version: key_of(&policy.version),
            });
        });
    }

    fn change(&self, address: IpAddr, name: Option<&String>, at: i64, change: impl FnOnce(&mut Sighting)) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST && !seen.contains_key(&address) {
            return;
        }
        let sighting = seen.entry(address).or_insert_with(|| Sighting {
            direction: Direction::In,
            address,
            name: String::new(),
            at,
            policy: None,
        });
        if let Some(name) = name {
            sighting.name.clone_from(name);
        }
        change(sighting);
    }

    /// Takes them all.
    pub fn take(&self) -> Vec<Sighting> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *seen).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_kept_once_and_there_is_a_most() {
        let seen = Seen::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        seen.add(address(0), None, 1);
        seen.add(address(0), Some(&"c1".to_string()), 2);
        let [one] = seen.take().try_into().unwrap();
        assert_eq!((one.name.as_str(), one.at), ("c1", 2));
        (0..20_000).for_each(|n| seen.add(address(n), None, 3));
        assert_eq!(seen.take().len(), MOST);
        assert!(seen.take().is_empty());
    }

    #[test]
    fn the_policy_of_a_client_is_kept_with_it_whoever_comes_first() {
        let seen = Seen::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let peer = Peer {
            address,
            names: vec!["c1".into()],
        };
        let policy = Policy {
            id: b"a\xff"[..].into(),
            since: 7,
            version: "1.2".into(),
        };
        seen.policy(&peer, policy, 3);
        seen.add(address, None, 4);
        let [one] = seen.take().try_into().unwrap();
        let policy = one.policy.unwrap();
        assert_eq!((one.name.as_str(), one.at, policy.id.as_str()), ("c1", 4, "a\\xFF"));
    }
}
