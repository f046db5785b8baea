//! A master and clients become and stay the same.
