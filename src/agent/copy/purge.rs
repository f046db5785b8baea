//! `purge=true`: what is in the destination and not in the source goes. Only after the source was listed whole, and never
//! below a directory of the source that could not be read.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::spot::Target;
use super::tree::{Copy, Item};
use crate::agent::job::BytesPath;
use crate::agent::{Outcome, Run};
use crate::fsx::{Dir, Kind, is_temporary, remove_tree};

/// Removes what the source does not have.
pub(super) fn purge(run: &mut Run<'_>, copy: &Copy<'_>, items: &[Item], unread: &[BString]) {
    let Target::Tree(branch, _) = &copy.target else { return };
    let mut known = HashSet::new();
    let mut dirs = HashSet::new();
    for item in items {
        known.insert(item.rel.as_bstr());
        if item.entry.kind == Kind::Dir {
            dirs.insert(item.rel.as_bstr());
        }
    }
    let source = Listed { known, dirs, unread };
    let levels = copy.manner.select.recurse;
    match branch.top().again() {
        Ok(top) => level(run, copy, &source, &top, BStr::new(""), levels),
        Err(error) => run.report.error(format_args!("Cannot purge: {error}")),
    }
}

struct Listed<'a> {
    known: HashSet<&'a BStr>,
    dirs: HashSet<&'a BStr>,
    unread: &'a [BString],
}

fn level(run: &mut Run<'_>, copy: &Copy<'_>, source: &Listed<'_>, dir: &Dir, rel: &BStr, levels: u32) {
    // What lies deeper than the source was listed is unknown, and so is what could not be read.
    if levels == 0 || source.unread.iter().any(|path| path.as_bstr() == rel) {
        return;
    }
    let names = match dir.names() {
        Ok(names) => names,
        Err(error) => {
            let shown = copy.target_path(rel);
            run.report
                .error(format_args!("Cannot purge {}: {error}", shown.display()));
            return run.record(copy.job, Outcome::Failed);
        }
    };
    // Left by a killed run, perhaps of what the source no longer has.
    if !copy.dry && names.iter().any(|name| is_temporary(name.as_bstr())) {
        run.sweep(dir);
    }
    for name in names {
        if is_temporary(name.as_bstr()) {
            continue;
        }
        let mut below = rel.to_owned();
        if !below.is_empty() {
            below.push(b'/');
        }
        below.extend_from_slice(&name);
        let path = copy.target_path(below.as_bstr());
        if copy.manner.ignore.covers(&path) || copy.manner.ignore.covers(below.as_path()) {
            continue;
        }
        let result = if source.known.contains(below.as_bstr()) {
            if source.dirs.contains(below.as_bstr()) {
                enter(run, copy, source, dir, &name, &below, levels)
            } else {
                Ok(())
            }
        } else if source.unread.contains(&below) {
            Ok(())
        } else {
            let text = format!("Purging {} in copy dest directory", path.display());
            run.report.say(run.doing(), text);
            run.show(&path, ["deleted".to_string()]);
            if copy.dry && !run.dry {
                run.left(copy.job);
            } else {
                run.mark(copy.job, Outcome::Repaired);
            }
            if copy.dry {
                Ok(())
            } else {
                let (undo, holder) = (run.undo(), path.parent().unwrap_or(Path::new("/")));
                remove_tree(dir, name.as_bstr(), &mut |dir, name, below| {
                    undo.goes(dir, name, &holder.join(below.as_path()));
                })
            }
        };
        if let Err(error) = result {
            run.report
                .error(format_args!("Cannot purge {}: {error}", path.display()));
            run.record(copy.job, Outcome::Failed);
        }
    }
}

fn enter(
    run: &mut Run<'_>,
    copy: &Copy<'_>,
    source: &Listed<'_>,
    dir: &Dir,
    name: &BString,
    below: &BString,
    levels: u32,
) -> io::Result<()> {
    if dir.look(name.as_bstr())?.is_some_and(|meta| meta.is_dir()) {
        let inner = match dir.dir_of_same_mount(name.as_bstr()) {
            // Another file system, which a rule with xdev= leaves alone.
            Err(_) if copy.manner.select.xdev => return Ok(()),
            Err(_) => dir.dir(name.as_bstr())?,
            Ok(inner) => inner,
        };
        level(run, copy, source, &inner, below.as_bstr(), levels - 1);
    }
    Ok(())
}
