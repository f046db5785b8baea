//! The server in two processes, when it is started as root: who talks to the network has no rights, and who has the
//! rights does not talk to the network.
//!
//! | process | has | does |
//! |---|---|---|
//! | holder (root) | the private key, trusted keys, policy, files, trees, digests | decides, signs, opens, starts the agent |
//! | network process (own user) | the listening socket, connections | takes connections in, TLS, checks frames, sends files |
//!
//! The network process is the same program, started anew, so that no memory is shared; it is confined (`sys::confine`)
//! before it reads a byte of a stranger. All it can do is to send messages on the one socket it was given, and letters on
//! a stream for each connection, whose other end it hands over with the connection itself: the holder asks the kernel
//! for the client's address. One side speaks at a time: the holder says when the next request is to be read.
//!
//! What is in the hands of one who has taken over the network process: connections that are open, the requests of clients
//! while they are connected (it can ask for what they may ask for, and change what they are told), the server's signature
//! for handshakes of this server, and lines in the log that are marked as its own. Not: the private key, files of which no
//! client that is connected was granted anything, the rights of a client that has not shown its key in a handshake that
//! the holder has a part in, a signature as a client of other servers, any path, other processes.
//!
//! | file | owns |
//! |---|---|
//! | `letter` | what they say to each other |
//! | `line` | a client as the holder sees it |
//! | `keeper` | starts the network process, again when it ends, and hears what it says |
//! | `net` | the network process |

mod keeper;
mod letter;
mod line;
mod net;
#[cfg(test)]
mod tests;

pub(super) use keeper::Keeper;
pub use keeper::User;
pub(super) use line::{Far, Line, refuse};
pub use net::{ARGUMENT, main};
