//! `editfiles`: the editing engine (cfengine2.md 15).
//!
//! The engine is pure: content and commands in, content out; whatever must be asked of the machine goes through
//! [`EditWorld`]. `action` and `save` stand around it.
//!
//! | file | owns |
//! |---|---|
//! | `table` | the one table of commands and their family |
//! | `flow` | the order of commands: classes, groups, loops, aborts, list iteration |
//! | `text` | the lines, the pointer, choosing and deleting lines |
//! | `add`, `delete`, `comment`, `place`, `replace`, `whole` | the families |
//! | `settle` | which programs are convergent by their commands |
//! | `binary` | `EditMode "Binary"` |
//! | `action` | which files, in what order |
//! | `save` | the real [`EditWorld`]; saving, backups, scripts |
//! | `options` | what a group says about the edit as a whole |

mod action;
mod add;
mod binary;
mod comment;
mod delete;
mod flow;
mod options;
mod place;
mod replace;
mod save;
mod settle;
mod table;
mod text;
mod whole;

#[cfg(test)]
mod observed;
#[cfg(test)]
mod settle_tests;
#[cfg(test)]
mod tests;

use std::io;

use bstr::{BStr, BString};

pub use action::{ACTION, setting};
pub use options::{EditBackup, EditOptions};
pub use save::{name_of, repository};
pub use settle::settles;
pub use table::is_known;

use crate::policy::{ClassExpr, EditCommand};

/// One `{ file … }` group: its commands hold where its class does.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The class predicate before the group.
    pub class: &'a ClassExpr,
    /// Its commands in text order.
    pub commands: &'a [EditCommand],
}

/// How loud a message of the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something went wrong.
    Error,
    /// A `Warning, file F …` line: always printed, without a prefix.
    Warning,
    /// Worth telling with `-I`.
    Inform,
    /// Worth telling with `-v`.
    Verbose,
}

/// The questions an edit asks of the machine.
pub trait EditWorld {
    /// Expands variables; unknown ones stay.
    fn expand(&self, text: &BStr) -> BString;

    /// Expands variables and iterates: texts and values are lists with this separator (`EditSplit`).
    fn iterate(&self, text: &BStr, separator: u8) -> Vec<BString>;

    /// Whether the predicate of a group holds.
    fn holds(&self, class: &ClassExpr) -> bool;

    /// Whether a predicate given as text holds (`BeginGroupIfDefined`).
    fn holds_text(&self, class: &BStr) -> bool;

    /// Sets classes, separated by `:`, `,` or `.` (`DefineInGroup`).
    fn define(&mut self, classes: &BStr);

    /// Whether something is at a path.
    fn exists(&self, path: &BStr) -> bool;

    /// Whether a file was changed after the edited one; true for an edited file that was just made.
    fn newer(&self, path: &BStr) -> bool;

    /// Another file's content.
    fn read(&self, path: &BStr) -> io::Result<Vec<u8>>;

    /// Saves the content where it differs from the file's, runs `command FILE HARDCLASS` and reads the file again.
    /// `None`: it was not run (dry run).
    fn run_script(&mut self, command: &BStr, content: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// `host:/path` of all mountables (`AutomountDirectResources`).
    fn mountables(&self) -> Vec<BString>;

    /// A message.
    fn say(&mut self, tone: Tone, text: &BStr);
}

/// What came of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The content as it should be.
    pub content: Vec<u8>,
    /// It must be saved: it differs from what is on disk (after the last script).
    pub changed: bool,
    /// A script changed the file.
    pub by_script: bool,
    /// A command could not be done and said so; edits before it count.
    pub failed: bool,
}

/// Edits the content of `file`. Groups are taken in order; `binary` is `EditMode "Binary"`.
pub fn edit(
    file: &BStr,
    content: &[u8],
    blocks: &[Block<'_>],
    options: &EditOptions,
    world: &mut dyn EditWorld,
) -> Edited {
    if options.binary {
        binary::edit(file, content, blocks, options.padding, world)
    } else {
        flow::edit(file, content, blocks, world)
    }
}

/// `WarnIfFileMissing`: the only command that means something where there is no file.
pub fn warn_missing(file: &BStr, blocks: &[Block<'_>], world: &mut dyn EditWorld) {
    for block in blocks
        .iter()
        .filter(|block| block.commands.iter().any(|c| c.name == "WarnIfFileMissing"))
    {
        if world.holds(block.class) {
            world.say(
                Tone::Warning,
                BStr::new(&format!("Warning, file {file} does not exist")),
            );
            return;
        }
    }
}
