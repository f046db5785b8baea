//! `links:`: `FROM -> TO` for one link, `FROM +> TO` for a link to each child of TO (cfengine2.md 14.5).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::action::{Action, Work};
use super::job::BytesPath;
use super::mounts::servers;
use super::report::Level;
use super::{BadAttr, Job, Outcome, Run, filters, objects};
use crate::fsx::{self, Backup, Dir, Place, any_matches};
use crate::policy::{Body, Rule, Section};

/// The action.
pub static ACTION: Action = Action {
    name: "links",
    section: Section::Links,
    operator: "link",
    expand,
    order: |rule| u8::from(!matches!(rule.body, Body::Link { children: true, .. })),
    once: false,
    work: Work::Each(run),
};

/// The other side may be a list.
fn expand(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    let Body::Link { to, children, .. } = &rule.body else {
        return Vec::new();
    };
    let from = run.ctx.expand(rule.promiser.as_bstr());
    let targets = if *children {
        run.ctx.iterate(to.as_bstr())
    } else {
        vec![run.ctx.expand(to.as_bstr())]
    };
    targets.into_iter().map(|to| (from.clone(), to)).collect()
}

/// What kind of link is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Symbolic,
    Absolute,
    Relative,
    Hard,
}

/// How a rule wants its links.
struct Manner {
    kind: Type,
    force: bool,
    /// `nofile=force`: link to what is not there.
    dead_too: bool,
    /// `nofile=kill`, `-L`: remove links to what is not there.
    kill_dead: bool,
    /// `+>`
    one_of_many: bool,
    /// `action=silent`: no word about a link that cannot be.
    silent: bool,
}

fn run(run: &mut Run<'_>, job: &Job) {
    if !run.is_absolute(job) {
        return;
    }
    let Body::Link { children, force, .. } = job.rule.body else {
        return;
    };
    let nofile = run.value(job, "nofile").unwrap_or_default().to_ascii_lowercase();
    let manner = Manner {
        kind: match run
            .value(job, "type")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_slice()
        {
            b"hard" => Type::Hard,
            b"relative" | b"rel" => Type::Relative,
            b"absolute" | b"abs" => Type::Absolute,
            _ => Type::Symbolic,
        },
        force: force || run.options.enforce_links,
        dead_too: nofile == b"force",
        one_of_many: children,
        silent: run
            .value(job, "action")
            .is_some_and(|word| word.eq_ignore_ascii_case(b"silent")),
        kill_dead: nofile == b"kill" || run.options.delete_stale_links,
    };
    let from = job.path().to_path_buf();
    let to = if children && job.other == servers::LINK_CHILDREN {
        servers::children_of(run, job.object.as_bstr())
    } else {
        servers::first(run, job.other.as_bstr()).map(|to| to.as_path().to_path_buf())
    };
    let to = match to {
        Ok(to) => to,
        Err(why) => {
            run.bad_attr(job, &BadAttr(why));
            return run.record(job, Outcome::Failed);
        }
    };
    if children {
        self::children(run, job, &from, &to, &manner);
    } else {
        match single(run, job, &from, &to, &manner) {
            // A link that is right sets neither class (observed).
            Ok(false) => {}
            Ok(true) => run.record(job, Outcome::Repaired),
            Err(error) => {
                run.report.error(format_args!(
                    "Cannot link {} -> {}: {error}",
                    from.display(),
                    to.display()
                ));
                run.record(job, Outcome::Failed);
            }
        }
    }
}

/// `files action=linkchildren`: the directory gets a link for each child that a binary server has for it.
pub fn from_servers(run: &mut Run<'_>, job: &Job, from: &Path) {
    let name = BString::from(from.as_os_str().as_bytes());
    match servers::children_of(run, name.as_bstr()) {
        Ok(to) => {
            let manner = Manner {
                kind: Type::Symbolic,
                force: run.options.enforce_links,
                dead_too: false,
                kill_dead: run.options.delete_stale_links,
                one_of_many: true,
                silent: false,
            };
            children(run, job, from, &to, &manner);
        }
        Err(why) => {
            run.bad_attr(job, &BadAttr(why));
            run.record(job, Outcome::Failed);
        }
    }
}

/// Links every child of `to` into `from`.
fn children(run: &mut Run<'_>, job: &Job, from: &Path, to: &Path, manner: &Manner) {
    let recurse = match run.recurse(job) {
        Ok(levels) => levels,
        Err(bad) => return run.bad_attr(job, &bad),
    };
    let filters = match filters::named(run, job) {
        Ok(filters) => filters,
        Err(why) => {
            run.bad_attr(job, &BadAttr(why));
            return run.record(job, Outcome::Failed);
        }
    };
    let choice = Choice {
        filters,
        include: run.values(job, "include"),
        exclude: [run.values(job, "exclude"), run.patterns("ExcludeLink")].concat(),
        copy: [run.values(job, "copy"), run.patterns("CopyLinks")].concat(),
        ignore: run.ignored(&run.values(job, "ignore")),
    };
    match level(run, job, from, to, manner, &choice, recurse) {
        // Each is marked already.
        Ok(true) => run.record_classes(job, Outcome::Repaired),
        Ok(false) => {}
        Err(error) => {
            run.report
                .error(format_args!("Cannot link the children of {}: {error}", to.display()));
            run.record(job, Outcome::Failed);
        }
    }
}

struct Choice {
    filters: filters::Filters,
    include: Vec<BString>,
    exclude: Vec<BString>,
    copy: Vec<BString>,
    ignore: objects::Ignore,
}

fn level(
    run: &mut Run<'_>,
    job: &Job,
    from: &Path,
    to: &Path,
    manner: &Manner,
    choice: &Choice,
    recurse: u32,
) -> io::Result<bool> {
    let source = Dir::open(to)?;
    let mut changed = false;
    for name in source.names()? {
        let (from, to) = (from.join(name.as_path()), to.join(name.as_path()));
        if choice.ignore.covers(&to) {
            continue;
        }
        let Some(meta) = source.look(name.as_bstr())? else {
            continue;
        };
        if meta.is_dir() && recurse > 0 {
            changed |= level(run, job, &from, &to, manner, choice, recurse - 1)?;
            continue;
        }
        let name = name.as_bstr();
        if (!choice.include.is_empty() && !any_matches(&choice.include, name)) || any_matches(&choice.exclude, name) {
            continue;
        }
        if !choice.filters.pass(run, &source, name, &to, &meta) {
            continue;
        }
        if any_matches(&choice.copy, name) {
            super::copy::one_file(run, job, &to, &from);
            continue;
        }
        match single(run, job, &from, &to, manner) {
            Ok(true) => {
                run.mark(job, Outcome::Repaired);
                changed = true;
            }
            Ok(false) => {}
            Err(error) => {
                run.report.error(format_args!(
                    "Cannot link {} -> {}: {error}",
                    from.display(),
                    to.display()
                ));
                run.record(job, Outcome::Failed);
            }
        }
    }
    Ok(changed)
}

/// Makes one link; gives whether anything was done.
fn single(run: &mut Run<'_>, job: &Job, from: &Path, to: &Path, manner: &Manner) -> io::Result<bool> {
    let target = target(from, to, manner.kind)?;
    let arrow = format!("{} -> {}", from.display(), target.to_str_lossy());
    let there = exists(from, target.as_bstr());
    let place = match Place::of(from) {
        Ok(place) => Some(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let old = match &place {
        Some(place) => place.look()?,
        None => None,
    };
    if !there && !manner.dead_too {
        let dead = old.is_some_and(|old| old.is_link());
        if let (true, true, Some(place)) = (dead, manner.kill_dead, &place) {
            run.report
                .say(run.doing(), format_args!("Removing dead link {}", from.display()));
            let old = place.dir.read_link(place.name())?;
            run.show(from, [format!("deleted link {old}")]);
            if !run.dry {
                run.noting((&place.dir, place.name(), from), || place.dir.unlink(place.name()))?;
                place.dir.sync()?;
            }
            return Ok(true);
        }
        let right = match &place {
            Some(place) if dead => place.dir.read_link(place.name())? == target,
            _ => false,
        };
        if !right && !manner.silent {
            run.report.error(format_args!(
                "Error while trying to link {} -> {}",
                from.display(),
                to.display()
            ));
            run.mark(job, Outcome::Failed);
        }
        return Ok(false);
    }
    if let (Some(place), Some(old)) = (&place, &old) {
        if manner.kind == Type::Hard {
            let same = std::fs::metadata(to).is_ok_and(|meta| inode(&meta) == old.inode());
            if same {
                return Ok(false);
            }
        } else if old.is_link() && place.dir.read_link(place.name())? == target {
            return Ok(false);
        }
        if !make_way(run, job, place, old, &target, &arrow, manner)? {
            return Ok(false);
        }
    }
    if run.options.diff {
        let old = match (&place, old) {
            (Some(place), Some(old)) if old.is_link() => Some(place.dir.read_link(place.name())?),
            _ => None,
        };
        let kind = if manner.kind == Type::Hard { "hard link" } else { "link" };
        let old = old.map(|old| format!("old {kind} {old}"));
        run.show(from, old.into_iter().chain([format!("new {kind} {target}")]));
    }
    if run.dry {
        run.report
            .bare(Level::Silent, format!("Need to link {arrow}").as_bytes());
        return Ok(true);
    }
    let hard = manner.kind == Type::Hard;
    // After moving something out of the way a single link is made without further words (24.5), one of many is not.
    let moved = old.is_some_and(|old| !old.is_link()) && !manner.one_of_many;
    run.report.say(
        if moved { Level::Verbose } else { Level::Inform },
        format_args!("{} files {arrow}", if hard { "Hardlinking" } else { "Linking" }),
    );
    let (place, made) = Place::with_parents(from, 0o755)?;
    run.sweep(&place.dir);
    run.undo().made(&made);
    run.noting((&place.dir, place.name(), from), || match hard {
        true => fsx::place_hard_link(&Place::of(to)?, &place),
        false => fsx::place_symlink(&place.dir, place.name(), target.as_bstr()),
    })?;
    Ok(true)
}

/// Something is where the link should be. Gives whether the link may come: then a wrong link is about to be replaced and
/// anything else was moved aside.
fn make_way(
    run: &mut Run<'_>,
    job: &Job,
    place: &Place,
    old: &fsx::Meta,
    target: &BString,
    arrow: &str,
    manner: &Manner,
) -> io::Result<bool> {
    let shown = place.path.display();
    if old.is_link() {
        if !manner.force {
            if manner.silent {
                return Ok(false);
            }
            let is = place.dir.read_link(place.name())?;
            run.report
                .inform(format_args!("Old link {shown} points somewhere else. Doing nothing!"));
            run.report.inform(format_args!("(Link points to {is} not {target})"));
            run.left(job);
            return Ok(false);
        }
        run.report.inform(format_args!("Removing link {shown}"));
        return Ok(true);
    }
    if !manner.force {
        if manner.silent {
            return Ok(false);
        }
        run.report.error(format_args!("Error linking {arrow}"));
        run.report.error(format_args!(
            "Cannot make link: {shown} exists and is not a link! (uid {})",
            old.uid()
        ));
        run.mark(job, Outcome::Failed);
        return Ok(false);
    }
    // The message has the plain name, the file that of a time-stamped backup (observed).
    run.report.inform(format_args!("Moving {shown} to {shown}.cfsaved"));
    let mut keep = Backup::beside(&place.path);
    keep.stamp = Some(run.now.clone());
    keep.kept = run.kept.clone();
    let saved = keep.name_of(place.name());
    run.report.verbose(format_args!("It is called {saved} now"));
    if !run.dry {
        if old.is_dir() {
            let aside = place.path.with_file_name(saved.as_path());
            run.moving((&place.dir, place.name(), &place.path), &aside, || {
                place.dir.rename(place.name(), &place.dir, saved.as_bstr())
            })?;
        } else {
            // A second name; the link then replaces the first one in one step.
            fsx::save(&place.dir, place.name(), &keep)?;
        }
    }
    Ok(true)
}

fn inode(meta: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

/// Whether a target leads to something, seen from where the link is or will be.
fn exists(from: &Path, target: &BStr) -> bool {
    let whole = from.parent().unwrap_or(Path::new("/")).join(target.as_path());
    // Where the directory is still to be made, `./../a` can only be looked at as text.
    whole.metadata().is_ok() || normal(&whole).metadata().is_ok()
}

/// What the link will say.
fn target(from: &Path, to: &Path, kind: Type) -> io::Result<BString> {
    let bytes = |path: &Path| BString::from(path.as_os_str().as_bytes());
    match kind {
        Type::Symbolic => Ok(bytes(to)),
        Type::Hard => Ok(bytes(to)),
        Type::Absolute => {
            let base = from.parent().unwrap_or(Path::new("/")).join(to);
            // What is not there cannot be resolved: it is named as written.
            Ok(bytes(&std::fs::canonicalize(&base).unwrap_or(base)))
        }
        Type::Relative => Ok(relative(from, to)),
    }
}

/// `to` as seen from the directory of `from`: `./../a`. A target that is relative already stays as it is.
pub fn relative(from: &Path, to: &Path) -> BString {
    if !to.is_absolute() {
        return to.as_os_str().as_bytes().into();
    }
    let base = normal(from.parent().unwrap_or(Path::new("/")));
    let to = normal(to);
    let common = base
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let mut path = PathBuf::from(".");
    for _ in base.components().skip(common) {
        path.push("..");
    }
    path.extend(to.components().skip(common));
    path.as_os_str().as_bytes().into()
}

/// A path without `.`, doubled slashes and `x/..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_targets_look_as_observed() {
        for (from, to, wanted) in [
            ("/t/sub/ln5", "/t/a", "./../a"),
            ("/t/ln", "/t/a", "./a"),
            ("/a/b/c", "/x/y", "./../../x/y"),
            ("/a/b", "c/d", "c/d"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), wanted);
        }
    }
}
