//! What ssh's own messages mean.

use std::fmt;

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

/// Why a host was not served, as a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// The name has no address.
    Resolve,
    /// No connection: refused, no route, network unreachable.
    Connect,
    /// No answer in time.
    TimeOut,
    /// The host key is not known here.
    HostKeyUnknown,
    /// The host key is not the one known here.
    HostKeyChanged,
    /// The host let nobody in: key or password refused.
    Auth,
    /// Closed before anyone was asked who they are: too many connections at once, or a server that is going down.
    Busy,
    /// The connection broke while the command ran.
    Lost,
    /// ssh could not begin: a bad option, an unreadable configuration.
    Setup,
}

/// A failure of ssh itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its kind.
    pub cause: Cause,
    /// What ssh said, in one line.
    pub said: String,
}

impl Cause {
    /// The cause in words.
    pub fn text(self) -> &'static str {
        match self {
            Cause::Resolve => "cannot resolve the name",
            Cause::Connect => "cannot connect",
            Cause::TimeOut => "no answer in time",
            Cause::HostKeyUnknown => "the host key is not known",
            Cause::HostKeyChanged => "the host key has changed",
            Cause::Auth => "login refused",
            Cause::Busy => "the connection was closed before login",
            Cause::Lost => "the connection was lost",
            Cause::Setup => "ssh could not start the connection",
        }
    }

    /// What an administrator can do about it.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Cause::HostKeyUnknown | Cause::Auth => Some("set up the trust with 'csshsetup HOST'"),
            Cause::HostKeyChanged => {
                Some("find out why; only when it is right, remove the old key with 'ssh-keygen -R HOST'")
            }
            _ => None,
        }
    }

    /// Whether trying again a moment later may help.
    pub fn passing(self) -> bool {
        self == Cause::Busy
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.said.is_empty() {
            true => f.write_str(self.cause.text()),
            false => write!(f, "{}: {}", self.cause.text(), self.said),
        }
    }
}

/// Reads ssh's own messages after it ended with 255. None: ssh had nothing to say, so 255 came from the remote command.
pub fn explain(log: &[u8]) -> Option<Trouble> {
    // Later lines are wider ("Connection closed"), earlier ones name the reason: the first table row that matches any
    // line wins, and the line that matched is what is shown.
    const SIGNS: &[(Cause, &[&str])] = &[
        (
            Cause::HostKeyChanged,
            &[
                "REMOTE HOST IDENTIFICATION HAS CHANGED",
                "has changed and you have requested strict checking",
                "REVOKED HOST KEY",
            ],
        ),
        (
            Cause::HostKeyUnknown,
            &["host key is known for", "Host key verification failed"],
        ),
        (
            Cause::Resolve,
            &["Could not resolve hostname", "hostname contains invalid characters"],
        ),
        (
            Cause::TimeOut,
            &[
                "Connection timed out",
                "Operation timed out",
                "timed out during banner exchange",
            ],
        ),
        (
            Cause::Auth,
            &[
                "Permission denied (",
                "Too many authentication failures",
                "No more authentication methods",
                "No supported authentication methods",
            ],
        ),
        (
            Cause::Connect,
            &[
                "Connection refused",
                "No route to host",
                "Network is unreachable",
                "ssh: connect to host",
                "Unable to negotiate",
            ],
        ),
        (
            Cause::Lost,
            &[
                "client_loop:",
                "Control master terminated",
                "Timeout, server",
                "closed by remote host.",
                "Broken pipe",
            ],
        ),
        (
            Cause::Busy,
            &[
                "kex_exchange_identification",
                "ssh_exchange_identification",
                "Connection closed by",
                "Connection reset by",
                "Exceeded MaxStartups",
            ],
        ),
    ];
    // What it says about kept connections is no failure: it goes on without.
    let noise = |line: &&[u8]| line.starts_with(b"ControlSocket ") || line.starts_with(b"mux_client_");
    let log: Vec<&[u8]> = log.lines().filter(|line| !noise(line)).collect();
    let lines: Vec<String> = log
        .iter()
        .map(|line| line.to_str_lossy().trim().to_string())
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .collect();
    let all: Vec<String> = log.iter().map(|line| line.to_str_lossy().trim().to_string()).collect();
    for (cause, signs) in SIGNS {
        let matches = |line: &&String| signs.iter().any(|sign| line.contains(sign));
        if all.iter().any(|line| matches(&line)) {
            let said = lines.iter().find(matches).or(lines.last());
            let said = said.map(|line| line.trim_start_matches("ssh: ").to_string());
            return Some(Trouble {
                cause: *cause,
                said: said.unwrap_or_default(),
            });
        }
    }
    lines.last().map(|line| Trouble {
        cause: Cause::Setup,
        said: line.clone(),
    })
}
