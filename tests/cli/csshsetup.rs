//! `csshsetup` as a user runs it.
