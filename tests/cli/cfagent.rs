//! `cfagent` as a user runs it.
