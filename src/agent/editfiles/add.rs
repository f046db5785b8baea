//! Commands that add text.

use bstr::{BStr, BString, ByteSlice};

use super::Tone;
use super::flow::items;
use super::table::Add;
use super::text::{Step, Stop, Text, lines_of};
use crate::policy::Ere;

impl Text<'_> {
    /// The adding family.
    pub fn add(&mut self, op: Add, name: &str, arg: &BStr) -> Step {
        match op {
            Add::Append => self.append(arg.to_owned()),
            Add::Prepend => self.prepend(arg),
            Add::AppendIfNoSuch => self.append_new(arg.to_owned()),
            Add::PrependIfNoSuch => {
                if !self.has(arg) {
                    self.prepend(arg);
                }
            }
            Add::AppendIfNoMatch => {
                if let Some(line) = self.unmatched(name, arg)? {
                    self.append(line);
                }
            }
            Add::PrependIfNoMatch => {
                if let Some(line) = self.unmatched(name, arg)? {
                    self.prepend(&line);
                }
            }
            Add::AppendFromFile => {
                for line in items(self, name, arg) {
                    self.append_new(line);
                }
            }
            Add::AppendToLine => {
                let here = self.here;
                let Some(line) = self.lines.get_mut(here) else {
                    return Err(Stop::Abort(format!("{name}: the file is empty")));
                };
                if !line.contains_str(arg) {
                    line.extend_from_slice(arg);
                }
            }
            Add::InsertLine => self.insert_after(vec![arg.to_owned()], true),
            Add::InsertFile => match self.world.read(arg) {
                Ok(content) => self.insert_after(lines_of(&content), false),
                Err(error) => self.say(
                    Tone::Inform,
                    format!("File {arg} could not be opened for insertion: {error}"),
                ),
            },
            Add::Automount => {
                for resource in self.world.mountables() {
                    if let Some((_, path)) = resource.split_once_str(b":") {
                        let mut line = BString::from(path);
                        for part in [b"\t".as_slice(), arg, b"\t", &resource] {
                            line.extend_from_slice(part);
                        }
                        self.append_new(line);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a line is there; of a text with line feeds, its lines one after the other.
    fn has(&self, text: &[u8]) -> bool {
        let wanted: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        self.lines
            .windows(wanted.len())
            .any(|known| known.iter().zip(&wanted).all(|(known, wanted)| known == wanted))
    }

    fn append(&mut self, text: BString) {
        self.lines.extend(text.split(|byte| *byte == b'\n').map(BString::from));
    }

    fn prepend(&mut self, text: &[u8]) {
        for line in text.rsplit(|byte| *byte == b'\n') {
            self.insert(0, line.into());
        }
    }

    fn append_new(&mut self, line: BString) {
        if !self.has(&line) {
            self.append(line);
        }
    }

    /// The line of `SetLine` or of the loop, unless some line of the file matches the expression; `ThisLine` stands for
    /// the line itself as expression.
    fn unmatched(&mut self, name: &str, arg: &BStr) -> Result<Option<BString>, Stop> {
        let Some(line) = self.line.clone() else {
            return Err(Stop::Fail(vec![format!(
                "{name}: no line was set by SetLine or ForEachLineIn"
            )]));
        };
        let found = if arg == "ThisLine" {
            // A line that is no expression, or does not match itself, must not be added again and again.
            let ere = Ere::new(&line).ok();
            self.lines
                .iter()
                .any(|known| *known == line || ere.as_ref().is_some_and(|ere| ere.matches(known)))
        } else {
            let ere = Ere::new(arg)?;
            self.lines.iter().any(|known| ere.matches(known))
        };
        Ok((!found).then_some(line))
    }

    /// After the current line; at the end of an empty file.
    fn insert_after(&mut self, new: Vec<BString>, follow: bool) {
        let at = if self.lines.is_empty() { 0 } else { self.here + 1 };
        let count = new.len();
        self.lines.splice(at..at, new);
        if follow && count > 0 {
            self.here = at + count - 1;
        }
    }
}
