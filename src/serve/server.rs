//! The listener, threads and limits. A connection has a thread from its first word on, and there is a hard cap of them.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::Epoll;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{Backlog, listen};

use super::chunks::Lists;
use super::config::Config;
use super::connection::Connection;
use super::porch::Porch;
use super::rules::{Peer, denies, grants};
use super::seats::{Answer, Places, Seat};
use super::seen::Seen;
use super::session::Session;
use super::trees::Trees;
use crate::fsx::Digests;
use crate::keys::Store;
use crate::state::Sighting;
use crate::tls::{Deadline, Identity, TlsError, refuse};

/// The stack of a thread. Walks recurse: a level of directories is a frame.
pub(super) const STACK: usize = 1024 * 1024;
/// Connections that have not said a word yet: a quarter of the descriptors, and at most so many.
const PORCH: u64 = 4096;
/// How often it is looked who stands on the porch for too long.
const LOOK: Duration = Duration::from_millis(100);
/// How soon those who wait for a place are looked at again.
const PRESSED: Duration = Duration::from_millis(20);
/// How long a name is remembered.
const NAME_AGE: Duration = Duration::from_secs(60);
/// Names remembered.
const NAMES: usize = 10_000;

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the first word, then for the handshake, and then for the greeting.
    pub handshake: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// To read one large piece of what is sent.
    pub write: Duration,
    /// For a look-up of names.
    pub names: Duration,
    /// How long a second connection of one address waits for the first to end, and anybody for a place.
    pub second: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshake: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(60),
            names: Duration::from_secs(4),
            second: Duration::from_secs(3),
        }
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub identity: Identity,
    pub store: Store,
    pub digests: Digests,
    pub trees: Trees,
    pub lists: Lists,
    pub seen: Seen,
    pub limits: Limits,
    config: RwLock<Arc<Config>>,
    names: Mutex<HashMap<IpAddr, (Instant, Vec<String>)>>,
}

impl Shared {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Confirmed names of an address, remembered for a while.
    fn names(&self, address: IpAddr) -> Vec<String> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, names)) = known.get(&address)
            && asked.elapsed() < NAME_AGE
        {
            return names.clone();
        }
        drop(known);
        let names = crate::dns::names_of(address, self.limits.names);
        let mut known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES {
            known.clear();
        }
        // No name may be the fault of a moment: it is asked again next time.
        if !names.is_empty() {
            known.insert(address, (Instant::now(), names.clone()));
        }
        names
    }
}

/// A server, listening.
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    places: Arc<Places>,
    /// Those who have not said a word yet, and when it was last looked who stands there for too long.
    porch: Mutex<(Porch, Instant)>,
    news: Arc<Epoll>,
}

impl Server {
    /// Binds the port. Port 0 takes a free one.
    pub fn bind(config: Config, identity: Identity, store: Store, port: u16, limits: Limits) -> io::Result<Self> {
        let listener = match config.bind {
            Some(address) => TcpListener::bind((address, port))?,
            // Both families where there are two; IPv4 alone where the kernel has no other.
            None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?,
        };
        listener.set_nonblocking(true)?;
        // As many as the kernel takes: whoever is dropped here tries again only after a second.
        listen(&listener, Backlog::MAXALLOWABLE)?;
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let most = usize::try_from((descriptors / 4).min(PORCH)).unwrap_or_default();
        let porch = Porch::new(&listener, most)?;
        Ok(Server {
            news: porch.news(),
            porch: Mutex::new((porch, Instant::now())),
            places: Arc::default(),
            shared: Arc::new(Shared {
                identity,
                store,
                digests: Digests::default(),
                trees: Trees::default(),
                lists: Lists::default(),
                seen: Seen::default(),
                limits,
                config: RwLock::new(Arc::new(config)),
                names: Mutex::default(),
            }),
            listener,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Readable when [`Server::accept`] has something to do.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.news.0.as_fd()
    }

    fn porch(&self) -> MutexGuard<'_, (Porch, Instant)> {
        self.porch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another configuration in force; requests under way end with the old one.
    pub fn reconfigure(&self, config: Config) {
        *self.shared.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Clients that were welcomed since the last call.
    pub fn take_seen(&self) -> Vec<Sighting> {
        self.shared.seen.take()
    }

    /// How many clients are connected.
    pub fn connected(&self) -> usize {
        self.served() + self.porch().0.len()
    }

    /// How many of them have a thread: the others have not said a word yet.
    pub fn served(&self) -> usize {
        self.places.taken()
    }

    /// Takes every connection that is waiting, and lets in who has said a first word. Gives the time after which it is to
    /// be called again even if nothing happens.
    pub fn accept(&self) -> Option<Duration> {
        let mut guard = self.porch();
        let (porch, looked) = &mut *guard;
        let now = Instant::now();
        loop {
            let taken = match self.listener.accept() {
                Ok((tcp, from)) => porch.add(tcp, from.ip().to_canonical(), now),
                Err(e) => Err(e),
            };
            match taken {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => {
                    // Out of descriptors perhaps: wait for some to be given back.
                    ::log::warn!("cannot accept a connection: {e}");
                    thread::sleep(Duration::from_millis(100));
                    break;
                }
            }
        }
        if let Err(error) = porch.listen(now) {
            ::log::error!("cannot wait for connections: {error}");
        }
        let config = self.shared.config();
        let limits = &self.shared.limits;
        let admitted =
            porch.admit(
                &mut |guest| match self.places.ask(config.max_connections, guest.address, &guest.tcp, now) {
                    Answer::Seat(seat) => Some(Some(seat)),
                    Answer::Later if now.saturating_duration_since(guest.ready()) < limits.second => None,
                    Answer::Later | Answer::Busy => Some(None),
                },
            );
        for (guest, seat) in admitted {
            self.begin(&config, guest.tcp, guest.address, seat);
        }
        if now.saturating_duration_since(*looked) >= LOOK {
            *looked = now;
            let before = now.checked_sub(limits.handshake);
            match before.and_then(|before| porch.expire(before)) {
                Some((1, last)) => ::log::warn!("{last}: refused: it was silent during the handshake"),
                Some((count, last)) => {
                    ::log::warn!(
                        "{last}: refused: it was silent during the handshake, as {} others",
                        count - 1
                    );
                }
                None => {}
            }
        }
        match porch.len() {
            0 => None,
            _ if porch.pressed() => Some(PRESSED),
            _ => Some(LOOK),
        }
    }

    /// Gives a connection its thread: to be served where it has a place, or to be told that there is none.
    fn begin(&self, config: &Arc<Config>, tcp: TcpStream, address: IpAddr, seat: Option<Seat>) {
        if tcp.set_nonblocking(false).is_err() {
            return;
        }
        let busy = seat.is_none();
        let Some(seat) = seat.or_else(|| self.places.refusal()) else {
            return;
        };
        let (shared, config) = (Arc::clone(&self.shared), Arc::clone(config));
        let work = move || {
            if busy {
                ::log::warn!(
                    "{address}: refused: Server is currently too busy -- increase MaxConnections or Splaytime? \
                     ({} connections)",
                    config.max_connections
                );
                refuse(tcp, true, Duration::from_secs(1));
                drop(seat);
            } else {
                serve(&shared, seat, &config, tcp, address);
            }
        };
        let thread = thread::Builder::new()
            .name("client".to_string())
            .stack_size(STACK)
            .spawn(work);
        if let Err(error) = thread {
            ::log::error!("{address}: refused: no thread for it: {error}");
        }
    }
}

/// The whole life of a connection, on its thread.
fn serve(shared: &Shared, mut seat: Seat, config: &Config, tcp: TcpStream, address: IpAddr) {
    let mut peer = Peer {
        address,
        names: Vec::new(),
    };
    // Who has shown no key yet makes us ask for its name only where the connection as such depends on it.
    let early = config.names_needed_to_connect();
    if early {
        peer.names = shared.names(address);
    }
    let refused = connect(&mut seat, config, &peer, shared.limits.second);
    if let Some(why) = refused {
        ::log::warn!("{address}: refused: {why}");
        return refuse(tcp, false, Duration::from_secs(1));
    }
    let deadline = Deadline::after(shared.limits.handshake);
    let (stream, key) = match shared.identity.accept(tcp, deadline) {
        Ok(accepted) => accepted,
        Err(TlsError::KeyRefused) => {
            return ::log::warn!("{address}: hung up: it does not accept the key of this server");
        }
        Err(TlsError::Io(e)) if e.kind() == ErrorKind::TimedOut => {
            return ::log::warn!("{address}: refused: it was silent during the handshake");
        }
        Err(TlsError::Io(e)) => return ::log::debug!("{address}: no handshake: {e}"),
        Err(error) => return ::log::warn!("{address}: refused: no handshake: {error}"),
    };
    if !early && config.names_needed() {
        peer.names = shared.names(address);
    }
    let connection = Connection {
        shared,
        seat: &mut seat,
        stream,
        who: peer.address.to_string(),
        peer,
        key,
        session: Session::default(),
        content: None,
    };
    connection.run();
}

/// The checks of a connection as such, in the order of the original.
fn connect(seat: &mut Seat, config: &Config, peer: &Peer, patience: Duration) -> Option<String> {
    if config.allow.as_ref().is_some_and(|allow| !grants(allow, peer)) {
        return Some("Denying connection from non-authorized IP (AllowConnectionsFrom)".to_string());
    }
    if denies(&config.deny, peer) {
        return Some("Denying connection from non-authorized IP (DenyConnectionsFrom)".to_string());
    }
    if !grants(&config.multiple, peer) && !seat.only(peer.address, patience) {
        return Some("Denying repeated connection (AllowMultipleConnectionsFrom)".to_string());
    }
    None
}
