//! What was found out about this host, once, at the start of a run; classes and variables are made from it purely.

use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::utsname::uname;

use super::LANGUAGE_VERSION;
use super::distribution::{self, canonify};
use crate::sys::names;

/// How long the resolver may take to tell this host its full name, before the short one has to do.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its netmask, where it is known.
    pub netmask: Option<IpAddr>,
}

/// This host: names, kernel, distribution, addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The name up to the first dot.
    pub short: String,
    /// The full name; the short one where no domain is known.
    pub full: String,
    /// `Linux`
    pub system: String,
    /// `6.1.0-18-amd64`
    pub release: String,
    /// `#1 SMP …`
    pub version: String,
    /// `x86_64`
    pub machine: String,
    /// Classes of the distribution.
    pub distribution: Vec<String>,
    /// Addresses, loopback left out.
    pub interfaces: Vec<Interface>,
}

impl Host {
    /// Looks at this machine.
    pub fn detect() -> Self {
        let mut host = Host {
            distribution: distribution::classes(Path::new("/")),
            ..Host::default()
        };
        let mut node = String::from("localhost");
        if let Ok(kernel) = uname() {
            let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
            host.system = text(kernel.sysname());
            host.release = text(kernel.release());
            host.version = text(kernel.version());
            host.machine = text(kernel.machine());
            node = text(kernel.nodename());
        }
        host.full = full_name(&node);
        host.short = host.full.split('.').next().unwrap_or_default().to_string();
        host.interfaces = interfaces();
        host
    }

    /// The domain, or `undefined.domain` (cfengine2.md 12).
    pub fn domain(&self) -> &str {
        self.full
            .split_once('.')
            .map_or("undefined.domain", |(_, domain)| domain)
    }

    /// The hard class: the system's name in lower case.
    pub fn hard_class(&self) -> String {
        canonify(&self.system.to_ascii_lowercase())
    }

    /// Hard classes, not yet those of time.
    pub fn classes(&self) -> Vec<String> {
        let hard = self.hard_class();
        let (machine, release) = (canonify(&self.machine), canonify(&self.release));
        let mut out = vec!["any".into(), hard.clone(), format!("compiled_on_{hard}_gnu")];
        let mut language = String::from("cfengine");
        for part in LANGUAGE_VERSION.split('.') {
            language = format!("{language}_{part}");
            out.push(language.clone());
        }
        out.push(if cfg!(target_pointer_width = "64") {
            "64_bit".into()
        } else {
            "32_bit".into()
        });
        out.push(machine.clone());
        out.push(format!("{hard}_{release}"));
        out.push(format!("{hard}_{machine}"));
        out.push(format!("{hard}_{machine}_{release}"));
        out.push(canonify(&self.arch()));
        out.extend(self.distribution.iter().cloned());
        out.push(canonify(&self.short));
        let mut tail = self.full.as_str();
        loop {
            out.push(canonify(tail));
            match tail.split_once('.') {
                Some((_, rest)) => tail = rest,
                None => break,
            }
        }
        if !self.full.contains('.') {
            out.push("undefined_domain".into());
        }
        for interface in &self.interfaces {
            out.push(format!("net_iface_{}", canonify(&interface.name)));
            if let IpAddr::V4(v4) = interface.address {
                let [a, b, c, d] = v4.octets();
                out.push(format!("ipv4_{a}_{b}_{c}_{d}"));
                out.push(format!("ipv4_{a}_{b}_{c}"));
                out.push(format!("ipv4_{a}_{b}"));
                out.push(format!("ipv4_{a}"));
                out.push(format!("{a}_{b}_{c}"));
            }
        }
        out.sort();
        out.dedup();
        out
    }

    /// Special variables of the language (cfengine2.md 10), not yet those of time.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = vec![
            ("arch".into(), self.arch()),
            ("ostype".into(), format!("{}_{}", self.hard_class(), self.machine)),
            ("class".into(), self.hard_class()),
            ("host".into(), self.short.clone()),
            ("fqhost".into(), self.full.clone()),
            ("domain".into(), self.domain().to_ascii_lowercase()),
            ("version".into(), LANGUAGE_VERSION.into()),
        ];
        let mut seen: Vec<&str> = Vec::new();
        for interface in &self.interfaces {
            let IpAddr::V4(v4) = interface.address else {
                continue;
            };
            if seen.is_empty() {
                out.push(("ipaddress".into(), v4.to_string()));
                if let Some(mask) = interface.netmask {
                    out.push(("netmask".into(), mask.to_string()));
                }
            }
            // The first address of an interface speaks for it.
            if seen.contains(&interface.name.as_str()) {
                continue;
            }
            seen.push(&interface.name);
            let [a, b, c, _] = v4.octets();
            out.push((format!("ipv4[{}]", interface.name), v4.to_string()));
            out.push((format!("ipv4_1[{}]", interface.name), a.to_string()));
            out.push((format!("ipv4_2[{}]", interface.name), format!("{a}.{b}")));
            out.push((format!("ipv4_3[{}]", interface.name), format!("{a}.{b}.{c}")));
        }
        out
    }

    /// `linux_x86_64_6_1_0__1_SMP…`: system, machine, release and version.
    fn arch(&self) -> String {
        canonify(&format!(
            "{}_{}_{}_{}",
            self.hard_class(),
            self.machine,
            self.release,
            self.version
        ))
    }
}

/// The full name of a node: as it is when it has a dot, else what the resolver says within [`NAME_PATIENCE`].
fn full_name(node: &str) -> String {
    if node.contains('.') {
        return node.to_string();
    }
    let (send, receive) = mpsc::channel();
    let asked = node.to_string();
    // The C resolver cannot be interrupted: it is asked on the side and, when it is too slow, left behind.
    let asker = std::thread::Builder::new().name("resolver".into()).spawn(move || {
        let _ = send.send(names::canonical_name(&asked));
    });
    let answer = asker
        .ok()
        .and_then(|_| receive.recv_timeout(NAME_PATIENCE).ok().flatten());
    match answer {
        Some(name) if name.split('.').next() == Some(node) => name.trim_end_matches('.').to_string(),
        _ => node.to_string(),
    }
}

fn interfaces() -> Vec<Interface> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    all.filter(|entry| {
        entry.flags.contains(InterfaceFlags::IFF_UP) && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    })
    .filter_map(|entry| {
        let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
            let address = address?;
            if let Some(v4) = address.as_sockaddr_in() {
                return Some(IpAddr::from(v4.ip()));
            }
            address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()))
        };
        let address = ip(entry.address)?;
        Some(Interface {
            name: entry.interface_name.clone(),
            address,
            netmask: ip(entry.netmask),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node7() -> Host {
        Host {
            short: "node7".into(),
            full: "node7.example.org".into(),
            system: "Linux".into(),
            release: "6.1.0-18-amd64".into(),
            version: "#1 SMP".into(),
            machine: "x86_64".into(),
            distribution: vec!["debian".into()],
            interfaces: vec![Interface {
                name: "eth0".into(),
                address: "10.20.30.7".parse().unwrap(),
                netmask: Some("255.255.255.0".parse().unwrap()),
            }],
        }
    }

    #[test]
    fn a_host_has_classes_for_its_name_its_domains_and_its_addresses() {
        let classes = node7().classes();
        for class in [
            "any",
            "linux",
            "node7",
            "node7_example_org",
            "example_org",
            "org",
            "ipv4_10_20_30_7",
            "ipv4_10",
            "10_20_30",
        ] {
            assert!(classes.iter().any(|c| c == class), "{class} is missing in {classes:?}");
        }
        for class in [
            "cfengine_2",
            "cfengine_2_2_10",
            "64_bit",
            "linux_x86_64",
            "net_iface_eth0",
        ] {
            assert!(classes.iter().any(|c| c == class), "{class} is missing in {classes:?}");
        }
        assert!(!classes.iter().any(|c| c == "undefined_domain"));
    }

    #[test]
    fn a_host_without_a_domain_says_so() {
        let host = Host {
            full: "node7".into(),
            ..node7()
        };
        assert!(host.classes().iter().any(|c| c == "undefined_domain"));
        assert_eq!(host.domain(), "undefined.domain");
    }

    #[test]
    fn the_variables_name_the_host_and_its_first_address() {
        let variables = node7().variables();
        let get = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(get("fqhost"), Some("node7.example.org"));
        assert_eq!(get("domain"), Some("example.org"));
        assert_eq!(get("ipaddress"), Some("10.20.30.7"));
        assert_eq!(get("ipv4_3[eth0]"), Some("10.20.30"));
        assert_eq!(get("class"), Some("linux"));
    }

    #[test]
    fn this_machine_has_a_name_and_a_kernel() {
        let host = Host::detect();
        assert_eq!(host.hard_class(), "linux");
        assert!(!host.short.is_empty() && !host.short.contains('.'));
    }
}
