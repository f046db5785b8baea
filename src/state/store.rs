//! Checksummed files of one directory: `dsau-state 1 BLAKE3` on the first line, JSON after it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fsx::{Dir, Wanted, sweep, write_whole};

/// No state file is larger; a larger one is damaged.
const LIMIT: u64 = 256 << 20;
const MAGIC: &str = "dsau-state 1 ";

/// A directory of state files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
    reads_only: bool,
}

/// A file that was not what we had written. It was set aside and a new one begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where it is now; `None`: it was left, by somebody who only reads.
    pub set_aside: Option<PathBuf>,
    /// What was wrong with it.
    pub why: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged ({})", self.file.display(), self.why)?;
        match &self.set_aside {
            Some(place) => write!(f, "; it was set aside as {} and a new one is begun", place.display()),
            None => Ok(()),
        }
    }
}

impl Store {
    /// The store in a directory, which is made private if it is not there.
    pub fn open(dir: &Path) -> io::Result<Store> {
        if !dir.is_dir() {
            fs::create_dir_all(dir)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        Ok(Store {
            dir: dir.to_path_buf(),
            reads_only: false,
        })
    }

    /// The store in a directory, for somebody who changes nothing: whatever would be written is an error.
    pub fn reading(dir: &Path) -> Store {
        Store {
            dir: dir.to_path_buf(),
            reads_only: true,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads a file; what is not there is empty. A damaged file is set aside.
    pub fn read<T: DeserializeOwned + Default>(&self, name: &str) -> io::Result<(T, Option<Damage>)> {
        let path = self.dir.join(name);
        let Some(bytes) = bytes_of(&path)? else {
            return Ok((T::default(), None));
        };
        match decode(&bytes) {
            Ok(value) => Ok((value, None)),
            Err(why) => {
                let aside = self.dir.join(format!("{name}.damaged"));
                let set_aside = match self.reads_only {
                    true => None,
                    false => fs::rename(&path, &aside).map(|()| Some(aside))?,
                };
                let damage = Damage {
                    file: path,
                    set_aside,
                    why,
                };
                Ok((T::default(), Some(damage)))
            }
        }
    }

    /// Reads a file for someone who only looks: nothing is made, and a damaged file is an error and stays where it is.
    /// `None` = it is not there.
    pub fn peek<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
        let Some(bytes) = bytes_of(path)? else {
            return Ok(None);
        };
        let damaged = |why| io::Error::new(io::ErrorKind::InvalidData, format!("it is damaged: {why}"));
        decode(&bytes).map(Some).map_err(damaged)
    }

    /// Reads a file, changes it and writes it back, alone: other processes wait meanwhile.
    pub fn update<T: Serialize + DeserializeOwned + Default>(
        &self,
        name: &str,
        change: impl FnOnce(&mut T),
    ) -> io::Result<Option<Damage>> {
        self.may_write()?;
        let dir = Dir::open(&self.dir)?;
        let lock = dir.open_or_create(format!("{name}.lock").as_bytes().as_bstr(), 0o600)?;
        lock.lock()?;
        let (mut value, damage) = self.read::<T>(name)?;
        change(&mut value);
        sweep(&dir)?;
        write_whole(
            &dir,
            name.as_bytes().as_bstr(),
            &encode(&value)?,
            &Wanted::default(),
            None,
        )?;
        Ok(damage)
    }

    pub(super) fn may_write(&self) -> io::Result<()> {
        match self.reads_only {
            true => Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "nothing is written now",
            )),
            false => Ok(()),
        }
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.may_write()?;
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The content of a file, up to one byte more than is allowed; `None` = it is not there.
pub(super) fn bytes_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LIMIT + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(bytes))
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(value).map_err(io::Error::other)?;
    let mut bytes = format!("{MAGIC}{}\n", blake3::hash(&body).to_hex()).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() as u64 > LIMIT {
        return Err("it is too large".into());
    }
    let (head, body) = bytes.split_once_str("\n").ok_or("it has no first line")?;
    let sum = head
        .strip_prefix(MAGIC.as_bytes())
        .ok_or("it does not begin as our files do")?;
    if sum != blake3::hash(body).to_hex().as_bytes() {
        return Err("its checksum is wrong".into());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let top = tempfile::tempdir().unwrap();
        let store = Store::open(&top.path().join("state")).unwrap();
        for wanted in [vec![1], vec![1, 2]] {
            let next = wanted.len() as u32;
            assert_eq!(
                store.update("list", |list: &mut Vec<u32>| list.push(next)).unwrap(),
                None
            );
            assert_eq!(store.read::<Vec<u32>>("list").unwrap(), (wanted, None));
        }
        let mode = fs::metadata(store.dir()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_said() {
        let top = tempfile::tempdir().unwrap();
        let store = Store::open(top.path()).unwrap();
        store.update("list", |list: &mut Vec<u32>| list.push(1)).unwrap();
        let path = top.path().join("list");
        let good = fs::read(&path).unwrap();
        for damaged in [good[..good.len() - 1].to_vec(), b"junk".to_vec(), Vec::new()] {
            fs::write(&path, &damaged).unwrap();
            let told = Store::peek::<Vec<u32>>(&path).unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::InvalidData);
            let (list, damage) = store.read::<Vec<u32>>("list").unwrap();
            assert!(list.is_empty());
            let damage = damage.unwrap();
            assert_eq!(fs::read(damage.set_aside.unwrap()).unwrap(), damaged);
            assert!(!path.exists());
        }
    }

    #[test]
    fn who_only_reads_leaves_even_a_damaged_file_where_it_is() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("list"), "junk").unwrap();
        let store = Store::reading(top.path());
        let (list, damage) = store.read::<Vec<u32>>("list").unwrap();
        assert!(list.is_empty());
        assert!(damage.unwrap().to_string().ends_with("(it has no first line)"));
        assert!(store.update("list", |list: &mut Vec<u32>| list.push(1)).is_err());
        assert!(store.remove("list").is_err());
        assert_eq!(fs::read(top.path().join("list")).unwrap(), b"junk");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
    }
}
