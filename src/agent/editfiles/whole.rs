//! Commands on the file as a whole: line ends, variables, scripts, warnings.

use bstr::{BStr, ByteSlice};

use super::Tone;
use super::table::{Test, Warn, Whole};
use super::text::{Chooser, Step, Stop, Text, content_of, lines_of};
use crate::policy::Ere;

impl Text<'_> {
    /// Line ends, variables, scripts.
    pub fn whole(&mut self, op: Whole, name: &str, arg: &BStr) -> Step {
        match op {
            Whole::Expand => {
                for line in &mut self.lines {
                    *line = self.world.expand(line.as_bstr());
                }
            }
            Whole::EndOfLine => match arg.to_ascii_lowercase().as_slice() {
                b"dos" => {
                    for line in self.lines.iter_mut().filter(|line| !line.ends_with(b"\r")) {
                        line.push(b'\r');
                    }
                }
                b"unix" => {
                    for line in &mut self.lines {
                        let kept = line.trim_end_with(|c| c == '\r').len();
                        line.truncate(kept);
                    }
                }
                _ => return Err(Stop::Fail(vec![format!("{name} knows dos and unix, not \"{arg}\"")])),
            },
            Whole::SetScript => self.script = Some(arg.to_owned()),
            Whole::Script => self.run_script(arg)?,
            Whole::ScriptIf { not } => {
                let ere = Ere::new(arg)?;
                if self.lines.iter().any(|line| ere.matches(line)) != not {
                    let Some(script) = self.script.clone() else {
                        return Err(Stop::Fail(vec![format!("{name}: no script was set by SetScript")]));
                    };
                    self.run_script(script.as_bstr())?;
                }
            }
        }
        Ok(())
    }

    /// The file on disk takes part, so what is known of it starts anew.
    fn run_script(&mut self, script: &BStr) -> Step {
        let before = content_of(&self.lines);
        match self.world.run_script(script, &before) {
            Ok(None) => {}
            Ok(Some(content)) => {
                let lines = lines_of(&content);
                if lines != self.lines || lines != self.on_disk {
                    self.by_script = true;
                }
                self.lines.clone_from(&lines);
                self.on_disk = lines;
                self.here = 0;
            }
            Err(error) => return Err(Stop::Fail(vec![format!("Could not run script {script}: {error}")])),
        }
        Ok(())
    }

    /// Warnings; nothing changes.
    pub fn warn(&mut self, op: Warn, arg: &BStr) -> Step {
        let has = match op {
            Warn::Line(test) => self.any(test, arg)?.then(|| format!("a line {} {arg}", verb(test))),
            Warn::NoLine(test) => (!self.any(test, arg)?).then(|| format!("no line {} {arg}", verb(test))),
            // The file is there: this is asked before the edit.
            Warn::FileMissing => None,
            Warn::ContainsString => content_of(&self.lines)
                .contains_str(arg)
                .then(|| format!("the string {arg}")),
            Warn::ContainsFile => match self.world.read(arg) {
                Ok(other) => (!other.is_empty() && content_of(&self.lines).contains_str(&other))
                    .then(|| format!("the content of file {arg}")),
                Err(error) => {
                    self.say(Tone::Inform, format!("WarnIfContainsFile {arg}: {error}"));
                    None
                }
            },
        };
        if let Some(has) = has {
            let line = format!("Warning, file {} has {has}", self.file);
            self.say(Tone::Warning, line);
        }
        Ok(())
    }

    fn any(&self, test: Test, arg: &BStr) -> Result<bool, Stop> {
        let chooser = Chooser::new(test, arg)?;
        Ok(self.lines.iter().any(|line| chooser.takes(line)))
    }
}

fn verb(test: Test) -> &'static str {
    match test {
        Test::Starting => "starting",
        Test::Containing => "containing",
        Test::Matching => "matching",
        Test::Same => "equal to",
    }
}
