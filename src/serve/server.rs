//! The listener, threads and limits: one thread a connection, with a hard cap.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::chunks::Lists;
use super::config::Config;
use super::connection::Connection;
use super::rules::{Peer, denies, grants};
use super::seen::Seen;
use super::session::Session;
use super::trees::Trees;
use crate::fsx::Digests;
use crate::keys::Store;
use crate::state::Sighting;
use crate::tls::{Deadline, Identity, TlsError, refuse};

/// The stack of a thread. Walks recurse: a level of directories is a frame.
pub(super) const STACK: usize = 1024 * 1024;
/// Connections being refused at one time; beyond that a refused connection is just closed.
const REFUSALS: usize = 32;
/// Connections that were not welcomed yet, at least; as many as MaxConnections where that is more. They have room of their
/// own: who shows no key that is known here takes nobody's place. One address gets half of it.
const ANTEROOM: usize = 32;
/// How long a name is remembered.
const NAME_AGE: Duration = Duration::from_secs(60);
/// Names remembered.
const NAMES: usize = 10_000;

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the handshake, and then for the greeting.
    pub handshake: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// To read one large piece of what is sent.
    pub write: Duration,
    /// For a look-up of names.
    pub names: Duration,
    /// How long a second connection of one address waits for the first to end.
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
    load: Mutex<Load>,
    left: Condvar,
}

/// Who is connected.
#[derive(Default)]
struct Load {
    /// Welcomed.
    total: usize,
    /// Not welcomed yet.
    waiting: HashMap<IpAddr, usize>,
    refusals: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Shared {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Load {
    /// Whether there is no room for one more that nobody knows yet.
    fn full(&self, most: usize, address: IpAddr) -> bool {
        let anteroom = ANTEROOM.max(most);
        let here = self.waiting.get(&address).copied().unwrap_or(0);
        self.total >= most || self.waiting() >= anteroom || here >= anteroom / 2
    }

    fn waiting(&self) -> usize {
        self.waiting.values().sum()
    }
}

fn one_less(counts: &mut HashMap<IpAddr, usize>, address: IpAddr) {
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

#[derive(Clone, Copy)]
enum Room {
    Refusals,
    Anteroom,
    Hall,
}

/// A place among the connections; given back when dropped, also after a panic.
pub(super) struct Seat {
    shared: Arc<Shared>,
    address: IpAddr,
    room: Room,
    /// It is the one connection of its address.
    only: bool,
}

impl Seat {
    /// The client was recognised: from now on it counts among the connections. False when there are too many.
    pub fn enter(&mut self, most: usize) -> bool {
        let mut load = self.shared.load();
        if load.total >= most {
            return false;
        }
        load.total += 1;
        one_less(&mut load.waiting, self.address);
        self.room = Room::Hall;
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut load = self.shared.load();
        match self.room {
            Room::Refusals => load.refusals -= 1,
            Room::Anteroom => one_less(&mut load.waiting, self.address),
            Room::Hall => load.total -= 1,
        }
        if self.only {
            one_less(&mut load.by_address, self.address);
        }
        drop(load);
        self.shared.left.notify_all();
    }
}

/// A server, listening.
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
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
        Ok(Server {
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
                load: Mutex::default(),
                left: Condvar::new(),
            }),
            listener,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The descriptor to wait for.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
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
        let load = self.shared.load();
        load.total + load.waiting()
    }

    /// Takes every connection that is waiting.
    pub fn accept(&self) {
        loop {
            match self.listener.accept() {
                Ok((tcp, from)) => self.take(tcp, from.ip().to_canonical()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => {
                    // Out of descriptors perhaps: wait for some to be given back.
                    ::log::warn!("cannot accept a connection: {e}");
                    thread::sleep(Duration::from_millis(100));
                    return;
                }
            }
        }
    }

    fn take(&self, tcp: TcpStream, address: IpAddr) {
        if tcp.set_nonblocking(false).is_err() {
            return;
        }
        let config = self.shared.config();
        let mut load = self.shared.load();
        let busy = load.full(config.max_connections, address);
        let room = if !busy {
            *load.waiting.entry(address).or_default() += 1;
            Room::Anteroom
        } else if load.refusals < REFUSALS {
            load.refusals += 1;
            Room::Refusals
        } else {
            return;
        };
        drop(load);
        let seat = Seat {
            shared: self.shared.clone(),
            address,
            room,
            only: false,
        };
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
                serve(seat, &config, tcp, address);
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
fn serve(mut seat: Seat, config: &Config, tcp: TcpStream, address: IpAddr) {
    let shared = seat.shared.clone();
    let mut peer = Peer {
        address,
        names: Vec::new(),
    };
    // Who has shown no key yet makes us ask for its name only where the connection as such depends on it.
    let early = config.names_needed_to_connect();
    if early {
        peer.names = shared.names(address);
    }
    let refused = connect(&mut seat, config, &peer);
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
        shared: &shared,
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
fn connect(seat: &mut Seat, config: &Config, peer: &Peer) -> Option<String> {
    if config.allow.as_ref().is_some_and(|allow| !grants(allow, peer)) {
        return Some("Denying connection from non-authorized IP (AllowConnectionsFrom)".to_string());
    }
    if denies(&config.deny, peer) {
        return Some("Denying connection from non-authorized IP (DenyConnectionsFrom)".to_string());
    }
    if !grants(&config.multiple, peer) {
        let shared = seat.shared.clone();
        let load = shared.load();
        // The last connection of this address may just be ending.
        let (mut load, timeout) = shared
            .left
            .wait_timeout_while(load, shared.limits.second, |load| {
                load.by_address.contains_key(&peer.address)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Some("Denying repeated connection (AllowMultipleConnectionsFrom)".to_string());
        }
        load.by_address.insert(peer.address, 1);
        seat.only = true;
    }
    None
}
