//! `acl:`: access lists beyond the permission bits, as `acl=` of files, directories and copies asks (cfengine2.md 14.14).
//!
//! | file | owns |
//! |---|---|
//! | `codec` | POSIX access lists as bytes, pure |
//! | `wish` | what a policy asks for |

mod codec;
mod wish;

use std::io;
use std::path::Path;

use bstr::ByteSlice;

use super::job::BadAttr;
use super::perms::{Manner, Wish};
use super::{Job, Run, owner};
use crate::fsx::Object;
use crate::policy::{Body, Section};
pub use codec::Acl;
pub use wish::AclWish;

/// The attribute of an object's list.
pub const ACCESS: &str = "system.posix_acl_access";
/// The attribute of the list for what is made in a directory.
const DEFAULT: &str = "system.posix_acl_default";

impl Run<'_> {
    /// The access list a rule asks for, by the name in `acl=`; the last `acl:` of that name that holds.
    pub(super) fn acl_wish(&self, job: &Job) -> Result<Option<AclWish>, BadAttr> {
        let Some(alias) = self.value(job, "acl") else {
            return Ok(None);
        };
        let rules = self.rules(Section::Acl);
        let rule = rules
            .iter()
            .rev()
            .find(|rule| rule.promiser == alias && self.holds_class(&rule.class));
        let Some(Body::Words(words)) = rule.map(|rule| &rule.body) else {
            return Err(BadAttr(format!("acl={alias}: there is no such access list in acl:")));
        };
        let words: Vec<_> = words.iter().map(|(word, _)| self.ctx.expand(word.as_bstr())).collect();
        AclWish::parse(words.iter().map(|word| word.as_bstr())).map_err(|why| BadAttr(format!("acl {alias}: {why}")))
    }

    /// Says once a run which access lists are for other systems.
    pub(super) fn note_foreign_acls(&mut self) {
        for rule in self.rules(Section::Acl) {
            let Body::Words(words) = &rule.body else { continue };
            let foreign = words.iter().find(|(word, _)| {
                let word = word.to_ascii_lowercase();
                word.starts_with(b"fstype:") && word != b"fstype:posix"
            });
            if let (Some((word, pos)), true) = (foreign, self.holds_class(&rule.class)) {
                let text = format!(
                    "{}:{}: acl {}: {word} has no effect on Linux",
                    pos.file, pos.line, rule.promiser
                );
                self.report.inform(text);
            }
        }
    }

    /// Checks the access lists of an object that is held and has (or shall have) these permissions, and repairs them.
    pub(super) fn check_acl(
        &mut self,
        held: &Object,
        path: &Path,
        mode: u32,
        wish: &Wish,
        manner: Manner,
    ) -> io::Result<bool> {
        let Some(acl) = &wish.acl else { return Ok(false) };
        let is_dir = held.meta()?.is_dir();
        let mut now = read(held, ACCESS)?.unwrap_or_else(|| Acl::from_mode(mode));
        now.set_mode(mode);
        let wanted = acl.access(&now, &|mode| wish.mode_for(mode, is_dir));
        let mut differs = self.acl_differs(path, "access list", Some(&now), Some(&wanted), manner);
        let acts = manner != Manner::Warn && !self.dry;
        if differs && acts {
            held.set_attribute(ACCESS, &wanted.encode()).map_err(unsupported)?;
        }
        if is_dir {
            let now = read(held, DEFAULT)?;
            let wanted = acl.inherited(now.as_ref(), &wanted);
            if self.acl_differs(path, "default access list", now.as_ref(), wanted.as_ref(), manner) {
                differs = true;
                match wanted {
                    _ if !acts => {}
                    Some(wanted) => held.set_attribute(DEFAULT, &wanted.encode()).map_err(unsupported)?,
                    None => held.remove_attribute(DEFAULT).map_err(unsupported)?,
                }
            }
        }
        Ok(differs)
    }

    fn acl_differs(
        &mut self,
        path: &Path,
        what: &str,
        now: Option<&Acl>,
        wanted: Option<&Acl>,
        manner: Manner,
    ) -> bool {
        if now == wanted {
            return false;
        }
        let text = |acl: Option<&Acl>| acl.map_or("none".into(), shown);
        let (path, now, wanted) = (path.display(), text(now), text(wanted));
        match manner {
            Manner::Warn => {
                self.report.inform(format_args!("{path} has {what} {now}"));
                self.report.inform(format_args!("[should be {wanted}]"));
            }
            Manner::Fix(kind) => self
                .report
                .inform(format_args!("{kind} {path} had {what} {now}, changed it to {wanted}")),
        }
        true
    }
}

/// The attribute that makes the wished list of a new file that gets this mode; `old` is what it replaces.
pub fn for_new(acl: &AclWish, old: Option<&Object>, mode: u32) -> io::Result<Vec<u8>> {
    let now = match old {
        Some(old) => read(old, ACCESS)?,
        None => None,
    };
    let mut now = now.unwrap_or_else(|| Acl::from_mode(mode));
    now.set_mode(mode);
    let mut wanted = acl.access(&now, &|_| mode);
    wanted.set_mode(mode);
    Ok(wanted.encode())
}

/// The list in an attribute; `None` where permissions say it all.
fn read(held: &Object, attribute: &str) -> io::Result<Option<Acl>> {
    let bytes = held.attribute(attribute).map_err(unsupported)?;
    let acl = bytes.map(|bytes| Acl::decode(&bytes)).transpose();
    acl.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

fn unsupported(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) {
        return io::Error::new(error.kind(), "its file system has no access lists");
    }
    error
}

/// A list as getfacl(1) prints it, on one line.
fn shown(acl: &Acl) -> String {
    let perms = |bits: u8| -> String {
        let letter = |bit, letter| if bits & bit == 0 { '-' } else { letter };
        [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')].iter().collect()
    };
    let mut entries = vec![format!("user::{}", perms(acl.user))];
    for (id, bits) in &acl.users {
        entries.push(format!("user:{}:{}", owner::user_name(*id), perms(*bits)));
    }
    entries.push(format!("group::{}", perms(acl.group)));
    for (id, bits) in &acl.groups {
        entries.push(format!("group:{}:{}", owner::group_name(*id), perms(*bits)));
    }
    if let Some(bits) = acl.mask {
        entries.push(format!("mask::{}", perms(bits)));
    }
    entries.push(format!("other::{}", perms(acl.other)));
    entries.join(",")
}
