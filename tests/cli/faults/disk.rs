//! A disk that can be full from one moment to the next.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

const NONE: Option<&str> = None;
const SIZE: u64 = 512 << 20;

/// A file system in memory; gone with its owner.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mounted(at: &Path) -> Option<Disk> {
        let options = format!("size={SIZE},mode=755");
        if let Err(error) = mount(
            Some("dsau-faults"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(&options[..]),
        ) {
            assert!(std::env::var_os("CI").is_none(), "mounts must be possible: {error}");
            eprintln!("skipped: no mounts");
            return None;
        }
        Some(Disk(at.to_path_buf()))
    }

    fn resize(&self, bytes: u64) -> nix::Result<()> {
        let options = format!("size={bytes}");
        mount(NONE, &self.0, NONE, MsFlags::MS_REMOUNT, Some(&options[..]))
    }

    /// Makes it as large as what is on it.
    pub fn fill(&self) {
        loop {
            let now = nix::sys::statvfs::statvfs(&self.0).unwrap();
            // More may be on it by now.
            if self
                .resize((now.blocks() - now.blocks_free()) * now.fragment_size())
                .is_ok()
            {
                return;
            }
        }
    }

    pub fn grow(&self) {
        self.resize(SIZE).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
