//! Body for the list of chunks that a server sends, and the file that a client makes by it. See `bodies`.

use std::io;

use dsau::digest;
use dsau::sync::{Afar, Assembly, Plan};
use dsau::wire::Range;

/// A server that has the file.
struct Sent<'a> {
    bytes: &'a [u8],
    ranges: Vec<Range>,
    piece: usize,
}

impl Afar for Sent<'_> {
    fn ask(&mut self, ranges: &[Range]) -> io::Result<()> {
        assert!(self.ranges.is_empty() && !ranges.is_empty());
        self.ranges = ranges.iter().rev().copied().collect();
        Ok(())
    }

    fn next(&mut self) -> io::Result<Vec<u8>> {
        let Some(range) = self.ranges.pop() else {
            return Ok(Vec::new());
        };
        let count = range.len.min(self.piece as u64);
        if count < range.len {
            let (at, len) = (range.at + count, range.len - count);
            self.ranges.push(Range { at, len });
        }
        let at = range.at as usize;
        // A list that lies may reach beyond the file.
        let rest = self.bytes.get(at..).unwrap_or_default();
        let mut piece = rest[..rest.len().min(count as usize)].to_vec();
        piece.resize(count as usize, 7);
        Ok(piece)
    }
}

/// Chunk lists: the input is a script of five bytes a step. Steps edit a file, whose old form is here, then the list of its
/// chunks as a peer would that lies. What comes out is the file, or nothing that could be used.
pub fn chunks(input: &[u8]) {
    let mut state = 88_172_645_463_325_252u64;
    let old: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(30_000)
    .flatten()
    .collect();
    let mut new = old.clone();
    let (steps, _) = input.as_chunks::<5>();
    let number = |step: &[u8; 5]| usize::from(u16::from_be_bytes([step[1], step[2]])) * 4;
    for step in steps.iter().take(64).filter(|step| step[0] < 128) {
        let at = number(step).min(new.len());
        let end = (at + usize::from(step[3]) * 16).min(new.len());
        let from = usize::from(step[4]) * 900;
        let put = match step[0] % 3 {
            0 => vec![step[4]; usize::from(step[3])],
            1 => old[from..(from + 4000).min(old.len())].to_vec(),
            _ => Vec::new(),
        };
        new.splice(at..end, put);
    }
    let size = new.len() as u64;
    let mut cutter = digest::Cutter::new(size);
    let mut list = Vec::new();
    // Never byte by byte: that takes half a second with all that the fuzzer counts.
    new.chunks(41 + input.len() * 7)
        .for_each(|piece| cutter.feed(piece, &mut |chunk| list.push(chunk)));
    list.extend(cutter.end());
    let honest = list.clone();
    for step in steps.iter().take(64).filter(|step| step[0] >= 128) {
        if list.is_empty() {
            break;
        }
        let (at, other) = (number(step) % list.len(), usize::from(step[3]) % list.len());
        match step[0] % 6 {
            0 => list.swap(at, other),
            1 => list[at].len = u32::from_be_bytes([0, step[4], step[3], step[2]]),
            2 => list[at].id[0] ^= step[4],
            3 => list.insert(at, list[other]),
            4 => drop(list.remove(at)),
            // The sum stays what it was.
            _ => {
                let part = list[at].len / 2;
                list[at].len -= part;
                list[other].len = list[other].len.saturating_add(part);
            }
        }
    }
    let told = match input.first() {
        Some(byte) if byte % 2 == 1 => list.iter().map(|chunk| u64::from(chunk.len)).sum(),
        _ => size,
    };
    // Made-up sizes are announced by manifests and read for as long as bytes come: not here.
    if told > 1 << 22 {
        return;
    }
    let lies = list != honest;
    let olds = [old];
    let Some(plan) = Plan::new(told, list, &olds) else {
        return assert!(lies, "an honest list was refused");
    };
    let afar = Sent {
        bytes: &new,
        ranges: Vec::new(),
        piece: 97 + usize::from(input.first().copied().unwrap_or(0)) * 300,
    };
    let mut assembly = Assembly::new(plan, &olds, digest::blake3(&new), afar);
    let mut made = Vec::new();
    match io::Read::read_to_end(&mut assembly, &mut made) {
        Ok(_) => assert!(made == new, "something else was vouched for"),
        Err(_) => assert!(
            lies && (made.len() as u64) < told.max(1),
            "it was handed out to the end"
        ),
    }
}
