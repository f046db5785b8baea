//! Files by directory descriptor: walks, manifests, atomic replace, backups. Never resolves a path twice.
//!
//! | file | owns |
//! |---|---|
//! | `tree` | what a tree holds: [`Entry`], [`Select`], and where content comes from: [`Source`] |

mod tree;

pub use tree::{Entry, Kind, Select, Source, SourceError};
