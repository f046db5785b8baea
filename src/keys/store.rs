//! The key directory `ppkeys`: the host's own pair and the keys it trusts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{KeyError, PrivateKey, PublicKey};

/// Key files are tiny; what is larger is none.
const MAX_FILE: u64 = 64 * 1024;
/// The longest user name in a key file's name.
const MAX_USER: usize = 64;

/// A key that is trusted, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The user of the file's name.
    pub user: String,
    /// The address of the file's name.
    pub address: IpAddr,
    /// The key.
    pub key: PublicKey,
}

/// A key directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in a directory, which need not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Store { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The base name of the host's own pair: `ppkeys/localhost`.
    pub fn local(&self) -> PathBuf {
        self.dir.join("localhost")
    }

    /// KY-02: where a peer's key is stored.
    pub fn trusted_file(&self, user: &str, address: IpAddr) -> Result<PathBuf, KeyError> {
        if !valid_user(user) {
            return Err(KeyError::User(user.chars().take(MAX_USER).collect()));
        }
        Ok(self.dir.join(format!("{user}-{}.pub", address.to_canonical())))
    }

    /// Makes the directory, mode 0700; what lies above it gets the usual mode.
    pub fn prepare(&self) -> Result<(), KeyError> {
        let at = |error| KeyError::Io {
            file: self.dir.clone(),
            error,
        };
        if let Some(parent) = self.dir.parent() {
            fs::create_dir_all(parent).map_err(at)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(at),
        }
    }

    /// Makes a pair `BASE.priv` (0600) and `BASE.pub`. Nothing that exists is ever overwritten (KY-01).
    pub fn create(base: &Path) -> Result<PrivateKey, KeyError> {
        let (private, public) = files(base);
        for file in [&private, &public] {
            if fs::symlink_metadata(file).is_ok() {
                return Err(KeyError::Exists(file.clone()));
            }
        }
        let key = PrivateKey::generate()?;
        place(&private, key.pem().as_bytes(), 0o600)?;
        place(&public, key.public().pem().as_bytes(), 0o644)?;
        Ok(key)
    }

    /// Reads the host's own private key; it must be private.
    pub fn load_local(&self) -> Result<PrivateKey, KeyError> {
        let (file, _) = files(&self.local());
        load_private(&file)
    }

    /// Verifies a pair: both readable, belonging together, nobody else may read the private half or write the
    /// directory. Every fault is given.
    pub fn check(base: &Path) -> Result<PublicKey, Vec<KeyError>> {
        let (private, public) = files(base);
        let mut faults = Vec::new();
        let dir = match base.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if let Ok(meta) = fs::metadata(&dir) {
            own(&dir, &meta, 0o700, 0o022, &mut faults);
        }
        let secret = match load_private(&private) {
            Ok(key) => Some(key.public()),
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        match (load_public(&public), secret) {
            (Err(fault), _) => faults.push(fault),
            (Ok(open), Some(secret)) if open != secret => faults.push(KeyError::Mismatch {
                public: public.clone(),
                private,
            }),
            _ => {}
        }
        if let Ok(meta) = fs::metadata(&public) {
            own(&public, &meta, 0o644, 0o022, &mut faults);
        }
        match secret {
            Some(key) if faults.is_empty() => Ok(key),
            _ => Err(faults),
        }
    }

    /// The key trusted for a user at an address; `None` where no file is.
    pub fn trusted(&self, user: &str, address: IpAddr) -> Result<Option<PublicKey>, KeyError> {
        match load_public(&self.trusted_file(user, address)?) {
            Ok(key) => Ok(Some(key)),
            Err(KeyError::Missing(_)) => match self.spelt_otherwise(user, address)? {
                Some(file) => load_public(&file).map(Some),
                None => Ok(None),
            },
            Err(fault) => Err(fault),
        }
    }

    /// A key file whose address is written in another way: `2001:DB8::1`, an IPv4 address mapped into IPv6. It counts as
    /// much as the usual one, or a new key could be put beside it.
    fn spelt_otherwise(&self, user: &str, address: IpAddr) -> Result<Option<PathBuf>, KeyError> {
        let at = |error| KeyError::Io {
            file: self.dir.clone(),
            error,
        };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(error)),
        };
        for entry in entries {
            let name = entry.map_err(at)?.file_name();
            let found = name.to_str().and_then(parse_name);
            if found.is_some_and(|(whose, place)| whose == user && place == address.to_canonical()) {
                return Ok(Some(self.dir.join(name)));
            }
        }
        Ok(None)
    }

    /// All trusted keys, by file name. Files that hold no key are left out.
    pub fn all_trusted(&self) -> Result<Vec<Trusted>, KeyError> {
        let at = |error| KeyError::Io {
            file: self.dir.clone(),
            error,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at)? {
            let name = entry.map_err(at)?.file_name();
            let Some((user, address)) = name.to_str().and_then(parse_name) else {
                continue;
            };
            if let Ok(key) = load_public(&self.dir.join(&name)) {
                found.push(Trusted { user, address, key });
            }
        }
        found.sort_by(|a, b| (&a.user, a.address).cmp(&(&b.user, b.address)));
        Ok(found)
    }

    /// Trusts a key from now on. A stored key is never replaced: when there is one already it must be the same.
    pub fn trust(&self, user: &str, address: IpAddr, key: &PublicKey) -> Result<PathBuf, KeyError> {
        let file = self.trusted_file(user, address)?;
        if let Some(other) = self.spelt_otherwise(user, address)?
            && other != file
        {
            return match load_public(&other)? == *key {
                true => Ok(other),
                false => Err(KeyError::Exists(other)),
            };
        }
        match place(&file, key.pem().as_bytes(), 0o600) {
            Err(KeyError::Exists(_)) if load_public(&file)? == *key => Ok(file),
            Err(fault) => Err(fault),
            Ok(()) => Ok(file),
        }
    }
}

/// Whether a user name may be part of a key file's name.
fn valid_user(user: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    !user.is_empty() && user.len() <= MAX_USER && !user.starts_with(['.', '-']) && user.chars().all(plain)
}

/// `USER-ADDRESS.pub` in its parts.
fn parse_name(name: &str) -> Option<(String, IpAddr)> {
    let (user, address) = name.strip_suffix(".pub")?.rsplit_once('-')?;
    let address: IpAddr = address.parse().ok()?;
    valid_user(user).then_some((user.to_string(), address.to_canonical()))
}

fn files(base: &Path) -> (PathBuf, PathBuf) {
    let with = |end: &str| {
        let mut name = base.as_os_str().to_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    (with(".priv"), with(".pub"))
}

fn read(file: &Path) -> Result<(Vec<u8>, fs::Metadata), KeyError> {
    let at = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(file.to_path_buf()),
        _ => KeyError::Io {
            file: file.to_path_buf(),
            error,
        },
    };
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(file)
        .map_err(at)?;
    let meta = handle.metadata().map_err(at)?;
    let mut text = Vec::new();
    if meta.is_file() {
        handle.take(MAX_FILE).read_to_end(&mut text).map_err(at)?;
    }
    Ok((text, meta))
}

fn load_public(file: &Path) -> Result<PublicKey, KeyError> {
    let (text, _) = read(file)?;
    PublicKey::from_pem(&text).ok_or(KeyError::Format {
        file: file.to_path_buf(),
        expected: "an Ed25519 public key in PEM",
    })
}

fn load_private(file: &Path) -> Result<PrivateKey, KeyError> {
    let (text, meta) = read(file)?;
    let mut faults = Vec::new();
    own(file, &meta, 0o600, 0o077, &mut faults);
    if let Some(fault) = faults.pop() {
        return Err(fault);
    }
    PrivateKey::from_pem(&text).ok_or(KeyError::Format {
        file: file.to_path_buf(),
        expected: "an Ed25519 private key in PEM (PKCS#8)",
    })
}

/// Owner and mode: it must be ours (or root's), and have none of the forbidden bits.
fn own(file: &Path, meta: &fs::Metadata, wanted: u32, forbidden: u32, faults: &mut Vec<KeyError>) {
    let mode = meta.mode() & 0o7777;
    if mode & forbidden != 0 {
        faults.push(KeyError::Mode {
            file: file.to_path_buf(),
            mode,
            wanted,
        });
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        faults.push(KeyError::Owner {
            file: file.to_path_buf(),
            uid: meta.uid(),
        });
    }
}

/// Puts a whole file in place at once, or says that the name is taken: written beside, then linked.
fn place(file: &Path, content: &[u8], mode: u32) -> Result<(), KeyError> {
    let at = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(file.to_path_buf()),
        _ => KeyError::Io {
            file: file.to_path_buf(),
            error,
        },
    };
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut salt = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut salt).map_err(|_| KeyError::Random)?;
    let temp = dir.join(format!(".key.{}", crate::digest::hex(&salt)));
    let written = (|| {
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)?;
        out.write_all(content)?;
        out.set_permissions(fs::Permissions::from_mode(mode))?;
        out.sync_all()?;
        fs::hard_link(&temp, file)
    })();
    let _ = fs::remove_file(&temp);
    written.map_err(at)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("w/ppkeys"));
        store.prepare().unwrap();
        (dir, store)
    }

    #[test]
    fn a_pair_is_made_once_with_tight_modes_and_never_overwritten() {
        let (_dir, store) = store();
        let key = Store::create(&store.local()).unwrap();
        assert_eq!(Store::check(&store.local()).unwrap(), key.public());
        let mode = |name: &str| fs::metadata(store.dir().join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("localhost.priv"), mode("")), (0o600, 0o700));
        let before = fs::read(store.dir().join("localhost.priv")).unwrap();
        let said = Store::create(&store.local()).unwrap_err().to_string();
        let file = store.dir().join("localhost.priv");
        assert_eq!(said, format!("A key file already exists at {}.", file.display()));
        assert_eq!(fs::read(file).unwrap(), before);
        assert_eq!(fs::read_dir(store.dir()).unwrap().count(), 2);
    }

    #[test]
    fn a_private_key_others_can_read_is_not_used() {
        let (_dir, store) = store();
        Store::create(&store.local()).unwrap();
        let file = store.dir().join("localhost.priv");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(store.load_local(), Err(KeyError::Mode { mode: 0o640, .. })));
    }

    #[test]
    fn the_halves_of_two_pairs_are_told_apart() {
        let (_dir, store) = store();
        Store::create(&store.local()).unwrap();
        let other = store.dir().join("other");
        Store::create(&other).unwrap();
        fs::copy(store.dir().join("other.pub"), store.dir().join("localhost.pub")).unwrap();
        let faults = Store::check(&store.local()).unwrap_err();
        assert!(matches!(faults[..], [KeyError::Mismatch { .. }]), "{faults:?}");
    }

    #[test]
    fn trusted_keys_are_found_by_user_and_address_and_never_replaced() {
        let (_dir, store) = store();
        let (a, b) = (
            PrivateKey::generate().unwrap().public(),
            PrivateKey::generate().unwrap().public(),
        );
        let at: IpAddr = "10.77.0.2".parse().unwrap();
        assert_eq!(store.trusted("root", at).unwrap(), None);
        store.trust("root", at, &a).unwrap();
        store.trust("root", at, &a).unwrap();
        assert!(matches!(store.trust("root", at, &b), Err(KeyError::Exists(_))));
        assert_eq!(store.trusted("root", at).unwrap(), Some(a));
        assert_eq!(
            store.trusted("root", "::ffff:10.77.0.2".parse().unwrap()).unwrap(),
            Some(a)
        );
        store.trust("my-user", "fe80::1".parse().unwrap(), &b).unwrap();
        let all = store.all_trusted().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].user.as_str(), all[0].key), ("my-user", b));
    }

    #[test]
    fn a_key_file_counts_however_its_address_is_written() {
        let (_dir, store) = store();
        let key = || PrivateKey::generate().unwrap().public();
        let (a, b) = (key(), key());
        for (written, address) in [("2001:DB8:0::1", "2001:db8::1"), ("::ffff:10.0.0.1", "10.0.0.1")] {
            fs::write(store.dir().join(format!("root-{written}.pub")), a.pem()).unwrap();
            let address = address.parse().unwrap();
            assert_eq!(store.trusted("root", address).unwrap(), Some(a));
            assert!(matches!(store.trust("root", address, &b), Err(KeyError::Exists(_))));
            assert!(store.trust("root", address, &a).is_ok());
            assert!(!store.trusted_file("root", address).unwrap().exists());
        }
    }

    #[test]
    fn a_user_name_is_no_path() {
        let (_dir, store) = store();
        for user in ["", "../x", "a/b", ".hidden", "-f", "a\nb", &"x".repeat(65)] {
            let file = store.trusted_file(user, "10.0.0.1".parse().unwrap());
            assert!(matches!(file, Err(KeyError::User(_))), "{user:?}");
        }
    }
}
