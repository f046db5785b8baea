//! Options of other tools as data: how they are written, and what they are with us.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::diag::Fail;

/// One option of another tool.
pub struct Opt {
    /// Its names, `-w` and `--hosts` alike.
    pub names: &'static [&'static str],
    /// Whether it takes a value.
    pub takes: bool,
    /// What it is with us.
    pub to: To,
}

/// What an option of another tool is with us.
pub enum To {
    /// This option of ours, with the same value if it takes one.
    Is(&'static str),
    /// This option of ours, with something before the value.
    With(&'static str, &'static str),
    /// What it asks for is always so, or nothing that we could do.
    Always,
    /// Known, and not to be had under this name: why, and what to do instead.
    No(&'static str, &'static str),
    /// The spelling looks after it itself.
    Own,
}

/// An option without a value.
pub const fn flag(names: &'static [&'static str], to: To) -> Opt {
    Opt {
        names,
        takes: false,
        to,
    }
}

/// An option with a value.
pub const fn value(names: &'static [&'static str], to: To) -> Opt {
    Opt { names, takes: true, to }
}

/// An argument of a command line.
#[derive(Clone)]
pub enum Item {
    /// An option, with its value.
    Option(&'static Opt, OsString),
    /// Anything else.
    Word(OsString),
}

impl Item {
    /// Whether it is the option with this name.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Item::Option(opt, _) if opt.names.contains(&name))
    }
}

/// Reads arguments. After a word only words follow, unless `mixed` says of what was read that options may.
pub fn read(
    prog: &str,
    table: &'static [Opt],
    args: &[OsString],
    mixed: fn(&[Item]) -> bool,
) -> Result<Vec<Item>, Fail> {
    let mut items = Vec::new();
    let mut args = args.iter();
    let mut only_words = false;
    let unknown = |name: &str| {
        Fail::usage(format!("there is no option {name}")).hint(format!("'{prog} -h' names those that are understood"))
    };
    let missing = |name: &str| Fail::usage(format!("{name} needs a value"));
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if only_words || bytes.len() < 2 || bytes[0] != b'-' {
            items.push(Item::Word(arg.clone()));
            only_words = only_words || !mixed(&items);
        } else if bytes == b"--" {
            only_words = true;
        } else if bytes.starts_with(b"--") {
            let (name, given) = match bytes.iter().position(|&b| b == b'=') {
                Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_os_string())),
                None => (bytes, None),
            };
            let name = String::from_utf8_lossy(name);
            let opt = long(table, &name).ok_or_else(|| unknown(&name))?;
            let value = match (opt.takes, given) {
                (true, Some(value)) => value,
                (true, None) => args.next().cloned().ok_or_else(|| missing(&name))?,
                (false, None) => OsString::new(),
                (false, Some(_)) => return Err(Fail::usage(format!("{name} takes no value"))),
            };
            items.push(Item::Option(opt, value));
        } else {
            let mut rest = &bytes[1..];
            while let Some((&letter, more)) = rest.split_first() {
                let name = format!("-{}", char::from(letter));
                let found = table.iter().find(|opt| opt.names.contains(&name.as_str()));
                let opt = found.ok_or_else(|| unknown(&name))?;
                let value = match (opt.takes, more.is_empty()) {
                    (false, _) => OsString::new(),
                    (true, false) => OsString::from_vec(more.to_vec()),
                    (true, true) => args.next().cloned().ok_or_else(|| missing(&name))?,
                };
                rest = if opt.takes { &[] } else { more };
                items.push(Item::Option(opt, value));
            }
        }
    }
    Ok(items)
}

/// A long option by its name, or by the beginning of it that no other has.
fn long(table: &'static [Opt], name: &str) -> Option<&'static Opt> {
    if let Some(opt) = table.iter().find(|opt| opt.names.contains(&name)) {
        return Some(opt);
    }
    let begins = |opt: &&Opt| {
        opt.names
            .iter()
            .any(|own| own.starts_with("--") && own.starts_with(name))
    };
    let mut found = table.iter().filter(begins);
    found.next().filter(|_| found.next().is_none())
}

/// Our arguments for an option that the table alone translates; none for one of [`To::Own`].
pub fn ours(opt: &'static Opt, value: &OsStr) -> Result<Option<Vec<OsString>>, Fail> {
    let joined = |name: &str, before: &str| {
        let mut text = OsString::from(name);
        if opt.takes {
            text.push("=");
            text.push(before);
            text.push(value);
        }
        text
    };
    Ok(match opt.to {
        To::Is(name) => Some(vec![joined(name, "")]),
        To::With(name, before) => Some(vec![joined(name, before)]),
        To::Always => Some(Vec::new()),
        To::No(why, hint) => {
            let name = opt.names.first().copied().unwrap_or_default();
            return Err(Fail::usage(format!("{name} is not to be had: {why}")).hint(hint));
        }
        To::Own => None,
    })
}

/// What `-h` prints: each option and what it is with us.
pub fn help(table: &'static [Opt]) -> Vec<String> {
    let line = |opt: &Opt| {
        let mut left = opt.names.join(", ");
        if opt.takes {
            left.push_str(" VALUE");
        }
        let right = match opt.to {
            To::Is(name) => name.to_string(),
            To::With(name, before) => format!("{name} {before}VALUE"),
            To::Always => "accepted; there is nothing to do".to_string(),
            To::No(why, _) => format!("not to be had: {why}"),
            To::Own => "as there".to_string(),
        };
        format!("  {left:<34} {right}")
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[Opt] = &[
        flag(&["-b", "--batch"], To::Always),
        flag(&["--bare"], To::Is("--bare")),
        value(&["-w", "--where"], To::Is("--hosts")),
    ];

    fn said(args: &[&str], mixed: fn(&[Item]) -> bool) -> Result<String, String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let items = read("x", TABLE, &args, mixed).map_err(|e| e.to_string())?;
        let text = |item: &Item| match item {
            Item::Option(opt, value) => format!("{}={}", opt.names[0], value.to_string_lossy()),
            Item::Word(word) => word.to_string_lossy().into_owned(),
        };
        Ok(items.iter().map(text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_are_read_as_getopt_reads_them() {
        let stop = |_: &[Item]| false;
        let on = |_: &[Item]| true;
        assert_eq!(
            said(&["-bwn1", "-w", "-n2", "c", "-b"], stop).unwrap(),
            "-b= -w=n1 -w=-n2 c -b"
        );
        assert_eq!(said(&["c", "-b", "--", "-b"], on).unwrap(), "c -b= -b");
        assert_eq!(said(&["--whe=a=b", "--where", "c", "-"], on).unwrap(), "-w=a=b -w=c -");
        assert!(said(&["--ba"], on).is_err(), "two begin so");
        assert_eq!(said(&["--bat"], on).unwrap(), "-b=");
        for wrong in [&["-z"][..], &["--zz"], &["-w"], &["--where"], &["--batch=1"]] {
            assert!(said(wrong, on).is_err(), "{wrong:?}");
        }
    }
}
