//! What cfservd.conf says.

use std::collections::HashSet;
use std::net::IpAddr;

use bstr::BString;

use super::rules::{Access, Pattern, names_needed};

/// The settings of a server. The default admits nobody.
#[derive(Clone, Debug)]
pub struct Config {
    /// admit, grant and deny.
    pub access: Access,
    /// AllowConnectionsFrom: when given, no other address may connect.
    pub allow: Option<Vec<Pattern>>,
    /// DenyConnectionsFrom.
    pub deny: Vec<Pattern>,
    /// AllowMultipleConnectionsFrom: others get one connection at a time.
    pub multiple: Vec<Pattern>,
    /// TrustKeysFrom: an unknown key is accepted and stored.
    pub trust: Vec<Pattern>,
    /// DynamicAddresses: a known key may come from another address.
    pub dynamic: Vec<Pattern>,
    /// MaxConnections.
    pub max_connections: usize,
    /// AllowUsers: who may start the agent.
    pub users: Vec<String>,
    /// cfrunCommand, split at blanks.
    pub command: Vec<BString>,
    /// LogAllConnections.
    pub log_all: bool,
    /// BindToInterface.
    pub bind: Option<IpAddr>,
    /// DenyBadClocks: refuse a client whose clock is more than an hour off.
    pub deny_bad_clocks: bool,
    /// The classes that are true on this host, for cfrun.
    pub classes: HashSet<BString>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            access: Access::default(),
            allow: None,
            deny: Vec::new(),
            multiple: Vec::new(),
            trust: Vec::new(),
            dynamic: Vec::new(),
            max_connections: 10,
            users: Vec::new(),
            command: Vec::new(),
            log_all: false,
            bind: None,
            deny_bad_clocks: true,
            classes: HashSet::new(),
        }
    }
}

impl Config {
    /// Whether names of clients are needed to decide about a connection as such.
    pub fn names_needed_to_connect(&self) -> bool {
        [&self.deny, &self.multiple]
            .into_iter()
            .chain(&self.allow)
            .any(|list| names_needed(list))
    }

    /// Whether names of clients are needed at all.
    pub fn names_needed(&self) -> bool {
        self.access.names_needed()
            || self.names_needed_to_connect()
            || names_needed(&self.trust)
            || names_needed(&self.dynamic)
    }
}
