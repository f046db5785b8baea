//! Reads and edits `KEY=VALUE` files as the shell reads them: rc files (`/etc/rc.config.d/…`) and answer files.
//! Comments, order and every line that is not touched stay byte for byte. Expansions are not evaluated.
//!
//! | file | owns |
//! |---|---|
//! | `line` | one line: is it a setting, where does its value lie, how is a value quoted |

mod line;

use std::io;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use line::Line;

/// Larger files are refused: an rc file is a page, not a database.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file cannot be read or edited.
#[derive(Debug, thiserror::Error)]
pub enum RcError {
    /// A line that is not understood.
    #[error("{file}:{line}: {what}")]
    Line {
        /// Name of the file, for people.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A name or value that no such file can hold.
    #[error("{0}")]
    Value(String),
    /// Reading or writing failed.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Lines that are neither blank, comment nor setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Kept as they are: an rc file may hold any shell.
    Keep,
    /// Refused: an answer file holds settings only.
    Refuse,
}

/// One setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// Its name, with the index of an array element: `VG[0]`.
    pub key: &'a str,
    /// Its value without the quotes.
    pub value: &'a BStr,
    /// Counted from 1.
    pub line: usize,
}

/// A `KEY=VALUE` file in memory.
#[derive(Clone, Debug)]
pub struct RcFile {
    file: String,
    lines: Vec<Line>,
}

impl RcFile {
    /// An empty file.
    pub fn new(file: impl Into<String>) -> Self {
        RcFile {
            file: file.into(),
            lines: Vec::new(),
        }
    }

    /// Parses the bytes of a file; `file` is its name in messages.
    ///
    /// # Errors
    /// [`RcError::Line`] for a quote that is not closed and, with [`Other::Refuse`], for a line that is no setting.
    pub fn parse(file: impl Into<String>, bytes: &[u8], other: Other) -> Result<Self, RcError> {
        let file = file.into();
        let mut lines = Vec::new();
        for (number, raw) in bytes.lines_with_terminator().enumerate() {
            let parsed = line::parse(raw).and_then(|parsed| match parsed {
                Line::Other(raw) if other == Other::Refuse && !line::is_blank(&raw) => {
                    Err("expected NAME=VALUE or a comment".to_string())
                }
                parsed => Ok(parsed),
            });
            lines.push(parsed.map_err(|what| RcError::Line {
                file: file.clone(),
                line: number + 1,
                what,
            })?);
        }
        Ok(RcFile { file, lines })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`RcFile::parse`], and what the system says.
    pub fn load(path: &Path, other: Other) -> Result<Self, RcError> {
        let failed = |source| RcError::Io {
            path: path.to_path_buf(),
            source,
        };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > MAX_BYTES {
            return Err(failed(io::Error::other("larger than 1 MiB")));
        }
        RcFile::parse(path.display().to_string(), &std::fs::read(path).map_err(failed)?, other)
    }

    /// The value of a setting; of several lines the last one counts, as in the shell.
    pub fn get(&self, key: &str) -> Option<&BStr> {
        self.settings()
            .filter(|setting| setting.key == key)
            .last()
            .map(|setting| setting.value)
    }

    /// All settings in file order.
    pub fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        self.lines.iter().enumerate().filter_map(|(n, line)| match line {
            Line::Setting(found) => Some(Setting {
                key: &found.key,
                value: found.value.as_bstr(),
                line: n + 1,
            }),
            Line::Other(_) => None,
        })
    }

    /// Sets a value: in the last line that has this name, keeping its quotes and comment, or in a new last line.
    ///
    /// # Errors
    /// [`RcError::Value`] for a name that is no name and a value with a line break or a NUL.
    pub fn set(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), RcError> {
        let value = value.as_ref();
        if !line::is_key(key.as_bytes()) {
            return Err(RcError::Value(format!("'{key}' is no name of a setting")));
        }
        if value.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)) {
            return Err(RcError::Value(format!("the value of {key} has a line break")));
        }
        let last = self.lines.iter_mut().rev().find_map(|line| match line {
            Line::Setting(found) if found.key == key => Some(found),
            _ => None,
        });
        match last {
            Some(found) => found.replace(value),
            None => {
                if let Some(Line::Other(raw) | Line::Setting(line::Found { raw, .. })) = self.lines.last_mut()
                    && !raw.ends_with(b"\n")
                {
                    raw.push(b'\n');
                }
                self.lines.push(Line::Setting(line::Found::new(key, value)));
            }
        }
        Ok(())
    }

    /// Adds a comment line at the end.
    pub fn comment(&mut self, text: &str) {
        for part in text.lines() {
            self.lines.push(Line::Other(BString::from(format!("# {part}\n"))));
        }
    }

    /// An error at a line of this file, for callers that check the values.
    pub fn error(&self, line: usize, what: impl Into<String>) -> RcError {
        RcError::Line {
            file: self.file.clone(),
            line,
            what: what.into(),
        }
    }

    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &self.lines {
            bytes.extend_from_slice(match line {
                Line::Other(raw) => raw,
                Line::Setting(found) => &found.raw,
            });
        }
        bytes
    }
}

/// Sets one value in an rc file, for good or not at all; a missing file is made with mode 0644 (`CSYNC_CONFIGURED`,
/// VAR-01). True when the file changed.
///
/// # Errors
/// As [`RcFile::load`] and [`RcFile::set`]; then the file is as before.
pub fn set_in_file(path: &Path, key: &str, value: &str) -> Result<bool, RcError> {
    let mut file = match RcFile::load(path, Other::Keep) {
        Ok(file) => file,
        Err(RcError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            RcFile::new(path.display().to_string())
        }
        Err(e) => return Err(e),
    };
    if file.get(key) == Some(value.as_bytes().as_bstr()) {
        return Ok(false);
    }
    file.set(key, value)?;
    crate::sys::replace(path, &file.to_bytes(), 0o644).map_err(|source| RcError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RC: &str = "# start-up\n\n# 1 = start at boot\nCSYNC_CONFIGURED=0   # shipped as 0\nexport ARGS=\"-v -x\"\nVG[0]='/dev/vg 1'\nif [ -r /etc/x ]; then . /etc/x; fi\n";

    #[test]
    fn one_setting_changes_and_everything_else_stays() {
        let mut file = RcFile::parse("rc", RC.as_bytes(), Other::Keep).unwrap();
        assert_eq!(file.get("CSYNC_CONFIGURED").unwrap(), "0");
        assert_eq!(file.get("ARGS").unwrap(), "-v -x");
        assert_eq!(file.get("VG[0]").unwrap(), "/dev/vg 1");
        file.set("CSYNC_CONFIGURED", "1").unwrap();
        assert_eq!(file.to_bytes(), RC.replace("CONFIGURED=0", "CONFIGURED=1").into_bytes());
    }

    #[test]
    fn of_two_lines_with_one_name_the_last_counts_and_is_changed() {
        let mut file = RcFile::parse("rc", b"A=1\nA=2\n", Other::Keep).unwrap();
        assert_eq!(file.get("A").unwrap(), "2");
        file.set("A", "3").unwrap();
        assert_eq!(file.to_bytes(), b"A=1\nA=3\n");
    }

    #[test]
    fn a_new_setting_goes_to_the_end_even_without_a_last_line_break() {
        let mut file = RcFile::parse("rc", b"A=1", Other::Keep).unwrap();
        file.set("B", "two words").unwrap();
        assert_eq!(file.to_bytes(), b"A=1\nB=\"two words\"\n");
    }

    #[test]
    fn an_answer_file_with_other_lines_is_refused_with_its_line() {
        let text = b"# answers\nA=1\nmanage clients\n";
        let error = RcFile::parse("answers", text, Other::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "answers:3: expected NAME=VALUE or a comment");
    }

    #[test]
    fn a_quote_that_is_not_closed_is_an_error_with_its_line() {
        let error = RcFile::parse("rc", b"A=1\nB=\"x\n", Other::Keep).unwrap_err();
        assert_eq!(error.to_string(), "rc:2: the quote is not closed on this line");
    }

    #[test]
    fn editing_a_file_says_whether_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cfservd");
        assert!(set_in_file(&path, "CSYNC_CONFIGURED", "1").unwrap());
        assert!(!set_in_file(&path, "CSYNC_CONFIGURED", "1").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"CSYNC_CONFIGURED=1\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in proptest::collection::vec("[^\n\r\u{0}]{0,20}", 1..6)) {
            let mut file = RcFile::new("t");
            for (n, value) in values.iter().enumerate() {
                file.set(&format!("K{n}"), value).unwrap();
                file.set("SAME", value).unwrap();
            }
            let read = RcFile::parse("t", &file.to_bytes(), Other::Refuse).unwrap();
            for (n, value) in values.iter().enumerate() {
                prop_assert_eq!(read.get(&format!("K{n}")).unwrap(), value.as_bytes().as_bstr());
            }
            prop_assert_eq!(read.get("SAME").unwrap(), values.last().unwrap().as_bytes().as_bstr());
        }

        #[test]
        fn bytes_that_parse_come_back_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(file) = RcFile::parse("t", &bytes, Other::Keep) {
                prop_assert_eq!(file.to_bytes(), bytes);
            }
        }
    }
}
