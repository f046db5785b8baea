//! What an object is: type, mode, owner, times.

use nix::sys::stat::{FileStat, SFlag};

/// What lstat(2) says of an object.
#[derive(Clone, Copy)]
pub struct Meta(pub(super) FileStat);

impl Meta {
    /// The type bits, `S_IFMT`.
    fn format(&self) -> SFlag {
        SFlag::from_bits_truncate(self.0.st_mode & SFlag::S_IFMT.bits())
    }
    /// A plain file.
    pub fn is_file(&self) -> bool {
        self.format() == SFlag::S_IFREG
    }
    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.format() == SFlag::S_IFDIR
    }
    /// A symbolic link.
    pub fn is_link(&self) -> bool {
        self.format() == SFlag::S_IFLNK
    }
    /// A named pipe.
    pub fn is_fifo(&self) -> bool {
        self.format() == SFlag::S_IFIFO
    }
    /// A socket.
    pub fn is_socket(&self) -> bool {
        self.format() == SFlag::S_IFSOCK
    }
    /// A character device.
    pub fn is_char(&self) -> bool {
        self.format() == SFlag::S_IFCHR
    }
    /// A block device.
    pub fn is_block(&self) -> bool {
        self.format() == SFlag::S_IFBLK
    }
    /// Permission bits, `mode & 07777`.
    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }
    /// Owner.
    pub fn uid(&self) -> u32 {
        self.0.st_uid
    }
    /// Group.
    pub fn gid(&self) -> u32 {
        self.0.st_gid
    }
    /// Bytes of content.
    pub fn size(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }
    /// Device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.0.st_dev, self.0.st_ino)
    }
    /// Number of hard links.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    pub fn nlink(&self) -> u64 {
        self.0.st_nlink as u64
    }
    /// The device a device file stands for.
    pub fn rdev(&self) -> u64 {
        self.0.st_rdev
    }
    /// Last access, nanoseconds since the epoch.
    pub fn atime(&self) -> i128 {
        nanos(self.0.st_atime, self.0.st_atime_nsec)
    }
    /// Last change of content, nanoseconds since the epoch.
    pub fn mtime(&self) -> i128 {
        nanos(self.0.st_mtime, self.0.st_mtime_nsec)
    }
    /// Last change of the inode, nanoseconds since the epoch.
    pub fn ctime(&self) -> i128 {
        nanos(self.0.st_ctime, self.0.st_ctime_nsec)
    }
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Meta({:o} {}:{})", self.0.st_mode, self.uid(), self.gid())
    }
}

fn nanos(seconds: i64, nano: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nano)
}
