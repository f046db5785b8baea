//! One promise from its beginning to its end: whether its turn has come, what came of it, how long it took.

use std::collections::HashSet;
use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};

use super::action::Action;
use super::event::{Event, Heard, Objects, Other, Promiser, Told, seconds};
use super::report::{Level, Tally};
use super::run::Run;
use super::{Job, Memory, diff, methods};
use crate::policy::Phase;

/// What came of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing had to be done: sets `elsedefine=`.
    Kept,
    /// It was repaired: sets `define=`.
    Repaired,
    /// It could not be kept; sets no class (22.2).
    Failed,
}

/// A promise that was taken up and is not over.
pub(super) struct Begun {
    action: &'static str,
    /// Under which it is remembered; none where locks do not count.
    key: Option<String>,
    since: Instant,
    /// What came of it so far, object by object.
    objects: Tally,
    /// It was left alone, and why where somebody listens.
    left: bool,
    why: Option<String>,
    /// What was said for it before something else was looked after.
    earlier: Option<Box<Heard>>,
}

impl Begun {
    fn new(action: &'static str) -> Begun {
        Begun {
            action,
            key: None,
            since: Instant::now(),
            objects: Tally::default(),
            left: false,
            why: None,
            earlier: None,
        }
    }

    /// The worst that came of it.
    fn outcome(&self) -> &'static str {
        match self.objects {
            Tally { failed: 1.., .. } => "failed",
            Tally { repaired: 1.., .. } => "repaired",
            _ if self.left => "skipped",
            _ => "kept",
        }
    }
}

/// Promises of a run, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Promises that were kept already.
    pub kept: u64,
    /// Promises that were repaired, or would have been.
    pub repaired: u64,
    /// Promises that could not be kept.
    pub failed: u64,
    /// Promises that were left alone.
    pub skipped: u64,
}

impl Counts {
    /// Those of another phase, too.
    pub(super) fn add(&mut self, other: Counts) {
        self.kept += other.kept;
        self.repaired += other.repaired;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Run<'_> {
    /// Takes up a promise: false when its class does not hold, it was done already, or it was looked after less than
    /// IfElapsed minutes ago. It counts as done from now on. Every `true` wants an [`Run::end`].
    pub fn begin(&mut self, action: &Action, job: &Job) -> bool {
        if !self.begin_now(action, job) {
            return false;
        }
        if self.options.uses_locks() && !self.dry && !methods::is_return(&job.rule) {
            let minutes = self.if_elapsed(job);
            let mut key = Memory::key(self.phase, action.operator, job);
            if let Some(called) = &self.called {
                key = format!("{}.{key}", called.lock());
            }
            let now = self.now.timestamp().as_second();
            if let Some(elapsed) = self.memory.elapsed(&key, now)
                && elapsed < minutes
            {
                let object = Memory::shown(action.operator, job);
                let text = format!("Nothing promised for [{object}] ({elapsed}/{minutes} minutes elapsed)");
                self.report.verbose(text);
                self.left(job);
                self.end(job);
                return false;
            }
            if let Some(begun) = self.begun.get_mut(&job.id) {
                begun.key = Some(key);
            }
        }
        true
    }

    /// As [`Run::begin`], without a lock.
    pub(super) fn begin_now(&mut self, action: &Action, job: &Job) -> bool {
        if !self.ctx.holds(&job.rule.class) || !self.done.insert(job.id) {
            return false;
        }
        self.report.forget_heard();
        self.report.doing(&Memory::shown(action.operator, job));
        self.begun.insert(job.id, Begun::new(action.name));
        true
    }

    /// A promise that was taken up goes on in a later run: no lock holds it back then.
    pub(super) fn stays_due(&mut self, job: &Job) {
        if let Some(begun) = self.begun.get_mut(&job.id) {
            begun.key = None;
        }
    }

    /// Whether a promise had its turn in this run.
    pub(super) fn is_done(&self, job: &Job) -> bool {
        self.done.contains(&job.id)
    }

    /// A promise was looked after, whatever came of it.
    pub fn end(&mut self, job: &Job) {
        let Some(mut begun) = self.begun.remove(&job.id) else {
            return;
        };
        let took = begun.since.elapsed();
        if let Some(key) = begun.key.take() {
            self.memory.record(key, self.now.timestamp().as_second());
        }
        self.tell(job, begun, took);
    }

    /// Counts a promise, and tells whoever listens.
    fn tell(&mut self, job: &Job, begun: Begun, took: Duration) {
        let outcome = begun.outcome();
        self.note_promise(job, begun.action, outcome, took);
        match outcome {
            "failed" => self.counts.failed += 1,
            "repaired" => self.counts.repaired += 1,
            "skipped" => self.counts.skipped += 1,
            _ => self.counts.kept += 1,
        }
        let Some(heard) = self.report.heard() else { return };
        let mut whole = begun.earlier.map(|earlier| *earlier).unwrap_or_default();
        whole.join(heard);
        let Tally { kept, repaired, failed } = begun.objects;
        let pos = &job.rule.pos;
        let mut told = Told {
            phase: if self.phase == Phase::Update { "update" } else { "main" },
            action: begun.action,
            file: pos.file.to_string(),
            line: pos.line,
            column: pos.col,
            promiser: Promiser::of(&job.object),
            other: match job.other.is_empty() {
                true => Other::default(),
                false => Other::of(&job.other),
            },
            class: job.rule.class.text().to_str_lossy().into_owned(),
            outcome,
            why: begun.why,
            objects: (kept + repaired + failed > 1).then_some(Objects { kept, repaired, failed }),
            seconds: seconds(took),
            dry: self.dry,
            ..Told::default()
        };
        whole.tell(&mut told);
        self.report.event(|| Event::Promise(Box::new(told)));
    }

    /// A promise that was not even taken up, and why.
    pub(super) fn pass_over(&mut self, action: &Action, job: &Job, why: impl Display) {
        if !self.done.insert(job.id) {
            return;
        }
        self.report.forget_heard();
        let mut begun = Begun::new(action.name);
        begun.left = true;
        begun.why = self.report.listens().then(|| why.to_string());
        self.tell(job, begun, Duration::ZERO);
    }

    /// A promise is left alone: it is not for this machine, or its rule only warns. Why is what was said last.
    pub fn left(&mut self, job: &Job) {
        if let Some(begun) = self.begun.get_mut(&job.id) {
            begun.left = true;
        }
    }

    /// A promise waits while others are looked after: what is said from now on is not said for it.
    pub(super) fn park(&mut self, job: &Job) {
        if let (Some(begun), Some(heard)) = (self.begun.get_mut(&job.id), self.report.heard()) {
            begun.earlier = Some(Box::new(heard));
        }
        self.report.forget_heard();
    }

    /// How important a message about what is done is: a dry run says it whatever the levels are.
    pub fn doing(&self) -> Level {
        if self.dry { Level::Silent } else { Level::Inform }
    }

    /// `--diff`: shows what changes about an object besides its content.
    pub fn show(&mut self, path: &Path, lines: impl IntoIterator<Item = String>) {
        if self.options.diff {
            let lines = diff::about(path, lines);
            self.report.diff(&lines);
        }
    }

    /// What came of a promise, or of one of its objects, where that sets no class: only counted and told.
    pub fn mark(&mut self, job: &Job, outcome: Outcome) {
        if let Some(begun) = self.begun.get_mut(&job.id) {
            begun.objects.add(outcome);
        }
    }

    /// Records what came of a promise: classes and figures. May be called more than once for one promise, as the copy
    /// of a tree does for each file.
    pub fn record(&mut self, job: &Job, outcome: Outcome) {
        self.mark(job, outcome);
        self.record_classes(job, outcome);
    }

    /// What came of something that no rule stands for, such as a line of the table of file systems.
    pub fn count(&mut self, outcome: Outcome) {
        self.report.tally.add(outcome);
        match outcome {
            Outcome::Kept => self.counts.kept += 1,
            Outcome::Repaired => self.counts.repaired += 1,
            Outcome::Failed => self.counts.failed += 1,
        }
    }

    /// As [`Run::record`], where the classes tell of something other than what came of the promise: that is not counted.
    pub(super) fn record_classes(&mut self, job: &Job, outcome: Outcome) {
        self.report.tally.add(outcome);
        let attribute = match outcome {
            Outcome::Kept => "elsedefine",
            Outcome::Repaired => "define",
            Outcome::Failed => return,
        };
        for class in self.class_list(job, attribute) {
            self.define(class.as_bstr());
        }
    }

    /// Sets a class, and ends the run when it is one of `AbortClasses`.
    pub fn define(&mut self, class: &BStr) {
        self.ctx.define(class);
        self.check_abort(class);
    }

    /// Minutes that must pass before a promise is looked after again: of the rule, of the entry of the action sequence,
    /// of `control:`, or 1.
    fn if_elapsed(&self, job: &Job) -> i64 {
        let minutes = |text: BString| text.to_str().ok().and_then(|text| text.trim().parse().ok());
        self.value(job, "ifelapsed")
            .or_else(|| super::editfiles::setting(self, &job.rule, "IfElapsed"))
            .and_then(minutes)
            .or(self.entry_minutes.if_elapsed)
            .or_else(|| self.ctx.get("IfElapsed").and_then(minutes))
            .unwrap_or(1)
    }

    /// Whether a rule that was not done has become true meanwhile.
    pub(super) fn more_to_do(&self) -> bool {
        let words: HashSet<&str> = self
            .sequence
            .iter()
            .filter_map(|entry| super::action::find(entry.text.split(|byte| *byte == b'.').next().unwrap_or_default()))
            .filter(|action| !action.once)
            .map(|action| action.name)
            .collect();
        words
            .into_iter()
            .filter_map(|word| super::action::find(word.as_bytes()))
            .any(|action| !self.jobs(action).is_empty())
    }
}
