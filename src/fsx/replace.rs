//! A new file in place of an old one, whole or not at all: written beside it under a name of its own, checked, given its
//! owner, mode and labels, made durable, then renamed. Killed at any instant, there is the old file or the new one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use bstr::{BStr, BString, ByteSlice};
use xattr::FileExt;

use super::{Again, Backup, backup, behind, stray};
use crate::sys::at::{self, Dir, Meta};

/// What the new file must be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Permission bits.
    pub mode: u32,
    /// Owner; `None` = whoever runs this.
    pub uid: Option<u32>,
    /// Group; `None` = that of whoever runs this, or of a set-gid directory.
    pub gid: Option<u32>,
    /// Access and modification time, nanoseconds since the epoch; `None` = now.
    pub times: Option<(i128, i128)>,
    /// Number of bytes it must have.
    pub size: Option<u64>,
    /// blake3 of the content it must have.
    pub digest: Option<[u8; 32]>,
    /// Carry ACL, security label and user attributes over from the file that is replaced.
    pub carry: bool,
    /// Nothing had that name when it was last looked at, so nothing is looked for to be carried over. Only for
    /// [`Fresh::stage`]: a commit that is to keep the old file must see it.
    pub fresh: bool,
    /// An extended attribute to set in the end: the access list, with the mode it makes.
    pub attribute: Option<(&'static str, Vec<u8>)>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted {
            mode: 0o600,
            uid: None,
            gid: None,
            times: None,
            size: None,
            digest: None,
            carry: true,
            fresh: false,
            attribute: None,
        }
    }
}

/// A file being written. Dropped without [`Fresh::commit`] it goes without a trace.
pub struct Fresh<'a> {
    dir: &'a Dir,
    temp: BString,
    file: File,
    /// None where somebody else vouches for the content.
    hasher: Option<blake3::Hasher>,
    written: u64,
    live: bool,
    /// A large file from afar: where its source breaks off, what came of it is left for the next run.
    part: bool,
    broke: bool,
}

impl<'a> Fresh<'a> {
    /// Makes an empty file, mode 0600, under a name of its own in the directory.
    pub fn new(dir: &'a Dir) -> io::Result<Fresh<'a>> {
        Ok(Fresh::begun(dir, stray::create(dir)?))
    }

    /// As [`Fresh::new`], for a large file from afar that is to be called `name`. When its source breaks off, or the
    /// machine does, what came of it stays for the next run ([`super::parts`]).
    pub fn in_parts(dir: &'a Dir, name: &BStr) -> io::Result<Fresh<'a>> {
        let mut fresh = Fresh::begun(dir, stray::create_part(dir, name)?);
        fresh.part = true;
        Ok(fresh)
    }

    fn begun(dir: &'a Dir, (temp, file): (BString, File)) -> Fresh<'a> {
        Fresh {
            dir,
            temp,
            file,
            hasher: Some(blake3::Hasher::new()),
            written: 0,
            live: true,
            part: false,
            broke: false,
        }
    }

    /// From now on somebody else vouches for the content: it is not digested, and [`Wanted::digest`] cannot be asked for.
    pub fn vouched(mut self) -> Self {
        self.hasher = None;
        self
    }

    /// blake3 of what was written so far; none where somebody else vouches for it.
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.hasher.as_ref().map(|hasher| *hasher.finalize().as_bytes())
    }

    /// The file itself, to read back what was written or to give it to another program.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes everything a reader gives.
    pub fn fill(&mut self, reader: &mut dyn Read) -> io::Result<u64> {
        // Small files, which are many, do not pay for a large buffer, nor for a thread.
        let mut little = [0; 8 * 1024];
        let mut total = 0;
        while total < 4 * little.len() as u64 {
            match self.next(reader, &mut little)? {
                0 => return Ok(total),
                read => total += self.write_piece(&little[..read])?,
            }
        }
        let mut large = vec![0; behind::PIECE];
        while total < super::LARGE {
            match self.next(reader, &mut large)? {
                0 => return Ok(total),
                read => total += self.write_piece(&large[..read])?,
            }
        }
        self.fill_behind(reader, large).map(|more| total + more)
    }

    /// The rest of a large file: one piece is written while the next one comes.
    fn fill_behind(&mut self, reader: &mut dyn Read, first: Vec<u8>) -> io::Result<u64> {
        let file = self.file.try_clone()?;
        let mut hasher = self.hasher.take();
        let mut broke = false;
        let (written, result) = behind::pour(&file, first, &mut |buffer| {
            let read = read_piece(reader, buffer).inspect_err(|error| broke = !Again::is(error))?;
            if let (Some(hasher), Some(bytes)) = (&mut hasher, buffer.get(..read)) {
                hasher.update(bytes);
            }
            Ok(read)
        });
        self.hasher = hasher;
        self.written += written;
        self.broke |= broke;
        result.map(|()| written)
    }

    fn next(&mut self, reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
        read_piece(reader, buffer).inspect_err(|error| self.broke = !Again::is(error))
    }

    fn write_piece(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.write_all(bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Checks what was written, keeps the old file if a backup is wanted, and puts the new one in its place, durably.
    /// On an error the old file is as it was. Gives where the old file was kept.
    pub fn commit(mut self, name: &BStr, wanted: &Wanted, keep: Option<&Backup>) -> io::Result<Option<backup::Saved>> {
        let old = self.finish(name, wanted)?;
        self.file.sync_all()?;
        let saved = match (old, keep) {
            (Some(_), Some(keep)) => Some(backup::save(self.dir, name, keep)?),
            _ => None,
        };
        self.dir.rename(self.temp.as_ref(), self.dir, name)?;
        self.live = false;
        self.dir.sync()?;
        Ok(saved)
    }

    /// Checks and finishes what was written but leaves it under its temporary name, which is given: the caller makes
    /// several durable together ([`settle`]) and renames them. It is the caller's to remove from now on.
    pub fn stage(mut self, name: &BStr, wanted: &Wanted) -> io::Result<BString> {
        self.finish(name, wanted)?;
        self.live = false;
        Ok(std::mem::take(&mut self.temp))
    }

    /// Checks what was written and gives it everything but its name. Gives what has that name now.
    fn finish(&mut self, name: &BStr, wanted: &Wanted) -> io::Result<Option<Meta>> {
        self.check(wanted)?;
        let old = match wanted.fresh {
            true => None,
            false => self.dir.look(name)?,
        };
        if old.is_some_and(|old| old.is_dir()) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "a directory is in the way"));
        }
        if wanted.uid.is_some() || wanted.gid.is_some() {
            at::file_chown(&self.file, wanted.uid, wanted.gid)?;
        }
        if wanted.carry && old.is_some_and(|old| old.is_file()) {
            self.carry_over(name, wanted);
        }
        // After the owner, which clears set-id bits, and after an ACL, whose mask is the group part of the mode.
        at::file_chmod(&self.file, wanted.mode)?;
        if let Some((name, value)) = &wanted.attribute {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
            self.file.set_xattr(name, value).map_err(named)?;
        }
        if let Some((atime, mtime)) = wanted.times {
            at::file_times(&self.file, atime, mtime)?;
        }
        Ok(old)
    }

    fn check(&self, wanted: &Wanted) -> io::Result<()> {
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if let Some(size) = wanted.size
            && size != self.written
        {
            return wrong(format!("{} bytes came where {size} were announced", self.written));
        }
        match wanted.digest {
            Some(digest) if Some(digest) != self.digest() => wrong("the content is not what was announced".into()),
            _ => Ok(()),
        }
    }

    /// Attributes of the old file. Where one cannot be read or set (another file system, a user who is not root) the new
    /// file goes without: content matters more. Capabilities and integrity signatures belong to the old content.
    /// What a user put there lends nothing to a file that is not to be theirs: an access list would let them read it.
    fn carry_over(&self, name: &BStr, wanted: &Wanted) {
        let Ok(old) = self.dir.read(name) else { return };
        let Ok(owner) = at::file_meta(&old).map(|meta| meta.uid()) else {
            return;
        };
        let ours = nix::unistd::geteuid().as_raw();
        if owner != 0 && owner != ours && wanted.uid != Some(owner) {
            return;
        }
        let Ok(list) = old.list_xattr() else { return };
        for attribute in list {
            let bytes = attribute.as_bytes();
            let content_bound = [&b"security.capability"[..], b"security.ima", b"security.evm"];
            if content_bound.contains(&bytes) {
                continue;
            }
            if let Ok(Some(value)) = old.get_xattr(&attribute) {
                let _ = self.file.set_xattr(&attribute, &value);
            }
        }
    }
}

fn read_piece(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl Write for Fresh<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..count]);
        }
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        let kept = self.part && self.broke && self.written >= super::LARGE;
        if self.live && !kept {
            let _ = self.dir.unlink(self.temp.as_bstr());
        }
    }
}

/// How far what is written must have come before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The kernel writes it when it likes: after a power cut a new file may be empty.
    Off,
    /// Content is on the disk before it gets its name: after a power cut there is the old file or the new one.
    #[default]
    Rename,
    /// Names are on the disk, too, before anything is said to be done.
    Full,
}

impl Sync {
    /// `off`, `rename` or `full`.
    pub fn named(word: &[u8]) -> Option<Sync> {
        match word.to_ascii_lowercase().as_slice() {
            b"off" => Some(Sync::Off),
            b"rename" => Some(Sync::Rename),
            b"full" => Some(Sync::Full),
            _ => None,
        }
    }
}

/// Makes files that were staged durable: one by one where they are few, otherwise whole file systems at once, which costs
/// the same for a thousand files as for one.
pub fn settle<'f>(files: impl IntoIterator<Item = (&'f Dir, &'f BStr)>) -> io::Result<()> {
    const FEW: usize = 3;
    let files: Vec<(&Dir, &BStr)> = files.into_iter().collect();
    if files.len() <= FEW {
        return files.iter().try_for_each(|(dir, name)| dir.read(name)?.sync_all());
    }
    let mut devices = Vec::new();
    let mut last: Option<&Dir> = None;
    for (dir, _) in files {
        if last.replace(dir).is_some_and(|last| std::ptr::eq(last, dir)) {
            continue;
        }
        let device = dir.self_meta()?.inode().0;
        if !devices.contains(&device) {
            dir.sync_file_system()?;
            devices.push(device);
        }
    }
    Ok(())
}

/// Writes a file for which nothing is to be replaced ([`Wanted::fresh`]) under a name that [`super::temp_name`] gave; what
/// [`Fresh::stage`] says of the name holds. The content is not digested.
pub fn write_staged(dir: &Dir, temp: &BStr, content: &[u8], wanted: &Wanted) -> io::Result<()> {
    let file = stray::create_named(dir, temp)?;
    let mut fresh = Fresh::begun(dir, (temp.to_owned(), file)).vouched();
    fresh.write_all(content)?;
    fresh.stage(temp, wanted).map(|_| ())
}

/// Replaces or makes a file with the given content.
pub fn write_whole(
    dir: &Dir,
    name: &BStr,
    content: &[u8],
    wanted: &Wanted,
    keep: Option<&Backup>,
) -> io::Result<Option<backup::Saved>> {
    let mut fresh = Fresh::new(dir)?;
    fresh.write_all(content)?;
    fresh.commit(name, wanted, keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn content_that_is_not_what_was_announced_leaves_the_old_file() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("f"), "old").unwrap();
        let dir = Dir::open(top.path()).unwrap();
        for wanted in [
            Wanted {
                digest: Some([7; 32]),
                ..Wanted::default()
            },
            Wanted {
                size: Some(2),
                ..Wanted::default()
            },
        ] {
            let error = write_whole(&dir, "f".into(), b"new", &wanted, None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(fs::read(top.path().join("f")).unwrap(), b"old");
        assert_eq!(dir.names().unwrap(), ["f"]);
    }

    #[test]
    fn mode_and_times_are_in_place_before_the_name_is() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let wanted = Wanted {
            mode: 0o4751,
            times: Some((1_000_000_000, 2_000_000_000_500)),
            ..Wanted::default()
        };
        write_whole(&dir, "f".into(), b"x", &wanted, None).unwrap();
        let meta = fs::metadata(top.path().join("f")).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o4751);
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (2000, 500));
    }

    #[test]
    fn user_attributes_of_the_old_file_are_carried_over() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        fs::write(&path, "old").unwrap();
        if xattr::set(&path, "user.note", b"kept").is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "this file system must carry user attributes"
            );
            eprintln!("skipped: no user attributes on this file system");
            return;
        }
        let dir = Dir::open(top.path()).unwrap();
        write_whole(&dir, "f".into(), b"new", &Wanted::default(), None).unwrap();
        assert_eq!(xattr::get(&path, "user.note").unwrap().unwrap(), b"kept");
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_its_target_left_alone() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("target"), "old").unwrap();
        std::os::unix::fs::symlink("target", top.path().join("f")).unwrap();
        let dir = Dir::open(top.path()).unwrap();
        write_whole(&dir, "f".into(), b"new", &Wanted::default(), None).unwrap();
        assert_eq!(fs::read(top.path().join("target")).unwrap(), b"old");
        let meta = fs::symlink_metadata(top.path().join("f")).unwrap();
        assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o600);
    }

    #[test]
    fn content_that_others_vouch_for_is_not_digested_and_cannot_be_asked_for_by_digest() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let begin = || {
            let mut fresh = Fresh::new(&dir).unwrap().vouched();
            fresh.write_all(b"new").unwrap();
            assert_eq!(fresh.digest(), None);
            fresh
        };
        let asks = Wanted {
            digest: Some(*blake3::hash(b"new").as_bytes()),
            ..Wanted::default()
        };
        assert!(begin().commit("f".into(), &asks, None).is_err());
        let size = Wanted {
            size: Some(4),
            ..Wanted::default()
        };
        assert!(begin().commit("f".into(), &size, None).is_err());
        assert!(dir.names().unwrap().is_empty());
        begin().commit("f".into(), &Wanted::default(), None).unwrap();
        assert_eq!(fs::read(top.path().join("f")).unwrap(), b"new");
    }

    /// Gives so many bytes, then breaks off.
    struct Breaks(usize);

    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(buffer.len());
            self.0 -= count;
            match count {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                count => Ok(count),
            }
        }
    }

    #[test]
    fn of_a_large_file_that_breaks_off_what_came_is_left_for_the_next_run_and_nothing_else_is() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        for (len, left) in [(100_000, 0), (1_500_000, 1)] {
            let mut fresh = Fresh::in_parts(&dir, "f".into()).unwrap();
            assert!(fresh.fill(&mut Breaks(len)).is_err());
            drop(fresh);
            assert_eq!(super::super::parts(&dir, "f".into()).len(), left, "{len}");
        }
        let part = &super::super::parts(&dir, "f".into())[0];
        assert_eq!(part.metadata().unwrap().len(), 1_500_000);
        assert!(super::super::parts(&dir, "g".into()).is_empty());
        // Not from afar, and one that was refused here.
        let mut fresh = Fresh::new(&dir).unwrap();
        assert!(fresh.fill(&mut Breaks(2_000_000)).is_err());
        drop(fresh);
        let mut fresh = Fresh::in_parts(&dir, "f".into()).unwrap();
        fresh.fill(&mut &vec![1; 2_000_000][..]).unwrap();
        let wanted = Wanted {
            size: Some(3),
            ..Wanted::default()
        };
        assert!(fresh.stage("f".into(), &wanted).is_err());
        assert_eq!(dir.names().unwrap().len(), 1);
        super::super::drop_parts(&dir, "f".into(), None);
        assert!(dir.names().unwrap().is_empty());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let mut fresh = Fresh::new(&dir).unwrap();
        fresh.write_all(b"half").unwrap();
        assert_eq!(dir.names().unwrap().len(), 1);
        drop(fresh);
        assert!(dir.names().unwrap().is_empty());
    }
}
