//! `IPRange` and `HostRange` (cfengine2.md 11): `128.39.73`, `10.1.2.0/24`, `128.39.74-75.10-22`, IPv6 likewise.

use std::net::{IpAddr, Ipv6Addr};

use bstr::{BString, ByteSlice};

/// A set of addresses.
#[derive(Debug, PartialEq)]
pub(super) enum Range {
    /// The first bits of an address; 4 or 16 bytes.
    Prefix(Vec<u8>, u32),
    /// Each part between two numbers, those left out free; parts of 8 or 16 bits.
    Parts(Vec<(u32, u32)>, bool),
}

impl Range {
    pub fn contains(&self, address: &IpAddr) -> bool {
        match (self, address) {
            (Range::Prefix(bytes, bits), IpAddr::V4(v4)) if bytes.len() == 4 => same_bits(bytes, &v4.octets(), *bits),
            (Range::Prefix(bytes, bits), IpAddr::V6(v6)) if bytes.len() == 16 => same_bits(bytes, &v6.octets(), *bits),
            (Range::Parts(parts, false), IpAddr::V4(v4)) => {
                within(parts, v4.octets().iter().map(|part| u32::from(*part)))
            }
            (Range::Parts(parts, true), IpAddr::V6(v6)) => {
                within(parts, v6.segments().iter().map(|part| u32::from(*part)))
            }
            _ => false,
        }
    }
}

fn within(parts: &[(u32, u32)], address: impl Iterator<Item = u32>) -> bool {
    parts
        .iter()
        .zip(address)
        .all(|((low, high), part)| (*low..=*high).contains(&part))
}

fn same_bits(a: &[u8], b: &[u8], bits: u32) -> bool {
    (0..bits as usize).all(|bit| {
        let mask = 0x80u8 >> (bit % 8);
        a[bit / 8] & mask == b[bit / 8] & mask
    })
}

/// Reads a range.
pub(super) fn parse(range: &BString) -> Result<Range, String> {
    let wrong = || format!("'{range}' is no range of addresses");
    let text = range.trim().to_str().map_err(|_| wrong())?;
    if let Some((address, bits)) = text.split_once('/') {
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        let bytes = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        return match bits as usize <= bytes.len() * 8 {
            true => Ok(Range::Prefix(bytes, bits)),
            false => Err(wrong()),
        };
    }
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Ok(Range::Prefix(v6.octets().to_vec(), 128));
    }
    let six = text.contains(':');
    let (separator, radix, most, highest) = if six { (':', 16, 8, 0xffff) } else { ('.', 10, 4, 255) };
    let parts: Option<Vec<(u32, u32)>> = text
        .trim_end_matches(separator)
        .split(separator)
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let low = u32::from_str_radix(low, radix).ok()?;
            let high = u32::from_str_radix(high, radix).ok()?;
            (low <= high && high <= highest).then_some((low, high))
        })
        .collect();
    match parts {
        Some(parts) if parts.len() <= most => Ok(Range::Parts(parts, six)),
        _ => Err(wrong()),
    }
}

/// Whether a short host name is a base name and a number in a range (`a-b`).
pub(super) fn host_in_range(host: &[u8], base: &[u8], range: &BString) -> Result<bool, String> {
    let wrong = || format!("HostRange needs a range such as 1-32, not '{range}'");
    let (low, high) = range
        .to_str()
        .ok()
        .and_then(|text| text.split_once('-'))
        .ok_or_else(wrong)?;
    let low: u64 = low.trim().parse().map_err(|_| wrong())?;
    let high: u64 = high.trim().parse().map_err(|_| wrong())?;
    let host = host.to_ascii_lowercase();
    let number = host
        .strip_prefix(base.to_ascii_lowercase().as_slice())
        .filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| digits.to_str().ok()?.parse::<u64>().ok());
    Ok(number.is_some_and(|number| (low..=high).contains(&number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &str, address: &str) -> bool {
        parse(&range.into()).unwrap().contains(&address.parse().unwrap())
    }

    #[test]
    fn a_range_of_addresses_is_a_prefix_a_cidr_block_or_parts_between_numbers() {
        assert!(holds("128.39.73", "128.39.73.4"));
        assert!(!holds("128.39.7", "128.39.73.4"));
        assert!(holds("10.1.2.0/24", "10.1.2.200"));
        assert!(!holds("10.1.2.0/25", "10.1.2.200"));
        assert!(holds("128.39.74-75.10-22", "128.39.75.22"));
        assert!(!holds("128.39.74-75.10-22", "128.39.75.23"));
        assert!(holds("129.0.0.1-15", "129.0.0.15"));
        assert!(holds("2001:db8::/32", "2001:db8::7"));
        assert!(!holds("2001:db8::/32", "10.0.0.1"));
        assert!(parse(&"10.1.2.3/33".into()).is_err());
        assert!(parse(&"10.300".into()).is_err());
    }

    #[test]
    fn a_host_range_takes_leading_zeros_and_any_case() {
        let range = BString::from("1-32");
        assert!(host_in_range(b"CPU-01", b"cpu-", &range).unwrap());
        assert!(!host_in_range(b"cpu-33", b"cpu-", &range).unwrap());
        assert!(!host_in_range(b"cpu-1x", b"cpu-", &range).unwrap());
        assert!(host_in_range(b"cpu-1", b"cpu-", &"x".into()).is_err());
    }
}
