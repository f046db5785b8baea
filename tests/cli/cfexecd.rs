//! `cfexecd` as a user runs it.
