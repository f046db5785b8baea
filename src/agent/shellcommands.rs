//! `shellcommands`: commands that a policy runs (cfengine2.md 14.8).

use std::ops::ControlFlow;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};

use super::Outcome;
use super::action::{Action, Work, in_text_order, iterate};
use super::job::BytesPath;
use super::report::Level;
use super::{Job, Run, owner};
use crate::policy::Section;
use crate::sys::process::{Argv, Command, VALUE_LIMIT, run_until};

/// The line of the table.
pub static ACTION: Action = Action {
    name: "shellcommands",
    section: Section::ShellCommands,
    operator: "shellcommand",
    expand: iterate,
    order: in_text_order,
    once: false,
    work: Work::Each(work),
};

/// The label of a command's output: 15 characters of the command, from 10 before the end of its first word.
pub fn label(command: &[u8]) -> &BStr {
    let word = command.find_byteset(b" \t").unwrap_or(command.len());
    let start = word.saturating_sub(10);
    command[start..command.len().min(start + 15)].as_bstr()
}

/// A line that a command prints to have its output ignored from there on.
const DIE: &[u8] = b"cfengine-die";

fn work(run: &mut Run<'_>, job: &Job) {
    let command = match prepare(run, job) {
        Ok(command) => command,
        Err(why) => {
            run.report.error(format_args!("{}: {why}", job.rule.pos));
            run.broken = true;
            return run.record(job, Outcome::Failed);
        }
    };
    let preview = run.flag(job, "preview", false);
    if run.dry {
        run.report
            .say(Level::Silent, format_args!("execute script {}", job.object));
        run.mark(job, Outcome::Repaired);
        if !preview {
            return;
        }
    }
    let id = |id: Option<u32>| id.map_or_else(|| "-1".to_string(), |id| id.to_string());
    run.report.inform(format_args!(
        "\nExecuting script {}...(timeout={},uid={},gid={})",
        job.object,
        command.timeout.map_or(0, |limit| limit.as_secs()),
        id(command.uid),
        id(command.gid),
    ));
    let mark = label(&job.object);
    let report = &mut run.report;
    let result = run_until(&command, &mut |line| {
        if line.contains_str(DIE) {
            return ControlFlow::Break(());
        }
        if preview {
            show_preview(report, mark, line);
        } else if !line.trim().is_empty() {
            report.labelled(mark, line);
        }
        ControlFlow::Continue(())
    });
    // What a preview did is nothing that other rules may build on.
    if run.dry {
        return;
    }
    match result {
        Ok(outcome) => {
            if outcome.timed_out {
                let limit = command.timeout.map_or(0, |limit| limit.as_secs());
                run.report.error(format_args!(
                    "Shellcommand {} was ended: it took more than {limit} s",
                    job.object
                ));
            } else if outcome.status != 0 {
                run.report.verbose(format_args!(
                    "Shellcommand {} ended with status {}",
                    job.object, outcome.status
                ));
            }
            run.report.inform(format_args!("Finished script {}", job.object));
            conclude(run, job, outcome.success());
        }
        Err(error) => {
            run.report.error(format_args!("Couldn't run {}: {error}", job.object));
            conclude(run, job, false);
        }
    }
}

/// `define=` for status 0, `elsedefine=` for any other; a command that fails is a promise not kept.
fn conclude(run: &mut Run<'_>, job: &Job, success: bool) {
    if success {
        run.record(job, Outcome::Repaired);
    } else {
        run.record(job, Outcome::Failed);
        for class in run.class_list(job, "elsedefine") {
            run.define(class.as_bstr());
        }
    }
}

/// `preview=true`: lines may name their level.
fn show_preview(report: &mut super::report::Report<'_>, mark: &BStr, line: &[u8]) {
    const LEVELS: &[(&[u8], Option<Level>)] = &[
        (b":silent:", Some(Level::Silent)),
        (b":inform:", Some(Level::Inform)),
        (b":verbose:", Some(Level::Verbose)),
        (b":editverbose:", Some(Level::Verbose)),
        (b":error:", Some(Level::Error)),
        (b":logonly:", None),
    ];
    for (prefix, level) in LEVELS {
        if let Some(text) = line.strip_prefix(*prefix) {
            if let Some(level) = level {
                report.say_bytes(*level, text);
            }
            return;
        }
    }
    if !line.trim().is_empty() {
        report.labelled(mark, line);
    }
}

/// The command with its surroundings; the error is one sentence.
fn prepare(run: &mut Run<'_>, job: &Job) -> Result<Command, String> {
    let shell = match run.value(job, "useshell") {
        None => true,
        Some(word) if word.eq_ignore_ascii_case(b"dumb") => true,
        Some(word) => super::job::boolean(&word).ok_or_else(|| format!("useshell cannot be {word}"))?,
    };
    let mut command = Command::new(Argv::from_line(job.object.as_bstr(), shell));
    command.search_path = run.flag(job, "noabspath", false);
    if !command.search_path && !job.object.starts_with(b"/") {
        return Err(format!(
            "{} is not an absolute path (noabspath=true allows it)",
            job.object
        ));
    }
    surround(run, job, &mut command)?;
    command.timeout = number(run, job, "timeout", 10)?
        .filter(|seconds| *seconds > 0)
        .map(|s| Duration::from_secs(s.into()));
    command.background = run.flag(job, "background", false);
    Ok(command)
}

/// What commands of rules have in common: user, group, mask, directory, root, environment.
pub fn surround(run: &mut Run<'_>, job: &Job, command: &mut Command) -> Result<(), String> {
    command.umask = Some(number(run, job, "umask", 8)?.unwrap_or_else(|| run.umask()));
    let path = |name: &str| run.value(job, name).map(|path| path.as_path().to_path_buf());
    command.chdir = path("chdir");
    command.chroot = path("chroot");
    if let Some(owner) = run.value(job, "owner") {
        command.uid = Some(owner::uid(owner.as_bstr())?);
    }
    if let Some(group) = run.value(job, "group") {
        command.gid = Some(owner::gid(group.as_bstr())?);
    }
    command.env = environment(run);
    Ok(())
}

/// `CFALLCLASSES`, where `-u` asks for it or the policy has modules; `LD_LIBRARY_PATH`, where `ChildLibPath` does.
pub fn environment(run: &mut Run<'_>) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let mut environment = Vec::new();
    if run.options.use_env || run.has_modules() {
        let classes = all_classes(run);
        environment.push(("CFALLCLASSES".into(), classes.as_path().as_os_str().to_owned()));
    }
    environment.extend(run.machine.library_path());
    environment
}

/// All classes, as modules and commands get them. More than fit are none, for a part of them would tell of classes that
/// do not hold.
pub fn all_classes(run: &mut Run<'_>) -> BString {
    let classes = BString::from(bstr::join(":", run.ctx.classes()));
    if classes.len() <= VALUE_LIMIT {
        return classes;
    }
    run.report.error(format_args!(
        "CFALLCLASSES is left empty: the names of all classes take {} bytes, and no more than {VALUE_LIMIT} fit",
        classes.len()
    ));
    BString::default()
}

fn number(run: &Run<'_>, job: &Job, name: &str, radix: u32) -> Result<Option<u32>, String> {
    let Some(text) = run.value(job, name) else {
        return Ok(None);
    };
    let value = text
        .to_str()
        .ok()
        .and_then(|text| u32::from_str_radix(text.trim(), radix).ok());
    value.map(Some).ok_or_else(|| format!("{name} cannot be {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_fifteen_characters_around_the_end_of_the_first_word() {
        for (command, wanted) in [
            ("/bin/echo one; /bin/echo two", "/bin/echo one; "),
            ("/bin/echo hello", "/bin/echo hello"),
            ("/usr/sbin/service cron restart", "in/service cron"),
            ("/usr/local/bin/x", "ocal/bin/x"),
            ("/b", "/b"),
            ("", ""),
        ] {
            assert_eq!(label(command.as_bytes()), wanted, "{command}");
        }
    }
}
