//! Commands that move the pointer. It never leaves the file.

use bstr::BStr;

use super::table::Place;
use super::text::{Step, Stop, Text, no_match, number};
use crate::policy::Ere;

impl Text<'_> {
    /// The pointer family.
    pub fn place(&mut self, op: Place, name: &str, arg: &BStr) -> Step {
        let last = self.lines.len().saturating_sub(1);
        match op {
            Place::Last => self.here = last,
            Place::Locate => {
                let ere = Ere::new(arg)?;
                self.here = self.locate(&ere).ok_or_else(|| no_match(name, arg))?;
            }
            Place::Increment => {
                let by = number(arg).and_then(|by| isize::try_from(by).ok());
                let by = by.ok_or_else(|| Stop::Fail(vec![format!("{name} needs a number, not \"{arg}\"")]))?;
                self.here = self.here.saturating_add_signed(by).min(last);
            }
            // The manual promises "EOF" (quirk Q9).
            Place::Reset if arg.eq_ignore_ascii_case(b"EOF") => self.here = last,
            Place::Reset => self.here = self.count(name, arg)?.saturating_sub(1).min(last),
        }
        Ok(())
    }
}
