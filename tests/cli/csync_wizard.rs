//! `csync_wizard` as a user runs it.
