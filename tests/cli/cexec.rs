//! `cexec` as a user runs it.
