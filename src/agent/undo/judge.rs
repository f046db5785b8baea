//! Whether an object is what a run left, and how it is not.

use std::io;

use super::back::Verdict;
use super::hex;
use super::record::{After, Change, Plain, Rights, State, bytes};
use crate::agent::owner;
use crate::fsx::{Meta, Place, digest_of};

/// What can be done about an object of which only mode and owner were changed. Its content counts only where it would get
/// another owner, or bits by which it runs as another: somebody may have put something else into it since.
pub fn judge_rights(change: &Change, now: Option<&Meta>) -> Verdict {
    let Some(meta) = now else {
        return Verdict::Changed("it is gone".into());
    };
    if kind(meta) != change.was.word() {
        return Verdict::Changed(format!("it is a {} now", kind(meta)));
    }
    let (is, was) = (Rights::of(meta), change.was.rights());
    if was == Some(is) {
        return Verdict::Already;
    }
    let After::Is(state) = &change.after else {
        return Verdict::Changed(UNFINISHED.into());
    };
    match (state.rights(), was) {
        (Some(left), _) if left != is => Verdict::Changed(rights_differ(left, is)),
        (Some(left), Some(was)) => {
            let matters = (left.uid, left.gid) != (was.uid, was.gid) || was.mode & 0o6000 != 0;
            match state {
                State::File(plain) if matters && plain.stamp != Plain::of(meta).stamp => {
                    Verdict::Changed("its content may have been changed".into())
                }
                _ => Verdict::Can,
            }
        }
        _ => Verdict::Changed(UNFINISHED.into()),
    }
}

/// What is said where the end of a change was not written down.
pub const UNFINISHED: &str = "the run was ended while it changed it";

/// How an object is not what the run left.
pub fn differs(after: &After, place: &Place, meta: &Meta) -> io::Result<Option<String>> {
    let digest = || -> io::Result<String> { Ok(hex(&digest_of(place.dir.read(place.name())?)?)) };
    let content = || Some(String::from("its content was changed"));
    let (state, will) = match after {
        After::Unknown => return Ok(Some(UNFINISHED.into())),
        After::Is(state) => (Some(state), None),
        After::Will(will) => (None, Some(will)),
    };
    if let Some(will) = will {
        if !meta.is_file() {
            return Ok(Some(format!("it is a {} now", kind(meta))));
        }
        let is = Rights::of(meta);
        let left = Rights {
            mode: will.mode.unwrap_or(is.mode),
            uid: will.uid.unwrap_or(is.uid),
            gid: will.gid.unwrap_or(is.gid),
        };
        return Ok(match left == is {
            false => Some(rights_differ(left, is)),
            true if digest()? != will.digest => content(),
            true => None,
        });
    }
    let Some(state) = state else { return Ok(None) };
    if state.word() != kind(meta) {
        let was = if *state == State::Nothing {
            "the run had removed it, and "
        } else {
            ""
        };
        return Ok(Some(format!("{was}it is a {} now", kind(meta))));
    }
    let is = Rights::of(meta);
    if let State::Link { target, .. } = state {
        let now = place.dir.read_link(place.name())?;
        return Ok((now != bytes(target)).then(|| format!("it points to {now} now")));
    }
    if let Some(left) = state.rights().filter(|left| *left != is) {
        return Ok(Some(rights_differ(left, is)));
    }
    let State::File(plain) = state else { return Ok(None) };
    if Plain::of(meta).stamp == plain.stamp && meta.size() == plain.size {
        return Ok(None);
    }
    match &plain.digest {
        Some(known) if meta.size() == plain.size && digest()? == *known => Ok(None),
        _ => Ok(content()),
    }
}

fn kind(meta: &Meta) -> &'static str {
    if meta.is_file() {
        "file"
    } else if meta.is_dir() {
        "directory"
    } else if meta.is_link() {
        "link"
    } else {
        "special file"
    }
}

fn rights_differ(left: Rights, is: Rights) -> String {
    let owners = |rights: Rights| format!("{}:{}", owner::user_name(rights.uid), owner::group_name(rights.gid));
    match left.mode == is.mode {
        false => format!("its mode is {:o}, and the run left {:o}", is.mode, left.mode),
        true => format!("it belongs to {}, and the run left {}", owners(is), owners(left)),
    }
}
