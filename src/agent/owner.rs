//! Owners and groups: lists of names or numbers, and the names of numbers for messages.

use bstr::BStr;
use nix::unistd::{Gid, Group, Uid, User};

/// The number of a user, by name or number.
pub fn uid(name: &BStr) -> Result<u32, String> {
    let text = text(name, "user")?;
    if let Ok(Some(user)) = User::from_name(text) {
        return Ok(user.uid.as_raw());
    }
    text.parse().map_err(|_| format!("Unknown user {name}"))
}

/// The number of a group, by name or number.
pub fn gid(name: &BStr) -> Result<u32, String> {
    let text = text(name, "group")?;
    if let Ok(Some(group)) = Group::from_name(text) {
        return Ok(group.gid.as_raw());
    }
    text.parse().map_err(|_| format!("Unknown group {name}"))
}

fn text<'a>(name: &'a BStr, what: &str) -> Result<&'a str, String> {
    std::str::from_utf8(name).map_err(|_| format!("Unknown {what} {name}"))
}

/// The numbers of a comma list; the first is the one to set.
pub fn list(names: &BStr, one: fn(&BStr) -> Result<u32, String>) -> Result<Vec<u32>, String> {
    names
        .split(|byte| *byte == b',')
        .filter(|name| !name.is_empty())
        .map(|name| one(name.into()))
        .collect()
}

/// The name of a user number, or the number.
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// The name of a group number, or the number.
pub fn group_name(gid: u32) -> String {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => group.name,
        _ => gid.to_string(),
    }
}
