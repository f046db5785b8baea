//! `directories:`: a directory is there, with its parents, its mode and its owner (cfengine2.md 14.3).

use std::io;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::action::{self, Action, Work};
use super::job::BadAttr;
use super::mode::ModeChange;
use super::perms::{Manner, Wish};
use super::report::Level;
use super::{Job, Outcome, Run, owner};
use crate::fsx::{Dir, Place};
use crate::policy::Section;

/// The action.
pub static ACTION: Action = Action {
    name: "directories",
    section: Section::Directories,
    operator: "directory",
    expand: action::iterate,
    order: action::in_text_order,
    once: false,
    work: Work::Each(run),
};

fn run(run: &mut Run<'_>, job: &Job) {
    if !run.is_absolute(job) {
        return;
    }
    for path in super::objects::expand(job.object.as_bstr()) {
        let outcome = match wish(run, job, &path) {
            Ok(wish) => match one(run, &path, &wish) {
                Ok(outcome) => outcome,
                Err(error) => {
                    run.report.error(format_args!(
                        "Cannot make or keep directory {}: {error}",
                        path.display()
                    ));
                    Outcome::Failed
                }
            },
            Err(bad) => {
                run.bad_attr(job, &bad);
                Outcome::Failed
            }
        };
        run.record(job, outcome);
    }
}

/// Mode and owner; `owner=LastNode` is whoever the last element of the path names.
fn wish(run: &Run<'_>, job: &Job, path: &Path) -> Result<Wish, BadAttr> {
    if !run
        .value(job, "owner")
        .is_some_and(|owner| owner.eq_ignore_ascii_case(b"LastNode"))
    {
        return run.wish(job);
    }
    let mut bare = job.clone();
    let mut rule = (*job.rule).clone();
    rule.attrs.0.retain(|attr| attr.name != "owner");
    bare.rule = rule.into();
    let mut wish = run.wish(&bare)?;
    let last: BString = path
        .file_name()
        .map(|name| name.as_encoded_bytes().into())
        .unwrap_or_default();
    wish.owners = owner::list(last.as_bstr(), owner::uid).map_err(BadAttr)?;
    Ok(wish)
}

fn one(run: &mut Run<'_>, path: &Path, wish: &Wish) -> io::Result<Outcome> {
    // A link to a directory is that directory.
    let dir = match Dir::open(path) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "something else is there"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(run, path, wish),
        Err(error) => return Err(error),
    };
    if dir.self_meta()?.inode() == Dir::open(Path::new("/"))?.self_meta()?.inode() {
        // The root itself.
        return Ok(Outcome::Kept);
    }
    let changed = run.check_held(&dir.as_object()?, path, wish, Manner::Fix("Directory"))?;
    Ok(if changed { Outcome::Repaired } else { Outcome::Kept })
}

fn make(run: &mut Run<'_>, path: &Path, wish: &Wish) -> io::Result<Outcome> {
    let shown = path.display();
    let wanted = wish.mode_for(0o755, true);
    if run.dry {
        run.report.say(
            Level::Silent,
            format_args!("Directory {shown} is to be made, permission {wanted:o}"),
        );
        run.show(path, [format!("new directory mode {wanted:o}")]);
        return Ok(Outcome::Repaired);
    }
    let tidy: PathBuf = path.components().collect();
    let (place, made) = Place::with_parents(&tidy, 0o755)?;
    run.sweep(&place.dir);
    run.undo().made(&made);
    run.noting((&place.dir, place.name(), &tidy), || {
        place.dir.mkdir(place.name(), wanted)
    })?;
    run.show(path, [format!("new directory mode {wanted:o}")]);
    let meta = place.dir.meta(place.name())?;
    let owners = Wish {
        mode: Some(ModeChange::exactly(wanted)),
        rxdirs: false,
        ..wish.clone()
    };
    run.check_object(&place.dir, place.name(), path, &meta, &owners, Manner::Fix("Directory"))?;
    if wanted != 0o755 {
        run.report.inform(format_args!(
            "Directory {shown} had permission 755, changed it to {wanted:o}"
        ));
    }
    place.dir.sync()?;
    Ok(Outcome::Repaired)
}
