//! Bytes kept in a file without a name: memory stays bounded, and the file is gone when the process is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file without a name, in `TMPDIR` or `/var/tmp`. Written once, then read by many at the same time.
#[derive(Debug)]
pub struct Spool {
    pub(super) file: File,
}

impl Spool {
    /// An empty spool.
    pub fn new() -> io::Result<Self> {
        let wanted = std::env::var_os("TMPDIR").map(PathBuf::from);
        let dirs = wanted.iter().map(PathBuf::as_path);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for dir in dirs.chain([Path::new("/var/tmp"), Path::new("/tmp")]) {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(nix::libc::O_TMPFILE | nix::libc::O_CLOEXEC)
                .mode(0o600)
                .open(dir);
            match opened {
                Ok(file) => return Ok(Spool { file }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// An empty spool that is never written to a disk.
    pub fn in_memory() -> io::Result<Self> {
        let fd = nix::sys::memfd::memfd_create("dsau", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        Ok(Spool { file: File::from(fd) })
    }

    /// A spool with everything a reader has.
    pub fn fill(source: &mut dyn Read) -> io::Result<Self> {
        let mut spool = Spool::new()?;
        io::copy(source, &mut spool.file)?;
        Ok(spool)
    }

    /// A spool with these bytes.
    pub fn of(bytes: &[u8]) -> io::Result<Self> {
        Spool::fill(&mut &bytes[..])
    }

    /// Opens it once more, at its beginning, for one reader of its own.
    pub fn reader(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// A path under which other processes of this user can read it while this one lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// How many bytes it holds.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Adds bytes at the end and gives where they begin.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(bytes)?;
        Ok(at)
    }

    /// Reads bytes back from a place.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }
}

impl Write for Spool {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
