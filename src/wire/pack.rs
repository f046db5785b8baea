//! Frames in fewer bytes: PACKED holds some whole frames as one block of lz4. Who reads it has bounds for both lengths
//! before it takes memory, and gets frames that are whole or nothing.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::codec::{Take, check};
use super::frame::{HEADER, Header};
use super::{MAX_REPLY, WireError};

pub(super) const PACKED: u8 = 0x92;

/// The most bytes of frames in one PACKED: any frame has room in it.
pub const MAX_UNPACKED: usize = HEADER + MAX_REPLY;
/// The length before a block.
const SIZE: usize = 4;
/// Less than this many bytes of frames are sent as they are.
const LEAST: usize = 256;
/// After so many pieces in a row that did not shrink, some are passed over.
const TRIES: u32 = 3;
/// So many are passed over at most before one is tried again.
const MOST_PASSED: u32 = 32;

/// Packs what a server sends. What does not shrink by an eighth goes out as it is; where much does not, most of it is not
/// even tried.
pub struct Packer {
    table: CompressTable,
    /// The frame that was made last, and room for a longer one.
    packed: Vec<u8>,
    /// Pieces in a row that did not shrink.
    failed: u32,
    /// Pieces to pass over.
    pass: u32,
}

impl Default for Packer {
    fn default() -> Self {
        Packer {
            table: CompressTable::large(),
            packed: Vec::new(),
            failed: 0,
            pass: 0,
        }
    }
}

impl Packer {
    /// Takes whole frames off the front of what is to be sent, and gives what is to be sent for them.
    pub fn take<'s, 'b: 's>(&'s mut self, rest: &mut &'b [u8]) -> &'s [u8] {
        let count = match whole(rest, MAX_UNPACKED) {
            // These are no frames; whoever wrote them will have his reasons.
            0 => rest.len(),
            count => count,
        };
        let (piece, later) = rest.split_at(count);
        *rest = later;
        match self.try_to_pack(piece) {
            Some(size) => self.packed.get(..size).unwrap_or_default(),
            None => piece,
        }
    }

    /// Makes one frame of a piece where that is worth it; gives its bytes.
    fn try_to_pack(&mut self, piece: &[u8]) -> Option<usize> {
        if piece.len() < LEAST || piece.len() > MAX_UNPACKED {
            return None;
        }
        if self.pass > 0 {
            self.pass -= 1;
            return None;
        }
        let size = self.pack(piece).filter(|size| *size <= piece.len() - piece.len() / 8);
        if size.is_some() {
            self.failed = 0;
        } else {
            self.failed = (self.failed + 1).min(TRIES + MOST_PASSED.ilog2());
            self.pass = self.failed.checked_sub(TRIES).map_or(0, |more| 1 << more);
        }
        size
    }

    fn pack(&mut self, piece: &[u8]) -> Option<usize> {
        let room = HEADER + SIZE + get_maximum_output_size(piece.len());
        if self.packed.len() < room {
            self.packed.resize(room, 0);
        }
        let block = self.packed.get_mut(HEADER + SIZE..)?;
        let size = SIZE + compress_into_with_table(piece, block, &mut self.table).ok()?;
        let header = Header::encode(size, PACKED, 0);
        self.packed.get_mut(..HEADER)?.copy_from_slice(&header);
        let unpacked = u32::try_from(piece.len()).ok()?.to_be_bytes();
        self.packed.get_mut(HEADER..HEADER + SIZE)?.copy_from_slice(&unpacked);
        Some(HEADER + size)
    }
}

/// How many bytes at the front are whole frames, none of them packed, as many as there are in `most` bytes.
fn whole(bytes: &[u8], most: usize) -> usize {
    let mut end = 0;
    while let Some(head) = bytes.get(end..).and_then(|rest| rest.first_chunk())
        && let Ok(header) = Header::decode(head, MAX_REPLY)
        && header.kind != PACKED
        && end + HEADER + header.len <= bytes.len().min(most)
    {
        end += HEADER + header.len;
    }
    end
}

/// Reads what is packed into a buffer: whole frames, at least one, none of them packed again.
pub fn unpack(header: Header, payload: &[u8], frames: &mut Vec<u8>) -> Result<(), WireError> {
    frames.clear();
    if header.kind != PACKED {
        return Err(WireError::Type(header.kind));
    }
    if header.id != 0 {
        return Err(WireError::Value("the number of a packed piece"));
    }
    let mut take = Take::new(payload);
    let size = take.u32()? as usize;
    check("a packed piece", size, MAX_UNPACKED)?;
    let block = payload.get(SIZE..).unwrap_or_default();
    frames.resize(size, 0);
    let whole = decompress_into(block, frames).is_ok_and(|count| count == size && size > 0)
        && whole(frames, MAX_UNPACKED) == size;
    if !whole {
        frames.clear();
        return Err(WireError::Value("a packed piece"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
