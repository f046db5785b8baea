//! Content digests: blake3 for everything of our own, sha2 where `sha256sum` must agree.
