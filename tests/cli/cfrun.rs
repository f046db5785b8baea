//! `cfrun` as a user runs it.
