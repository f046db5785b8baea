//! A large file made of what is here already and of what is not. The list of its chunks says what it is to be; chunks that
//! are found in old files are taken from there, everything else from afar, in one stream. Pure: what reads and what sends comes in.
//!
//! Nothing is taken on trust: an old file may have changed after it was looked through, so the last bytes are handed out
//! only when the whole has its digest. Who reads to the end has the file; who gets [`Again`] has nothing to use and asks for
//! the whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use crate::digest::{Blake3, Chunk, Cutter, MOST_CHUNKS};
use crate::fsx::Again;
use crate::wire::{MAX_RANGES, Range};

/// Bytes of the file, here or not, that one request for ranges reaches over. Old files are read between what arrives, and
/// a server does not wait for long: so much is read within seconds.
const REACH: u64 = 128 << 20;
/// Bytes of an old file that are read at once.
const PIECE: usize = 128 * 1024;

/// Something old that may have much of a new file.
pub trait Old {
    /// Reads bytes at a place; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Old for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }
}

impl Old for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
        rest.unwrap_or_default().read(buffer)
    }
}

/// Where the bytes come from that are not here.
pub trait Afar {
    /// Asks for parts of the file. Not called before all bytes of those asked for last were given.
    fn ask(&mut self, ranges: &[Range]) -> io::Result<()>;

    /// The next bytes of what was asked for, in order; some, and no more than are due.
    fn next(&mut self) -> io::Result<Vec<u8>>;
}

/// What a file is made of.
#[derive(Debug)]
pub struct Plan {
    pieces: Vec<Piece>,
    size: u64,
    here: u64,
}

#[derive(Debug)]
struct Piece {
    chunk: Chunk,
    /// Which of the old files has it, and where.
    old: Option<(usize, u64)>,
}

/// The chunks of an old file, and where it has them.
pub type Chunks = HashMap<Chunk, u64>;

/// Cuts an old file as a new one of that size is cut. What cannot be read of it is as good as not there.
pub fn chunks_of(old: &impl Old, size: u64) -> Chunks {
    let mut found = Chunks::new();
    let _ = look_through(old, size, &mut |chunk, at| {
        found.entry(chunk).or_insert(at);
        found.len() < MOST_CHUNKS
    });
    found
}

impl Plan {
    /// Looks through old files for the chunks of a file. `None` where the list is not one of a file of that size. An old
    /// file that cannot be read has nothing.
    pub fn new(size: u64, chunks: Vec<Chunk>, olds: &[impl Old]) -> Option<Plan> {
        let first = olds.first().map(|old| chunks_of(old, size));
        Plan::knowing(size, chunks, &first.unwrap_or_default(), olds)
    }

    /// As [`Plan::new`]; what the first of the old files has is known already.
    pub fn knowing(size: u64, chunks: Vec<Chunk>, first: &Chunks, olds: &[impl Old]) -> Option<Plan> {
        let sum = chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
        if sum != size || chunks.len() > MOST_CHUNKS || chunks.iter().any(|chunk| chunk.len == 0) {
            return None;
        }
        let in_first = |chunk: &Chunk| first.get(chunk).map(|at| (0, *at));
        let mut wanted: HashMap<Chunk, Option<(usize, u64)>> =
            chunks.iter().map(|chunk| (*chunk, in_first(chunk))).collect();
        let mut missing = wanted.values().filter(|place| place.is_none()).count();
        for (which, file) in olds.iter().enumerate().skip(1) {
            if missing == 0 {
                break;
            }
            // What cannot be read from here on is as good as not there.
            let _ = look_through(file, size, &mut |chunk, at| {
                if let Some(place @ None) = wanted.get_mut(&chunk) {
                    *place = Some((which, at));
                    missing -= 1;
                }
                missing > 0
            });
        }
        let mut here = 0;
        let place = |chunk: Chunk| {
            let old = wanted.get(&chunk).copied().flatten();
            here += old.map_or(0, |_| u64::from(chunk.len));
            Piece { chunk, old }
        };
        let pieces = chunks.into_iter().map(place).collect();
        Some(Plan { pieces, size, here })
    }

    /// How many bytes of it are here.
    pub fn here(&self) -> u64 {
        self.here
    }
}

/// Cuts an old file as the new one was cut, until `found` has seen enough. No more is read than the new one may have by far:
/// the old one need not be what it says.
fn look_through(file: &impl Old, size: u64, found: &mut dyn FnMut(Chunk, u64) -> bool) -> io::Result<()> {
    let mut cutter = Cutter::new(size);
    let mut buffer = vec![0; PIECE];
    let (mut read, mut at, mut more) = (0, 0, true);
    while more && read < size.saturating_mul(2) {
        let count = match file.read_at(&mut buffer, read) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        read += count as u64;
        cutter.feed(buffer.get(..count).unwrap_or_default(), &mut |chunk| {
            more = more && found(chunk, at);
            at += u64::from(chunk.len);
        });
    }
    if let Some(chunk) = cutter.end() {
        found(chunk, at);
    }
    Ok(())
}

fn read_whole(file: &impl Old, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = buffer.get_mut(count..).unwrap_or_default();
                at += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a file as it is made.
pub struct Assembly<'a, O, A> {
    plan: Plan,
    olds: &'a [O],
    digest: [u8; 32],
    /// Where what is not here comes from.
    pub afar: A,
    /// The piece it has come to, and how many bytes of that are done.
    at: usize,
    within: usize,
    /// Bytes that were asked for and did not come yet.
    due: u64,
    /// What came from afar and was not used yet.
    came: Vec<u8>,
    taken: usize,
    hasher: Blake3,
    /// Bytes of the file that were not made yet.
    left: u64,
    /// Made, and handed out up to `used`.
    made: Vec<u8>,
    used: usize,
}

impl<'a, O: Old, A: Afar> Assembly<'a, O, A> {
    /// To be made by that plan, and to have that digest in the end.
    pub fn new(plan: Plan, olds: &'a [O], digest: [u8; 32], afar: A) -> Self {
        Assembly {
            left: plan.size,
            plan,
            olds,
            digest,
            afar,
            at: 0,
            within: 0,
            due: 0,
            came: Vec::new(),
            taken: 0,
            hasher: Blake3::new(),
            made: Vec::new(),
            used: 0,
        }
    }

    /// Makes the next bytes.
    fn advance(&mut self) -> io::Result<()> {
        self.used = 0;
        let Some(Piece { chunk, old }) = self.plan.pieces.get(self.at) else {
            self.made.clear();
            return Err(Again::error());
        };
        let len = chunk.len as usize;
        match *old {
            Some((which, at)) => {
                self.made.resize(len, 0);
                let file = self.olds.get(which);
                if file.is_none_or(|file| read_whole(file, &mut self.made, at).is_err()) {
                    self.made.clear();
                    return Err(Again::error());
                }
                self.at += 1;
            }
            None => {
                self.made.clear();
                if self.taken == self.came.len() {
                    self.receive()?;
                }
                let rest = self.came.get(self.taken..).unwrap_or_default();
                let rest = rest.get(..len - self.within).unwrap_or(rest);
                self.made.extend_from_slice(rest);
                self.taken += rest.len();
                self.within += rest.len();
                if self.within == len {
                    self.at += 1;
                    self.within = 0;
                }
            }
        }
        self.hasher.update(&self.made);
        self.left -= self.made.len() as u64;
        if self.left == 0 && self.hasher.finish() != self.digest {
            self.made.clear();
            return Err(Again::error());
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.due == 0 {
            let ranges = self.ranges();
            self.afar.ask(&ranges)?;
            self.due = ranges.iter().map(|range| range.len).sum();
        }
        self.came = self.afar.next()?;
        self.taken = 0;
        let count = self.came.len() as u64;
        if count == 0 || count > self.due {
            self.came.clear();
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "parts of a file that were not asked for",
            ));
        }
        self.due -= count;
        Ok(())
    }

    /// What is not here of the next stretch of the file.
    fn ranges(&self) -> Vec<Range> {
        let mut at = self.plan.size - self.left;
        let end = at + REACH;
        let mut ranges: Vec<Range> = Vec::new();
        for Piece { chunk, old } in self.plan.pieces.get(self.at..).unwrap_or_default() {
            let len = u64::from(chunk.len);
            let full = ranges.len() == MAX_RANGES;
            match ranges.last_mut() {
                _ if old.is_some() => {}
                Some(last) if last.at + last.len == at => last.len += len,
                _ if full => break,
                _ => ranges.push(Range { at, len }),
            }
            at += len;
            if at >= end {
                break;
            }
        }
        ranges
    }
}

impl<O: Old, A: Afar> Read for Assembly<'_, O, A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.made.len() {
            if self.left == 0 || buffer.is_empty() {
                // It was taken back, or nothing at all is not what it should be.
                let none = self.made.is_empty() && (self.plan.size > 0 || self.hasher.finish() != self.digest);
                return match none && !buffer.is_empty() {
                    true => Err(Again::error()),
                    false => Ok(0),
                };
            }
            self.advance()?;
        }
        let rest = self.made.get(self.used..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.used += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
