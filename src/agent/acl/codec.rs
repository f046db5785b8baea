//! POSIX access lists as the kernel keeps them in extended attributes: bytes to [`Acl`] and back. Pure.
//!
//! A header with the version, then entries of tag, permissions and number, little-endian, in the order of their tags.

use std::collections::BTreeMap;

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The number of entries that have none.
const NOBODY: u32 = u32::MAX;

/// An access list. Permissions are `rwx` as 4, 2, 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// The owner.
    pub user: u8,
    /// Users by number.
    pub users: BTreeMap<u32, u8>,
    /// The owning group.
    pub group: u8,
    /// Groups by number.
    pub groups: BTreeMap<u32, u8>,
    /// What users and groups may have at most; there wherever one is named.
    pub mask: Option<u8>,
    /// Everybody else.
    pub other: u8,
}

impl Acl {
    /// The list that says what permission bits say.
    pub fn from_mode(mode: u32) -> Acl {
        let mut acl = Acl::default();
        acl.set_mode(mode);
        acl
    }

    /// The permission bits of an object with this list: the mask stands in the place of the group.
    pub fn mode(&self) -> u32 {
        let group = self.mask.unwrap_or(self.group);
        u32::from(self.user) << 6 | u32::from(group) << 3 | u32::from(self.other)
    }

    /// What chmod(2) makes of the list.
    pub fn set_mode(&mut self, mode: u32) {
        let bits = |shift: u32| u8::try_from(mode >> shift & 7).unwrap_or(0);
        self.user = bits(6);
        self.other = bits(0);
        match &mut self.mask {
            Some(mask) => *mask = bits(3),
            None => self.group = bits(3),
        }
    }

    /// Whether a user or group is named.
    pub fn is_extended(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    /// What all entries that the mask holds back have together.
    pub fn union(&self) -> u8 {
        let named = self.users.values().chain(self.groups.values());
        named.fold(self.group, |sum, perms| sum | perms)
    }

    /// The bytes of the attribute.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        let mut entry = |tag: u16, perms: u8, id: u32| {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&u16::from(perms).to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        };
        entry(USER_OBJ, self.user, NOBODY);
        for (id, perms) in &self.users {
            entry(USER, *perms, *id);
        }
        entry(GROUP_OBJ, self.group, NOBODY);
        for (id, perms) in &self.groups {
            entry(GROUP, *perms, *id);
        }
        if let Some(mask) = self.mask {
            entry(MASK, mask, NOBODY);
        }
        entry(OTHER, self.other, NOBODY);
        out
    }

    /// Reads the bytes of the attribute; what the kernel would not have written is refused, in one sentence.
    pub fn decode(bytes: &[u8]) -> Result<Acl, &'static str> {
        let (version, entries) = bytes.split_first_chunk::<4>().ok_or("the access list is cut off")?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err("the access list is of an unknown kind");
        }
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err("the access list is cut off");
        }
        let mut acl = Acl::default();
        let mut last = (0, 0);
        let mut tags = 0;
        for [t0, t1, p0, p1, id @ ..] in entries {
            let (tag, perms) = (u16::from_le_bytes([*t0, *t1]), u16::from_le_bytes([*p0, *p1]));
            let id = u32::from_le_bytes(*id);
            let perms = u8::try_from(perms).ok().filter(|perms| *perms <= 7);
            let perms = perms.ok_or("the access list has permissions that are none")?;
            let named = matches!(tag, USER | GROUP);
            let place = (tag, if named { id } else { 0 });
            if place <= last || named == (id == NOBODY) {
                return Err("the access list is in disorder");
            }
            last = place;
            tags |= tag;
            match tag {
                USER_OBJ => acl.user = perms,
                USER => drop(acl.users.insert(id, perms)),
                GROUP_OBJ => acl.group = perms,
                GROUP => drop(acl.groups.insert(id, perms)),
                MASK => acl.mask = Some(perms),
                OTHER => acl.other = perms,
                _ => return Err("the access list has an entry of an unknown kind"),
            }
        }
        if tags & (USER_OBJ | GROUP_OBJ | OTHER) != USER_OBJ | GROUP_OBJ | OTHER {
            return Err("the access list lacks an entry");
        }
        if acl.is_extended() && acl.mask.is_none() {
            return Err("the access list lacks its mask");
        }
        Ok(acl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn acl()(base in any::<[u8; 4]>(), users in proptest::collection::btree_map(0..u32::MAX, 0..8u8, 0..5),
                groups in proptest::collection::btree_map(0..u32::MAX, 0..8u8, 0..5), mask: bool) -> Acl {
            let [user, group, other, top] = base.map(|bits| bits & 7);
            let mask = (mask || !users.is_empty() || !groups.is_empty()).then_some(top);
            Acl { user, users, group, groups, mask, other }
        }
    }

    proptest! {
        #[test]
        fn a_list_survives_its_bytes(acl in acl(), mode in 0..0o1000u32) {
            prop_assert_eq!(Acl::decode(&acl.encode()), Ok(acl.clone()));
            let mut changed = acl.clone();
            changed.set_mode(mode);
            prop_assert_eq!(changed.mode(), mode);
            prop_assert_eq!((changed.users, changed.groups), (acl.users, acl.groups));
        }

        #[test]
        fn bytes_that_are_read_are_the_bytes_that_are_written(acl in acl(), at in 0..200usize, with: u8, cut in 0..200usize) {
            let mut bytes = acl.encode();
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(read) = Acl::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes.clone());
            }
            let cut = cut % bytes.len();
            let whole = Acl::decode(&bytes[..cut]);
            prop_assert!(whole.is_err(), "{:?}", whole);
        }
    }

    #[test]
    fn what_the_kernel_would_not_write_is_refused() {
        let entry =
            |tag: u16, perms: u16, id: u32| [&tag.to_le_bytes()[..], &perms.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |entries: &[Vec<u8>]| [&2u32.to_le_bytes()[..], &entries.concat()].concat();
        let [user, group, other] = [USER_OBJ, GROUP_OBJ, OTHER].map(|tag| entry(tag, 6, NOBODY));
        assert!(Acl::decode(&list(&[user.clone(), group.clone(), other.clone()])).is_ok());
        for (bytes, why) in [
            (vec![], "cut off"),
            (1u32.to_le_bytes().to_vec(), "unknown kind"),
            (list(&[user.clone(), other.clone()]), "lacks an entry"),
            (list(&[group.clone(), user.clone(), other.clone()]), "disorder"),
            (
                list(&[user.clone(), user.clone(), group.clone(), other.clone()]),
                "disorder",
            ),
            (
                list(&[user.clone(), entry(USER, 4, 7), group.clone(), other.clone()]),
                "lacks its mask",
            ),
            (
                list(&[entry(USER_OBJ, 8, NOBODY), group.clone(), other.clone()]),
                "permissions",
            ),
            (
                list(&[user, group, other, entry(0x40, 4, NOBODY)]),
                "an entry of an unknown kind",
            ),
        ] {
            let error = Acl::decode(&bytes).unwrap_err();
            assert!(error.contains(why), "{error}: {why}");
        }
    }
}
