//! A whole run (cfengine2.md 5): preconf, update phase, main phase, and how it ends.

mod load;
mod method;

use std::time::{Duration, Instant};

use bstr::{BString, ByteSlice};

use super::methods::Called;
use super::report::{Level, Levels, Report, Sink, Tally};
use super::resources::Resources;
use super::run::{Parts, Run, Stop};
use super::say::{self, say_classes, say_outcome};
use super::{Counts, Event, Memory, RunOptions, Sources, generation, history, preconf, splay, undo};
use crate::facts::{self, Host, Machine};
use crate::policy::{self, Context, Phase, PolicyError, Pos, Program};
use crate::state::{Classes, RunSummary, Single, Store, key_of};
use crate::sys::Paths;
use crate::sys::at::process_exists;

/// Minutes after which an agent that still runs counts as stuck, unless `ExpireAfter` says otherwise.
const EXPIRE_AFTER: i64 = 120;

/// So much of the version of a policy is remembered.
const MOST_VERSION: usize = 100;

/// The policy of the update phase.
const UPDATE: &str = "update.conf";

/// What a run needs.
pub struct Setup<'a> {
    /// What the command line asks for.
    pub options: &'a RunOptions,
    /// Where things are.
    pub paths: &'a Paths,
    /// What is known of this machine.
    pub host: &'a Host,
    /// The machine, for the language.
    pub machine: &'a mut Machine,
    /// Servers.
    pub sources: &'a mut dyn Sources,
    /// Where lines go.
    pub sink: &'a mut dyn Sink,
    /// What is printed.
    pub levels: Levels,
    /// The moment the run begins.
    pub now: jiff::Zoned,
    /// The environment, for variables of the policy that nothing else sets.
    pub env: std::collections::HashMap<BString, BString>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Exit status: 0; 1 for errors in the policy and what cannot be carried out at all; 2 when cf.preconf ended the
    /// run; 3 when a new policy was broken and the last good one ran. With `--exit-status` 0 becomes 1 when a promise
    /// could not be kept.
    pub status: u8,
    /// Promises kept, repaired, failed, skipped; each counted once.
    pub counts: Counts,
}

/// The way out when a run is over before its end.
struct Over(u8);

/// Runs the agent.
pub fn run(setup: Setup<'_>) -> Ending {
    whole(setup).0
}

/// Reads what a run would read and gives the programs it would run, `update.conf` first. With
/// [`RunOptions::parse_only`] and [`RunOptions::keep_text`]; nothing is carried out.
pub fn look(setup: Setup<'_>) -> (Ending, Vec<Program>) {
    whole(setup)
}

fn whole(setup: Setup<'_>) -> (Ending, Vec<Program>) {
    let began = Instant::now();
    let report = Report::new(setup.sink, format!("cfengine:{}", setup.host.short), setup.levels);
    let mut whole = Whole {
        parts: Some(Parts {
            options: setup.options,
            paths: setup.paths,
            report,
            machine: setup.machine,
            sources: setup.sources,
            memory: Memory::none(),
            resources: Resources::default(),
            now: setup.now,
        }),
        host: setup.host,
        status: 0,
        outdated: false,
        single: None,
        slept: false,
        busy: false,
        dry: false,
        version: None,
        counts: Counts::default(),
        called: None,
        looked_at: Vec::new(),
    };
    let status = match whole.go(setup.env) {
        Ok(()) if whole.outdated => 3,
        Ok(()) => whole.status,
        Err(Over(status)) => status,
    };
    let status = match status {
        0 if setup.options.exit_status && whole.counts.failed > 0 => 1,
        status => status,
    };
    if !setup.options.keep_text {
        whole.conclude(status, began);
    }
    let counts = whole.counts;
    (Ending { status, counts }, whole.looked_at)
}

struct Whole<'a> {
    /// Lent to a phase while it runs.
    parts: Option<Parts<'a>>,
    host: &'a Host,
    status: u8,
    /// The policy that should run is broken; the last good one runs.
    outdated: bool,
    single: Option<Single>,
    slept: bool,
    /// Another agent is at work: this was no run.
    busy: bool,
    /// The policy, or an option, wants nothing changed.
    dry: bool,
    /// `cfinputs_version`
    version: Option<BString>,
    counts: Counts,
    /// The call this run carries out; lent to the phase while it runs.
    called: Option<Called>,
    /// Programs that are judged, not run.
    looked_at: Vec<Program>,
}

impl<'a> Whole<'a> {
    fn parts(&mut self) -> Result<&mut Parts<'a>, Over> {
        self.parts.as_mut().ok_or(Over(5))
    }

    /// What is told and kept of the run as a whole.
    fn conclude(&mut self, status: u8, began: Instant) {
        let Counts {
            kept,
            repaired,
            failed,
            skipped,
        } = self.counts;
        let (busy, dry, version) = (self.busy, self.dry, self.version.take());
        let Ok(parts) = self.parts() else { return };
        let undo = parts.memory.undo();
        undo.close();
        if let Some(why) = undo.trouble() {
            undo::tell(&mut parts.report, &why);
        }
        let keeps = !(busy || parts.options.method.is_some() || parts.options.dry_run || parts.options.looks_only());
        let run = RunSummary {
            began: parts.now.timestamp().as_second(),
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            pid: std::process::id(),
            version: version.map(|version| key_of(&version[..version.len().min(MOST_VERSION)])),
            status,
            dry: dry || parts.options.dry_run,
            kept,
            repaired,
            failed,
            skipped,
        };
        if keeps && !run.dry {
            history::keep(parts);
        }
        say::conclude(parts, run, keeps);
    }

    fn go(&mut self, env: std::collections::HashMap<BString, BString>) -> Result<(), Over> {
        let options = self.parts()?.options;
        if let Some(digest) = &options.method {
            return self.method(digest, env);
        }
        let mut context = self.context(env)?;
        let looks_only = options.looks_only();
        if !looks_only {
            self.open_memory()?;
        }
        let hard_class = self.host.hard_class();
        let parts = self.parts()?;
        let skip = options.no_preconf || options.parse_only;
        if !skip && !preconf::run(parts.paths, &hard_class, &mut parts.report) {
            return Err(Over(2));
        }
        if !looks_only {
            parts.resources = Resources::load(parts.paths, &hard_class, &mut parts.report);
        }
        if options.file.is_none() && !options.print_schedule && privileged(self.parts()?.paths) {
            context = self.update(context, looks_only)?;
        }
        if options.update_only {
            return Ok(());
        }
        self.main(context, looks_only)
    }

    /// Hard classes, time, and what the command line defines.
    fn context(&mut self, env: std::collections::HashMap<BString, BString>) -> Result<Context, Over> {
        let (host, hard) = (self.host, self.host.hard_class());
        let parts = self.parts()?;
        let mut context = facts::initial_context(host, &parts.now);
        if parts.options.no_hard_classes {
            for class in context.classes() {
                context.undefine(class);
            }
        }
        if parts.options.underscore_classes {
            context.underscore_classes();
        }
        context.set_env(env);
        for class in &parts.options.define {
            context.define_list(class);
        }
        for list in &parts.options.negate {
            for class in policy::class_list(list) {
                if class == hard.as_bytes() {
                    parts.report.complain("cf:::1: Illegal exception");
                    parts
                        .report
                        .complain(&format!("::Cannot negate the reserved class [{class}]"));
                    return Err(Over(1));
                }
                context.negate(class);
            }
        }
        if parts.options.dry_run {
            context.define("opt_dry_run");
        }
        Ok(context)
    }

    /// Opens what is remembered, and completes an update of the policy that was interrupted.
    fn open_memory(&mut self) -> Result<(), Over> {
        let parts = self.parts()?;
        let dir = parts.paths.state();
        let dry = parts.options.dry_run;
        if dry && !dir.is_dir() {
            return Ok(());
        }
        let store = match dry {
            true => Ok(Store::reading(&dir)),
            false => Store::open(&dir),
        };
        match store {
            Ok(store) => {
                let now = parts.now.timestamp().as_second();
                // Who holds the lock is at work, and puts in place itself what it has begun to.
                let alone = !parts.options.dry_run && !matches!(Single::take(&dir, now), Ok(Err(_)));
                if alone {
                    generation::recover(&store, &mut parts.report);
                }
                let known = parts.options.uses_locks();
                parts.memory = Memory::open(store, known, &mut parts.report);
                if !dry {
                    parts.memory.note_changes(now);
                }
            }
            Err(error) => parts
                .report
                .error(format_args!("Nothing can be remembered in {}: {error}", dir.display())),
        }
        Ok(())
    }

    /// The update phase. Gives the context of the main phase: variables stay, classes it defined do not.
    fn update(&mut self, context: Context, looks_only: bool) -> Result<Context, Over> {
        let before = context.clone();
        let loaded = self.load(UPDATE, Phase::Update, context)?;
        if loaded.program.files.is_empty() {
            return Ok(before);
        }
        let mut after = if looks_only {
            let context = loaded.program.context.clone();
            self.keep(loaded.program)?;
            context
        } else {
            let after = self.phase(loaded.program, Phase::Update)?;
            self.arrived(&loaded.read, &loaded.errors, before.clone())?;
            after
        };
        for class in after.classes() {
            if !before.has(&class) {
                after.undefine(class);
            }
        }
        after.clear_list("actionsequence");
        Ok(after)
    }

    /// A program that is asked for goes to whoever asked.
    fn keep(&mut self, program: Program) -> Result<(), Over> {
        if self.parts()?.options.keep_text && !program.files.is_empty() {
            self.looked_at.push(program);
        }
        Ok(())
    }

    fn main(&mut self, mut context: Context, looks_only: bool) -> Result<(), Over> {
        let parts = self.parts()?;
        let options = parts.options;
        if !looks_only {
            history::look_at_machine(&mut parts.memory, &mut context);
        }
        if let (false, Some(store)) = (looks_only, parts.memory.store()) {
            let now = parts.now.timestamp().as_second();
            if let Ok((classes, _)) = store.read::<Classes>(Classes::FILE) {
                for class in classes.holding(now) {
                    context.define(<Vec<u8> as bstr::ByteVec>::unescape_bytes(class));
                }
            }
        }
        super::settings::ignore_interfaces(&mut context, parts.machine);
        let entry = options.file.clone().unwrap_or_else(|| "cfagent.conf".into());
        let program = self.load(&entry.to_str_lossy(), Phase::Main, context)?.program;
        let parts = self.parts()?;
        if parts.report.shows(Level::Verbose) {
            say_classes(&mut parts.report, &program.context);
        }
        if options.print_sysadm {
            let sysadm = program
                .context
                .get("sysadm")
                .map(|text| program.context.expand(text.as_bstr()));
            parts.report.bare(Level::Error, &sysadm.unwrap_or_default());
            return Ok(());
        }
        if options.print_schedule {
            for class in program.context.list("schedule") {
                parts.report.bare(Level::Error, format!("[{class}]").as_bytes());
            }
            return Ok(());
        }
        if options.parse_only {
            if options.file.is_some() && program.files.is_empty() {
                let prefix = parts.report.prefix();
                let message = format!("there is no policy file {entry}, so nothing was checked");
                parts.report.complain(&format!("{prefix}: {message}"));
                let pos = Pos {
                    file: entry.to_str_lossy().as_ref().into(),
                    line: 1,
                    col: 1,
                };
                let error = PolicyError {
                    pos,
                    message,
                    hint: None,
                    excerpt: None,
                };
                parts.report.fault(&error, Event::Error);
                return Err(Over(1));
            }
            return self.keep(program);
        }
        check_access(&mut parts.report, &program.context)?;
        let nothing = !program.context.has("any");
        if program.sequence.is_empty() || nothing {
            let file = program
                .files
                .first()
                .map_or_else(|| entry.to_string(), |path| path.display().to_string());
            if !parts.report.levels.no_warnings {
                for text in [
                    "actionsequence is empty",
                    "perhaps cfagent.conf/update.conf have not yet been set up?",
                ] {
                    let line = format!("{}:{file}:1: Warning: {text}", parts.report.prefix());
                    parts.report.complain(&line);
                }
            }
            if options.query.is_none() {
                return Ok(());
            }
        }
        if let Some(names) = &options.query {
            for name in names {
                let value = program.context.expand(format!("$({name})").as_bytes().as_bstr());
                parts.report.bare(Level::Error, format!("{name}={value}").as_bytes());
            }
            return Ok(());
        }
        self.phase(program, Phase::Main).map(|_| ())
    }

    /// Runs a program that was read. Gives its context when it is over.
    fn phase(&mut self, program: Program, phase: Phase) -> Result<Context, Over> {
        self.splay(&program.context)?;
        self.only_one(&program.context)?;
        let Some(parts) = self.parts.take() else {
            return Err(Over(5));
        };
        let before = parts.report.levels;
        let prefix = parts.report.prefix().to_string();
        let mut run = Run::new(parts, phase, program);
        run.called = self.called.take();
        run.go(if phase == Phase::Update { 2 } else { 3 });
        if run.stop.is_none() {
            super::checksums::purge(&mut run);
        }
        self.called = run.called.take();
        run.note_phase();
        let (stop, broken) = (run.stop.clone(), run.broken);
        self.counts.add(run.counts);
        self.dry = run.dry;
        self.version = run.ctx.get("cfinputs_version").or(self.version.take());
        say_outcome(&mut run);
        let Some((mut parts, context)) = run.into_parts() else {
            return Err(Over(5));
        };
        parts.report.tally = Tally::default();
        if phase == Phase::Update {
            // What update.conf says about messages is its own affair.
            parts.report.levels = before;
            parts.report.set_prefix(&prefix);
        }
        self.parts = Some(parts);
        if broken && self.status == 0 {
            self.status = 1;
        }
        match stop {
            Some(Stop::Abort(_) | Stop::Fatal) => Err(Over(1)),
            None => Ok(context),
        }
    }

    /// Sleeps once per run, so that many machines do not ask the server at the same moment.
    fn splay(&mut self, context: &Context) -> Result<(), Over> {
        let host = self.host;
        let parts = self.parts.as_mut().ok_or(Over(5))?;
        let minutes = context
            .get("SplayTime")
            .and_then(|text| text.to_str().ok()?.trim().parse::<u64>().ok())
            .unwrap_or(0);
        if self.slept || parts.options.no_splay || parts.options.dry_run || minutes == 0 {
            return Ok(());
        }
        self.slept = true;
        let address = context.get("ipaddress").unwrap_or_default();
        let seed = format!("{}+{address}+{}", host.full, nix::unistd::getuid());
        let seconds = splay::seconds(&seed, minutes.min(24 * 60) * 60);
        parts
            .report
            .verbose(format_args!("Sleeping for SplayTime {seconds} seconds"));
        std::thread::sleep(Duration::from_secs(seconds));
        Ok(())
    }

    /// Takes the lock against a second agent. One that has run longer than ExpireAfter is ended.
    fn only_one(&mut self, context: &Context) -> Result<(), Over> {
        let parts = self.parts.as_mut().ok_or(Over(5))?;
        // A method runs while its caller holds the lock.
        if self.single.is_some() || !parts.options.uses_locks() || parts.options.method.is_some() {
            return Ok(());
        }
        let Some(store) = parts.memory.store().cloned() else {
            return Ok(());
        };
        let now = parts.now.timestamp().as_second();
        let minutes = context
            .get("ExpireAfter")
            .and_then(|text| text.to_str().ok()?.trim().parse().ok());
        let expire = minutes.unwrap_or(EXPIRE_AFTER);
        for attempt in 0..2 {
            match Single::take(store.dir(), now) {
                Ok(Ok(single)) => {
                    self.single = Some(single);
                    return Ok(());
                }
                Ok(Err(holder)) => {
                    let ran = (now - holder.since) / 60;
                    if attempt == 0 && ran >= expire && holder.pid > 1 {
                        parts.report.error(format_args!(
                            "The cfagent with process number {} has run for {ran} minutes (ExpireAfter {expire}): ending it",
                            holder.pid
                        ));
                        end_process(holder.pid);
                        continue;
                    }
                    self.busy = true;
                    parts.report.error(format_args!(
                        "Another cfagent (process number {}) has been at work here for {ran} minutes; nothing was done",
                        holder.pid
                    ));
                    return Err(Over(1));
                }
                Err(error) => {
                    parts
                        .report
                        .error(format_args!("Cannot lock {}: {error}", store.dir().display()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// SIGINT, SIGTERM, SIGKILL, with time to go between them.
fn end_process(pid: i32) {
    use nix::sys::signal::{Signal, kill};
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        if kill(nix::unistd::Pid::from_raw(pid), signal).is_err() {
            return;
        }
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            if !process_exists(pid) {
                return;
            }
        }
    }
}

/// Only root updates a machine's policy; below a root prefix whoever owns that.
fn privileged(paths: &Paths) -> bool {
    nix::unistd::geteuid().is_root() || paths.at("/") != std::path::Path::new("/")
}

/// `access = ( user … )`: who may run this policy.
fn check_access(report: &mut Report<'_>, context: &Context) -> Result<(), Over> {
    let allowed = context.list("access");
    let me = nix::unistd::getuid().as_raw();
    let fits = |user: &BString| super::owner::uid(user.as_bstr()) == Ok(me);
    if allowed.is_empty() || allowed.iter().any(fits) {
        return Ok(());
    }
    report.error(format_args!(
        "Access denied: user {} is not in the access list of this policy",
        super::owner::user_name(me)
    ));
    Err(Over(1))
}
