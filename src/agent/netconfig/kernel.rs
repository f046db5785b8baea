//! Interfaces and routes as the kernel has them, and ip(8), which changes them.

use std::net::Ipv4Addr;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::sys::process::{self, Argv, Command};

/// How long one call of ip(8) may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where ip(8) is.
const IP: &[&str] = &["/sbin/ip", "/usr/sbin/ip", "/bin/ip", "/usr/bin/ip"];

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `eth0`; an address with a label of its own has that (`eth0:1`).
    pub interface: String,
    /// The address.
    pub ip: Ipv4Addr,
    /// Its netmask.
    pub mask: Ipv4Addr,
    /// Its broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// It is of the loopback interface.
    pub loopback: bool,
}

impl Address {
    /// The device: an address may have a label of its own (`eth0:1`).
    fn device(&self) -> &str {
        self.interface.split(':').next().unwrap_or_default()
    }

    fn form(&self) -> String {
        format!("{}/{}", self.ip, u32::from(self.mask).count_ones())
    }

    fn add(&self) -> Result<(), String> {
        let (form, cast) = (self.form(), self.broadcast.map(|cast| cast.to_string()));
        let mut words = vec!["address", "add", form.as_str()];
        if let Some(cast) = &cast {
            words.extend(["broadcast", cast]);
        }
        words.extend(["dev", self.device()]);
        if self.interface.contains(':') {
            words.extend(["label", &self.interface]);
        }
        ip(&words)
    }

    fn delete(&self) -> Result<(), String> {
        ip(&["address", "del", &self.form(), "dev", self.device()])
    }

    fn is_there(&self) -> bool {
        addresses()
            .iter()
            .any(|now| (now.ip, now.mask) == (self.ip, self.mask) && now.device() == self.device())
    }
}

/// Exchanges an address. A second form of it holds its place (and its routes) meanwhile; what fails is put back, and so
/// are further addresses of the network, which the kernel takes away with the first.
pub fn exchange(old: &Address, mask: Ipv4Addr, cast: Option<Ipv4Addr>, all: &[Address]) -> Result<(), String> {
    let with = |mask: Ipv4Addr, broadcast: Option<Ipv4Addr>| Address {
        mask,
        broadcast,
        ..old.clone()
    };
    let new = with(mask, cast);
    // One host alone: no network goes with it.
    let alone = if old.mask == Ipv4Addr::BROADCAST || mask == Ipv4Addr::BROADCAST {
        Ipv4Addr::new(255, 255, 255, 254)
    } else {
        Ipv4Addr::BROADCAST
    };
    let stand_in = with(alone, None);
    stand_in.add()?;
    let mut result = old.delete().and_then(|()| {
        new.add().map_err(|why| match old.add() {
            Ok(()) => why,
            Err(again) => format!("{why}; and the old address cannot be given back: {again}"),
        })
    });
    for other in all
        .iter()
        .filter(|other| other.device() == old.device() && other.ip != old.ip)
    {
        if !other.is_there() {
            result = result.and(other.add());
        }
    }
    // Where neither the new nor the old one is there, it is all the interface has.
    if new.is_there() || old.is_there() {
        stand_in.delete()?;
    }
    result
}

/// Runs ip(8).
pub fn ip(words: &[&str]) -> Result<(), String> {
    let program = IP.iter().find(|path| std::path::Path::new(path).exists());
    let program = program.ok_or("ip(8) of iproute2 is not installed")?;
    let mut line: Vec<BString> = vec![(*program).into()];
    line.extend(words.iter().map(|word| BString::from(*word)));
    let shown = BString::from(bstr::join(" ", &line));
    let mut command = Command::new(Argv::Direct(line));
    command.timeout = Some(LIMIT);
    let mut said: Vec<BString> = Vec::new();
    match process::run(&command, &mut |text| said.push(text.trim().into())) {
        Ok(outcome) if outcome.success() => Ok(()),
        Ok(outcome) => Err(format!(
            "{shown} ended with status {}: {}",
            outcome.status,
            bstr::join("; ", said).as_bstr()
        )),
        Err(error) => Err(format!("cannot run {shown}: {error}")),
    }
}

/// The IPv4 addresses of interfaces that are up.
pub fn addresses() -> Vec<Address> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    all.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|entry| {
            let v4 = |address: Option<nix::sys::socket::SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
            Some(Address {
                ip: v4(entry.address)?,
                mask: v4(entry.netmask)?,
                broadcast: v4(entry.broadcast).filter(|_| entry.flags.contains(InterfaceFlags::IFF_BROADCAST)),
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                interface: entry.interface_name,
            })
        })
        .collect()
}

/// The gateways of the default routes, the preferred one first. A default route without a gateway is `0.0.0.0`.
pub fn routes() -> std::io::Result<Vec<Ipv4Addr>> {
    std::fs::read_to_string("/proc/net/route").map(|text| gateways(&text))
}

fn gateways(table: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<(u32, Ipv4Addr)> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
            let default = number(1)? == 0 && number(7)? == 0 && number(3)? & 1 != 0;
            let metric = fields.get(6)?.parse().ok()?;
            default.then_some((metric, Ipv4Addr::from(number(2)?.to_ne_bytes())))
        })
        .collect();
    found.sort_by_key(|(metric, _)| *metric);
    found.into_iter().map(|(_, gateway)| gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_least_metric_counts() {
        let line = |to: u32, via: [u8; 4], metric: u32, mask: u32| {
            let via = u32::from_ne_bytes(via);
            format!("eth0\t{to:08X}\t{via:08X}\t0003\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
        };
        let table = [
            "Iface Destination ...\n".to_string(),
            line(0, [10, 0, 0, 2], 100, 0),
            line(0, [10, 0, 0, 1], 0, 0),
        ];
        assert_eq!(
            gateways(&table.concat()),
            ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<Ipv4Addr>().unwrap())
        );
        assert!(gateways(&line(0, [1, 1, 1, 1], 0, 0)).is_empty());
    }
}
