//! Where things of a copy go. A directory of the destination is opened once while what belongs in it is looked after, each
//! by its own name from the one above: no path is resolved twice.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use crate::fsx::{Dir, Entry, Kind, Meta, Place};

/// A place of the destination.
pub struct Spot {
    pub dir: Arc<Dir>,
    pub name: BString,
    pub path: PathBuf,
}

/// Where things go.
pub(super) enum Target {
    /// A single object.
    One(Arc<Dir>, BString, PathBuf),
    /// A tree, its top directory open.
    Tree(Branch, PathBuf),
    /// A tree whose top is not there yet, in a dry run.
    Nowhere(PathBuf),
}

impl Target {
    /// A single object.
    pub fn one(place: Place) -> Target {
        Target::One(Arc::new(place.dir), place.name, place.path)
    }

    /// A tree with its top directory.
    pub fn tree(top: Dir, path: PathBuf) -> Target {
        Target::Tree(Branch::new(top), path)
    }

    pub fn path(&self) -> &Path {
        match self {
            Target::One(_, _, path) | Target::Tree(_, path) | Target::Nowhere(path) => path,
        }
    }
}

/// The directories from the top of a tree down to the one that is looked at, all open.
pub(super) struct Branch {
    top: Arc<Dir>,
    /// Paths below the top, each one component longer than the one before.
    open: RefCell<Vec<(BString, Arc<Dir>)>>,
}

/// The directory that was swept last: the files of one come together.
#[derive(Default)]
pub(super) struct Swept(RefCell<Option<Arc<Dir>>>);

impl Swept {
    /// Whether this is another directory than the last time.
    pub fn moves_to(&self, dir: &Arc<Dir>) -> bool {
        let last = self.0.replace(Some(Arc::clone(dir)));
        !last.is_some_and(|last| Arc::ptr_eq(&last, dir))
    }
}

impl Branch {
    pub fn new(top: Dir) -> Branch {
        Branch {
            top: Arc::new(top),
            open: RefCell::default(),
        }
    }

    /// The top.
    pub fn top(&self) -> &Dir {
        &self.top
    }

    /// The directory that holds an object of the tree, and the object's name. No link is followed.
    pub fn holder<'r>(&self, rel: &'r BStr) -> io::Result<(Arc<Dir>, &'r BStr)> {
        let Some(end) = rel.rfind_byte(b'/') else {
            return Ok((Arc::clone(&self.top), rel));
        };
        let (parent, name) = (&rel[..end], rel[end + 1..].as_bstr());
        let mut open = self.open.borrow_mut();
        let leads = |path: &BString| {
            parent
                .strip_prefix(path.as_slice())
                .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        while open.last().is_some_and(|(path, _)| !leads(path)) {
            open.pop();
        }
        loop {
            let (done, dir) = match open.last() {
                Some((path, dir)) => (path.len() + 1, dir),
                None => (0, &self.top),
            };
            if done > parent.len() {
                return Ok((Arc::clone(dir), name));
            }
            let rest = &parent[done..];
            let end = done + rest.find_byte(b'/').unwrap_or(rest.len());
            let inner = dir.dir(parent[done..end].as_bstr())?;
            open.push((parent[..end].into(), Arc::new(inner)));
        }
    }

    /// What is open may not be what has its name any more.
    pub fn forget(&self) {
        self.open.borrow_mut().clear();
    }
}

/// The top of a tree, opened before it is known whether the tree changed.
pub(super) struct Early {
    pub place: Place,
    pub top: Dir,
}

/// What was at the destination while the source was still looking.
#[derive(Default)]
pub(super) struct Ahead {
    found: Vec<(BString, Option<Meta>)>,
    at: Cell<usize>,
}

impl Early {
    /// Opens the top where it is there; whatever is in the way is dealt with later.
    pub fn open(to: &Path) -> Option<Early> {
        let place = Place::of(to).ok()?;
        let top = place.dir.through(place.name()).ok()?;
        Some(Early { place, top })
    }

    /// Looks at everything that the tree had the last time.
    pub fn look(&self, entries: &[Entry]) -> Ahead {
        let Ok(top) = self.top.again() else {
            return Ahead::default();
        };
        let branch = Branch::new(top);
        let mut found = Vec::with_capacity(entries.len());
        let mut missing: Option<&BString> = None;
        for entry in entries {
            let path = &entry.path;
            let below = |top: &BString| {
                path.strip_prefix(top.as_slice())
                    .is_some_and(|rest| rest.starts_with(b"/"))
            };
            if path.is_empty() || missing.is_some_and(below) {
                continue;
            }
            let meta = branch.holder(path.as_bstr()).and_then(|(dir, name)| dir.look(name));
            let Ok(meta) = meta else { continue };
            if entry.kind == Kind::Dir && !meta.is_some_and(|meta| meta.is_dir()) {
                missing = Some(path);
            }
            found.push((path.clone(), meta));
        }
        Ahead {
            found,
            at: Cell::new(0),
        }
    }
}

impl Ahead {
    /// What was seen of an object, when it is its turn: they come in the order of a manifest. `None`: it was not looked at.
    pub fn seen(&self, rel: &BStr) -> Option<Option<Meta>> {
        /// The manifest may have changed meanwhile; further than this is not searched.
        const FAR: usize = 256;
        let at = self.at.get();
        let next = self.found.get(at..)?.iter().take(FAR);
        let found = next.enumerate().find(|(_, (path, _))| path == rel);
        let (skip, (_, meta)) = found?;
        self.at.set(at + skip + 1);
        Some(*meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_branch_moves_through_a_tree_and_follows_no_link() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a/b/c")).unwrap();
        fs::create_dir_all(top.path().join("ab")).unwrap();
        for path in ["a/b/c/x", "a/y", "ab/z", "w"] {
            fs::write(top.path().join(path), path).unwrap();
        }
        std::os::unix::fs::symlink("a", top.path().join("l")).unwrap();
        let branch = Branch::new(Dir::open(top.path()).unwrap());
        for path in ["a/b/c/x", "a/y", "ab/z", "w", "ab/z", "a/b/c/x"] {
            let (dir, name) = branch.holder(path.into()).unwrap();
            let size = dir.meta(name).unwrap().size();
            assert_eq!(size, path.len() as u64, "{path}");
        }
        assert!(branch.holder("l/y".into()).is_err());
        assert!(branch.holder("none/y".into()).is_err());
        assert!(branch.holder("a/y".into()).is_ok());
    }
}
