//! Properties: whatever was done to a file, it is made again of the old one and what is missing; and no list of a peer, and
//! no old file that changes meanwhile, leads to anything else.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::digest::blake3;

/// A file that is known in full; counts what is asked of it.
struct Whole<'a> {
    bytes: &'a [u8],
    ranges: std::collections::VecDeque<Range>,
    sent: u64,
    asked: usize,
    /// Bytes given at a time.
    piece: usize,
}

impl<'a> Whole<'a> {
    fn new(bytes: &'a [u8], piece: usize) -> Self {
        Whole {
            bytes,
            ranges: Default::default(),
            sent: 0,
            asked: 0,
            piece,
        }
    }
}

impl Afar for Whole<'_> {
    fn ask(&mut self, ranges: &[Range]) -> io::Result<()> {
        assert!(self.ranges.is_empty() && !ranges.is_empty() && ranges.len() <= MAX_RANGES);
        let mut end = 0;
        for range in ranges {
            assert!(range.len > 0 && range.at >= end);
            end = range.at + range.len;
            assert!(end <= self.bytes.len() as u64);
        }
        self.ranges.extend(ranges);
        self.asked += 1;
        Ok(())
    }

    /// Pieces do not end where ranges do.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < self.piece
            && let Some(range) = self.ranges.front_mut()
        {
            let len = range.len.min((self.piece - piece.len()) as u64);
            let at = range.at as usize;
            piece.extend_from_slice(&self.bytes[at..at + len as usize]);
            (range.at, range.len) = (range.at + len, range.len - len);
            if range.len == 0 {
                self.ranges.pop_front();
            }
        }
        self.sent += piece.len() as u64;
        Ok(piece)
    }
}

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

fn cut(bytes: &[u8]) -> Vec<Chunk> {
    let mut cutter = Cutter::new(bytes.len() as u64);
    let mut chunks = Vec::new();
    cutter.feed(bytes, &mut |chunk| chunks.push(chunk));
    chunks.extend(cutter.end());
    chunks
}

/// Makes a file; gives it and how many bytes were sent for it.
fn make(new: &[u8], olds: &[Vec<u8>], piece: usize) -> (io::Result<Vec<u8>>, u64) {
    let plan = Plan::new(new.len() as u64, cut(new), olds).unwrap();
    let here = plan.here();
    let mut assembly = Assembly::new(plan, olds, blake3(new), Whole::new(new, piece));
    let mut made = Vec::new();
    let result = assembly.read_to_end(&mut made);
    if result.is_ok() {
        assert_eq!(here + assembly.afar.sent, new.len() as u64);
        assert_eq!(assembly.due, 0);
    }
    (result.map(|_| made), assembly.afar.sent)
}

/// What is done to a file: where, how many bytes go, how many new ones come, and copies of a part of it.
#[derive(Clone, Debug)]
struct Edit {
    at: usize,
    gone: usize,
    new: usize,
    copied: bool,
}

fn edit() -> impl Strategy<Value = Edit> {
    let small = prop_oneof![Just(0usize), 1usize..100, 1usize..100_000];
    (any::<usize>(), small.clone(), small, any::<bool>()).prop_map(|(at, gone, new, copied)| Edit {
        at,
        gone,
        new,
        copied,
    })
}

fn apply(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for (number, edit) in edits.iter().enumerate() {
        let at = edit.at % (bytes.len() + 1);
        let end = (at + edit.gone).min(bytes.len());
        let new = match edit.copied {
            true => bytes[..edit.new.min(bytes.len())].to_vec(),
            false => noise(number as u64 + 77, edit.new),
        };
        bytes.splice(at..end, new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_was_done_to_a_file_it_is_made_again(seed in any::<u64>(), len in 0usize..1_500_000,
        edits in proptest::collection::vec(edit(), 0..6), piece in 1usize..70_000) {
        let old = noise(seed, len);
        let mut new = old.clone();
        apply(&mut new, &edits);
        // A part of it that an earlier try has left is one more source.
        let part = new[..new.len() / 2].to_vec();
        let (made, sent) = make(&new, &[old, part.clone()], piece.max(len / 2000 + 1));
        prop_assert!(made.unwrap() == new);
        prop_assert!(sent <= (new.len() - part.len()) as u64 + 300_000);
    }

    #[test]
    fn a_list_of_a_peer_leads_to_the_file_or_to_nothing(lens in proptest::collection::vec(0u32..200_000, 0..40),
        ids in any::<[u8; 16]>(), wrong in any::<bool>(), off in 0u64..3) {
        // Chunks of the old file, chunks that are nowhere, lengths that are made up.
        let old = noise(3, 600_000);
        let mut chunks = cut(&old);
        for (number, len) in lens.iter().enumerate() {
            let id = if wrong { ids } else { chunks[number % chunks.len()].id };
            chunks.insert(number, Chunk { len: *len, id });
        }
        let size: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        let sound = off == 1 && !lens.contains(&0);
        let olds = [old];
        let plan = Plan::new((size + off).saturating_sub(1), chunks, &olds);
        prop_assert_eq!(plan.is_some(), sound);
        if let Some(plan) = plan {
            let bytes = vec![5; size as usize];
            let mut assembly = Assembly::new(plan, &olds, [9; 32], Whole::new(&bytes, 50_000));
            let mut made = Vec::new();
            let error = assembly.read_to_end(&mut made).unwrap_err();
            prop_assert!(Again::is(&error));
            prop_assert!((made.len() as u64) < size, "the last bytes were handed out");
            let error = assembly.read_to_end(&mut made).unwrap_err();
            prop_assert!(Again::is(&error), "and never are");
        }
    }
}

#[test]
fn a_megabyte_changed_inside_a_large_file_sends_little_more() {
    let old = noise(1, 24_000_000);
    let mut new = old.clone();
    new[10_000_000..11_000_000].copy_from_slice(&noise(2, 1_000_000));
    let (made, sent) = make(&new, &[old], 65_536);
    assert!(made.unwrap() == new);
    assert!((1_000_000..1_600_000).contains(&sent), "{sent}");
}

#[test]
fn what_repeats_itself_is_asked_for_each_time_it_is_not_here_and_taken_each_time_it_is() {
    let part = noise(5, 400_000);
    let new = part.repeat(4);
    assert!(make(&new, &[], 10_000).0.unwrap() == new);
    let (made, sent) = make(&new, &[part.repeat(2)], 10_000);
    assert!(made.unwrap() == new);
    assert!(sent < 600_000, "{sent}");
}

/// A file that others write to.
struct Shared(RefCell<Vec<u8>>);

impl Old for Shared {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.borrow().read_at(buffer, at)
    }
}

#[test]
fn an_old_file_that_changes_or_shrinks_after_it_was_looked_through_ends_in_again() {
    let old = noise(1, 2_000_000);
    for shrink in [true, false] {
        let olds = [Shared(RefCell::new(old.clone()))];
        let plan = Plan::new(old.len() as u64, cut(&old), &olds).unwrap();
        assert_eq!(plan.here(), old.len() as u64);
        match shrink {
            true => olds[0].0.borrow_mut().truncate(1_000_000),
            false => olds[0].0.borrow_mut()[1_500_000] ^= 1,
        }
        let mut assembly = Assembly::new(plan, &olds, blake3(&old), Whole::new(&old, 1000));
        let mut made = Vec::new();
        let error = assembly.read_to_end(&mut made).unwrap_err();
        assert!(Again::is(&error), "{error}");
        // What is handed out before is of no use without the end of it.
        assert!(made.len() < old.len());
    }
}

#[test]
fn nothing_at_all_is_vouched_for_only_where_it_is_what_should_be() {
    for (digest, good) in [(blake3(b""), true), (blake3(b"something"), false)] {
        let olds = [Vec::new()];
        let plan = Plan::new(0, Vec::new(), &olds).unwrap();
        let mut assembly = Assembly::new(plan, &olds, digest, Whole::new(b"", 1000));
        let read = assembly.read_to_end(&mut Vec::new());
        assert_eq!(read.is_ok(), good);
        assert!(read.is_ok() || Again::is(&read.unwrap_err()));
    }
}

#[test]
fn a_peer_that_sends_more_or_nothing_is_refused() {
    struct Bad(usize);
    impl Afar for Bad {
        fn ask(&mut self, _: &[Range]) -> io::Result<()> {
            Ok(())
        }
        fn next(&mut self) -> io::Result<Vec<u8>> {
            Ok(vec![1; self.0])
        }
    }
    let new = noise(1, 100_000);
    for bad in [0, 100_001] {
        let olds: [Vec<u8>; 0] = [];
        let plan = Plan::new(new.len() as u64, cut(&new), &olds).unwrap();
        let mut assembly = Assembly::new(plan, &olds, blake3(&new), Bad(bad));
        let error = assembly.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn an_empty_file_is_made_of_nothing() {
    assert_eq!(make(&[], &[], 1).0.unwrap(), Vec::<u8>::new());
}
