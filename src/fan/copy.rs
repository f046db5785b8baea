//! Copying files to many hosts (FO-04): packed once, sent as one stream to each, put in place by renames, checked by
//! digest. At any moment a file on a host is the old one or the new one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use sha2::{Digest, Sha256};

use super::{Input, Spool, tar};
use crate::digest::hex;
use crate::remote;
use crate::sys::at::{Dir, Meta};

/// How deep a tree may go.
const DEPTH: usize = 256;

/// Files packed for the road.
pub struct Parcel {
    spool: Spool,
    manifest: Vec<u8>,
    names: Vec<BString>,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    troubles: Vec<String>,
}

/// A parcel that is complete and can be sent.
#[derive(Clone, Debug)]
pub struct Packed {
    spool: Arc<Spool>,
    only: BString,
    count: usize,
}

impl Parcel {
    /// An empty parcel.
    pub fn new() -> io::Result<Self> {
        Ok(Parcel {
            spool: Spool::new()?,
            manifest: Vec::new(),
            names: Vec::new(),
            users: HashMap::new(),
            groups: HashMap::new(),
            troubles: Vec::new(),
        })
    }

    /// What could not be packed, a sentence each. The rest is in the parcel.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// Adds a file, or with `recursive` a directory with all that is in it. A link named here is followed; links inside
    /// a directory are copied as links. What cannot be packed becomes a [`Parcel::troubles`] line; an error means that
    /// the parcel itself cannot be kept.
    pub fn add(&mut self, path: &Path, recursive: bool) -> io::Result<()> {
        let shown = path.display().to_string();
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return self.trouble(&shown, plain(&error)),
        };
        // A link goes under its own name, `.` under the name of the directory.
        let name = path.file_name().or(real.file_name());
        let (Some(name), Some(parent), Some(own)) = (name, real.parent(), real.file_name()) else {
            return self.trouble(&shown, "the root directory cannot be copied as a whole".into());
        };
        let name = BString::from(name.as_bytes());
        if self.names.contains(&name) {
            return self.trouble(&shown, format!("another source is called {name} too"));
        }
        let found = Dir::open(parent).and_then(|dir| dir.meta(own.as_bytes().as_bstr()).map(|meta| (dir, meta)));
        let (dir, meta) = match found {
            Ok(found) => found,
            Err(error) => return self.trouble(&shown, plain(&error)),
        };
        if meta.is_dir() && !recursive {
            return self.trouble(&shown, "a directory, not copied without -r".into());
        }
        let before = self.spool.position()?;
        self.entry(&dir, own.as_bytes().as_bstr(), name.as_bstr(), &shown, meta, 0)?;
        if self.spool.position()? > before {
            self.names.push(name);
        }
        Ok(())
    }

    /// Adds a file that exists only here.
    pub fn add_bytes(&mut self, name: &BStr, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let mtime = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.header(
            name,
            b'0',
            b"".as_bstr(),
            mode,
            bytes.len() as u64,
            mtime.map_or(0, |t| t.as_secs()),
            None,
        )?;
        self.spool.write_all(bytes)?;
        tar::pad(&mut self.spool, bytes.len() as u64)?;
        self.list(name, &Sha256::digest(bytes));
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Closes the parcel.
    pub fn finish(mut self) -> io::Result<Packed> {
        let manifest = std::mem::take(&mut self.manifest);
        let entry = tar::Entry {
            path: b"m".as_bstr(),
            kind: b'0',
            link: b"".as_bstr(),
            mode: 0o600,
            owner: (0, ""),
            group: (0, ""),
            size: manifest.len() as u64,
            mtime: 0,
        };
        tar::header(&mut self.spool, &entry)?;
        self.spool.write_all(&manifest)?;
        tar::pad(&mut self.spool, manifest.len() as u64)?;
        tar::end(&mut self.spool)?;
        Ok(Packed {
            only: match self.names.as_slice() {
                [only] => only.clone(),
                _ => BString::default(),
            },
            count: self.names.len(),
            spool: Arc::new(self.spool),
        })
    }

    fn trouble(&mut self, what: &str, why: String) -> io::Result<()> {
        self.troubles.push(format!("{what}: {why}"));
        Ok(())
    }

    fn entry(&mut self, dir: &Dir, own: &BStr, path: &BStr, shown: &str, meta: Meta, depth: usize) -> io::Result<()> {
        let none = b"".as_bstr();
        let mtime = u64::try_from(meta.mtime() / 1_000_000_000).unwrap_or(0);
        let owner = Some((meta.uid(), meta.gid()));
        if meta.is_dir() {
            let opened = dir.dir(own).and_then(|dir| dir.names().map(|names| (dir, names)));
            let (inside, names) = match opened {
                Ok(opened) if depth < DEPTH => opened,
                Ok(_) => return self.trouble(shown, format!("deeper than {DEPTH} directories")),
                Err(error) => return self.trouble(shown, plain(&error)),
            };
            self.header(path, b'5', none, meta.mode(), 0, mtime, owner)?;
            for name in names {
                let below = BString::from([path.as_bytes(), b"/", &name].concat());
                let shown = format!("{shown}/{name}");
                match inside.meta(name.as_bstr()) {
                    Ok(meta) => self.entry(&inside, name.as_bstr(), below.as_bstr(), &shown, meta, depth + 1)?,
                    Err(error) => self.trouble(&shown, plain(&error))?,
                }
            }
            return Ok(());
        }
        if meta.is_file() {
            return self.file(dir, own, path, shown);
        }
        if meta.is_link() {
            return match dir.read_link(own) {
                Ok(to) => self.header(path, b'2', to.as_bstr(), 0o777, 0, mtime, owner),
                Err(error) => self.trouble(shown, plain(&error)),
            };
        }
        if meta.is_fifo() {
            return self.header(path, b'6', none, meta.mode(), 0, mtime, owner);
        }
        self.trouble(shown, "a socket or device, not copied".into())
    }

    fn file(&mut self, dir: &Dir, own: &BStr, path: &BStr, shown: &str) -> io::Result<()> {
        let opened = dir.read(own).and_then(|file| file.metadata().map(|meta| (file, meta)));
        let (mut file, meta) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.trouble(shown, plain(&error)),
        };
        use std::os::unix::fs::MetadataExt;
        let start = self.spool.position()?;
        let mtime = u64::try_from(meta.mtime()).unwrap_or(0);
        let (mode, owner) = (meta.mode() & 0o7777, Some((meta.uid(), meta.gid())));
        self.header(path, b'0', b"".as_bstr(), mode, meta.len(), mtime, owner)?;
        let (mut digest, mut left) = (Sha256::new(), meta.len());
        let mut buffer = vec![0; 128 * 1024];
        while left > 0 {
            let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let why = match file.read(&mut buffer[..wanted]) {
                Ok(0) => "it became shorter while it was read".to_string(),
                Ok(count) => {
                    digest.update(&buffer[..count]);
                    self.spool.write_all(&buffer[..count])?;
                    left -= count as u64;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => plain(&error),
            };
            // Half a file must not be in the parcel.
            self.spool.cut(start)?;
            return self.trouble(shown, why);
        }
        tar::pad(&mut self.spool, meta.len())?;
        self.list(path, &digest.finalize());
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn header(
        &mut self,
        path: &BStr,
        kind: u8,
        link: &BStr,
        mode: u32,
        size: u64,
        mtime: u64,
        owner: Option<(u32, u32)>,
    ) -> io::Result<()> {
        let path = BString::from([b"d/", path.as_bytes()].concat());
        let (uid, gid) = owner.unwrap_or_else(|| (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
        let user = self.users.entry(uid).or_insert_with(|| {
            let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            user.map(|user| user.name).unwrap_or_default()
        });
        let group = self.groups.entry(gid).or_insert_with(|| {
            let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
            group.map(|group| group.name).unwrap_or_default()
        });
        let entry = tar::Entry {
            path: path.as_bstr(),
            kind,
            link,
            mode,
            owner: (uid, user),
            group: (gid, group),
            size,
            mtime,
        };
        tar::header(&mut self.spool, &entry)
    }

    /// A line as `sha256sum` writes it: a name with a newline or backslash is escaped and the line says so.
    fn list(&mut self, path: &BStr, digest: &[u8]) {
        let mut name = Vec::new();
        for &b in path.as_bytes() {
            match b {
                b'\\' => name.extend_from_slice(b"\\\\"),
                b'\n' => name.extend_from_slice(b"\\n"),
                b'\r' => name.extend_from_slice(b"\\r"),
                _ => name.push(b),
            }
        }
        if name != path.as_bytes() {
            self.manifest.push(b'\\');
        }
        self.manifest.extend_from_slice(hex(digest).as_bytes());
        self.manifest.extend_from_slice(b" *./");
        self.manifest.extend_from_slice(&name);
        self.manifest.push(b'\n');
    }
}

impl Packed {
    /// How many sources are in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The command that puts it in place on a host: into the directory `target`, or, when only one source was packed and
    /// `target` is no directory, under that name. With `into`, or a slash at its end, it must be a directory that exists.
    /// `keep`: owner and times are the source's.
    pub fn command(&self, target: &BStr, into: bool, keep: bool) -> Vec<OsString> {
        let into = into || self.count != 1 || target.ends_with(b"/");
        let text = include_str!("place.sh");
        remote::carry(
            text,
            &[
                target.as_bytes(),
                if into { b"into" } else { b"as" },
                self.only.as_bytes(),
                if keep { b"keep" } else { b"-" },
            ],
        )
    }

    /// What that command reads.
    pub fn input(&self) -> Input {
        Input::Spool(Arc::clone(&self.spool))
    }
}

impl Spool {
    fn position(&mut self) -> io::Result<u64> {
        self.file.stream_position()
    }

    fn cut(&mut self, at: u64) -> io::Result<()> {
        self.file.set_len(at)?;
        self.file.seek(SeekFrom::Start(at)).map(drop)
    }
}

fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
