//! A set of hosts in the order they were named, the grammar that makes one, and its algebra.
//!
//! ```text
//! list    = item { ("," | blank | "!" | "&" | "^") item }     union, minus, and, either but not both: left to right
//! item    = host | "^" file | "-" | "@" group                 "-" alone is standard input
//!         | ("-" | "!") item                                  taken away from the whole list, wherever it stands
//! host    = [user "@"] name [":" port]                        the name may hold ranges; IPv6 stands bare or in brackets
//! range   = "[" part {"," part} "]"    part = N | N-M | N-M/STEP
//! ```

use std::collections::HashSet;
use std::fmt;

use super::host::{Host, Parts};
use super::range;

/// The most hosts one list may hold.
pub const HOST_LIMIT: usize = 1_000_000;

/// How deep files may name files.
const DEPTH: usize = 8;

/// Why a host list cannot be used: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError(String);

impl ListError {
    /// An error with its sentence.
    pub fn new(why: impl fmt::Display) -> Self {
        ListError(why.to_string())
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ListError {}

/// Where the parts of a list come from that are not in its text.
pub trait Sources {
    /// The content of the file named by `^file`.
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError>;
    /// Standard input, for `-`.
    fn stdin(&mut self) -> Result<Vec<u8>, ListError>;
    /// The list that `@name` stands for.
    fn group(&mut self, name: &str) -> Result<String, ListError>;
}

/// No files, no input, no groups: the text alone.
pub struct TextOnly;

impl Sources for TextOnly {
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError> {
        Err(ListError::new(format!("'^{name}': files are not read here")))
    }
    fn stdin(&mut self) -> Result<Vec<u8>, ListError> {
        Err(ListError::new("'-': standard input is not read here"))
    }
    fn group(&mut self, name: &str) -> Result<String, ListError> {
        Err(ListError::new(format!("'@{name}': groups are not known here")))
    }
}

/// A set of hosts that remembers the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct HostSet {
    order: Vec<Host>,
    known: HashSet<Host>,
}

impl PartialEq for HostSet {
    /// Equal as sets: order does not count.
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl HostSet {
    /// An empty set.
    pub fn new() -> Self {
        HostSet::default()
    }

    /// Adds a host; a host that is there already keeps its place.
    pub fn insert(&mut self, host: Host) {
        if self.known.insert(host.clone()) {
            self.order.push(host);
        }
    }

    /// Whether the host is in the set.
    pub fn contains(&self, host: &Host) -> bool {
        self.known.contains(host)
    }

    /// How many hosts.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The hosts in the order they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, Host> {
        self.order.iter()
    }

    /// Adds all hosts of another set.
    pub fn add(&mut self, other: &HostSet) {
        for host in &other.order {
            self.insert(host.clone());
        }
    }

    /// Takes away the hosts of another set.
    pub fn minus(&mut self, other: &HostSet) {
        self.keep(|host| !other.contains(host));
    }

    /// Keeps what is in both sets.
    pub fn and(&mut self, other: &HostSet) {
        self.keep(|host| other.contains(host));
    }

    /// Keeps what is in one of the two sets but not in both.
    pub fn xor(&mut self, other: &HostSet) {
        let mut right = other.clone();
        right.minus(self);
        self.minus(other);
        self.add(&right);
    }

    fn keep(&mut self, wanted: impl Fn(&Host) -> bool) {
        self.order.retain(&wanted);
        self.known.retain(wanted);
    }
}

impl FromIterator<Host> for HostSet {
    fn from_iter<T: IntoIterator<Item = Host>>(hosts: T) -> Self {
        let mut set = HostSet::new();
        for host in hosts {
            set.insert(host);
        }
        set
    }
}

impl IntoIterator for HostSet {
    type Item = Host;
    type IntoIter = std::vec::IntoIter<Host>;
    fn into_iter(self) -> Self::IntoIter {
        self.order.into_iter()
    }
}

/// Expands a list whose parts all stand in its text.
pub fn expand(text: &str) -> Result<HostSet, ListError> {
    expand_with(text, &mut TextOnly)
}

/// Expands a list; `sources` gives the files, groups and input it names.
pub fn expand_with(text: &str, sources: &mut dyn Sources) -> Result<HostSet, ListError> {
    let (mut set, away) = level(text, sources, 0)?;
    set.minus(&away);
    Ok(set)
}

/// Reads the lines of a host file (WCOLL, CFANOUT_HOSTS, `^file`, standard input): a list on each line, `#` begins a
/// comment. Errors name the line.
pub fn expand_lines(bytes: &[u8], name: &str, sources: &mut dyn Sources) -> Result<HostSet, ListError> {
    lines(bytes, name, sources, 0).map(|(mut set, away)| {
        set.minus(&away);
        set
    })
}

/// The hosts to have, and those to take away from everything at the very end.
type Pair = (HostSet, HostSet);

fn lines(bytes: &[u8], name: &str, sources: &mut dyn Sources, depth: usize) -> Result<Pair, ListError> {
    let (mut set, mut away) = Pair::default();
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let at = |why: &dyn fmt::Display| ListError::new(format!("{name}:{}: {why}", index + 1));
        let text = std::str::from_utf8(line).map_err(|_| at(&"a host name is not UTF-8 text"))?;
        let text = text.split('#').next().unwrap_or_default();
        let (more, less) = level(text, sources, depth).map_err(|e| at(&e))?;
        set.add(&more);
        away.add(&less);
        bound(set.len() as u128)?;
    }
    Ok((set, away))
}

fn bound(count: u128) -> Result<(), ListError> {
    if count > HOST_LIMIT as u128 {
        return Err(ListError::new(format!(
            "the list names more than {HOST_LIMIT} hosts ({count})"
        )));
    }
    Ok(())
}

fn level(text: &str, sources: &mut dyn Sources, depth: usize) -> Result<Pair, ListError> {
    if depth > DEPTH {
        return Err(ListError::new(format!(
            "files and groups name each other more than {DEPTH} deep"
        )));
    }
    let (mut set, mut away) = Pair::default();
    for (operator, item) in items(text)? {
        let (away_item, item) = match item.strip_prefix(['!', '-']) {
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, item),
        };
        let (more, less) = one(item, sources, depth)?;
        match operator {
            _ if away_item => away.add(&more),
            ',' => set.add(&more),
            '!' => set.minus(&more),
            '&' => set.and(&more),
            _ => set.xor(&more),
        }
        away.add(&less);
        bound(set.len() as u128)?;
    }
    Ok((set, away))
}

fn one(item: &str, sources: &mut dyn Sources, depth: usize) -> Result<Pair, ListError> {
    if item == "-" {
        let bytes = sources.stdin()?;
        return lines(&bytes, "standard input", sources, depth + 1);
    }
    if let Some(file) = item.strip_prefix('^') {
        let bytes = sources.file(file)?;
        return lines(&bytes, file, sources, depth + 1);
    }
    if let Some(group) = item.strip_prefix('@') {
        let text = sources.group(group)?;
        let (mut set, away) = level(&text, sources, depth + 1)?;
        set.minus(&away);
        return Ok((set, HostSet::new()));
    }
    Ok((host(item)?, HostSet::new()))
}

fn host(item: &str) -> Result<HostSet, ListError> {
    let parts = Parts::split(item).map_err(ListError)?;
    // An IPv6 address in brackets is no range: it has colons.
    if parts.name.contains(':') || !parts.name.contains(['[', ']']) {
        return Ok(HostSet::from_iter([Host::parse(item).map_err(ListError)?]));
    }
    let pattern = range::Pattern::parse(parts.name).map_err(|why| ListError::new(format!("'{item}': {why}")))?;
    bound(pattern.count())?;
    let mut set = HostSet::new();
    for name in pattern.names() {
        set.insert(Host {
            user: parts.user.map(str::to_string),
            port: parts.port,
            ..Host::named(&name).map_err(ListError)?
        });
    }
    Ok(set)
}

/// Cuts a list into items, each with the operator before it.
fn items(text: &str) -> Result<Vec<(char, &str)>, ListError> {
    let mut found = Vec::new();
    let (mut operator, mut start, mut depth) = (',', None::<usize>, 0usize);
    for (at, c) in text.char_indices() {
        let item = start.map(|s| &text[s..at]).unwrap_or_default();
        let file = item.trim_start_matches(['!', '-']).starts_with('^');
        match c {
            '[' => depth += 1,
            ']' if depth == 0 => return Err(ListError::new(format!("']' without '[' in '{text}'"))),
            ']' => depth -= 1,
            _ => {}
        }
        let between = depth == 0 && (c == ',' || c.is_ascii_whitespace());
        let infix =
            depth == 0 && matches!(c, '!' | '&' | '^') && !item.is_empty() && !file && item != "!" && item != "-";
        if !(between || infix) {
            start.get_or_insert(at);
            continue;
        }
        if start.take().is_some() {
            found.push((operator, item));
            operator = ',';
        }
        if infix {
            operator = c;
        }
    }
    if depth > 0 {
        return Err(ListError::new(format!("'[' without ']' in '{text}'")));
    }
    match start {
        Some(start) => found.push((operator, &text[start..])),
        None if operator != ',' => {
            return Err(ListError::new(format!("nothing follows the '{operator}' in '{text}'")));
        }
        None => {}
    }
    Ok(found)
}
