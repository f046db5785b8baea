//! Where the parts of a list come from that are not in its text.

use super::error::ListError;

/// The name of a group as it stands in a list.
#[derive(Clone, Copy, Debug)]
pub struct GroupName<'a> {
    /// `source` of `@source:name`.
    pub source: Option<&'a str>,
    /// The source of the group whose list this name stands in: what a name without a source means there.
    pub within: Option<&'a str>,
    /// The name alone.
    pub name: &'a str,
}

/// What a group stands for.
#[derive(Clone, Debug)]
pub struct GroupText {
    /// Lists, one on each line.
    pub text: Vec<u8>,
    /// What an error names before its sentence: `file:line`, or the source.
    pub place: String,
    /// The source of the group.
    pub source: String,
}

/// Where the parts of a list come from that are not in its text.
pub trait Sources {
    /// The content of the file named by `^file`.
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError> {
        Err(ListError::new(format!("'^{name}': files are not read here")))
    }
    /// Standard input, for `-`.
    fn stdin(&mut self) -> Result<Vec<u8>, ListError> {
        Err(ListError::new("'-': standard input is not read here"))
    }
    /// The lists that `@name` stands for.
    fn group(&mut self, group: GroupName<'_>) -> Result<GroupText, ListError> {
        Err(ListError::new(format!("'@{}': groups are not known here", group.name)))
    }
    /// The names of all groups of a source, the default one when none is named.
    fn names(&mut self, _source: Option<&str>) -> Result<Vec<String>, ListError> {
        Err(ListError::new("groups are not known here"))
    }
    /// All hosts of a source when it knows them by itself; otherwise all hosts are those of its groups.
    fn all(&mut self, _source: Option<&str>) -> Result<Option<GroupText>, ListError> {
        Ok(None)
    }
}

/// No files, no input, no groups: the text alone.
pub struct TextOnly;

impl Sources for TextOnly {}
