//! Whether a rule gets to an object: wildcards in its promiser, recursion, the patterns that choose and leave out.

use bstr::{BStr, BString, ByteSlice};

use crate::policy::{Program, Rule, Section};

/// How a rule gets to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It names it.
    Named,
    /// By a wildcard in its name.
    Matched,
    /// It is so many levels below what is named.
    Below(usize),
}

/// A wildcard pattern against a name: `*` any text, `?` one byte; `/` is matched by itself only.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // The last `*` and where it began to match: one step back is enough.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(byte) if *byte == name[n] || (*byte == b'?' && name[n] != b'/') => {
                p += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((at, from)) if name[from] != b'/' => {
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The part of `path` below `object`, without the slash between them.
fn below<'a>(object: &[u8], path: &'a BStr) -> Option<&'a [u8]> {
    if object == b"/" {
        return path.strip_prefix(b"/").filter(|rest| !rest.is_empty());
    }
    path.strip_prefix(object)?
        .strip_prefix(b"/")
        .filter(|rest| !rest.is_empty())
}

/// Whether an object named in a rule is the path, by name or wildcard, or a directory above it.
pub(super) fn reach(object: &BString, path: &BStr) -> Option<Reach> {
    let object = object.strip_suffix(b"/.").unwrap_or(object);
    let object = match object.trim_end_with(|c| c == '/') {
        b"" => b"/",
        trimmed => trimmed,
    };
    // Home directories are known to the run only: any directory that holds the rest may be one.
    if let Some(rest) = object.strip_prefix(b"home") {
        return match rest {
            b"" => Some(Reach::Below(1)),
            rest if rest.starts_with(b"/") && path.ends_with(rest) && path.len() > rest.len() => Some(Reach::Matched),
            _ => None,
        };
    }
    if object == path.as_bytes() {
        return Some(Reach::Named);
    }
    if let Some(rest) = below(object, path) {
        return Some(Reach::Below(rest.split(|byte| *byte == b'/').count()));
    }
    if !object.contains(&b'*') && !object.contains(&b'?') {
        return None;
    }
    if matches(object, path) {
        return Some(Reach::Matched);
    }
    // A wildcard in the folder part, and the path below what it matches.
    let levels = object.split(|byte| *byte == b'/').count();
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let top = bstr::join("/", parts.get(..levels)?);
    (parts.len() > levels && matches(object, &top)).then_some(Reach::Below(parts.len() - levels))
}

/// How deep `recurse=` goes.
pub(super) fn depth(program: &Program, rule: &Rule) -> usize {
    let value = rule
        .attrs
        .get("recurse")
        .map(|attr| program.context.expand(attr.value.as_bstr()));
    match value {
        None => 0,
        Some(text) if text.eq_ignore_ascii_case(b"inf") || text == "*" => usize::MAX,
        Some(text) => text.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

/// What keeps a sweep from an object: the text of an attribute, or nothing.
pub(super) fn left_out(program: &Program, rule: &Rule, path: &BStr, levels: usize) -> Option<String> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let values = |attribute: &'static str| -> Vec<BString> {
        let all = rule.attrs.all(attribute);
        all.flat_map(|attr| program.context.iterate(attr.value.as_bstr()))
            .take(1000)
            .collect()
    };
    let fits = |patterns: &[BString]| patterns.iter().find(|pattern| matches(pattern, name)).cloned();
    let chosen: Vec<BString> = match rule.section {
        Section::Tidy => values("pattern").into_iter().chain(values("include")).collect(),
        _ => values("include"),
    };
    if fits(&chosen).is_none() && (!chosen.is_empty() || rule.section == Section::Tidy) {
        return Some("its patterns do not choose it".into());
    }
    if let Some(pattern) = fits(&values("exclude")) {
        return Some(format!("exclude={pattern} leaves it out"));
    }
    let parts: Vec<&[u8]> = path.rsplit(|byte| *byte == b'/').take(levels).collect();
    let ignored = |pattern: &BString| match pattern.starts_with(b"/") {
        true => matches(pattern, path) || reach(pattern, path).is_some_and(|reach| reach != Reach::Named),
        false => parts.iter().any(|part| matches(pattern, part)),
    };
    if let Some(pattern) = values("ignore").iter().find(|pattern| ignored(pattern)) {
        return Some(format!("ignore={pattern} passes it over"));
    }
    let section = program
        .section(Section::Ignore)
        .filter(|ignore| program.context.holds(&ignore.class));
    for ignore in section {
        let patterns = program.context.iterate(ignore.promiser.as_bstr());
        if let Some(pattern) = patterns.iter().take(1000).find(|pattern| ignored(pattern)) {
            return Some(format!("ignore: {pattern} ({}) passes it over", ignore.pos));
        }
    }
    None
}
