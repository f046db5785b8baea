//! `unmount:` `host:/path`: not mounted, not in the table, and its mount point gone.

use std::path::Path;

use bstr::{BString, ByteSlice};

use super::model;
use super::patience;
use super::tab::{self, Tab};
use super::table::{Mount, Mounts};
use super::{command, tell};
use crate::agent::action::{Action, Work, in_text_order, whole};
use crate::agent::report::Level;
use crate::agent::{BadAttr, Job, Outcome, Run};
use crate::fsx::Place;
use crate::policy::Section;

/// The line of the table.
pub static UNMOUNT: Action = Action {
    name: "unmount",
    section: Section::Unmount,
    operator: "unmount",
    expand: whole,
    order: in_text_order,
    once: false,
    work: Work::Each(work),
};

fn work(run: &mut Run<'_>, job: &Job) {
    if model::split(&job.object).is_none() {
        run.bad_attr(job, &BadAttr(format!("{} is not written host:/path", job.object)));
        return run.record(job, Outcome::Failed);
    }
    match undo(run, job) {
        Ok(true) => run.record(job, Outcome::Repaired),
        Ok(false) => run.record(job, Outcome::Kept),
        Err(why) => {
            let pos = &job.rule.pos;
            run.report.error(format_args!("{}:{}: {why}", pos.file, pos.line));
            run.record(job, Outcome::Failed);
        }
    }
}

/// Gives whether anything was there to undo. What cannot be unmounted keeps its line and its directory.
fn undo(run: &mut Run<'_>, job: &Job) -> Result<bool, String> {
    let mounts = Mounts::read().map_err(|error| format!("cannot tell what is mounted: {error}"))?;
    let mut tab = Tab::read(run).map_err(|error| format!("cannot look at {}: {error}", tab::path(run).display()))?;
    let mut targets: Vec<BString> = Vec::new();
    let mut changed = false;
    // What a user mounted may have any name, and lies where that user can move it away under our hands.
    let ours = |mount: &&Mount| mount.source == job.object && !mount.of_user;
    let mounted = mounts.0.iter().rev().filter(ours);
    for mount in mounted {
        changed = true;
        unmount(run, &job.object, &mount.target, run.flag(job, "force", false))?;
        targets.push(mount.target.clone());
    }
    let lines = tab.table.remove(&job.object);
    let listed = |target: &BString| lines.iter().any(|entry| entry.target == *target);
    if !run.flag(job, "deletefstab", true) {
        // A line without a mount point would be broken.
        targets.retain(|target| !listed(target));
    } else if !lines.is_empty() {
        targets.extend(lines.iter().map(|entry| entry.target.clone()));
        changed = true;
        let what = format!("file system {} from {}", job.object, tab.shown());
        tell(run, "remove", "Removing", what);
        tab.save(run)
            .map_err(|error| format!("cannot save {}: {error}", tab.shown()))?;
    }
    if run.flag(job, "deletedir", true) {
        // Only what was a mount point is taken away: a directory that merely has the name is somebody's.
        targets.sort();
        targets.dedup();
        for target in targets {
            changed |= remove(run, &target)?;
        }
    }
    Ok(changed)
}

fn unmount(run: &mut Run<'_>, source: &BString, target: &BString, force: bool) -> Result<(), String> {
    if run.dry {
        run.report
            .say(Level::Silent, format_args!("Need to unmount {source} from {target}"));
        return Ok(());
    }
    let limit = command::limit(run);
    let first = command::unmounting(run, target, if force { "-f" } else { "" });
    let mut result = command::carry_out(first, limit);
    if force && result.is_err() {
        run.report.inform(format_args!(
            "{target} cannot be unmounted at once: it goes when the last user leaves it"
        ));
        result = command::carry_out(command::unmounting(run, target, "-l"), limit);
    }
    result.map_err(|(why, _)| format!("cannot unmount {source} from {target}: {why}"))?;
    let still = Mounts::read().unwrap_or_default();
    if still
        .0
        .iter()
        .any(|mount| mount.source == *source && mount.target == *target && !mount.of_user)
    {
        return Err(format!("{source} is still mounted on {target}"));
    }
    run.report.inform(format_args!("Unmounted {source} from {target}"));
    Ok(())
}

/// Removes a mount point that is empty.
fn remove(run: &mut Run<'_>, target: &BString) -> Result<bool, String> {
    let path = tab::as_path(target);
    let there = patience::look(&path).is_ok_and(|meta| meta.is_dir());
    if !there || path == Path::new("/") {
        return Ok(false);
    }
    if run.dry {
        run.report
            .say(Level::Silent, format_args!("Need to remove the mount point {target}"));
        return Ok(true);
    }
    let clean: std::path::PathBuf = path.components().collect();
    let gone = patience::within(patience::LOOK, move || {
        let place = Place::of(&clean)?;
        place.dir.rmdir(place.name().as_bstr())?;
        place.dir.sync()
    });
    match gone.unwrap_or_else(|| Err(patience::no_answer())) {
        Ok(()) => {
            run.report.inform(format_args!("Removed the mount point {target}"));
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            run.report
                .inform(format_args!("{target} is not empty and stays, no longer a mount point"));
            Ok(false)
        }
        Err(error) => Err(format!("cannot remove the mount point {target}: {error}")),
    }
}
