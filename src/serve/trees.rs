//! Trees as they were last found, so that a client who asks for one that did not change costs a look at it and nothing
//! more: no list is made, nothing is digested or encoded again.
//!
//! What is served is never older than the request for it. Nothing is taken on trust from a watch or from a time-out: each
//! time the whole tree is looked at, every directory and everything in it, beginning after the request came, and compared
//! with what was found. A name that came or went gives its directory a new ctime; content, mode, owner or target that
//! changed give the object one, and nobody can set a ctime. A tree is only compared with where every stamp was older than
//! a tick of the clock when it was read, so that no change can hide behind an equal one, and the clock was not set back
//! since. Requests that come while a look has not begun yet share it; no request shares a look that began before it came.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};

use super::kept::{Found, Kept, Room};
use super::session::Refusal;
use crate::fsx::{Dir, Entry, Kind, Meta, Select, Stamp};
use crate::sys::clock::Moment;
use crate::wire::{self, Reply};

/// Entries of all trees that are kept: about 60 MB.
const MOST_ENTRIES: usize = 250_000;
/// Trees that are kept.
const MOST_TREES: usize = 256;
/// How long somebody waits for a look that another one takes before taking one of its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found in a tree.
pub struct Tree {
    /// The entries, whoever may see them.
    pub entries: Vec<Entry>,
    /// What could not be read: path below the root and cause.
    pub unread: Vec<(BString, String)>,
    /// Which part was looked at.
    select: Select,
    /// Equal stamps mean an equal tree.
    solid: bool,
    clock: Moment,
    digest: OnceLock<Result<[u8; 32], wire::WireError>>,
}

impl Tree {
    /// What a walk found that began at `clock`; `solid`: all digests hold as long as the stamps of their files.
    pub fn new(
        entries: Vec<Entry>,
        unread: Vec<(BString, String)>,
        select: &Select,
        clock: Moment,
        solid: bool,
    ) -> Self {
        let began = clock.real();
        let settled =
            |entry: &Entry| !matches!(entry.kind, Kind::Dir | Kind::Link) || Stamp::of_entry(entry).settled(began);
        Tree {
            solid: solid && unread.is_empty() && entries.iter().all(settled),
            entries,
            unread,
            select: select.clone(),
            clock,
            digest: OnceLock::new(),
        }
    }

    /// The digest of the manifest where all of the tree is shown.
    pub fn digest(&self) -> Result<[u8; 32], wire::WireError> {
        *self.digest.get_or_init(|| digest(&self.entries, &self.unread))
    }

    /// Looks at the whole tree again: whether it is still what was found. `name` is as for a walk.
    pub fn holds(&self, dir: &Dir, name: Option<&BStr>) -> bool {
        self.solid && Moment::now().follows(&self.clock) && self.same(dir, name).unwrap_or(false)
    }

    fn same(&self, dir: &Dir, name: Option<&BStr>) -> std::io::Result<bool> {
        let Some((root, rest)) = self.entries.split_first() else {
            return Ok(false);
        };
        let meta = match name {
            None => dir.self_meta()?,
            Some(name) => dir.meta(name)?,
        };
        if !is(root, &meta) {
            return Ok(false);
        }
        if rest.is_empty() && (root.kind != Kind::Dir || self.select.recurse == 0) {
            return Ok(true);
        }
        // The directory itself, opened: its names are those that were read while it had this stamp.
        let open = |dir: Dir, entry: &Entry| Ok::<_, std::io::Error>(is(entry, &dir.self_meta()?).then_some(dir));
        let top = match name {
            None => dir.again()?,
            Some(name) => dir.dir(name)?,
        };
        let Some(top) = open(top, root)? else { return Ok(false) };
        let mut dirs: Vec<(&[u8], Dir)> = vec![(b"", top)];
        for (at, entry) in rest.iter().enumerate() {
            let path = entry.path.as_bytes();
            let (parent, name) = match path.rfind_byte(b'/') {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&b""[..], path),
            };
            while dirs.last().is_some_and(|(dir, _)| *dir != parent) {
                dirs.pop();
            }
            let Some((_, dir)) = dirs.last() else { return Ok(false) };
            if !is(entry, &dir.meta(name.as_bstr())?) {
                return Ok(false);
            }
            // A directory nothing was found in need not be opened: a new name would have changed its stamp.
            let entered = rest.get(at + 1).is_some_and(|next| {
                next.path.len() > path.len() && next.path.starts_with(path) && next.path.get(path.len()) == Some(&b'/')
            });
            if entry.kind == Kind::Dir && entered {
                let Some(inner) = open(dir.dir(name.as_bstr())?, entry)? else {
                    return Ok(false);
                };
                dirs.push((path, inner));
            }
        }
        Ok(true)
    }
}

fn is(entry: &Entry, meta: &Meta) -> bool {
    let size = if entry.kind == Kind::File { meta.size() } else { 0 };
    Kind::of(meta) == entry.kind
        && meta.ctime() == entry.ctime
        && meta.mtime() == entry.mtime
        && meta.inode() == entry.inode
        && size == entry.size
        && (meta.mode(), meta.uid(), meta.gid(), meta.nlink()) == (entry.mode, entry.uid, entry.gid, entry.nlink)
}

/// The digest of a manifest: its encoded entries, then what could not be read.
pub fn digest(entries: &[Entry], unread: &[(BString, String)]) -> Result<[u8; 32], wire::WireError> {
    /// Large pieces are digested much faster than single entries.
    const PIECE: usize = 256 * 1024;
    let mut hasher = crate::digest::Blake3::new();
    let mut piece = Vec::with_capacity(PIECE + 2 * wire::MAX_PATH);
    for entry in entries {
        wire::put_entry(entry, &mut piece)?;
        if piece.len() >= PIECE {
            hasher.update(&piece);
            piece.clear();
        }
    }
    hasher.update(&piece);
    for (path, why) in unread {
        piece.clear();
        unread_reply(path, why).encode(0, &mut piece)?;
        hasher.update(piece.get(wire::HEADER..).unwrap_or_default());
    }
    Ok(hasher.finish())
}

/// What a client reads of what could not be read.
pub fn unread_reply(path: &BString, why: &str) -> Reply {
    let mut text = why.as_bytes().to_vec();
    text.truncate(wire::MAX_TEXT);
    Reply::Unread {
        path: path.clone(),
        text: text.into(),
    }
}

/// All trees that are kept.
pub struct Trees(Kept<(BString, Select), Looked>);

/// A tree, and when somebody last began to look at it.
struct Looked {
    began: Instant,
    tree: Arc<Tree>,
}

impl Default for Trees {
    fn default() -> Self {
        Trees(Kept::new(Room {
            values: MOST_TREES,
            sum: MOST_ENTRIES,
            size: |looked| looked.tree.entries.len(),
        }))
    }
}

impl Trees {
    /// The tree at `root`, as it is now. `holds` says whether one that was found before is still so; otherwise `walk`
    /// looks at everything.
    pub fn now(
        &self,
        root: &BStr,
        select: &Select,
        holds: impl FnOnce(&Tree) -> bool,
        walk: impl FnOnce() -> Result<Tree, Refusal>,
        tick: &mut dyn FnMut() -> std::io::Result<()>,
    ) -> Result<Arc<Tree>, Refusal> {
        let asked = Instant::now();
        let found = self.0.ask(
            (root.to_owned(), select.clone()),
            PATIENCE,
            |looked| looked.began >= asked,
            &mut || {
                // A client that went away is found out by the walk, too.
                let _ = tick();
                Ok(())
            },
        );
        let (turn, before) = match found {
            Ok(Found::Here(looked)) => return Ok(Arc::clone(&looked.tree)),
            Ok(Found::Turn(turn, before)) => (turn, before),
            Ok(Found::Late) | Err(_) => return walk().map(Arc::new),
        };
        let began = Instant::now();
        let tree = match before.map(|looked| Arc::clone(&looked.tree)) {
            Some(tree) if holds(&tree) => tree,
            _ => Arc::new(walk()?),
        };
        let looked = Looked {
            began,
            tree: Arc::clone(&tree),
        };
        self.0.keep(turn, Arc::new(looked));
        Ok(tree)
    }
}

#[cfg(test)]
mod tests;
