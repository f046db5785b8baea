//! What is to be copied: found, named and digested, but not packed yet.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use nix::unistd::Whence;
use sha2::{Digest, Sha256};

use super::pack::BUFFER;
use super::plain;
use crate::fan::Spool;
use crate::sys::at::{self, Dir, Meta};

/// How deep a tree may go.
const DEPTH: usize = 256;

/// A file of this size travels outside the archive: what arrived of it is kept when the copy breaks off.
const LARGE: u64 = 16 << 20;

/// A file with holes travels outside the archive from this size on.
const SPARSE: u64 = 128 << 10;

/// So many files are held open as long as the copy takes; more large ones travel in the archive.
const MOST_LARGE: usize = 64;

/// The most pieces between the holes of one file.
const MOST_PIECES: usize = 256;

/// Files found for the road.
#[derive(Debug, Default)]
pub struct Parcel {
    pub(super) entries: Vec<Entry>,
    pub(super) tops: Vec<Top>,
    pub(super) left_out: Vec<BString>,
    troubles: Vec<String>,
    notes: Vec<String>,
    large: usize,
}

/// A source as it was named.
#[derive(Debug)]
pub(super) struct Top {
    /// Its name on the hosts.
    pub name: BString,
    /// Where it is here.
    dir: Dir,
    own: BString,
}

/// An object to be copied.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path on the hosts, below the target.
    pub path: BString,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Nanoseconds since the epoch.
    pub mtime: i128,
    pub size: u64,
    /// Of a file.
    pub digest: [u8; 32],
    top: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    File,
    /// A file that travels outside the archive: held open, with the pieces between its holes.
    Large(Arc<Spool>, Vec<(u64, u64)>),
    Dir,
    Link(BString),
    Fifo,
}

impl Entry {
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File | Kind::Large(..))
    }

    /// The path of the directory it is in; empty for a source.
    pub fn parent(&self) -> &BStr {
        parent(self.path.as_bstr())
    }
}

pub(super) fn parent(path: &BStr) -> &BStr {
    match path.rfind_byte(b'/') {
        Some(at) => path[..at].as_bstr(),
        None => b"".as_bstr(),
    }
}

impl Parcel {
    /// An empty parcel.
    pub fn new() -> Self {
        Parcel::default()
    }

    /// What could not be taken, a sentence each. The rest is in the parcel.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// What was left out because it cannot be copied, a sentence each: sockets and devices in a directory.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many sources are in it.
    pub fn count(&self) -> usize {
        self.tops.len()
    }

    /// Adds a file, or with `recursive` a directory with all that is in it, under its own name or `name`. A link named
    /// here is followed; links inside a directory are copied as links. What cannot be taken becomes a
    /// [`Parcel::troubles`] line.
    pub fn add(&mut self, path: &Path, name: Option<&BStr>, recursive: bool) {
        let shown = path.display().to_string();
        if let Err(why) = self.source(path, name, recursive, &shown) {
            self.troubles.push(format!("{shown}: {why}"));
        }
    }

    fn source(&mut self, path: &Path, name: Option<&BStr>, recursive: bool, shown: &str) -> Result<(), String> {
        let real = std::fs::canonicalize(path).map_err(|e| plain(&e))?;
        // A link goes under its own name, `.` under the name of the directory.
        let own = path
            .file_name()
            .or(real.file_name())
            .map(|name| name.as_bytes().as_bstr());
        let (Some(name), Some(parent), Some(own)) = (name.or(own), real.parent(), real.file_name()) else {
            return Err("the root directory cannot be copied as a whole".into());
        };
        if self.tops.iter().any(|top| top.name == name) {
            return Err(format!("another source is called {name} too"));
        }
        let own = own.as_bytes().as_bstr();
        let dir = Dir::open(parent).map_err(|e| plain(&e))?;
        let meta = dir.meta(own).map_err(|e| plain(&e))?;
        if meta.is_dir() && !recursive {
            return Err("a directory, not copied without -r".into());
        }
        let again = dir.again().map_err(|e| plain(&e))?;
        self.tops.push(Top {
            name: name.to_owned(),
            dir,
            own: own.to_owned(),
        });
        let before = self.entries.len();
        self.visit(&again, own, name, shown, &meta, 0);
        if self.entries.len() == before {
            self.tops.pop();
            // Said already, but as a source of its own it is missed.
            self.troubles.append(&mut self.notes);
        }
        Ok(())
    }

    fn trouble(&mut self, path: &BStr, shown: &str, why: &str) {
        self.left_out.push(path.to_owned());
        self.troubles.push(format!("{shown}: {why}"));
    }

    fn visit(&mut self, dir: &Dir, own: &BStr, path: &BStr, shown: &str, meta: &Meta, depth: usize) {
        let taken = match () {
            () if meta.is_dir() => return self.directory(dir, own, path, shown, meta, depth),
            () if meta.is_file() => self.file(dir, own, path),
            () if meta.is_link() => dir.read_link(own).map(|to| {
                self.keep(path, Kind::Link(to), meta, [0; 32]);
            }),
            () if meta.is_fifo() => {
                self.keep(path, Kind::Fifo, meta, [0; 32]);
                Ok(())
            }
            () => {
                self.left_out.push(path.to_owned());
                return self.notes.push(format!("{shown}: a socket or device, not copied"));
            }
        };
        if let Err(error) = taken {
            self.trouble(path, shown, &plain(&error));
        }
    }

    fn directory(&mut self, dir: &Dir, own: &BStr, path: &BStr, shown: &str, meta: &Meta, depth: usize) {
        if depth >= DEPTH {
            return self.trouble(path, shown, &format!("deeper than {DEPTH} directories"));
        }
        let opened = dir.dir(own).and_then(|dir| dir.names().map(|names| (dir, names)));
        let (inside, names) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.trouble(path, shown, &plain(&error)),
        };
        self.keep(path, Kind::Dir, meta, [0; 32]);
        for name in names {
            let below = BString::from([path.as_bytes(), b"/", &name].concat());
            let shown = format!("{shown}/{name}");
            match inside.meta(name.as_bstr()) {
                Ok(meta) => self.visit(&inside, name.as_bstr(), below.as_bstr(), &shown, &meta, depth + 1),
                Err(error) => self.trouble(below.as_bstr(), &shown, &plain(&error)),
            }
        }
    }

    fn file(&mut self, dir: &Dir, own: &BStr, path: &BStr) -> io::Result<()> {
        let mut file = dir.read(own)?;
        let meta = at::file_meta(&file)?;
        let size = meta.size();
        let pieces = match size {
            SPARSE.. if self.large < MOST_LARGE => pieces(&file, size)?,
            _ => vec![(0, size)],
        };
        let digest = digest(&mut file, size)?;
        let kind = match size >= LARGE || pieces != [(0, size)] {
            true if self.large < MOST_LARGE => {
                self.large += 1;
                Kind::Large(Arc::new(Spool { file }), pieces)
            }
            _ => Kind::File,
        };
        self.keep(path, kind, &meta, digest);
        Ok(())
    }

    fn keep(&mut self, path: &BStr, kind: Kind, meta: &Meta, digest: [u8; 32]) {
        self.entries.push(Entry {
            path: path.to_owned(),
            size: if meta.is_file() { meta.size() } else { 0 },
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: meta.mtime(),
            kind,
            digest,
            top: self.tops.len() - 1,
        });
    }

    /// Opens the file of an entry once more, without following any link.
    pub(super) fn open(&self, entry: &Entry) -> io::Result<File> {
        let top = &self.tops[entry.top];
        match entry.path.strip_prefix(top.name.as_bytes()) {
            Some(b"") => top.dir.read(top.own.as_bstr()),
            Some(below) => {
                let path = BString::from([top.own.as_bytes(), below].concat());
                let (dir, name) = top.dir.parent_of(path.as_bstr())?;
                dir.read(name)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// The SHA-256 of the first `size` bytes.
fn digest(file: &mut File, size: u64) -> io::Result<[u8; 32]> {
    let (mut digest, mut left) = (Sha256::new(), size);
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(BUFFER).clamp(1, BUFFER)];
    file.seek(SeekFrom::Start(0))?;
    while left > 0 {
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match file.read(&mut buffer[..wanted]) {
            Ok(0) => return Err(io::Error::other("it became shorter while it was read")),
            Ok(count) => {
                digest.update(&buffer[..count]);
                left -= count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(digest.finalize().into())
}

/// The pieces of a file that lie between its holes: where each begins, and its size. Small holes are taken as content
/// where there are very many.
fn pieces(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut smallest = 4096;
    loop {
        let mut found: Vec<(u64, u64)> = Vec::new();
        let mut at = 0;
        while at < size {
            let begin = match nix::unistd::lseek64(file, i64::try_from(at).unwrap_or(i64::MAX), Whence::SeekData) {
                Ok(begin) => u64::try_from(begin).unwrap_or(size).min(size),
                Err(nix::errno::Errno::ENXIO) => break,
                // A file system without holes.
                Err(nix::errno::Errno::EINVAL) => return Ok(vec![(0, size)]),
                Err(errno) => return Err(errno.into()),
            };
            let end = nix::unistd::lseek64(file, i64::try_from(begin).unwrap_or(i64::MAX), Whence::SeekHole)?;
            let end = u64::try_from(end).unwrap_or(size).min(size);
            if end <= begin {
                break;
            }
            match found.last_mut() {
                Some((from, long)) if begin - (*from + *long) < smallest => *long = end - *from,
                None if begin < smallest => found.push((0, end)),
                _ => found.push((begin, end - begin)),
            }
            at = end;
        }
        if found.len() <= MOST_PIECES {
            return Ok(found);
        }
        smallest *= 4;
    }
}
