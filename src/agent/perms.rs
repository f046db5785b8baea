//! Mode and owner of one object: what is there, what is wanted, what is said and done about it. Used by files, copy and
//! directories. Works on the object itself, taken hold of by descriptor; links are never followed.

use std::io;
use std::path::Path;

use bstr::{BStr, ByteSlice};

use super::acl::AclWish;
use super::job::BadAttr;
use super::mode::ModeChange;
use super::report::Level;
use super::{Job, Run, diff, owner};
use crate::fsx::{Dir, Meta, Object};

/// What mode and owner an object should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Bits to set and to clear.
    pub mode: Option<ModeChange>,
    /// Any of these; the first is set where none fits. Empty = any.
    pub owners: Vec<u32>,
    /// As `owners`.
    pub groups: Vec<u32>,
    /// Directories get x where the mode gives r.
    pub rxdirs: bool,
    /// The access list.
    pub acl: Option<AclWish>,
}

/// What is said and done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Only said.
    Warn,
    /// Repaired; the word names the object in the message: `Object`, `Plain file`, `Directory`.
    Fix(&'static str),
}

impl Wish {
    /// The mode wanted of an object that is now `meta`.
    pub fn mode_for(&self, mode: u32, is_dir: bool) -> u32 {
        match self.mode {
            None => mode,
            Some(change) if is_dir => change.apply_to_dir(mode, self.rxdirs),
            Some(change) => change.apply(mode),
        }
    }

    /// Whether nothing is to be changed.
    pub fn is_met_by(&self, meta: &Meta) -> bool {
        // An access list is only seen by looking.
        self.acl.is_none()
            && self.uid_for(meta.uid()).is_none()
            && self.gid_for(meta.gid()).is_none()
            && (meta.is_link() || self.mode_for(meta.mode(), meta.is_dir()) == meta.mode())
    }

    /// The owner to set, when the one that is there does not fit.
    pub fn uid_for(&self, uid: u32) -> Option<u32> {
        wrong(&self.owners, uid)
    }

    /// The group to set, when the one that is there does not fit.
    pub fn gid_for(&self, gid: u32) -> Option<u32> {
        wrong(&self.groups, gid)
    }
}

fn wrong(wanted: &[u32], is: u32) -> Option<u32> {
    wanted.first().copied().filter(|_| !wanted.contains(&is))
}

impl Run<'_> {
    /// The mode, owner and group a rule asks for.
    pub fn wish(&self, job: &Job) -> Result<Wish, BadAttr> {
        let ids = |name, one: fn(&BStr) -> Result<u32, String>| match self.value(job, name) {
            Some(text) => owner::list(text.as_bstr(), one).map_err(BadAttr),
            None => Ok(Vec::new()),
        };
        Ok(Wish {
            mode: self.mode(job)?,
            owners: ids("owner", owner::uid)?,
            groups: ids("group", owner::gid)?,
            rxdirs: self.flag(job, "rxdirs", true),
            acl: self.acl_wish(job)?,
        })
    }

    /// Says that an attribute of a rule makes no sense now.
    pub fn bad_attr(&mut self, job: &Job, bad: &BadAttr) {
        let pos = &job.rule.pos;
        self.report.error(format_args!("{}:{}: {}", pos.file, pos.line, bad.0));
    }

    /// Checks one object and repairs it where asked for. Gives whether it differed (and, unless dry or warned only, was
    /// repaired).
    pub fn check_object(
        &mut self,
        dir: &Dir,
        name: &BStr,
        path: &Path,
        meta: &Meta,
        wish: &Wish,
        manner: Manner,
    ) -> io::Result<bool> {
        if wish.is_met_by(meta) {
            return Ok(false);
        }
        // From here on the object that is held, whatever gets its name meanwhile.
        let held = dir.object(name)?;
        if manner != Manner::Warn && dir.may_be_planted(&held.meta()?)? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it has other names, and lies where others can put files: it may be any file of the system; \
                 its mode and owner are left alone",
            ));
        }
        self.check_held(&held, path, wish, manner)
    }

    /// As [`Run::check_object`], of an object that is held.
    pub fn check_held(&mut self, held: &Object, path: &Path, wish: &Wish, manner: Manner) -> io::Result<bool> {
        let meta = &held.meta()?;
        let (mut differs, mut noted) = (false, None);
        let (uid, gid) = (wish.uid_for(meta.uid()), wish.gid_for(meta.gid()));
        let shown = path.display();
        if uid.is_some() || gid.is_some() {
            differs = true;
            self.say_owner(path, meta, uid, gid, manner);
            if manner != Manner::Warn {
                let pair = |old: u32, new: Option<u32>, name: fn(u32) -> String| new.map(|new| (name(old), name(new)));
                let mut lines = diff::sides("owner", pair(meta.uid(), uid, owner::user_name));
                lines.extend(diff::sides("group", pair(meta.gid(), gid, owner::group_name)));
                self.show(path, lines);
            }
            if manner != Manner::Warn && !self.dry {
                let begun = noted.insert(self.undo().rights(meta, path));
                let done = held.chown(uid, gid);
                self.undo().done_rights(begun, held.meta());
                done?;
            }
        }
        if meta.is_link() {
            return Ok(differs);
        }
        // A program that one user made to run as himself is not made to run as another, unless the rule says so.
        let mut lost_bits = 0;
        if meta.is_file() && uid.is_some() {
            lost_bits |= 0o4000;
        }
        if meta.is_file() && gid.is_some() {
            lost_bits |= 0o2000;
        }
        let wanted = wish.mode_for(meta.mode() & !lost_bits, meta.is_dir());
        // A new owner takes the set-id bits away, also when the mode as such was right.
        let lost = differs && manner != Manner::Warn && wanted & 0o6000 != 0 && meta.is_file();
        if wanted != meta.mode() {
            differs = true;
            match manner {
                Manner::Warn => {
                    self.report
                        .inform(format_args!("{shown} has permission {:o}", meta.mode()));
                    self.report.inform(format_args!("[should be {wanted:o}]"));
                }
                Manner::Fix(what) => {
                    self.say_set_id(path, meta, wanted);
                    let text = format!(
                        "{what} {shown} had permission {:o}, changed it to {wanted:o}",
                        meta.mode()
                    );
                    self.report.say(self.doing(), text);
                    self.show(path, diff::mode(meta.mode(), wanted));
                }
            }
        }
        if (wanted != meta.mode() || lost) && manner != Manner::Warn && !self.dry {
            let begun = noted.get_or_insert_with(|| self.undo().rights(meta, path));
            let done = held.chmod(wanted);
            self.undo().done_rights(begun, held.meta());
            done?;
        }
        differs |= self.check_acl(held, path, wanted, wish, manner)?;
        Ok(differs)
    }

    fn say_owner(&mut self, path: &Path, meta: &Meta, uid: Option<u32>, gid: Option<u32>, manner: Manner) {
        let shown = path.display();
        if manner == Manner::Warn {
            let (user, group) = (owner::user_name(meta.uid()), owner::group_name(meta.gid()));
            let text = format!("File {shown} is owned by [{user}], group [{group}]");
            return self.report.say(Level::Silent, text);
        }
        if let Some(uid) = uid {
            let text = format!("Owner of {shown} was {}, setting to {uid}", meta.uid());
            self.report.say(self.doing(), text);
        }
        if let Some(gid) = gid {
            let text = format!("Group of {shown} was {}, setting to {gid}", meta.gid());
            self.report.say(self.doing(), text);
        }
    }

    fn say_set_id(&mut self, path: &Path, meta: &Meta, wanted: u32) {
        if !meta.is_file() {
            return;
        }
        let shown = path.display();
        if meta.uid() == 0 && meta.mode() & !wanted & 0o4000 != 0 {
            self.report
                .inform(format_args!("Removing setuid (root) flag from {shown}..."));
        }
        if meta.gid() == 0 && meta.mode() & !wanted & 0o2000 != 0 {
            self.report
                .inform(format_args!("Removing setgid (root) flag from {shown}..."));
        }
    }
}
