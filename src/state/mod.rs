//! What a machine remembers between runs: promise locks, digests, last seen. Checksummed files, replaced atomically.
