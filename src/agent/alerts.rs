//! `alerts:`: messages and functions after the action sequence (cfengine2.md 14.12).

use bstr::{BString, ByteSlice};

use super::action::{self, Action, Work};
use super::job::BytesPath;
use super::report::Level;
use super::{Job, Outcome, Run, friends, methods};
use crate::policy::{Body, Section, World};
use crate::state::{Classes, key_of};

/// The alerts; no word of the action sequence.
pub static ACTION: Action = Action {
    name: "alerts",
    section: Section::Alerts,
    operator: "alert",
    expand: action::whole,
    order: action::in_text_order,
    once: false,
    work: Work::Each(run),
};

/// A persistent class lasts no longer: ten years.
const MOST_MINUTES: i64 = 10 * 366 * 24 * 60;

/// A function gets its arguments expanded; its error is one clause.
type Function = fn(&mut Run<'_>, &[BString]) -> Result<(), String>;

/// The functions, by name in any case. A new one is one line here.
static FUNCTIONS: &[(&str, Function)] = &[
    ("FriendStatus", friends::status),
    ("PrintFile", print_file),
    ("ReturnClasses", methods::give_classes),
    ("ReturnVariables", methods::give_variables),
    ("SetState", set_state),
    ("ShowState", friends::show),
    ("SysLog", syslog),
    ("UnsetState", unset_state),
];

/// PrintFile reads no more than this.
const LIMIT: usize = 1 << 20;

fn run(run: &mut Run<'_>, job: &Job) {
    let Body::Call(args) = &job.rule.body else {
        run.report.say_bytes(Level::Silent, &job.object);
        return;
    };
    let args: Vec<BString> = args.iter().map(|arg| run.ctx.expand(arg.as_bstr())).collect();
    let function = FUNCTIONS
        .iter()
        .find(|(name, _)| job.object.eq_ignore_ascii_case(name.as_bytes()));
    let result = match function {
        Some((_, function)) => function(run, &args),
        None => Err(format!("{} is no function of alerts", job.object)),
    };
    if let Err(why) = result {
        let pos = &job.rule.pos;
        run.report.error(format_args!("{}:{}: {why}", pos.file, pos.line));
        run.record(job, Outcome::Failed);
    }
}

/// The first lines of a file.
fn print_file(run: &mut Run<'_>, args: &[BString]) -> Result<(), String> {
    let [file, lines] = args else {
        return Err("PrintFile takes a file and a number of lines".to_string());
    };
    let lines: usize = lines
        .to_str_lossy()
        .trim()
        .parse()
        .map_err(|_| format!("PrintFile: '{lines}' is no number"))?;
    let content = run
        .machine
        .read_file(file.as_bstr(), LIMIT)
        .map_err(|error| format!("PrintFile: cannot read {}: {error}", file.as_path().display()))?;
    for line in content.lines().take(lines) {
        run.report.bare(Level::Silent, line);
    }
    Ok(())
}

fn syslog(run: &mut Run<'_>, args: &[BString]) -> Result<(), String> {
    let [priority, message] = args else {
        return Err("SysLog takes a priority and a message".to_string());
    };
    if !run.dry {
        run.report.log(&priority.to_str_lossy(), &message.to_str_lossy());
    }
    Ok(())
}

fn set_state(run: &mut Run<'_>, args: &[BString]) -> Result<(), String> {
    let (class, minutes, how) = match args {
        [class, minutes] => (class, minutes, b"Preserve".as_slice()),
        [class, minutes, how] => (class, minutes, how.as_slice()),
        _ => return Err("SetState takes a class, minutes, and Preserve or Reset".to_string()),
    };
    let minutes: i64 = minutes
        .to_str_lossy()
        .trim()
        .parse()
        .map_err(|_| format!("SetState: '{minutes}' is no number"))?;
    let preserve = match how.trim().to_ascii_lowercase().as_slice() {
        b"preserve" => true,
        b"reset" => false,
        _ => return Err(format!("SetState: '{}' is neither Preserve nor Reset", how.as_bstr())),
    };
    if !(0..=MOST_MINUTES).contains(&minutes) {
        return Err(format!(
            "SetState: {minutes} minutes is not between 0 and {MOST_MINUTES}"
        ));
    }
    run.define(class.as_bstr());
    let now = run.now.timestamp().as_second();
    change(run, |classes| classes.set(&key_of(class), now, minutes, preserve))
}

fn unset_state(run: &mut Run<'_>, args: &[BString]) -> Result<(), String> {
    let [class] = args else {
        return Err("UnsetState takes a class".to_string());
    };
    run.ctx.undefine(class);
    change(run, |classes| {
        classes.until.remove(&key_of(class));
    })
}

fn change(run: &mut Run<'_>, change: impl FnOnce(&mut Classes)) -> Result<(), String> {
    if run.dry {
        return Ok(());
    }
    let Some(store) = run.memory.store().cloned() else {
        return Ok(());
    };
    match store.update(Classes::FILE, change) {
        Ok(None) => Ok(()),
        Ok(Some(damage)) => {
            run.report.error(damage);
            Ok(())
        }
        Err(error) => Err(format!("Cannot remember persistent classes: {error}")),
    }
}
