//! What an access list of a policy asks for, and what that makes of the list an object has. Pure but for the names of
//! users and groups.

use bstr::{BStr, ByteSlice};

use super::codec::Acl;
use crate::agent::owner;

/// An `acl:` of a policy, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclWish {
    /// `method:overwrite`: users and groups that are not named here go.
    overwrite: bool,
    access: Vec<Entry>,
    /// For what is made in a directory.
    default: Vec<Entry>,
}

/// One entry of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    who: Who,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    Mask,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// Bits to set and to clear.
    Bits { set: u8, clear: u8 },
    /// `default`: the entry goes.
    Gone,
}

impl AclWish {
    /// Reads the words of an `acl:`. `None`: it is for another system (`fstype:`).
    pub fn parse<'a>(words: impl Iterator<Item = &'a BStr>) -> Result<Option<AclWish>, String> {
        let mut wish = AclWish::default();
        let mut ours = true;
        for word in words {
            let lower = word.to_ascii_lowercase();
            match lower.as_slice() {
                b"method:append" => wish.overwrite = false,
                b"method:overwrite" => wish.overwrite = true,
                b"fstype:posix" => {}
                text if text.starts_with(b"fstype:") => {
                    let known = [&b"solaris"[..], b"dfs", b"afs", b"hpux", b"nt"];
                    if !known.contains(&text.strip_prefix(b"fstype:").unwrap_or_default()) {
                        return Err(format!(
                            "{word}: the file systems are posix, solaris, dfs, afs, hpux and nt"
                        ));
                    }
                    ours = false;
                }
                text if text.starts_with(b"method:") => {
                    return Err(format!("{word}: the methods are append and overwrite"));
                }
                // The entries of another system may look different.
                _ if !ours => {}
                _ => wish.entry(word)?,
            }
        }
        Ok(ours.then_some(wish))
    }

    fn entry(&mut self, word: &BStr) -> Result<(), String> {
        let form = || format!("{word}: an entry is TYPE:NAME:PERMISSIONS, such as user:mark:rw");
        let lower = word.to_ascii_lowercase();
        const DEFAULT: [&[u8]; 2] = [b"default:", b"default_"];
        let prefix = DEFAULT.iter().find(|prefix| lower.starts_with(prefix));
        let rest = word.get(prefix.map_or(0, |prefix| prefix.len())..).unwrap_or_default();
        let parts: Vec<&[u8]> = rest.splitn(3, |byte| *byte == b':').collect();
        let [kind, name, perms] = parts.as_slice() else {
            return Err(form());
        };
        let name = name.as_bstr();
        let nobody = name.is_empty() || name == "*";
        let who = match kind.to_ascii_lowercase().as_slice() {
            b"user" if nobody => Who::Owner,
            b"user" => Who::User(owner::uid(name)?),
            b"group" if nobody => Who::OwningGroup,
            b"group" => Who::Group(owner::gid(name)?),
            b"mask" if nobody => Who::Mask,
            b"other" if nobody => Who::Other,
            b"mask" | b"other" => return Err(format!("{word}: nobody is named in such an entry, write *")),
            _ => return Err(form()),
        };
        let change = change(perms).ok_or_else(|| {
            format!("{word}: permissions are letters of rwx, with + - or = before them, noaccess or default")
        })?;
        if change == Change::Gone && !matches!(who, Who::User(_) | Who::Group(_)) {
            return Err(format!("{word}: only the entry of a named user or group can go"));
        }
        match prefix {
            Some(_) => self.default.push(Entry { who, change }),
            None => self.access.push(Entry { who, change }),
        }
        Ok(())
    }

    /// The list an object shall have that has this one now. `mode` is what the rule makes of permission bits: it counts
    /// more, so that it and the list never undo each other's work; the group part of it is the mask.
    pub fn access(&self, now: &Acl, mode: &dyn Fn(u32) -> u32) -> Acl {
        let mut acl = now.clone();
        if self.overwrite {
            acl.users.clear();
            acl.groups.clear();
            acl.mask = None;
        }
        let mask = apply(&self.access, &mut acl);
        finish(&mut acl, mask);
        acl.set_mode(mode(acl.mode()));
        acl
    }

    /// The default list a directory shall have. Where it has none, one is made from its permissions.
    pub fn inherited(&self, now: Option<&Acl>, access: &Acl) -> Option<Acl> {
        if self.default.is_empty() {
            return now.filter(|_| !self.overwrite).cloned();
        }
        let mut acl = match now.filter(|_| !self.overwrite) {
            Some(now) => now.clone(),
            None => Acl {
                user: access.user,
                group: access.group,
                other: access.other,
                ..Acl::default()
            },
        };
        let mask = apply(&self.default, &mut acl);
        finish(&mut acl, mask);
        Some(acl)
    }
}

/// Makes the changes; gives the mask, where it is named.
fn apply(entries: &[Entry], acl: &mut Acl) -> Option<u8> {
    let mut named = None;
    for entry in entries {
        let Change::Bits { set, clear } = entry.change else {
            match entry.who {
                Who::User(id) => drop(acl.users.remove(&id)),
                Who::Group(id) => drop(acl.groups.remove(&id)),
                _ => {}
            }
            continue;
        };
        let mut mask = acl.mask.unwrap_or_else(|| acl.union());
        let perms = match entry.who {
            Who::Owner => &mut acl.user,
            Who::User(id) => acl.users.entry(id).or_default(),
            Who::OwningGroup => &mut acl.group,
            Who::Group(id) => acl.groups.entry(id).or_default(),
            Who::Mask => &mut mask,
            Who::Other => &mut acl.other,
        };
        *perms = (*perms & !clear) | set;
        if entry.who == Who::Mask {
            named = Some(mask);
        }
    }
    named
}

/// The mask: as named, else what lets every entry have what it says; none where nobody is named.
fn finish(acl: &mut Acl, named: Option<u8>) {
    acl.mask = match named {
        Some(mask) => Some(mask),
        None => acl.is_extended().then(|| acl.union()),
    };
}

/// Permissions: `rwx`, `+r,-w`, `=rx`, `noaccess`, `default`.
fn change(text: &[u8]) -> Option<Change> {
    match text.to_ascii_lowercase().as_slice() {
        b"noaccess" => return Some(Change::Bits { set: 0, clear: 7 }),
        b"default" => return Some(Change::Gone),
        b"" => return None,
        _ => {}
    }
    let (mut set, mut clear) = (0, 0);
    for part in text.split(|byte| *byte == b',') {
        // A lone `-` and the dashes of `r--` stand for nothing.
        let (sign, letters) = match part {
            [sign @ (b'+' | b'='), letters @ ..] => (*sign, letters),
            [b'-', letters @ ..] if letters.first().is_some_and(|byte| *byte != b'-') && part.len() != 3 => {
                (b'-', letters)
            }
            letters => (b'=', letters),
        };
        let mut bits = 0;
        for letter in letters {
            bits |= match letter.to_ascii_lowercase() {
                b'r' => 4,
                b'w' => 2,
                b'x' => 1,
                b'-' => 0,
                _ => return None,
            };
        }
        match sign {
            b'+' => (set, clear) = (set | bits, clear & !bits),
            b'-' => (set, clear) = (set & !bits, clear | bits),
            _ => (set, clear) = (bits, 7 & !bits),
        }
    }
    Some(Change::Bits { set, clear })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &[&str]) -> Result<Option<AclWish>, String> {
        AclWish::parse(words.iter().map(|word| word.as_bytes().as_bstr()))
    }

    fn made(words: &[&str], now: &Acl, mode: &dyn Fn(u32) -> u32) -> Acl {
        wish(words).unwrap().unwrap().access(now, mode)
    }

    #[test]
    fn permissions_are_set_added_and_taken_away() {
        let bits = |set, clear| Some(Change::Bits { set, clear });
        for (text, wanted) in [
            ("rwx", bits(7, 0)),
            ("r", bits(4, 3)),
            ("r--", bits(4, 3)),
            ("-wx", bits(3, 4)),
            ("=rx", bits(5, 2)),
            ("+rx", bits(5, 0)),
            ("-w", bits(0, 2)),
            ("+r,-w", bits(4, 2)),
            ("---", bits(0, 7)),
            ("-", bits(0, 7)),
            ("noaccess", bits(0, 7)),
            ("default", Some(Change::Gone)),
            ("", None),
            ("rq", None),
            ("*", None),
        ] {
            assert_eq!(change(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn appending_leaves_what_is_not_named_and_overwriting_does_not() {
        let mut now = Acl::from_mode(0o640);
        now.users.insert(7, 6);
        now.mask = Some(6);
        let keep = |mode| mode;
        let added = made(&["user:8:r", "group:*:+x"], &now, &keep);
        assert_eq!(added.users, [(7, 6), (8, 4)].into());
        assert_eq!((added.group, added.mask), (5, Some(7)));
        let over = made(&["method:overwrite", "user:8:r"], &now, &keep);
        assert_eq!((over.users, over.mask), ([(8, 4)].into(), Some(4)));
        let gone = made(&["user:7:default"], &now, &keep);
        assert_eq!((gone.mode(), gone.mask), (0o640, None));
    }

    #[test]
    fn a_second_look_has_nothing_to_change_with_any_mode() {
        let words = ["user:8:rwx", "group:9:noaccess", "user:*:+x", "other:*:=r"];
        for overwrite in ["method:append", "method:overwrite"] {
            let words = [&words[..], &[overwrite]].concat();
            for (set, clear) in [(0, 0), (0o644, 0o133), (0o600, 0o177), (0o010, 0), (0, 0o070)] {
                let mode = |mode: u32| (mode & !clear) | set;
                let mut first = Acl::from_mode(mode(0o640));
                first = made(&words, &first, &mode);
                assert_eq!(mode(first.mode()), first.mode(), "the mode is met");
                assert_eq!(made(&words, &first, &mode), first);
            }
        }
    }

    #[test]
    fn a_default_list_begins_with_the_permissions_of_its_directory() {
        let access = Acl::from_mode(0o750);
        let one = wish(&["default:user:8:rx", "default_other:*:noaccess"])
            .unwrap()
            .unwrap();
        let made = one.inherited(None, &access).unwrap();
        assert_eq!((made.mode(), made.users.clone()), (0o750, [(8, 5)].into()));
        assert_eq!(one.inherited(Some(&made), &access), Some(made.clone()));
        let none = wish(&["method:overwrite", "user:8:r"]).unwrap().unwrap();
        assert_eq!(none.inherited(Some(&made), &access), None);
        let append = wish(&["user:8:r"]).unwrap().unwrap();
        assert_eq!(append.inherited(Some(&made), &access), Some(made));
    }

    #[test]
    fn what_means_nothing_is_refused_and_other_systems_are_passed_over() {
        for word in [
            "user:8",
            "user:8:rq",
            "robot:8:r",
            "mask:8:r",
            "user:*:default",
            "method:both",
            "fstype:ext4",
        ] {
            assert!(wish(&[word]).is_err(), "{word}");
        }
        assert!(wish(&["user:no_such_user_here:r"]).is_err());
        assert_eq!(wish(&["fstype:dfs", "foreign_other:/.../cell:rx"]), Ok(None));
    }
}
