//! Content digests: blake3 for everything of our own, sha2 where `sha256sum` must agree, and how they are written; content
//! cut into chunks.

mod chunks;
mod text;

pub use chunks::{Chunk, Cutter, MOST_CHUNKS, MOST_SIZE};
pub use text::{base64, hex};

use std::io::{self, Read};

use sha2::Digest as _;

/// A blake3 digest.
pub type Digest = [u8; 32];

/// blake3 in pieces.
#[derive(Clone, Debug, Default)]
pub struct Blake3(blake3::Hasher);

impl Blake3 {
    /// An empty digest.
    pub fn new() -> Self {
        Blake3::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added so far.
    pub fn finish(&self) -> Digest {
        *self.0.finalize().as_bytes()
    }
}

/// blake3 of bytes.
pub fn blake3(bytes: &[u8]) -> Digest {
    *blake3::hash(bytes).as_bytes()
}

/// blake3 of all a reader gives, and how many bytes that were.
pub fn blake3_reader(mut from: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Blake3::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), total)),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                total += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_agree_with_published_vectors() {
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(&blake3(b"")),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn reading_in_pieces_gives_the_digest_of_the_whole() {
        let data = vec![7u8; 200_000];
        assert_eq!(blake3_reader(&data[..]).unwrap(), (blake3(&data), 200_000));
    }
}
