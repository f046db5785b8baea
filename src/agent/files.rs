//! `files:`: mode, owner, existence and content of files and trees (cfengine2.md 14.2).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::action::{self, Action, Work};
use super::job::{BadAttr, BytesPath};
use super::mode::ModeChange;
use super::mounts::servers::LINK_CHILDREN;
use super::perms::{Manner, Wish};
use super::report::Level;
use super::suspicious::Suspicion;
use super::{Job, Outcome, Run, checksums, filters, objects};
use crate::fsx::{Dir, Fresh, Meta, Place, Wanted, any_matches};
use crate::policy::Section;

/// The action.
pub static ACTION: Action = Action {
    name: "files",
    section: Section::Files,
    operator: "files",
    expand: action::iterate,
    order: action::in_text_order,
    once: false,
    work: Work::Each(run),
};

/// Directories below directories below … are entered no deeper than this; each level holds a descriptor.
const MAX_DEPTH: u32 = 250;

/// What `action=` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Act {
    plain: bool,
    dirs: bool,
    fix: bool,
    /// Make what is not there.
    create: bool,
    /// Stamp what is there.
    touch: bool,
    compress: bool,
    /// Says that an object is there, and nothing else.
    alert: bool,
}

fn act(word: &BStr) -> Result<Act, BadAttr> {
    let both = Act {
        plain: true,
        dirs: true,
        fix: true,
        create: false,
        touch: false,
        compress: false,
        alert: false,
    };
    Ok(match word.to_ascii_lowercase().as_slice() {
        b"" | b"warnall" => Act { fix: false, ..both },
        b"alert" => Act {
            fix: false,
            alert: true,
            ..both
        },
        b"warnplain" => Act {
            fix: false,
            dirs: false,
            ..both
        },
        b"warndirs" => Act {
            fix: false,
            plain: false,
            ..both
        },
        b"fixall" => both,
        b"fixplain" => Act { dirs: false, ..both },
        b"fixdirs" => Act { plain: false, ..both },
        b"touch" => Act {
            create: true,
            touch: true,
            ..both
        },
        b"create" => Act { create: true, ..both },
        b"compress" => Act {
            compress: true,
            dirs: false,
            ..both
        },
        _ => return Err(BadAttr(format!("Unknown action type {word}"))),
    })
}

/// A sweep over one rule's objects.
struct Sweep<'j> {
    job: &'j Job,
    act: Act,
    word: BString,
    wish: Wish,
    recurse: u32,
    include: Vec<BString>,
    exclude: Vec<BString>,
    ignore: objects::Ignore,
    suspicion: Suspicion,
    filters: filters::Filters,
    /// `links=traverse`: enter directories behind links.
    follow: bool,
    /// `links=tidy`, `-L`: remove dead links.
    tidy: bool,
    /// `xdev=true`: the device to stay on.
    device: Option<u64>,
    algorithms: Vec<&'static str>,
    changed: bool,
    failed: bool,
}

impl Sweep<'_> {
    /// An object differed and was repaired.
    fn repaired(&mut self, run: &mut Run<'_>) {
        self.changed = true;
        run.mark(self.job, Outcome::Repaired);
    }

    /// What came of mode and owner of an object.
    fn checked(&mut self, run: &mut Run<'_>, differs: bool) {
        match (differs, self.act.fix) {
            (true, true) => self.repaired(run),
            // The rule only warns.
            (true, false) => run.left(self.job),
            (false, _) => run.mark(self.job, Outcome::Kept),
        }
    }

    fn trouble(&mut self, run: &mut Run<'_>, path: &Path, error: &io::Error) {
        run.report
            .error(format_args!("Cannot check {}: {error}", path.display()));
        self.failed = true;
        run.mark(self.job, Outcome::Failed);
    }
}

fn run(run: &mut Run<'_>, job: &Job) {
    if !run.is_absolute(job) {
        return;
    }
    let word = run.value(job, "action").unwrap_or_default();
    if word.eq_ignore_ascii_case(LINK_CHILDREN.as_bytes()) {
        for path in places(run, &job.object) {
            let clean: PathBuf = path.components().collect();
            super::links::from_servers(run, job, &clean);
        }
        return;
    }
    let mut sweep = match sweep(run, job) {
        Ok(sweep) => sweep,
        Err(bad) => {
            run.bad_attr(job, &bad);
            return run.record(job, Outcome::Failed);
        }
    };
    let mut missing = false;
    for path in places(run, &job.object) {
        match top(run, job, &path, &mut sweep) {
            Ok(true) => {}
            Ok(false) => {
                missing = true;
                run.mark(job, Outcome::Failed);
            }
            Err(error) => sweep.trouble(run, &path, &error),
        }
    }
    let outcome = if sweep.changed {
        Outcome::Repaired
    } else if sweep.failed || missing {
        Outcome::Failed
    } else {
        Outcome::Kept
    };
    // What came of each object is marked already.
    run.record_classes(job, outcome);
}

/// The objects a rule means: itself, what its wildcards match, or a place in every home directory.
fn places(run: &Run<'_>, object: &BString) -> Vec<PathBuf> {
    let rest = match object.strip_prefix(b"home") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => return objects::expand(object.as_bstr()),
    };
    let homes = run.homes();
    homes
        .into_iter()
        .map(|home| {
            let rest = rest.strip_prefix(b"/").unwrap_or_default();
            if rest.is_empty() {
                home
            } else {
                home.join(rest.as_bstr().as_path())
            }
        })
        .collect()
}

fn sweep<'j>(run: &Run<'_>, job: &'j Job) -> Result<Sweep<'j>, BadAttr> {
    let word = run.value(job, "action").unwrap_or_default();
    let links = run.value(job, "links").unwrap_or_default().to_ascii_lowercase();
    let wish = run.wish(job)?;
    let act = act(word.as_bstr())?;
    Ok(Sweep {
        job,
        act,
        word: if word.is_empty() { "warnall".into() } else { word },
        wish,
        recurse: run.recurse(job)?,
        include: run.values(job, "include"),
        exclude: run.values(job, "exclude"),
        ignore: run.ignored(&run.values(job, "ignore")),
        suspicion: Suspicion::of(run),
        filters: filters::named(run, job).map_err(BadAttr)?,
        follow: matches!(links.as_slice(), b"traverse" | b"follow" | b"true"),
        tidy: links == b"tidy" || run.options.delete_stale_links,
        device: None,
        algorithms: checksums::algorithms(run.value(job, "checksum").unwrap_or_default().as_bstr())?,
        changed: false,
        failed: false,
    })
}

/// Checks the object of a rule, and what is below it. Gives whether it is (now) there.
fn top(run: &mut Run<'_>, job: &Job, path: &Path, sweep: &mut Sweep<'_>) -> io::Result<bool> {
    let bytes = path.as_os_str().as_bytes();
    let as_dir = bytes.ends_with(b"/.") || bytes.ends_with(b"/");
    let clean: PathBuf = path.components().collect();
    if clean == Path::new("/") {
        let dir = Dir::open(&clean)?;
        inside(run, &dir, &clean, sweep, 0);
        return Ok(true);
    }
    let place = match Place::of(&clean) {
        Ok(place) => Some(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let meta = match &place {
        Some(place) => place.look()?,
        None => None,
    };
    let (Some(place), Some(meta)) = (place, meta) else {
        return absent(run, job, &clean, as_dir, sweep);
    };
    if job.rule.attrs.get("xdev").is_some() && run.flag(job, "xdev", false) {
        sweep.device = Some(meta.inode().0);
    }
    if as_dir && meta.is_link() {
        let dir = Dir::open(path)?;
        inside(run, &dir, &clean, sweep, 0);
        return Ok(true);
    }
    object(run, &place.dir, place.name(), &clean, &meta, sweep, 0)?;
    Ok(true)
}

/// The object is not there: it is made where the rule says so.
fn absent(run: &mut Run<'_>, job: &Job, path: &Path, as_dir: bool, sweep: &mut Sweep<'_>) -> io::Result<bool> {
    let shown = path.display();
    run.report.inform(format_args!("Cannot access file/directory {shown}"));
    if !sweep.act.create {
        run.report.inform(format_args!(
            "File/Dir {shown} did not exist and was marked ({})",
            sweep.word
        ));
        return Ok(false);
    }
    let default = if as_dir { 0o755 } else { 0o644 };
    let change = run
        .value(job, "mode")
        .map_or(Ok(ModeChange::exactly(default)), |text| ModeChange::parse(&text));
    // The mode of a new object comes from the string alone.
    let mode = change.map_or(default, |change| {
        change.apply(if change.clear == 0 { default } else { 0 })
    });
    let what = if as_dir { "directory" } else { "file" };
    run.report
        .say(run.doing(), format_args!("Creating {what} {shown}, mode = {mode:o}"));
    run.show(path, [format!("new {what} mode {mode:o}")]);
    sweep.repaired(run);
    if run.dry {
        return Ok(true);
    }
    let (place, made) = Place::with_parents(path, 0o755)?;
    run.sweep(&place.dir);
    run.undo().made(&made);
    if as_dir {
        run.noting((&place.dir, place.name(), path), || place.dir.mkdir(place.name(), mode))?;
        if !sweep.wish.owners.is_empty() || !sweep.wish.groups.is_empty() {
            let (uid, gid) = (sweep.wish.owners.first().copied(), sweep.wish.groups.first().copied());
            place.dir.object(place.name())?.chown(uid, gid)?;
        }
        listed(run, &place, path, sweep)?;
        place.dir.sync()?;
        return Ok(true);
    }
    let wanted = Wanted {
        mode,
        uid: sweep.wish.owners.first().copied(),
        gid: sweep.wish.groups.first().copied(),
        carry: false,
        ..Wanted::default()
    };
    run.noting((&place.dir, place.name(), path), || {
        Fresh::new(&place.dir)?.commit(place.name(), &wanted, None)
    })?;
    listed(run, &place, path, sweep)?;
    Ok(true)
}

/// A new object gets its access list, too.
fn listed(run: &mut Run<'_>, place: &Place, path: &Path, sweep: &Sweep) -> io::Result<()> {
    if sweep.wish.acl.is_some() {
        let meta = place.dir.meta(place.name())?;
        run.check_object(
            &place.dir,
            place.name(),
            path,
            &meta,
            &sweep.wish,
            Manner::Fix("Object"),
        )?;
    }
    Ok(())
}

/// Checks one object, and what is in it.
fn object(
    run: &mut Run<'_>,
    dir: &Dir,
    name: &BStr,
    path: &Path,
    meta: &Meta,
    sweep: &mut Sweep<'_>,
    depth: u32,
) -> io::Result<()> {
    if meta.is_link() {
        return link(run, dir, name, path, sweep, depth);
    }
    let passes = sweep.filters.pass(run, dir, name, path, meta);
    if sweep.act.alert && passes && selected(sweep, path) {
        run.report
            .say(Level::Silent, format_args!("Alert: {} is there", path.display()));
    }
    if meta.is_dir() {
        if sweep.act.dirs && !sweep.act.alert && passes {
            // Every message about a tree names the directory before what is in it.
            let manner = if sweep.act.fix {
                Manner::Fix(if sweep.act.plain { "Object" } else { "Directory" })
            } else {
                Manner::Warn
            };
            let differs = run.check_object(dir, name, path, meta, &sweep.wish, manner)?;
            sweep.checked(run, differs);
        }
        let other_device = sweep.device.is_some_and(|device| device != meta.inode().0);
        if depth < sweep.recurse && !other_device {
            if depth >= MAX_DEPTH {
                return Err(io::Error::other(format!("more than {MAX_DEPTH} levels of directories")));
            }
            let below = dir.dir(name)?;
            inside(run, &below, path, sweep, depth);
        }
        return Ok(());
    }
    if sweep.act.alert || !sweep.act.plain || !passes || !selected(sweep, path) {
        return Ok(());
    }
    if sweep.act.compress {
        return compress(run, dir, path, sweep);
    }
    if sweep.act.touch {
        touch(run, dir, name, path, sweep)?;
    }
    if meta.is_file() && !sweep.algorithms.is_empty() {
        let algorithms = sweep.algorithms.clone();
        checksums::check(run, dir, name, path, &algorithms)?;
    }
    if meta.is_file()
        && depth > 0
        && meta.uid() == 0
        && sweep.wish.mode_for(meta.mode(), false) & 0o4000 != 0
        && meta.mode() & 0o4000 != 0
    {
        checksums::note_setuid(run, path);
    }
    let manner = match (sweep.act.fix, sweep.act.dirs) {
        (false, _) => Manner::Warn,
        (true, true) => Manner::Fix("Object"),
        (true, false) => Manner::Fix("Plain file"),
    };
    let differs = run.check_object(dir, name, path, meta, &sweep.wish, manner)?;
    sweep.checked(run, differs);
    Ok(())
}

fn selected(sweep: &Sweep<'_>, path: &Path) -> bool {
    let name: BString = path.file_name().map(|name| name.as_bytes().into()).unwrap_or_default();
    (sweep.include.is_empty() || any_matches(&sweep.include, name.as_bstr()))
        && !any_matches(&sweep.exclude, name.as_bstr())
}

/// Checks everything in a directory. What goes wrong is said; the rest is still done.
fn inside(run: &mut Run<'_>, dir: &Dir, path: &Path, sweep: &mut Sweep<'_>, depth: u32) {
    let names = match dir.names() {
        Ok(names) => names,
        Err(error) => {
            run.report
                .error(format_args!("Cannot read directory {}: {error}", path.display()));
            sweep.failed = true;
            return run.mark(sweep.job, Outcome::Failed);
        }
    };
    for name in names {
        let below = path.join(name.as_path());
        if sweep.ignore.covers(&below) || any_matches(&sweep.exclude, name.as_bstr()) {
            continue;
        }
        let result = match dir.look(name.as_bstr()) {
            Ok(Some(meta)) => {
                sweep.suspicion.look(run, &below, name.as_bstr(), meta.is_dir());
                object(run, dir, name.as_bstr(), &below, &meta, sweep, depth + 1)
            }
            // Gone meanwhile.
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            sweep.trouble(run, &below, &error);
        }
    }
}

/// A symbolic link has no mode. Dead ones may be removed; directories behind links owned by whoever runs this (or root)
/// may be entered.
fn link(run: &mut Run<'_>, dir: &Dir, name: &BStr, path: &Path, sweep: &mut Sweep<'_>, depth: u32) -> io::Result<()> {
    let behind = dir.look_through(name)?;
    if behind.is_none() && sweep.tidy {
        run.report
            .say(run.doing(), format_args!("Removing dead link {}", path.display()));
        run.show(path, ["deleted link".to_string()]);
        sweep.repaired(run);
        if !run.dry {
            run.noting((dir, name, path), || dir.unlink(name))?;
            dir.sync()?;
        }
        return Ok(());
    }
    if !sweep.follow || depth >= sweep.recurse.min(MAX_DEPTH) {
        return Ok(());
    }
    // A link that somebody else made could lead root anywhere.
    let owner = dir.meta(name)?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    if behind.is_some_and(|behind| behind.is_dir()) {
        let target = std::fs::canonicalize(path)?;
        // A link up its own path would be followed for ever.
        if path.starts_with(&target) {
            return Ok(());
        }
        let below = dir.through(name)?;
        inside(run, &below, path, sweep, depth);
    }
    Ok(())
}

fn touch(run: &mut Run<'_>, dir: &Dir, name: &BStr, path: &Path, sweep: &mut Sweep<'_>) -> io::Result<()> {
    sweep.repaired(run);
    if run.dry {
        run.report
            .say(Level::Silent, format_args!("Touching {}", path.display()));
        return Ok(());
    }
    let now = jiff::Timestamp::now().as_nanosecond();
    dir.set_times(name, now, now)
}

/// `action=compress`: `CompressCommand`, or gzip, on the file.
fn compress(run: &mut Run<'_>, dir: &Dir, path: &Path, sweep: &mut Sweep<'_>) -> io::Result<()> {
    use crate::sys::process::{Argv, Command};
    let bytes = path.as_os_str().as_bytes();
    if [&b".gz"[..], b".Z", b".bz2", b".xz", b".zst"]
        .iter()
        .any(|end| bytes.ends_with(end))
    {
        return Ok(());
    }
    let command = run
        .ctx
        .get("CompressCommand")
        .map(|text| run.ctx.expand(text.as_bstr()));
    let mut argv = crate::sys::process::split(&command.unwrap_or_else(|| "/bin/gzip".into()));
    // Named from its directory, which is held: the path may lead elsewhere by now.
    argv.push(objects::here(path));
    run.report
        .say(run.doing(), format_args!("Compressing file {}", path.display()));
    sweep.repaired(run);
    if run.dry {
        return Ok(());
    }
    let mut said = Vec::new();
    let mut command = Command::new(Argv::Direct(argv));
    command.chdir = Some(dir.proc_path());
    let outcome = crate::sys::process::run(&command, &mut |line| said.push(BString::from(line)))?;
    if outcome.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the compressor ended with status {}: {}",
        outcome.status,
        bstr::join(" ", said).to_str_lossy()
    )))
}
