//! What is mounted, as the kernel tells it: no mounted file system is asked, so a dead server holds nobody up.

use std::io;
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::fstab::unescape;

/// Where the kernel tells what is mounted in our name space.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `host:/path`, a device, a word.
    pub source: BString,
    /// Where it is mounted.
    pub target: BString,
    /// The type of file system.
    pub kind: BString,
    /// A user mounted it, who could name any source: it is nothing of the system's.
    pub of_user: bool,
}

impl Mount {
    /// Whether another machine has the files.
    pub fn is_remote(&self) -> bool {
        is_network(&self.kind)
    }
}

/// Whether a type of file system comes over the network.
pub fn is_network(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"nfs" | b"nfs4" | b"cifs" | b"smb3" | b"afs" | b"ceph" | b"fuse.sshfs" | b"fuse.glusterfs" | b"glusterfs"
    )
}

/// All that is mounted, in the order it was.
#[derive(Clone, Debug, Default)]
pub struct Mounts(pub Vec<Mount>);

impl Mounts {
    /// Asks the kernel.
    pub fn read() -> io::Result<Mounts> {
        std::fs::read(MOUNTINFO).map(|text| Mounts::parse(&text))
    }

    fn parse(text: &[u8]) -> Mounts {
        // id, parent, device, root, target, options, optional fields, `-`, type, source, more options
        let mount = |line: &[u8]| {
            let mut fields = line.split_str(" ");
            let target = unescape(fields.nth(4)?);
            fields.find(|field| *field == b"-")?;
            let (kind, source) = (fields.next()?, fields.next()?);
            let mut options = fields.next().unwrap_or_default().split_str(",");
            let user = options.find_map(|option| option.strip_prefix(b"user_id="));
            Some(Mount {
                source: unescape(source),
                target,
                kind: kind.into(),
                of_user: kind.starts_with(b"fuse") && user.is_some_and(|user| user != b"0"),
            })
        };
        Mounts(text.lines().filter_map(mount).collect())
    }

    /// What one sees at this place: the last that was mounted there.
    pub fn at(&self, target: &[u8]) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.target == target)
    }

    /// What a path lies on, as far as its text tells (links on the way are not followed).
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        use crate::agent::job::BytesPath;
        let holds = |mount: &&Mount| path.starts_with(mount.target.as_path());
        self.0.iter().filter(holds).max_by_key(|mount| mount.target.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        31 22 0:40 / /mnt/my\\040files rw - nfs4 srv:/my\\040files rw,vers=4.2\n\
        33 22 0:41 / /mnt/x rw shared:2 master:1 - tmpfs tmpfs rw\n\
        34 33 0:42 / /mnt/x rw - tmpfs second rw\nbroken\n";

    #[test]
    fn the_kernels_table_is_read_with_its_octal_blanks() {
        let mounts = Mounts::parse(TEXT.as_bytes());
        assert_eq!(mounts.0.len(), 4);
        let files = mounts.at(b"/mnt/my files").unwrap();
        assert_eq!(
            (files.source.as_bstr(), files.is_remote()),
            ("srv:/my files".into(), true)
        );
        assert_eq!(mounts.at(b"/mnt/x").unwrap().source, "second");
        assert_eq!(mounts.at(b"/mnt"), None);
    }

    #[test]
    fn what_a_user_mounted_is_known_by_its_user() {
        let line = |id: u32| format!("40 22 0:50 / /h/x rw - fuse.sshfs srv:/x rw,user_id={id},group_id=0\n");
        let text = [line(0), line(1000)].concat();
        let of_user: Vec<bool> = Mounts::parse(text.as_bytes())
            .0
            .iter()
            .map(|mount| mount.of_user)
            .collect();
        assert_eq!(of_user, [false, true]);
    }

    #[test]
    fn a_path_lies_on_the_nearest_mount_above_it() {
        let mounts = Mounts::parse(TEXT.as_bytes());
        let on = |path: &str| mounts.holding(Path::new(path)).unwrap().kind.clone();
        assert_eq!(on("/mnt/my files/a/b"), "nfs4");
        assert_eq!(on("/mnt/my filesystem"), "ext4");
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(Mounts::read().unwrap().at(b"/").is_some());
    }
}
