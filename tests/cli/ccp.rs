//! `ccp` as a user runs it.
