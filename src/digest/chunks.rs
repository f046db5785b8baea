//! Content-defined chunks: where a file is cut follows from the bytes before the cut and from nothing else, so that bytes
//! put in or taken out move the cuts beside them and no others. A gear hash with normalised sizes, after FastCDC (Xia and
//! others, USENIX ATC 2016).
//!
//! Both ends of a connection cut by themselves and must come to the same cuts: the table, the masks and the sizes are part
//! of the protocol (`share/doc/protocol.md`). Bytes come in pieces of any size, and none is held.

use std::sync::LazyLock;

/// The largest file that is cut, in bytes.
pub const MOST_SIZE: u64 = 64 << 30;
/// The most chunks such a file has.
pub const MOST_CHUNKS: usize = 1 << 18;
/// Binary logarithm of the usual size of a chunk, of a file up to [`FINE`] bytes.
const BITS: u32 = 16;
/// Chunks double in size each time that a file doubles over this one, so that a list of them has its bounds.
const FINE: u32 = 32;
/// What the table is made of.
const SEED: &[u8] = b"dsau gear";

static GEAR: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut byte = 0u8;
    [(); 256].map(|()| {
        let digest = super::blake3(&[SEED, &[byte]].concat());
        byte = byte.wrapping_add(1);
        digest.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
    })
});

/// One chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Bytes.
    pub len: u32,
    /// The first half of its blake3.
    pub id: [u8; 16],
}

impl Chunk {
    /// The chunk that bytes are.
    pub fn of(bytes: &[u8]) -> Chunk {
        Chunk::new(bytes.len(), &blake3::hash(bytes))
    }

    fn new(len: usize, digest: &blake3::Hash) -> Chunk {
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        Chunk {
            len: u32::try_from(len).unwrap_or(u32::MAX),
            id,
        }
    }
}

/// Cuts a file.
#[derive(Clone, Debug)]
pub struct Cutter {
    /// No cut before this many bytes of a chunk.
    least: usize,
    /// Up to here a cut is rare, from here on it is likely: most chunks come out at about this size.
    usual: usize,
    /// Here is a cut in any case.
    most: usize,
    rare: u64,
    likely: u64,
    hash: u64,
    len: usize,
    digest: blake3::Hasher,
}

impl Cutter {
    /// For a file that has (or is to become one that has) so many bytes: both sides cut by the size of the new one.
    pub fn new(size: u64) -> Cutter {
        let over = size.saturating_sub(1) >> FINE;
        let bits = BITS + (u64::BITS - over.leading_zeros()).min(4);
        let usual = 1usize << bits;
        Cutter {
            least: usual / 2,
            usual,
            most: usual * 4,
            // The high bits: they depend on the most bytes.
            rare: u64::MAX << (u64::BITS - bits - 2),
            likely: u64::MAX << (u64::BITS - bits + 2),
            hash: 0,
            len: 0,
            digest: blake3::Hasher::new(),
        }
    }

    /// Takes the next bytes of the file and gives each chunk that ends in them.
    pub fn feed(&mut self, mut bytes: &[u8], chunk: &mut dyn FnMut(Chunk)) {
        while !bytes.is_empty() {
            let (count, cut) = self.scan(bytes);
            let (taken, rest) = bytes.split_at(count);
            self.digest.update(taken);
            self.len += count;
            bytes = rest;
            if cut {
                chunk(self.take());
            }
        }
    }

    /// The file is over: what is left of it is its last chunk.
    pub fn end(&mut self) -> Option<Chunk> {
        (self.len > 0).then(|| self.take())
    }

    fn take(&mut self) -> Chunk {
        let chunk = Chunk::new(self.len, &self.digest.finalize());
        self.digest.reset();
        (self.hash, self.len) = (0, 0);
        chunk
    }

    /// How many of these bytes still belong to the chunk, and whether it ends with them.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = |limit: usize| limit.saturating_sub(self.len).min(bytes.len());
        let mut at = end(self.least);
        for (end, mask) in [(end(self.usual), self.rare), (end(self.most), self.likely)] {
            let part = bytes.get(at..end).unwrap_or_default();
            match roll(&mut self.hash, part, mask) {
                Some(count) => return (at + count, true),
                None => at += part.len(),
            }
        }
        (at, self.len + at >= self.most)
    }
}

/// Takes bytes into the hash up to the one with which the bits of the mask are 0: how many that are.
fn roll(hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
    let gear = &*GEAR;
    let step = |hash: u64, byte: u8| (hash << 1).wrapping_add(gear[usize::from(byte)]);
    // Four at a time: only the last of them waits for the four before.
    let (fours, rest) = bytes.as_chunks::<4>();
    let mut at = 0;
    for [a, b, c, d] in fours {
        let one = gear[usize::from(*a)];
        let two = step(one, *b);
        let three = step(two, *c);
        let four = step(three, *d);
        let new = [one, two, three, four];
        let after: [u64; 4] = std::array::from_fn(|at| (*hash << (at + 1)).wrapping_add(new[at]));
        let cuts = after.map(|hash| hash & mask == 0);
        if cuts.iter().fold(false, |any, cut| any | cut) {
            return cuts.iter().position(|cut| *cut).map(|found| at + found + 1);
        }
        *hash = after[3];
        at += 4;
    }
    for byte in rest {
        *hash = step(*hash, *byte);
        at += 1;
        if *hash & mask == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that look random and are always the same.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[3]
        };
        std::iter::repeat_with(step).take(len).collect()
    }

    fn cut(bytes: &[u8], piece: usize) -> Vec<Chunk> {
        let mut cutter = Cutter::new(bytes.len() as u64);
        let mut chunks = Vec::new();
        for piece in bytes.chunks(piece) {
            cutter.feed(piece, &mut |chunk| chunks.push(chunk));
        }
        chunks.extend(cutter.end());
        chunks
    }

    #[test]
    fn the_cuts_are_those_of_the_protocol() {
        assert_eq!(GEAR[0].to_be_bytes()[..], super::super::blake3(b"dsau gear\0")[..8]);
        let sizes: Vec<u32> = cut(&noise(1, 400_000), 4096).iter().map(|chunk| chunk.len).collect();
        assert_eq!(sizes, [68_457, 102_375, 69_596, 101_163, 58_409]);
        assert_eq!(
            cut(&[0; 600_000], 77_777).iter().map(|c| c.len).collect::<Vec<_>>(),
            [262_144, 262_144, 75_712]
        );
    }

    /// The words of the protocol, byte by byte: sizes of the chunks of a file of up to 4 GiB.
    fn by_the_book(mut bytes: &[u8]) -> Vec<u32> {
        const A: usize = 1 << 16;
        let mut sizes = Vec::new();
        while !bytes.is_empty() {
            let (mut hash, mut len) = (0u64, 0);
            for byte in bytes.iter().take(4 * A) {
                len += 1;
                if len <= A / 2 {
                    continue;
                }
                hash = hash.wrapping_mul(2).wrapping_add(GEAR[usize::from(*byte)]);
                let zeros = if len <= A { 16 + 2 } else { 16 - 2 };
                if hash.leading_zeros() >= zeros {
                    break;
                }
            }
            sizes.push(u32::try_from(len).unwrap());
            bytes = &bytes[len..];
        }
        sizes
    }

    #[test]
    fn a_large_file_has_no_more_chunks_than_the_list_may() {
        for size in [1, 1 << 20, 1 << 32, (1 << 32) + 1, 1 << 35, MOST_SIZE] {
            let cutter = Cutter::new(size);
            assert!(size.div_ceil(cutter.least as u64) <= MOST_CHUNKS as u64, "{size}");
            assert!(cutter.most <= 4 << 20);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn cuts_do_not_depend_on_how_the_bytes_come(seed in any::<u64>(), len in 0usize..700_000, piece in 1usize..100_000) {
            let bytes = noise(seed, len);
            let chunks = cut(&bytes, piece.max(len / 500 + 1));
            prop_assert_eq!(chunks.iter().map(|chunk| chunk.len).collect::<Vec<_>>(), by_the_book(&bytes));
            prop_assert_eq!(&chunks, &cut(&bytes, len.max(1)));
            let mut rest = &bytes[..];
            for chunk in &chunks {
                let (head, tail) = rest.split_at(chunk.len as usize);
                prop_assert_eq!(*chunk, Chunk::of(head));
                rest = tail;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn what_is_put_in_moves_only_the_cuts_beside_it(seed in any::<u64>(), at in 0usize..2_000_000, new in 1usize..2000) {
            let old = noise(seed, 2_000_000);
            let mut bytes = old.clone();
            bytes.splice(at..at, noise(seed ^ 0xabcd, new));
            let known: std::collections::HashSet<Chunk> = cut(&old, 65_536).into_iter().collect();
            let fresh = cut(&bytes, 65_536).into_iter().filter(|chunk| !known.contains(chunk));
            let fresh: u32 = fresh.map(|chunk| chunk.len).sum();
            prop_assert!(fresh < 1_000_000, "{} bytes of 2,000,000 are new", fresh);
        }
    }
}
