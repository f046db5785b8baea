//! The grammar of host lists, and what expands one.
//!
//! ```text
//! list    = item { ("," | blank | "!" | "&" | "^") item }     union, minus, and, either but not both: left to right
//! item    = host | "^" file | "-" | group | filter            "-" alone is standard input
//!         | ("-" | "!") item                                  taken away from the whole list, wherever it stands
//! host    = [user "@"] name [":" port]                        the name may hold ranges; IPv6 stands bare or in brackets
//! range   = "[" part {"," part} "]"    part = N | N-M | N-M/STEP
//! group   = "@" [source ":"] (name | "*") | "@@" [source]     the last: the names of the groups themselves
//! filter  = "/" regular expression "/"                        keeps, of the whole list, what matches
//!         | name with "*" or "?"                              all hosts of the default source that match
//! ```

use std::collections::HashMap;

use super::error::ListError;
use super::host::{Host, Parts};
use super::items::{Item, items};
use super::matcher::Matcher;
use super::range;
use super::set::HostSet;
use super::sources::{GroupName, GroupText, Sources, TextOnly};

/// The most hosts one list may hold.
pub const HOST_LIMIT: usize = 1_000_000;

/// How deep files and groups may name files and groups.
const DEPTH: usize = 8;

/// The most expressions and wildcard words of one list.
const FILTERS: usize = 256;

/// The most wildcard words of one list, those that ranges in them stand for counted one by one.
const GLOBS: usize = 10_000;

/// The most work one list may be, in hosts that are looked at: what a group, a file or an operator asks for can be asked
/// for again and again. Less in tests, for their patience.
const WORK: u64 = if cfg!(test) { 3_000_000 } else { 50_000_000 };

/// The work that a file or a group is, however short.
const PART: usize = 1000;

/// The most groups that one word may stand for.
const GROUPS: u128 = 10_000;

/// Expands a list whose parts all stand in its text.
pub fn expand(text: &str) -> Result<HostSet, ListError> {
    expand_with(text, &mut TextOnly)
}

/// Expands a list; `sources` gives the files, groups and input it names.
pub fn expand_with(text: &str, sources: &mut dyn Sources) -> Result<HostSet, ListError> {
    let mut build = Build::default();
    Expander::new(sources).text(text, &mut build)?;
    Ok(build.close())
}

/// Applies a list to hosts that were found elsewhere when it names none itself, only what to keep or to leave out
/// (`-n3`, `/web/`). `None`: it does name hosts, or says nothing.
pub fn only_filters(text: &str) -> Result<bool, ListError> {
    let items = items(text)?;
    let filter = |item: &Item<'_>| item.away || (item.operator == b',' && item.word.starts_with('/'));
    Ok(!items.is_empty() && items.iter().all(filter))
}

/// Leaves out of `set` what a list takes away, and keeps what its expressions match (see [`only_filters`]).
pub fn filter_with(text: &str, set: HostSet, sources: &mut dyn Sources) -> Result<HostSet, ListError> {
    let mut build = Build {
        set,
        ..Build::default()
    };
    Expander::new(sources).text(text, &mut build)?;
    Ok(build.close())
}

/// What a list chooses out of hosts that are there (`-x`, `-i`): those it names, and those its expressions and wildcards
/// match.
pub struct Choice {
    set: HostSet,
    matchers: Vec<Matcher>,
}

impl Choice {
    /// Reads a list.
    pub fn read(text: &str, sources: &mut dyn Sources) -> Result<Self, ListError> {
        let mut expander = Expander::new(sources);
        let (mut build, mut matchers) = (Build::default(), Vec::new());
        let items = items(text)?;
        let plain = items.iter().all(|item| item.operator == b',' && !item.away);
        for item in items {
            let group = !plain || item.word.starts_with(['@', '^']);
            let at = |e: ListError| e.at(text, item.word);
            match if group {
                None
            } else {
                Matcher::of(item.word).map_err(at)?
            } {
                Some(matcher) => {
                    expander.filter(&matcher)?;
                    matchers.push(matcher);
                }
                None => expander.item(item, &mut build).map_err(at)?,
            }
        }
        Ok(Choice {
            set: build.close(),
            matchers,
        })
    }

    /// Whether it chooses a host.
    pub fn holds(&self, host: &Host) -> bool {
        self.set.contains(host) || self.matchers.iter().any(|matcher| matcher.matches(&host.name))
    }
}

/// Reads the lines of a host file (WCOLL, CFANOUT_HOSTS, `^file`, standard input): a list on each line, `#` begins a
/// comment. Errors name the line.
pub fn expand_lines(bytes: &[u8], name: &str, sources: &mut dyn Sources) -> Result<HostSet, ListError> {
    let mut build = Build::default();
    Expander::new(sources).lines(bytes, name, true, &mut build)?;
    Ok(build.close())
}

/// The hosts to have, and what holds for all of them at the very end.
#[derive(Default)]
struct Build {
    set: HostSet,
    away: HostSet,
    keep: Vec<Matcher>,
    drop: Vec<Matcher>,
}

impl Build {
    fn close(mut self) -> HostSet {
        self.set.minus(&self.away);
        if !(self.keep.is_empty() && self.drop.is_empty()) {
            let wanted = |host: &Host| {
                self.keep.iter().all(|matcher| matcher.matches(&host.name))
                    && !self.drop.iter().any(|matcher| matcher.matches(&host.name))
            };
            self.set.keep(wanted);
        }
        self.set
    }

    fn merge(&mut self, other: Build) {
        self.set.add(&other.set);
        self.away.add(&other.away);
        self.keep.extend(other.keep);
        self.drop.extend(other.drop);
    }

    fn bounded(&self) -> Result<(), ListError> {
        bound(self.set.len().max(self.away.len()) as u128)
    }
}

fn bound(count: u128) -> Result<(), ListError> {
    if count > HOST_LIMIT as u128 {
        return Err(ListError::new(format!(
            "the list names more than {HOST_LIMIT} hosts ({count})"
        )));
    }
    Ok(())
}

struct Expander<'a> {
    sources: &'a mut dyn Sources,
    /// Groups that were asked for already, and how many hosts are remembered so.
    groups: HashMap<String, HostSet>,
    remembered: usize,
    /// The files and groups that are being read, as they are written in a list.
    open: Vec<String>,
    within: Option<String>,
    filters: usize,
    globs: usize,
    work: u64,
}

impl<'a> Expander<'a> {
    fn new(sources: &'a mut dyn Sources) -> Self {
        Expander {
            sources,
            groups: HashMap::new(),
            remembered: 0,
            open: Vec::new(),
            within: None,
            filters: 0,
            globs: 0,
            work: 0,
        }
    }

    /// Counts work, and refuses more than anybody means.
    fn labour(&mut self, amount: usize) -> Result<(), ListError> {
        self.work = self.work.saturating_add(amount as u64);
        match self.work {
            0..=WORK => Ok(()),
            _ => Err(ListError::new(
                "the list is too much work: its parts name or change the same hosts over and over",
            )),
        }
    }

    fn text(&mut self, text: &str, build: &mut Build) -> Result<(), ListError> {
        let items = items(text)?;
        // Operators reach no further to the left than the line they stand on.
        let mut line = items.iter().any(|item| item.operator != b',').then(Build::default);
        for item in items {
            let build = line.as_mut().unwrap_or(build);
            self.item(item, build).map_err(|e| e.at(text, item.word))?;
        }
        if let Some(line) = line {
            build.merge(line);
            build.bounded()?;
        }
        Ok(())
    }

    fn lines(&mut self, bytes: &[u8], name: &str, numbered: bool, build: &mut Build) -> Result<(), ListError> {
        for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
            let place = |e: ListError| match numbered {
                true => e.found_in(&format!("{name}:{}", index + 1)),
                false => e.found_in(name),
            };
            let text = std::str::from_utf8(line).map_err(|_| place(ListError::new("a host name is not UTF-8 text")))?;
            let text = text.split('#').next().unwrap_or_default();
            self.text(text, build).map_err(place)?;
        }
        Ok(())
    }

    /// Counts the expressions and wildcard words of the list.
    fn filter(&mut self, matcher: &Matcher) -> Result<(), ListError> {
        self.filters += 1;
        self.globs += matcher.words();
        match (self.filters, self.globs) {
            (0..=FILTERS, 0..=GLOBS) => Ok(()),
            (0..=FILTERS, _) => Err(ListError::new(format!("more than {GLOBS} wildcard words"))),
            _ => Err(ListError::new(format!(
                "more than {FILTERS} expressions or wildcard words"
            ))),
        }
    }

    fn item(&mut self, item: Item<'_>, build: &mut Build) -> Result<(), ListError> {
        let group = item.word.starts_with(['@', '^']);
        let matcher = if group { None } else { Matcher::of(item.word)? };
        if let Some(matcher) = matcher {
            self.filter(&matcher)?;
            self.labour(build.set.len())?;
            match (item.operator, &matcher) {
                _ if item.away => build.drop.push(matcher),
                (b'!', _) => build.set.keep(|host| !matcher.matches(&host.name)),
                (b'&', _) => build.set.keep(|host| matcher.matches(&host.name)),
                (b',', Matcher::Regex(_)) => build.keep.push(matcher),
                (operator, Matcher::Globs(_)) => {
                    let mut all = Build::default();
                    self.all(None, &mut all)?;
                    let mut all = all.close();
                    all.keep(|host| matcher.matches(&host.name));
                    match operator {
                        b',' => build.set.add(&all),
                        _ => build.set.xor(&all),
                    }
                }
                _ => return Err(ListError::new("an expression cannot follow a '^': it names no hosts")),
            }
        } else if item.operator == b',' && !item.away {
            self.hosts(item.word, build)?;
        } else {
            let mut operand = Build::default();
            self.hosts(item.word, &mut operand)?;
            let other = operand.close();
            let size = if item.away { 0 } else { build.set.len() };
            self.labour(size + other.len())?;
            match item.operator {
                _ if item.away => build.away.add(&other),
                b'!' => build.set.minus(&other),
                b'&' => build.set.and(&other),
                _ => build.set.xor(&other),
            }
        }
        build.bounded()
    }

    fn hosts(&mut self, word: &str, build: &mut Build) -> Result<(), ListError> {
        if word == "-" {
            let bytes = self.sources.stdin()?;
            return self.lines(&bytes, "standard input", true, build);
        }
        if let Some(file) = word.strip_prefix('^') {
            self.enter(word)?;
            let bytes = self.sources.file(file)?;
            self.labour(bytes.len() / 4 + PART)?;
            self.lines(&bytes, file, true, build)?;
            self.open.pop();
            return Ok(());
        }
        match word.strip_prefix('@') {
            Some(group) => self.groups(group, build),
            None => self.host(word, &mut build.set),
        }
    }

    /// Remembers that a file or group is being read; refuses one that is being read already.
    fn enter(&mut self, word: &str) -> Result<(), ListError> {
        if let Some(at) = self.open.iter().position(|open| open == word) {
            let ring = self.open[at..].join(" names ");
            return Err(ListError::new(format!("'{word}' names itself: {ring} names {word}")));
        }
        if self.open.len() >= DEPTH {
            return Err(ListError::new(format!(
                "files and groups name each other more than {DEPTH} deep"
            )));
        }
        self.open.push(word.to_string());
        Ok(())
    }

    /// What follows the `@`.
    fn groups(&mut self, word: &str, build: &mut Build) -> Result<(), ListError> {
        if let Some(source) = word.strip_prefix('@') {
            let source = Some(source).filter(|source| !source.is_empty());
            for name in self.sources.names(source)? {
                build.set.insert(Host::named(&name).map_err(ListError::new)?);
            }
            return Ok(());
        }
        let (source, name) = match word.split_once(':') {
            Some((source, name)) => (Some(source), name),
            None => (None, word),
        };
        if name.is_empty() {
            return Err(ListError::new("a group needs a name after the '@'"));
        }
        if name == "*" {
            let within = source.map(str::to_string).or_else(|| self.within.clone());
            return self.all(within.as_deref(), build);
        }
        if let Some(matcher) = Matcher::of(name)? {
            for name in self.sources.names(source)? {
                if matcher.matches(&name) {
                    self.group(source, &name, build)?;
                }
            }
            return Ok(());
        }
        if !name.contains('[') {
            return self.group(source, name, build);
        }
        let pattern = range::Pattern::parse(name).map_err(ListError::new)?;
        if pattern.count() > GROUPS {
            return Err(ListError::new(format!("'@{word}' is more than {GROUPS} groups")));
        }
        for name in pattern.names() {
            self.group(source, &name, build)?;
        }
        Ok(())
    }

    fn group(&mut self, source: Option<&str>, name: &str, build: &mut Build) -> Result<(), ListError> {
        let within = self.within.clone();
        let word = match source.or(within.as_deref()) {
            Some(source) => format!("@{source}:{name}"),
            None => format!("@{name}"),
        };
        if let Some(size) = self.groups.get(&word).map(HostSet::len) {
            self.labour(size)?;
            build.set.add(&self.groups[&word]);
            return Ok(());
        }
        let found = self.sources.group(GroupName {
            source,
            within: within.as_deref(),
            name,
        })?;
        self.enter(&format!("@{}:{name}", found.source))?;
        let set = self.group_text(found)?;
        self.open.pop();
        self.labour(set.len())?;
        build.set.add(&set);
        self.remembered += set.len();
        if self.remembered <= HOST_LIMIT {
            self.groups.insert(word, set);
        }
        Ok(())
    }

    /// The hosts a group's text stands for; names without a source are of the group's own.
    fn group_text(&mut self, found: GroupText) -> Result<HostSet, ListError> {
        self.labour(found.text.len() / 4 + PART)?;
        let outer = self.within.replace(found.source);
        let mut build = Build::default();
        let numbered = found.text.trim_ascii().contains(&b'\n');
        self.lines(&found.text, &found.place, numbered, &mut build)?;
        self.within = outer;
        Ok(build.close())
    }

    fn all(&mut self, source: Option<&str>, build: &mut Build) -> Result<(), ListError> {
        if let Some(found) = self.sources.all(source)? {
            let word = format!("@{}:*", found.source);
            self.enter(&word)?;
            let set = self.group_text(found)?;
            self.open.pop();
            build.set.add(&set);
            return Ok(());
        }
        let names = self.sources.names(source)?;
        if self.open.len() >= DEPTH {
            return self.enter("@*");
        }
        for name in names {
            self.group(source, &name, build)?;
            build.bounded()?;
        }
        Ok(())
    }

    fn host(&mut self, word: &str, set: &mut HostSet) -> Result<(), ListError> {
        let parts = Parts::split(word).map_err(ListError::new)?;
        // An IPv6 address in brackets is no range: it has colons.
        if parts.name.contains(':') || !parts.name.contains(['[', ']']) {
            set.insert(Host::of(&parts).map_err(ListError::new)?);
            return Ok(());
        }
        let pattern = range::Pattern::parse(parts.name).map_err(|why| ListError::new(format!("'{word}': {why}")))?;
        bound(pattern.count())?;
        self.labour(pattern.count() as usize)?;
        for name in pattern.names() {
            set.insert(Host {
                user: parts.user.map(str::to_string),
                port: parts.port,
                ..Host::named(&name).map_err(ListError::new)?
            });
        }
        Ok(())
    }
}
