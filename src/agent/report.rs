//! What a run says: one object through which every line goes, with the levels of cfengine2.md 16.

use std::fmt::Display;

use bstr::BString;

use super::event::{Digest, Event, Fault, Heard};
use super::visit::Outcome;
use crate::diag::plain;
use crate::policy::PolicyError;

/// Where lines end up: the tool gives standard output and standard error, a test a list.
pub trait Sink {
    /// A line for standard output, without the line feed.
    fn out(&mut self, line: &[u8]);
    /// A line for standard error, without the line feed.
    fn err(&mut self, line: &[u8]);
    /// A message for the system log, with the name of its priority (`LOG_ERR`); asked for only when the policy wants it.
    fn syslog(&mut self, priority: &str, line: &str);
    /// The facility of messages for the system log from now on (`LOG_DAEMON`); false where there is none of that name.
    fn facility(&mut self, _name: &str) -> bool {
        false
    }
    /// Whether everything is to be told, where somebody asked for that or against it while the run goes on.
    fn debugging(&self) -> Option<bool> {
        None
    }
    /// What is being done from now on, for whoever must say it when a signal ends the run.
    fn doing(&mut self, _what: &str) {}
    /// Whether events are wanted. Nothing is gathered for them otherwise.
    fn listens(&self) -> bool {
        false
    }
    /// Something happened that programs want to know.
    fn event(&mut self, _event: &Event) {}
}

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Always printed.
    Error,
    /// Printed unless `-S`.
    Silent,
    /// Printed with `-I`, `Inform = ( on )`, `inform=true` or `-v`.
    Inform,
    /// Printed with `-v`.
    Verbose,
}

/// What is printed, besides errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// `-S`
    pub silent: bool,
    /// `-I`, `Inform`
    pub inform: bool,
    /// `-v`, `Verbose`; prints what inform does, too.
    pub verbose: bool,
    /// `-w`: no warnings about the policy.
    pub no_warnings: bool,
    /// `Syslog = ( on )`; only root, never in a dry run.
    pub syslog: bool,
    /// Standard error is a terminal: errors in a policy are shown with their line and a caret.
    pub excerpts: bool,
}

/// What came of a promise, for the final figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Promises that were kept already.
    pub kept: u64,
    /// Promises that were repaired.
    pub repaired: u64,
    /// Promises that could not be kept.
    pub failed: u64,
}

impl Tally {
    /// One more.
    pub(super) fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Kept => &mut self.kept,
            Outcome::Repaired => &mut self.repaired,
            Outcome::Failed => &mut self.failed,
        } += 1;
    }
}

/// What a rule says about its own messages; nothing where the run's levels count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleSwitches {
    /// `inform=`
    pub inform: Option<bool>,
    /// `syslog=`
    pub syslog: Option<bool>,
}

/// The one way out for lines.
pub struct Report<'a> {
    sink: &'a mut dyn Sink,
    prefix: String,
    /// What is printed.
    pub levels: Levels,
    /// Promises kept, repaired, failed.
    pub tally: Tally,
    /// What the rule that is running says, which counts more than what the run does.
    pub rule: RuleSwitches,
    /// `ShowActions`: the action that is running is named behind the prefix.
    pub show_actions: bool,
    action: Option<&'static str>,
    /// What was said since the last promise was begun; none where nobody listens.
    heard: Option<Heard>,
    /// Errors in the policy that were told.
    pub(super) errors: u64,
}

impl<'a> Report<'a> {
    /// A report with the prefix that stands before every message (`cfengine:HOST`).
    pub fn new(sink: &'a mut dyn Sink, prefix: impl Into<String>, levels: Levels) -> Self {
        Report {
            heard: sink.listens().then(Heard::default),
            errors: 0,
            sink,
            prefix: prefix.into(),
            levels,
            tally: Tally::default(),
            rule: RuleSwitches::default(),
            show_actions: false,
            action: None,
        }
    }

    /// `OutputPrefix`, at most 40 characters.
    pub fn set_prefix(&mut self, prefix: &str) {
        self.prefix = prefix.chars().take(40).collect();
    }

    /// What stands before every message.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `SyslogFacility` (`LOG_DAEMON`). False: there is no such facility.
    pub fn set_facility(&mut self, name: &str) -> bool {
        self.sink.facility(name)
    }

    /// From now on this action speaks.
    pub fn begin_action(&mut self, name: &'static str) {
        self.action = Some(name);
    }

    /// The action has spoken.
    pub fn end_action(&mut self) {
        self.action = None;
    }

    fn tells_all(&self) -> bool {
        self.sink.debugging().unwrap_or(self.levels.verbose)
    }

    /// The prefix, and the action where the policy wants that.
    fn head(&self) -> String {
        match self.action {
            Some(action) if self.show_actions => format!("{}:{action}", self.prefix),
            _ => self.prefix.clone(),
        }
    }

    /// Whether a message of that level is printed now.
    pub fn shows(&self, level: Level) -> bool {
        match level {
            Level::Error => true,
            Level::Silent => !self.levels.silent,
            Level::Inform => {
                (self.tells_all() || self.rule.inform.unwrap_or(self.levels.inform)) && !self.levels.silent
            }
            Level::Verbose => self.tells_all(),
        }
    }

    /// A message, `PREFIX: text`, without the numbers of system errors.
    pub fn say(&mut self, level: Level, text: impl Display) {
        let shown = self.shows(level);
        let logged = self.rule.syslog.unwrap_or(self.levels.syslog) && matches!(level, Level::Error | Level::Inform);
        if !shown && !logged && self.heard.is_none() {
            return;
        }
        let text = plain(&text.to_string());
        if logged {
            let priority = if level == Level::Error { "LOG_ERR" } else { "LOG_NOTICE" };
            self.sink.syslog(priority, &text);
        }
        if let Some(heard) = &mut self.heard {
            heard.message(level, text.as_bytes(), shown);
        }
        if shown {
            let line = format!("{}: {text}", self.head());
            self.sink.out(line.as_bytes());
        }
    }

    /// A message with bytes that need not be UTF-8.
    pub fn say_bytes(&mut self, level: Level, text: &[u8]) {
        self.hear(level, text);
        if self.shows(level) {
            let mut line = format!("{}: ", self.head()).into_bytes();
            line.extend_from_slice(text);
            self.sink.out(&line);
        }
    }

    /// Something went wrong.
    pub fn error(&mut self, text: impl Display) {
        self.say(Level::Error, text);
    }

    /// Something was done.
    pub fn inform(&mut self, text: impl Display) {
        self.say(Level::Inform, text);
    }

    /// Something for whoever looks closely.
    pub fn verbose(&mut self, text: impl Display) {
        self.say(Level::Verbose, text);
    }

    /// A line of a command's output, `PREFIX:LABEL: text`.
    pub fn labelled(&mut self, label: &[u8], text: &[u8]) {
        self.hear(Level::Silent, text);
        let mut line = format!("{}:", self.head()).into_bytes();
        line.extend_from_slice(label);
        line.extend_from_slice(b": ");
        line.extend_from_slice(text);
        self.sink.out(&line);
    }

    /// A line without prefix on standard output.
    pub fn bare(&mut self, level: Level, line: &[u8]) {
        self.hear(level, line);
        if self.shows(level) {
            self.sink.out(line);
        }
    }

    /// Lines that show a change, as `--diff` asks for. They are no messages.
    pub fn diff(&mut self, lines: &[BString]) {
        if self.shows(Level::Silent) {
            lines.iter().for_each(|line| self.sink.out(line));
        }
    }

    fn hear(&mut self, level: Level, text: &[u8]) {
        let shown = self.shows(level);
        if let Some(heard) = &mut self.heard {
            heard.message(level, text, shown);
        }
    }

    /// Whether events are wanted.
    pub fn listens(&self) -> bool {
        self.heard.is_some()
    }

    /// The content of a file changed, or would.
    pub fn changed(&mut self, path: &[u8], before: Option<Digest>, after: Option<Digest>) {
        if let Some(heard) = &mut self.heard {
            heard.change(path, before, after);
        }
    }

    /// What was heard since the last promise was begun.
    pub(super) fn heard(&self) -> Option<Heard> {
        self.heard.clone()
    }

    /// Another promise begins.
    pub(super) fn forget_heard(&mut self) {
        if let Some(heard) = &mut self.heard {
            *heard = Heard::default();
        }
    }

    /// Tells whoever listens; nothing is made for nobody.
    pub fn event(&mut self, event: impl FnOnce() -> Event) {
        if self.listens() {
            self.sink.event(&event());
        }
    }

    /// An error in the policy, or a warning about it.
    pub(super) fn fault(&mut self, error: &PolicyError, event: fn(Fault) -> Event) {
        let event = event(error.into());
        self.errors += u64::from(matches!(event, Event::Error(_)));
        self.event(|| event);
    }

    /// Something is being done from now on.
    pub fn doing(&mut self, what: &str) {
        self.sink.doing(what);
    }

    /// `SysLog(priority,message)`: to the system log, whatever the levels are.
    pub fn log(&mut self, priority: &str, text: &str) {
        self.sink.syslog(priority, text);
    }

    /// A line on standard error, as it is: about the policy itself.
    pub fn complain(&mut self, line: &str) {
        self.sink.err(plain(line).as_bytes());
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Sink;

    /// A sink that keeps lines.
    #[derive(Default)]
    pub(crate) struct Lines(pub Vec<String>);

    impl Sink for Lines {
        fn out(&mut self, line: &[u8]) {
            self.0.push(String::from_utf8_lossy(line).into_owned());
        }
        fn err(&mut self, line: &[u8]) {
            self.0.push(format!("! {}", String::from_utf8_lossy(line)));
        }
        fn syslog(&mut self, _: &str, _: &str) {}
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Lines;
    use super::*;

    #[test]
    fn levels_decide_what_is_printed() {
        for (levels, wanted) in [
            (Levels::default(), vec!["p: e", "p: s"]),
            (
                Levels {
                    silent: true,
                    inform: true,
                    ..Levels::default()
                },
                vec!["p: e"],
            ),
            (
                Levels {
                    inform: true,
                    ..Levels::default()
                },
                vec!["p: e", "p: s", "p: i"],
            ),
            (
                Levels {
                    verbose: true,
                    ..Levels::default()
                },
                vec!["p: e", "p: s", "p: i", "p: v"],
            ),
        ] {
            let mut lines = Lines::default();
            let mut report = Report::new(&mut lines, "p", levels);
            report.error("e");
            report.say(Level::Silent, "s");
            report.inform("i");
            report.verbose("v");
            assert_eq!(lines.0, wanted);
        }
    }

    #[test]
    fn the_number_of_a_system_error_is_left_out_of_messages_and_complaints() {
        let error = std::io::Error::from_raw_os_error(13);
        let mut lines = Lines::default();
        let mut report = Report::new(&mut lines, "p", Levels::default());
        report.error(format_args!("cannot read a: {error}; next"));
        report.complain(&format!("b: {error}"));
        assert_eq!(
            lines.0,
            ["p: cannot read a: Permission denied; next", "! b: Permission denied"]
        );
    }
}
