//! One phase of a run: the action sequence in passes, with classes, done flags and locks (cfengine2.md 5, 9.4, 17).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use bstr::{BString, ByteSlice};

use super::action::{ALERTS, Action, Work, find};
use super::event::Event;
use super::methods::Called;
use super::report::{Report, RuleSwitches};
use super::resources::Resources;
use super::visit::{Begun, Counts, Outcome};
use super::{Job, Memory, RunOptions, Sources, no_effect};
use crate::facts::Machine;
use crate::fsx::{Dir, Sync};
use crate::policy::{ClassExpr, Context, Phase, PolicyError, Program, Rule, Section, SequenceEntry};
use crate::sys::Paths;

/// Why a run ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A class of `AbortClasses` was defined.
    Abort(BString),
    /// The policy asks for something that cannot be.
    Fatal,
}

/// A phase while it runs. Everything an action needs hangs on it.
pub struct Run<'a> {
    /// Classes and variables.
    pub ctx: Context,
    /// Update or main.
    pub phase: Phase,
    /// What the command line asked for.
    pub options: &'a RunOptions,
    /// Where things are.
    pub paths: &'a Paths,
    /// The way out for messages.
    pub report: Report<'a>,
    /// The machine, for functions, modules and their like.
    pub machine: &'a mut Machine,
    /// Where copies come from.
    pub sources: Option<&'a mut dyn Sources>,
    /// Servers that gave no answer in this run, and why.
    pub dead_servers: HashMap<BString, String>,
    /// Destinations of `SingleCopy` that were written.
    pub written: HashSet<PathBuf>,
    /// Backups that were made.
    pub kept: crate::fsx::Kept,
    /// What is remembered from run to run.
    pub memory: Memory,
    /// The resource file.
    pub resources: Resources,
    /// The moment the run began.
    pub now: jiff::Zoned,
    /// Nothing is changed: `-n`, or `DryRun` in the policy.
    pub dry: bool,
    /// How durable copies are before they count.
    pub sync: Sync,
    /// Why the run is to end.
    pub stop: Option<Stop>,
    /// The run shall end with status 1: something of the policy could not be carried out at all.
    pub broken: bool,
    /// Promises that are over, each counted once.
    pub counts: Counts,
    /// The call that this run carries out (`-Z`).
    pub called: Option<Called>,
    rules: Vec<Rc<Rule>>,
    /// The numbers of the rules of each section, in text order: asked for by every promise.
    sections: HashMap<Section, Vec<usize>>,
    pub(super) sequence: Vec<SequenceEntry>,
    pub(super) done: HashSet<(usize, usize)>,
    pub(super) pass: u32,
    pub(super) entry_minutes: EntryMinutes,
    pub(super) begun: HashMap<(usize, usize), Begun>,
    swept: HashSet<(u64, u64)>,
    /// Entries of the action sequence that an option leaves out.
    left_out: Vec<BString>,
    pub(super) abort_classes: Vec<BString>,
}

/// Lock times of `copy.IfElapsed60` and `copy.ExpireAfter120`, in minutes, for the entry that runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryMinutes {
    /// `IfElapsedN`
    pub if_elapsed: Option<i64>,
    /// `ExpireAfterN`
    pub expire_after: Option<i64>,
}

/// What a run is made of, handed over from phase to phase.
pub struct Parts<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) paths: &'a Paths,
    pub(super) report: Report<'a>,
    pub(super) machine: &'a mut Machine,
    pub(super) sources: &'a mut dyn Sources,
    pub(super) memory: Memory,
    pub(super) resources: Resources,
    pub(super) now: jiff::Zoned,
}

impl<'a> Run<'a> {
    /// A phase that is ready to run its program.
    pub fn new(parts: Parts<'a>, phase: Phase, program: Program) -> Run<'a> {
        let dry = parts.options.dry_run;
        let mut run = Run {
            ctx: program.context,
            phase,
            options: parts.options,
            paths: parts.paths,
            report: parts.report,
            machine: parts.machine,
            sources: Some(parts.sources),
            dead_servers: HashMap::new(),
            written: HashSet::new(),
            kept: crate::fsx::Kept::default(),
            memory: parts.memory,
            resources: parts.resources,
            now: parts.now,
            dry,
            sync: Sync::default(),
            stop: None,
            broken: false,
            counts: Counts::default(),
            called: None,
            rules: program.rules.into_iter().map(Rc::new).collect(),
            sections: HashMap::new(),
            sequence: program.sequence,
            done: HashSet::new(),
            pass: 0,
            entry_minutes: EntryMinutes::default(),
            begun: HashMap::new(),
            swept: HashSet::new(),
            left_out: Vec::new(),
            abort_classes: Vec::new(),
        };
        for (number, rule) in run.rules.iter().enumerate() {
            run.sections.entry(rule.section).or_default().push(number);
        }
        run.take_settings();
        run.prepare_notes();
        run
    }

    /// Takes it apart again for the next phase.
    pub fn into_parts(self) -> Option<(Parts<'a>, Context)> {
        let parts = Parts {
            options: self.options,
            paths: self.paths,
            report: self.report,
            machine: self.machine,
            sources: self.sources?,
            memory: self.memory,
            resources: self.resources,
            now: self.now,
        };
        Some((parts, self.ctx))
    }

    /// Whether the action sequence names modules.
    pub fn has_modules(&self) -> bool {
        self.sequence.iter().any(|entry| entry.text.starts_with(b"module:"))
    }

    /// The rules of one section, in text order.
    pub fn rules(&self, section: Section) -> Vec<Rc<Rule>> {
        let numbers = self.sections.get(&section).into_iter().flatten();
        numbers.map(|number| Rc::clone(&self.rules[*number])).collect()
    }

    /// All rules, in text order.
    pub(super) fn all_rules(&self) -> Vec<Rc<Rule>> {
        self.rules.clone()
    }

    /// Runs the action sequence in at most `passes` passes, then the alerts.
    pub fn go(&mut self, passes: u32) {
        for class in self.ctx.classes() {
            self.check_abort(&class);
        }
        no_effect::tell(self);
        self.note_foreign_acls();
        for pass in 1..=passes {
            self.pass = pass;
            for entry in self.sequence.clone() {
                if self.stop.is_some() {
                    self.memory.keep_sums();
                    return self.memory.save(&mut self.report);
                }
                super::owner::forget();
                let before = self.report.tally;
                self.entry(&entry);
                // To look again costs little, to do again may cost a lot.
                match self.report.tally.repaired == before.repaired && self.report.tally.failed == before.failed {
                    true => self.memory.save_at_times(&mut self.report),
                    false => self.memory.save(&mut self.report),
                }
            }
            if self.stop.is_some() || !self.more_to_do() {
                break;
            }
        }
        self.visit(ALERTS);
        self.pass_over_left_out();
        self.memory.keep_sums();
        self.memory.save(&mut self.report);
    }

    /// Promises whose turn did not come because an option leaves their entries out; those of other entries had theirs.
    fn pass_over_left_out(&mut self) {
        for entry in std::mem::take(&mut self.left_out) {
            let word = entry.split(|byte| *byte == b'.').next().unwrap_or_default();
            let Some(action) = find(word) else { continue };
            for job in self.jobs(action) {
                self.pass_over(action, &job, format_args!("{entry} is left out by an option"));
            }
        }
    }

    fn entry(&mut self, entry: &SequenceEntry) {
        if !self.ctx.holds(&entry.class) {
            return;
        }
        let text = self.ctx.expand(entry.text.as_bstr());
        let wanted = |list: &[BString]| list.contains(&text);
        if (!self.options.just.is_empty() && !wanted(&self.options.just)) || wanted(&self.options.avoid) {
            self.left_out.push(text.clone());
            return self.report.verbose(format_args!("Leaving out {text}"));
        }
        if text.starts_with(b"module:") {
            if self.pass == 1 && !self.options.no_modules {
                super::module::run(self, text.as_bstr());
            }
            return;
        }
        let mut words = text.split(|byte| *byte == b'.');
        let word = words.next().unwrap_or_default();
        let Some(action) = find(word) else {
            let word = word.as_bstr();
            let (prefix, file) = (self.report.prefix().to_string(), &entry.pos.file);
            self.report
                .complain(&format!("{prefix}:{file}:Undefined action {word} in sequence"));
            self.report.complain(&format!("  --> {}", entry.pos));
            let error = PolicyError {
                pos: entry.pos.clone(),
                message: format!("Undefined action {word} in sequence"),
                hint: None,
                excerpt: None,
            };
            self.report.fault(&error, Event::Error);
            self.stop = Some(Stop::Fatal);
            return;
        };
        let mut set = Vec::new();
        for suffix in words {
            if let Some(minutes) = minutes_of(suffix, b"IfElapsed") {
                self.entry_minutes.if_elapsed = Some(minutes);
            } else if let Some(minutes) = minutes_of(suffix, b"ExpireAfter") {
                self.entry_minutes.expire_after = Some(minutes);
            } else if !self.ctx.has(suffix) {
                self.ctx.define(suffix);
                set.push(BString::from(suffix));
            }
        }
        self.report.verbose(format_args!(
            "*** {} Tree Sched: {} pass {} @ {}",
            if self.phase == Phase::Update { "Update" } else { "Main" },
            text,
            self.pass,
            self.now.strftime("%a %b %e %H:%M:%S %Y"),
        ));
        if self.options.off.contains(&action.name) {
            self.left_out.push(text.clone());
            self.report
                .verbose(format_args!("{} is switched off by an option", action.name));
        } else if self.pass == 1 || !action.once {
            self.visit(action);
        }
        for class in set {
            self.ctx.undefine(class);
        }
        self.entry_minutes = EntryMinutes::default();
    }

    /// Whether an object is named by an absolute path, or in home directories; says so where it is not. A relative path
    /// would mean whatever directory the agent happens to be started in.
    pub fn is_absolute(&mut self, job: &Job) -> bool {
        let object = &job.object;
        let fits = object.starts_with(b"/") || *object == "home" || object.starts_with(b"home/");
        if !fits {
            let pos = &job.rule.pos;
            self.report.error(format_args!(
                "{}:{}: {object} is no absolute path: left alone",
                pos.file, pos.line
            ));
            self.record(job, Outcome::Failed);
        }
        fits
    }

    /// Gives every rule of an action its turn.
    fn visit(&mut self, action: &'static Action) {
        self.report.begin_action(action.name);
        self.visit_rules(action);
        self.report.end_action();
    }

    fn visit_rules(&mut self, action: &'static Action) {
        match action.work {
            Work::All(work) => work(self, action),
            Work::Each(work) => {
                for rule in self.ordered(action) {
                    for job in self.expansions(action, rule) {
                        if self.begin(action, &job) {
                            self.report.rule = self.rule_switches(&job);
                            work(self, &job);
                            self.report.rule = RuleSwitches::default();
                            self.end(&job);
                        }
                        if self.stop.is_some() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// The numbers of an action's rules, in its own order.
    pub(super) fn ordered(&self, action: &Action) -> Vec<usize> {
        let mut rules: Vec<usize> = (0..self.rules.len())
            .filter(|at| action.covers(self.rules[*at].section))
            .collect();
        rules.sort_by_key(|at| (action.order)(&self.rules[*at]));
        rules
    }

    /// The promises of one rule as its variables are now; none when it does not hold.
    pub(super) fn expansions(&self, action: &Action, number: usize) -> Vec<Job> {
        let rule = &self.rules[number];
        // A rule that does not hold is not expanded; its turn may come in a later pass.
        if !self.ctx.holds(&rule.class) {
            return Vec::new();
        }
        (action.expand)(self, rule)
            .into_iter()
            .enumerate()
            .map(|(at, (object, other))| Job {
                rule: Rc::clone(rule),
                id: (number, at),
                object,
                other,
            })
            .collect()
    }

    /// The promises of an action whose class holds now and that were not done yet, in the action's order.
    pub fn jobs(&self, action: &Action) -> Vec<Job> {
        let rules = self.ordered(action).into_iter();
        rules
            .flat_map(|rule| self.expansions(action, rule))
            .filter(|job| !self.done.contains(&job.id))
            .collect()
    }

    /// `inform=` and `syslog=` of a promise; `action=silent` means that nothing done is told either.
    pub fn rule_switches(&self, job: &Job) -> RuleSwitches {
        let switch = |name: &str| self.value(job, name).and_then(|value| super::job::boolean(&value));
        let word = || self.value(job, "action").unwrap_or_default();
        RuleSwitches {
            inform: switch("inform").or_else(|| word().eq_ignore_ascii_case(b"silent").then_some(false)),
            syslog: switch("syslog").map(|on| on && self.may_log()),
        }
    }

    /// Whether a promise's class holds now.
    pub fn holds(&self, job: &Job) -> bool {
        self.ctx.holds(&job.rule.class)
    }

    /// Whether a class predicate holds now.
    pub fn holds_class(&self, class: &ClassExpr) -> bool {
        self.ctx.holds(class)
    }

    pub(super) fn check_abort(&mut self, class: impl AsRef<[u8]>) {
        if self.stop.is_none()
            && self
                .abort_classes
                .iter()
                .any(|abort| abort.as_slice() == class.as_ref())
            && self.ctx.has(&class)
        {
            let class = class.as_ref().as_bstr();
            self.report
                .error(format_args!("Cfagent aborted on defined class [{class}]"));
            self.stop = Some(Stop::Abort(class.to_owned()));
        }
    }

    /// Removes what killed runs left in a directory, once in a run, before it is written.
    pub fn sweep(&mut self, dir: &Dir) {
        if self.dry {
            return;
        }
        if let Ok(meta) = dir.self_meta()
            && self.swept.insert(meta.inode())
        {
            match crate::fsx::sweep(dir) {
                Ok(0) | Err(_) => {}
                Ok(count) => self.report.verbose(format_args!(
                    "Removed {count} unfinished files of a run that was killed"
                )),
            }
        }
    }
}

fn minutes_of(suffix: &[u8], word: &[u8]) -> Option<i64> {
    std::str::from_utf8(suffix.strip_prefix(word)?).ok()?.parse().ok()
}
