//! dsau, the Distributed Systems Administration Utilities for Linux.
//!
//! Small Unix tools with which an administrator keeps many machines the same from one master. The rooms, lowest first;
//! a module imports only from lower layers (`tests/meta.rs` enforces it, `ARCHITECTURE.md` explains it):
//!
//! | layer | modules |
//! |---|---|
//! | L0 | [`diag`], [`sys`], [`log`] |
//! | L1 | [`hosts`], [`rcconf`], [`template`], [`timeclass`], [`digest`], [`diff`] |
//! | L2 | [`policy`], [`facts`], [`wire`], [`tls`], [`keys`], [`fsx`], [`state`], [`remote`], [`fan`], [`dns`], [`sync`] |
//! | L3 | [`agent`], [`serve`], [`sched`], [`cluster`], [`wizard`] |
//! | L4 | [`tools`] |
//!
//! Nothing below `tools` parses arguments, prints or exits.

pub mod agent;
pub mod cluster;
pub mod diag;
pub mod diff;
pub mod digest;
pub mod dns;
pub mod facts;
pub mod fan;
pub mod fsx;
pub mod hosts;
pub mod keys;
pub mod log;
pub mod policy;
pub mod rcconf;
pub mod remote;
pub mod sched;
pub mod serve;
pub mod state;
pub mod sync;
pub mod sys;
pub mod template;
pub mod timeclass;
pub mod tls;
pub mod tools;
pub mod wire;
pub mod wizard;
