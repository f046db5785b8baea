//! Putting back what a run changed. Every object is looked at before anything is done, and again, through the descriptor
//! that is then used, when its turn comes. What is there now must be what the run left; otherwise somebody changed it
//! since, and only who insists gets it overwritten. All of it is written down as a run of its own, which can be taken
//! back, too; what was put back already when a run was killed is found to be so by the next one.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::judge::{differs, judge_rights};
use super::record::{After, Change, Keep, Plain, Record, Rights, State, bytes};
use super::{Shelf, Undo, kept, path_of};
use crate::fsx::{Dir, Meta, Place, digest_of, place_symlink};
use crate::sys::at;

/// What can be done about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it was before the run.
    Already,
    /// It can be put back.
    Can,
    /// Somebody changed it since, and how.
    Changed(String),
    /// What was there is not kept, and why.
    Lost(String),
}

/// What was done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing was to be done.
    Already,
    /// It is again what it was.
    Back,
    /// A directory that the run had made stays: it holds what came since.
    Stays,
}

/// A run that is taken back.
#[derive(Debug)]
pub struct Back {
    /// What it changed.
    pub record: Record,
    dir: Dir,
    undo: Undo,
    /// What somebody who took it back before was killed at.
    half: HashSet<BString>,
    /// What was renamed away here, and is missed at its old name with good reason.
    moved: RefCell<HashSet<BString>>,
}

impl Back {
    /// Opens what is kept of a run; `None`: nothing is. What is put back is written down by `undo`.
    pub fn open(state: &Path, run: u32, undo: Undo) -> io::Result<Option<Back>> {
        let Some(shelf) = Shelf::open(state)? else {
            return Ok(None);
        };
        let (Some(dir), Some(record)) = (shelf.run(run)?, shelf.record(run)?) else {
            return Ok(None);
        };
        let half = shelf.half_back(run)?;
        undo.takes_back(run);
        Ok(Some(Back {
            record,
            dir,
            undo,
            half,
            moved: RefCell::default(),
        }))
    }

    /// The changes in the order in which they are taken back.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.record.changes.iter().rev()
    }

    /// Looks whether a change can be taken back now.
    pub fn look(&self, change: &Change) -> io::Result<Verdict> {
        match place_of(change)? {
            Some(place) => {
                let now = place.look()?;
                self.judge(change, &place, now.as_ref())
            }
            // Where its directory is to come back first, there is nothing in it yet.
            None => self.judge_missing(change),
        }
    }

    /// Takes one change back, if it still can be; with `force` also where somebody changed the object since.
    pub fn put(&self, change: &Change, force: bool) -> io::Result<Done> {
        let Some(place) = place_of(change)? else {
            return match change.was {
                State::Nothing => Ok(Done::Already),
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "its directory is not there")),
            };
        };
        if change.rights {
            return self.put_rights(change, &place, force);
        }
        let now = place.look()?;
        match self.judge(change, &place, now.as_ref())? {
            Verdict::Already => return Ok(Done::Already),
            Verdict::Changed(why) if !force => return Err(io::Error::other(format!("it was changed just now: {why}"))),
            Verdict::Lost(why) => return Err(io::Error::other(why)),
            Verdict::Can | Verdict::Changed(_) => {}
        }
        self.undo.comes_next(change.path.as_bstr());
        let begun = self.undo.loses(&place.dir, place.name(), &place.path);
        let done = self.put_object(change, &place, now.as_ref());
        self.undo.done(&begun, &place.dir, place.name(), None);
        let done = done?;
        place.dir.sync()?;
        Ok(done)
    }

    fn put_object(&self, change: &Change, place: &Place, now: Option<&Meta>) -> io::Result<Done> {
        let (dir, name) = (&place.dir, place.name());
        let in_the_way = now.is_some_and(Meta::is_dir);
        match &change.was {
            State::Nothing => match now {
                None => return Ok(Done::Already),
                Some(meta) if meta.is_dir() => match dir.rmdir(name) {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(Done::Stays),
                    other => other?,
                },
                Some(_) => dir.unlink(name)?,
            },
            State::File(plain) => {
                let Keep::Content(number) = change.keep else {
                    return Err(io::Error::other("its content was not kept"));
                };
                kept::fresh(&self.dir, number, plain, dir)?.commit(name, &kept::wanted(plain), None)?;
            }
            State::Link { .. } if in_the_way => return Err(io::Error::other("a directory is in the way")),
            State::Link { target, rights } => {
                place_symlink(dir, name, bytes(target).as_bstr())?;
                own(dir, name, *rights)?;
            }
            State::Dir(rights) => {
                if let Keep::Moved(to) = &change.keep {
                    if now.is_some() {
                        dir.unlink(name)?;
                    }
                    return self.move_back(place, &bytes(to));
                }
                if !in_the_way {
                    if now.is_some() {
                        dir.unlink(name)?;
                    }
                    dir.mkdir(name, rights.mode)?;
                }
                own(dir, name, *rights)?;
            }
            State::Other(_) => return Err(io::Error::other("it was no plain file")),
        }
        Ok(Done::Back)
    }

    /// A directory that was moved aside gets its name again.
    fn move_back(&self, place: &Place, from: &BString) -> io::Result<Done> {
        let from = Place::of(&path_of(from))?;
        let begun = self.undo.moves(&from.dir, from.name(), &from.path, &place.path);
        let moved = from.dir.rename(from.name(), &place.dir, place.name());
        self.undo.done(&begun, &from.dir, from.name(), None);
        moved?;
        let old = BString::from(from.path.as_os_str().as_encoded_bytes());
        self.moved.borrow_mut().insert(old);
        from.dir.sync()?;
        Ok(Done::Back)
    }

    fn put_rights(&self, change: &Change, place: &Place, force: bool) -> io::Result<Done> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        // Judged and changed is the very object that is held.
        let held = behind(change, place)?.ok_or_else(gone)?;
        let meta = held.meta()?;
        let mut rights = change.was.rights().ok_or_else(gone)?;
        match self.judge_rights(change, Some(&meta)) {
            Verdict::Already => return Ok(Done::Already),
            Verdict::Changed(_) if force => {
                // Whoever changed it is not to get a program that runs as another.
                rights.mode &= if meta.is_file() { 0o1777 } else { 0o7777 };
            }
            Verdict::Can => {}
            Verdict::Changed(why) | Verdict::Lost(why) => {
                return Err(io::Error::other(format!("it was changed just now: {why}")));
            }
        }
        if place.dir.may_be_planted(&meta)? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it has other names, and lies where others can put files: it may be any file of the system",
            ));
        }
        self.undo.comes_next(change.path.as_bstr());
        let begun = self.undo.rights(&meta, &place.path);
        let changed = set_rights(&held, &meta, rights);
        self.undo.done_rights(&begun, held.meta());
        changed.map(|()| Done::Back)
    }

    fn judge(&self, change: &Change, place: &Place, now: Option<&Meta>) -> io::Result<Verdict> {
        if change.rights {
            let meta = match behind(change, place)? {
                Some(held) => Some(held.meta()?),
                None => None,
            };
            return Ok(self.judge_rights(change, meta.as_ref()));
        }
        let Some(meta) = now else {
            return self.judge_missing(change);
        };
        if self.is_as_before(change, place, meta)? {
            return Ok(Verdict::Already);
        }
        if let Some(how) = differs(&change.after, place, meta)?
            && !self.is_half_back(change, place, meta)?
        {
            return Ok(Verdict::Changed(how));
        }
        Ok(self.lost(change).map_or(Verdict::Can, Verdict::Lost))
    }

    fn judge_rights(&self, change: &Change, now: Option<&Meta>) -> Verdict {
        match (judge_rights(change, now), now) {
            // Bits by which it runs as another are given to nothing but what the run left, to the letter.
            (Verdict::Changed(_), Some(meta))
                if self.is_half_as_left(change, meta)
                    && (meta.is_dir() || change.was.rights().is_some_and(|was| was.mode & 0o6000 == 0)) =>
            {
                Verdict::Can
            }
            (verdict, _) => verdict,
        }
    }

    /// Whether an object differs from what the run left no more than somebody who was killed putting it back can have
    /// left it.
    fn is_half_back(&self, change: &Change, place: &Place, meta: &Meta) -> io::Result<bool> {
        Ok(match &change.was {
            State::Link { target, .. } if meta.is_link() => {
                self.half.contains(&change.path) && place.dir.read_link(place.name())? == bytes(target)
            }
            _ => self.is_half_as_left(change, meta),
        })
    }

    /// A directory that was made and not given away yet, or the very file, of which mode, owner or the count of names
    /// changed.
    fn is_half_as_left(&self, change: &Change, meta: &Meta) -> bool {
        self.half.contains(&change.path)
            && match (&change.was, &change.after) {
                (State::Dir(_), _) => meta.is_dir(),
                (_, After::Is(State::File(left))) if meta.is_file() => {
                    let now = Plain::of(meta);
                    let (device, inode, mtime, _) = left.stamp;
                    now.size == left.size && (now.stamp.0, now.stamp.1, now.stamp.2) == (device, inode, mtime)
                }
                _ => false,
            }
    }

    /// Nothing has the name now.
    fn judge_missing(&self, change: &Change) -> io::Result<Verdict> {
        let as_left = matches!(change.after, After::Is(State::Nothing)) || self.moved.borrow().contains(&change.path);
        Ok(match change.was {
            State::Nothing => Verdict::Already,
            _ if !as_left => Verdict::Changed("it is gone".into()),
            _ => self.lost(change).map_or(Verdict::Can, Verdict::Lost),
        })
    }

    /// Why an object cannot be put back: what it was is not kept, or not as it was.
    fn lost(&self, change: &Change) -> Option<String> {
        match (&change.keep, &change.was) {
            (Keep::Lost(why), _) => Some(format!("what was there is not kept: {why}")),
            (Keep::Content(number), State::File(plain)) => match self.dir.look(number.to_string().as_str().into()) {
                Ok(Some(meta)) if (meta.size(), meta.mtime()) == (plain.size, plain.mtime()) => None,
                Ok(Some(_)) => Some("what was kept of it has been written to since".into()),
                Ok(None) => Some("what was kept of it is gone".into()),
                Err(error) => Some(format!("what was kept of it cannot be read: {error}")),
            },
            (Keep::Moved(to), _) => {
                let to = path_of(&bytes(to));
                let there = Place::of(&to).and_then(|place| place.look());
                let is_dir = there.is_ok_and(|meta| meta.is_some_and(|meta| meta.is_dir()));
                (!is_dir).then(|| format!("it was moved to {}, and is not there any more", to.display()))
            }
            (Keep::Whole, State::File(_)) => Some("its content was not kept".into()),
            _ => None,
        }
    }

    fn is_as_before(&self, change: &Change, place: &Place, meta: &Meta) -> io::Result<bool> {
        Ok(match &change.was {
            State::File(plain) if meta.is_file() => {
                let now = Plain::of(meta);
                let alike = (now.size, now.rights) == (plain.size, plain.rights);
                let (device, inode, mtime, _) = plain.stamp;
                let same = (now.stamp.0, now.stamp.1, now.stamp.2) == (device, inode, mtime);
                alike && (same || self.has_kept_content(change, place)?)
            }
            // One that was moved aside is back where there is nothing to be moved back.
            State::Dir(rights) => {
                meta.is_dir()
                    && Rights::of(meta) == *rights
                    && (change.keep == Keep::Whole || self.lost(change).is_some())
            }
            State::Link { target, rights } => {
                let owner = Rights::of(meta);
                meta.is_link()
                    && (owner.uid, owner.gid) == (rights.uid, rights.gid)
                    && place.dir.read_link(place.name())?.as_bstr() == bytes(target).as_bstr()
            }
            _ => false,
        })
    }

    fn has_kept_content(&self, change: &Change, place: &Place) -> io::Result<bool> {
        let Keep::Content(number) = change.keep else {
            return Ok(false);
        };
        let Ok(kept) = self.dir.read(number.to_string().as_str().into()) else {
            return Ok(false);
        };
        Ok(digest_of(kept)? == digest_of(place.dir.read(place.name())?)?)
    }
}

/// The open directory and the name; `None`: there is no such directory.
fn place_of(change: &Change) -> io::Result<Option<Place>> {
    match Place::of(&path_of(&change.path)) {
        Ok(place) => Ok(Some(place)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The object of which mode and owner were changed, held; `None`: nothing is there.
fn behind(change: &Change, place: &Place) -> io::Result<Option<at::Object>> {
    match place.look()? {
        None => Ok(None),
        // A link to a directory that a rule took for the directory itself.
        Some(meta) if meta.is_link() && matches!(change.was, State::Dir(_)) => {
            place.dir.through(place.name())?.as_object().map(Some)
        }
        Some(_) => place.dir.object(place.name()).map(Some),
    }
}

fn own(dir: &Dir, name: &BStr, rights: Rights) -> io::Result<()> {
    let held = dir.object(name)?;
    let meta = held.meta()?;
    set_rights(&held, &meta, rights)
}

/// The owner first: a new one takes the set-id bits away.
fn set_rights(held: &at::Object, meta: &Meta, rights: Rights) -> io::Result<()> {
    let is = Rights::of(meta);
    let chown = (is.uid, is.gid) != (rights.uid, rights.gid);
    if chown {
        held.chown(Some(rights.uid), Some(rights.gid))?;
    }
    if !meta.is_link() && (chown || is.mode != rights.mode) {
        held.chmod(rights.mode)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
