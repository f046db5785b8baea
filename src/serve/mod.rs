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
//! | `kept` | what many clients want is found out once, and kept |
//! | `chunks` | the chunks of large files, kept for all clients; parts of files |
//! | `exec` | starting the agent for cfrun |
//! | `seen` | clients that were here, until they are written down |
//! | `apart` | the server in two processes: who talks to the network has no rights |
//! | `connection` | one connection: reads requests, does what the session says |
//! | `porch` | connections that have not said a word yet |
//! | `seats` | how many may be connected, and who goes when there is no room |
//! | `descriptors` | how many the server may have, and how many clients that is enough for |
//! | `door` | the listener, the porch before it, a thread for who is let in |
//! | `server` | what connections share, limits, the life of a connection |

mod apart;
mod chunks;
mod config;
mod connection;
mod descriptors;
mod door;
mod exec;
mod files;
mod identity;
mod kept;
mod porch;
mod rules;
mod seats;
mod seen;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod trees;

pub use apart::{ARGUMENT, User, main as network_process};
pub use config::{Config, load};
pub use rules::{Access, Decision, Pattern, Peer, Rule};
pub use server::{Limits, Server};
pub use session::{Refusal, Session, Step};
