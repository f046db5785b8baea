//! The order of commands: classes, groups, loops, aborts and list iteration.
//!
//! Commands of all groups of a file form one flat list with jumps, because a `CatchAbort` may stand anywhere further on.

use bstr::{BStr, BString, ByteSlice};

use super::table::{self, Flow, Gate, Op};
use super::text::{Chooser, Step, Stop, Text, content_of, lines_of};
use super::{Block, EditWorld, Edited, Tone};
use crate::policy::{EditCommand, Ere};

/// A command in its place.
struct Slot<'a> {
    command: &'a EditCommand,
    op: Op,
    /// The number of its group of commands.
    block: usize,
    /// Where a group or loop ends: the index of its end command.
    close: usize,
}

/// A running `ForEachLineIn`.
struct Loop {
    first: usize,
    close: usize,
    items: std::vec::IntoIter<BString>,
}

/// Edits a text.
pub fn edit(file: &BStr, content: &[u8], blocks: &[Block<'_>], world: &mut dyn EditWorld) -> Edited {
    let lines = lines_of(content);
    let mut text = Text {
        file,
        on_disk: lines.clone(),
        lines,
        here: 0,
        line: None,
        comment_start: "# ".into(),
        comment_end: BString::default(),
        field_separator: ":".into(),
        boundary: None,
        script: None,
        pending: None,
        in_group: false,
        by_script: false,
        world,
    };
    let failed = run(&mut text, &arrange(blocks), blocks);
    let changed = text.lines != text.on_disk;
    Edited {
        content: if changed {
            content_of(&text.lines)
        } else {
            content.to_vec()
        },
        changed,
        by_script: text.by_script,
        failed,
    }
}

/// Puts all commands into one list and finds the ends of groups and loops. An end that is missing (the parser refuses
/// that) is the end of its block.
fn arrange<'a>(blocks: &[Block<'a>]) -> Vec<Slot<'a>> {
    let mut slots = Vec::new();
    for (block, Block { commands, .. }) in blocks.iter().enumerate() {
        let mut open: Vec<usize> = Vec::new();
        for command in *commands {
            // Unknown names do not come out of the parser.
            let Some(op) = table::find(command.name) else { continue };
            let at = slots.len();
            match op {
                Op::Flow(Flow::Group { .. } | Flow::ForEach) => open.push(at),
                Op::Flow(Flow::EndGroup | Flow::EndLoop) => {
                    if let Some(begin) = open.pop() {
                        let begin: &mut Slot<'_> = &mut slots[begin];
                        begin.close = at;
                    }
                }
                _ => {}
            }
            slots.push(Slot {
                command,
                op,
                block,
                close: usize::MAX,
            });
        }
        let end = slots.len();
        for at in open {
            slots[at].close = end;
        }
    }
    slots
}

/// Runs the list; true when a command failed.
fn run(text: &mut Text<'_>, slots: &[Slot<'_>], blocks: &[Block<'_>]) -> bool {
    let mut failed = false;
    let mut split: Option<u8> = None;
    let mut looping: Option<Loop> = None;
    let mut groups: Vec<usize> = Vec::new();
    let mut entered: Option<(usize, bool)> = None;
    let mut at = 0;
    while let Some(slot) = slots.get(at) {
        // The class of a block counts when it is entered: what it defines itself does not cut it in half.
        let inside = match entered {
            Some((block, inside)) if block == slot.block => inside,
            _ => {
                let inside = text.world.holds(blocks[slot.block].class);
                entered = Some((slot.block, inside));
                split = None;
                inside
            }
        };
        groups.retain(|&close| close >= at);
        text.in_group = !groups.is_empty();
        if !inside {
            at += 1;
            continue;
        }
        let arg = slot.command.arg.as_bstr();
        let result = match slot.op {
            Op::Flow(Flow::Group { gate, not }) => {
                let arg = text.world.expand(arg);
                match gate_open(text, gate, arg.as_bstr()) {
                    Ok(open) if open != not => {
                        groups.push(slot.close);
                        Ok(())
                    }
                    Ok(_) => {
                        at = slot.close.saturating_add(1);
                        continue;
                    }
                    Err(stop) => Err(stop),
                }
            }
            Op::Flow(Flow::ForEach) => {
                let items = items(text, slot.command.name, arg);
                looping = Some(Loop {
                    first: at + 1,
                    close: slot.close,
                    items: items.into_iter(),
                });
                at = next_turn(text, &mut looping).unwrap_or(slot.close.saturating_add(1));
                continue;
            }
            Op::Flow(Flow::EndLoop) => {
                if let Some(first) = next_turn(text, &mut looping) {
                    at = first;
                    continue;
                }
                Ok(())
            }
            Op::Flow(Flow::EditSplit) => {
                split = text.world.expand(arg).first().copied();
                Ok(())
            }
            _ => command(text, slot, split),
        };
        at += 1;
        match result {
            Ok(()) => {}
            Err(Stop::End) => break,
            Err(Stop::Abort(why)) => {
                let line = format!("{why} in {}", text.file);
                text.say(Tone::Verbose, line);
                at = caught(slots, at, &mut looping);
            }
            Err(Stop::Fail(why)) => {
                failed = true;
                for line in why {
                    text.say(Tone::Error, line);
                }
                let line = format!("Error editing file {}", text.file);
                text.say(Tone::Error, line);
                at = caught(slots, at, &mut looping);
            }
        }
    }
    failed
}

/// The next `CatchAbort`, or the end. A loop that is left so is over.
fn caught(slots: &[Slot<'_>], from: usize, looping: &mut Option<Loop>) -> usize {
    let to = slots
        .iter()
        .skip(from)
        .position(|slot| slot.op == Op::Flow(Flow::Catch))
        .map_or(slots.len(), |n| from + n);
    if looping.as_ref().is_some_and(|turn| to > turn.close) {
        *looping = None;
    }
    to
}

/// The next line of the loop becomes the line, and the loop starts again; `None` when it is over.
fn next_turn(text: &mut Text<'_>, looping: &mut Option<Loop>) -> Option<usize> {
    let turn = looping.as_mut()?;
    match turn.items.next() {
        Some(line) => {
            text.line = Some(line);
            Some(turn.first)
        }
        None => {
            *looping = None;
            None
        }
    }
}

/// The lines of another file that are not empty; none, with a message, when it cannot be read.
pub fn items(text: &mut Text<'_>, command: &str, arg: &BStr) -> Vec<BString> {
    let path = text.world.expand(arg);
    match text.world.read(path.as_bstr()) {
        Ok(content) => {
            let all = lines_of(&content);
            let count = all.len();
            let kept: Vec<BString> = all.into_iter().filter(|line| !line.is_empty()).collect();
            if kept.len() < count {
                text.say(Tone::Verbose, format!("{command}: empty lines of {path} are skipped"));
            }
            kept
        }
        Err(error) => {
            text.say(Tone::Inform, format!("{command} {path}: {error}"));
            Vec::new()
        }
    }
}

fn gate_open(text: &mut Text<'_>, gate: Gate, arg: &BStr) -> Result<bool, Stop> {
    Ok(match gate {
        Gate::Current => {
            let ere = Ere::new(arg)?;
            text.current().is_some_and(|line| ere.matches(line))
        }
        Gate::Line(test) => {
            let chooser = Chooser::new(test, arg)?;
            text.lines.iter().any(|line| chooser.takes(line))
        }
        Gate::Defined => text.world.holds_text(arg),
        Gate::FileExists => text.world.exists(arg),
        Gate::FileIsNewer => text.world.newer(arg),
    })
}

/// One command, for each value of its argument.
fn command(text: &mut Text<'_>, slot: &Slot<'_>, split: Option<u8>) -> Step {
    let name = slot.command.name;
    let arg = slot.command.arg.as_bstr();
    match split {
        Some(separator) if slot.op.iterates() => {
            for value in text.world.iterate(arg, separator) {
                one(text, slot.op, name, value.as_bstr())?;
            }
            Ok(())
        }
        _ => {
            let value = text.world.expand(arg);
            one(text, slot.op, name, value.as_bstr())
        }
    }
}

fn one(text: &mut Text<'_>, op: Op, name: &str, arg: &BStr) -> Step {
    match op {
        // Settings were read before the edit.
        Op::Setting(_) => Ok(()),
        Op::Flow(op) => flow(text, op, arg),
        Op::Add(op) => text.add(op, name, arg),
        Op::Delete(op) => text.remove(op, name, arg),
        Op::Comment(op) => text.comment(op, name, arg),
        Op::Place(op) => text.place(op, name, arg),
        Op::Replace(op) => text.replace(op, name, arg),
        Op::Whole(op) => text.whole(op, name, arg),
        Op::Warn(op) => text.warn(op, arg),
    }
}

fn flow(text: &mut Text<'_>, op: Flow, arg: &BStr) -> Step {
    match op {
        Flow::BreakIf => {
            let ere = Ere::new(arg)?;
            if text.current().is_some_and(|line| ere.matches(line)) {
                return Err(Stop::End);
            }
        }
        Flow::AbortAt => text.boundary = Some(Ere::new(arg)?),
        Flow::UnsetAbort => text.boundary = None,
        Flow::SetLine => text.line = Some(arg.to_owned()),
        Flow::DefineInGroup => text.world.define(arg),
        Flow::Catch | Flow::EndGroup => {}
        // Handled where the order of commands is.
        Flow::Group { .. } | Flow::ForEach | Flow::EndLoop | Flow::EditSplit => {}
    }
    Ok(())
}
