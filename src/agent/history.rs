//! What a run leaves behind for `cfshow` and for the averages of the next run: its classes, how long promises took, hosts it
//! was in touch with, what was done. Collected while it runs, written once at its end.

use std::collections::HashSet;
use std::time::Duration;

use bstr::{BString, ByteSlice};

use super::report::Level;
use super::run::{Parts, Run};
use super::{Job, Memory};
use crate::facts::{MEASURES, Measure, measure};
use crate::policy::{Context, Phase};
use crate::state::{Audit, AuditEntry, Damage, History, Hosts, Spread, Store, key_of};

/// What is quicker is measured only if it is known for having been slow.
const WORTH: Duration = Duration::from_millis(10);
/// Whose time is always worth knowing: they wait for others.
const WAITING: &[&str] = &["shellcommands", "packages", "processes", "methods"];
/// Days after which a host is forgotten, unless `LastSeenExpireAfter` says otherwise.
const FRIEND_DAYS: i64 = 60;

/// What a run has to tell, so far.
#[derive(Debug)]
pub(super) struct Notes {
    /// Promises whose times are remembered.
    timed: HashSet<String>,
    times: Vec<(String, f64)>,
    classes: Vec<String>,
    audit: Vec<AuditEntry>,
    audits: bool,
    measures: Option<[f64; MEASURES.len()]>,
    /// Days for which hosts are remembered; `None` = not at all.
    friends: Option<i64>,
}

impl Default for Notes {
    fn default() -> Self {
        Notes {
            timed: HashSet::new(),
            times: Vec::new(),
            classes: Vec::new(),
            audit: Vec::new(),
            audits: false,
            measures: None,
            friends: Some(FRIEND_DAYS),
        }
    }
}

/// The classes and variables of cfenvd: `Users_normal`, `value_users`, `average_users`, `stddev_users` …
pub(super) fn look_at_machine(memory: &mut Memory, context: &mut Context) {
    let history = memory
        .store()
        .map(|store| Store::peek::<History>(&store.dir().join(History::FILE)));
    // A damaged file is told when it is written.
    let history = history.and_then(|read| read.ok().flatten()).unwrap_or_default();
    let values = measure();
    for (measure, value) in MEASURES.iter().zip(values) {
        let past = history.measures.get(measure.name).copied().unwrap_or_default();
        let (average, deviation) = match past.count {
            0 => (value, 0.0),
            _ => (past.average, past.deviation()),
        };
        for class in measure.classes(value, past.count, average, deviation) {
            context.define(class);
        }
        for (kind, number) in [("value", value), ("average", average), ("stddev", deviation)] {
            context.set(format!("global.{kind}_{}", measure.name), format!("{number:.2}"));
        }
    }
    memory.notes.measures = Some(values);
    memory.notes.timed = history.promises.into_keys().collect();
}

/// A measure as `ShowState` tells it.
pub(super) fn show_measure(run: &mut Run<'_>, measure: &Measure, past: Spread) {
    let at = MEASURES.iter().position(|known| known.name == measure.name);
    let now = at
        .and_then(|at| Some(run.memory.notes.measures?[at]))
        .unwrap_or_default();
    let name = measure.name;
    let text = format!(
        "{name} = {now:.2}, average {:.2} +/- {:.2}",
        past.average,
        past.deviation()
    );
    run.report.say(Level::Silent, text);
}

impl Run<'_> {
    /// `Auditing`, as the phase begins.
    pub(super) fn prepare_notes(&mut self) {
        self.memory.notes.audits = self.is_on("Auditing");
    }

    /// A promise is over: how long it took, and what was done.
    pub(super) fn note_promise(&mut self, job: &Job, action: &str, outcome: &str, took: Duration) {
        let notes = &self.memory.notes;
        let slow = took >= WORTH || WAITING.contains(&action);
        if outcome != "skipped" && (slow || !notes.timed.is_empty()) {
            let name = key_of(&self.timed_name(job, action));
            if slow || self.memory.notes.timed.contains(&name) {
                self.memory.notes.times.push((name, took.as_secs_f64()));
            }
        }
        let done = matches!(outcome, "repaired" | "failed");
        if done && !self.dry && self.flag(job, "audit", self.memory.notes.audits) {
            let version = self.ctx.get("cfinputs_version").unwrap_or_default();
            let pos = &job.rule.pos;
            let entry = AuditEntry {
                at: self.now.timestamp().as_second(),
                version: version.to_str_lossy().chars().take(100).collect(),
                place: format!("{}:{}", pos.file, pos.line),
                promise: format!("{action}.{}", job.object),
                outcome: outcome.to_string(),
            };
            self.memory.notes.audit.push(entry);
        }
    }

    /// `Copy(srv:/a > /b)`, `Exec(/bin/x)`, `files(/etc/motd)`.
    fn timed_name(&self, job: &Job, action: &str) -> BString {
        let mut name = BString::default();
        match action {
            "copy" => {
                let server = self.value(job, "server").unwrap_or_else(|| "localhost".into());
                for part in [b"Copy(", server.as_slice(), b":", &job.object, b" > ", &job.other] {
                    name.extend_from_slice(part);
                }
            }
            _ => {
                let word = if action == "shellcommands" { "Exec" } else { action };
                for part in [word.as_bytes(), b"(", &job.object] {
                    name.extend_from_slice(part);
                }
            }
        }
        name.push(b')');
        name
    }

    /// The phase is over: what the policy says about remembering, and the classes there were.
    pub(super) fn note_phase(&mut self) {
        if self.phase != Phase::Main {
            return;
        }
        let days = self.ctx.get("LastSeenExpireAfter");
        let days = days.and_then(|days| days.to_str().ok()?.trim().parse().ok());
        let wanted = self.ctx.get("LastSeen").and_then(|value| super::job::boolean(&value)) != Some(false);
        let classes = self.ctx.classes();
        let notes = &mut self.memory.notes;
        notes.friends = wanted.then(|| days.unwrap_or(FRIEND_DAYS));
        notes.classes = classes.iter().map(|class| key_of(class)).collect();
    }
}

/// The end of a run: writes down what it was like. One file for what every run has, one more where it was in touch with
/// hosts, one more where it is audited.
pub(super) fn keep(parts: &mut Parts<'_>) {
    let notes = std::mem::take(&mut parts.memory.notes);
    let sightings = parts.sources.take_sightings();
    let Some(store) = parts.memory.store().cloned() else {
        return;
    };
    let now = parts.now.timestamp().as_second();
    let mut tell = |result: std::io::Result<Option<Damage>>| match result {
        Ok(None) => {}
        Ok(Some(damage)) => parts.report.error(damage),
        Err(error) => parts.report.error(format_args!(
            "Cannot write down what this run was like, in {}: {error}",
            store.dir().display()
        )),
    };
    if let Some(values) = notes.measures {
        tell(store.update(History::FILE, |history: &mut History| {
            history.add_classes(notes.classes, now);
            for (promise, seconds) in &notes.times {
                history.add_time(promise, *seconds, now);
            }
            history.forget_times(now);
            for (measure, value) in MEASURES.iter().zip(values) {
                history.measures.entry(measure.name.to_string()).or_default().add(value);
            }
        }));
    }
    if let Some(days) = notes.friends.filter(|_| !sightings.is_empty()) {
        tell(store.update(Hosts::FILE, |hosts: &mut Hosts| {
            sightings.iter().for_each(|seen| hosts.add(seen));
            hosts.forget(now.saturating_sub(days.saturating_mul(24 * 3600)));
        }));
    }
    if !notes.audit.is_empty() {
        tell(store.update(Audit::FILE, |audit: &mut Audit| audit.add(notes.audit)));
    }
}
