//! `EditMode "Binary"`: the content is one piece of bytes whose length never changes. Only `ReplaceAll … With`,
//! `WarnIfContainsString` and `WarnIfContainsFile` mean anything.

use bstr::{BStr, BString, ByteSlice};

use super::table::{self, Op, Replace, Warn};
use super::{Block, EditWorld, Edited, Tone};
use crate::policy::Ere;

/// Edits bytes; a replacement that is shorter than what it replaces is filled up with `padding`.
pub fn edit(file: &BStr, content: &[u8], blocks: &[Block<'_>], padding: u8, world: &mut dyn EditWorld) -> Edited {
    let mut bytes = content.to_vec();
    let mut failed = false;
    let mut pattern: Option<BString> = None;
    for block in blocks {
        if !world.holds(block.class) {
            continue;
        }
        for command in block.commands {
            let arg = world.expand(command.arg.as_bstr());
            let result =
                match table::find(command.name) {
                    Some(Op::Replace(Replace::All)) => {
                        pattern = Some(arg);
                        Ok(None)
                    }
                    Some(Op::Replace(Replace::With)) => match pattern.take() {
                        Some(pattern) => replace(&mut bytes, pattern.as_bstr(), arg.as_bstr(), padding).map(|()| None),
                        None => Ok(None),
                    },
                    Some(Op::Warn(Warn::ContainsString)) => {
                        Ok(bytes.contains_str(&arg).then(|| format!("the string {arg}")))
                    }
                    Some(Op::Warn(Warn::ContainsFile)) => world
                        .read(arg.as_bstr())
                        .map_err(|e| format!("{arg}: {e}"))
                        .map(|other| {
                            (!other.is_empty() && bytes.contains_str(&other))
                                .then(|| format!("the content of file {arg}"))
                        }),
                    Some(Op::Setting(_)) => Ok(None),
                    _ => Err(format!("{} cannot be used in binary mode", command.name)),
                };
            match result {
                Ok(None) => {}
                Ok(Some(has)) => {
                    let line = format!("Warning, file {file} has {has}");
                    world.say(Tone::Warning, BStr::new(&line));
                }
                Err(why) => {
                    failed = true;
                    for line in [why, format!("Error editing file {file}")] {
                        world.say(Tone::Error, BStr::new(&line));
                    }
                }
            }
        }
    }
    Edited {
        changed: bytes != content,
        content: bytes,
        by_script: false,
        failed,
    }
}

/// Every match, or none when the text is longer than a match.
fn replace(bytes: &mut [u8], pattern: &BStr, with: &BStr, padding: u8) -> Result<(), String> {
    let ere = Ere::new(pattern).map_err(|e| e.to_string())?;
    let mut new = bytes.to_vec();
    let mut at = 0;
    while let Some((from, to)) = ere.find(bytes, at) {
        if from == to {
            at = to + 1;
            if at > bytes.len() {
                break;
            }
            continue;
        }
        if with.len() > to - from {
            return Err(format!(
                "ReplaceAll [{pattern}] With [{with}]: the text is longer than what it replaces"
            ));
        }
        let (text, rest) = new[from..to].split_at_mut(with.len());
        text.copy_from_slice(with);
        rest.fill(padding);
        at = to;
    }
    bytes.copy_from_slice(&new);
    Ok(())
}
