//! The policy language: bytes → tokens → tree with spans → rules. Pure: no I/O and no clock of its own; what it must ask
//! of the machine goes through [`World`].
//!
//! | file | owns |
//! |---|---|
//! | `source` | positions and errors |
//! | `section` | section keywords |
//! | `rule` | what the agent gets: rules with attributes and bodies |
//! | `class` | class expressions |
//! | `ere` | POSIX extended regular expressions |
//! | `context` | classes and variables, expansion and iteration |
//! | `world` | the questions the language asks of the machine |
//! | `program` | loading a policy with its imports into a [`Program`] |

mod class;
mod context;
mod ere;
mod program;
mod rule;
mod section;
mod source;
mod world;

pub use class::ClassExpr;
pub use context::Context;
pub use ere::{Ere, EreError};
pub use program::{Options, Phase, Program, SequenceEntry, load};
pub use rule::{Attr, Attrs, Body, EditCommand, Rule};
pub use section::Section;
pub use source::{PolicyError, Pos};
pub use world::{CommandOutput, FileFacts, FileKind, World};
