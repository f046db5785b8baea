//! Digests on disk: records in the order of device and inode, in blocks that are read and checked when something is
//! looked for in them. A run that looks at one file reads a few of them, however much is remembered.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::sys::clock::Moment;

/// Device and inode, in the order of bytes as the numbers are.
pub(super) const KEY: usize = 8 + 8;
/// Bytes of one record: the key, the stamp, the digest.
pub(super) const RECORD: usize = KEY + 8 + 16 + 16 + 32;

const MAGIC: &[u8; 12] = b"dsau-sums 2\n";
const BLOCK: usize = 4096;
const SUM: usize = 32;
const EACH: usize = (BLOCK - SUM) / RECORD;
const HEAD: usize = MAGIC.len() + Moment::SIZE + 8;

/// A record as it is written.
pub(super) type Record = [u8; RECORD];

/// A file of records. What is damaged in it is as good as not there.
pub(super) struct Kept {
    file: File,
    count: usize,
    /// When it was written.
    pub clock: Moment,
    /// Those that were read; the inner is none where it is damaged.
    blocks: Vec<Option<Option<Box<[u8; BLOCK]>>>>,
    /// Which records were asked for.
    used: Vec<bool>,
}

impl Kept {
    /// Opens what [`write`] wrote; none where it is something else, or holds more than `most` records.
    pub fn open(file: File, most: usize) -> Option<Kept> {
        let mut head = [0; HEAD + SUM];
        file.read_exact_at(&mut head, 0).ok()?;
        let (head, sum) = head.split_first_chunk::<HEAD>()?;
        if blake3::hash(head).as_bytes() != sum {
            return None;
        }
        let (clock, count) = head.strip_prefix(MAGIC)?.split_at_checked(Moment::SIZE)?;
        let count = usize::try_from(u64::from_be_bytes(count.try_into().ok()?)).ok()?;
        (count <= most).then_some(())?;
        Some(Kept {
            file,
            count,
            clock: Moment::from_bytes(clock)?,
            blocks: vec![None; count.div_ceil(EACH)],
            used: vec![false; count],
        })
    }

    /// How many records it holds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The record of a key.
    pub fn find(&mut self, key: &[u8; KEY]) -> Option<&Record> {
        // The last block that begins at the key or before it.
        let (mut low, mut high) = (0, self.blocks.len());
        while high - low > 1 {
            let middle = low.midpoint(high);
            match self.records(middle).first()?[..KEY].cmp(key) {
                std::cmp::Ordering::Greater => high = middle,
                _ => low = middle,
            }
        }
        let at = self
            .records(low)
            .binary_search_by(|record| record[..KEY].cmp(key))
            .ok()?;
        *self.used.get_mut(low * EACH + at)? = true;
        self.records(low).get(at)
    }

    /// All records, or those that were asked for.
    pub fn all(&mut self, only_used: bool) -> impl Iterator<Item = &Record> {
        (0..self.blocks.len()).for_each(|block| self.load(block));
        let blocks = self.blocks.iter().zip(self.used.chunks(EACH));
        blocks.flat_map(move |(block, used)| {
            let records = block
                .as_ref()
                .and_then(Option::as_ref)
                .map_or(&[][..], |block| records_of(block, used.len()));
            records
                .iter()
                .zip(used)
                .filter(move |(_, used)| **used || !only_used)
                .map(|(record, _)| record)
        })
    }

    fn records(&mut self, block: usize) -> &[Record] {
        self.load(block);
        let count = self.count.saturating_sub(block * EACH).min(EACH);
        match self.blocks.get(block) {
            Some(Some(Some(block))) => records_of(block, count),
            _ => &[],
        }
    }

    fn load(&mut self, block: usize) {
        if let Some(place @ None) = self.blocks.get_mut(block) {
            let mut bytes = Box::new([0; BLOCK]);
            let read = self.file.read_exact_at(&mut bytes[..], ((block + 1) * BLOCK) as u64);
            let whole = read.is_ok() && blake3::hash(&bytes[SUM..]).as_bytes() == &bytes[..SUM];
            *place = Some(whole.then_some(bytes));
        }
    }
}

fn records_of(block: &[u8; BLOCK], count: usize) -> &[Record] {
    let (records, _) = block[SUM..].as_chunks::<RECORD>();
    &records[..count.min(records.len())]
}

/// The bytes of a file with these records, which stand in the order of their keys, each key once.
pub(super) fn write(records: &[&Record], clock: &Moment) -> Vec<u8> {
    let blocks = records.chunks(EACH);
    let mut bytes = vec![0; BLOCK * (1 + blocks.len())];
    let head = [MAGIC, &clock.to_bytes()[..], &(records.len() as u64).to_be_bytes()].concat();
    bytes[..HEAD].copy_from_slice(&head);
    bytes[HEAD..HEAD + SUM].copy_from_slice(blake3::hash(&head).as_bytes());
    for (records, block) in blocks.zip(bytes.chunks_exact_mut(BLOCK).skip(1)) {
        let (sum, body) = block.split_at_mut(SUM);
        for (record, place) in records.iter().zip(body.chunks_exact_mut(RECORD)) {
            place.copy_from_slice(*record);
        }
        sum.copy_from_slice(blake3::hash(body).as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MOST: usize = 10_000;

    fn record(key: u64) -> Record {
        let mut record = [7; RECORD];
        record[..KEY].copy_from_slice(&u128::from(key).to_be_bytes());
        record[RECORD - 8..].copy_from_slice(&key.to_be_bytes());
        record
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn written(count: u64) -> Vec<u8> {
        let records: Vec<Record> = (0..count).map(|number| record(number * 3)).collect();
        write(&records.iter().collect::<Vec<_>>(), &Moment::now())
    }

    #[test]
    fn every_record_is_found_and_what_is_between_them_is_not() {
        for count in [0, 1, 45, 46, 47, 92, 1000] {
            let mut kept = Kept::open(file(&written(count)), MOST).unwrap();
            assert_eq!(kept.count() as u64, count);
            for key in 0..count * 3 + 2 {
                let found = kept.find(&u128::from(key).to_be_bytes()).copied();
                assert_eq!(
                    found,
                    (key % 3 == 0 && key / 3 < count).then(|| record(key)),
                    "{key} of {count}"
                );
            }
            assert_eq!(kept.all(true).count() as u64, count);
            assert!(kept.all(false).is_sorted());
        }
    }

    #[test]
    fn to_find_one_record_a_few_blocks_are_read() {
        let mut kept = Kept::open(file(&written(9000)), MOST).unwrap();
        kept.find(&u128::from(3 * 4321_u64).to_be_bytes()).unwrap();
        assert!(kept.blocks.iter().flatten().count() <= 9);
        assert_eq!(kept.all(true).count(), 1);
    }

    #[test]
    fn a_damaged_block_takes_its_records_along_and_a_damaged_head_all() {
        let whole = written(200);
        for (at, left) in [
            (0, None),
            (50, None),
            (HEAD + 3, None),
            (2 * BLOCK + 99, Some(200 - EACH)),
            (BLOCK + 3, Some(200 - EACH)),
        ] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let kept = Kept::open(file(&bytes), MOST);
            assert_eq!(kept.map(|mut kept| kept.all(false).count()), left, "byte {at}");
        }
        let mut cut = Kept::open(file(&whole[..2 * BLOCK + 5]), MOST).unwrap();
        assert_eq!(cut.all(false).count(), EACH);
        assert!(Kept::open(file(&whole), 199).is_none());
        assert!(Kept::open(file(b"junk"), MOST).is_none());
    }
}
