//! Addresses, TCP, keys, the greeting.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bstr::BString;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect as connect_socket, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::link::Link;
use super::patience::{chance, pause};
use super::{NO_KEYS, Remote};
use crate::fsx::SourceError;
use crate::keys::{KeyError, PublicKey, Store};
use crate::sys::Paths;
use crate::tls::{Deadline, Identity, TlsError};
use crate::wire::{self, Code, Hello, Policy, Reply, Request};

/// Round trips that are longer make a line one on which bytes are dearer than the work of packing them.
const FAR: Duration = Duration::from_millis(2);

/// Whether servers are to pack what they send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Those that are far away.
    #[default]
    Auto,
    /// All.
    On,
    /// None.
    Off,
}

impl Compress {
    /// `Compress` of a policy.
    pub fn named(word: &[u8]) -> Option<Self> {
        let words: [(&[u8], Self); 3] = [(b"auto", Self::Auto), (b"on", Self::On), (b"off", Self::Off)];
        let word = word.trim_ascii();
        let found = words.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    /// Whether a server is asked for it that is so far away.
    fn wants(self, away: Option<Duration>) -> bool {
        match self {
            Compress::Auto => away.is_some_and(|away| away > FAR),
            Compress::On => true,
            Compress::Off => false,
        }
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the keys are.
    pub paths: Paths,
    /// TCP port.
    pub port: u16,
    /// Accept and store the key of a server that has none stored yet. A differing key is never accepted.
    pub trustkey: bool,
    /// How long to wait for a connection to each address of the server.
    pub connect: Duration,
    /// How long to wait for each next sign of life of a server that is connected.
    pub timeout: Duration,
    /// How long to come again to a server that is too busy; zero = not at all.
    pub patience: Duration,
    /// The policy that runs here, for the server to know.
    pub policy: Option<Policy>,
    /// Whether the server is to pack what it sends.
    pub compress: Compress,
    /// The address to connect from.
    pub bind: Option<IpAddr>,
    /// Leave out the IPv6 addresses of the server.
    pub ipv4_only: bool,
    /// Name of the program, for the server's log.
    pub program: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            paths: Paths::from_env(),
            port: port(),
            trustkey: false,
            // cfengine2.md 12: TimeOut.
            connect: Duration::from_secs(10),
            // A server that works gives a sign of life every two seconds.
            timeout: Duration::from_secs(20),
            patience: Duration::ZERO,
            policy: None,
            compress: Compress::default(),
            bind: None,
            ipv4_only: false,
            program: concat!("dsau ", env!("CARGO_PKG_VERSION")).to_string(),
        }
    }
}

/// The port cfservd listens on: `cfengine` in /etc/services, or 5308.
pub fn port() -> u16 {
    crate::dns::service_port("cfengine").unwrap_or(wire::PORT)
}

/// The addresses of a server, by the system's own rules (nsswitch.conf, /etc/hosts).
pub fn resolve(server: &str, port: u16) -> Result<Vec<SocketAddr>, SourceError> {
    let unknown = |why: &str| SourceError::Unreachable(format!("Unknown host {server}: {why}"));
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (server, port)
        .to_socket_addrs()
        .map_err(|_| unknown("the name has no address; try its fully qualified name"))?
    {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if !found.contains(&address) {
            found.push(address);
        }
    }
    match found.is_empty() {
        true => Err(unknown("the name has no address; try its fully qualified name")),
        false => Ok(found),
    }
}

/// Connects to a server and authenticates both sides. To one that is too busy it comes again as long as
/// [`Options::patience`] lasts.
pub fn connect(server: &str, options: &Options) -> Result<Remote, SourceError> {
    let began = Instant::now();
    let mut attempts = 0;
    loop {
        let (why, again) = match connect_once(server, options) {
            Err(SourceError::Busy(why, again)) => (why, again),
            other => return other,
        };
        let wait = pause(attempts, again, chance());
        if began.elapsed() + wait > options.patience {
            return Err(SourceError::Unreachable(why));
        }
        std::thread::sleep(wait);
        attempts += 1;
    }
}

fn connect_once(server: &str, options: &Options) -> Result<Remote, SourceError> {
    let mut addresses = resolve(server, options.port)?;
    if options.ipv4_only {
        addresses.retain(SocketAddr::is_ipv4);
    }
    let store = Store::at(options.paths.ppkeys());
    let key = store.load_local().map_err(|fault| match fault {
        KeyError::Missing(_) => SourceError::Authentication(NO_KEYS.to_string()),
        other => SourceError::Authentication(other.to_string()),
    })?;
    let identity = Identity::new(&key).map_err(|e| SourceError::Authentication(e.to_string()))?;
    let mut last = SourceError::Unreachable(format!("Unknown host {server}: the name has no IPv4 address"));
    for address in addresses {
        match tcp(address, options) {
            Ok(tcp) => {
                let dial = Dial {
                    server: server.to_string(),
                    address,
                    options: options.clone(),
                    identity,
                    store,
                };
                return Remote::open(dial, tcp);
            }
            Err(error) => last = unreachable(server, address, &error),
        }
    }
    Err(last)
}

/// A connection that was welcomed.
pub(super) struct Greeted {
    pub stream: Link,
    /// What a person may want to know.
    pub notes: Vec<String>,
    /// The optional parts of the protocol that both sides know.
    pub features: u32,
}

/// All that is needed to connect (again).
pub(super) struct Dial {
    pub server: String,
    pub address: SocketAddr,
    pub options: Options,
    identity: Identity,
    store: Store,
}

impl Dial {
    /// Connects once more.
    pub fn tcp(&self) -> Result<TcpStream, SourceError> {
        tcp(self.address, &self.options).map_err(|e| unreachable(&self.server, self.address, &e))
    }

    /// Authenticates. Gives the stream, ready for requests.
    pub fn greet(&self, tcp: TcpStream) -> Result<Greeted, SourceError> {
        let known = self
            .store
            .trusted("root", self.address.ip())
            .map_err(|fault| SourceError::Authentication(fault.to_string()))?;
        if known.is_none() && !self.options.trustkey {
            return Err(SourceError::Authentication(format!(
                "Not authorized to trust the server={}'s public key (trustkey=false)",
                self.server
            )));
        }
        let (stream, key) = self
            .identity
            .connect(tcp, known, self.deadline())
            .map_err(|error| self.tls(error))?;
        let mut stream = Link::new(stream);
        let mut notes = Vec::new();
        if known.is_none() {
            notes.push(format!(
                "Trusting server identity and willing to accept key from {}={}",
                self.server,
                self.address.ip()
            ));
        }
        let features = self.hello(&mut stream)?;
        if known.is_none() {
            self.trust(&key)?;
        }
        Ok(Greeted {
            stream,
            notes,
            features,
        })
    }

    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.options.timeout)
    }

    fn trust(&self, key: &PublicKey) -> Result<(), SourceError> {
        self.store
            .trust("root", self.address.ip(), key)
            .map(|_| ())
            .map_err(|fault| SourceError::Authentication(fault.to_string()))
    }

    /// Gives the features both know.
    fn hello(&self, stream: &mut Link) -> Result<u32, SourceError> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
            .unwrap_or(0);
        let offered = match self.options.compress.wants(stream.out().round_trip()) {
            true => wire::FEATURES,
            false => wire::FEATURES & !wire::PACKED,
        };
        let mut program = self.options.program.clone().into_bytes();
        program.truncate(wire::MAX_NAME);
        let hello = Request::Hello(Hello {
            versions: wire::VERSIONS,
            features: offered,
            time,
            user: user(),
            program: program.into(),
        });
        hello
            .encode(0, stream.buffer())
            .map_err(|e| SourceError::Protocol(e.to_string()))?;
        match stream.next().map_err(|e| self.lost(e))? {
            (_, Reply::Welcome { version, features, .. })
                if (wire::VERSIONS.0..=wire::VERSIONS.1).contains(&version) =>
            {
                let features = features & offered;
                if features & wire::PACKED != 0 {
                    stream.may_pack();
                }
                if let (Some(policy), true) = (&self.options.policy, features & wire::FLEET != 0) {
                    // It goes with the first request.
                    let told = Request::Policy(policy.clone()).encode(0, stream.buffer());
                    told.map_err(|e| SourceError::Protocol(e.to_string()))?;
                }
                Ok(features)
            }
            (_, Reply::Busy { again, text }) => {
                let why = format!("{}: {}", self.server, crate::log::clean(&text.to_string()));
                Err(SourceError::Busy(why, Some(Duration::from_secs(again.into()))))
            }
            (_, Reply::Error { code, text }) => Err(self.said(code, &text)),
            _ => Err(SourceError::Protocol(format!(
                "{} does not answer the greeting",
                self.server
            ))),
        }
    }

    fn tls(&self, error: TlsError) -> SourceError {
        let (server, address) = (&self.server, self.address.ip());
        match error {
            TlsError::OtherKey { shown, known } => SourceError::Authentication(format!(
                "The public key of {server}={address} is not the trusted one: it shows {}, root-{address}.pub holds {}",
                shown.fingerprint(),
                known.fingerprint()
            )),
            TlsError::KeyRefused => {
                SourceError::Authentication(format!("{server} does not accept the key of this host"))
            }
            TlsError::Denied => SourceError::Refused(format!(
                "{server} does not accept connections from this address, or no second one"
            )),
            TlsError::Busy => SourceError::Busy(
                format!("{server}: Server is currently too busy -- increase MaxConnections or Splaytime?"),
                None,
            ),
            TlsError::Protocol(why) => SourceError::Protocol(format!("{server}: {why}")),
            TlsError::Io(error) => self.lost(error),
        }
    }

    /// What an error of the connection means.
    pub fn lost(&self, error: io::Error) -> SourceError {
        let server = &self.server;
        match crate::tls::io_error(error) {
            TlsError::Io(error) => match error.kind() {
                ErrorKind::TimedOut => SourceError::Unreachable(format!(
                    "{server} does not answer within {} seconds",
                    self.options.timeout.as_secs_f32()
                )),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    SourceError::Unreachable(format!("{server} closed the connection"))
                }
                ErrorKind::InvalidData => SourceError::Protocol(format!("{server}: {error}")),
                _ => SourceError::Unreachable(format!("{server}: {error}")),
            },
            other => self.tls(other),
        }
    }

    /// What an error of the server means. Its text is a peer's: control characters become visible.
    pub fn said(&self, code: Code, text: &BString) -> SourceError {
        let text = format!("{}: {}", self.server, crate::log::clean(&text.to_string()));
        match code {
            Code::Refused => SourceError::Refused(text),
            Code::Missing => SourceError::Missing,
            Code::Changed | Code::Failed | Code::Limit => SourceError::Io(io::Error::other(text)),
            Code::Busy => SourceError::Busy(text, None),
            Code::Protocol => SourceError::Protocol(text),
            Code::Identity => SourceError::Authentication(text),
        }
    }
}

fn unreachable(server: &str, address: SocketAddr, error: &io::Error) -> SourceError {
    let why = match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer in time".to_string(),
        _ => error.to_string(),
    };
    SourceError::Unreachable(format!("cannot connect to {server} ({address}): {why}"))
}

fn tcp(address: SocketAddr, options: &Options) -> io::Result<TcpStream> {
    let Some(from) = options.bind else {
        return TcpStream::connect_timeout(&address, options.connect);
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    // On Linux the time-out for sending is also the one for connecting.
    let seconds = i64::try_from(options.connect.as_secs()).unwrap_or(i64::MAX);
    let limit = TimeVal::new(seconds, i64::from(options.connect.subsec_micros()));
    setsockopt(&fd, sockopt::SendTimeout, &limit)?;
    loop {
        match connect_socket(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) => return Ok(TcpStream::from(fd)),
            // Asked again, the kernel goes on with it.
            Err(Errno::EINTR) => {}
            Err(Errno::EINPROGRESS | Errno::EALREADY) => return Err(ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The user of this process: the USER of our key file on the server.
fn user() -> BString {
    match nix::unistd::User::from_uid(nix::unistd::geteuid()) {
        Ok(Some(user)) => user.name.into(),
        _ => nix::unistd::geteuid().to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_packs_where_it_is_far_away_or_where_the_policy_says_so() {
        let away = |micros| Some(Duration::from_micros(micros));
        for (word, near, far, unknown) in [
            ("auto", false, true, false),
            ("ON", true, true, true),
            (" off ", false, false, false),
        ] {
            let compress = Compress::named(word.as_bytes()).unwrap();
            assert_eq!(compress.wants(away(2000)), near, "{word}");
            assert_eq!(compress.wants(away(2001)), far, "{word}");
            assert_eq!(compress.wants(None), unknown, "{word}");
        }
        for word in ["", "yes", "true", "auto on", "1"] {
            assert_eq!(Compress::named(word.as_bytes()), None, "{word}");
        }
    }
}
