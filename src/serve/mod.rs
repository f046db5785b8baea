//! The server: access rules and the session as a pure state machine; the runner beside it.
//!
//! | file | owns |
//! |---|---|
//! | `rules` | host patterns, admit and deny rules, the decision about a path |
//! | `config` | what cfservd.conf says, from a policy program |
//! | `identity` | whose key it is |
//! | `session` | what each request of a client leads to; no I/O |
//! | `files` | opening what was granted, manifests, content |
//! | `trees` | trees as they were last found, shared by all clients |
//! | `chunks` | the chunks of large files, kept for all clients; parts of files |
//! | `exec` | starting the agent for cfrun |
//! | `seen` | clients that were here, until they are written down |
//! | `connection` | one connection: reads requests, does what the session says |
//! | `porch` | connections that have not said a word yet |
//! | `seats` | how many may be connected, and who goes when there is no room |
//! | `server` | the listener, threads, limits |

mod chunks;
mod config;
mod connection;
mod exec;
mod files;
mod identity;
mod porch;
mod rules;
mod seats;
mod seen;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod trees;

pub use config::{Config, load};
pub use rules::{Access, Decision, Pattern, Peer, Rule};
pub use server::{Limits, Server};
pub use session::{Refusal, Session, Step};
