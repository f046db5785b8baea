//! Servers over the csync protocol as [`Sources`]: one connection a server, kept for the whole run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bstr::{BStr, ByteSlice};

use super::sources::{OpenOptions, Sources, is_local};
use crate::fsx::{Local, Source, SourceError};
use crate::state::{Direction, Sighting, Standing, Store};
use crate::sync::{self, Remote, Shelf};
use crate::sys::Paths;
use crate::wire::{self, Policy};

/// How long a run comes again to a server that is too busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers of a run.
pub struct Servers {
    paths: Paths,
    port: u16,
    own: Vec<IpAddr>,
    force_net: bool,
    open: BTreeMap<String, Remote>,
    /// Servers that did not answer, and why: a policy of many copies waits for a dead master once, not at every rule.
    away: BTreeMap<String, String>,
    seen: Vec<Sighting>,
    /// The policy that servers were told.
    policy: Option<Standing>,
}

impl Servers {
    /// No connection yet. `own` are this machine's addresses: a server that has one of them is this machine, and its
    /// files are copied without a server unless `force_net` says otherwise (`-b`).
    pub fn new(paths: &Paths, own: Vec<IpAddr>, force_net: bool) -> Self {
        let port = sync::Options::default().port;
        Servers {
            paths: paths.clone(),
            port,
            own,
            force_net,
            open: BTreeMap::new(),
            away: BTreeMap::new(),
            seen: Vec::new(),
            policy: None,
        }
    }

    /// Servers that listen on another port than `cfengine` of /etc/services.
    pub fn on_port(self, port: u16) -> Self {
        Servers { port, ..self }
    }
}

impl Sources for Servers {
    fn open(&mut self, server: &BStr, options: &OpenOptions) -> Result<Box<dyn Source + '_>, SourceError> {
        if is_local(server) && !self.force_net {
            return Ok(Box::new(Local::new(options.stealth)));
        }
        let name = server
            .to_str()
            .map_err(|_| SourceError::Unreachable(format!("Unknown host {server}: it is not a host name")))?;
        // Looked up once a run: a server that is connected is not asked for again.
        if let Some(why) = self.away.get(name) {
            return Err(SourceError::Unreachable(why.clone()));
        }
        if !self.open.contains_key(name) {
            let addresses = sync::resolve(name, self.port)?;
            if !self.force_net
                && addresses
                    .iter()
                    .all(|a| a.ip().is_loopback() || self.own.contains(&a.ip()))
            {
                return Ok(Box::new(Local::new(options.stealth)));
            }
            let mut how = sync::Options {
                paths: self.paths.clone(),
                port: self.port,
                ..sync::Options::default()
            };
            how.trustkey = options.trust;
            how.bind = options.bind;
            how.compress = options.compress;
            how.ipv4_only = options.ipv4_only;
            how.patience = PATIENCE;
            let file = self.paths.state().join(Standing::FILE);
            let policy = || Store::peek(&file).ok().flatten();
            self.policy = self.policy.take().or_else(policy);
            how.policy = self.policy.as_ref().map(told);
            how.timeout = options.timeout.unwrap_or(how.timeout);
            how.connect = options.timeout.unwrap_or(how.connect);
            match sync::connect(name, &how) {
                Ok(remote) => {
                    self.seen.push(Sighting {
                        direction: Direction::Out,
                        address: remote.address().ip(),
                        name: name.to_string(),
                        at: jiff::Timestamp::now().as_second(),
                        policy: None,
                    });
                    self.open.insert(name.to_string(), remote)
                }
                Err(SourceError::Unreachable(why)) => {
                    self.away.insert(name.to_string(), why.clone());
                    return Err(SourceError::Unreachable(why));
                }
                Err(error) => return Err(error),
            };
        }
        match self.open.get_mut(name) {
            Some(remote) => {
                let shelf = options.memory.clone().map(|store| Box::new(Manifests(store)) as _);
                remote.set_shelf(shelf);
                Ok(Box::new(remote))
            }
            None => Err(SourceError::Missing),
        }
    }

    fn runs(&mut self, policy: &Standing) {
        if self.policy.as_ref() == Some(policy) {
            return;
        }
        self.policy = Some(policy.clone());
        for remote in self.open.values_mut() {
            remote.tell_policy(told(policy));
        }
    }

    fn take_sightings(&mut self) -> Vec<Sighting> {
        std::mem::take(&mut self.seen)
    }

    fn take_notes(&mut self) -> Vec<String> {
        self.open.values_mut().flat_map(Remote::take_notes).collect()
    }
}

fn told(policy: &Standing) -> Policy {
    let short = |text: &str| {
        let bytes = <Vec<u8> as bstr::ByteVec>::unescape_bytes(text);
        bytes.into_iter().take(wire::MAX_NAME).collect::<Vec<u8>>().into()
    };
    Policy {
        id: short(&policy.id),
        since: policy.since,
        version: short(&policy.version),
    }
}

/// Manifests in the store, each in a file of its own. The checksum of the file is the digest of the manifest.
struct Manifests(Store);

const MANIFESTS: &str = "manifests";

impl Shelf for Manifests {
    fn find(&self, name: &str) -> Option<(Vec<u8>, [u8; 32])> {
        self.0.cached(&format!("{MANIFESTS}/{name}"))
    }

    fn keep(&self, name: &str, body: &[u8], _digest: &[u8; 32]) {
        // Not kept, it is only sent again: nothing to be told.
        let _ = self.0.cache_in(MANIFESTS, name, body);
    }
}
