//! `netconfig`: netmask and broadcast address of interfaces, and the default route (cfengine2.md 14.15).
//!
//! What is there is read from the kernel; what differs is set by ip(8). An address is exchanged in an order that never
//! leaves the interface without one, so that no route goes with it.

mod kernel;

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};

use super::action::{Action, Work, in_text_order};
use super::mounts::patience;
use super::report::{Level, RuleSwitches};
use super::{Job, Outcome, Run};
use crate::policy::{Rule, Section};
use kernel::{Address, addresses, exchange, ip, routes};

/// The line of the table.
pub static ACTION: Action = Action {
    name: "netconfig",
    section: Section::Interfaces,
    operator: "netconfig",
    expand,
    order: in_text_order,
    once: false,
    work: Work::All(work),
};

/// The class that tells there was no default route when `netconfig` looked.
const NO_DEFAULT_ROUTE: &str = "no_default_route";

/// How long the name of a gateway may take.
const LIMIT: Duration = Duration::from_secs(10);

fn expand(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    vec![(run.ctx.expand(rule.promiser.as_bstr()), BString::default())]
}

fn work(run: &mut Run<'_>, action: &'static Action) {
    let routes = routes();
    if routes.as_ref().is_ok_and(Vec::is_empty) {
        run.report.verbose("There is no default route");
        run.define(NO_DEFAULT_ROUTE.into());
    }
    let addresses = addresses();
    let broadcast = run
        .jobs(action)
        .into_iter()
        .find(|job| job.rule.section == Section::Broadcast);
    if run.pass == 1 || broadcast.is_some() {
        usual_interface(run, &addresses, broadcast.as_ref());
    }
    for job in run.jobs(action) {
        if !run.begin(action, &job) {
            continue;
        }
        run.report.rule = run.rule_switches(&job);
        let done = match job.rule.section {
            Section::Interfaces => interface(run, &job, &addresses),
            Section::DefaultRoute => match &routes {
                Ok(routes) => default_route(run, &job.object, routes),
                Err(error) => Err(format!("cannot read the routes: {error}")),
            },
            // Looked after with the interface above.
            _ => Ok(None),
        };
        match done {
            Ok(None) => {}
            Ok(Some(true)) => run.record(&job, Outcome::Repaired),
            Ok(Some(false)) => run.record(&job, Outcome::Kept),
            Err(why) => {
                let pos = &job.rule.pos;
                run.report.error(format_args!("{}:{}: {why}", pos.file, pos.line));
                run.record(&job, Outcome::Failed);
            }
        }
        run.report.rule = RuleSwitches::default();
        run.end(&job);
    }
}

/// The interface that `InterfaceName` (or the resource file) names gets the mask of `netmask` and the address of
/// `broadcast:`. Without a name it is the first one that is up.
fn usual_interface(run: &mut Run<'_>, addresses: &[Address], broadcast: Option<&Job>) {
    let named = run.ctx.get("InterfaceName").map(|name| run.ctx.expand(name.as_bstr()));
    let named = named.or_else(|| run.resources.get("ethernet").cloned());
    let first = addresses.iter().find(|address| !address.loopback);
    let Some(name) = named
        .clone()
        .or_else(|| first.map(|first| first.interface.clone().into()))
    else {
        return;
    };
    // Where no policy sets it, the variable holds what the first interface has.
    let mask = run.ctx.get("netmask").map(|mask| run.ctx.expand(mask.as_bstr()));
    let usual = first.map(|first| BString::from(first.mask.to_string()));
    let mask = mask.filter(|mask| Some(mask) != usual.as_ref());
    let cast = broadcast.map(|job| job.object.clone());
    if named.is_none() && mask.is_none() && cast.is_none() {
        return;
    }
    match set(run, name.as_bstr(), mask.as_ref(), cast.as_ref(), addresses) {
        Ok(true) => run.count(Outcome::Repaired),
        Ok(false) => run.count(Outcome::Kept),
        Err(why) => {
            run.count(Outcome::Failed);
            let place = broadcast.map(|job| format!("{}:{}: ", job.rule.pos.file, job.rule.pos.line));
            run.report.error(format_args!("{}{why}", place.unwrap_or_default()));
        }
    }
}

/// A rule of `interfaces:`.
fn interface(run: &mut Run<'_>, job: &Job, addresses: &[Address]) -> Result<Option<bool>, String> {
    let (mask, cast) = (run.value(job, "netmask"), run.value(job, "broadcast"));
    set(run, job.object.as_bstr(), mask.as_ref(), cast.as_ref(), addresses).map(Some)
}

/// Gives an interface's address its mask and its broadcast address. Gives whether they were others.
fn set(
    run: &mut Run<'_>,
    name: &BStr,
    mask: Option<&BString>,
    cast: Option<&BString>,
    addresses: &[Address],
) -> Result<bool, String> {
    let old = addresses
        .iter()
        .find(|address| address.interface.as_bytes() == name.as_bytes());
    let Some(old) = old else {
        return Err(format!("there is no interface {name} with an IPv4 address"));
    };
    let mask = match mask {
        Some(text) => netmask(text).ok_or_else(|| format!("{text} is no netmask"))?,
        None => old.mask,
    };
    let cast = match cast {
        Some(word) => Some(broadcast(word, old.ip, mask)?),
        // A new mask moves the address that belongs to the old one.
        None if mask != old.mask => Some(ones(old.ip, mask)),
        None => old.broadcast,
    };
    if mask == old.mask && cast == old.broadcast {
        return Ok(false);
    }
    let shown = |cast: Option<Ipv4Addr>| cast.map_or("no broadcast address".into(), |cast| format!("broadcast {cast}"));
    let what = format!(
        "interface {name}, {}, from netmask {} and {} to netmask {mask} and {}",
        old.ip,
        old.mask,
        shown(old.broadcast),
        shown(cast)
    );
    if run.dry {
        run.report.say(Level::Silent, format_args!("Need to change {what}"));
        return Ok(true);
    }
    exchange(old, mask, cast, addresses).map_err(|why| format!("cannot change {name}: {why}"))?;
    run.report.inform(format_args!("Changed {what}"));
    Ok(true)
}

/// The default route leads to this gateway. Gives whether it did not.
fn default_route(run: &mut Run<'_>, gateway: &BString, routes: &[Ipv4Addr]) -> Result<Option<bool>, String> {
    let wanted = resolve(gateway)?;
    if routes.first() == Some(&wanted) {
        return Ok(Some(false));
    }
    let what = match routes.first() {
        Some(old) => format!("the default route from {old} to {wanted}"),
        None => format!("the default route to {wanted}; there was none"),
    };
    if run.dry {
        run.report.say(Level::Silent, format_args!("Need to set {what}"));
        return Ok(Some(true));
    }
    // In one step: there is the old one or the new one. A gateway out of reach is refused by the kernel.
    ip(&["route", "replace", "default", "via", &wanted.to_string()])
        .map_err(|why| format!("the default route stays as it was: {why}"))?;
    run.report.inform(format_args!("Set {what}"));
    Ok(Some(true))
}

/// The address of a gateway; a name is asked for on the side.
fn resolve(gateway: &BString) -> Result<Ipv4Addr, String> {
    let name = gateway.to_str_lossy().into_owned();
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let asked = name.clone();
    let found = patience::within(LIMIT, move || {
        let all = (asked.as_str(), 0).to_socket_addrs().ok()?;
        all.map(|address| address.ip()).find_map(|ip| match ip {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
    });
    found
        .flatten()
        .ok_or_else(|| format!("the gateway {name} has no IPv4 address"))
}

/// `255.255.255.0`, `0xffffff00` or `24`; ones, then zeros.
fn netmask(text: &[u8]) -> Option<Ipv4Addr> {
    let text = text.to_str().ok()?.trim();
    let bits = if let Some(digits) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        u32::from_str_radix(digits, 16).ok()?
    } else if let Ok(length) = text.trim_start_matches('/').parse::<u32>() {
        (1..=32).contains(&length).then(|| u32::MAX << (32 - length))?
    } else {
        text.parse::<Ipv4Addr>().ok()?.into()
    };
    (bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32).then(|| bits.into())
}

/// `ones`, `zeros` (or `zeroes`), or an address.
fn broadcast(word: &BString, ip: Ipv4Addr, mask: Ipv4Addr) -> Result<Ipv4Addr, String> {
    match word.to_ascii_lowercase().as_slice() {
        b"ones" => Ok(ones(ip, mask)),
        b"zeros" | b"zeroes" => Ok((u32::from(ip) & u32::from(mask)).into()),
        text => {
            let address = text.to_str().ok().and_then(|text| text.parse().ok());
            address.ok_or_else(|| format!("broadcast cannot be {word} (ones or zeros)"))
        }
    }
}

fn ones(ip: Ipv4Addr, mask: Ipv4Addr) -> Ipv4Addr {
    (u32::from(ip) | !u32::from(mask)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netmask_is_ones_then_zeros() {
        for (text, wanted) in [
            ("255.255.254.0", Some([255, 255, 254, 0])),
            ("0xffffff00", Some([255, 255, 255, 0])),
            ("24", Some([255, 255, 255, 0])),
            ("255.0.255.0", None),
            ("0.0.0.0", None),
            ("33", None),
            ("x", None),
        ] {
            assert_eq!(netmask(text.as_bytes()), wanted.map(Ipv4Addr::from), "{text}");
        }
    }

    #[test]
    fn broadcast_is_all_ones_or_all_zeros_of_the_network() {
        let (ip, mask) = ("10.1.2.3".parse().unwrap(), "255.255.254.0".parse().unwrap());
        let made = |word: &str| broadcast(&word.into(), ip, mask).map(|cast| cast.to_string());
        assert_eq!(made("ones").unwrap(), "10.1.3.255");
        assert_eq!(made("zeroes").unwrap(), "10.1.2.0");
        assert_eq!(made("10.9.9.9").unwrap(), "10.9.9.9");
        assert_eq!(made("many").unwrap_err(), "broadcast cannot be many (ones or zeros)");
    }
}
