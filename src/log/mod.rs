//! One logging backend for the `log` crate: stderr, journal priorities when `JOURNAL_STREAM` is set, syslog(3) for daemons.
//!
//! A record is one line whatever is in it: control characters are written as escapes, so that a peer's text cannot
//! forge a second line.

use std::ffi::CStr;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::{Level, LevelFilter, Log, Metadata, Record};
use nix::syslog::{Facility, LogFlags, Priority, Severity, openlog, syslog};

use crate::diag::plain;

static BACKEND: OnceLock<Backend> = OnceLock::new();

struct Backend {
    prog: &'static CStr,
    /// Standard error is the journal.
    journal: bool,
    /// syslog(3) instead of standard error.
    syslog: AtomicBool,
}

/// Sends everything of the `log` crate at `level` or above to standard error, as `prog: text`. Where the journal reads
/// standard error each line starts with its `<N>` priority instead. The first call of a process counts.
pub fn init(prog: &'static CStr, level: LevelFilter) {
    let backend = BACKEND.get_or_init(|| Backend {
        prog,
        journal: std::env::var_os("JOURNAL_STREAM").is_some(),
        syslog: AtomicBool::new(false),
    });
    if ::log::set_logger(backend).is_ok() {
        ::log::set_max_level(level);
    }
}

/// From now on to syslog(3), facility daemon: for a daemon that has let go of its terminal.
pub fn to_syslog() {
    if let Some(backend) = BACKEND.get()
        && openlog(Some(backend.prog), LogFlags::LOG_PID, Facility::LOG_DAEMON).is_ok()
    {
        backend.syslog.store(true, Ordering::Relaxed);
    }
}

impl Log for Backend {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dsau")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = clean(&plain(&record.args().to_string()));
        if self.syslog.load(Ordering::Relaxed) {
            let _ = syslog(
                Priority::new(severity(record.level()), Facility::LOG_DAEMON),
                text.as_str(),
            );
            return;
        }
        let line = line(self.journal, &self.prog.to_string_lossy(), record.level(), &text);
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

fn line(journal: bool, prog: &str, level: Level, text: &str) -> String {
    if journal {
        format!("<{}>{text}\n", severity(level) as i32)
    } else {
        format!("{prog}: {text}\n")
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warn => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
        Level::Debug | Level::Trace => Severity::LOG_DEBUG,
    }
}

/// Characters that break lines or turn the direction of what follows, though they are no control characters.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Control characters as escapes.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            c if c.is_control() || turns(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_a_peer_puts_in() {
        assert_eq!(clean("a\nb\u{1b}[0m\tc"), "a\\nb\\u{1b}[0m\tc");
        assert_eq!(clean("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
    }

    #[test]
    fn the_journal_gets_priorities_and_a_person_the_name_of_the_program() {
        assert_eq!(line(true, "cfservd", Level::Warn, "x"), "<4>x\n");
        assert_eq!(line(true, "cfservd", Level::Info, "x"), "<6>x\n");
        assert_eq!(line(false, "cfservd", Level::Error, "x"), "cfservd: x\n");
    }
}
