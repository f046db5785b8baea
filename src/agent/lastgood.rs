//! The last policy that parsed. Every file of a policy that was read without an error is kept, together, in one file of
//! the state directory; when a new policy is broken, the machine runs the kept one and stays manageable.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteVec};
use serde::{Deserialize, Serialize};

use crate::policy::{CommandOutput, FileFacts, Program, World};
use crate::state::{Standing, Store, key_of};

/// The name under which the last good policy of the main phase is kept, and that of the update phase.
pub const MAIN: &str = "last_good.main";
/// As [`MAIN`], of the update phase.
pub const UPDATE: &str = "last_good.update";

/// A policy as it was read: all of its files. Bytes are kept as [`key_of`] writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Seconds since the epoch when it was read first.
    pub since: i64,
    files: Vec<Kept>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The name it was asked for by.
    name: String,
    /// The path it was found at.
    path: String,
    content: String,
}

impl Generation {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads what is kept under a name (`last_good.main`).
    pub fn load(store: &Store, name: &str) -> io::Result<Generation> {
        store.read(name).map(|(generation, _)| generation)
    }

    /// Keeps this one, if it is not the one that is kept, and gives what is kept then. Files that were kept, and are
    /// imported at other times only, stay as long as they are there.
    pub fn keep(&self, store: &Store, name: &str) -> io::Result<Generation> {
        let kept = Generation::load(store, name)?;
        let mut whole = self.clone();
        for file in &kept.files {
            if self.file(&file.name).is_none() && file.path().exists() {
                whole.files.push(file.clone());
            }
        }
        if whole.files.len() == kept.files.len() && whole.files.iter().all(|file| kept.files.contains(file)) {
            return Ok(kept);
        }
        store.update(name, |generation: &mut Generation| generation.clone_from(&whole))?;
        Ok(whole)
    }

    /// The name of this policy: a digest of its files, the same on every machine that has the same.
    pub fn id(&self) -> String {
        let mut files: Vec<(&str, &str)> = self.files.iter().map(|file| (&*file.name, &*file.content)).collect();
        files.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (name, content) in files {
            for part in [name, content] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        }
        hasher.finalize().to_hex()[..Standing::ID].to_string()
    }

    /// Notes that this is the policy of the machine now.
    pub fn stand(&self, store: &Store, program: &Program) -> io::Result<Standing> {
        let version = program.context.get("cfinputs_version").unwrap_or_default();
        let standing = Standing {
            id: self.id(),
            since: self.since,
            version: key_of(&version[..version.len().min(Standing::VERSION)]),
        };
        if store.read::<Standing>(Standing::FILE)?.0 != standing {
            store.update(Standing::FILE, |old: &mut Standing| old.clone_from(&standing))?;
        }
        Ok(standing)
    }

    /// Its files, as they were found.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(Kept::path).collect()
    }

    /// Its files that are not now what they were.
    pub fn changed(&self) -> Vec<PathBuf> {
        let same = |file: &&Kept| std::fs::read(file.path()).is_ok_and(|content| key_of(&content) == file.content);
        self.files.iter().filter(|file| !same(file)).map(Kept::path).collect()
    }

    /// Whether its files are as they were read.
    pub fn is_current(&self, world: &mut dyn World) -> bool {
        self.files.iter().all(|file| {
            let name = BString::from(Vec::unescape_bytes(&file.name));
            let now = world.read_policy(name.as_ref());
            now.is_ok_and(|(path, content)| path == file.path() && key_of(&content) == file.content)
        })
    }

    fn file(&self, name: &str) -> Option<&Kept> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl Kept {
    fn path(&self) -> PathBuf {
        let path = BString::from(Vec::unescape_bytes(&self.path));
        super::job::BytesPath::as_path(&path).to_path_buf()
    }
}

/// The machine, with policy files noted as they are read, or taken from a kept policy.
pub struct Reader<'w> {
    world: &'w mut dyn World,
    replay: Option<Generation>,
    secure: bool,
    /// What was read.
    pub read: Generation,
}

impl<'w> Reader<'w> {
    /// Reads policy files as they are now; with `secure` only those that nobody else may write.
    pub fn recording(world: &'w mut dyn World, now: i64, secure: bool) -> Self {
        let read = Generation {
            since: now,
            files: Vec::new(),
        };
        Reader {
            world,
            replay: None,
            secure,
            read,
        }
    }

    /// Reads policy files as they were kept; one that was never kept as it is now, if nobody else may write it.
    pub fn replaying(world: &'w mut dyn World, generation: Generation) -> Self {
        Reader {
            world,
            replay: Some(generation),
            secure: true,
            read: Generation::default(),
        }
    }
}

/// A policy file that somebody else owns or may write is refused (`-Y`, `SecureInput`).
pub fn check_private(path: &Path) -> io::Result<()> {
    let meta = path.metadata()?;
    let ours = meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw();
    if ours && meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = format!("{} is owned by somebody else, or others may write it", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

impl World for Reader<'_> {
    fn read_policy(&mut self, name: &BStr) -> io::Result<(PathBuf, Vec<u8>)> {
        if let Some(file) = self.replay.as_ref().and_then(|kept| kept.file(&key_of(name))) {
            return Ok((file.path(), Vec::unescape_bytes(&file.content)));
        }
        let (path, content) = self.world.read_policy(name)?;
        if self.secure {
            check_private(&path)?;
        }
        self.read.files.push(Kept {
            name: key_of(name),
            path: key_of(path.as_os_str().as_encoded_bytes()),
            content: key_of(&content),
        });
        Ok((path, content))
    }

    fn env(&self, name: &BStr) -> Option<BString> {
        self.world.env(name)
    }
    fn run(&mut self, command: &BStr, shell: bool) -> io::Result<CommandOutput> {
        self.world.run(command, shell)
    }
    fn lstat(&self, path: &BStr) -> Option<FileFacts> {
        self.world.lstat(path)
    }
    fn read_file(&self, path: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        self.world.read_file(path, limit)
    }
    fn user_exists(&self, user: &BStr) -> bool {
        self.world.user_exists(user)
    }
    fn group_exists(&self, group: &BStr) -> bool {
        self.world.group_exists(group)
    }
    fn in_netgroup(&self, group: &BStr) -> bool {
        self.world.in_netgroup(group)
    }
    fn addresses(&self) -> Vec<IpAddr> {
        self.world.addresses()
    }
    fn run_module(&mut self, name: &BStr, args: &BStr, classes: &BStr) -> Option<io::Result<CommandOutput>> {
        self.world.run_module(name, args, classes)
    }
    fn read_tcp(&mut self, host: &BStr, port: u16, send: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        self.world.read_tcp(host, port, send, limit)
    }
    fn random(&mut self, low: u64, high: u64) -> u64 {
        self.world.random(low, high)
    }
    fn verbose(&mut self, text: &str) {
        self.world.verbose(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_the_same_name_everywhere_and_another_one_when_a_byte_changes() {
        let generation = |files: &[(&str, &str)]| Generation {
            since: files.len() as i64,
            files: files
                .iter()
                .map(|(name, content)| Kept {
                    name: name.to_string(),
                    path: format!("/{}/{name}", files.len()),
                    content: content.to_string(),
                })
                .collect(),
        };
        let one = generation(&[("a", "x"), ("b", "y")]).id();
        assert_eq!(one.len(), Standing::ID);
        assert_eq!(generation(&[("b", "y"), ("a", "x")]).id(), one);
        for other in [&[("a", "x"), ("b", "z")][..], &[("a", "x")], &[("a", "xb"), ("", "y")]] {
            assert_ne!(generation(other).id(), one);
        }
    }

    #[test]
    fn any_bytes_survive_being_kept() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [&all[..], b"\\x41 \\n", b""] {
            assert_eq!(Vec::unescape_bytes(key_of(text)), text);
        }
    }
}
