//! `cfrc`, the resource file: how this kind of system mounts, and where its tables are (cfengine2.md 5).
//!
//! Lines are `class.name: value`; those of other classes are for other systems. Empty lines and `#` are left out.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::report::Report;
use crate::sys::{Paths, at};

/// A bigger file is no resource file.
const MOST_BYTES: u64 = 64 * 1024;

/// The names, and why one has no effect here.
static NAMES: &[(&str, Option<&str>)] = &[
    ("mountcomm", None),
    ("unmountcomm", None),
    ("ethernet", None),
    ("mountopts", None),
    ("fstab", None),
    ("maildir", None),
    ("netstat", Some("routes are read from the kernel")),
    ("pscomm", Some("processes are read from the kernel")),
    ("psopts", Some("processes are read from the kernel")),
];

/// What the file says for this class of system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(HashMap<&'static str, BString>);

impl Resources {
    /// Reads the file; there need be none. What is wrong in it is told, the rest counts.
    pub fn load(paths: &Paths, class: &str, report: &mut Report<'_>) -> Resources {
        let path = paths.inputs().join("cfrc");
        match read(&path) {
            Ok(text) => Resources::parse(&text, class, &path, report),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Resources::default(),
            Err(error) => {
                report.error(format_args!("Cannot read {}: {error}", path.display()));
                Resources::default()
            }
        }
    }

    fn parse(text: &[u8], class: &str, path: &Path, report: &mut Report<'_>) -> Resources {
        let mut found = Resources::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = format!("{}:{}", path.display(), number + 1);
            let parts = line.split_once_str(":").and_then(|(left, value)| {
                let (of, name) = left.trim().split_once_str(".")?;
                Some((of.trim(), name.trim(), value.trim()))
            });
            let Some((of, name, value)) = parts else {
                report.error(format_args!("{place}: a line is written class.name: value"));
                continue;
            };
            match NAMES
                .iter()
                .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            {
                None => {
                    let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                    report.error(format_args!(
                        "{place}: {} is none of {}",
                        name.as_bstr(),
                        known.join(" ")
                    ));
                }
                Some(_) if of != class.as_bytes() => {}
                Some((name, Some(why))) => {
                    report.verbose(format_args!("{place}: {name} has no effect here: {why}"));
                }
                Some((name, None)) => {
                    found.0.insert(name, value.into());
                }
            }
        }
        found
    }

    /// The value of a name; an empty one counts as none.
    pub fn get(&self, name: &str) -> Option<&BString> {
        self.0.get(name).filter(|value| !value.is_empty())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    at::open_plain(path)?.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too big to be a resource file",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::report::testing::Lines;
    use super::super::report::{Levels, Report};
    use super::*;

    #[test]
    fn lines_of_this_class_count_and_wrong_ones_are_told_with_their_place() {
        let text = "# ours\nlinux.mountcomm: /bin/mount -va\nhpux.fstab:/etc/checklist\nlinux.fstab :/etc/tab\n\
            linux.psopts: -ef\nlinux.mount: x\nnonsense\nlinux.maildir:\n";
        let mut lines = Lines::default();
        let levels = Levels {
            verbose: true,
            ..Levels::default()
        };
        let mut report = Report::new(&mut lines, "p", levels);
        let found = Resources::parse(text.as_bytes(), "linux", Path::new("/i/cfrc"), &mut report);
        assert_eq!(found.get("mountcomm").unwrap(), "/bin/mount -va");
        assert_eq!(found.get("fstab").unwrap(), "/etc/tab");
        assert_eq!((found.get("psopts"), found.get("maildir")), (None, None));
        assert_eq!(
            lines.0,
            [
                "p: /i/cfrc:5: psopts has no effect here: processes are read from the kernel",
                "p: /i/cfrc:6: mount is none of mountcomm unmountcomm ethernet mountopts fstab maildir netstat pscomm psopts",
                "p: /i/cfrc:7: a line is written class.name: value",
            ]
        );
    }
}
