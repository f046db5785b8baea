//! Whether an object is what a run left, and how it is not.

use std::io;

use super::back::Verdict;
use super::hex;
use super::record::{After, Change, Plain, Rights, State, bytes};
use crate::agent::owner;
use crate::fsx::{Meta, Place, digest_of};

/// What can be done about an object of which only mode and owner were changed.
pub fn judge_rights(change: &Change, place: &Place, now: Option<&Meta>) -> Verdict {
    let behind = match now {
        Some(meta) if meta.is_link() && matches!(change.was, State::Dir(_)) => {
            place.dir.through(place.name()).and_then(|dir| dir.self_meta()).ok()
        }
        other => other.copied(),
    };
    let Some(meta) = behind else {
        return Verdict::Changed("it is gone".into());
    };
    let is = Rights::of(&meta);
    if kind(&meta) != change.was.word() {
        return Verdict::Changed(format!("it is a {} now", kind(&meta)));
    }
    let left = match &change.after {
        After::Is(state) => state.rights(),
        _ => None,
    };
    match left {
        _ if change.was.rights() == Some(is) => Verdict::Already,
        Some(left) if left == is => Verdict::Can,
        Some(left) => Verdict::Changed(rights_differ(left, is)),
        None => Verdict::Changed(UNFINISHED.into()),
    }
}

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
