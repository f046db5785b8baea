//! `mountall`: what stands in the table and comes from other machines is mounted. `mountinfo`: what is mounted.

use std::collections::HashSet;

use bstr::{BString, ByteSlice};

use super::fstab::Entry;
use super::tab::{self, Tab};
use super::table::{Mount, Mounts, is_network};
use super::{command, model};
use crate::agent::action::{Action, Work, in_text_order, whole};
use crate::agent::report::Level;
use crate::agent::{Outcome, Run};
use crate::policy::Section;
use crate::sys::process;

/// The line of the table.
pub static MOUNTALL: Action = first_pass("mountall", mount_all);

/// The line of the table.
pub static MOUNTINFO: Action = first_pass("mountinfo", mount_info);

const fn first_pass(name: &'static str, work: fn(&mut Run<'_>, &'static Action)) -> Action {
    Action {
        name,
        section: Section::Mountables,
        operator: name,
        expand: whole,
        order: in_text_order,
        once: true,
        work: Work::All(work),
    }
}

/// What became of a file system of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is where it should be.
    Mounted,
    /// Nothing is mounted there.
    Missing,
    /// Something else is mounted there.
    Other,
}

/// Looks a file system up in the kernel's table. A mount point that is not found there by its name is looked for by its
/// true path, which links may lead to.
pub fn find(entry: &Entry, mounts: &Mounts) -> Found {
    let plain = |source: &BString| source.trim_end_with(|c| c == '/').to_vec();
    let mount = mounts
        .at(&entry.target)
        .or_else(|| mounts.at(&tab::real(&entry.target)));
    match mount {
        None => Found::Missing,
        // An automounter mounts it when somebody comes.
        Some(Mount { kind, .. }) if kind == "autofs" => Found::Mounted,
        Some(mount) if plain(&mount.source) == plain(&entry.source) => Found::Mounted,
        Some(_) => Found::Other,
    }
}

/// The lines of the table that are ours to mount: of the type of `nfstype`, or from the network, unless they say `noauto`.
fn ours(run: &Run<'_>, tab: &Tab) -> Vec<Entry> {
    let kind = model::kind_of(run);
    let entries = tab.table.entries().map(|(_, entry)| entry);
    entries
        .filter(|entry| (entry.kind == kind || is_network(&entry.kind)) && model::split(&entry.source).is_some())
        .filter(|entry| entry.target.starts_with(b"/") && !entry.has_option("noauto"))
        .collect()
}

fn mount_all(run: &mut Run<'_>, _: &'static Action) {
    let begun = Tab::read(run).and_then(|tab| Mounts::read().map(|mounts| (tab, mounts)));
    let (tab, mounts) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let shown = tab::path(run);
            run.report
                .error(format_args!("Cannot look at {}: {error}", shown.display()));
            return run.count(Outcome::Failed);
        }
    };
    let mut missing = Vec::new();
    for entry in ours(run, &tab) {
        match find(&entry, &mounts) {
            Found::Mounted => run.count(Outcome::Kept),
            Found::Missing => missing.push(entry),
            Found::Other => {
                taken(run, &entry, &mounts);
                run.count(Outcome::Failed);
            }
        }
    }
    if missing.is_empty() {
        return;
    }
    if run.dry {
        for entry in &missing {
            let text = format!("Need to mount {} on {}", entry.source, entry.target);
            run.report.say(Level::Silent, text);
            run.count(Outcome::Repaired);
        }
        return;
    }
    match run.resources.get("mountcomm").cloned() {
        Some(line) => by_command(run, &line, &missing),
        None => {
            let mut dead = HashSet::new();
            for entry in &missing {
                let outcome = mount_one(run, entry, &mut dead);
                run.count(outcome);
            }
        }
    }
}

fn taken(run: &mut Run<'_>, entry: &Entry, mounts: &Mounts) {
    if let Some(mount) = mounts.at(&entry.target) {
        run.report.error(format_args!(
            "{} is mounted on {}, where {} should be: left alone",
            mount.source, entry.target, entry.source
        ));
    }
}

/// `mountcomm` mounts everything at once; what is mounted afterwards tells how it went.
fn by_command(run: &mut Run<'_>, line: &BString, missing: &[Entry]) {
    run.report.inform(format_args!("Executing {line}"));
    let result = command::carry_out(process::split(line), command::limit(run));
    if let Err((why, _)) = &result {
        run.report.error(format_args!("Not everything was mounted: {why}"));
    }
    let mounts = Mounts::read().unwrap_or_default();
    for entry in missing {
        let outcome = arrived(run, entry, &mounts);
        run.count(outcome);
    }
}

/// Mounts one file system. A server that was silent once is not asked again.
pub fn mount_one(run: &mut Run<'_>, entry: &Entry, dead: &mut HashSet<BString>) -> Outcome {
    let server: BString = model::split(&entry.source)
        .map(|(host, _)| host.into())
        .unwrap_or_default();
    if dead.contains(&server) {
        run.report.error(format_args!(
            "{} was not mounted: {server} gave no answer before",
            entry.source
        ));
        return Outcome::Failed;
    }
    match command::carry_out(command::mounting(entry), command::limit(run)) {
        Ok(()) => {
            let mounts = Mounts::read().unwrap_or_default();
            arrived(run, entry, &mounts)
        }
        Err((why, late)) => {
            if late {
                dead.insert(server);
            }
            run.report
                .error(format_args!("Cannot mount {} on {}: {why}", entry.source, entry.target));
            Outcome::Failed
        }
    }
}

/// Whether a file system is mounted now, and says so.
fn arrived(run: &mut Run<'_>, entry: &Entry, mounts: &Mounts) -> Outcome {
    let (source, target) = (&entry.source, &entry.target);
    if find(entry, mounts) == Found::Mounted {
        run.report.inform(format_args!("Mounted {source} on {target}"));
        return Outcome::Repaired;
    }
    if entry.has_option("bg") {
        run.report
            .inform(format_args!("{source} is being mounted on {target} in the background"));
        return Outcome::Repaired;
    }
    run.report
        .error(format_args!("{source} is still not mounted on {target}"));
    Outcome::Failed
}

/// Tells what comes from other machines, and what is not mounted as the table has it.
fn mount_info(run: &mut Run<'_>, _: &'static Action) {
    let mounts = match Mounts::read() {
        Ok(mounts) => mounts,
        Err(error) => {
            run.report.error(format_args!("Cannot tell what is mounted: {error}"));
            return run.count(Outcome::Failed);
        }
    };
    for mount in mounts.0.iter().filter(|mount| mount.is_remote()) {
        run.report.verbose(format_args!(
            "{} is mounted on {} ({})",
            mount.source, mount.target, mount.kind
        ));
    }
    match Tab::read(run) {
        Ok(tab) => {
            for entry in ours(run, &tab) {
                match find(&entry, &mounts) {
                    Found::Mounted => {}
                    Found::Missing => run
                        .report
                        .inform(format_args!("{} is not mounted on {}", entry.source, entry.target)),
                    Found::Other => taken(run, &entry, &mounts),
                }
            }
        }
        Err(error) => {
            let shown = tab::path(run);
            run.report
                .error(format_args!("Cannot look at {}: {error}", shown.display()));
        }
    }
    for disk in run.home_disks() {
        run.report
            .verbose(format_args!("{} holds home directories", disk.display()));
    }
}
