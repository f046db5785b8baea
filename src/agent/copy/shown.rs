//! What would come, or comes, of a file: shown as a diff, and told to who listens.

use std::io::{self, Read};
use std::path::Path;

use bstr::ByteSlice;

use super::spot::Spot;
use super::tree::{Copy, Item};
use crate::agent::event::Digest;
use crate::agent::{Run, diff};
use crate::fsx::{self, Meta};

/// Contents larger than this are not shown as a diff.
pub(super) const DIFF_LIMIT: u64 = 1 << 20;

/// What is there of a file, in one number.
pub(super) fn old_digest(spot: Option<&Spot>) -> Option<Digest> {
    let file = spot?.dir.read(spot?.name.as_bstr()).ok()?;
    fsx::digest_of(file).ok().map(Digest)
}

/// Nothing is written: the content that would come is shown, and told.
pub(super) fn look_only(
    run: &mut Run<'_>,
    copy: &Copy<'_>,
    item: &Item,
    spot: Option<&Spot>,
    shown: &Path,
    reader: &mut dyn Read,
) -> io::Result<()> {
    let mut new = Vec::new();
    if item.entry.size <= DIFF_LIMIT {
        (&mut *reader).take(DIFF_LIMIT + 1).read_to_end(&mut new)?;
    }
    if run.options.diff {
        if item.entry.size > DIFF_LIMIT {
            too_large(run, shown);
        } else {
            diff_with_old(run, spot, shown, &new);
        }
        let old = match spot {
            Some(spot) => spot.dir.look(spot.name.as_bstr())?.filter(Meta::is_file),
            None => None,
        };
        let mode = copy.manner.wish_for(&item.entry).mode_for(item.entry.mode, false);
        match old {
            Some(old) => run.show(shown, diff::mode(old.mode(), mode)),
            None => run.show(shown, [format!("new file mode {mode:o}")]),
        }
    }
    if run.report.listens() {
        let after = fsx::digest_of(new.as_slice().chain(reader)).map(Digest)?;
        let name = shown.as_os_str().as_encoded_bytes();
        run.report.changed(name, old_digest(spot), Some(after));
    }
    Ok(())
}

fn too_large(run: &mut Run<'_>, shown: &Path) {
    let text = format!("{} is too large to be shown", shown.display());
    run.report.diff(&[text.into()]);
}

pub(super) fn diff_with_old(run: &mut Run<'_>, spot: Option<&Spot>, shown: &Path, new: &[u8]) {
    let mut old = Vec::new();
    if let Some(file) = spot.and_then(|spot| spot.dir.read(spot.name.as_bstr()).ok()) {
        // What cannot be read is shown as empty; writing it will say why.
        let _ = file.take(DIFF_LIMIT + 1).read_to_end(&mut old);
    }
    if old.len() as u64 > DIFF_LIMIT {
        return too_large(run, shown);
    }
    let lines = diff::unified(shown, &old, new);
    run.report.diff(&lines);
}
