//! What alerts tell of the machine's memory: `FriendStatus` and `ShowState` (cfengine2.md 11).

use bstr::{BString, ByteSlice};

use super::Run;
use super::history::show_measure;
use super::report::Level;
use crate::facts::MEASURES;
use crate::policy::Ere;
use crate::state::{Contact, History, Hosts, Store};

/// `FriendStatus(hours)`: tells of every host that was not seen for so many hours, and for longer than it usually stays
/// away: two deviations above the average of its intervals. `IgnoreFriendRegex` leaves hosts out by name or address.
pub(super) fn status(run: &mut Run<'_>, args: &[BString]) -> Result<(), String> {
    let [hours] = args else {
        return Err("FriendStatus takes a number of hours".to_string());
    };
    let hours: f64 = hours
        .to_str_lossy()
        .trim()
        .parse()
        .map_err(|_| format!("FriendStatus: '{hours}' is no number"))?;
    let mut ignored = Vec::new();
    for regex in run.ctx.list("IgnoreFriendRegex") {
        let regex = run.ctx.expand(regex.as_bstr());
        ignored.push(Ere::new(&regex).map_err(|error| format!("IgnoreFriendRegex: {error}"))?);
    }
    let hosts = read::<Hosts>(run, Hosts::FILE)?;
    let now = run.now.timestamp().as_second();
    for (key, contact) in &hosts.seen {
        let address = key.get(1..).unwrap_or_default();
        let leave = |regex: &Ere| regex.matches(contact.name.as_bytes()) || regex.matches(address.as_bytes());
        let silent = (now - contact.at) as f64 / 3600.0;
        if ignored.iter().any(leave) || silent <= hours.max(usual(contact)) {
            continue;
        }
        let who = if key.starts_with('+') {
            "did not answer us"
        } else {
            "did not call us"
        };
        run.report.say(
            Level::Silent,
            format_args!(
                "Host {} ({address}) {who} for {silent:.2} hours, usually {:.2} +/- {:.2}",
                contact.name,
                contact.interval.average / 3600.0,
                contact.interval.deviation() / 3600.0
            ),
        );
    }
    Ok(())
}

/// Hours a host usually stays away, at most.
fn usual(contact: &Contact) -> f64 {
    (contact.interval.average + 2.0 * contact.interval.deviation()) / 3600.0
}

/// `ShowState(rootprocs)`: what was measured of the machine when the run began, and what is usual.
pub(super) fn show(run: &mut Run<'_>, args: &[BString]) -> Result<(), String> {
    let [name] = args else {
        return Err("ShowState takes the name of a measure".to_string());
    };
    let Some(measure) = MEASURES
        .iter()
        .find(|measure| name.eq_ignore_ascii_case(measure.name.as_bytes()))
    else {
        let names: Vec<&str> = MEASURES.iter().map(|measure| measure.name).collect();
        return Err(format!("ShowState: {name} is not measured; {} are", names.join(", ")));
    };
    let history = read::<History>(run, History::FILE)?;
    let past = history.measures.get(measure.name).copied().unwrap_or_default();
    show_measure(run, measure, past);
    Ok(())
}

fn read<T: serde::de::DeserializeOwned + Default>(run: &Run<'_>, file: &str) -> Result<T, String> {
    let Some(store) = run.memory.store() else {
        return Ok(T::default());
    };
    let path = store.dir().join(file);
    let read = Store::peek(&path).map_err(|error| format!("Cannot read {}: {error}", path.display()))?;
    Ok(read.unwrap_or_default())
}
