//! The archive: each file is packed once, when the first host needs it, and shared by all hosts that do.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use sha2::{Digest, Sha256};

use super::parcel::{Entry, Kind, Parcel};
use super::{encoded, plain};
use crate::digest::hex;
use crate::fan::talk::Piece;
use crate::fan::{Spool, tar};

/// How many bytes are read at once.
pub(super) const BUFFER: usize = 128 * 1024;

/// How many archives are remembered.
const PLANS: usize = 8;

/// What is packed so far.
#[derive(Debug, Default)]
pub(super) struct Pack {
    spool: Option<Arc<Spool>>,
    size: u64,
    /// Where the entries are in the spool, and what their files had when they were packed.
    packed: HashMap<usize, Packed>,
    /// The latest, by what is in them.
    plans: VecDeque<([u8; 32], Arc<Plan>)>,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    at: u64,
    size: u64,
    digest: [u8; 32],
}

/// What one host gets, or several that need the same.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The archive.
    pub pieces: Vec<Piece>,
    /// What of it could not be read any more, a sentence each.
    pub troubles: Vec<String>,
}

impl Pack {
    /// The archive of these entries, which are numbers in ascending order. The names of large files in the stage of a
    /// host are `keys`. Fails only when it cannot be kept here.
    pub fn plan(&mut self, parcel: &Parcel, wanted: &[usize], keys: &[(usize, String)]) -> io::Result<Arc<Plan>> {
        let mut name = Sha256::new();
        for number in wanted {
            name.update(number.to_be_bytes());
        }
        let name: [u8; 32] = name.finalize().into();
        if let Some((_, plan)) = self.plans.iter().find(|(known, _)| *known == name) {
            return Ok(Arc::clone(plan));
        }
        let mut plan = Plan::default();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut manifest = Vec::new();
        for &number in wanted {
            let entry = &parcel.entries[number];
            let packed = match self.packed.get(&number) {
                Some(packed) => *packed,
                None => match self.pack(parcel, entry)? {
                    Ok(packed) => *self.packed.entry(number).or_insert(packed),
                    Err(why) => {
                        plan.troubles.push(format!("{}: {why}", entry.path));
                        continue;
                    }
                },
            };
            match ranges.last_mut() {
                Some((at, size)) if *at + *size == packed.at => *size += packed.size,
                _ => ranges.push((packed.at, packed.size)),
            }
            if entry.is_file() {
                list(&mut manifest, entry.path.as_bstr(), &packed.digest);
            }
        }
        let mut rest = Vec::new();
        let large: Vec<u8> = keys
            .iter()
            .flat_map(|(number, key)| {
                let name = encoded(parcel.entries[*number].path.as_bytes());
                [key.as_bytes(), b" ", &name, b"\n"].concat()
            })
            .collect();
        if !large.is_empty() {
            self.small(&mut rest, b"r", &large)?;
        }
        self.small(&mut rest, b"m", &manifest)?;
        tar::end(&mut rest)?;
        // On a disk, for there may be as many as hosts.
        ranges.push((self.append(&rest)?, rest.len() as u64));
        let spool = self.spool()?;
        plan.pieces = ranges
            .into_iter()
            .map(|(at, size)| Piece::Part(Arc::clone(&spool), at, size))
            .collect();
        let plan = Arc::new(plan);
        self.plans.truncate(PLANS - 1);
        self.plans.push_front((name, Arc::clone(&plan)));
        Ok(plan)
    }

    fn spool(&mut self) -> io::Result<Arc<Spool>> {
        if let Some(spool) = &self.spool {
            return Ok(Arc::clone(spool));
        }
        let spool = Arc::new(Spool::new()?);
        self.spool = Some(Arc::clone(&spool));
        Ok(spool)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let (spool, at) = (self.spool()?, self.size);
        std::os::unix::fs::FileExt::write_all_at(&spool.file, bytes, at)?;
        self.size += bytes.len() as u64;
        Ok(at)
    }

    /// Packs an entry. The inner error says why it cannot be read.
    fn pack(&mut self, parcel: &Parcel, entry: &Entry) -> io::Result<Result<Packed, String>> {
        let at = self.size;
        let mut file = match entry.kind {
            Kind::File => match parcel.open(entry) {
                Ok(file) => Some(file),
                Err(error) => return Ok(Err(plain(&error))),
            },
            _ => None,
        };
        // What is sent is what is there now, and its digest is the one that is checked.
        let size = match &file {
            Some(file) => match file.metadata() {
                Ok(meta) => meta.len(),
                Err(error) => return Ok(Err(plain(&error))),
            },
            None => 0,
        };
        let header = self.header(entry, size)?;
        self.append(&header)?;
        let mut digest = entry.digest;
        if let Some(file) = &mut file {
            let mut sum = Sha256::new();
            let mut left = size;
            let mut buffer = vec![0; usize::try_from(size).unwrap_or(BUFFER).clamp(1, BUFFER)];
            while left > 0 {
                let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                let why = match file.read(&mut buffer[..wanted]) {
                    Ok(0) => "it became shorter while it was read".to_string(),
                    Ok(count) => {
                        sum.update(&buffer[..count]);
                        self.append(&buffer[..count])?;
                        left -= count as u64;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => plain(&error),
                };
                // Half a file must not be in the archive.
                self.size = at;
                return Ok(Err(why));
            }
            let mut pad = Vec::new();
            tar::pad(&mut pad, size)?;
            self.append(&pad)?;
            digest = sum.finalize().into();
        }
        Ok(Ok(Packed {
            at,
            size: self.size - at,
            digest,
        }))
    }

    fn header(&mut self, entry: &Entry, size: u64) -> io::Result<Vec<u8>> {
        let path = BString::from([b"d/", entry.path.as_bytes()].concat());
        let (kind, link) = match &entry.kind {
            Kind::File | Kind::Large(..) => (b'0', b"".as_bstr()),
            Kind::Dir => (b'5', b"".as_bstr()),
            Kind::Link(to) => (b'2', to.as_bstr()),
            Kind::Fifo => (b'6', b"".as_bstr()),
        };
        let (user, group) = self.owner(entry.uid, entry.gid);
        let mut bytes = Vec::new();
        let header = tar::Entry {
            path: path.as_bstr(),
            kind,
            link,
            mode: entry.mode,
            owner: (entry.uid, &user),
            group: (entry.gid, &group),
            size,
            mtime: u64::try_from(entry.mtime.div_euclid(1_000_000_000)).unwrap_or(0),
        };
        tar::header(&mut bytes, &header)?;
        Ok(bytes)
    }

    /// The names of an owner and a group here; empty where there is none.
    pub fn owner(&mut self, uid: u32, gid: u32) -> (String, String) {
        let user = self.users.entry(uid).or_insert_with(|| {
            let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            user.map(|user| user.name).unwrap_or_default()
        });
        let group = self.groups.entry(gid).or_insert_with(|| {
            let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
            group.map(|group| group.name).unwrap_or_default()
        });
        (user.clone(), group.clone())
    }

    /// A file of the archive itself.
    fn small(&mut self, to: &mut Vec<u8>, name: &[u8], bytes: &[u8]) -> io::Result<()> {
        let entry = tar::Entry {
            path: name.as_bstr(),
            kind: b'0',
            link: b"".as_bstr(),
            mode: 0o600,
            owner: (0, ""),
            group: (0, ""),
            size: bytes.len() as u64,
            mtime: 0,
        };
        tar::header(to, &entry)?;
        to.write_all(bytes)?;
        tar::pad(to, bytes.len() as u64)
    }
}

/// A line as `sha256sum` writes it: a name with a newline or backslash is escaped and the line says so.
fn list(manifest: &mut Vec<u8>, path: &BStr, digest: &[u8]) {
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
        manifest.push(b'\\');
    }
    manifest.extend_from_slice(hex(digest).as_bytes());
    manifest.extend_from_slice(b" *./");
    manifest.extend_from_slice(&name);
    manifest.push(b'\n');
}
