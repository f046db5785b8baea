//! `crender` as a user runs it.
