//! `mailcheck`: mail lies where users look for it, and belongs to users (cfengine2.md 14.15, 12).
//!
//! On the host that `mailserver:` names the boxes are looked through; every other host mounts its spool from there. The
//! directories of `SpoolDirectories` are looked through everywhere.

use std::collections::HashSet;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use nix::unistd::{Uid, User};

use super::addmounts::{line, mount_point};
use super::fstab::Entry;
use super::model::{self, Want};
use super::mountall::{Found, find, mount_one};
use super::patience;
use super::tab::{self, Tab};
use super::table::Mounts;
use super::tell;
use crate::agent::action::{Action, Work, in_text_order, whole};
use crate::agent::job::BytesPath;
use crate::agent::report::{Level, RuleSwitches};
use crate::agent::{Job, Outcome, Run};
use crate::fsx::{Dir, Meta};
use crate::policy::Section;

/// The line of the table.
pub static MAILCHECK: Action = Action {
    name: "mailcheck",
    section: Section::MailServer,
    operator: "mailcheck",
    expand: whole,
    order: in_text_order,
    once: false,
    work: Work::All(work),
};

/// Where Linux keeps mail.
const SPOOL: &str = "/var/spool/mail";

/// So many boxes of nobody, and more than there are of users, are no reason to delete: then it is a part of the list of
/// users that cannot be read. A directory service that is down leaves the users of this machine.
const TOO_MANY: usize = 3;

fn work(run: &mut Run<'_>, action: &'static Action) {
    for job in run.jobs(action) {
        if !run.begin(action, &job) {
            continue;
        }
        run.report.rule = run.rule_switches(&job);
        match one(run, &job) {
            Ok(outcome) => run.record(&job, outcome),
            Err(why) => {
                let pos = &job.rule.pos;
                run.report.error(format_args!("{}:{}: {why}", pos.file, pos.line));
                run.record(&job, Outcome::Failed);
            }
        }
        run.report.rule = RuleSwitches::default();
        run.end(&job);
    }
    if run.pass > 1 {
        return;
    }
    for dir in run.patterns("SpoolDirectories") {
        let outcome = look_through(run, dir.as_path(), &Care::of(run, "Files")).unwrap_or_else(|why| {
            run.report.error(why);
            Outcome::Failed
        });
        run.count(outcome);
    }
}

/// What one `mailserver:` means to this machine.
fn one(run: &mut Run<'_>, job: &Job) -> Result<Outcome, String> {
    let Some((host, path)) = model::split(&job.object) else {
        return Err(format!("{} is not written host:/path", job.object));
    };
    if model::is_here(run, host) {
        return look_through(run, path.as_path(), &Care::of(run, "Mail"));
    }
    let spool = run.resources.get("maildir").cloned().unwrap_or_else(|| SPOOL.into());
    if !spool.starts_with(b"/") {
        return Err(format!("maildir of the resource file, {spool}, is no absolute path"));
    }
    from_server(run, job, &spool)
}

/// The spool is mounted from the server: in the table, and now.
fn from_server(run: &mut Run<'_>, job: &Job, spool: &BString) -> Result<Outcome, String> {
    if run.options.off.contains(&"addmounts") {
        run.report.verbose("Mounting is switched off by an option");
        return Ok(Outcome::Kept);
    }
    let entry = Entry {
        source: job.object.clone(),
        // The kernel knows the true path only: /var/spool/mail is a link to /var/mail on many systems.
        target: tab::real(spool),
        kind: model::kind_of(run),
        options: run
            .resources
            .get("mountopts")
            .cloned()
            .unwrap_or_else(|| "defaults".into()),
    };
    let mounts = Mounts::read().map_err(|error| format!("cannot tell what is mounted: {error}"))?;
    let found = find(&entry, &mounts);
    if found == Found::Other {
        return Err(format!("something else than {} is mounted on {spool}", entry.source));
    }
    if found == Found::Missing && has_files(&entry.target) {
        return Err(format!(
            "{spool} holds mail of this machine, which {} would hide: not mounted",
            entry.source
        ));
    }
    let target = entry.target.clone();
    let made =
        mount_point(run, &target, &mounts).map_err(|error| format!("cannot make the mount point {target}: {error}"))?;
    let mut tab = Tab::read(run).map_err(|error| format!("cannot look at {}: {error}", tab::path(run).display()))?;
    let want = Want {
        entry,
        stated: false,
        kind_stated: false,
    };
    let changed = line(run, &want, &mut tab)?;
    tab.save(run)
        .map_err(|error| format!("cannot save {}: {error}", tab.shown()))?;
    if found == Found::Mounted {
        return Ok(if changed || made {
            Outcome::Repaired
        } else {
            Outcome::Kept
        });
    }
    if run.dry {
        let what = format!("{} on {}", want.entry.source, want.entry.target);
        tell(run, "mount", "Mounting", what);
        return Ok(Outcome::Repaired);
    }
    Ok(mount_one(run, &want.entry, &mut HashSet::new()))
}

fn has_files(path: &BString) -> bool {
    let path = path.as_path().to_path_buf();
    let names = patience::within(patience::LOOK, move || Dir::open(&path).and_then(|dir| dir.names()));
    names.is_some_and(|names| names.is_ok_and(|names| !names.is_empty()))
}

/// What is done about files of nobody, and about files that are not of whom they are named after.
struct Care {
    delete_nobodys: bool,
    warn_nobodys: bool,
    delete_others: bool,
    warn_others: bool,
}

impl Care {
    /// The switches of `control:` for `Mail` or `Files`.
    fn of(run: &Run<'_>, what: &str) -> Care {
        let on = |name: &str| run.is_on(&format!("{name}{what}"));
        Care {
            delete_nobodys: on("DeleteNonUser"),
            warn_nobodys: on("WarnNonUser"),
            delete_others: on("DeleteNonOwner"),
            warn_others: on("WarnNonOwner"),
        }
    }

    fn is_none(&self) -> bool {
        !(self.delete_nobodys || self.warn_nobodys || self.delete_others || self.warn_others)
    }
}

/// Looks at each file of a directory whose files are named after users.
fn look_through(run: &mut Run<'_>, path: &Path, care: &Care) -> Result<Outcome, String> {
    let shown = path.display();
    if care.is_none() {
        run.report
            .verbose(format_args!("Nothing is said about the files in {shown}"));
        return Ok(Outcome::Kept);
    }
    if !path.is_absolute() {
        return Err(format!("{shown} is no absolute path"));
    }
    let owned = path.to_path_buf();
    let listed = patience::within(patience::LOOK, move || {
        let dir = Dir::open(&owned)?;
        dir.names().map(|names| (dir, names))
    });
    let (dir, names) = listed
        .unwrap_or_else(|| Err(patience::no_answer()))
        .map_err(|error| format!("cannot look through {shown}: {error}"))?;
    let mut known = 0;
    let (mut nobodys, mut others) = (Vec::new(), Vec::new());
    for name in names.iter().map(|name| name.as_bstr()).filter(|name| is_box(name)) {
        let meta = dir
            .look(name)
            .map_err(|error| format!("cannot look at {shown}/{name}: {error}"))?;
        let Some(meta) = meta.filter(|meta| meta.is_file()) else {
            continue;
        };
        // Only a clear answer counts: a user that cannot be asked about is not one that is gone.
        match user(name).map_err(|error| format!("cannot ask about the user {name}: {error}"))? {
            Some(uid) => {
                known += 1;
                if uid.as_raw() != meta.uid() {
                    others.push((name, mark(&meta)));
                }
            }
            None => nobodys.push((name, mark(&meta))),
        }
    }
    let mut outcome = Outcome::Kept;
    if care.delete_nobodys && nobodys.len() >= TOO_MANY && nobodys.len() > known {
        run.report.error(format_args!(
            "Of the {} files in {shown}, {} are named after no user: the list of users is in doubt, nothing is deleted",
            nobodys.len() + known,
            nobodys.len()
        ));
        return Ok(Outcome::Failed);
    }
    let groups = [
        (
            nobodys,
            care.delete_nobodys,
            care.warn_nobodys,
            "is named after no user",
        ),
        (
            others,
            care.delete_others,
            care.warn_others,
            "does not belong to the user it is named after",
        ),
    ];
    for (names, delete, warn, what) in groups {
        for (name, seen) in names {
            // Whoever put it there may have made room for somebody's mail meanwhile.
            let same = |meta: Meta| mark(&meta) == seen;
            if delete && !dir.look(name).is_ok_and(|meta| meta.is_some_and(same)) {
                run.report
                    .inform(format_args!("{shown}/{name} is another file now: left alone"));
            } else if delete {
                tell(run, "delete", "Deleting", format_args!("{shown}/{name}, which {what}"));
                outcome = Outcome::Repaired;
                if !run.dry {
                    dir.unlink(name)
                        .map_err(|error| format!("cannot delete {shown}/{name}: {error}"))?;
                }
            } else if warn {
                run.report.say(Level::Silent, format_args!("{shown}/{name} {what}"));
            }
        }
    }
    if outcome == Outcome::Repaired && !run.dry {
        dir.sync().map_err(|error| format!("cannot write {shown}: {error}"))?;
    }
    Ok(outcome)
}

/// What tells a file from one that has its name, and perhaps its number, later.
fn mark(meta: &Meta) -> ((u64, u64), u32, i128) {
    (meta.inode(), meta.uid(), meta.mtime())
}

/// Locks and hidden files are nobody's box.
fn is_box(name: &BStr) -> bool {
    !name.starts_with(b".") && !name.ends_with(b".lock")
}

fn user(name: &BStr) -> nix::Result<Option<Uid>> {
    match name.to_str() {
        Ok(name) => User::from_name(name).map(|user| user.map(|user| user.uid)),
        Err(_) => Ok(None),
    }
}
