//! What is replaced is kept: `F.cfsaved`, time-stamped, or in the repository (cfengine2.md 15.4).

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bstr::{BStr, BString, ByteSlice};

use super::{Fresh, Place, Wanted, stray};
use crate::sys::at::Dir;

/// The backups one run has made. Two rules may change the same file in one run: what was there before the run is kept,
/// not what the first rule made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(Rc<RefCell<HashSet<PathBuf>>>);

/// How the old file is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What this run has kept already.
    pub kept: Kept,
    /// The file's own path: its name in the repository is made of it.
    pub path: PathBuf,
    /// Added to the name, usually `.cfsaved`.
    pub suffix: BString,
    /// The moment of the run for a time-stamped name; `None` for a single backup.
    pub stamp: Option<jiff::Zoned>,
    /// The directory backups are moved to, and the character that stands for `/` in their names.
    pub repository: Option<(PathBuf, u8)>,
}

impl Backup {
    /// `F.cfsaved` beside the file.
    pub fn beside(path: &Path) -> Self {
        Backup {
            kept: Kept::default(),
            path: path.to_path_buf(),
            suffix: ".cfsaved".into(),
            stamp: None,
            repository: None,
        }
    }

    /// What the backup of `name` is called: `F.cfsaved`, or `F_EPOCH_Sat_Nov_21_20_46_57_2026_.cfsaved`.
    pub fn name_of(&self, name: &BStr) -> BString {
        let mut saved = BString::from(name.as_bytes());
        if let Some(stamp) = &self.stamp {
            let text = stamp.strftime("_%s_%a %b %e %H:%M:%S %Y_").to_string();
            saved.extend(
                text.bytes()
                    .map(|byte| if matches!(byte, b' ' | b':') { b'_' } else { byte }),
            );
        }
        saved.extend_from_slice(&self.suffix);
        saved
    }
}

/// Where an old file was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its name beside the file; moved on from there when there is a repository.
    pub beside: PathBuf,
    /// Its place in the repository.
    pub moved: Option<PathBuf>,
}

/// A path as one name: every `/` becomes the given character.
pub fn canonical(path: &Path, rep_char: u8) -> BString {
    let bytes = path.as_os_str().as_bytes().iter();
    BString::from(
        bytes
            .map(|byte| if *byte == b'/' { rep_char } else { *byte })
            .collect::<Vec<u8>>(),
    )
}

/// Keeps a second name of (or, where there are no hard links, a copy of) an object. The object itself stays: the caller
/// renames the new one over it.
pub fn save(dir: &Dir, name: &BStr, keep: &Backup) -> io::Result<Saved> {
    let saved = save_unsynced(dir, name, keep)?;
    dir.sync()?;
    Ok(saved)
}

/// As [`save`]; the caller syncs the directory, once for many files.
pub fn save_unsynced(dir: &Dir, name: &BStr, keep: &Backup) -> io::Result<Saved> {
    let saved = keep.name_of(name);
    let beside = keep.path.with_file_name(std::ffi::OsStr::from_bytes(&saved));
    let moved = keep.repository.as_ref().map(|(repository, rep_char)| {
        let place = canonical(&beside, *rep_char);
        repository.join(std::ffi::OsStr::from_bytes(&place))
    });
    let place = moved.as_ref().unwrap_or(&beside);
    if keep.kept.0.borrow().contains(place) {
        return Ok(Saved { beside, moved });
    }
    match &moved {
        None => second_name(dir, name, dir, saved.as_ref())?,
        Some(target) => {
            let (target, _) = Place::with_parents(target, 0o700)?;
            second_name(dir, name, &target.dir, target.name())?;
            target.dir.sync()?;
        }
    }
    keep.kept.0.borrow_mut().insert(place.clone());
    Ok(Saved { beside, moved })
}

/// Gives an object a second name, replacing what has that name, in one step.
fn second_name(from: &Dir, name: &BStr, to: &Dir, second: &BStr) -> io::Result<()> {
    let meta = from.meta(name)?;
    if meta.is_file() && meta.mode() & 0o6000 != 0 {
        // A program that was replaced, perhaps because it was faulty, must not go on running as its owner.
        return copy(from, name, to, second);
    }
    let temp = stray::temp_name();
    match from.hard_link(name, to, temp.as_ref()) {
        Ok(()) => {
            let result = to.rename(temp.as_ref(), to, second);
            // Renaming one name of a file over another name of it does nothing, and leaves both.
            let _ = to.unlink(temp.as_ref());
            result
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => copy(from, name, to, second),
    }
}

fn copy(from: &Dir, name: &BStr, to: &Dir, second: &BStr) -> io::Result<()> {
    let meta = from.meta(name)?;
    if meta.is_link() {
        let temp = stray::temp_name();
        to.symlink(from.read_link(name)?.as_ref(), temp.as_ref())?;
        return to.rename(temp.as_ref(), to, second);
    }
    let mut fresh = Fresh::new(to)?;
    fresh.fill(&mut from.read(name)?)?;
    fresh.flush()?;
    let root = nix::unistd::geteuid().is_root();
    let wanted = Wanted {
        mode: meta.mode() & !0o6000,
        uid: root.then(|| meta.uid()),
        gid: root.then(|| meta.gid()),
        times: Some((meta.atime(), meta.mtime())),
        carry: false,
        ..Wanted::default()
    };
    fresh.commit(second, &wanted, None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::write_whole;
    use std::fs;

    #[test]
    fn the_replaced_file_is_kept_under_its_second_name() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        let dir = Dir::open(top.path()).unwrap();
        for (content, kept) in [("one", None), ("two", Some("one")), ("three", Some("two"))] {
            // Each in a run of its own.
            let keep = Backup::beside(&path);
            let saved = write_whole(&dir, "f".into(), content.as_bytes(), &Wanted::default(), Some(&keep)).unwrap();
            assert_eq!(saved.is_some(), kept.is_some());
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::read_to_string(top.path().join("f.cfsaved")).ok().as_deref(), kept);
        }
        assert_eq!(dir.names().unwrap(), ["f", "f.cfsaved"]);
    }

    #[test]
    fn a_backup_interrupted_before_the_new_file_came_is_simply_done_again() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        fs::write(&path, "old").unwrap();
        let dir = Dir::open(top.path()).unwrap();
        for _ in 0..2 {
            save(&dir, "f".into(), &Backup::beside(&path)).unwrap();
        }
        assert_eq!(dir.names().unwrap(), ["f", "f.cfsaved"]);
    }

    #[test]
    fn what_was_there_before_the_run_is_kept_when_a_file_changes_twice_in_it() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        fs::write(&path, "mine").unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let keep = Backup::beside(&path);
        for content in ["one", "two"] {
            write_whole(&dir, "f".into(), content.as_bytes(), &Wanted::default(), Some(&keep)).unwrap();
        }
        assert_eq!(fs::read_to_string(top.path().join("f.cfsaved")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn the_backup_of_a_set_id_program_no_longer_is_one() {
        use std::os::unix::fs::PermissionsExt;
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        let dir = Dir::open(top.path()).unwrap();
        save(&dir, "f".into(), &Backup::beside(&path)).unwrap();
        let mode = |name: &str| fs::metadata(top.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("f"), mode("f.cfsaved")), (0o4755, 0o755));
    }

    #[test]
    fn names_of_backups_are_those_of_the_manual() {
        let stamp = "2026-11-21T20:46:57+00:00[UTC]".parse().unwrap();
        let keep = Backup {
            stamp: Some(stamp),
            ..Backup::beside(Path::new("/etc/hosts"))
        };
        assert_eq!(
            keep.name_of("hosts".into()),
            "hosts_1795294017_Sat_Nov_21_20_46_57_2026_.cfsaved"
        );
        assert_eq!(canonical(Path::new("/etc/hosts.cfsaved"), b'_'), "_etc_hosts.cfsaved");
    }

    #[test]
    fn a_repository_gets_the_backup_under_its_whole_path() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        fs::write(&path, "old").unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let keep = Backup {
            repository: Some((top.path().join("repo"), b'_')),
            ..Backup::beside(&path)
        };
        let saved = save(&dir, "f".into(), &keep).unwrap();
        let moved = saved.moved.unwrap();
        assert!(moved.to_str().unwrap().ends_with("_f.cfsaved"));
        assert_eq!(fs::read_to_string(moved).unwrap(), "old");
        assert!(!top.path().join("f.cfsaved").exists());
    }
}
