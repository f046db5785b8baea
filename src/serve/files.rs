//! Opening what was granted: beneath the admitted directory, no link followed, every path decided by its real name.
//!
//! Links on the way to a requested path are resolved first, and the path they lead to is decided anew: a link cannot lead
//! out of what is granted, nor past a deny rule.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use nix::unistd::User;

use super::rules::{Access, Decision, Peer, Reals, covers};
use super::session::{Refusal, denied};
use super::trees::{self, Tree, Trees};
use crate::fsx::{Bounds, Digests, Dir, Entry, Kind, Meta, Select, Stamp, scan_in};
use crate::sys::clock::Moment;
use crate::wire::{Code, Want, WireError};

/// The most objects one manifest may have.
const MAX_ENTRIES: usize = 1_000_000;

/// What a client may see, at one moment.
pub struct View<'a> {
    access: &'a Access,
    reals: Reals,
    peer: &'a Peer,
    user: &'a str,
    /// Who that is here.
    uid: Option<u32>,
}

/// A tree or a file that was granted, open.
pub struct Root {
    /// The directory itself (`name` is none), or the one that holds it.
    dir: Dir,
    name: Option<BString>,
    /// Its path without links on the way.
    real: BString,
}

/// A manifest: a tree as all see it who may see everything, or a part of it.
pub struct Manifest {
    tree: Arc<Tree>,
    own: Option<Part>,
}

/// Entries, and what could not be read: path below the root and cause.
type Part = (Vec<Entry>, Vec<(BString, String)>);

impl Manifest {
    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        self.own.as_ref().map_or(&self.tree.entries, |(entries, _)| entries)
    }

    /// What could not be read.
    pub fn unread(&self) -> &[(BString, String)] {
        self.own.as_ref().map_or(&self.tree.unread, |(_, unread)| unread)
    }

    /// Its digest.
    pub fn digest(&self) -> Result<[u8; 32], WireError> {
        match &self.own {
            Some((entries, unread)) => trees::digest(entries, unread),
            None => self.tree.digest(),
        }
    }
}

/// Looks at everything in a tree.
fn walk(
    root: &Root,
    asked: &BStr,
    select: &Select,
    digests: &Digests,
    tick: &mut dyn FnMut() -> io::Result<()>,
) -> Result<Tree, Refusal> {
    digests.mind_clock();
    let clock = Moment::now();
    let mut unread = Vec::new();
    let mut solid = true;
    // Both the walk and the reading of a file tick.
    let tick = RefCell::new(tick);
    let mut digest = |dir: &Dir, name: &BStr, meta: &Meta| {
        let found = digests.of(dir, name, meta, &mut || (tick.borrow_mut())())?;
        solid &= found.settled;
        Ok(found.digest)
    };
    let bounds = Bounds {
        limit: MAX_ENTRIES,
        tick: &mut || (tick.borrow_mut())(),
    };
    let scanned = scan_in(
        &root.dir,
        root.name.as_ref().map(|name| name.as_bstr()),
        select,
        bounds,
        &mut digest,
        &mut |path, error| unread.push((path.to_owned(), error.to_string())),
    );
    match scanned {
        Ok(entries) => Ok(Tree::new(entries, unread, select, clock, solid)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(asked)),
        Err(error) => Err(failed(asked, &error)),
    }
}

impl<'a> View<'a> {
    /// Looks up where the paths of the rules are now.
    pub fn new(access: &'a Access, peer: &'a Peer, user: &'a str) -> Self {
        View {
            access,
            reals: access.reals(),
            peer,
            user,
            uid: User::from_name(user).ok().flatten().map(|user| user.uid.as_raw()),
        }
    }

    fn granted(&self, path: &BStr, asked: &BStr) -> Result<(&BStr, bool), Refusal> {
        match self.access.decide(&self.reals, path, self.peer) {
            Decision::Granted { base, root } => Ok((base, root)),
            other => {
                let log = if path == asked {
                    format!("{asked}: {other}")
                } else {
                    format!("{asked}, which is {path}: {other}")
                };
                Err(Refusal::request(Code::Refused, denied(asked), log))
            }
        }
    }

    /// Opens the root of a tree: an absolute path as the session cleaned it.
    pub fn open(&self, asked: &BStr) -> Result<Root, Refusal> {
        let follow = asked.ends_with(b"/");
        let path = match asked.strip_suffix(b"/") {
            Some(b"") | None => asked,
            Some(path) => path.as_bstr(),
        };
        let (base, _) = self.granted(path, asked)?;
        let parent = if follow { path } else { parent(path) };
        let real = match std::fs::canonicalize(parent.to_path_lossy()) {
            Ok(real) => BString::from(real.into_os_string().into_encoded_bytes()),
            Err(error) => return Err(self.absent(base, parent, asked, &error)),
        };
        if follow || path == "/" {
            self.granted(real.as_ref(), asked)?;
            let dir = no_links(real.as_ref()).map_err(|e| failed(asked, &e))?;
            return Ok(Root { dir, name: None, real });
        }
        let name = path
            .get(parent.len()..)
            .unwrap_or_default()
            .trim_start_with(|c| c == '/');
        let whole = join(real.as_ref(), name.as_bstr());
        self.granted(whole.as_ref(), asked)?;
        let dir = no_links(real.as_ref());
        Ok(Root {
            dir: dir.map_err(|e| failed(asked, &e))?,
            name: Some(name.into()),
            real: whole,
        })
    }

    /// A path whose directory cannot be resolved. "Not there" is said only when that is so without following any link:
    /// otherwise a link that leads out would tell what exists outside.
    fn absent(&self, base: &BStr, parent: &BStr, asked: &BStr, error: &io::Error) -> Refusal {
        if covers(base, parent)
            && error.kind() == io::ErrorKind::NotFound
            && beneath(base, parent).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        {
            return missing(asked);
        }
        Refusal::request(
            Code::Refused,
            denied(asked),
            format!("{asked}: a directory on the way cannot be resolved: {error}"),
        )
    }

    /// What is in a tree, as far as the client may see it. `tick` is called now and then while files are read.
    pub fn manifest(
        &self,
        root: &Root,
        asked: &BStr,
        select: &Select,
        (trees, digests): (&Trees, &Digests),
        tick: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<Manifest, Refusal> {
        let name = root.name.as_ref().map(|name| name.as_bstr());
        // The key says also which of a link and what it leads to was asked for.
        let mut key = root.real.clone();
        if name.is_none() {
            key.push(b'/');
        }
        // Both the wait for another one's look and our own tick.
        let tick = RefCell::new(tick);
        let tree = trees.now(
            key.as_ref(),
            select,
            |tree| tree.holds(&root.dir, name),
            || walk(root, asked, select, digests, &mut || (tick.borrow_mut())()),
            &mut || (tick.borrow_mut())(),
        )?;
        let own = match self.access.throughout(&self.reals, root.real.as_ref(), self.peer) {
            Some(map_root) if tree.entries.iter().all(|entry| self.shown(map_root, entry)) => None,
            _ => Some(self.part(root, asked, &tree)?),
        };
        Ok(Manifest { tree, own })
    }

    /// The part of a tree that the client may see.
    fn part(&self, root: &Root, asked: &BStr, tree: &Tree) -> Result<Part, Refusal> {
        let mut hidden: Option<BString> = None;
        let mut visible = |path: &BStr| {
            if hidden.as_ref().is_some_and(|top| covers(top.as_ref(), path)) {
                return false;
            }
            let seen = self.visible(root, path);
            if !seen {
                hidden = Some(path.to_owned());
            }
            seen
        };
        let seen = tree.entries.iter().filter(|entry| visible(entry.path.as_ref()));
        let mut entries: Vec<Entry> = seen.cloned().collect();
        for entry in entries.iter_mut().filter(|entry| entry.digest.is_some()) {
            let whole = join(root.real.as_ref(), entry.path.as_ref());
            let (_, map_root) = self.granted(whole.as_ref(), asked)?;
            if !self.shown(map_root, entry) {
                entry.digest = None;
            }
        }
        let unread = tree.unread.iter();
        let unread = unread.filter(|(path, _)| self.visible(root, path.as_ref())).cloned();
        Ok((entries, unread.collect()))
    }

    /// Whether all is shown of an entry: the digest of what may not be read would tell a guess at its content from the
    /// truth.
    fn shown(&self, map_root: bool, entry: &Entry) -> bool {
        entry.digest.is_none() || entry.kind != Kind::File || self.readable(map_root, entry.mode, entry.uid)
    }

    fn visible(&self, root: &Root, path: &BStr) -> bool {
        let whole = join(root.real.as_ref(), path);
        matches!(
            self.access.decide(&self.reals, whole.as_ref(), self.peer),
            Decision::Granted { .. }
        )
    }

    /// Opens one file of a tree for reading. It must still be what the manifest said.
    pub fn file(&self, root: &mut Content, want: &Want) -> Result<File, Refusal> {
        let whole = join(root.real.as_ref(), want.path.as_ref());
        if !crate::wire::relative(want.path.as_ref()) {
            let log = format!("{whole} is not a path below the root");
            return Err(Refusal::request(Code::Refused, denied(whole.as_ref()), log));
        }
        let (_, map_root) = self.granted(whole.as_ref(), whole.as_ref())?;
        let file = root.read(want.path.as_ref()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(whole.as_ref()),
            _ => failed(whole.as_ref(), &error),
        })?;
        let meta = crate::sys::at::file_meta(&file).map_err(|e| failed(whole.as_ref(), &e))?;
        if !self.readable(map_root, meta.mode(), meta.uid()) {
            return Err(Refusal::request(
                Code::Refused,
                denied(whole.as_ref()),
                format!(
                    "{whole} belongs to user {} and is not for everybody, and root= does not name this host for its root",
                    meta.uid()
                ),
            ));
        }
        if meta.size() != want.size || meta.mtime() != want.mtime {
            return Err(changed(whole.as_ref()));
        }
        Ok(file)
    }

    /// Whether the client's user may read a file: everybody may, it is root of a host in `root=`, or it has the name of the
    /// file's owner.
    fn readable(&self, map_root: bool, mode: u32, uid: u32) -> bool {
        map_root && self.user == "root" || mode & 0o004 != 0 || self.uid == Some(uid)
    }
}

/// The content of a tree: its directory is opened once, the one read last stays open.
pub struct Content {
    top: Root,
    real: BString,
    inner: Option<Dir>,
    last: Option<(BString, Dir)>,
}

impl Content {
    /// Content below a root.
    pub fn new(top: Root) -> Self {
        Content {
            real: top.real.clone(),
            top,
            inner: None,
            last: None,
        }
    }

    fn read(&mut self, path: &BStr) -> io::Result<File> {
        if path.is_empty() {
            return match &self.top.name {
                Some(name) => self.top.dir.read(name.as_ref()),
                None => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")),
            };
        }
        let (parent, name) = match path.rfind_byte(b'/') {
            Some(at) => (
                path.get(..at).unwrap_or_default(),
                path.get(at + 1..).unwrap_or_default(),
            ),
            None => (&b""[..], path.as_bytes()),
        };
        if self.last.as_ref().is_none_or(|(last, _)| *last != parent) {
            if self.inner.is_none() {
                self.inner = Some(match &self.top.name {
                    Some(name) => self.top.dir.dir(name.as_ref())?,
                    None => self.top.dir.again()?,
                });
            }
            let inner = self.inner.as_ref().ok_or(io::ErrorKind::NotFound)?;
            self.last = Some((parent.into(), inner.beneath(parent.as_bstr())?));
        }
        match &self.last {
            Some((_, dir)) => dir.read(name.as_bstr()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Reads a file to its end into pieces. The digest comes only when the file stayed what it was: as long as it was wanted
/// and with the same stamp. One that is remembered is not made again.
pub fn pour(
    file: &File,
    want: &Want,
    digests: &Digests,
    buffer: &mut [u8],
    piece: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Result<[u8; 32], Refusal>> {
    let before = crate::sys::at::file_meta(file)?;
    let known = digests.known(&before);
    let mut hasher = crate::digest::Blake3::new();
    let mut left = want.size;
    let mut file_ref = file;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let space = buffer.get_mut(..most).unwrap_or_default();
        let read = match file_ref.read(space) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Err(failed(want.path.as_ref(), &e))),
        };
        let bytes = space.get(..read).unwrap_or_default();
        if known.is_none() {
            hasher.update(bytes);
        }
        piece(bytes)?;
        left -= read as u64;
    }
    let digest = known.unwrap_or_else(|| hasher.finish());
    let same = left == 0 && unchanged(file, want, &before, known.is_some())?;
    if !same || want.digest.is_some_and(|wanted| wanted != digest) {
        return Ok(Err(changed(want.path.as_ref())));
    }
    Ok(Ok(digest))
}

/// As [`pour`], where another one reads and sends the file: given whether a digest is wanted it says how much it sent, and
/// the digest.
pub fn pour_by(
    file: &File,
    want: &Want,
    digests: &Digests,
    send: &mut dyn FnMut(bool) -> io::Result<(u64, [u8; 32])>,
) -> io::Result<Result<[u8; 32], Refusal>> {
    let before = crate::sys::at::file_meta(file)?;
    let known = digests.known(&before);
    let (sent, digest) = send(known.is_none())?;
    let same = sent == want.size && unchanged(file, want, &before, known.is_some())?;
    let digest = known.unwrap_or(digest);
    if !same || want.digest.is_some_and(|wanted| wanted != digest) {
        return Ok(Err(changed(want.path.as_ref())));
    }
    Ok(Ok(digest))
}

/// Whether a file is still what it was before it was read, as far as that was looked at, and what is wanted.
fn unchanged(file: &File, want: &Want, before: &Meta, known: bool) -> io::Result<bool> {
    let after = crate::sys::at::file_meta(file)?;
    let kept = !known || Stamp::of(&after) == Stamp::of(before);
    Ok(kept && after.size() == want.size && after.mtime() == want.mtime)
}

fn parent(path: &BStr) -> &BStr {
    match path.rfind_byte(b'/') {
        Some(0) | None => "/".into(),
        Some(at) => path.get(..at).unwrap_or_default().as_bstr(),
    }
}

fn join(dir: &BStr, name: &BStr) -> BString {
    let mut whole = BString::from(dir);
    if !name.is_empty() {
        if !whole.ends_with(b"/") {
            whole.push(b'/');
        }
        whole.extend_from_slice(name);
    }
    whole
}

/// Opens a directory whose path was resolved and decided. A link that was put on the way since then is not followed.
fn no_links(path: &BStr) -> io::Result<Dir> {
    Dir::open(std::path::Path::new("/"))?.beneath(path.trim_start_with(|c| c == '/').as_bstr())
}

/// Opens a directory at or below a base without following any link below the base.
fn beneath(base: &BStr, path: &BStr) -> io::Result<Dir> {
    let top = Dir::open(&base.to_path_lossy())?;
    let base = base.strip_suffix(b"/").unwrap_or(base);
    let rest = path.strip_prefix(base).ok_or(io::ErrorKind::InvalidInput)?;
    top.beneath(rest.trim_start_with(|c| c == '/').as_bstr())
}

fn missing(path: &BStr) -> Refusal {
    Refusal::request(
        Code::Missing,
        format!("{path}: no such file or directory"),
        format!("{path} is not there"),
    )
}

pub(super) fn changed(path: &BStr) -> Refusal {
    Refusal::request(
        Code::Changed,
        format!("{path} changed since it was listed"),
        format!("{path} changed since it was listed"),
    )
}

pub(super) fn failed(path: &BStr, error: &io::Error) -> Refusal {
    Refusal::request(
        Code::Failed,
        format!("{path} cannot be read on the server"),
        format!("{path}: {error}"),
    )
}
