//! What past runs were like: which classes they had, how long promises took, how the machine was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Spread;
use super::spread::WINDOW;

/// What nobody saw for this long is forgotten, in seconds: 90 days.
const FORGET: i64 = 90 * 24 * 3600;
/// Classes that are remembered.
const MOST_CLASSES: usize = 5_000;
/// Promises whose times are remembered.
const MOST_PROMISES: usize = 20_000;

/// File `history`: written once, at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Runs that were counted, at most the window of the averages.
    pub runs: u32,
    /// Class (see [`super::key_of`]) → how often it was there.
    pub classes: BTreeMap<String, ClassSeen>,
    /// Promise as `cfshow -p` names it → how long it took.
    pub promises: BTreeMap<String, Timing>,
    /// `users`, `loadavg` … → what was measured.
    #[serde(default)]
    pub measures: BTreeMap<String, Spread>,
}

/// How often runs had a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassSeen {
    /// The part of the runs that had it, 0 … 1; the last hundred weigh most.
    pub probability: f64,
    /// Seconds since the epoch of the last run that had it.
    pub at: i64,
}

/// How long a promise took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds since the epoch when it was looked after last.
    pub at: i64,
    /// Seconds it took then.
    pub last: f64,
    /// Seconds it takes.
    pub seconds: Spread,
}

impl History {
    /// The file's name in the store.
    pub const FILE: &'static str = "history";

    /// A run ended that had these classes.
    pub fn add_classes(&mut self, classes: impl IntoIterator<Item = String>, now: i64) {
        self.runs = (self.runs + 1).min(WINDOW);
        let weight = 1.0 / f64::from(self.runs);
        for seen in self.classes.values_mut() {
            seen.probability -= weight * seen.probability;
        }
        for class in classes {
            let seen = self.classes.entry(class).or_default();
            seen.probability += weight;
            seen.at = now;
        }
        self.classes.retain(|_, seen| seen.at >= now - FORGET);
        keep_newest(&mut self.classes, MOST_CLASSES, |seen| seen.at);
    }

    /// A promise took so many seconds.
    pub fn add_time(&mut self, promise: &str, seconds: f64, now: i64) {
        // A promise that is known already costs no new name.
        if !self.promises.contains_key(promise) {
            self.promises.insert(promise.to_string(), Timing::default());
        }
        if let Some(timing) = self.promises.get_mut(promise) {
            timing.at = now;
            timing.last = seconds;
            timing.seconds.add(seconds);
        }
    }

    /// Forgets promises that were not looked after for long, and the oldest of too many.
    pub fn forget_times(&mut self, now: i64) {
        self.promises.retain(|_, timing| timing.at >= now - FORGET);
        keep_newest(&mut self.promises, MOST_PROMISES, |timing| timing.at);
    }
}

/// Drops the oldest of more than `most` entries.
pub(super) fn keep_newest<T>(map: &mut BTreeMap<String, T>, most: usize, at: impl Fn(&T) -> i64) {
    if map.len() <= most {
        return;
    }
    let mut ages: Vec<(i64, String)> = map.iter().map(|(key, value)| (at(value), key.clone())).collect();
    ages.sort_unstable();
    let surplus = map.len() - most;
    for (_, key) in ages.into_iter().take(surplus) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_part_of_the_runs_that_had_it() {
        let mut history = History::default();
        for now in 0..4 {
            let class = if now == 1 { "rare" } else { "usual" };
            history.add_classes(["any".to_string(), class.to_string()], now);
        }
        let seen = |class: &str| history.classes[class];
        assert!((seen("any").probability - 1.0).abs() < 1e-9);
        assert!((seen("rare").probability - 0.25).abs() < 1e-9);
        assert_eq!((seen("rare").at, seen("usual").at), (1, 3));
        history.add_classes([], FORGET + 2);
        assert!(!history.classes.contains_key("rare") && history.classes.contains_key("usual"));
    }

    #[test]
    fn only_so_many_names_are_kept_and_the_newest() {
        let mut map: BTreeMap<String, i64> = (0..10).map(|n| (format!("{n}"), 100 - n)).collect();
        keep_newest(&mut map, 2, |at| *at);
        assert_eq!(map.into_keys().collect::<Vec<_>>(), ["0", "1"]);
    }

    #[test]
    fn the_times_of_a_promise_have_an_average() {
        let mut history = History::default();
        history.add_time("Exec(/bin/x)", 1.0, 10);
        history.add_time("Exec(/bin/x)", 3.0, 20);
        let timing = history.promises["Exec(/bin/x)"];
        assert_eq!((timing.at, timing.last, timing.seconds.average), (20, 3.0, 2.0));
        history.forget_times(20 + FORGET + 1);
        assert!(history.promises.is_empty());
    }
}
