//! One promise: a rule with its promiser expanded to one value, and typed access to its attributes.

use std::rc::Rc;

use bstr::{BStr, BString, ByteSlice};

use super::Run;
use super::mode::ModeChange;
use crate::policy::{Pos, Rule};

/// One promise of a run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The rule.
    pub rule: Rc<Rule>,
    /// The rule's number in the program, and which of its expansions this is.
    pub id: (usize, usize),
    /// The promiser, expanded.
    pub object: BString,
    /// A second expanded value that goes with it: the destination of a copy, the target of a link. Empty otherwise.
    pub other: BString,
}

/// A value that an attribute cannot have, found when the rule runs (variables may have hidden it from the parser).
#[derive(Debug)]
pub struct BadAttr(pub String);

impl Job {
    /// The promiser as a path.
    pub fn path(&self) -> &std::path::Path {
        self.object.as_path()
    }

    /// Where an attribute stands, for messages: the attribute's own place, or the rule's.
    pub fn place_of(&self, attribute: &str) -> &Pos {
        self.rule.attrs.get(attribute).map_or(&self.rule.pos, |attr| &attr.pos)
    }
}

/// Bytes as a path, without loss.
pub trait BytesPath {
    /// The same bytes, as a path.
    fn as_path(&self) -> &std::path::Path;
}

impl BytesPath for BString {
    fn as_path(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(self))
    }
}

impl BytesPath for BStr {
    fn as_path(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(self))
    }
}

/// `true`, `on`, `yes` and the reverse, in any case.
pub fn boolean(value: &[u8]) -> Option<bool> {
    match value.to_ascii_lowercase().as_slice() {
        b"true" | b"on" | b"yes" => Some(true),
        b"false" | b"off" | b"no" => Some(false),
        _ => None,
    }
}

impl Run<'_> {
    /// The last value of an attribute, expanded.
    pub fn value(&self, job: &Job, name: &str) -> Option<BString> {
        job.rule
            .attrs
            .get(name)
            .map(|attr| self.ctx.expand(attr.value.as_bstr()))
    }

    /// Every value of an attribute that may be repeated, expanded.
    pub fn values(&self, job: &Job, name: &str) -> Vec<BString> {
        job.rule
            .attrs
            .all(name)
            .map(|attr| self.ctx.expand(attr.value.as_bstr()))
            .collect()
    }

    /// A boolean attribute. A word that is neither true nor false is refused by the parser; here it is the default.
    pub fn flag(&self, job: &Job, name: &str, default: bool) -> bool {
        self.value(job, name)
            .and_then(|value| boolean(&value))
            .unwrap_or(default)
    }

    /// `mode=`
    pub fn mode(&self, job: &Job) -> Result<Option<ModeChange>, BadAttr> {
        match self.value(job, "mode") {
            Some(text) => ModeChange::parse(&text).map(Some).map_err(BadAttr),
            None => Ok(None),
        }
    }

    /// `recurse=`: levels of directories to enter; `inf` is all.
    pub fn recurse(&self, job: &Job) -> Result<u32, BadAttr> {
        match self.value(job, "recurse") {
            None => Ok(0),
            Some(text) if text.eq_ignore_ascii_case(b"inf") || text == "*" => Ok(u32::MAX),
            Some(text) => number(&text).ok_or_else(|| BadAttr(format!("Illegal recursion specifier {text}"))),
        }
    }

    /// The classes of `define=`, `elsedefine=` or `failover=`.
    pub fn class_list(&self, job: &Job, name: &str) -> Vec<BString> {
        let Some(text) = self.value(job, name) else {
            return Vec::new();
        };
        text.split(|byte| matches!(byte, b':' | b',' | b'.'))
            .filter(|class| !class.is_empty())
            .map(BString::from)
            .collect()
    }
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// A size in bytes. The first letter of a unit counts, `b`, `k`, `m` or `g` (`10mbytes` is `10m`); a number without one is
/// in units of `usual` bytes.
pub fn size(text: &[u8], usual: u64) -> Option<u64> {
    let text = text.trim();
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit.first().map(u8::to_ascii_lowercase) {
        None => usual,
        Some(b'b') => 1,
        Some(b'k') => 1 << 10,
        Some(b'm') => 1 << 20,
        Some(b'g') => 1 << 30,
        Some(_) => return None,
    };
    if !unit.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    value.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, wanted) in [
            ("100", Some(100)),
            ("2k", Some(2048)),
            ("1M", Some(1 << 20)),
            ("7b", Some(7)),
            ("10mbytes", Some(10 << 20)),
            ("4 m", None),
            ("4m!", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(size(text.as_bytes(), 1), wanted, "{text}");
        }
        assert_eq!(size(b"3", 1024), Some(3072));
    }
}
