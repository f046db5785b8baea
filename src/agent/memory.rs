//! What a run remembers of earlier ones: when each promise was last looked after.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Job;
use super::checksums::Watched;
use super::history::Notes;
use super::report::Report;
use super::undo::Undo;
use crate::fsx::{Digests, Keep};
use crate::policy::Phase;
use crate::state::{Promises, Store, key_of};

/// How long a run may have done things that are not written down yet: writing is synced to disk, which costs more than
/// looking after a thousand promises.
const UNWRITTEN: Duration = Duration::from_secs(1);

/// Promises that nobody asked about for this long are forgotten: 90 days.
const FORGET: i64 = 90 * 24 * 3600;

/// When promises were last looked after, of earlier runs and of this one.
#[derive(Debug)]
pub struct Memory {
    store: Option<Store>,
    known: Promises,
    fresh: Promises,
    /// Content that should not change.
    pub(super) watched: Watched,
    /// What the run has to tell at its end.
    pub(super) notes: Notes,
    written: Instant,
    /// Digests of files that were compared; read when the first one is.
    sums: Option<Rc<Digests>>,
    /// What the run changes.
    undo: Undo,
}

/// The file of the digests, and that of those which came since.
const SUMS: &str = "sums";
const RECENT_SUMS: &str = "sums.recent";

impl Memory {
    /// Nothing is remembered and nothing will be.
    pub fn none() -> Memory {
        Memory {
            store: None,
            known: Promises::default(),
            fresh: Promises::default(),
            watched: Watched::default(),
            notes: Notes::default(),
            written: Instant::now(),
            sums: None,
            undo: Undo::default(),
        }
    }

    /// Digests of files, by the stamps of the files.
    pub fn sums(&mut self) -> Rc<Digests> {
        let store = &self.store;
        let sums = self.sums.get_or_insert_with(|| {
            let file = |name| store.as_ref().and_then(|store| store.file(name));
            Rc::new(Digests::from_files(file(SUMS), file(RECENT_SUMS)))
        });
        Rc::clone(sums)
    }

    /// Keeps what was learnt of files for the next run. What cannot be kept is only read again.
    pub fn keep_sums(&self) {
        let (Some(store), Some(sums)) = (&self.store, &self.sums) else {
            return;
        };
        // Killed between the two, what is new is there twice.
        let _ = match sums.to_keep() {
            None => Ok(()),
            Some(Keep::Recent(bytes)) => store.keep(RECENT_SUMS, &[&bytes]),
            Some(Keep::All(bytes)) => store.keep(SUMS, &[&bytes]).and_then(|()| store.remove(RECENT_SUMS)),
        };
    }

    /// What a store remembers; with `promises`, also when each promise was last looked after.
    pub fn open(store: Store, promises: bool, report: &mut Report<'_>) -> Memory {
        let mut memory = Memory::none();
        if promises {
            match store.read::<Promises>(Promises::FILE) {
                Ok((known, damage)) => {
                    memory.known = known;
                    if let Some(damage) = damage {
                        report.error(damage);
                    }
                }
                Err(error) => report.error(format_args!(
                    "Cannot read when promises were last kept, from {}: {error}",
                    store.dir().display()
                )),
            }
        }
        memory.store = Some(store);
        memory
    }

    /// Writes down what the run changes from now on.
    pub fn note_changes(&mut self, at: i64) {
        if let Some(store) = &self.store {
            self.undo = Undo::below(store.dir(), at);
        }
    }

    /// The pen that writes down what the run changes.
    pub fn undo(&self) -> Undo {
        self.undo.clone()
    }

    /// Where state files are.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The key of a promise: its phase, kind and objects for a reader, and a digest of its attributes, so that two rules
    /// about one object do not stand in each other's way.
    pub fn key(phase: Phase, operator: &str, job: &Job) -> String {
        let mut hasher = blake3::Hasher::new();
        for attr in &job.rule.attrs.0 {
            hasher.update(attr.name.as_bytes());
            hasher.update(&[0]);
            hasher.update(&attr.value);
            hasher.update(&[0]);
        }
        hasher.update(format!("{:?}", bodies(job)).as_bytes());
        let digest = hasher.finalize().to_hex();
        let phase = if phase == Phase::Update { "update" } else { "main" };
        format!(
            "{phase}.{operator}.{}.{}.{}",
            key_of(&job.object),
            key_of(&job.other),
            &digest.as_str()[..16]
        )
    }

    /// A promise as messages show it.
    pub fn shown(operator: &str, job: &Job) -> String {
        format!("{operator}.{}", job.object)
    }

    /// Whole minutes since a promise was last looked after.
    pub fn elapsed(&self, key: &str, now: i64) -> Option<i64> {
        let last = self.fresh.last.get(key).or_else(|| self.known.last.get(key))?;
        // A clock that was set back must not hold a promise up for ever.
        (*last <= now).then(|| (now - last) / 60)
    }

    /// A promise was looked after.
    pub fn record(&mut self, key: String, now: i64) {
        self.fresh.last.insert(key, now);
    }

    /// As [`Memory::save`], when it was not done for a second.
    pub fn save_at_times(&mut self, report: &mut Report<'_>) {
        if self.written.elapsed() >= UNWRITTEN {
            self.save(report);
        }
    }

    /// Writes down what is new, together with what other runs wrote meanwhile.
    pub fn save(&mut self, report: &mut Report<'_>) {
        let Some(store) = &self.store else { return };
        self.watched.save(store, report);
        let Some(newest) = self.fresh.last.values().max().copied() else {
            return;
        };
        self.written = Instant::now();
        let fresh = std::mem::take(&mut self.fresh);
        let result = store.update(Promises::FILE, |promises: &mut Promises| {
            promises.merge(&fresh, newest - FORGET)
        });
        match result {
            Ok(None) => {}
            Ok(Some(damage)) => report.error(damage),
            Err(error) => report.error(format_args!(
                "Cannot write down which promises were kept, in {}: {error}",
                store.dir().display()
            )),
        }
        self.known.merge(&fresh, newest - FORGET);
    }
}

/// The body without positions, which move when other lines of the policy change.
fn bodies(job: &Job) -> Vec<String> {
    use crate::policy::Body;
    match &job.rule.body {
        Body::Edit(commands) => commands
            .iter()
            .map(|command| format!("{} {:?}", command.name, command.arg))
            .collect(),
        Body::Link { to, children, force } => vec![format!("{to:?} {children} {force}")],
        Body::Restart(command) => vec![format!("{command:?}")],
        Body::Call(args) => args.iter().map(|arg| format!("{arg:?}")).collect(),
        Body::None | Body::SetOptionString | Body::Pairs(_) | Body::Words(_) | Body::Members(_) => Vec::new(),
    }
}
