//! Ranges of addresses as policy writes them (cfengine2.md 19): an address, a prefix (`10.1.`), CIDR (`10.1.0.0/16`),
//! dashes in any part (`128.39.74-75.10-22`). IPv6: an address or CIDR.
//!
//! One parser for every list that admits or denies: what it does not understand is an error, never "no restriction".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;

/// A set of addresses, written as one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrRange {
    text: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Net(IpNetwork),
    /// Bounds for the leading parts of an IPv4 address; the parts that are not there are free.
    Parts(Vec<(u8, u8)>),
}

/// A word that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is neither an address, nor a prefix such as 10.1., a range such as 10.1.0.5-20 or a CIDR such as 10.1.0.0/16"
)]
pub struct NoRange(pub String);

impl AddrRange {
    /// Whether the address is in it. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (&self.form, address.to_canonical()) {
            (Form::Net(net), address) => net.contains(address),
            (Form::Parts(parts), IpAddr::V4(address)) => parts
                .iter()
                .zip(address.octets())
                .all(|(&(low, high), octet)| (low..=high).contains(&octet)),
            (Form::Parts(_), IpAddr::V6(_)) => false,
        }
    }

    /// Whether a word can only be meant as an address: digits, dots, dashes and a slash, or a colon.
    pub fn looks_like(word: &str) -> bool {
        !word.is_empty()
            && (word.contains(':') || word.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '/')))
    }
}

impl FromStr for AddrRange {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let form = if text.contains(':') || text.contains('/') {
            net(text)
        } else {
            parts(text)
        };
        match form {
            Some(form) => Ok(AddrRange {
                text: text.to_string(),
                form,
            }),
            None => Err(NoRange(text.to_string())),
        }
    }
}

impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn net(text: &str) -> Option<Form> {
    if let Some((address, bits)) = text.split_once('/') {
        // `10.1/16` is a prefix with its length: the missing parts are zero.
        let bits = bits.parse().ok().filter(|_| !bits.starts_with('+'))?;
        let address = match address.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => IpAddr::V4(filled(address)?),
        };
        return Some(Form::Net(unmapped(IpNetwork::new(address, bits).ok()?)?));
    }
    let address: IpAddr = text.parse().ok()?;
    Some(Form::Net(IpNetwork::from(address.to_canonical())))
}

/// A network of IPv4 addresses mapped into IPv6 is one of IPv4 addresses: that is how every address is looked at.
fn unmapped(net: IpNetwork) -> Option<IpNetwork> {
    match (net.ip().to_canonical(), net.prefix().checked_sub(96)) {
        (address @ IpAddr::V4(_), Some(bits)) if net.is_ipv6() => IpNetwork::new(address, bits).ok(),
        _ => Some(net),
    }
}

fn filled(prefix: &str) -> Option<Ipv4Addr> {
    let Form::Parts(parts) = parts(prefix)? else {
        return None;
    };
    let mut octets = [0; 4];
    for (octet, (low, high)) in octets.iter_mut().zip(parts) {
        if low != high {
            return None;
        }
        *octet = low;
    }
    Some(Ipv4Addr::from(octets))
}

fn parts(text: &str) -> Option<Form> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut parts = Vec::new();
    for part in text.split('.') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (octet(low)?, octet(high)?);
        if low > high || parts.len() == 4 {
            return None;
        }
        parts.push((low, high));
    }
    Some(Form::Parts(parts))
}

fn octet(text: &str) -> Option<u8> {
    (text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &str, address: &str) -> bool {
        range.parse::<AddrRange>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn every_written_form_holds_what_it_says_and_no_more() {
        for (range, inside, outside) in [
            ("10.1.0.5", "10.1.0.5", "10.1.0.50"),
            ("10.1.", "10.1.255.1", "10.10.0.1"),
            ("10.1", "10.1.2.3", "10.100.2.3"),
            ("10", "10.9.9.9", "100.9.9.9"),
            ("10.1.0.0/16", "10.1.7.7", "10.2.0.0"),
            ("10.1/16", "10.1.7.7", "10.2.0.0"),
            ("128.39.89.76/24", "128.39.89.1", "128.39.90.1"),
            ("128.39.74-75.10-22", "128.39.75.22", "128.39.75.23"),
            ("128.39.74-75.10-22", "128.39.74.10", "128.39.76.10"),
            ("10.1.0.5-20", "10.1.0.20", "10.1.0.4"),
            ("2001:db8::/32", "2001:db8:1::7", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("10.1.0.5", "::ffff:10.1.0.5", "::5"),
            ("::ffff:10.1.0.5", "10.1.0.5", "10.1.0.6"),
            ("::ffff:10.1.0.0/112", "10.1.7.7", "10.2.0.1"),
        ] {
            assert!(holds(range, inside), "{range} {inside}");
            assert!(!holds(range, outside), "{range} {outside}");
        }
    }

    #[test]
    fn what_is_no_range_is_an_error() {
        for text in [
            "",
            ".",
            "256.1",
            "10..1",
            "10.1.2.3.4",
            "10.5-1",
            "10.1.0.0/33",
            "10.-5",
            "a.b",
            "10.1-3/16",
            "+1.2",
            "10.1/+8",
        ] {
            assert!(text.parse::<AddrRange>().is_err(), "{text}");
        }
    }
}
