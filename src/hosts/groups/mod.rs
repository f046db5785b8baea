//! Groups of hosts: from files, from commands, from `cfrun.hosts`, from netgroups, and from the cluster.
//!
//! A source is a set of groups with a name: `@source:group`. A name without a source is of the default source, or of the
//! source of the group whose list it stands in. `@cluster`, `@up`, `@down` and `@cfrun` are known everywhere.

mod command;
mod conf;
mod files;

use std::collections::BTreeMap;

use self::command::{Question, ask, netgroup};
use self::conf::{Conf, Source};
use super::{CfrunHosts, GroupName, GroupText, ListError};
use crate::sys::Paths;

/// Sources that are there without being configured.
const BUILT_IN: [&str; 4] = ["files", "cfrun", "cluster", "net"];

/// Groups that mean the same everywhere.
const RESERVED: [&str; 4] = ["cluster", "up", "down", "cfrun"];

/// The groups of the source `cluster`.
const CLUSTER: [&str; 3] = ["all", "down", "up"];

/// Tells the members of the cluster: of `all`, `up` or `down`. No members: this machine is in no cluster.
pub type Members = fn(&Paths, &str) -> Result<Vec<String>, ListError>;

/// All groups of this machine. Files are read, and commands run, when something of theirs is asked for.
pub struct Groups {
    paths: Paths,
    members: Members,
    conf: Option<Conf>,
    files: Option<BTreeMap<String, files::Group>>,
    cfrun: Option<Vec<u8>>,
    preferred: Option<String>,
}

impl Groups {
    /// Nothing is read yet.
    pub fn new(paths: Paths, members: Members) -> Self {
        Groups {
            paths,
            members,
            conf: None,
            files: None,
            cfrun: None,
            preferred: None,
        }
    }

    /// The names of all sources, the default one first.
    pub fn sources(&mut self) -> Result<Vec<String>, ListError> {
        let default = self.default_source()?;
        let conf = self.conf()?;
        let known = BUILT_IN.iter().map(|name| name.to_string());
        let known = known.chain(conf.sources.iter().map(|source| source.name.clone()));
        let others: Vec<String> = known.filter(|name| *name != default).collect();
        Ok([vec![default], others].concat())
    }

    /// The source of names that stand alone.
    pub fn default_source(&mut self) -> Result<String, ListError> {
        match &self.preferred {
            Some(source) => Ok(source.clone()),
            None => self.configured_source(),
        }
    }

    /// The source that is the default one unless another is preferred in this run.
    pub fn configured_source(&mut self) -> Result<String, ListError> {
        let default = self.conf()?.default.clone();
        Ok(default.unwrap_or_else(|| BUILT_IN[0].to_string()))
    }

    /// Makes another source the default one of this run.
    pub fn prefer(&mut self, source: &str) -> Result<(), ListError> {
        self.preferred = Some(self.known(Some(source))?);
        Ok(())
    }

    /// The names of all groups of a source, sorted.
    pub fn names(&mut self, source: Option<&str>) -> Result<Vec<String>, ListError> {
        let source = self.known(source)?;
        let mut names: Vec<String> = match source.as_str() {
            "files" => self.files()?.keys().cloned().collect(),
            "cfrun" => vec!["all".into()],
            "cluster" => CLUSTER.iter().map(|name| name.to_string()).collect(),
            "net" => return Err(ListError::new("netgroups cannot be listed, only asked for by name")),
            _ => {
                let source = self.source(&source)?;
                let line = source.list.clone().ok_or_else(|| {
                    ListError::new(format!(
                        "the source '{}' has no command that lists its groups",
                        source.name
                    ))
                })?;
                let answer = self.ask(&source, Question::List, &line)?;
                let text = String::from_utf8(answer);
                let text =
                    text.map_err(|_| ListError::new(format!("the source '{}' does not print UTF-8", source.name)))?;
                text.split_whitespace().map(str::to_string).collect()
            }
        };
        names.sort_by(|a, b| super::natural(a.as_bytes(), b.as_bytes()));
        names.dedup();
        Ok(names)
    }

    /// What a group stands for.
    pub fn group(&mut self, group: GroupName<'_>) -> Result<GroupText, ListError> {
        let name = group.name;
        let (source, name) = match (group.source, name) {
            (Some(source), _) => (self.known(Some(source))?, name),
            (None, "cluster") => ("cluster".to_string(), "all"),
            (None, "up" | "down") => ("cluster".to_string(), name),
            (None, "cfrun") => ("cfrun".to_string(), "all"),
            (None, _) => (self.known(group.within)?, name),
        };
        check_name(name).map_err(ListError::new)?;
        let missing = || ListError::new(format!("there is no group '{name}' in the source '{source}'"));
        match source.as_str() {
            "files" => {
                let files = self.files()?;
                if let Some(group) = files.get(name) {
                    let (text, place) = (group.text.clone().into_bytes(), group.place.clone());
                    return Ok(GroupText { text, place, source });
                }
                Err(self.no_such_group(name))
            }
            "cfrun" if name == "all" => self.cfrun().map(|text| GroupText {
                text,
                place: "cfrun.hosts".into(),
                source,
            }),
            "cluster" if CLUSTER.contains(&name) => {
                let members = (self.members)(&self.paths, name)?;
                Ok(GroupText {
                    text: members.join("\n").into_bytes(),
                    place: "the cluster".into(),
                    source,
                })
            }
            "cfrun" | "cluster" => Err(missing()),
            "net" => Ok(GroupText {
                text: netgroup(name)?,
                place: format!("netgroup {name}"),
                source,
            }),
            _ => {
                let conf = self.source(&source)?;
                let text = self.ask(&conf, Question::Map(name), &conf.map)?;
                let place = format!("source {source}, group {name}");
                // A command that knows no such group prints nothing: acting on no host must not look like success.
                match text.trim_ascii().is_empty() {
                    true => Err(missing()),
                    false => Ok(GroupText { text, place, source }),
                }
            }
        }
    }

    /// All hosts of a source, when it tells them by itself: by its command, or by a group called `all`. Without groups
    /// in files, all hosts of the default source are the members of the cluster.
    pub fn all(&mut self, source: Option<&str>) -> Result<Option<GroupText>, ListError> {
        let named = source.is_some();
        let source = self.known(source)?;
        let group = |name| GroupName {
            source: Some(&source),
            within: None,
            name,
        };
        match source.as_str() {
            "files" if self.files()?.contains_key("all") => self.group(group("all")).map(Some),
            "files" if self.files()?.is_empty() && !named => {
                let members = (self.members)(&self.paths, "all").map_err(|_| {
                    ListError::new("there are no groups here, and no cluster, that say which hosts there are")
                })?;
                Ok(Some(GroupText {
                    text: members.join("\n").into_bytes(),
                    place: "the cluster".into(),
                    source: "cluster".into(),
                }))
            }
            "files" => Ok(None),
            "cfrun" | "cluster" => self.group(group("all")).map(Some),
            "net" => Err(ListError::new("netgroups cannot be listed, only asked for by name")),
            _ => {
                let conf = self.source(&source)?;
                let Some(line) = conf.all.clone() else { return Ok(None) };
                let text = self.ask(&conf, Question::All, &line)?;
                let place = format!("source {source}, all hosts");
                Ok(Some(GroupText { text, place, source }))
            }
        }
    }

    fn known(&mut self, source: Option<&str>) -> Result<String, ListError> {
        let Some(source) = source else {
            return self.default_source();
        };
        if BUILT_IN.contains(&source) || self.conf()?.sources.iter().any(|known| known.name == source) {
            return Ok(source.to_string());
        }
        let known = self.sources()?.join(", ");
        Err(ListError::new(format!(
            "there is no group source '{source}'; there is {known}"
        )))
    }

    fn no_such_group(&mut self, name: &str) -> ListError {
        let dir = self.paths.at("/etc/dsau/groups.d");
        ListError::new(format!("there is no group '@{name}' in {}/*.groups", dir.display()))
    }

    fn conf(&mut self) -> Result<&Conf, ListError> {
        if self.conf.is_none() {
            let conf = conf::read(&self.paths.at("/etc/dsau/groups.conf")).map_err(ListError::new)?;
            self.conf = Some(conf);
        }
        Ok(self.conf.get_or_insert_default())
    }

    fn source(&mut self, name: &str) -> Result<Source, ListError> {
        let found = self.conf()?.sources.iter().find(|source| source.name == name).cloned();
        found.ok_or_else(|| ListError::new(format!("there is no group source '{name}'")))
    }

    fn files(&mut self) -> Result<&BTreeMap<String, files::Group>, ListError> {
        if self.files.is_none() {
            self.files = Some(files::read(&self.paths.at("/etc/dsau/groups.d"))?);
        }
        Ok(self.files.get_or_insert_default())
    }

    /// The names in cfrun.hosts. Their ports are those of cfservd, so they are left out.
    fn cfrun(&mut self) -> Result<Vec<u8>, ListError> {
        if let Some(text) = &self.cfrun {
            return Ok(text.clone());
        }
        let usual = [
            self.paths.inputs().join("cfrun.hosts"),
            self.paths.master().join("inputs/cfrun.hosts"),
        ];
        let file = usual.iter().find(|file| file.exists()).unwrap_or(&usual[0]);
        let hosts = CfrunHosts::read(file).map_err(ListError::new)?.hosts;
        let names: Vec<String> = hosts.into_iter().map(|host| host.name).collect();
        let text = names.join("\n").into_bytes();
        self.cfrun = Some(text.clone());
        Ok(text)
    }

    fn ask(&self, source: &Source, question: Question<'_>, line: &str) -> Result<Vec<u8>, ListError> {
        let config = self.paths.at("/etc/dsau");
        ask(source, question, line, &config, &command::cache_dir(&self.paths))
    }
}

/// A name of a group or source: letters, digits and `- _ . +`, not beginning with `-`. Nothing else reaches a command.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
    match !name.is_empty() && name.len() <= 128 && !name.starts_with('-') && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!(
            "'{name}' is not a name of a group: letters, digits, '-', '_', '.' and '+'"
        )),
    }
}

#[cfg(test)]
mod tests;
