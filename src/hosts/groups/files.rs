//! `/etc/dsau/groups.d/*.groups`: a group on each line, `name: hosts`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{RESERVED, check_name};
use crate::hosts::{FileError, ListError, read_file};

/// The most files that are read.
const FILES: usize = 1000;

/// A group as written.
pub(super) struct Group {
    /// Its list, on one line.
    pub text: String,
    /// `file:line`, where it begins.
    pub place: String,
}

/// Reads all files of a directory, in the order of their names. No directory: no groups.
pub(super) fn read(dir: &Path) -> Result<BTreeMap<String, Group>, ListError> {
    let fail = |e: &std::io::Error| ListError::new(FileError::new(dir, 0, super::super::plain(e)));
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(fail(&e)),
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries.take(FILES * 2) {
        let path = entry.map_err(|e| fail(&e))?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|end| end == "groups") {
            files.push(path);
        }
    }
    if files.len() > FILES {
        return Err(ListError::new(format!("{}: more than {FILES} files", dir.display())));
    }
    files.sort();
    let mut groups = BTreeMap::new();
    for file in &files {
        let bytes = read_file(file).map_err(ListError::new)?;
        parse(file, &bytes, &mut groups).map_err(ListError::new)?;
    }
    Ok(groups)
}

/// Reads the lines of one file. A line that begins with a blank goes on with the group above it.
fn parse(file: &Path, bytes: &[u8], groups: &mut BTreeMap<String, Group>) -> Result<(), FileError> {
    let mut last: Option<String> = None;
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let at = |why: String| FileError::new(file, index + 1, why);
        let line = std::str::from_utf8(line).map_err(|_| at("a group is not UTF-8 text".into()))?;
        let line = line.split('#').next().unwrap_or_default();
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let group = last.as_ref().and_then(|name| groups.get_mut(name));
            let group =
                group.ok_or_else(|| at("the first line of a group begins with its name, not a blank".into()))?;
            group.text.push(' ');
            group.text.push_str(line.trim());
            continue;
        }
        let Some((name, text)) = line.split_once(':') else {
            return Err(at(format!("'{}' is not of the form 'name: hosts'", line.trim())));
        };
        let name = name.trim();
        check_name(name).map_err(&at)?;
        if RESERVED.contains(&name) {
            return Err(at(format!("'{name}' has a meaning of its own; choose another name")));
        }
        match groups.entry(name.to_string()) {
            Entry::Occupied(there) => {
                return Err(at(format!(
                    "the group '{name}' is there already, at {}",
                    there.get().place
                )));
            }
            Entry::Vacant(place) => {
                place.insert(Group {
                    text: text.trim().to_string(),
                    place: format!("{}:{}", file.display(), index + 1),
                });
            }
        }
        last = Some(name.to_string());
    }
    Ok(())
}
