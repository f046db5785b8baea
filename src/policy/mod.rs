//! The policy language: bytes → tokens → tree with spans → rules. Pure: no I/O and no clock of its own; what it must ask
//! of the machine goes through [`World`].
//!
//! | file | owns |
//! |---|---|
//! | `source` | positions and errors, how they are shown |
//! | `section`, `attr`, `edit`, `names` | tables: section keywords, attributes, editfiles commands, variables of the language |
//! | `lexer`, `call`, `parse`, `parse_entries`, `parse_braces` | bytes to statements (`ast`) |
//! | `print` | rules back to policy text |
//! | `rule` | what the agent gets: rules with attributes and bodies |
//! | `class` | class expressions |
//! | `ere` | POSIX extended regular expressions |
//! | `context`, `expand`, `arguments` | classes and variables; expansion and iteration; what a method is called with |
//! | `functions`, `class_functions`, `values`, `ranges` | the table of functions; class functions; value functions |
//! | `check` | what is wrong with a rule by its meaning |
//! | `lint` | what is legal and hardly meant: `cfagent -p --lint` |
//! | `explain` | who has to do with a path, a class or a variable: `cfagent --explain` |
//! | `definers`, `uses` | who defines classes, where classes and variables are used |
//! | `hard`, `satisfy` | what names of classes tell; whether predicates can hold together |
//! | `world` | the questions the language asks of the machine |
//! | `program`, `evaluate`, `control` | loading a policy with its imports into a [`Program`] |

mod arguments;
mod ast;
mod attr;
mod call;
mod check;
mod class;
mod class_functions;
mod context;
mod control;
mod definers;
mod edit;
mod ere;
mod evaluate;
mod expand;
mod explain;
mod functions;
mod hard;
mod lexer;
mod lint;
mod names;
mod parse;
mod parse_braces;
mod parse_entries;
mod print;
mod program;
mod ranges;
mod rule;
mod satisfy;
mod section;
mod source;
#[cfg(test)]
mod tests;
mod uses;
mod values;
mod world;

pub use arguments::inert;
pub use class::{ClassExpr, canonify};
pub use context::{Context, Scope, class_list};
pub use ere::{Ere, EreError};
pub use expand::{MOST_PRODUCTS, TooMany, split_list};
pub use explain::{About, Explained, Mention, explain};
pub use lint::{CHECKS, Check, Finding, Tone, lint};
pub use names::ACTIONS as ACTION_WORDS;
pub use print::print;
pub use program::{Options, Phase, Program, SequenceEntry, load};
pub use rule::{Attr, Attrs, Body, EditCommand, Rule};
pub use section::Section;
pub use source::{PolicyError, Pos, format_error};
pub use world::{CommandOutput, FileFacts, FileKind, World};
