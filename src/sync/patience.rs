//! How long a client waits before it comes again to a server that is too busy.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(16);
/// A server that wants to be left alone for longer is not believed.
const MOST: Duration = Duration::from_secs(60);

/// The wait after so many attempts: twice as long each time, and a part of it by chance, so that clients that came
/// together do not come together again. `again` is what the server said; never earlier. `chance` is from 0 to 1.
pub fn pause(attempts: u32, again: Option<Duration>, chance: f64) -> Duration {
    let step = FIRST.saturating_mul(1 << attempts.min(8)).min(LONGEST);
    let chance = chance.clamp(0.0, 1.0);
    match again {
        Some(again) => again.min(MOST) + step.mul_f64(chance),
        None => step.mul_f64(0.5 + chance / 2.0),
    }
}

/// A number from 0 to 1. The keys of the standard hasher are random for each call.
pub fn chance() -> f64 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (random >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_are_spread_and_never_end_before_the_server_said() {
        let whole: Vec<u64> = (0..8).map(|n| pause(n, None, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 16, 16, 16]);
        assert_eq!(pause(0, None, 0.0), Duration::from_millis(500));
        for attempts in [0, 3, u32::MAX] {
            for said in [0, 7, 3600] {
                let again = Duration::from_secs(said);
                let (least, most) = (pause(attempts, Some(again), 0.0), pause(attempts, Some(again), 1.0));
                assert_eq!(least, again.min(MOST));
                assert!(most > least && most <= MOST + LONGEST);
            }
        }
        let chances: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance < 0.5) && chances.iter().any(|chance| *chance > 0.5));
    }
}
