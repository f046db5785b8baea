//! Directory-relative calls: a directory is opened once and everything in it is named from its descriptor, one component
//! at a time, links never followed. What root does to a tree that a user can write is done only through this.

mod meta;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{self, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{self, Gid, Uid, UnlinkatFlags};

pub use meta::Meta;

fn timespec(nano: i128) -> TimeSpec {
    let seconds = nano.div_euclid(1_000_000_000);
    let rest = nano.rem_euclid(1_000_000_000);
    TimeSpec::new(i64::try_from(seconds).unwrap_or(0), i64::try_from(rest).unwrap_or(0))
}

fn os(name: &BStr) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

/// One component: not empty, not `.` or `..`, without a slash.
fn component(name: &BStr) -> io::Result<&OsStr> {
    if name.is_empty() || name == "." || name == ".." || name.contains(&b'/') || name.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("'{name}' is not a plain file name"),
        ));
    }
    Ok(os(name))
}

/// A directory held open.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Links that lead to links are followed this far, as the kernel does.
const MOST_LINKS: usize = 40;

/// A directory on the way: it need not be readable.
const STEP_FLAGS: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Walks a path one component at a time; see [`Dir::open`].
fn follow(from: OwnedFd, path: &[u8], links: &mut usize) -> io::Result<Dir> {
    let mut dir = match path.first() {
        Some(b'/') => fcntl::open("/", STEP_FLAGS, Mode::empty())?,
        _ => from,
    };
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let errno = match fcntl::openat(&dir, os(part.as_bstr()), STEP_FLAGS, Mode::empty()) {
            Ok(inner) => {
                dir = inner;
                continue;
            }
            Err(errno) => errno,
        };
        if !matches!(errno, Errno::ENOTDIR | Errno::ELOOP) {
            return Err(errno.into());
        }
        let here = Dir(dir);
        let link = here.object(part.as_bstr())?;
        let maker = link.meta()?;
        if !maker.is_link() {
            return Err(errno.into());
        }
        *links += 1;
        if *links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        // Of the very link that is held.
        let target = fcntl::readlinkat(&link.0, "")?;
        let inner = follow(here.0, target.as_bytes(), links)?;
        let ours = unistd::geteuid().as_raw();
        if maker.uid() != 0 && maker.uid() != ours && maker.uid() != inner.self_meta()?.uid() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "the link '{}' was made by user {} and leads to what is not theirs: not followed",
                    part.as_bstr(),
                    maker.uid()
                ),
            ));
        }
        dir = inner.0;
    }
    Ok(Dir(dir))
}

const DIR_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Dir {
    /// Opens a directory by path. Links on the way and at its end are followed where root or whoever runs this made
    /// them, or where they lead to what belongs to their maker: a user who puts a link into his home must not send root
    /// to somebody else's directory. Any other link is refused (`PermissionDenied`).
    pub fn open(path: &Path) -> io::Result<Dir> {
        // Nearly all paths have no link: one call.
        let how = OpenHow::new()
            .flags(DIR_FLAGS)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match fcntl::openat2(fcntl::AT_FDCWD, path, how) {
            Ok(fd) => Ok(Dir(fd)),
            Err(Errno::ELOOP | Errno::ENOSYS | Errno::EPERM) => {
                let bytes = path.as_os_str().as_bytes();
                if bytes.is_empty() {
                    return Err(Errno::ENOENT.into());
                }
                follow(
                    fcntl::openat(fcntl::AT_FDCWD, ".", STEP_FLAGS, Mode::empty())?,
                    bytes,
                    &mut 0,
                )?
                .readable()
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a directory in this one, or the one a link in it leads to, under the rule of [`Dir::open`].
    pub fn through(&self, name: &BStr) -> io::Result<Dir> {
        component(name)?;
        let here = fcntl::openat(&self.0, ".", STEP_FLAGS, Mode::empty())?;
        follow(here, name, &mut 0)?.readable()
    }

    /// A descriptor that only stands for a directory, as one that its names can be read from.
    fn readable(&self) -> io::Result<Dir> {
        Ok(Dir(fcntl::openat(&self.0, ".", DIR_FLAGS, Mode::empty())?))
    }

    /// A path that leads to this very directory as long as it is held, for programs that are started in it.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// This directory itself as an object, to change its mode and owner.
    pub fn as_object(&self) -> io::Result<Object> {
        Ok(Object(self.0.try_clone()?))
    }

    /// As [`Dir::dir`], but a directory on which something else is mounted is refused (`EXDEV`), a bind mount too.
    pub fn dir_of_same_mount(&self, name: &BStr) -> io::Result<Dir> {
        let how = OpenHow::new()
            .flags(DIR_FLAGS | OFlag::O_NOFOLLOW)
            .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
        match fcntl::openat2(&self.0, component(name)?, how) {
            Ok(fd) => Ok(Dir(fd)),
            Err(Errno::ENOSYS | Errno::EPERM) => {
                let dir = self.dir(name)?;
                if dir.self_meta()?.inode().0 == self.self_meta()?.inode().0 {
                    Ok(dir)
                } else {
                    Err(Errno::EXDEV.into())
                }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a plain file of this directory may be another name of a file elsewhere that somebody linked here: it has
    /// several names, and somebody who does not own it can write here. Root must then not change what it is.
    pub fn may_be_planted(&self, meta: &Meta) -> io::Result<bool> {
        if !meta.is_file() || meta.nlink() < 2 {
            return Ok(false);
        }
        let here = self.self_meta()?;
        let others = here.mode() & 0o022 != 0;
        Ok(others || (here.uid() != 0 && here.uid() != meta.uid()))
    }

    /// The same directory, on a descriptor of its own.
    pub fn again(&self) -> io::Result<Dir> {
        Ok(Dir(self.0.try_clone()?))
    }

    /// Opens a directory in this one; a link is refused (`ELOOP` or `ENOTDIR`).
    pub fn dir(&self, name: &BStr) -> io::Result<Dir> {
        let flags = DIR_FLAGS | OFlag::O_NOFOLLOW;
        Ok(Dir(fcntl::openat(&self.0, component(name)?, flags, Mode::empty())?))
    }

    /// Opens the directory at a relative path below this one, without following any link. Empty is this directory.
    pub fn beneath(&self, path: &BStr) -> io::Result<Dir> {
        if path.is_empty() {
            return self.again();
        }
        let how = OpenHow::new().flags(DIR_FLAGS).resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        match fcntl::openat2(&self.0, os(path), how) {
            Ok(fd) => Ok(Dir(fd)),
            // Kernels before 5.6, and sandboxes that do not know the call: one component at a time.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                let mut dir = self.again()?;
                for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
                    dir = dir.dir(part.as_bstr())?;
                }
                Ok(dir)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory that holds `path` below this one, and the last component.
    pub fn parent_of<'a>(&self, path: &'a BStr) -> io::Result<(Dir, &'a BStr)> {
        match path.rfind_byte(b'/') {
            Some(at) => Ok((self.beneath(path[..at].as_bstr())?, path[at + 1..].as_bstr())),
            None => Ok((self.again()?, path)),
        }
    }

    /// Opens a plain file for reading. Links, devices and pipes are refused; nothing blocks.
    pub fn read(&self, name: &BStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = fcntl::openat(&self.0, component(name)?, flags, Mode::empty())?;
        if Meta(stat::fstat(&fd)?).is_file() {
            Ok(File::from(fd))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"))
        }
    }

    /// Makes a new plain file for writing and reading; it must not exist.
    pub fn create_new(&self, name: &BStr, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = fcntl::openat(&self.0, component(name)?, flags, Mode::from_bits_truncate(mode))?;
        Ok(File::from(fd))
    }

    /// Opens or makes a plain file for reading and writing; links are refused.
    pub fn open_or_create(&self, name: &BStr, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = fcntl::openat(&self.0, component(name)?, flags, Mode::from_bits_truncate(mode))?;
        if Meta(stat::fstat(&fd)?).is_file() {
            Ok(File::from(fd))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"))
        }
    }

    /// What an object in this directory is; a link is not followed.
    pub fn meta(&self, name: &BStr) -> io::Result<Meta> {
        Ok(Meta(stat::fstatat(
            &self.0,
            component(name)?,
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?))
    }

    /// As [`Dir::meta`], `None` where nothing is.
    pub fn look(&self, name: &BStr) -> io::Result<Option<Meta>> {
        match self.meta(name) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a link in this directory finally leads to; `None` where it leads nowhere.
    pub fn look_through(&self, name: &BStr) -> io::Result<Option<Meta>> {
        match stat::fstatat(&self.0, component(name)?, AtFlags::empty()) {
            Ok(found) => Ok(Some(Meta(found))),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What this directory itself is.
    pub fn self_meta(&self) -> io::Result<Meta> {
        Ok(Meta(stat::fstat(&self.0)?))
    }

    /// Where a link points.
    pub fn read_link(&self, name: &BStr) -> io::Result<BString> {
        Ok(fcntl::readlinkat(&self.0, component(name)?)?.into_vec().into())
    }

    /// The names in this directory, sorted by bytes, without `.` and `..`. Not found: it was removed meanwhile.
    pub fn names(&self) -> io::Result<Vec<BString>> {
        // A descriptor of its own: reading moves its offset, and a duplicate would share it.
        let fd = fcntl::openat(&self.0, ".", DIR_FLAGS, Mode::empty())?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(fd)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(BString::from(name));
            }
        }
        // One that was removed while it is held lists as empty, and must not be taken for an empty one.
        if names.is_empty() && self.self_meta()?.nlink() == 0 {
            return Err(Errno::ENOENT.into());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a directory; the mode is set exactly, whatever the umask.
    pub fn mkdir(&self, name: &BStr, mode: u32) -> io::Result<()> {
        stat::mkdirat(&self.0, component(name)?, Mode::from_bits_truncate(mode & 0o700))?;
        self.object(name)?.chmod(mode)
    }

    /// Sets the mode of this directory.
    pub fn chmod_self(&self, mode: u32) -> io::Result<()> {
        Ok(stat::fchmod(&self.0, Mode::from_bits_truncate(mode))?)
    }

    /// Removes anything but a directory.
    pub fn unlink(&self, name: &BStr) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, component(name)?, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &BStr) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, component(name)?, UnlinkatFlags::RemoveDir)?)
    }

    /// Renames an object of this directory to a name in `to`, replacing what is there.
    pub fn rename(&self, from: &BStr, to: &Dir, name: &BStr) -> io::Result<()> {
        Ok(fcntl::renameat(&self.0, component(from)?, &to.0, component(name)?)?)
    }

    /// Makes a hard link to an object of this directory; a link itself is linked, not its target.
    pub fn hard_link(&self, from: &BStr, to: &Dir, name: &BStr) -> io::Result<()> {
        Ok(unistd::linkat(
            &self.0,
            component(from)?,
            &to.0,
            component(name)?,
            AtFlags::empty(),
        )?)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &BStr, name: &BStr) -> io::Result<()> {
        Ok(unistd::symlinkat(os(target), &self.0, component(name)?)?)
    }

    /// Makes a pipe, socket or device file.
    pub fn mknod(&self, name: &BStr, kind: Node, mode: u32) -> io::Result<()> {
        let (kind, device) = match kind {
            Node::Fifo => (SFlag::S_IFIFO, 0),
            Node::Socket => (SFlag::S_IFSOCK, 0),
            Node::Char(device) => (SFlag::S_IFCHR, device),
            Node::Block(device) => (SFlag::S_IFBLK, device),
        };
        stat::mknodat(&self.0, component(name)?, kind, Mode::from_bits_truncate(mode), device)?;
        self.object(name)?.chmod(mode)
    }

    /// Takes hold of an object without opening it for reading: its metadata can then be changed and it cannot be
    /// exchanged for another meanwhile.
    pub fn object(&self, name: &BStr) -> io::Result<Object> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = fcntl::openat(&self.0, component(name)?, flags, Mode::empty())?;
        Ok(Object(fd))
    }

    /// Sets access and modification time of an object; a link's own are set, not its target's.
    pub fn set_times(&self, name: &BStr, atime: i128, mtime: i128) -> io::Result<()> {
        Ok(stat::utimensat(
            &self.0,
            component(name)?,
            &timespec(atime),
            &timespec(mtime),
            UtimensatFlags::NoFollowSymlink,
        )?)
    }

    /// Makes names that were added, removed or exchanged here survive a crash of the machine.
    pub fn sync(&self) -> io::Result<()> {
        match unistd::fsync(&self.0) {
            // Some file systems have nothing to sync for directories.
            Ok(()) | Err(Errno::EINVAL | Errno::EROFS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Dir {
    /// Writes everything the file system of this directory still holds in memory to its disk.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(unistd::syncfs(&self.0)?)
    }
}

/// What [`Dir::mknod`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device with its number.
    Char(u64),
    /// A block device with its number.
    Block(u64),
}

/// An object taken hold of by [`Dir::object`].
#[derive(Debug)]
pub struct Object(OwnedFd);

impl Object {
    /// What it is.
    pub fn meta(&self) -> io::Result<Meta> {
        Ok(Meta(stat::fstat(&self.0)?))
    }

    /// Its name below /proc: the only way to change the mode of an object that is held but not opened. It is a magic
    /// link to the very inode, so nothing is looked up by name again.
    pub(super) fn proc_name(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Sets the permission bits. A symbolic link has none: refused.
    pub fn chmod(&self, mode: u32) -> io::Result<()> {
        if self.meta()?.is_link() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        Ok(stat::fchmodat(
            fcntl::AT_FDCWD,
            &self.proc_name(),
            Mode::from_bits_truncate(mode),
            stat::FchmodatFlags::FollowSymlink,
        )?)
    }

    /// Sets owner and group; `None` leaves one alone. Works on links too.
    pub fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        Ok(unistd::fchownat(
            &self.0,
            "",
            uid.map(Uid::from_raw),
            gid.map(Gid::from_raw),
            AtFlags::AT_EMPTY_PATH,
        )?)
    }
}

/// Opens a plain file by path for reading, links followed. Pipes and devices are refused; nothing blocks.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let fd = fcntl::open(path, flags, Mode::empty())?;
    if Meta(stat::fstat(&fd)?).is_file() {
        Ok(File::from(fd))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"))
    }
}

/// What an open file is.
pub fn file_meta(file: &File) -> io::Result<Meta> {
    Ok(Meta(stat::fstat(file)?))
}

/// Sets owner and group of an open file.
pub fn file_chown(file: &File, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    Ok(unistd::fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?)
}

/// Sets the permission bits of an open file.
pub fn file_chmod(file: &File, mode: u32) -> io::Result<()> {
    Ok(stat::fchmod(file, Mode::from_bits_truncate(mode))?)
}

/// Sets access and modification time of an open file, nanoseconds since the epoch.
pub fn file_times(file: &File, atime: i128, mtime: i128) -> io::Result<()> {
    Ok(stat::futimens(file, &timespec(atime), &timespec(mtime))?)
}

/// Takes an exclusive lock on an open file without waiting. It goes with the file. `false`: somebody else holds it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process with that id exists (also when it is not ours).
pub fn process_exists(pid: i32) -> bool {
    pid > 0
        && !matches!(
            nix::sys::signal::kill(unistd::Pid::from_raw(pid), None),
            Err(Errno::ESRCH)
        )
}
