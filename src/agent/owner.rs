//! Owners and groups: lists of names or numbers, and the names of numbers for messages.

use std::cell::RefCell;
use std::collections::HashMap;

use bstr::BStr;
use nix::unistd::{Gid, Group, Uid, User};

thread_local! {
    /// Users and groups that were found. Asking costs five system calls or a question to a directory server each time,
    /// and a thousand rules say `owner=root`.
    static FOUND: RefCell<HashMap<(&'static str, String), u32>> = RefCell::new(HashMap::new());
}

/// Forgets what is known of users and groups: what an action did may have changed them.
pub fn forget() {
    FOUND.with_borrow_mut(HashMap::clear);
}

/// The number of a user, by name or number. What was found holds until [`forget`].
pub fn uid(name: &BStr) -> Result<u32, String> {
    number(name, "user", |name| {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    })
}

fn number(name: &BStr, what: &'static str, ask: fn(&str) -> Option<u32>) -> Result<u32, String> {
    let text = text(name, what)?;
    let key = (what, text.to_string());
    if let Some(known) = FOUND.with_borrow(|found| found.get(&key).copied()) {
        return Ok(known);
    }
    if let Some(number) = ask(text) {
        FOUND.with_borrow_mut(|found| found.insert(key, number));
        return Ok(number);
    }
    text.parse().map_err(|_| format!("Unknown {what} {name}"))
}

/// The number of a group, by name or number. What was found holds until [`forget`].
pub fn gid(name: &BStr) -> Result<u32, String> {
    number(name, "group", |name| {
        Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    })
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
