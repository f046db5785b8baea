//! `processes`: signals, counts and restarts by lines of ps (cfengine2.md 14.7).

mod table;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use bstr::{BStr, BString, ByteSlice};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::Outcome;
use crate::agent::action::{Action, Work, in_text_order, whole};
use crate::agent::filters;
use crate::agent::report::Level;
use crate::agent::report::RuleSwitches;
use crate::agent::shellcommands::{label, surround};
use crate::agent::{Job, Run};
use crate::policy::{Body, Ere, Section};
use crate::sys::process::{Argv, Command, run, run_until};
use table::Table;

/// The line of the table.
pub static ACTION: Action = Action {
    name: "processes",
    section: Section::Processes,
    operator: "processes",
    expand: whole,
    order: in_text_order,
    once: false,
    work: Work::All(work),
};

/// Options of ps unless the policy sets others.
const OPTIONS: &str = "auxww";

/// Processes below this number belong to the kernel and init.
const FIRST_PID: i32 = 4;

/// How many processes there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Any,
    Exactly(usize),
    AtMost(usize),
    AtLeast(usize),
}

impl Count {
    fn read(text: &BStr) -> Option<Count> {
        let number = |text: &[u8]| text.to_str().ok()?.trim().parse().ok();
        match text.first()? {
            b'<' => number(&text[1..]).map(Count::AtMost),
            b'>' => number(&text[1..]).map(Count::AtLeast),
            b'=' => number(&text[1..]).map(Count::Exactly),
            _ => number(text).map(Count::Exactly),
        }
    }

    /// What is wrong with that many, in the words of the original.
    fn wrong(self, count: usize) -> Option<String> {
        match self {
            Count::Exactly(wanted) if count != wanted => Some(format!("={wanted}")),
            Count::AtMost(most) if count > most => Some(format!("<={most}")),
            Count::AtLeast(least) if count < least => Some(format!(">={least}")),
            _ => None,
        }
    }
}

/// `hup`, `sighup`, `1`; `None` for a name nobody knows, which is ignored (22.2).
fn signal(text: &BStr) -> Option<Signal> {
    let text = text.to_str().ok()?.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number).ok();
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    format!("SIG{name}").parse().ok()
}

fn work(run: &mut Run<'_>, action: &'static Action) {
    let mut tables: HashMap<BString, Rc<Table>> = HashMap::new();
    let mut options = BString::from(OPTIONS);
    // All rules, also those that are not to be run now: an option string holds from where it stands.
    let mut jobs: HashMap<usize, Vec<Job>> = HashMap::new();
    let mut order: Vec<(usize, Job)> = Vec::new();
    for job in run.jobs(action) {
        jobs.entry(job.id.0).or_default().push(job.clone());
        order.push((job.id.0, job));
    }
    for (_, job) in order {
        if job.rule.body == Body::SetOptionString {
            options.clone_from(&job.object);
            continue;
        }
        if !run.begin(action, &job) {
            continue;
        }
        run.report.rule = run.rule_switches(&job);
        let table = match tables.get(&options) {
            Some(table) => Ok(Rc::clone(table)),
            None => ps(&options).map(|table| {
                let table = Rc::new(table);
                tables.insert(options.clone(), Rc::clone(&table));
                table
            }),
        };
        match table {
            Ok(table) => look_after(run, &job, &table),
            Err(why) => {
                run.report.error(why);
                run.record(&job, Outcome::Failed);
            }
        }
        run.report.rule = RuleSwitches::default();
        run.end(&job);
        if run.stop.is_some() {
            return;
        }
    }
}

/// The processes of this machine.
fn ps(options: &BString) -> Result<Table, String> {
    let mut words: Vec<BString> = vec!["/bin/ps".into()];
    words.extend(options.fields().map(BString::from));
    let mut output = Vec::new();
    let outcome = run(&Command::new(Argv::Direct(words)), &mut |line| {
        output.push(BString::from(line))
    });
    match outcome {
        Ok(outcome) if outcome.success() && !output.is_empty() => {
            let ours = i32::try_from(std::process::id()).unwrap_or_default();
            Ok(Table::read(&output, ours))
        }
        Ok(outcome) => Err(format!("/bin/ps {options} ended with status {}", outcome.status)),
        Err(error) => Err(format!("Cannot run /bin/ps {options}: {error}")),
    }
}

fn look_after(run: &mut Run<'_>, job: &Job, table: &Table) {
    if let Err(why) = try_to(run, job, table) {
        run.report.error(format_args!("{}: {why}", job.rule.pos));
        run.broken = true;
        run.record(job, Outcome::Failed);
    }
}

fn try_to(run: &mut Run<'_>, job: &Job, table: &Table) -> Result<(), String> {
    let ere = Ere::new(&job.object).map_err(|e| e.to_string())?;
    let wanted = match run.value(job, "matches") {
        None => Count::Any,
        Some(text) => Count::read(text.as_bstr()).ok_or_else(|| format!("matches cannot be {text}"))?,
    };
    let action = run
        .value(job, "action")
        .map_or_else(|| b"signal".to_vec(), |word| word.to_ascii_lowercase());
    let (warn, by_match) = match action.as_slice() {
        b"signal" | b"do" => (false, false),
        b"warn" => (true, false),
        b"bymatch" => (false, true),
        other => return Err(format!("action cannot be {}", other.as_bstr())),
    };
    let signal = run.value(job, "signal").and_then(|text| signal(text.as_bstr()));
    let found = matching(run, job, &ere, table)?;
    let count = found.len();
    let wrong = wanted.wrong(count);
    if let Some(should) = &wrong {
        run.report.say(
            Level::Silent,
            format_args!("{count} processes matched {} (should be {should})", job.object),
        );
    }
    let act = !warn && (!by_match || wrong.is_some());
    let (mut failed, mut did) = (false, false);
    if warn {
        if wrong.is_some() {
            run.left(job);
        }
        for (_, line) in &found {
            run.report.say(Level::Silent, format_args!("Process alert: {line}"));
        }
    } else if act && let Some(signal) = signal {
        for (pid, line) in &found {
            failed |= !send(run, job, signal, *pid, line);
            did = true;
        }
    }
    let ends = matches!(signal, Some(Signal::SIGKILL | Signal::SIGTERM));
    if let Body::Restart(command) = &job.rule.body
        && act
        && if by_match { true } else { count == 0 || ends }
    {
        let command = run.ctx.expand(command.as_bstr());
        failed |= !restart(run, job, &command)?;
        did = true;
    }
    // define= tells of matches, not of repairs (14.7).
    let classes = run.class_list(job, if count > 0 { "define" } else { "elsedefine" });
    if failed {
        run.record(job, Outcome::Failed);
    } else {
        run.mark(job, if did { Outcome::Repaired } else { Outcome::Kept });
        run.report.tally.repaired += u64::from(count > 0 && act && signal.is_some());
    }
    for class in classes {
        run.define(class.as_bstr());
    }
    Ok(())
}

/// The processes that match: the expression anywhere in the line, `include=` and `exclude=` as parts of the line (22.2).
fn matching(run: &mut Run<'_>, job: &Job, ere: &Ere, table: &Table) -> Result<Vec<(i32, BString)>, String> {
    let (include, exclude) = (run.values(job, "include"), run.values(job, "exclude"));
    let filters = filters::named(run, job)?;
    let mut found = Vec::new();
    for (pid, line) in &table.lines {
        let wanted = ere.found_in(line)
            && (include.is_empty() || include.iter().any(|part| line.contains_str(part)))
            && !exclude.iter().any(|part| line.contains_str(part));
        if wanted && (filters.is_empty() || filters.pass_process(run, &|criterion| table.column(line, criterion))) {
            found.push((*pid, line.clone()));
        }
    }
    Ok(found)
}

/// Sends a signal; false when that failed.
fn send(run: &mut Run<'_>, job: &Job, signal: Signal, pid: i32, line: &BString) -> bool {
    if pid < FIRST_PID && !(pid == 1 && signal == Signal::SIGHUP) {
        run.report.verbose(format_args!("Process {pid} is never signalled"));
        return true;
    }
    if run.dry {
        run.report.say(
            Level::Silent,
            format_args!("Need to signal process {pid} ({}) with {signal}", job.object),
        );
        return true;
    }
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) => {
            run.report
                .inform(format_args!("Signalled process {pid} ({}) with {signal}", job.object));
            if matches!(signal, Signal::SIGKILL | Signal::SIGTERM) {
                run.report.inform(format_args!("Killed: {line}"));
            }
            true
        }
        // Gone by itself.
        Err(nix::errno::Errno::ESRCH) => true,
        Err(error) => {
            run.report.error(format_args!("Cannot signal process {pid}: {error}"));
            false
        }
    }
}

/// Runs the restart command; false when it failed.
fn restart(run: &mut Run<'_>, job: &Job, command: &BString) -> Result<bool, String> {
    let shell = match run.value(job, "useshell") {
        None => true,
        Some(word) if word.eq_ignore_ascii_case(b"dumb") => true,
        Some(word) => crate::agent::job::boolean(&word).ok_or_else(|| format!("useshell cannot be {word}"))?,
    };
    if run.dry {
        run.report.say(Level::Silent, format_args!("execute script {command}"));
        return Ok(true);
    }
    let mut line = Command::new(Argv::from_line(command.as_bstr(), shell));
    surround(run, job, &mut line)?;
    run.report.inform(format_args!("Executing shell command: {command}"));
    let mark = label(command);
    let report = &mut run.report;
    let result = run_until(&line, &mut |text| {
        if text.contains_str("cfengine-die") {
            return ControlFlow::Break(());
        }
        if report.shows(Level::Inform) && !text.trim().is_empty() {
            report.labelled(mark, text);
        }
        ControlFlow::Continue(())
    });
    match result {
        Ok(outcome) => {
            run.report.inform(format_args!("(Done with {command})"));
            if !outcome.success() {
                run.report
                    .error(format_args!("{command} ended with status {}", outcome.status));
            }
            Ok(outcome.success())
        }
        Err(error) => {
            run.report.error(format_args!("Couldn't run {command}: {error}"));
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_at_most_or_at_least() {
        let wrong = |text: &str, count| Count::read(text.into()).unwrap().wrong(count);
        assert_eq!(wrong("2", 2), None);
        assert_eq!(wrong("2", 1).as_deref(), Some("=2"));
        assert_eq!(wrong("<1", 2).as_deref(), Some("<=1"));
        assert_eq!(wrong(">3", 2).as_deref(), Some(">=3"));
        assert_eq!(wrong(">1", 2), None);
        assert_eq!(Count::read("x".into()), None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["hup", "SIGHUP", "HUP", "1"] {
            assert_eq!(signal(text.into()), Some(Signal::SIGHUP), "{text}");
        }
        assert_eq!(signal("zap".into()), None);
    }

    #[test]
    fn this_machine_has_processes() {
        if !std::path::Path::new("/bin/ps").exists() {
            assert!(std::env::var_os("CI").is_none(), "needs ps");
            eprintln!("skipped: no /bin/ps");
            return;
        }
        assert!(!ps(&OPTIONS.into()).unwrap().lines.is_empty());
    }
}
