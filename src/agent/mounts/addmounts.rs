//! `addmounts`: the table has a line, and there is a mount point, for each file system the policy wants here.

use std::io;
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::model::{self, Want};
use super::patience;
use super::tab::{self, Tab};
use super::table::Mounts;
use super::tell;
use crate::agent::action::{Action, Work, in_text_order};
use crate::agent::{BadAttr, Job, Outcome, Run};
use crate::fsx::Place;
use crate::policy::{Rule, Section};

/// The line of the table.
pub static ADDMOUNTS: Action = Action {
    name: "addmounts",
    section: Section::MiscMounts,
    operator: "mount",
    expand,
    order: in_text_order,
    once: false,
    work: Work::Each(work),
};

fn expand(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    vec![model::sides(run, rule)]
}

fn work(run: &mut Run<'_>, job: &Job) {
    let done = match model::want(run, job) {
        Ok(Some(want)) => one(run, &want),
        Ok(None) => {
            run.report
                .verbose(format_args!("{} is not for this machine", job.object));
            return run.left(job);
        }
        Err(why) => Err(why),
    };
    match done {
        Ok(outcome) => run.record(job, outcome),
        Err(why) => {
            run.bad_attr(job, &BadAttr(why));
            run.record(job, Outcome::Failed);
        }
    }
}

/// One file system: first its mount point, then its line, so that no line is without one.
fn one(run: &mut Run<'_>, want: &Want) -> Result<Outcome, String> {
    let target = &want.entry.target;
    let mounts = Mounts::read().map_err(|error| format!("cannot tell what is mounted: {error}"))?;
    let mut tab = Tab::read(run).map_err(|error| format!("cannot look at {}: {error}", tab::path(run).display()))?;
    let made =
        mount_point(run, target, &mounts).map_err(|error| format!("cannot make the mount point {target}: {error}"))?;
    let changed = line(run, want, &mut tab)?;
    tab.save(run)
        .map_err(|error| format!("cannot save {}: {error}", tab.shown()))?;
    Ok(if changed || made {
        Outcome::Repaired
    } else {
        Outcome::Kept
    })
}

/// The line of a file system: added, or given the type and the options the policy states. Gives whether it changed; the
/// error is that something else has its place.
pub fn line(run: &mut Run<'_>, want: &Want, tab: &mut Tab) -> Result<bool, String> {
    let entry = &want.entry;
    let shown = tab.shown();
    let there = tab.table.entries().find(|(_, known)| known.target == entry.target);
    let Some((at, known)) = there else {
        let what = format!("file system {} on {} to {shown}", entry.source, entry.target);
        tell(run, "add", "Adding", what);
        tab.table.add(entry);
        return Ok(true);
    };
    if known.source != entry.source {
        return Err(format!(
            "{shown} has {} on {} already: {} was not added",
            known.source, known.target, entry.source
        ));
    }
    // What an administrator wrote by hand stays where the policy is silent.
    let kind = if want.kind_stated { &entry.kind } else { &known.kind };
    let options = if want.stated { &entry.options } else { &known.options };
    if *kind == known.kind && *options == known.options {
        return Ok(false);
    }
    let what = format!(
        "{} in {shown} from {} {} to {} {options}",
        entry.target, known.kind, known.options, kind
    );
    tell(run, "change", "Changing", what);
    tab.table.change(at, kind, options);
    Ok(true)
}

/// Makes a mount point, with the directories above it. Gives whether it was missing.
pub fn mount_point(run: &mut Run<'_>, target: &BString, mounts: &Mounts) -> io::Result<bool> {
    // What is mounted there may be dead, and is there in any case.
    if mounts.at(target).is_some() {
        return Ok(false);
    }
    let path = tab::as_path(target);
    match patience::look(&path) {
        Ok(meta) if meta.is_dir() => return Ok(false),
        Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "something else is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    tell(run, "make", "Making", format_args!("the mount point {target}"));
    if !run.dry {
        make(&path)?;
    }
    Ok(true)
}

fn make(path: &Path) -> io::Result<()> {
    let clean: std::path::PathBuf = path.components().collect();
    let made = patience::within(patience::LOOK, move || {
        let (place, _) = Place::with_parents(&clean, 0o755)?;
        place.dir.mkdir(place.name().as_bstr(), 0o755)?;
        place.dir.sync()
    });
    made.unwrap_or_else(|| Err(patience::no_answer()))
}
