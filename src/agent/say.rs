//! What is said about a policy and a run as a whole.

use bstr::{BStr, BString, ByteSlice};

use super::Run;
use super::report::{Level, Report};
use crate::policy::{self, Context, PolicyError};

pub(super) fn say_errors(report: &mut Report<'_>, errors: &[PolicyError]) {
    for error in errors {
        let pos = &error.pos;
        // Details come on the next line: tools look for the original's words at the end of the first.
        let (message, detail) = error.message.split_once(": ").unwrap_or((&error.message, ""));
        let line = format!("cf:{}:{}:{}: {message}", report.prefix(), pos.file, pos.line);
        report.complain(&line);
        point_at(report, error, detail);
    }
}

/// Where exactly, with the line and a caret below the place.
fn point_at(report: &mut Report<'_>, error: &PolicyError, detail: &str) {
    let colon = if detail.is_empty() { "" } else { ": " };
    report.complain(&format!("  --> {}{colon}{detail}", error.pos));
    let rendered = policy::format_error(error, true);
    for line in rendered.lines().skip(1) {
        report.complain(line);
    }
}

pub(super) fn say_warnings(report: &mut Report<'_>, warnings: &[PolicyError]) {
    if report.levels.no_warnings {
        return;
    }
    for warning in warnings {
        let pos = &warning.pos;
        let line = format!(
            "{}:{}:{}: Warning: {}",
            report.prefix(),
            pos.file,
            pos.line,
            warning.message
        );
        report.complain(&line);
    }
}

pub(super) fn say_classes(report: &mut Report<'_>, context: &Context) {
    let list = |names: Vec<BString>| bstr::join(" ", names).to_str_lossy().into_owned();
    let (defined, negated) = (list(context.classes()), list(context.negated()));
    let installable = list(context.list("AddInstallable"));
    report.bare(Level::Verbose, format!("Defined Classes = ( {defined} )").as_bytes());
    report.bare(Level::Verbose, format!("Negated Classes = ( {negated} )").as_bytes());
    report.bare(
        Level::Verbose,
        format!("Installable classes = ( {installable} )").as_bytes(),
    );
}

pub(super) fn say_outcome(run: &mut Run<'_>) {
    let tally = run.report.tally;
    let all = (tally.kept + tally.repaired + tally.failed).max(1);
    let percent = |part: u64| part * 100 / all;
    let version: BString = run
        .ctx
        .get("cfinputs_version")
        .unwrap_or_else(|| BString::from("(not specified)"));
    let version: &BStr = version.as_bstr();
    let text = format!(
        "Outcome of version {version}: Promises observed to be kept {}%, Promises repaired {}%, Promises not repaired {}%",
        percent(tally.kept),
        percent(tally.repaired),
        percent(tally.failed)
    );
    run.report.verbose(text);
}
