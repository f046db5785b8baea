//! Which programs are convergent by their commands: a second run of them changes nothing, whatever the file holds.
//!
//! Never convergent, because each run does it again (15.1, 15.2): `Append`, `Prepend`, `InsertLine`, `InsertFile`
//! (save in a group that they close), `ReplaceFirst`, `ReplaceAll` in a group (nothing is refused there) and in binary
//! mode, `DeleteNLines`, the `UnComment…` family (one mark is taken off each time), `ExpandVariables` (a value may hold a
//! reference), `RunScript…`, `DeleteToLineMatching` with a list.
//!
//! All others settle alone. Together they settle when they pull in one direction: all add lines, all delete lines, or all
//! put the same mark. `AppendIfNoSuchLine "a"` before `ReplaceAll "a" With "b"` does not: the line is missing again. What
//! decides by the text as it stands (groups, pointers, aborts) must only ever decide for less in the second run.

use bstr::{BString, ByteSlice};

use super::table::{self, Add, Comment, Delete, Flow, Gate, Mark, Op, Place, Replace, Test, Whole};
use super::{Block, EditWorld};
use crate::policy::Ere;

/// What a command does to the lines.
#[derive(Clone, PartialEq, Debug)]
enum Pull {
    /// Nothing.
    None,
    /// Adds lines that are missing.
    Adds,
    /// Deletes lines by what they hold.
    Takes,
    /// Puts a mark where it is missing.
    Marks(Mark),
    /// Settles where nothing else changes the text.
    Alone,
    /// Does it again each time.
    Never,
}

/// A command: its argument, variables expanded, and what it does.
type Command = (BString, Op);

/// Whether the groups of a file settle in one run. False also where that hangs on what the file holds, and where a "line"
/// holds a line feed.
pub fn settles(blocks: &[Block<'_>], world: &dyn EditWorld) -> bool {
    let commands: Vec<Command> = blocks
        .iter()
        .flat_map(|block| block.commands)
        .filter_map(|command| Some((world.expand(command.arg.as_bstr()), table::find(command.name)?)))
        .collect();
    if commands.iter().any(|(arg, _)| arg.contains(&b'\n')) {
        return false;
    }
    let ops = |wanted: fn(&Op) -> bool| commands.iter().any(|(_, op)| wanted(op));
    let split = ops(|op| *op == Op::Flow(Flow::EditSplit));
    let mut whole = Pull::None;
    for at in 0..commands.len() {
        let one = match pull(&commands, at) {
            // To the first, from there to the second: the next run looks for the first from there.
            Pull::Alone if split && commands[at].1 == Op::Delete(Delete::To) => Pull::Never,
            Pull::Never if !split && closes_its_group(&commands, at) => Pull::Adds,
            other => other,
        };
        whole = match (whole, one) {
            (whole, Pull::None) => whole,
            (Pull::None, one) => one,
            (Pull::Alone, _) | (_, Pull::Alone) => return false,
            (whole, one) if whole == one => whole,
            _ => return false,
        };
    }
    let (adds, takes) = (whole == Pull::Adds, whole == Pull::Takes);
    whole == Pull::None
        || whole != Pull::Never
            && commands.iter().enumerate().all(|(at, (_, op))| match op {
                // A line that was added may open a group, one that was deleted may open its opposite.
                Op::Flow(Flow::Group {
                    gate: Gate::Line(_),
                    not,
                }) => (adds && *not) || (takes && !*not),
                // What is set in a group may not be set the next time.
                Op::Flow(Flow::SetLine | Flow::EditSplit) => open_groups(&commands, at).is_empty(),
                Op::Flow(Flow::DefineInGroup) => blocks.len() == 1,
                // Defined in a group, a class hangs on the text; a saved file is newer.
                Op::Flow(Flow::Group { gate, .. }) => *gate == Gate::FileExists,
                Op::Flow(Flow::ForEach | Flow::EndLoop) => adds || takes,
                Op::Flow(Flow::AbortAt | Flow::UnsetAbort | Flow::BreakIf | Flow::Catch) => false,
                Op::Place(Place::Locate | Place::Increment | Place::Reset | Place::Last) => false,
                // Not before the one mark is put, but with another one after it.
                Op::Comment(Comment::Start | Comment::End) => {
                    matches!(whole, Pull::Marks(Mark::Set) | Pull::Alone) && marks_once(&commands)
                }
                _ => true,
            })
}

fn pull(commands: &[Command], at: usize) -> Pull {
    let (arg, op) = &commands[at];
    match op {
        Op::Setting(_) | Op::Flow(_) | Op::Place(_) | Op::Warn(_) => Pull::None,
        Op::Add(add) => match add {
            Add::AppendIfNoSuch | Add::PrependIfNoSuch | Add::AppendFromFile | Add::Automount => Pull::Adds,
            Add::AppendIfNoMatch | Add::PrependIfNoMatch if arg == "ThisLine" => Pull::Adds,
            // The line that is added must match, or it is added again.
            Add::AppendIfNoMatch | Add::PrependIfNoMatch => Pull::Never,
            Add::AppendToLine => Pull::Alone,
            Add::Append | Add::Prepend | Add::InsertLine | Add::InsertFile => Pull::Never,
        },
        Op::Delete(delete) => match delete {
            Delete::Lines { .. } | Delete::Items { .. } | Delete::All => Pull::Takes,
            Delete::AfterThis | Delete::To => Pull::Alone,
            Delete::N => Pull::Never,
        },
        Op::Comment(comment) => match comment {
            Comment::Start | Comment::End => Pull::None,
            Comment::Lines(mark, _) => Pull::Marks(*mark),
            Comment::N | Comment::To(_) => Pull::Alone,
            Comment::UnLines(_) | Comment::UnN | Comment::UnTo => Pull::Never,
        },
        Op::Replace(replace) => match replace {
            // Their work is done by `With`.
            Replace::All | Replace::SplitOn => Pull::None,
            Replace::First => Pull::Never,
            Replace::With if open_groups(commands, at).is_empty() && !binary(commands) => Pull::Alone,
            Replace::With => Pull::Never,
            Replace::Line | Replace::Field => Pull::Alone,
        },
        Op::Whole(whole) => match whole {
            Whole::EndOfLine => Pull::Alone,
            Whole::SetScript => Pull::None,
            Whole::Expand | Whole::Script | Whole::ScriptIf { .. } => Pull::Never,
        },
    }
}

/// Whether a mode is set at all: which one may hang on a class.
fn binary(commands: &[Command]) -> bool {
    commands
        .iter()
        .any(|(_, op)| *op == Op::Setting(table::Setting::EditMode))
}

/// The groups that are open at a command, outermost first.
fn open_groups(commands: &[Command], at: usize) -> Vec<usize> {
    let mut open = Vec::new();
    for (number, (_, op)) in commands[..at].iter().enumerate() {
        match op {
            Op::Flow(Flow::Group { .. } | Flow::ForEach) => open.push(number),
            Op::Flow(Flow::EndGroup | Flow::EndLoop) => {
                open.pop();
            }
            _ => {}
        }
    }
    open
}

/// `BeginGroupIfNoSuchLine "x"`, `Append "x"`, `EndGroup`: whether a plain `Append` or `Prepend` stands in a group that is
/// closed in the next run by a line that this group adds, and holds nothing but such commands.
fn closes_its_group(commands: &[Command], at: usize) -> bool {
    if !matches!(commands[at].1, Op::Add(Add::Append | Add::Prepend)) {
        return false;
    }
    let open = open_groups(commands, at);
    let Some(&begin) = open.last() else { return false };
    let (gate, op) = &commands[begin];
    let Op::Flow(Flow::Group {
        gate: Gate::Line(test),
        not: true,
    }) = op
    else {
        return false;
    };
    let body: Vec<_> = commands[begin + 1..]
        .iter()
        .take_while(|(_, op)| matches!(op, Op::Add(Add::Append | Add::Prepend)))
        .collect();
    let end = commands.get(begin + 1 + body.len()).map(|(_, op)| *op);
    let closed_by = |line: &BString| match test {
        Test::Same => line == gate,
        Test::Containing => line.contains_str(gate),
        Test::Starting => line.starts_with(gate),
        Test::Matching => Ere::new(gate).is_ok_and(|ere| ere.matches(line)),
    };
    end == Some(Op::Flow(Flow::EndGroup)) && body.iter().any(|(line, _)| closed_by(line))
}

/// Whether the comment signs are all set before the first mark is put.
fn marks_once(commands: &[Command]) -> bool {
    let sets = |op: &Op| matches!(op, Op::Comment(Comment::Start | Comment::End));
    let first = commands
        .iter()
        .position(|(_, op)| matches!(op, Op::Comment(_)) && !sets(op));
    let last = commands.iter().rposition(|(_, op)| sets(op));
    last < first
}
