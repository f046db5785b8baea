//! When within `SplayTime` a machine comes, so that many do not ask the server at the same moment: always at the same
//! one, which its name, address and user decide.

/// Seconds after the begin, less than `within`.
pub fn seconds(seed: &str, within: u64) -> u64 {
    let hash = blake3::hash(seed.as_bytes());
    let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first) % within.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_machines_are_spread_evenly_and_each_keeps_its_moment() {
        let (machines, minutes) = (6000u32, 60u64);
        let mut loads = vec![0u32; 60];
        for n in 0..machines {
            let seed = format!("web{n}.example.com+10.0.{}.{}+0", n / 250, n % 250);
            let at = seconds(&seed, minutes * 60);
            assert_eq!(at, seconds(&seed, minutes * 60));
            loads[usize::try_from(at / 60).unwrap()] += 1;
        }
        // 100 are to be expected; chance alone gives 10 more or less, and five times that is no chance.
        assert!(loads.iter().all(|load| (50..=150).contains(load)), "{loads:?}");
        assert_eq!((seconds("x", 0), seconds("x", 1)), (0, 0));
    }
}
