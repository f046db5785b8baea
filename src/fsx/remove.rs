//! Removal of trees by descriptors: nothing outside the tree can be reached, whoever exchanges what meanwhile.

use std::io;

use bstr::{BStr, BString, ByteSlice};

use crate::sys::at::Dir;

const MAX_DEPTH: usize = 250;

/// Who hears of what goes.
type Hears<'h> = &'h mut dyn FnMut(&Dir, &BStr, &BStr);

/// Removes an object and everything in it, links not followed. `removed` hears of each object below and including
/// `name`, before it goes, children first: the directory that holds it, its name there, and its path from `dir`. What is gone already is no error.
pub fn remove_tree(dir: &Dir, name: &BStr, removed: Hears<'_>) -> io::Result<()> {
    inner(dir, name, &BString::from(name.as_bytes()), removed, 0)
}

fn inner(dir: &Dir, name: &BStr, path: &BString, removed: Hears<'_>, depth: usize) -> io::Result<()> {
    let Some(meta) = dir.look(name)? else { return Ok(()) };
    if !meta.is_dir() {
        removed(dir, name, path.as_ref());
        return gone(dir.unlink(name));
    }
    if depth >= MAX_DEPTH {
        return Err(io::Error::other(format!("more than {MAX_DEPTH} levels of directories")));
    }
    // What is mounted there is no part of the tree that is to go.
    let below = match dir.dir_of_same_mount(name) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EXDEV) => {
            let text = format!("another file system is mounted on {path}");
            return Err(io::Error::new(io::ErrorKind::CrossesDevices, text));
        }
        other => other?,
    };
    for child in below.names()? {
        let mut child_path = path.clone();
        child_path.push(b'/');
        child_path.extend_from_slice(&child);
        inner(&below, child.as_ref(), &child_path, removed, depth + 1)?;
    }
    removed(dir, name, path.as_ref());
    gone(dir.rmdir(name))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tree_goes_and_what_its_links_point_to_stays() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("t/a/b")).unwrap();
        fs::write(top.path().join("t/a/b/f"), "").unwrap();
        fs::create_dir(top.path().join("safe")).unwrap();
        fs::write(top.path().join("safe/f"), "").unwrap();
        std::os::unix::fs::symlink("../safe", top.path().join("t/link")).unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let mut seen = Vec::new();
        remove_tree(&dir, "t".into(), &mut |_, _, path| seen.push(path.to_string())).unwrap();
        assert_eq!(seen, ["t/a/b/f", "t/a/b", "t/a", "t/link", "t"]);
        assert!(!top.path().join("t").exists() && top.path().join("safe/f").exists());
    }
}
