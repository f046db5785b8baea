//! Which hosts were called without success the last time: file `cfrun` of the state directory.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::diag::{Exit, Fail};
use crate::hosts::CfrunHost;
use crate::state::Store;

const FILE: &str = "cfrun";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Calls {
    /// Hosts whose last call failed.
    failed: BTreeSet<String>,
}

/// A host as it is written down.
pub fn key(host: &CfrunHost) -> String {
    match host.port {
        Some(port) => format!("{} {port}", host.name),
        None => host.name.clone(),
    }
}

/// The hosts whose last call failed.
pub fn failed(state: &Path) -> Result<BTreeSet<String>, Fail> {
    let file = state.join(FILE);
    match Store::peek::<Calls>(&file) {
        Ok(calls) => Ok(calls.unwrap_or_default().failed),
        Err(error) => Err(Fail::new(Exit::Failed, format!("cannot read {}", file.display())).because(error)),
    }
}

/// Writes down what came of these hosts; `failed` are numbers. What is known of others stays.
pub fn note(state: &Path, hosts: &[&CfrunHost], failed: &[usize]) -> io::Result<()> {
    let known: Calls = Store::peek(&state.join(FILE)).ok().flatten().unwrap_or_default();
    let called: BTreeSet<String> = hosts.iter().map(|host| key(host)).collect();
    let mut calls = Calls {
        failed: known.failed.difference(&called).cloned().collect(),
    };
    calls
        .failed
        .extend(failed.iter().filter_map(|number| Some(key(hosts.get(*number)?))));
    if calls == known {
        return Ok(());
    }
    let store = Store::open(state)?;
    store.update(FILE, |old: &mut Calls| *old = calls).map(|_| ())
}
