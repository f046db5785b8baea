//! `rpc_in` and `rpc_out`: private directories in which bundles lie.

use std::io::Read;
use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};

use super::bundle::{Call, LIMIT, Reply};
use crate::agent::report::Report;
use crate::fsx::{Dir, Place, Wanted, write_whole};

/// Bundles that cannot be read go when they are older than this: 7 days.
const OLD: i64 = 7 * 24 * 3600;

/// No more bundles lie in the room of one host.
const FULL: usize = 1_000;

/// One of the two directories, held open.
pub struct Room {
    dir: Dir,
}

impl Room {
    /// Opens a directory that only whoever runs this may write; makes it, with `make`, where it is missing. Says so where
    /// others can look into it.
    pub fn open(path: &std::path::Path, make: bool, report: Option<&mut Report<'_>>) -> Result<Room, String> {
        let shown = path.display();
        let told = |error: std::io::Error| format!("{shown}: {error}");
        let place = match make {
            true => Place::with_parents(path, 0o755).map(|(place, _)| place),
            false => Place::of(path),
        };
        let place = place.map_err(told)?;
        if make && place.look().map_err(told)?.is_none() {
            place.dir.mkdir(place.name(), 0o700).map_err(told)?;
        }
        let dir = place.dir.dir(place.name()).map_err(told)?;
        let meta = dir.self_meta().map_err(told)?;
        if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            let mode = meta.mode();
            return Err(format!(
                "UNTRUSTED: directory {shown} (mode {mode:o}, owner {}) was not private! Others may put calls of methods there",
                meta.uid()
            ));
        }
        if let (true, Some(report)) = (meta.mode() & 0o077 != 0, report) {
            let mode = meta.mode();
            report.error(format_args!(
                "UNTRUSTED: directory {shown} (mode {mode:o}) was not private!"
            ));
        }
        Ok(Room { dir })
    }

    /// The room of one host in it, which is made where it is missing.
    pub fn of_host(&self, host: &BStr) -> Result<Room, String> {
        let told = |error: std::io::Error| format!("{host}: {error}");
        if self.dir.look(host).map_err(told)?.is_none() {
            self.dir.mkdir(host, 0o700).map_err(told)?;
        }
        let dir = self.dir.dir(host).map_err(told)?;
        Ok(Room { dir })
    }

    /// Whether no more bundles fit in.
    pub fn is_full(&self) -> bool {
        self.dir.names().is_ok_and(|names| names.len() >= FULL)
    }

    /// Puts a bundle in, whole or not at all, for nobody else to read.
    pub fn put(&self, name: &BStr, bytes: &[u8]) -> Result<(), String> {
        let wanted = Wanted {
            carry: false,
            ..Wanted::default()
        };
        write_whole(&self.dir, name, bytes, &wanted, None)
            .map(|_| ())
            .map_err(|error| format!("{name}: {error}"))
    }

    /// An empty file to write an answer into.
    pub fn blank(&self, name: &BStr) -> std::io::Result<std::fs::File> {
        self.remove(name);
        self.dir.create_new(name, 0o600)
    }

    /// A bundle's bytes.
    pub fn read(&self, name: &BStr) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.dir.read(name)?;
        file.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The name of the call with a digest.
    pub fn find(&self, digest: &str) -> Option<BString> {
        let end = format!("_{digest}");
        let names = self.dir.names().ok()?;
        names.into_iter().find(|name| name.ends_with(end.as_bytes()))
    }

    /// Takes a bundle away; one that is not there is none already.
    pub fn remove(&self, name: &BStr) {
        let _ = self.dir.unlink(name);
    }

    /// Removes what counts no more, here and in the directories of hosts. Gives how many.
    pub fn sweep(&self, now: i64) -> usize {
        let mut removed = 0;
        for name in self.dir.names().unwrap_or_default() {
            let name = name.as_bstr();
            match self.dir.look(name) {
                Ok(Some(meta)) if meta.is_dir() => {
                    if let Ok(dir) = self.dir.dir(name) {
                        removed += Room { dir }.sweep(now);
                        // Only where nothing is left in it.
                        let _ = self.dir.rmdir(name);
                    }
                }
                Ok(Some(meta)) if meta.is_file() => {
                    let until = match self.read(name).as_deref().map(until) {
                        Ok(Some(until)) => until,
                        _ => i64::try_from(meta.mtime() / 1_000_000_000).unwrap_or(0) + OLD,
                    };
                    if until < now {
                        self.remove(name);
                        removed += 1;
                    }
                }
                _ => {}
            }
        }
        removed
    }
}

/// Until when a bundle counts.
fn until(bytes: &[u8]) -> Option<i64> {
    let call = Call::decode(bytes).map(|call| call.until);
    call.or_else(|_| Reply::decode(bytes).map(|reply| reply.until)).ok()
}

/// The name of the file of a call.
pub fn file_name(client: &[u8], server: &[u8], method: &[u8], digest: &str) -> BString {
    let part = |text: &[u8]| BString::from(text.get(..60).unwrap_or(text));
    let mut name = bstr::join("_", [part(client), part(server), part(method)]);
    name.push(b'_');
    name.extend_from_slice(digest.as_bytes());
    name.into()
}

/// The name of the file of the answer.
pub fn reply_name(name: &BStr) -> BString {
    [name.as_bytes(), b".reply"].concat().into()
}

/// Where bundles lie that came here or are handed on to another process of this machine.
pub fn incoming(paths: &crate::sys::Paths) -> PathBuf {
    paths.work().join("rpc_in")
}

/// Where bundles lie that other hosts fetch.
pub fn outgoing(paths: &crate::sys::Paths) -> PathBuf {
    paths.work().join("rpc_out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_room_others_may_write_is_not_used() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("work/rpc_in");
        assert!(Room::open(&path, false, None).is_err());
        Room::open(&path, true, None).unwrap();
        let mode = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        mode(0o755);
        assert!(Room::open(&path, true, None).is_ok());
        for bits in [0o770, 0o707, 0o777] {
            mode(bits);
            let Err(why) = Room::open(&path, true, None) else {
                panic!("{bits:o} was taken")
            };
            assert!(
                why.starts_with("UNTRUSTED: ") && why.contains("was not private!"),
                "{why}"
            );
        }
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/tmp", &path).unwrap();
        assert!(Room::open(&path, true, None).is_err(), "a link is no room");
    }

    #[test]
    fn what_is_past_its_time_goes_and_the_rest_stays() {
        let top = tempfile::tempdir().unwrap();
        let room = Room::open(&top.path().join("r"), true, None).unwrap();
        let call = |until| {
            let call = Call {
                name: "X".into(),
                until,
                ..Call::default()
            };
            call.encode()
        };
        room.put("old".into(), &call(100)).unwrap();
        room.put("new".into(), &call(300)).unwrap();
        let below = top.path().join("r/h.lab");
        let below = Room::open(&below, true, None).unwrap();
        below.put("old".into(), &call(100)).unwrap();
        room.put("junk".into(), b"junk").unwrap();
        assert_eq!(room.sweep(200), 2);
        assert_eq!(room.dir.names().unwrap(), ["junk", "new"]);
        let later = jiff::Timestamp::now().as_second() + OLD + 10;
        assert_eq!(room.sweep(later), 2);
    }

    #[test]
    fn names_of_files_hold_client_server_method_and_digest() {
        let digest = super::super::bundle::digest(b"x");
        let name = file_name(b"a.lab", b"b.lab", b"Get_It", &digest);
        assert_eq!(name, format!("a.lab_b.lab_Get_It_{digest}"));
        let long = file_name(&[b'a'; 255], &[b'b'; 255], &[b'c'; 128], &digest);
        assert!(long.len() < 255 - 10);
    }
}
