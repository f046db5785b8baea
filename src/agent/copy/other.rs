//! Objects of a copy that have no content: symbolic links, pipes and devices.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::manner::LinkType;
use super::tree::{Copy, Item, lexical, mismatch};
use super::write;
use crate::agent::job::BytesPath;
use crate::agent::links::relative;
use crate::agent::perms::Manner as PermManner;
use crate::agent::{Outcome, Run};
use crate::fsx::{self, Node};

/// A symbolic link of the source.
pub(super) fn link(run: &mut Run<'_>, copy: &Copy<'_>, item: &Item) -> io::Result<()> {
    let source = copy.source_path(item);
    let target = &item.entry.target;
    let wanted: BString = match copy.manner.link_type {
        LinkType::Absolute => {
            let whole = lexical(&source.parent().unwrap_or(Path::new("/")).join(target.as_path()));
            whole.as_os_str().as_bytes().into()
        }
        LinkType::Relative => relative(&source, target.as_path()),
        // A bare name is written with `./` before it (observed).
        _ if !target.starts_with(b"/") && !target.starts_with(b".") => [b"./", target.as_slice()].concat().into(),
        _ => target.clone(),
    };
    make_link(run, copy, item, wanted.as_bstr())
}

/// Puts a symbolic link in place.
pub(super) fn make_link(run: &mut Run<'_>, copy: &Copy<'_>, item: &Item, target: &BStr) -> io::Result<()> {
    let shown = copy.target_path(item.rel.as_bstr());
    let spot = copy.spot(item.rel.as_bstr())?;
    let old = match &spot {
        Some(spot) => copy.look(item.rel.as_bstr(), &spot.dir, spot.name.as_bstr())?,
        None => None,
    };
    if let (Some(spot), Some(old)) = (&spot, &old) {
        if old.is_link() && spot.dir.read_link(spot.name.as_bstr())? == target {
            run.record(copy.job, Outcome::Kept);
            return Ok(());
        }
        if !old.is_link() && copy.manner.typecheck {
            mismatch(run, copy, item, &shown);
            return Ok(());
        }
    }
    let old_target = match (&spot, &old) {
        (Some(spot), Some(old)) if old.is_link() => Some(spot.dir.read_link(spot.name.as_bstr())?),
        _ => None,
    };
    let old_target = old_target.map(|old| format!("old link {old}"));
    run.show(&shown, old_target.into_iter().chain([format!("new link {target}")]));
    if copy.dry {
        write::say_need(run, copy, &format!("Need to link {} -> {target}", shown.display()));
        return Ok(());
    }
    let Some(spot) = spot else { return Ok(()) };
    run.sweep(&spot.dir);
    if old.is_some_and(|old| !old.is_link()) {
        write::set_aside(run, copy, &spot, true)?;
    }
    run.report
        .inform(format_args!("Linking files {} -> {target}", shown.display()));
    run.noting((&spot.dir, spot.name.as_bstr(), &spot.path), || {
        fsx::place_symlink(&spot.dir, spot.name.as_bstr(), target)
    })?;
    let wish = copy.manner.wish_for(&item.entry);
    let meta = spot.dir.meta(spot.name.as_bstr())?;
    let (uid, gid) = (wish.uid_for(meta.uid()), wish.gid_for(meta.gid()));
    if uid.is_some() || gid.is_some() {
        spot.dir.object(spot.name.as_bstr())?.chown(uid, gid)?;
    }
    run.record(copy.job, Outcome::Repaired);
    Ok(())
}

/// A pipe or device of the source.
pub(super) fn special(run: &mut Run<'_>, copy: &Copy<'_>, item: &Item, node: Node) -> io::Result<()> {
    let shown = copy.target_path(item.rel.as_bstr());
    let Some(spot) = copy.spot(item.rel.as_bstr())? else {
        return Ok(());
    };
    let name = spot.name.as_bstr();
    let wish = copy.manner.wish_for(&item.entry);
    if let Some(meta) = copy.look(item.rel.as_bstr(), &spot.dir, name)? {
        let same = match node {
            Node::Fifo => meta.is_fifo(),
            Node::Socket => meta.is_socket(),
            Node::Char(device) => meta.is_char() && meta.rdev() == device,
            Node::Block(device) => meta.is_block() && meta.rdev() == device,
        };
        if same {
            if !copy.dry || run.dry {
                run.check_object(&spot.dir, name, &spot.path, &meta, &wish, PermManner::Fix("Object"))?;
            }
            run.record(copy.job, Outcome::Kept);
            return Ok(());
        }
        if copy.manner.typecheck {
            mismatch(run, copy, item, &shown);
            return Ok(());
        }
        if !copy.dry {
            write::set_aside(run, copy, &spot, false)?;
        }
    }
    let source = copy.source_path(item);
    if copy.dry {
        write::say_missing(run, copy, &shown);
        return Ok(());
    }
    run.report
        .inform(format_args!("Copying from {}:{}", copy.host, source.display()));
    let mode = wish.mode_for(item.entry.mode, false);
    run.noting((&spot.dir, name, &spot.path), || spot.dir.mknod(name, node, mode))?;
    let meta = spot.dir.meta(name)?;
    run.check_object(&spot.dir, name, &spot.path, &meta, &wish, PermManner::Fix("Object"))?;
    run.record(copy.job, Outcome::Repaired);
    Ok(())
}
