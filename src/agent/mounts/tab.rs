//! The table on disk: `/etc/fstab`, or what the resource file names.

use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bstr::{BString, ByteSlice};

use super::fstab::Fstab;
use super::patience;
use crate::agent::job::BytesPath;
use crate::agent::report::Level;
use crate::agent::{Run, diff, editfiles};
use crate::fsx::{Backup, Place, Wanted, write_whole};

/// A bigger file is no table of file systems.
const MOST_BYTES: u64 = 1024 * 1024;

/// The table as it lies on disk.
pub struct Tab {
    place: Place,
    old: Option<Vec<u8>>,
    /// As it should be.
    pub table: Fstab,
}

/// Where the table is.
pub fn path(run: &Run<'_>) -> PathBuf {
    let named = run.resources.get("fstab").filter(|path| path.starts_with(b"/"));
    match named {
        Some(path) => run.paths.at(&path.to_str_lossy()),
        None => run.paths.at("/etc/fstab"),
    }
}

impl Tab {
    /// Reads it; where there is none it is empty. Where it is a link, what it leads to is meant.
    pub fn read(run: &Run<'_>) -> io::Result<Tab> {
        let path = path(run);
        let path = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path,
            Err(error) => return Err(error),
        };
        let (place, _) = if run.dry || path.parent().is_some_and(|dir| dir.is_dir()) {
            (Place::of(&path)?, Vec::new())
        } else {
            Place::with_parents(&path, 0o755)?
        };
        let old = match place.dir.read(place.name()) {
            Ok(file) => {
                let mut content = Vec::new();
                file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
                if content.len() as u64 > MOST_BYTES {
                    let text = "it is too big to be a table of file systems";
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
                }
                Some(content)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let table = Fstab::parse(old.as_deref().unwrap_or_default());
        Ok(Tab { place, old, table })
    }

    /// Its path, for messages.
    pub fn shown(&self) -> String {
        self.place.path.display().to_string()
    }

    /// Saves it, if it changed: whole or not at all, mode and owner kept, with a time-stamped backup as `editfiles` makes.
    pub fn save(&self, run: &mut Run<'_>) -> io::Result<()> {
        let new = self.table.content();
        let old = self.old.as_deref().unwrap_or_default();
        if new == old {
            return Ok(());
        }
        let shown = self.shown();
        if run.options.diff {
            let lines = diff::unified(&self.place.path, old, &new);
            run.report.diff(&lines);
        }
        if run.dry {
            run.report.say(Level::Silent, format_args!("Need to edit file {shown}"));
            return Ok(());
        }
        run.report.inform(format_args!("Saving edit changes to file {shown}"));
        run.sweep(&self.place.dir);
        let meta = self.place.look()?;
        let root = nix::unistd::geteuid().is_root();
        let wanted = Wanted {
            mode: meta.map_or(0o644, |meta| meta.mode()),
            uid: meta.filter(|_| root).map(|meta| meta.uid()),
            gid: meta.filter(|_| root).map(|meta| meta.gid()),
            ..Wanted::default()
        };
        let keep = self.old.is_some().then(|| Backup {
            kept: run.kept.clone(),
            stamp: Some(run.now.clone()),
            repository: editfiles::repository(run, None),
            ..Backup::beside(&self.place.path)
        });
        let (dir, name) = (&self.place.dir, self.place.name());
        run.noting((dir, name, &self.place.path), || {
            write_whole(dir, name, &new, &wanted, keep.as_ref())
        })
        .map(|_| ())
    }
}

/// The path of a mount point as the kernel has it: links on the way resolved, as far as anything is there and answers.
pub fn real(target: &BString) -> BString {
    let path = as_path(target);
    let real = patience::within(patience::LOOK, move || std::fs::canonicalize(path));
    match real {
        Some(Ok(real)) => real.into_os_string().into_vec().into(),
        _ => target.clone(),
    }
}

/// A mount point or a source as a path of this system.
pub fn as_path(name: &BString) -> PathBuf {
    name.as_path().to_path_buf()
}
