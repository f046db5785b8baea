//! Members, packages and verbs of a cluster behind one trait; standalone until a cluster is there.

mod corosync;

use crate::hosts::FileError;
use crate::sys::Paths;

/// A cluster as the tools see it.
pub trait Cluster {
    /// Its name, when it has one.
    fn name(&self) -> Option<&str>;
    /// The names of its members, in the order of its configuration. Empty: this machine is in no cluster.
    fn members(&self) -> &[String];
    /// The members that are up now, in the same order; none when that cannot be told from here.
    fn up(&self) -> Option<Vec<String>> {
        None
    }
}

/// No cluster.
pub struct Standalone;

impl Cluster for Standalone {
    fn name(&self) -> Option<&str> {
        None
    }
    fn members(&self) -> &[String] {
        &[]
    }
}

/// The cluster this machine is configured in: the nodelist of corosync.conf, else none. A configuration that is there
/// but cannot be read is an error: silently acting on one machine instead of all would be worse.
pub fn here(paths: &Paths) -> Result<Box<dyn Cluster>, FileError> {
    Ok(match corosync::read(&paths.at("/etc/corosync/corosync.conf"))? {
        Some(nodes) => Box::new(nodes),
        None => Box::new(Standalone),
    })
}
