//! Commands that delete lines.

use bstr::{BStr, ByteSlice};

use super::flow::items;
use super::table::{Delete, Test};
use super::text::{Chooser, Step, Stop, Text, no_match};
use crate::policy::Ere;

impl Text<'_> {
    /// The deleting family.
    pub fn remove(&mut self, op: Delete, name: &str, arg: &BStr) -> Step {
        match op {
            Delete::All => {
                self.lines.clear();
                self.here = 0;
            }
            Delete::Lines { not, test } => {
                let chooser = Chooser::new(test, arg)?;
                let end = self.end_from(0);
                self.delete(0, end, &mut |line| chooser.takes(line) != not);
            }
            Delete::Items { not, test } => self.remove_items(name, arg, test, not)?,
            Delete::AfterThis => {
                let ere = Ere::new(arg)?;
                let from = self.here + 1;
                let end = self.end_from(from);
                self.delete(from, end, &mut |line| ere.matches(line));
            }
            Delete::N => {
                let end = self.next_lines(name, arg)?;
                if end > self.end_from(self.here) {
                    return Err(Stop::Abort(format!("{name} {arg}: the boundary line is in the way")));
                }
                self.delete(self.here, end, &mut |_| true);
            }
            Delete::To => {
                let ere = Ere::new(arg)?;
                let end = self.locate(&ere).ok_or_else(|| no_match(name, arg))?;
                self.delete(self.here, end, &mut |_| true);
            }
        }
        Ok(())
    }

    /// A line goes when it is chosen by any item; with "Not", when no item chooses it. Empty items would choose every
    /// line (quirk Q18) and are left out; a file without items deletes nothing either way.
    fn remove_items(&mut self, name: &str, arg: &BStr, test: Test, not: bool) -> Step {
        let items = items(self, name, arg);
        let choosers = items
            .iter()
            .map(|item| Chooser::new(test, item.as_bstr()))
            .collect::<Result<Vec<_>, _>>()?;
        if choosers.is_empty() {
            return Ok(());
        }
        let end = self.end_from(0);
        self.delete(0, end, &mut |line| {
            choosers.iter().any(|chooser| chooser.takes(line)) != not
        });
        Ok(())
    }
}
