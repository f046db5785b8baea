//! A path resolved once: the directory that holds an object, held open, and the object's name in it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use bstr::{BStr, BString};

use crate::sys::at::{Dir, Meta};

/// An object, named from the open directory that holds it.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub dir: Dir,
    /// The object's name in it.
    pub name: BString,
    /// The path as it was given, for messages.
    pub path: PathBuf,
}

impl Place {
    /// Opens the directory that holds `path`. Links on the way are followed, the last component is not. `/`, and a path
    /// that ends in `..`, have no name: `InvalidInput`.
    pub fn of(path: &Path) -> io::Result<Place> {
        let (parent, name) = split(path)?;
        Ok(Place {
            dir: Dir::open(&parent)?,
            name,
            path: path.to_path_buf(),
        })
    }

    /// As [`Place::of`], and makes the directories on the way that are missing, with the given mode, as mkdir -p does.
    /// Gives the paths that were made.
    pub fn with_parents(path: &Path, mode: u32) -> io::Result<(Place, Vec<PathBuf>)> {
        let (parent, name) = split(path)?;
        let mut made = Vec::new();
        let dir = open_or_make(&parent, mode, &mut made)?;
        let place = Place {
            dir,
            name,
            path: path.to_path_buf(),
        };
        Ok((place, made))
    }

    /// The object's name.
    pub fn name(&self) -> &BStr {
        self.name.as_ref()
    }

    /// What is there now; `None` for nothing.
    pub fn look(&self) -> io::Result<Option<Meta>> {
        self.dir.look(self.name())
    }
}

/// The path of the holding directory and the last component.
fn split(path: &Path) -> io::Result<(PathBuf, BString)> {
    let name = match path.components().next_back() {
        Some(Component::Normal(name)) => BString::from(name.as_bytes()),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not the path of an object in a directory",
            ));
        }
    };
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => PathBuf::from("/"),
    };
    Ok((parent, name))
}

/// Opens a directory, making what is missing of it. What is there already is opened by path, as the administrator wrote
/// it; what is made is entered by name from its parent.
fn open_or_make(path: &Path, mode: u32, made: &mut Vec<PathBuf>) -> io::Result<Dir> {
    match Dir::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (parent, name) = split(path)?;
            let dir = open_or_make(&parent, mode, made)?;
            match dir.mkdir(name.as_ref(), mode) {
                Ok(()) => made.push(path.to_path_buf()),
                // Somebody was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            dir.dir(name.as_ref())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_directories_on_the_way_are_made_and_named() {
        let top = tempfile::tempdir().unwrap();
        let (place, made) = Place::with_parents(&top.path().join("a/b/c"), 0o750).unwrap();
        assert_eq!(made, [top.path().join("a"), top.path().join("a/b")]);
        assert_eq!(place.name(), "c");
        assert!(place.look().unwrap().is_none());
        let parent = Place::of(&top.path().join("a/b")).unwrap().look().unwrap().unwrap();
        assert!(parent.is_dir() && parent.mode() == 0o750);
    }

    #[test]
    fn the_root_has_no_name_in_a_directory() {
        assert!(Place::of(Path::new("/")).is_err());
        assert!(Place::of(Path::new("/a/..")).is_err());
    }
}
