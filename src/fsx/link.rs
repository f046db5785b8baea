//! Links put in place in one step, whatever had the name before (a directory excepted).

use std::io;

use bstr::BStr;

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

fn settle(dir: &Dir, temp: &BStr, name: &BStr) -> io::Result<()> {
    let result = dir.rename(temp, dir, name);
    // Where the rename failed, or both were names of one file already, the temporary name is still there.
    let _ = dir.unlink(temp);
    result?;
    dir.sync()
}
