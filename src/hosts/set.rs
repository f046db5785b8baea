//! A set of hosts that remembers their order, and its algebra.

use std::collections::HashSet;

use super::host::Host;

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

    /// Whether every host of the other set is in this one.
    pub fn contains_all(&self, other: &HostSet) -> bool {
        other.known.is_subset(&self.known)
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
