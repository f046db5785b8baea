//! Names of addresses: forward-confirmed reverse look-up behind a blocking call with a time-out.
//!
//! A name counts only when it leads back to the address: whoever owns the reverse zone can claim any name, only the
//! owner of the name can confirm it.

use std::net::IpAddr;
use std::time::Duration;

/// The confirmed names of an address, in lower case without a final dot, sorted. Empty when there is none, when nothing
/// confirms it, or when the time was up: the caller must treat an unknown name as not granted.
///
/// With the feature `dns` /etc/hosts and the servers of resolv.conf are asked; without, the C library is, which knows
/// no time-out of ours.
pub fn names_of(address: IpAddr, timeout: Duration) -> Vec<String> {
    let address = address.to_canonical();
    let mut names: Vec<String> = lookup::confirmed(address, timeout)
        .into_iter()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name.len() <= 255)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The TCP port of a service in /etc/services.
pub fn service_port(name: &str) -> Option<u16> {
    port_in(&std::fs::read_to_string("/etc/services").ok()?, name)
}

fn port_in(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

#[cfg(feature = "dns")]
mod lookup {
    use std::net::IpAddr;
    use std::time::Duration;

    use hickory_resolver::TokioResolver;
    use hickory_resolver::proto::rr::{Name, RData};

    /// Names of one address that are looked at.
    const MAX_NAMES: usize = 16;

    pub fn confirmed(address: IpAddr, timeout: Duration) -> Vec<String> {
        // The resolver lives for one question: changes of /etc/hosts and resolv.conf are seen at once, and no runtime
        // stays behind.
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return Vec::new();
        };
        runtime.block_on(async {
            tokio::time::timeout(timeout, ask(address, timeout))
                .await
                .unwrap_or_default()
        })
    }

    async fn ask(address: IpAddr, timeout: Duration) -> Vec<String> {
        let Ok(mut builder) = TokioResolver::builder_tokio() else {
            return Vec::new();
        };
        builder.options_mut().timeout = timeout / 2;
        builder.options_mut().attempts = 1;
        let Ok(resolver) = builder.build() else {
            return Vec::new();
        };
        let Ok(reverse) = resolver.reverse_lookup(Name::from(address)).await else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for record in reverse.answers().iter().take(MAX_NAMES) {
            let RData::PTR(name) = &record.data else {
                continue;
            };
            let text = name.0.to_ascii();
            // The dot keeps the search list of resolv.conf out of it.
            let mut full = name.0.clone();
            full.set_fqdn(true);
            let Ok(forward) = resolver.lookup_ip(full).await else {
                continue;
            };
            if forward.iter().any(|found| found.to_canonical() == address) {
                names.push(text);
            }
        }
        names
    }
}

#[cfg(not(feature = "dns"))]
mod lookup {
    use std::net::{IpAddr, ToSocketAddrs};
    use std::time::Duration;

    pub fn confirmed(address: IpAddr, _: Duration) -> Vec<String> {
        crate::sys::names::name_of(address)
            .into_iter()
            .filter(|name| {
                (name.as_str(), 0)
                    .to_socket_addrs()
                    .is_ok_and(|mut found| found.any(|found| found.ip().to_canonical() == address))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_has_the_name_that_etc_hosts_gives_it() {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let said = hosts
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("127.0.0.1") && words.any(|name| name == "localhost")
            });
        let names = names_of("127.0.0.1".parse().unwrap(), Duration::from_secs(5));
        assert_eq!(names.iter().any(|name| name == "localhost"), said, "{names:?}");
    }

    #[test]
    fn a_port_is_found_by_name_and_alias_of_its_tcp_line() {
        let text = "# c\ncfengine 1/udp\ncfengine\t5309/tcp cfe # x\n";
        assert_eq!(port_in(text, "cfengine"), Some(5309));
        assert_eq!(port_in(text, "cfe"), Some(5309));
        assert_eq!(port_in(text, "x"), None);
    }

    #[test]
    fn an_address_without_a_name_ends_in_time_with_none() {
        let start = std::time::Instant::now();
        // TEST-NET-1 of RFC 5737.
        assert!(names_of("192.0.2.77".parse().unwrap(), Duration::from_millis(600)).is_empty());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
