//! Digests of files, remembered by device, inode, size, mtime and ctime: in the memory of a server, and from run to run.
//!
//! What is remembered must never be told of other content. The kernel gives every change a new ctime, which nobody can
//! set, so an equal stamp means equal content, but for two things. A second change within the same tick of the clock has
//! the same stamp: a digest is only remembered where the stamp was older than a tick when the reading began. And a clock
//! that was set back gives stamps a second time: everything is forgotten then. A change through a mapping of memory that
//! the kernel has not yet written out is seen when the kernel sets the time for it, as by every tool that goes by stamps.

mod kept;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bstr::BStr;

use self::kept::{KEY, Kept, RECORD, Record};
use super::{Dir, Entry, Meta};
use crate::sys::clock::{self, Moment};

/// So many are remembered: 18 MB on disk.
const MOST: usize = 200_000;
/// How old a stamp must be where the file system keeps fractions of a millisecond: the kernel's clock for files ticks at
/// least every 10 ms.
const FINE: i128 = 100_000_000;
/// How old it must be elsewhere: coarser than the clock of any file system (FAT has 2 s).
const COARSE: i128 = 2_500_000_000;
/// So many are written beside the others before all are written anew, or this part of those.
const MOST_RECENT: usize = 1024;
const PART_RECENT: usize = 8;

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
    /// What earlier runs kept, the newest first.
    kept: Vec<Kept>,
    /// What is new.
    known: HashMap<(u64, u64), (Stamp, [u8; 32])>,
    /// When the clock was last looked at.
    clock: Moment,
}

impl Memory {
    fn find(&mut self, inode: (u64, u64), stamp: &Stamp) -> Option<[u8; 32]> {
        if let Some((known, digest)) = self.known.get(&inode) {
            return (known == stamp).then_some(*digest);
        }
        let key = key_of(inode);
        let record = self.kept.iter_mut().find_map(|kept| kept.find(&key))?;
        let (known, digest) = read_record(record)?;
        (known == *stamp).then_some(digest)
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.known.clear();
    }
}

/// What is to be kept for later runs: the bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything.
    All(Vec<u8>),
    /// What is not in the file of everything.
    Recent(Vec<u8>),
}

/// The memory. May be used by many at once.
pub struct Digests(Mutex<Memory>);

impl Default for Digests {
    fn default() -> Self {
        Digests(Mutex::new(Memory {
            kept: Vec::new(),
            known: HashMap::new(),
            clock: Moment::now(),
        }))
    }
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let memory = self.lock();
        let kept: usize = memory.kept.iter().map(Kept::count).sum();
        write!(f, "Digests({kept} + {})", memory.known.len())
    }
}

impl Digests {
    /// What [`Digests::to_keep`] gave, from its two files; nothing of one that is damaged, or where the clock was set back
    /// since.
    pub fn from_files(all: Option<File>, recent: Option<File>) -> Digests {
        let digests = Digests::default();
        let mut memory = digests.lock();
        for file in [recent, all].into_iter().flatten() {
            let kept = Kept::open(file, MOST).filter(|kept| memory.clock.follows(&kept.clock));
            memory.kept.extend(kept);
        }
        drop(memory);
        digests
    }

    /// What is to be kept for later: `None` where nothing is new. A little is written beside what there is, until it has
    /// become much.
    pub fn to_keep(&self) -> Option<Keep> {
        let mut memory = self.lock();
        let now = Moment::now();
        // Set back since it was last looked at: what is here is not worth keeping.
        if memory.known.is_empty() || !now.follows(&memory.clock) {
            return None;
        }
        let Memory { kept, known, .. } = &mut *memory;
        let fresh: Vec<Record> = known.iter().map(|(inode, known)| record_of(*inode, known)).collect();
        let (recent, old) = match &mut kept[..] {
            [recent, old] => (Some(recent), Some(old)),
            [old] => (None, Some(old)),
            _ => (None, None),
        };
        let few = fresh.len() + recent.as_ref().map_or(0, |kept| kept.count());
        let all = old.as_ref().map_or(0, |kept| kept.count());
        let mut records: Vec<&Record> = fresh.iter().collect();
        if all > 0 && few <= MOST_RECENT.max(all / PART_RECENT) {
            records.extend(recent.into_iter().flat_map(|kept| kept.all(false)));
            return Some(Keep::Recent(kept::write(&in_order(records), &now)));
        }
        let over = few + all > MOST;
        records.extend([recent, old].into_iter().flatten().flat_map(|kept| kept.all(over)));
        records.truncate(MOST);
        Some(Keep::All(kept::write(&in_order(records), &now)))
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

/// In the order of their keys; of several with one key the first stays.
fn in_order(mut records: Vec<&Record>) -> Vec<&Record> {
    records.sort_by_key(|record| &record[..KEY]);
    records.dedup_by_key(|record| &record[..KEY]);
    records
}

fn key_of((device, inode): (u64, u64)) -> [u8; KEY] {
    ((u128::from(device) << 64) | u128::from(inode)).to_be_bytes()
}

fn record_of(inode: (u64, u64), (stamp, digest): &(Stamp, [u8; 32])) -> Record {
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

fn read_record(record: &Record) -> Option<(Stamp, [u8; 32])> {
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

    fn file(bytes: &[u8]) -> Option<File> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        Some(file)
    }

    fn all(digests: &Digests) -> Vec<u8> {
        match digests.to_keep() {
            Some(Keep::All(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn recent(digests: &Digests) -> Vec<u8> {
        match digests.to_keep() {
            Some(Keep::Recent(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn count(digests: &Digests) -> usize {
        digests.lock().kept.iter().map(Kept::count).sum()
    }

    #[test]
    fn what_is_remembered_is_read_again_and_a_clock_set_back_leaves_nothing() {
        let (_dir, top, digests) = settled();
        let bytes = all(&digests);
        let again = Digests::from_files(file(&bytes), None);
        assert!(of(&again, &top).settled);
        assert_eq!(again.to_keep(), None, "nothing is new");
        // Ten seconds of the clock went away: its reading in the file is so much later.
        let mut then = Moment::now().to_bytes();
        let real = i128::from_be_bytes(then[36..52].try_into().unwrap()) + 10_000_000_000;
        then[36..52].copy_from_slice(&real.to_be_bytes());
        let late = kept::write(&[], &Moment::from_bytes(&then).unwrap());
        assert!(Digests::from_files(file(&late), None).lock().kept.is_empty());
        assert_eq!(Digests::from_files(file(&bytes), None).lock().kept.len(), 1);
    }

    #[test]
    fn what_is_new_is_written_beside_what_was_kept_and_goes_before_it_until_it_is_much() {
        let stamp = |size| Stamp {
            size,
            mtime: -1,
            ctime: 2,
        };
        let first = Digests::default();
        for inode in [7, 300, 5, 1 << 40] {
            first.learn((1, inode), stamp(inode), [1; 32]);
        }
        let base = all(&first);
        let second = Digests::from_files(file(&base), None);
        second.learn((1, 300), stamp(300), [2; 32]);
        second.learn((0, 9), stamp(9), [3; 32]);
        let beside = recent(&second);
        let third = Digests::from_files(file(&base), file(&beside));
        let wanted = [((1, 5), 1), ((1, 7), 1), ((1, 300), 2), ((1, 1 << 40), 1), ((0, 9), 3)];
        let check = |digests: &Digests| {
            let find = |inode, size| digests.lock().find(inode, &stamp(size)).map(|digest| digest[0]);
            for (inode, digest) in wanted {
                assert_eq!(find(inode, inode.1), Some(digest), "{inode:?}");
                assert_eq!(find(inode, inode.1 + 1), None, "another stamp");
            }
            assert_eq!(find((1, 6), 6), None);
        };
        check(&third);
        assert_eq!(count(&third), 6);
        third.learn((2, 1), stamp(1), [4; 32]);
        assert_eq!(count(&Digests::from_files(file(&base), file(&recent(&third)))), 7);
        for inode in 0..MOST_RECENT as u64 {
            third.learn((3, inode), stamp(inode), [5; 32]);
        }
        let fourth = Digests::from_files(file(&all(&third)), None);
        check(&fourth);
        assert_eq!(count(&fourth), wanted.len() + 1 + MOST_RECENT);
    }

    #[test]
    fn when_there_are_too_many_those_go_that_nobody_asks_for() {
        let stamp = Stamp {
            size: 1,
            mtime: 1,
            ctime: 1,
        };
        let first = Digests::default();
        for inode in 0..MOST as u64 {
            first.learn((1, inode), stamp, [1; 32]);
        }
        let second = Digests::from_files(file(&all(&first)), None);
        for inode in 0..100 {
            assert!(second.lock().find((1, inode), &stamp).is_some());
        }
        for inode in 0..MOST as u64 / 2 {
            second.learn((2, inode), stamp, [2; 32]);
        }
        assert_eq!(count(&Digests::from_files(file(&all(&second)), None)), MOST / 2 + 100);
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
