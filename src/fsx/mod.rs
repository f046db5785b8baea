//! Files by directory descriptor: walks, manifests, atomic replace, backups. Never resolves a path twice.
//!
//! | file | owns |
//! |---|---|
//! | `tree` | what a tree holds: [`Entry`], [`Select`], and where content comes from: [`Source`] |
//! | `place` | a path resolved once: the directory that holds an object, open, and the object's name: [`Place`] |
//! | `scan` | walking a tree into entries: [`scan()`] |
//! | `digests` | digests remembered by the stamps of files: [`Digests`] |
//! | `link` | links put in place in one step; what had a name before: [`Held`] |
//! | `local` | this machine as a source: [`Local`] |
//! | `replace` | a new file in place of an old one, whole or not at all: [`Fresh`] |
//! | `behind` | writing one piece of a large file while the next one is made |
//! | `stray` | what runs that were killed left behind; parts of large files that the next run goes on with |
//! | `backup` | `F.cfsaved` and the repository: [`Backup`] |
//! | `remove` | removal of trees |
//! | `wild` | shell wildcards on byte strings |

mod backup;
mod behind;
mod digests;
mod link;
mod local;
mod place;
mod remove;
mod replace;
mod scan;
mod stray;
mod tree;
mod wild;

pub use crate::sys::at::{Dir, Meta, Node, Object};
pub use backup::{Backup, Kept, Saved, canonical, save, save_unsynced};
pub use digests::{Digested, Digests, Keep, Stamp};
pub use link::{Held, place_hard_link, place_symlink};
pub use local::Local;
pub use place::Place;
pub use remove::remove_tree;
pub use replace::{Fresh, Sync, Wanted, settle, write_staged, write_whole};
pub use scan::{Bounds, DigestOf, digest_of, scan, scan_in};
pub use stray::{drop_parts, is_temporary, parts, sweep, temp_name};
pub use tree::{Again, Deliver, Entry, Kind, LARGE, Olds, Select, Source, SourceError};
pub use wild::{any_matches, matches};
