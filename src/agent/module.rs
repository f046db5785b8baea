//! `module:NAME` in the action sequence (cfengine2.md 14.16).

use bstr::{BStr, ByteSlice};

use super::Run;
use super::report::Level;
use super::shellcommands::all_classes;
use crate::policy::World;

/// Runs a module and takes over the classes and variables it gives.
pub fn run(run: &mut Run<'_>, entry: &BStr) {
    let text = entry.strip_prefix(b"module:").unwrap_or(entry).as_bstr();
    let (name, args) = text.split_once_str(" ").unwrap_or((text, b""));
    let (name, args) = (name.as_bstr(), args.trim().as_bstr());
    if run.dry {
        return run.report.verbose(format_args!("Dry run: module {name} is not run"));
    }
    let classes = all_classes(run);
    match run.machine.run_module(name, args, classes.as_bstr()) {
        None => run.report.verbose(format_args!("There is no module {name}")),
        Some(Err(error)) => run.report.error(format_args!("Module {name} cannot be run: {error}")),
        Some(Ok(output)) => {
            odd_classes(run, output.text.as_bstr());
            for line in run.ctx.apply_module_output(output.text.as_bstr()) {
                let mut text = format!("module:{name}: ").into_bytes();
                text.extend_from_slice(&line);
                run.report.say_bytes(Level::Silent, &text);
            }
            if output.status != 0 {
                run.report
                    .verbose(format_args!("Module {name} ended with status {}", output.status));
            }
            for class in run.ctx.classes() {
                run.check_abort(&class);
            }
        }
    }
    for note in run.machine.take_notes() {
        run.report.verbose(note);
    }
}

/// Class names have letters, digits and underscores only; separators of a list are told of, too, as they always were.
fn odd_classes(run: &mut Run<'_>, text: &BStr) {
    for line in text.lines() {
        let Some(names) = line.strip_prefix(b"+") else { continue };
        if let Some(odd) = names
            .trim()
            .iter()
            .find(|byte| !byte.is_ascii_alphanumeric() && **byte != b'_')
        {
            let odd = char::from(*odd);
            run.report.error(format_args!(
                "Module class contained an illegal character ({odd}). Only alphanumeric or underscores in classes."
            ));
        }
    }
}
