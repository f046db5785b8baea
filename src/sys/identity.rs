//! Becoming somebody else, for good: root, groups, user and directory, in the only order that works.

use std::io;
use std::path::Path;

use nix::unistd::{Gid, Uid, chdir, chroot, geteuid, setgid, setgroups, setuid};

/// Gives up this process's rights: enters a new root, drops the supplementary groups, changes group and user, enters a
/// directory (inside the new root). All threads change. There is no way back; on an error the process must not go on.
pub fn assume(uid: Option<u32>, gid: Option<u32>, root: Option<&Path>, dir: Option<&Path>) -> io::Result<()> {
    if let Some(root) = root {
        chroot(root)?;
        chdir("/")?;
    }
    if (uid.is_some() || gid.is_some()) && geteuid().is_root() {
        let groups: Vec<Gid> = gid.map(Gid::from_raw).into_iter().collect();
        setgroups(&groups)?;
    }
    if let Some(gid) = gid {
        setgid(Gid::from_raw(gid))?;
    }
    if let Some(uid) = uid {
        setuid(Uid::from_raw(uid))?;
        if geteuid().as_raw() != uid || (uid != 0 && setuid(Uid::from_raw(0)).is_ok()) {
            return Err(io::Error::other("the rights of root could not be given up"));
        }
    }
    if let Some(dir) = dir {
        chdir(dir)?;
    }
    Ok(())
}
