//! Configuration synchronization: the agent, its server, and their helpers.

pub mod cfagent;
pub mod cfexecd;
pub mod cfkey;
pub mod cfrun;
pub mod cfservd;
pub mod cfshow;
pub mod judge;
pub mod past;
