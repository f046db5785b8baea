//! `cfkey` as a user runs it.
