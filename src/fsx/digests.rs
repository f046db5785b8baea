//! Digests of files, remembered by device, inode, size, mtime and ctime: in the memory of a server, and from run to run.
//!
//! What is remembered must never be told of other content. The kernel gives every change a new ctime, which nobody can
//! set, so an equal stamp means equal content, but for two things. A second change within the same tick of the clock has
//! the same stamp: a digest is only remembered where the stamp was older than a tick when the reading began. And a clock
//! that was set back gives stamps a second time: everything is forgotten then. A change through a mapping of memory that
//! the kernel has not yet written out is seen when the kernel sets the time for it, as by every tool that goes by stamps.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bstr::BStr;

use super::{Dir, Entry, Meta};
use crate::sys::clock::{self, Moment};

/// So many are remembered: 18 MB on disk.
const MOST: usize = 200_000;
/// How old a stamp must be where the file system keeps fractions of a millisecond: the kernel's clock for files ticks at
/// least every 10 ms.
const FINE: i128 = 100_000_000;
/// How old it must be elsewhere: coarser than the clock of any file system (FAT has 2 s).
const COARSE: i128 = 2_500_000_000;
/// Bytes of one record.
const RECORD: usize = KEY + STAMP + 32;
/// Device and inode.
const KEY: usize = 8 + 8;
const STAMP: usize = 8 + 16 + 16;

/// What changes when content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl Stamp {
    /// That of an object.
    pub fn of(meta: &Meta) -> Self {
        Stamp {
            size: meta.size(),
            mtime: meta.mtime(),
            ctime: meta.ctime(),
        }
    }

    /// That of an entry.
    pub fn of_entry(entry: &Entry) -> Self {
        Stamp {
            size: entry.size,
            mtime: entry.mtime,
            ctime: entry.ctime,
        }
    }

    /// Whether a change after `now`, in nanoseconds since the epoch, must give another stamp.
    pub fn settled(&self, now: i128) -> bool {
        let tick = match self.ctime % 1_000_000 {
            0 => COARSE,
            _ => FINE,
        };
        self.ctime < now - tick
    }
}

/// A digest, and whether it holds as long as the stamp of the file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digested {
    /// blake3 of the content.
    pub digest: [u8; 32],
    /// Content of the same stamp has this digest. Otherwise it was true only when it was read.
    pub settled: bool,
}

struct Memory {
    /// What an earlier run kept: records in the order of device and inode, found where they lie. To take them apart would
    /// cost a run that looks at one file as much as one that looks at all.
    kept: Vec<u8>,
    /// Which of them were asked for.
    used: Vec<bool>,
    /// What is new.
    known: HashMap<(u64, u64), (Stamp, [u8; 32])>,
    /// When the clock was last looked at.
    clock: Moment,
}

impl Memory {
    fn records(&self) -> &[u8] {
        self.kept.get(Moment::SIZE..).unwrap_or_default()
    }

    fn find(&mut self, inode: (u64, u64), stamp: &Stamp) -> Option<[u8; 32]> {
        if let Some((known, digest)) = self.known.get(&inode) {
            return (known == stamp).then_some(*digest);
        }
        let (records, _) = self.records().as_chunks::<RECORD>();
        let key = key_of(inode);
        let at = records.binary_search_by(|record| record[..KEY].cmp(&key)).ok()?;
        let (known, digest) = read_record(&records[at])?;
        self.used[at] = true;
        (known == *stamp).then_some(digest)
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.used.clear();
        self.known.clear();
    }
}

/// The memory. May be used by many at once.
pub struct Digests(Mutex<Memory>);

impl Default for Digests {
    fn default() -> Self {
        Digests(Mutex::new(Memory {
            kept: Vec::new(),
            used: Vec::new(),
            known: HashMap::new(),
            clock: Moment::now(),
        }))
    }
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let memory = self.lock();
        write!(f, "Digests({} + {})", memory.used.len(), memory.known.len())
    }
}

impl Digests {
    /// What [`Digests::to_bytes`] wrote; nothing where that is damaged, or the clock was set back since.
    pub fn from_bytes(bytes: Vec<u8>) -> Digests {
        let digests = Digests::default();
        let mut memory = digests.lock();
        let clock = bytes.get(..Moment::SIZE).and_then(Moment::from_bytes);
        if clock.is_some_and(|clock| memory.clock.follows(&clock)) {
            memory.kept = bytes;
            memory.used = vec![false; memory.records().len() / RECORD];
        }
        drop(memory);
        digests
    }

    /// Everything, to be kept for later; `None` where nothing is new.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let memory = self.lock();
        // Set back since it was last looked at: what is here is not worth keeping.
        if memory.known.is_empty() || !Moment::now().follows(&memory.clock) {
            return None;
        }
        let over = memory.used.len() + memory.known.len() > MOST;
        let (records, _) = memory.records().as_chunks::<RECORD>();
        let fresh: Vec<[u8; RECORD]> = memory
            .known
            .iter()
            .map(|(inode, known)| record_of(*inode, known))
            .collect();
        let replaced: HashSet<&[u8]> = fresh.iter().map(|record| &record[..KEY]).collect();
        let kept = records
            .iter()
            .zip(&memory.used)
            .filter(|(record, used)| (**used || !over) && !replaced.contains(&record[..KEY]));
        let mut all: Vec<&[u8; RECORD]> = fresh.iter().chain(kept.map(|(record, _)| record)).take(MOST).collect();
        all.sort_unstable();
        let mut bytes = Vec::with_capacity(Moment::SIZE + all.len() * RECORD);
        bytes.extend_from_slice(&Moment::now().to_bytes());
        all.into_iter().for_each(|record| bytes.extend_from_slice(record));
        Some(bytes)
    }

    /// To be called before a tree is looked at: forgets everything where the clock was set back since the last time.
    pub fn mind_clock(&self) {
        let now = Moment::now();
        let mut memory = self.lock();
        if !now.follows(&memory.clock) {
            memory.forget();
        }
        memory.clock = now;
    }

    /// The digest of a plain file in a directory, from memory or by reading it. `tick` is called for each piece read; its
    /// error ends the reading.
    pub fn of(
        &self,
        dir: &Dir,
        name: &BStr,
        meta: &Meta,
        tick: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Digested> {
        let stamp = Stamp::of(meta);
        if let Some(digest) = self.lock().find(meta.inode(), &stamp) {
            return Ok(Digested { digest, settled: true });
        }
        let began = clock::now();
        let file = dir.read(name)?;
        let reader = Ticking { file: &file, tick };
        let digest = super::scan::digest_sized(reader, meta.size())?;
        // The same stamp from before it was opened until after it was read: the same file, and nothing changed meanwhile.
        let after = crate::sys::at::file_meta(&file)?;
        let same = after.inode() == meta.inode() && Stamp::of(&after) == stamp;
        let settled = same && stamp.settled(began);
        if settled {
            self.learn(meta.inode(), stamp, digest);
        }
        Ok(Digested { digest, settled })
    }

    /// The digest of a file of that stamp, where it is remembered. It is that of what is read from an open file as long as
    /// the file has that stamp before it is read and after.
    pub fn known(&self, meta: &Meta) -> Option<[u8; 32]> {
        self.lock().find(meta.inode(), &Stamp::of(meta))
    }

    fn learn(&self, inode: (u64, u64), stamp: Stamp, digest: [u8; 32]) {
        let mut memory = self.lock();
        if memory.known.len() >= MOST {
            memory.known.clear();
        }
        memory.known.insert(inode, (stamp, digest));
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the order of bytes as the numbers are.
fn key_of((device, inode): (u64, u64)) -> [u8; KEY] {
    ((u128::from(device) << 64) | u128::from(inode)).to_be_bytes()
}

fn record_of(inode: (u64, u64), (stamp, digest): &(Stamp, [u8; 32])) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let size = stamp.size.to_be_bytes();
    let [mtime, ctime] = [stamp.mtime, stamp.ctime].map(i128::to_be_bytes);
    let parts: [&[u8]; 5] = [&key_of(inode), &size, &mtime, &ctime, digest];
    let mut at = 0;
    for part in parts {
        record[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    record
}

fn read_record(record: &[u8; RECORD]) -> Option<(Stamp, [u8; 32])> {
    let (size, rest) = record[KEY..].split_first_chunk()?;
    let (mtime, rest) = rest.split_first_chunk()?;
    let (ctime, digest) = rest.split_first_chunk()?;
    let stamp = Stamp {
        size: u64::from_be_bytes(*size),
        mtime: i128::from_be_bytes(*mtime),
        ctime: i128::from_be_bytes(*ctime),
    };
    Some((stamp, digest.try_into().ok()?))
}

struct Ticking<'a> {
    file: &'a File,
    tick: &'a mut dyn FnMut() -> io::Result<()>,
}

impl Read for Ticking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.tick)()?;
        self.file.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn of(digests: &Digests, top: &Dir) -> Digested {
        let meta = top.meta("f".into()).unwrap();
        digests.of(top, "f".into(), &meta, &mut || Ok(())).unwrap()
    }

    /// A file that was written a while ago, and a memory that knows it.
    fn settled() -> (tempfile::TempDir, Dir, Digests) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "one").unwrap();
        let top = Dir::open(dir.path()).unwrap();
        let digests = Digests::default();
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(digests.known(&top.meta("f".into()).unwrap()), None);
        assert!(of(&digests, &top).settled);
        assert_eq!(digests.lock().known.len(), 1);
        assert_eq!(
            digests.known(&top.meta("f".into()).unwrap()),
            Some(crate::digest::blake3(b"one"))
        );
        (dir, top, digests)
    }

    #[test]
    fn a_digest_is_remembered_for_settled_files_only_and_dropped_with_their_stamp() {
        let (dir, top, digests) = settled();
        let path = dir.path().join("f");
        // The content changes within the same mtime and size: ctime tells.
        let times = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(times)).unwrap();
        let two = Digested {
            digest: crate::digest::blake3(b"two"),
            settled: false,
        };
        assert_eq!(digests.known(&top.meta("f".into()).unwrap()), None);
        assert_eq!(of(&digests, &top), two);
        // A time in the future is only what somebody wrote there.
        let later = SystemTime::now() + Duration::from_secs(10_000);
        file.set_times(FileTimes::new().set_modified(later)).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert!(of(&digests, &top).settled);
    }

    #[test]
    fn a_change_right_after_the_reading_is_never_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let top = Dir::open(dir.path()).unwrap();
        let digests = Digests::default();
        for round in 0..2000 {
            let text = format!("{round:05}");
            std::fs::write(dir.path().join("f"), &text).unwrap();
            assert_eq!(of(&digests, &top).digest, crate::digest::blake3(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_remembered_is_read_again_and_damage_or_a_clock_set_back_leave_nothing() {
        let (_dir, top, digests) = settled();
        let bytes = digests.to_bytes().unwrap();
        let again = Digests::from_bytes(bytes.clone());
        assert!(of(&again, &top).settled);
        assert_eq!(again.to_bytes(), None, "nothing is new");
        assert!(Digests::from_bytes(bytes[..40].to_vec()).lock().used.is_empty());
        let mut late = bytes.clone();
        let mut then = Moment::from_bytes(&late[..Moment::SIZE]).unwrap().to_bytes();
        // Ten seconds of the clock went away: its reading in the file is so much later.
        let real = i128::from_be_bytes(then[36..52].try_into().unwrap()) + 10_000_000_000;
        then[36..52].copy_from_slice(&real.to_be_bytes());
        late[..Moment::SIZE].copy_from_slice(&then);
        assert!(Digests::from_bytes(late).lock().used.is_empty());
    }

    #[test]
    fn what_is_new_takes_its_place_among_what_was_kept() {
        let stamp = |size| Stamp {
            size,
            mtime: -1,
            ctime: 2,
        };
        let first = Digests::default();
        for inode in [7, 300, 5, 1 << 40] {
            first.learn((1, inode), stamp(inode), [1; 32]);
        }
        let second = Digests::from_bytes(first.to_bytes().unwrap());
        second.learn((1, 300), stamp(300), [2; 32]);
        second.learn((0, 9), stamp(9), [3; 32]);
        let third = Digests::from_bytes(second.to_bytes().unwrap());
        let find = |inode, size| third.lock().find(inode, &stamp(size)).map(|digest| digest[0]);
        let wanted = [((1, 5), 1), ((1, 7), 1), ((1, 300), 2), ((1, 1 << 40), 1), ((0, 9), 3)];
        for (inode, digest) in wanted {
            assert_eq!(find(inode, inode.1), Some(digest), "{inode:?}");
            assert_eq!(find(inode, inode.1 + 1), None, "another stamp");
        }
        assert_eq!(find((1, 6), 6), None);
        assert_eq!(third.lock().used.len(), wanted.len());
    }

    #[test]
    fn a_stamp_is_settled_when_the_clock_has_moved_on_by_more_than_a_tick() {
        let stamp = |ctime| Stamp {
            size: 1,
            mtime: 0,
            ctime,
        };
        let second = 1_000_000_000;
        assert!(stamp(100 * second + 1).settled(101 * second));
        assert!(!stamp(100 * second + 1).settled(100 * second + 50_000_000));
        // Whole milliseconds: the file system may know no less than seconds.
        assert!(!stamp(100 * second).settled(101 * second));
        assert!(stamp(100 * second).settled(103 * second));
        assert!(!stamp(200 * second + 1).settled(100 * second));
    }
}
