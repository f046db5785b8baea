//! Frames: length of the payload (4 bytes), type (1), request id (4), payload.

use std::io::{self, Read};

use super::WireError;
use super::codec::check;
use super::put_entry;
use crate::fsx::Entry;

/// Bytes of a frame header.
pub const HEADER: usize = 9;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload.
    pub len: usize,
    /// What the payload is.
    pub kind: u8,
    /// The request it belongs to; chosen by the client.
    pub id: u32,
}

impl Header {
    /// Reads a header; a payload over `limit` bytes is refused before anything is read of it.
    pub fn decode(bytes: &[u8; HEADER], limit: usize) -> Result<Self, WireError> {
        let [a, b, c, d, kind, e, f, g, h] = *bytes;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        check("a frame", len, limit)?;
        Ok(Header {
            len,
            kind,
            id: u32::from_be_bytes([e, f, g, h]),
        })
    }

    /// Whether the payload is content, which may be read as it is.
    pub fn is_data(&self) -> bool {
        self.kind == super::reply::DATA
    }

    /// Whether the payload is other frames, see [`super::unpack`].
    pub fn is_packed(&self) -> bool {
        self.kind == super::pack::PACKED
    }

    /// The header as it was read.
    pub fn bytes(&self) -> [u8; HEADER] {
        Header::encode(self.len, self.kind, self.id)
    }

    pub(super) fn encode(len: usize, kind: u8, id: u32) -> [u8; HEADER] {
        let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let [e, f, g, h] = id.to_be_bytes();
        [a, b, c, d, kind, e, f, g, h]
    }
}

/// Appends a frame whose payload is written by `fill`; on an error nothing is appended.
pub(super) fn put_frame(
    out: &mut Vec<u8>,
    kind: u8,
    id: u32,
    limit: usize,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let filled = fill(out).and_then(|()| check("a frame", out.len() - start - HEADER, limit));
    if let Err(error) = filled {
        out.truncate(start);
        return Err(error);
    }
    let header = Header::encode(out.len() - start - HEADER, kind, id);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&header);
    }
    Ok(())
}

/// Appends a DATA frame without a copy in between.
pub fn put_data(out: &mut Vec<u8>, id: u32, bytes: &[u8]) {
    for piece in bytes.chunks(super::MAX_DATA) {
        out.extend_from_slice(&Header::encode(piece.len(), super::reply::DATA, id));
        out.extend_from_slice(piece);
    }
}

/// Appends one ENTRIES frame with as many entries as fit well, and gives how many that were: at least one unless the list
/// is empty. What is encoded is also handed to `seen`, for the digest of the manifest.
pub fn put_entries(
    out: &mut Vec<u8>,
    id: u32,
    entries: &[Entry],
    seen: &mut dyn FnMut(&[u8]),
) -> Result<usize, WireError> {
    let mut count = 0u32;
    put_frame(out, super::reply::ENTRIES, id, super::MAX_REPLY, |out| {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        for entry in entries {
            put_entry(entry, out)?;
            count += 1;
            if out.len() - start >= super::MAX_DATA {
                break;
            }
        }
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        seen(out.get(start + 4..).unwrap_or_default());
        Ok(())
    })?;
    Ok(count as usize)
}

/// Reads one frame. `None` at the end of the stream between two frames. A broken frame is an error of kind
/// `InvalidData`. Memory is taken only for what the header says, after its check.
pub fn read_frame(from: &mut impl Read, limit: usize) -> io::Result<Option<(Header, Vec<u8>)>> {
    let Some(header) = read_header(from, limit)? else {
        return Ok(None);
    };
    let mut payload = vec![0; header.len];
    from.read_exact(&mut payload)?;
    Ok(Some((header, payload)))
}

/// As [`read_frame`], up to the payload.
pub fn read_header(from: &mut impl Read, limit: usize) -> io::Result<Option<Header>> {
    let mut head = [0; HEADER];
    let mut have = 0;
    while let Some(space) = head.get_mut(have..).filter(|space| !space.is_empty()) {
        match from.read(space) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let header = Header::decode(&head, limit).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(Some(header))
}
