//! `checktimezone`: the clock of this machine runs in one of the zones of `timezone` (cfengine2.md 12).

use bstr::{BString, ByteSlice};

use super::action::{Action, Work, in_text_order, whole};
use super::{Outcome, Run};
use crate::policy::Section;

/// The line of the table.
pub static ACTION: Action = Action {
    name: "checktimezone",
    section: Section::Control,
    operator: "checktimezone",
    expand: whole,
    order: in_text_order,
    once: true,
    work: Work::All(work),
};

fn work(run: &mut Run<'_>, _: &'static Action) {
    let wanted = run.ctx.placed_list("timezone");
    let place = wanted.iter().rev().find_map(|(_, pos)| pos.as_ref());
    let place = place
        .map(|pos| format!("{}:{}: ", pos.file, pos.line))
        .unwrap_or_default();
    if wanted.is_empty() {
        run.report
            .error("checktimezone: timezone is not set in control: nothing was compared");
        run.count(Outcome::Failed);
        return;
    }
    let names = names(&run.now);
    if wanted
        .iter()
        .any(|(zone, _)| names.iter().any(|name| name.as_bytes() == zone.as_bytes()))
    {
        return run.count(Outcome::Kept);
    }
    run.count(Outcome::Failed);
    let wanted: Vec<BString> = wanted.into_iter().map(|(zone, _)| zone).collect();
    run.report.error(format_args!(
        "{place}the time zone of this machine is {}, none of {}",
        names.join(" or "),
        bstr::join(" ", wanted).as_bstr()
    ));
}

/// The names of a zone: its abbreviation now, that of the other half of the year, and its name (`Europe/Oslo`).
fn names(now: &jiff::Zoned) -> Vec<String> {
    let mut names = vec![now.strftime("%Z").to_string()];
    let half = now.checked_add(jiff::Span::new().weeks(26));
    names.extend(half.map(|then| then.strftime("%Z").to_string()));
    names.extend(now.time_zone().iana_name().map(str::to_string));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_goes_by_its_summer_and_its_winter_name() {
        let now: jiff::Zoned = "2026-11-22T03:00:00+01:00[Europe/Oslo]".parse().unwrap();
        assert_eq!(names(&now), ["CET", "CEST", "Europe/Oslo"]);
    }
}
