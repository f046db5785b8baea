//! Clients that were here, until the tool writes them down: a session adds to a small table in memory and never waits for
//! a disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::state::{Direction, Sighting};

/// Clients kept until they are taken; more are left out, and seen the next time they come.
const MOST: usize = 10_000;

/// Clients that were welcomed since the last [`Seen::take`].
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<IpAddr, Sighting>>);

impl Seen {
    /// A client was welcomed. `at` is in seconds since the epoch.
    pub fn add(&self, address: IpAddr, name: Option<&String>, at: i64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST && !seen.contains_key(&address) {
            return;
        }
        let name = name.cloned().unwrap_or_default();
        seen.insert(
            address,
            Sighting {
                direction: Direction::In,
                address,
                name,
                at,
            },
        );
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
}
