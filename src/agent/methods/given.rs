//! What is kept of calls from run to run: what they gave, which wait for an answer, and which were answered here. While a
//! call is not due again, what it gave last still counts.

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
    /// Key of the call → the call that lies in `rpc_out` and waits for its answer.
    #[serde(default)]
    pub waiting: BTreeMap<String, Waiting>,
    /// Digest of a call of another host that was taken up here → when it counts no more, in seconds since the epoch.
    #[serde(default)]
    pub answered: BTreeMap<String, i64>,
}

/// A call of a method on another host, until its answer comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The digest of the call.
    pub digest: String,
    /// The name of its file.
    pub file: String,
    /// The host that is called.
    pub server: String,
    /// The name under which the answer is left there.
    pub reply_to: String,
    /// Seconds since the epoch after which it counts no more.
    pub until: i64,
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

/// The call that waits for an answer.
pub fn waiting(run: &Run<'_>, key: &str) -> Option<Waiting> {
    let (methods, _) = run.memory.store()?.read::<Methods>(Methods::FILE).ok()?;
    methods.waiting.get(key).cloned()
}

/// The calls of other hosts that were taken up here already.
pub fn answered(run: &Run<'_>) -> Result<BTreeMap<String, i64>, String> {
    let store = run.memory.store().ok_or("nothing can be remembered here")?;
    let (methods, _) = store
        .read::<Methods>(Methods::FILE)
        .map_err(|error| error.to_string())?;
    Ok(methods.answered)
}

/// Changes what is written down.
fn change(run: &mut Run<'_>, change: impl FnOnce(&mut Methods)) {
    if run.dry || run.memory.store().is_none() {
        return;
    }
    if let Err(why) = write_down(run, change) {
        run.report
            .error(format_args!("Cannot write down what methods gave: {why}"));
    }
}

/// Changes what is written down; without that, what is to come must not be done.
pub fn write_down(run: &mut Run<'_>, change: impl FnOnce(&mut Methods)) -> Result<(), String> {
    let store = run.memory.store().cloned().ok_or("nothing can be remembered here")?;
    match store.update(Methods::FILE, change) {
        Ok(None) => Ok(()),
        Ok(Some(damage)) => {
            run.report.error(damage);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
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
