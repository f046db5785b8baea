//! `cfservd` as a user runs it.
