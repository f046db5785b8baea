//! A set of hosts that remembers their order, and its algebra.

use indexmap::IndexSet;

use super::host::Host;

/// A set of hosts that remembers the order in which they were added. Equal as sets: order does not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSet(IndexSet<Host>);

impl HostSet {
    /// An empty set.
    pub fn new() -> Self {
        HostSet::default()
    }

    /// Adds a host; a host that is there already keeps its place.
    pub fn insert(&mut self, host: Host) {
        self.0.insert(host);
    }

    /// Whether the host is in the set.
    pub fn contains(&self, host: &Host) -> bool {
        self.0.contains(host)
    }

    /// Whether every host of the other set is in this one.
    pub fn contains_all(&self, other: &HostSet) -> bool {
        other.0.is_subset(&self.0)
    }

    /// How many hosts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hosts in the order they were added.
    pub fn iter(&self) -> indexmap::set::Iter<'_, Host> {
        self.0.iter()
    }

    /// Adds all hosts of another set.
    pub fn add(&mut self, other: &HostSet) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Takes away the hosts of another set.
    pub fn minus(&mut self, other: &HostSet) {
        if !other.is_empty() {
            self.keep(|host| !other.contains(host));
        }
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

    /// Keeps the hosts that `wanted` says yes to.
    pub fn keep(&mut self, wanted: impl Fn(&Host) -> bool) {
        self.0.retain(wanted);
    }
}

impl FromIterator<Host> for HostSet {
    fn from_iter<T: IntoIterator<Item = Host>>(hosts: T) -> Self {
        HostSet(hosts.into_iter().collect())
    }
}

impl IntoIterator for HostSet {
    type Item = Host;
    type IntoIter = indexmap::set::IntoIter<Host>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
