//! One host as a person writes it: `user@name:port`, `[2001:db8::1]:22`.

use std::fmt;
use std::net::Ipv6Addr;

/// A target of a fan-out: a name or address, and what differs from the defaults of ssh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// The name or address, without brackets. Never empty, never begins with `-`.
    pub name: String,
    /// The login name, when given.
    pub user: Option<String>,
    /// The port, when given.
    pub port: Option<u16>,
}

impl Host {
    /// A host with nothing but a name. Gives a sentence when it is not usable as one.
    pub fn named(name: &str) -> Result<Self, String> {
        if is_target(name) || name.parse::<Ipv6Addr>().is_ok() {
            return Ok(Host {
                name: name.to_string(),
                user: None,
                port: None,
            });
        }
        Err(format!("'{name}' is not a host name or address"))
    }

    /// Reads `user@name:port`; brackets hold an IPv6 address. No ranges: those are the list's (see [`super::expand`]).
    pub fn parse(text: &str) -> Result<Self, String> {
        Host::of(&Parts::split(text)?)
    }

    /// As [`Host::parse`], of what is taken apart already.
    pub(super) fn of(parts: &Parts<'_>) -> Result<Self, String> {
        let name = match parts.name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Some(inside) if inside.parse::<Ipv6Addr>().is_ok() => inside,
            _ => parts.name,
        };
        Ok(Host {
            user: parts.user.map(str::to_string),
            port: parts.port,
            ..Host::named(name)?
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.port, self.name.contains(':')) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.name),
            (Some(port), false) => write!(f, "{}:{port}", self.name),
            (None, _) => f.write_str(&self.name),
        }
    }
}

/// The three parts of a written host; the name may still hold ranges.
pub(super) struct Parts<'a> {
    pub user: Option<&'a str>,
    pub name: &'a str,
    pub port: Option<u16>,
}

impl<'a> Parts<'a> {
    pub fn split(text: &'a str) -> Result<Self, String> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) if is_user(user) => (Some(user), rest),
            Some((user, _)) => return Err(format!("'{user}' is not a user name (in '{text}')")),
            None => (None, text),
        };
        if !rest.contains(':') || rest.parse::<Ipv6Addr>().is_ok() {
            return Ok(Parts {
                user,
                name: rest,
                port: None,
            });
        }
        // A colon inside brackets belongs to an IPv6 address, the one after them to the port.
        let after = rest.rfind(']').map_or(0, |at| at + 1);
        let Some(colon) = rest[after..].find(':').map(|at| at + after) else {
            return Ok(Parts {
                user,
                name: rest,
                port: None,
            });
        };
        match rest[colon + 1..].parse::<u16>() {
            Ok(port @ 1..) => Ok(Parts {
                user,
                name: &rest[..colon],
                port: Some(port),
            }),
            _ => Err(format!("'{text}' has no port from 1 to 65535 after the colon")),
        }
    }
}

fn is_user(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+' | b'\\' | b'@' | b'$'))
}

/// What may be handed to ssh as a host: letters, digits and `. - _`; a zone (`%eth0`) only after an IPv6 address, which
/// is not a name and is not taken. Never something that ssh could read as an option.
fn is_target(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && !text.starts_with(['-', '.'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !is_no_address(text)
}

/// Four numbers with dots are meant as an IPv4 address: `10.1.0.256` is none, and no name either.
fn is_no_address(text: &str) -> bool {
    text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.split('.').count() == 4
        && text.split('.').any(|part| part.parse::<u8>().is_err())
}
