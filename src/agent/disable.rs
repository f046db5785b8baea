//! `disable` and `rename`: files are put out of the way, rotated or emptied (cfengine2.md 14.6).

use std::io;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::Outcome;
use super::action::{Action, Work, in_text_order, iterate};
use super::filters;
use super::job::BytesPath;
use super::report::Level;
use super::{Job, Run, diff};
use crate::fsx::{Dir, Fresh, Meta, Place, Wanted};
use crate::policy::Section;

/// The line of the table.
pub static DISABLE: Action = named("disable");

/// Its other name.
pub static RENAME: Action = named("rename");

const fn named(name: &'static str) -> Action {
    Action {
        name,
        section: Section::Disable,
        operator: "disable",
        expand: iterate,
        order: in_text_order,
        once: false,
        work: Work::Each(work),
    }
}

/// Rotated files that are kept at most.
const MOST_ROTATED: u32 = 1000;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Rename,
    Rotate(u32),
    Empty,
}

fn work(run: &mut Run<'_>, job: &Job) {
    let outcome = match disable(run, job) {
        Ok(outcome) => outcome,
        Err(why) => {
            run.report.error(why);
            Outcome::Failed
        }
    };
    run.record(job, outcome);
}

fn disable(run: &mut Run<'_>, job: &Job) -> Result<Outcome, String> {
    let wrong = |what: &str| format!("{}: {what}", job.rule.pos);
    let shown = job.path().display().to_string();
    let sys = |error: io::Error| format!("Cannot disable {shown}: {error}");
    let way = match run.value(job, "rotate") {
        None => Way::Rename,
        Some(word) => match word.to_ascii_lowercase().as_slice() {
            b"empty" | b"truncate" => Way::Empty,
            number => {
                let number = number.to_str().ok().and_then(|text| text.parse().ok());
                let number = number.filter(|n| (1..=MOST_ROTATED).contains(n));
                Way::Rotate(number.ok_or_else(|| wrong(&format!("rotate cannot be {word}")))?)
            }
        },
    };
    let place = match Place::of(job.path()) {
        Ok(place) => place,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Kept),
        Err(error) => return Err(sys(error)),
    };
    let Some(meta) = place.look().map_err(sys)? else {
        run.report.verbose(format_args!("Filename {shown} is not there"));
        return Ok(Outcome::Kept);
    };
    let filters = filters::named(run, job).map_err(|why| wrong(&why))?;
    if !fits(run, job, &meta).map_err(|why| wrong(&why))?
        || !filters.pass(run, &place.dir, place.name(), &place.path, &meta)
    {
        return Ok(Outcome::Kept);
    }
    let dest = run.value(job, "destination").or_else(|| run.value(job, "dest"));
    if run
        .value(job, "action")
        .is_some_and(|word| word.eq_ignore_ascii_case(b"warn"))
    {
        run.report
            .say(Level::Silent, format_args!("File {shown} exists - WARNING only"));
        run.left(job);
        return Ok(Outcome::Kept);
    }
    if meta.is_link() && way == Way::Rename && dest.is_none() {
        let target = place.dir.read_link(place.name()).map_err(sys)?;
        run.report
            .say(run.doing(), format_args!("Deleting link {shown} -> {target}"));
        run.show(&place.path, [format!("deleted link {target}")]);
        if !run.dry {
            run.noting((&place.dir, place.name(), &place.path), || {
                place.dir.unlink(place.name())
            })
            .map_err(sys)?;
        }
        return Ok(Outcome::Repaired);
    }
    match way {
        Way::Rename => rename(run, job, &place, &meta, dest),
        Way::Empty => {
            plain(&meta, &shown)?;
            run.report
                .say(run.doing(), format_args!("Truncating (emptying) {shown}"));
            run.show(
                &place.path,
                diff::sides("size", Some((meta.size().to_string(), "0".into()))),
            );
            if !run.dry {
                run.altering((&place.dir, place.name(), &place.path), || empty(&place, &meta))
                    .map_err(sys)?;
            }
            Ok(Outcome::Repaired)
        }
        Way::Rotate(count) => {
            plain(&meta, &shown)?;
            run.report
                .say(run.doing(), format_args!("Rotating files {shown} by {count}"));
            let emptied = diff::sides("size", Some((meta.size().to_string(), "0".into())));
            run.show(&place.path, [format!("copy to {shown}.1")].into_iter().chain(emptied));
            if !run.dry {
                run.sweep(&place.dir);
                run.altering((&place.dir, place.name(), &place.path), || rotate(&place, &meta, count))
                    .map_err(sys)?;
            }
            Ok(Outcome::Repaired)
        }
    }
}

fn plain(meta: &Meta, shown: &str) -> Result<(), String> {
    if meta.is_file() {
        Ok(())
    } else {
        Err(format!("{shown} is not a plain file and cannot be rotated"))
    }
}

/// `type=` and `size=`
fn fits(run: &Run<'_>, job: &Job, meta: &Meta) -> Result<bool, String> {
    if let Some(kind) = run.value(job, "type") {
        let right = match kind.to_ascii_lowercase().as_slice() {
            b"file" | b"plain" => meta.is_file(),
            b"link" => meta.is_link(),
            b"dir" | b"directory" => meta.is_dir(),
            _ => return Err(format!("type cannot be {kind}")),
        };
        if !right {
            return Ok(false);
        }
    }
    let Some(text) = run.value(job, "size") else {
        return Ok(true);
    };
    let (sign, number) = match text.first() {
        Some(sign @ (b'<' | b'>')) => (Some(*sign), &text[1..]),
        _ => (None, text.as_slice()),
    };
    let limit = super::job::size(number, 1).ok_or_else(|| format!("size cannot be {text}"))?;
    Ok(match sign {
        Some(b'<') => meta.size() < limit,
        Some(_) => meta.size() > limit,
        None => meta.size() == limit,
    })
}

fn rename(run: &mut Run<'_>, job: &Job, place: &Place, meta: &Meta, dest: Option<BString>) -> Result<Outcome, String> {
    let shown = place.path.display().to_string();
    let sys = |error: io::Error| format!("Cannot disable {shown}: {error}");
    let target = match &dest {
        Some(dest) if dest.starts_with(b"/") => dest.as_path().to_path_buf(),
        Some(dest) => place.path.with_file_name(dest.as_path()),
        None if meta.is_dir() => {
            return Err(format!(
                "{}: directory {shown} is only renamed with dest=",
                job.rule.pos
            ));
        }
        None => {
            let mut name = place.name.clone();
            name.extend_from_slice(b".cfdisabled");
            place.path.with_file_name(name.as_path())
        }
    };
    if shown.ends_with(".cfdisabled") || target == place.path {
        return Ok(Outcome::Kept);
    }
    let to = Place::of(&target).map_err(sys)?;
    run.report.say(
        run.doing(),
        format_args!(
            "Disabling/renaming file {shown} to {} (pending repository move)",
            target.display()
        ),
    );
    run.show(&place.path, [format!("rename to {}", target.display())]);
    if run.dry {
        return Ok(Outcome::Repaired);
    }
    let held = place.dir.object(place.name()).map_err(sys)?;
    let now = held.meta().map_err(sys)?;
    if place.dir.may_be_planted(&now).map_err(sys)? {
        return Err(sys(planted()));
    }
    let undo = run.undo();
    let aside = (!meta.is_dir()).then(|| undo.loses(&to.dir, to.name(), &target));
    let renamed = run.moving((&place.dir, place.name(), &place.path), &target, || {
        place.dir.rename(place.name(), &to.dir, to.name())?;
        match now.is_link() {
            true => Ok(()),
            false => held.chmod(0o600),
        }
    });
    if let Some(aside) = aside {
        undo.done(&aside, &to.dir, to.name(), None);
    }
    renamed.map_err(sys)?;
    to.dir.sync().map_err(sys)?;
    run.report
        .inform(format_args!("Renamed {shown} to {}", target.display()));
    if meta.is_file()
        && let Some(moved) = to_repository(run, job, &to, &target).map_err(sys)?
    {
        let (from, to) = (target.display(), moved.display());
        run.report
            .inform(format_args!("Moved {from} to repository location {to}"));
    }
    Ok(Outcome::Repaired)
}

/// Moves a disabled file to the repository, where there is one.
fn to_repository(run: &mut Run<'_>, job: &Job, from: &Place, path: &Path) -> io::Result<Option<PathBuf>> {
    let own = run.value(job, "repository");
    let Some((repository, rep_char)) = super::editfiles::repository(run, own.as_ref()) else {
        return Ok(None);
    };
    let name = crate::fsx::canonical(path, rep_char);
    let target = repository.join(name.as_path());
    let (to, _) = Place::with_parents(&target, 0o700)?;
    // A copy, also on the same file system: the repository tells when something was put there.
    let mut reader = from.dir.read(from.name())?;
    let mut fresh = Fresh::new(&to.dir)?;
    fresh.fill(&mut reader)?;
    let wanted = Wanted {
        carry: false,
        ..Wanted::default()
    };
    run.noting((&to.dir, to.name(), &target), || fresh.commit(to.name(), &wanted, None))?;
    run.noting((&from.dir, from.name(), path), || from.dir.unlink(from.name()))?;
    Ok(Some(target))
}

/// The permissions and owner of a file, for the one that takes its place.
fn like(meta: &Meta) -> Wanted {
    let root = nix::unistd::geteuid().is_root();
    Wanted {
        mode: meta.mode(),
        uid: root.then(|| meta.uid()),
        gid: root.then(|| meta.gid()),
        ..Wanted::default()
    }
}

/// Empties a file in place: who writes to it goes on doing so.
fn empty(place: &Place, meta: &Meta) -> io::Result<()> {
    let file = place.dir.open_or_create(place.name(), meta.mode())?;
    if place.dir.may_be_planted(&crate::sys::at::file_meta(&file)?)? {
        return Err(planted());
    }
    file.set_len(0)
}

fn planted() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it has other names, and lies where others can put files: it may be any file of the system",
    )
}

/// F.N-1 → F.N, …, F → F.1, and a new empty F with the old mode and owner.
fn rotate(place: &Place, meta: &Meta, count: u32) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = place.name.clone();
        name.extend_from_slice(format!(".{n}").as_bytes());
        name
    };
    for n in (1..count).rev() {
        move_on(&place.dir, numbered(n).as_bstr(), numbered(n + 1).as_bstr())?;
    }
    copy(&place.dir, place.name(), numbered(1).as_bstr(), meta)?;
    empty(place, meta)
}

fn move_on(dir: &Dir, from: &BStr, to: &BStr) -> io::Result<()> {
    match dir.rename(from, dir, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A copy under another name. The file itself stays the same inode, so that a daemon with the log open goes on writing
/// to it.
fn copy(dir: &Dir, from: &BStr, to: &BStr, meta: &Meta) -> io::Result<()> {
    let mut reader = dir.read(from)?;
    let mut fresh = Fresh::new(dir)?;
    fresh.fill(&mut reader)?;
    fresh.commit(to, &like(meta), None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn rotation_pushes_older_files_on_and_leaves_an_empty_one() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("log");
        for (name, content) in [("log", "new"), ("log.1", "1"), ("log.2", "2"), ("log.3", "3")] {
            fs::write(top.path().join(name), content).unwrap();
        }
        let place = Place::of(&path).unwrap();
        let meta = place.look().unwrap().unwrap();
        rotate(&place, &meta, 3).unwrap();
        let read = |name: &str| fs::read_to_string(top.path().join(name)).unwrap();
        assert_eq!(
            [read("log"), read("log.1"), read("log.2"), read("log.3")],
            ["", "new", "1", "2"]
        );
        assert_eq!(place.look().unwrap().unwrap().inode(), meta.inode());
    }
}
