//! Fan-out: one command, every machine.

pub mod ccp;
pub mod cexec;
pub mod csshsetup;
mod show;
mod targets;
