//! `alerts:`: messages and functions after the action sequence (cfengine2.md 14.12).

use bstr::{BString, ByteSlice};

use super::action::{self, Action, Work};
use super::job::BytesPath;
use super::report::Level;
use super::{Job, Outcome, Run, methods};
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

/// PrintFile reads no more than this.
const LIMIT: usize = 1 << 20;

fn run(run: &mut Run<'_>, job: &Job) {
    let Body::Call(args) = &job.rule.body else {
        run.report.say_bytes(Level::Silent, &job.object);
        return;
    };
    let args: Vec<BString> = args.iter().map(|arg| run.ctx.expand(arg.as_bstr())).collect();
    let arg = |at: usize| args.get(at).cloned().unwrap_or_default();
    let result = match job.object.to_ascii_lowercase().as_slice() {
        b"printfile" => print_file(run, &arg(0), &arg(1)),
        b"setstate" => set_state(run, &arg(0), &arg(1), &arg(2)),
        b"returnvariables" => methods::give_variables(run, &args),
        b"returnclasses" => methods::give_classes(run, &args),
        b"unsetstate" => unset_state(run, &arg(0)),
        b"syslog" => {
            run.report.log(&arg(0).to_str_lossy(), &arg(1).to_str_lossy());
            Ok(())
        }
        _ => Err(format!("{} is not built yet", job.object)),
    };
    if let Err(why) = result {
        let pos = &job.rule.pos;
        run.report.error(format_args!("{}:{}: {why}", pos.file, pos.line));
        run.record(job, Outcome::Failed);
    }
}

/// The first lines of a file.
fn print_file(run: &mut Run<'_>, file: &BString, lines: &BString) -> Result<(), String> {
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

fn set_state(run: &mut Run<'_>, class: &BString, minutes: &BString, how: &BString) -> Result<(), String> {
    let minutes = minutes
        .to_str_lossy()
        .trim()
        .parse()
        .map_err(|_| format!("SetState: '{minutes}' is no number"))?;
    let preserve = !how.eq_ignore_ascii_case(b"Reset");
    run.define(class.as_bstr());
    let now = run.now.timestamp().as_second();
    change(run, |classes| classes.set(&key_of(class), now, minutes, preserve))
}

fn unset_state(run: &mut Run<'_>, class: &BString) -> Result<(), String> {
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
