//! Links put in place in one step, whatever had the name before (a directory excepted).

use std::io;

use bstr::{BStr, BString};

use super::{Dir, Place, stray};

/// Makes a symbolic link, replacing what has its name.
pub fn place_symlink(dir: &Dir, name: &BStr, target: &BStr) -> io::Result<()> {
    let temp = stray::temp_name();
    dir.symlink(target, temp.as_ref())?;
    settle(dir, temp.as_ref(), name)
}

/// Makes a hard link to an object, replacing what has its name.
pub fn place_hard_link(from: &Place, to: &Place) -> io::Result<()> {
    let temp = stray::temp_name();
    from.dir.hard_link(from.name(), &to.dir, temp.as_ref())?;
    settle(&to.dir, temp.as_ref(), to.name())
}

/// What had a name before something else takes it: held under a second name, so that it can have the first one again.
#[derive(Debug)]
pub struct Held {
    /// The second name; none where nothing had the first.
    second: Option<BString>,
}

impl Held {
    /// Holds what a name is now. The second name is a temporary one, which the sweep after a killed run removes.
    pub fn hold(dir: &Dir, name: &BStr) -> io::Result<Held> {
        if dir.look(name)?.is_none() {
            return Ok(Held { second: None });
        }
        let second = stray::temp_name();
        dir.hard_link(name, dir, second.as_ref())?;
        Ok(Held { second: Some(second) })
    }

    /// Gives the name back to what had it.
    pub fn give_back(self, dir: &Dir, name: &BStr) -> io::Result<()> {
        match self.second {
            Some(second) => settle(dir, second.as_ref(), name),
            None => dir.unlink(name),
        }
    }

    /// Lets it go.
    pub fn let_go(self, dir: &Dir) {
        if let Some(second) = self.second {
            let _ = dir.unlink(second.as_ref());
        }
    }
}

fn settle(dir: &Dir, temp: &BStr, name: &BStr) -> io::Result<()> {
    let result = dir.rename(temp, dir, name);
    // Where the rename failed, or both were names of one file already, the temporary name is still there.
    let _ = dir.unlink(temp);
    result?;
    dir.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_a_name_can_have_it_again() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(top.path().join(name)).ok();
        for (before, after) in [(Some("old"), "new"), (None, "new")] {
            if let Some(text) = before {
                std::fs::write(top.path().join("f"), text).unwrap();
            }
            for back in [true, false] {
                let held = Held::hold(&dir, "f".into()).unwrap();
                std::fs::write(top.path().join("t"), after).unwrap();
                dir.rename("t".into(), &dir, "f".into()).unwrap();
                if back {
                    held.give_back(&dir, "f".into()).unwrap();
                    assert_eq!(read("f").as_deref(), before);
                } else {
                    held.let_go(&dir);
                    assert_eq!(read("f").as_deref(), Some(after));
                }
            }
            std::fs::remove_file(top.path().join("f")).unwrap();
            assert_eq!(dir.names().unwrap(), Vec::<BString>::new());
        }
    }
}
