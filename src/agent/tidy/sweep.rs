//! A sweep: each directory is held open while the sweep is in it, and everything is named from there. What a user moves
//! about meanwhile cannot lead it elsewhere.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::{Clock, Empty, Links, Plan, Size};
use crate::agent::Outcome;
use crate::agent::job::BytesPath;
use crate::agent::{Job, Run};
use crate::fsx::{Dir, Meta, Wanted, any_matches, matches, write_whole};
use crate::sys::{at, process};

/// Deeper directories are not entered: each level holds a descriptor.
const DEEPEST: usize = 250;

/// The log in a home directory.
const LOG: &str = ".cfengine.rm";

/// Bytes of an old log that are kept.
const LOG_LIMIT: u64 = 256 << 10;

/// Adds lines to the log of a home directory. It is replaced whole and belongs to the owner of the directory, who could
/// have put anything in its place.
fn append_log(home: &Path, deleted: &[BString], now: &jiff::Zoned) -> io::Result<()> {
    use io::{Read, Seek, SeekFrom};
    let dir = Dir::open(home)?;
    let owner = dir.self_meta()?;
    let mut content = Vec::new();
    match dir.read(LOG.into()) {
        // What is another's, or has a second name, need not be the log: its owner must not read it through us.
        Ok(old) if !is_log(&at::file_meta(&old)?, owner.uid()) => {}
        Ok(mut old) => {
            let from = old.metadata()?.len().saturating_sub(LOG_LIMIT);
            old.seek(SeekFrom::Start(from))?;
            old.take(LOG_LIMIT).read_to_end(&mut content)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let when = now.strftime("%Y-%m-%d %H:%M:%S").to_string();
    for path in deleted {
        content.extend_from_slice(format!("{when} deleted ").as_bytes());
        content.extend_from_slice(path);
        content.push(b'\n');
    }
    let wanted = Wanted {
        mode: 0o600,
        uid: Some(owner.uid()),
        gid: Some(owner.gid()),
        ..Wanted::default()
    };
    write_whole(&dir, LOG.into(), &content, &wanted, None).map(|_| ())
}

fn is_log(meta: &Meta, owner: u32) -> bool {
    meta.uid() == owner && meta.nlink() == 1
}

/// Sweeps these directories.
pub fn run(run: &mut Run<'_>, job: &Job, plan: Plan, folders: &[PathBuf]) -> Outcome {
    let mut sweep = Sweep {
        now: run.now.timestamp().as_nanosecond(),
        run,
        job,
        plan,
        device: 0,
        removed: 0,
        deleted: Vec::new(),
        failed: false,
    };
    for folder in folders {
        sweep.top(folder);
        sweep.log(folder);
    }
    match (sweep.removed > 0, sweep.failed) {
        (true, _) => Outcome::Repaired,
        (false, true) => Outcome::Failed,
        (false, false) => Outcome::Kept,
    }
}

/// A sweep while it goes on.
struct Sweep<'s, 'r> {
    run: &'s mut Run<'r>,
    job: &'s Job,
    plan: Plan,
    now: i128,
    device: u64,
    removed: u64,
    /// What was deleted in the directory that is swept.
    deleted: Vec<BString>,
    failed: bool,
}

impl Sweep<'_, '_> {
    fn top(&mut self, path: &Path) {
        let dir = match Dir::open(path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self
                    .run
                    .report
                    .verbose(format_args!("Directory {} does not exist", path.display()));
            }
            Err(error) => return self.trouble(path, &error),
        };
        let meta = match dir.self_meta() {
            Ok(meta) => meta,
            Err(error) => return self.trouble(path, &error),
        };
        self.device = meta.inode().0;
        self.enter(&dir, path, 0);
        if self.plan.empty == Empty::Remove
            && let Ok(place) = crate::fsx::Place::of(path)
        {
            self.remove_dir(&place.dir, place.name(), path, &meta);
        }
    }

    fn enter(&mut self, dir: &Dir, path: &Path, depth: usize) {
        let names = match dir.names() {
            Ok(names) => names,
            Err(error) => return self.trouble(path, &error),
        };
        for name in names {
            let here = path.join(name.as_path());
            if self.plan.ignore.covers(&here) {
                continue;
            }
            match dir.look(name.as_bstr()) {
                Ok(Some(meta)) => {
                    let suspicion = &self.plan.suspicion;
                    suspicion.look(self.run, &here, name.as_bstr(), meta.is_dir());
                    self.object(dir, name.as_bstr(), &here, &meta, depth);
                }
                Ok(None) => {}
                Err(error) => self.trouble(&here, &error),
            }
            if self.run.stop.is_some() {
                return;
            }
        }
    }

    fn object(&mut self, dir: &Dir, name: &BStr, path: &Path, meta: &Meta, depth: usize) {
        if meta.is_dir() {
            if !self.deeper(depth, meta) {
                return;
            }
            match dir.dir(name) {
                Ok(inner) => self.enter(&inner, path, depth + 1),
                Err(error) => return self.trouble(path, &error),
            }
            if self.plan.empty != Empty::Keep {
                self.remove_dir(dir, name, path, meta);
            }
            return;
        }
        if meta.is_link() && !self.link(dir, name, path, meta, depth) {
            return;
        }
        if self.chosen(dir, name, path, meta) && self.old(meta) && self.big(meta) {
            self.remove(dir, name, path, meta);
        }
    }

    fn deeper(&self, depth: usize, meta: &Meta) -> bool {
        depth < DEEPEST
            && u32::try_from(depth).is_ok_and(|depth| depth < self.plan.recurse)
            && !(self.plan.xdev && meta.inode().0 != self.device)
    }

    /// A link; true when it is to be treated like a file.
    fn link(&mut self, dir: &Dir, name: &BStr, path: &Path, meta: &Meta, depth: usize) -> bool {
        let target = match dir.look_through(name) {
            Ok(target) => target,
            Err(error) => {
                self.trouble(path, &error);
                return false;
            }
        };
        let Some(target) = target else {
            if self.plan.links == Links::Dead || self.run.options.delete_stale_links {
                self.done("Removing dead link", path, |run| {
                    run.tidying((dir, name, path), || dir.unlink(name))
                });
                return false;
            }
            return true;
        };
        if !target.is_dir() {
            return true;
        }
        if self.plan.links == Links::Follow {
            // A link of somebody else could lead anywhere.
            if meta.uid() == nix::unistd::geteuid().as_raw() && self.deeper(depth, &target) {
                match dir.through(name) {
                    // The very directory that was looked at: not one that was put in its place meanwhile.
                    Ok(inner) if inner.self_meta().is_ok_and(|now| now.inode() == target.inode()) => {
                        self.enter(&inner, path, depth + 1);
                    }
                    Ok(_) => {}
                    Err(error) => self.trouble(path, &error),
                }
            }
            return false;
        }
        self.plan.dir_links
    }

    fn chosen(&mut self, dir: &Dir, name: &BStr, path: &Path, meta: &Meta) -> bool {
        self.plan.patterns.iter().any(|pattern| matches(pattern, name))
            && !any_matches(&self.plan.exclude, name)
            && self.plan.filters.pass(self.run, dir, name, path, meta)
    }

    fn old(&self, meta: &Meta) -> bool {
        let time = match self.plan.clock {
            _ if meta.is_dir() => meta.mtime(),
            Clock::Access => meta.atime(),
            Clock::Change => meta.mtime(),
            Clock::Inode => meta.ctime(),
        };
        self.plan.age == 0 || self.now - time >= self.plan.age
    }

    fn big(&self, meta: &Meta) -> bool {
        match self.plan.size {
            Size::AtLeast(least) => meta.size() >= least,
            Size::Empty => meta.size() == 0,
        }
    }

    fn remove(&mut self, dir: &Dir, name: &BStr, path: &Path, meta: &Meta) {
        let Some(compress) = self.plan.compress.clone() else {
            return self.done("Deleting file", path, |run| {
                run.tidying((dir, name, path), || dir.unlink(name))
            });
        };
        // Compressed once is enough, and only plain files are.
        if !meta.is_file()
            || [&b".gz"[..], b".Z", b".bz2", b".xz", b".zst"]
                .iter()
                .any(|end| name.ends_with(end))
        {
            return;
        }
        let mut words = process::split(&compress);
        // Named from its directory, which is held: the path may lead elsewhere by now.
        words.push(crate::agent::objects::here(path));
        let mut command = process::Command::new(process::Argv::Direct(words));
        command.chdir = Some(dir.proc_path());
        self.done("Compressing file", path, |run| {
            let outcome = process::run(&command, &mut |line| {
                run.report.say_bytes(crate::agent::report::Level::Inform, line);
            })?;
            match outcome.success() {
                true => Ok(()),
                false => Err(io::Error::other(format!(
                    "{compress} ended with status {}",
                    outcome.status
                ))),
            }
        });
    }

    /// Removes a directory that is empty, old and chosen.
    fn remove_dir(&mut self, dir: &Dir, name: &BStr, path: &Path, meta: &Meta) {
        if !self.chosen(dir, name, path, meta) || !self.old(meta) {
            return;
        }
        let empty = dir
            .dir(name)
            .and_then(|inner| inner.names())
            .is_ok_and(|names| names.is_empty());
        if empty {
            self.done("Deleting directory", path, |run| {
                run.tidying((dir, name, path), || dir.rmdir(name))
            });
        }
    }

    /// Says what is done and does it, unless this is a dry run.
    fn done(&mut self, what: &str, path: &Path, act: impl FnOnce(&mut Run<'_>) -> io::Result<()>) {
        if !self.run.dry
            && let Err(error) = act(self.run)
        {
            return self.trouble(path, &error);
        }
        self.removed += 1;
        if self.plan.log.is_some() && !self.run.dry {
            self.deleted.push(path.as_os_str().as_bytes().into());
        }
        self.run.mark(self.job, Outcome::Repaired);
        let line = format!("{what} {}", path.display());
        self.run.report.say(self.run.doing(), line);
        if let Some(kind) = what.strip_prefix("Deleting ").or(what.strip_prefix("Removing dead ")) {
            self.run.show(path, [format!("deleted {kind}")]);
        }
    }

    /// Tells the owner of a home directory what was deleted there.
    fn log(&mut self, folder: &Path) {
        let deleted = std::mem::take(&mut self.deleted);
        let home = self.plan.log.and_then(|levels| folder.ancestors().nth(levels));
        if let (false, Some(home)) = (deleted.is_empty(), home)
            && let Err(error) = append_log(home, &deleted, &self.run.now)
        {
            self.trouble(&home.join(LOG), &error);
        }
    }

    fn trouble(&mut self, path: &Path, error: &io::Error) {
        self.failed = true;
        self.run.mark(self.job, Outcome::Failed);
        self.run
            .report
            .error(format_args!("Cannot tidy {}: {error}", path.display()));
    }
}
