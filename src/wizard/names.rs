//! Host names: what a machine is called in full, and at which addresses it is (CW-25, TOK-01).

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};

/// A machine of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Fully qualified, in lower case.
    pub name: String,
    /// Where it is, loopback addresses left out. Never empty.
    pub addresses: Vec<IpAddr>,
}

impl Host {
    /// Without the domain.
    pub fn short(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Behind the first dot.
    pub fn domain(&self) -> &str {
        self.name.split_once('.').map_or("", |(_, domain)| domain)
    }
}

/// A name that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Not a name at all.
    #[error("'{0}' is not a host name")]
    Form(String),
    /// The resolver does not know it.
    #[error("the name {0} does not resolve")]
    Unknown(String),
    /// There is no domain in it, so machines in other domains could not find it.
    #[error("the system {0} has no fully qualified name")]
    Unqualified(String),
    /// Every address is a loopback address.
    #[error("the name {0} leads to loopback addresses only")]
    Loopback(String),
    /// The system does not know its own name.
    #[error("this system has no host name")]
    Nameless,
}

/// The name service.
pub trait Names {
    /// The name of this system, as `hostname` gives it.
    fn own(&self) -> Option<String>;

    /// The canonical name of a host.
    fn canonical(&self, name: &str) -> Option<String>;

    /// Its addresses.
    fn addresses(&self, name: &str) -> Vec<IpAddr>;

    /// The addresses of this system's interfaces, loopback and link-local ones left out.
    fn interfaces(&self) -> Vec<IpAddr>;
}

/// What the C library says: /etc/hosts, DNS, whatever nsswitch.conf names.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn own(&self) -> Option<String> {
        nix::unistd::gethostname().ok()?.into_string().ok()
    }

    fn canonical(&self, name: &str) -> Option<String> {
        crate::sys::names::canonical_name(name)
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        (name, 0u16)
            .to_socket_addrs()
            .map(|found| found.map(|a| a.ip().to_canonical()).collect())
            .unwrap_or_default()
    }

    fn interfaces(&self) -> Vec<IpAddr> {
        let Ok(list) = nix::ifaddrs::getifaddrs() else {
            return Vec::new();
        };
        let addresses = list.filter_map(|interface| {
            let address = interface.address?;
            if let Some(v4) = address.as_sockaddr_in() {
                return Some(IpAddr::V4(v4.ip()));
            }
            address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
        });
        unique(addresses.filter(|a| !a.is_loopback() && !link_local(*a)))
    }
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// In order, each once.
fn unique(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    addresses.filter(|address| seen.insert(*address)).collect()
}

/// Whether a word may be a host name: it goes into file names, policies and ssh's arguments.
pub fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

/// Finds a machine by any of its names. `own`: it is this system, whose name may lead to a loopback address.
///
/// # Errors
/// [`NameError`] says which part of the name service needs help.
pub fn find(names: &dyn Names, name: &str, own: bool) -> Result<Host, NameError> {
    let name = name.trim_end_matches('.');
    if !is_name(name) {
        return Err(NameError::Form(name.chars().take(80).collect()));
    }
    let found = names.addresses(name);
    if found.is_empty() {
        return Err(NameError::Unknown(name.to_string()));
    }
    let full = [names.canonical(name), Some(name.to_string())]
        .into_iter()
        .flatten()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .find(|name| name.contains('.') && is_name(name))
        .ok_or_else(|| NameError::Unqualified(name.to_string()))?;
    let mut addresses = unique(found.into_iter().filter(|a| !a.is_loopback()));
    if addresses.is_empty() && own {
        addresses = names.interfaces();
    }
    if addresses.is_empty() {
        return Err(NameError::Loopback(full));
    }
    Ok(Host { name: full, addresses })
}

/// CW-26, VAR-06: `*.` and the domain of each host, each once, the first host's first.
pub fn domain_list<'a>(hosts: impl IntoIterator<Item = &'a str>) -> String {
    let mut list: Vec<String> = Vec::new();
    for host in hosts {
        if let Some((_, domain)) = host.split_once('.') {
            let wildcard = format!("*.{}", domain.to_ascii_lowercase());
            if !list.contains(&wildcard) {
                list.push(wildcard);
            }
        }
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_list_has_each_domain_once_and_no_blanks_var_06() {
        let list = domain_list(["m.abc.xyz.com", "c1.cde.xyz.com", "c2.ABC.xyz.com"]);
        assert_eq!(list, "*.abc.xyz.com,*.cde.xyz.com");
    }

    #[test]
    fn words_that_are_no_names_are_refused_before_anything_sees_them() {
        for bad in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a/b",
            "10.0.0.1",
            "a..b",
            "a;b",
            "$(x)",
            "::1",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("web-1.example.com"));
    }

    struct Fake;
    impl Names for Fake {
        fn own(&self) -> Option<String> {
            Some("m".into())
        }
        fn canonical(&self, name: &str) -> Option<String> {
            (name == "m").then(|| "M.Example.com".into())
        }
        fn addresses(&self, name: &str) -> Vec<IpAddr> {
            match name {
                "gone" => vec![],
                _ => vec!["127.0.1.1".parse().unwrap()],
            }
        }
        fn interfaces(&self) -> Vec<IpAddr> {
            vec!["10.0.0.1".parse().unwrap()]
        }
    }

    #[test]
    fn a_master_whose_name_leads_to_loopback_is_found_by_its_interfaces() {
        let host = find(&Fake, "m", true).unwrap();
        assert_eq!(host.name, "m.example.com");
        assert_eq!(host.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(matches!(find(&Fake, "m", false), Err(NameError::Loopback(_))));
        assert!(matches!(find(&Fake, "x", false), Err(NameError::Unqualified(_))));
        assert!(matches!(find(&Fake, "gone", false), Err(NameError::Unknown(_))));
    }
}
