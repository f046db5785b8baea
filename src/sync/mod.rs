//! The client side of a sync: connect, ask for a manifest, fetch content (see `wire`).
//!
//! One connection to a server serves a whole run. It is made anew when the server let go of it in between; a request that
//! has begun is never repeated behind the caller's back.
//!
//! | file | owns |
//! |---|---|
//! | `connect` | addresses, TCP, keys, the greeting |
//! | `link` | what comes over a connection, packed or not |
//! | `remote` | a server as a [`crate::fsx::Source`]; starting its agent |
//! | `patience` | when to come again to a server that is too busy |
//! | `manifest` | a manifest as it arrives, checked reply by reply |
//! | `order` | in which order a manifest comes |
//! | `shelf` | manifests remembered from run to run |
//! | `content` | a file as it arrives |
//! | `assembly` | a large file made of what is here and what is not; no network |
//! | `patch` | asking a server for what is not |

mod assembly;
mod connect;
mod content;
mod link;
mod manifest;
mod order;
mod patch;
mod patience;
mod remote;
mod shelf;

pub use assembly::{Afar, Assembly, Plan};
pub use connect::{Compress, Options, connect, port, resolve};
pub use manifest::{Listing, Manifest};
pub use remote::Remote;
pub use shelf::Shelf;

/// Why a host cannot be asked: the original's words for the first thing that goes wrong.
pub const NO_KEYS: &str = "No public/private key pair exists, create one with cfkey";
