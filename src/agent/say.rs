//! What is said about a policy and a run as a whole.

use bstr::{BStr, BString, ByteSlice};

use super::event::{Ended, Event};
use super::report::{Level, Report};
use super::run::{Parts, Run};
use crate::policy::{self, Context, PolicyError};
use crate::state::{RunSummary, Runs};

/// Each error as the original words it, so that tools that look for that find it; then where exactly and what is meant,
/// on lines of their own.
pub(super) fn say_errors(report: &mut Report<'_>, errors: &[PolicyError]) {
    for error in errors {
        report.fault(error, Event::Error);
        let (pos, (words, detail)) = (&error.pos, error.wording());
        let line = format!("cf:{}:{}:{}: {words}", report.prefix(), pos.file, pos.line);
        report.complain(&line);
        if let Some(line) = error.aside() {
            report.complain(&line);
        }
        point_at(report, error, detail);
    }
}

pub(super) fn say_warnings(report: &mut Report<'_>, warnings: &[PolicyError]) {
    for warning in warnings {
        let (pos, (words, detail)) = (&warning.pos, warning.wording());
        if !report.levels.no_warnings {
            report.fault(warning, Event::Warning);
        }
        if words.starts_with("Could not open ") {
            // Not about the policy but about the machine: the original's two lines, whatever the levels are.
            report.error(words);
            report.error(detail.unwrap_or_default());
            point_at(report, warning, None);
        } else if !report.levels.no_warnings {
            let message = &warning.message;
            let line = format!("{}:{}:{}: Warning: {message}", report.prefix(), pos.file, pos.line);
            report.complain(&line);
            point_at(report, warning, None);
        }
    }
}

/// Where exactly, on a terminal with the line and a caret below the place, and the hint.
fn point_at(report: &mut Report<'_>, error: &PolicyError, detail: Option<&str>) {
    let detail = detail.map_or(String::new(), |text| format!(": {text}"));
    report.complain(&format!("  --> {}{detail}", error.pos));
    let rendered = policy::format_error(error, report.levels.excerpts);
    for line in rendered.lines().skip(1) {
        report.complain(line);
    }
}

pub(super) fn say_classes(report: &mut Report<'_>, context: &Context) {
    let list = |names: Vec<BString>| bstr::join(" ", names).to_str_lossy().into_owned();
    let (defined, negated) = (list(context.classes()), list(context.negated()));
    let installable = list(context.installable());
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

/// The end of a run: told, and kept for whoever asks later. A run that only looks, or changes nothing, leaves no record.
pub(super) fn conclude(parts: &mut Parts<'_>, run: RunSummary, keeps: bool) {
    parts.report.verbose(format_args!("Summary: {run}"));
    let errors = parts.report.errors;
    parts.report.event(|| Event::Summary(Ended::of(&run, errors)));
    let Some(store) = parts.memory.store().filter(|_| keeps) else {
        return;
    };
    match store.update(Runs::FILE, |runs: &mut Runs| runs.add(run)) {
        Ok(None) => {}
        Ok(Some(damage)) => parts.report.error(damage),
        Err(error) => parts.report.error(format_args!(
            "Cannot write down how this run ended, in {}: {error}",
            store.dir().display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::report::Levels;
    use crate::agent::report::testing::Lines;
    use crate::policy::Pos;

    #[test]
    fn an_error_is_one_line_in_the_originals_words_then_its_place_and_on_a_terminal_its_line() {
        let error = PolicyError {
            pos: Pos {
                file: "/i/cf.main".into(),
                line: 4,
                col: 9,
            },
            message: "Illegal switch value: preview=y (true/false or on/off)".into(),
            hint: Some("write on".into()),
            excerpt: Some("  \"/x\"  preview=y".into()),
        };
        let first = [
            "! cf:p:/i/cf.main:4: Illegal switch value",
            "! Switch preview=(true/false)|(on/off)",
            "!   --> /i/cf.main:4:9: preview=y (true/false or on/off)",
        ];
        let excerpt = ["!  4 |   \"/x\"  preview=y", "!    |         ^"];
        for excerpts in [false, true] {
            let levels = Levels {
                excerpts,
                ..Levels::default()
            };
            let mut lines = Lines::default();
            say_errors(&mut Report::new(&mut lines, "p", levels), std::slice::from_ref(&error));
            let mut wanted = first.to_vec();
            wanted.extend(excerpt.iter().filter(|_| excerpts));
            wanted.push("!   hint: write on");
            assert_eq!(lines.0, wanted);
        }
    }
}
