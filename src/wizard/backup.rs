//! Backups of what the wizard overwrites (CW-17, CW-18), and the way back when a run fails or is killed.
//!
//! The newest backup lies at the top of the directory; earlier ones are in `v_<timestamp>`. A file `backup.list` says where
//! each file belongs. While a run is under way a file `unfinished` says so: whoever finds it puts everything back.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::files::private_dir;
use crate::sys;

/// Names the files of a backup.
const LIST: &str = "backup.list";
/// A run is under way, or was killed.
const UNFINISHED: &str = "unfinished";
/// First line of the list.
const HEADER: &str = "# csync_wizard backup 1: name, mode (absent: there was no file), path";

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// `None`: there was no such file.
    mode: Option<u32>,
    path: PathBuf,
}

/// One file of a backup with all that was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    /// Its name in the backup.
    pub name: String,
    /// Where it belongs.
    pub path: PathBuf,
    /// Mode and content; `None`: there was no such file.
    pub content: Option<(u32, Vec<u8>)>,
}

impl Saved {
    /// Makes it as it was.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn put_back(&self) -> io::Result<()> {
        let done = match &self.content {
            Some((mode, bytes)) => self
                .path
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| sys::replace(&self.path, bytes, *mode))
                // A file that was there keeps its mode when it is replaced.
                .and_then(|()| fs::set_permissions(&self.path, fs::Permissions::from_mode(*mode))),
            None => match fs::remove_file(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.path.display())))
    }
}

/// The backup directory (FIL-14).
#[derive(Clone, Debug)]
pub struct Backups {
    dir: PathBuf,
}

impl Backups {
    /// Backups in a directory, which need not exist.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Backups { dir: dir.into() }
    }

    /// Saves the files, each under its own name, and marks a run as under way. Of files that do not exist it is noted that
    /// they did not.
    ///
    /// # Errors
    /// What the system says; then no run may begin.
    pub fn begin(&self, files: &[(String, PathBuf)]) -> io::Result<()> {
        private_dir(&self.dir)?;
        self.set_aside()?;
        let mut list = format!("{HEADER}\n").into_bytes();
        for (name, path) in files {
            let mode = match fs::read(path) {
                Ok(bytes) => {
                    sys::replace(&self.dir.join(name), &bytes, 0o600)?;
                    format!("{:o}", fs::metadata(path)?.mode() & 0o7777)
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => "absent".to_string(),
                Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
            };
            list.extend_from_slice(format!("{name}\t{mode}\t").as_bytes());
            list.extend_from_slice(path.as_os_str().as_bytes());
            list.push(b'\n');
        }
        sys::replace(&self.dir.join(LIST), &list, 0o600)?;
        sys::replace(&self.dir.join(UNFINISHED), b"", 0o600)
    }

    /// The run is complete: nothing is to be put back.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&self) -> io::Result<()> {
        match fs::remove_file(self.dir.join(UNFINISHED)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// True when a run began and did not end.
    pub fn unfinished(&self) -> bool {
        self.dir.join(UNFINISHED).exists()
    }

    /// Puts every file back as it was when the run began. The mark stays until [`Backups::finish`], so that it can be done
    /// again.
    ///
    /// # Errors
    /// The first thing that could not be put back.
    pub fn restore(&self) -> io::Result<()> {
        self.read(None)?.iter().try_for_each(Saved::put_back)
    }

    /// The backups there are: `None` is the newest, at the top; then the directories of earlier ones, the newest first.
    ///
    /// # Errors
    /// What the system says.
    pub fn versions(&self) -> io::Result<Vec<Option<String>>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && is_version(&name)
                && entry.path().join(LIST).exists()
            {
                found.push(Some(name));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        if self.dir.join(LIST).exists() {
            found.insert(0, None);
        }
        Ok(found)
    }

    /// When a backup was made; `None`: the newest.
    ///
    /// # Errors
    /// What the system says.
    pub fn made(&self, version: Option<&str>) -> io::Result<std::time::SystemTime> {
        fs::metadata(self.place(version).join(LIST))?.modified()
    }

    /// All of a backup; `None`: the newest.
    ///
    /// # Errors
    /// What the system says, and a list that is damaged.
    pub fn read(&self, version: Option<&str>) -> io::Result<Vec<Saved>> {
        let dir = self.place(version);
        let saved = list(&dir)?.into_iter().map(|entry| {
            let file = dir.join(&entry.name);
            let bytes = |mode| match fs::read(&file) {
                Ok(bytes) => Ok((mode, bytes)),
                Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", file.display()))),
            };
            Ok(Saved {
                content: entry.mode.map(bytes).transpose()?,
                name: entry.name,
                path: entry.path,
            })
        });
        saved.collect()
    }

    fn place(&self, version: Option<&str>) -> PathBuf {
        match version {
            Some(version) => self.dir.join(version),
            None => self.dir.clone(),
        }
    }

    /// CW-18: moves the backup at the top into a directory named after the moment it was made.
    fn set_aside(&self) -> io::Result<()> {
        let made = match fs::metadata(self.dir.join(LIST)) {
            Ok(meta) => meta.mtime(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let stamp = jiff::Timestamp::from_second(made).map_err(io::Error::other)?;
        let stamp = stamp
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("v_%Y%m%d%H%M%S")
            .to_string();
        let old = self.free(&stamp);
        private_dir(&old)?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // The list goes last: until then the backup at the top is still a backup.
            if entry.file_type()?.is_file() && entry.file_name() != LIST {
                fs::rename(entry.path(), old.join(entry.file_name()))?;
            }
        }
        fs::rename(self.dir.join(LIST), old.join(LIST))
    }

    fn free(&self, stamp: &str) -> PathBuf {
        let plain = self.dir.join(stamp);
        let numbered = (2..).map(|n| self.dir.join(format!("{stamp}_{n}")));
        std::iter::once(plain.clone())
            .chain(numbered)
            // One without a list is of a move that was interrupted: it goes on there.
            .find(|path| !path.join(LIST).exists())
            .unwrap_or(plain)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What stands in the list of a backup.
fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let bytes = fs::read(dir.join(LIST))?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "backup.list is damaged");
    let mut entries = Vec::new();
    for line in bytes.split(|b| *b == b'\n').skip(1).filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, |b| *b == b'\t');
        let (Some(name), Some(mode), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).map_err(|_| bad());
        entries.push(Entry {
            name: text(name)?,
            mode: match text(mode)?.as_str() {
                "absent" => None,
                octal => Some(u32::from_str_radix(octal, 8).map_err(|_| bad())?),
            },
            path: std::ffi::OsString::from_vec(path.to_vec()).into(),
        });
    }
    Ok(entries)
}

/// Whether it is what [`Backups::begin`] calls a directory of an earlier backup.
pub(super) fn is_version(name: &str) -> bool {
    name.strip_prefix("v_")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_at_the_top_older_in_time_stamped_folders_cw_18() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("cf.main");
        let backups = Backups::at(top.path().join("backups"));
        for content in ["one", "two", "three"] {
            fs::write(&file, content).unwrap();
            backups.begin(&[("cf.main".to_string(), file.clone())]).unwrap();
            backups.finish().unwrap();
        }
        assert_eq!(fs::read_to_string(backups.dir().join("cf.main")).unwrap(), "three");
        let mut old: Vec<String> = fs::read_dir(backups.dir())
            .unwrap()
            .map(|e| e.unwrap())
            .filter(|e| e.file_type().unwrap().is_dir())
            .map(|e| {
                assert!(e.file_name().to_string_lossy().starts_with("v_2"));
                fs::read_to_string(e.path().join("cf.main")).unwrap()
            })
            .collect();
        old.sort();
        assert_eq!(old, ["one", "two"]);
        let versions = backups.versions().unwrap();
        let content = |version: &Option<String>| {
            let saved = backups.read(version.as_deref()).unwrap();
            saved[0].content.clone().unwrap().1
        };
        let contents: Vec<Vec<u8>> = versions.iter().map(content).collect();
        assert_eq!(contents, [b"three".to_vec(), b"two".to_vec(), b"one".to_vec()]);
    }

    #[test]
    fn a_run_that_did_not_end_is_put_back_with_modes_and_absences() {
        let top = tempfile::tempdir().unwrap();
        let (there, fresh) = (top.path().join("a b"), top.path().join("fresh"));
        sys::replace(&there, b"old", 0o640).unwrap();
        let backups = Backups::at(top.path().join("backups"));
        backups
            .begin(&[
                ("there".to_string(), there.clone()),
                ("fresh".to_string(), fresh.clone()),
            ])
            .unwrap();
        fs::remove_file(&there).unwrap();
        fs::write(&there, "half").unwrap();
        fs::write(&fresh, "new").unwrap();
        assert!(backups.unfinished());
        for _ in 0..2 {
            backups.restore().unwrap();
            assert!(backups.unfinished(), "until somebody says that all is done");
            assert_eq!(fs::read(&there).unwrap(), b"old");
            assert_eq!(fs::metadata(&there).unwrap().mode() & 0o777, 0o640);
            assert!(!fresh.exists());
        }
        backups.finish().unwrap();
        assert!(!backups.unfinished());
    }

    #[test]
    fn a_damaged_list_is_an_error_and_the_mark_stays() {
        let top = tempfile::tempdir().unwrap();
        let backups = Backups::at(top.path().join("backups"));
        backups.begin(&[]).unwrap();
        fs::write(backups.dir().join(LIST), "#\nrubbish\n").unwrap();
        assert!(backups.restore().is_err());
        assert!(backups.unfinished());
    }
}
