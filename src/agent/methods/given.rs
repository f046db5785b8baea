//! What calls gave, kept from run to run: while a call is not due again, what it gave last still counts.

use std::collections::BTreeMap;

use bstr::{BString, ByteVec};
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use crate::agent::Run;
use crate::state::key_of;

/// Results that nobody asked for in this time are forgotten: 90 days.
const FORGET: i64 = 90 * 24 * 3600;
/// So many results are kept, the newest: arguments that change from run to run would fill the disk.
const MOST: usize = 10_000;
/// So many bytes of them.
const MOST_BYTES: usize = 16 << 20;

/// Variables and classes of one call, without the method's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Names and values.
    pub vars: Vec<(BString, BString)>,
    /// Classes.
    pub classes: Vec<BString>,
}

/// File `methods`. Bytes are kept as [`key_of`] writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Methods {
    /// Key of the call → what it gave last.
    pub given: BTreeMap<String, Kept>,
}

/// What a call gave, as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    at: i64,
    vars: Vec<(String, String)>,
    classes: Vec<String>,
}

impl Methods {
    /// The file's name in the store.
    pub const FILE: &'static str = "methods";

    /// Adds what a call gave, and forgets what is old and the oldest of too many.
    fn add(&mut self, key: &str, kept: Kept, now: i64) {
        self.given.insert(key.to_string(), kept);
        self.given.retain(|_, kept| kept.at > now - FORGET);
        let mut ages: Vec<(i64, usize, &String)> = self
            .given
            .iter()
            .map(|(key, kept)| (kept.at, key.len() + kept.size(), key))
            .collect();
        ages.sort_unstable_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        let kept = ages.iter().take(MOST).take_while(|(_, size, _)| {
            bytes += size;
            bytes <= MOST_BYTES
        });
        let gone: Vec<String> = ages[kept.count()..].iter().map(|(_, _, key)| (*key).clone()).collect();
        for key in gone {
            self.given.remove(&key);
        }
    }
}

impl Kept {
    fn new(given: &Given, at: i64) -> Kept {
        let vars = given.vars.iter();
        Kept {
            at,
            vars: vars.map(|(name, value)| (key_of(name), key_of(value))).collect(),
            classes: given.classes.iter().map(|class| key_of(class)).collect(),
        }
    }

    fn size(&self) -> usize {
        let vars = self.vars.iter().map(|(name, value)| name.len() + value.len());
        vars.chain(self.classes.iter().map(String::len)).sum()
    }

    /// As far as the rule still asks for it.
    fn given(&self, asked: &Asked) -> Given {
        let bytes = |text: &String| BString::from(Vec::unescape_bytes(text));
        let vars = self.vars.iter().map(|(name, value)| (bytes(name), bytes(value)));
        Given {
            vars: vars.filter(|(name, _)| asked.vars.contains(name)).collect(),
            classes: self
                .classes
                .iter()
                .map(bytes)
                .filter(|class| asked.classes.contains(class))
                .collect(),
        }
    }
}

/// Writes down what a call gave.
pub fn remember(run: &mut Run<'_>, asked: &Asked, given: &Given) {
    let now = run.now.timestamp().as_second();
    change(run, |methods| methods.add(&asked.key, Kept::new(given, now), now));
}

/// A call that is not due: what it gave last.
pub fn recall(run: &mut Run<'_>, asked: &Asked) {
    let Some(store) = run.memory.store().cloned() else {
        return;
    };
    if let Ok((methods, _)) = store.read::<Methods>(Methods::FILE)
        && let Some(kept) = methods.given.get(&asked.key)
    {
        super::bind(run, asked, &kept.given(asked));
    }
}

/// Changes what is written down.
pub fn change(run: &mut Run<'_>, change: impl FnOnce(&mut Methods)) {
    if run.dry {
        return;
    }
    let Some(store) = run.memory.store().cloned() else {
        return;
    };
    match store.update(Methods::FILE, change) {
        Ok(None) => {}
        Ok(Some(damage)) => run.report.error(damage),
        Err(error) => run
            .report
            .error(format_args!("Cannot write down what methods gave: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_results_are_kept_and_no_more_bytes_than_fit() {
        let of = |size: usize, at| Kept {
            at,
            vars: vec![("v".into(), "x".repeat(size))],
            classes: Vec::new(),
        };
        let mut methods = Methods::default();
        for at in 0..40 {
            methods.add(&format!("call {at}"), of(1 << 20, at), at);
        }
        let mut ages: Vec<i64> = methods.given.values().map(|kept| kept.at).collect();
        ages.sort_unstable();
        assert_eq!((ages.len(), ages.first(), ages.last()), (15, Some(&25), Some(&39)));
        methods.given = (0..MOST as i64 + 5).map(|at| (format!("{at}"), of(1, at))).collect();
        methods.add("new", of(1, FORGET), FORGET);
        assert_eq!(methods.given.len(), MOST);
        assert!(methods.given.contains_key("new") && !methods.given.contains_key("5"));
    }
}
