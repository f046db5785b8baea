//! What all connections share, limits, and the life of a connection. A connection has a thread from its first word on, and
//! there is a hard cap of them.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, listen};

use super::apart::{self, Far, Keeper, Line, User};
use super::chunks::Lists;
use super::config::Config;
use super::connection::Connection;
use super::descriptors;
use super::door::{Door, Serve, spawn};
use super::rules::{Peer, denies, grants};
use super::seats::{Answer, Places, Seat};
use super::seen::Seen;
use super::session::Session;
use super::trees::Trees;
use crate::fsx::Digests;
use crate::keys::{PublicKey, Store};
use crate::state::Sighting;
use crate::tls::{Deadline, Identity, TlsError, refuse};

/// The stack of a thread. Walks recurse: a level of directories is a frame.
pub(super) const STACK: usize = 1024 * 1024;
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
    /// What the network process may take longer than the client may: it keeps the time of clients.
    pub slack: Duration,
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
            slack: Duration::from_secs(10),
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
    front: Front,
}

/// Who takes connections in.
enum Front {
    /// This process.
    Own(Door, Serve),
    /// A process without rights; the places are those of the connections it has handed over.
    Apart(Keeper, Arc<Places>),
}

impl Server {
    /// Binds the port. Port 0 takes a free one.
    pub fn bind(config: Config, identity: Identity, store: Store, port: u16, limits: Limits) -> io::Result<Self> {
        descriptors::take();
        let listener = match config.bind {
            Some(address) => TcpListener::bind((address, port))?,
            // Both families where there are two; IPv4 alone where the kernel has no other.
            None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?,
        };
        // As many as the kernel takes: whoever is dropped here tries again only after a second.
        listen(&listener, Backlog::MAXALLOWABLE)?;
        let shared = Arc::new(Shared {
            identity,
            store,
            digests: Digests::default(),
            trees: Trees::default(),
            lists: Lists::default(),
            seen: Seen::default(),
            limits,
            config: RwLock::new(Arc::new(config)),
            names: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let serve: Serve = Arc::new(move |seat, tcp, address| {
            serving.serve(seat, Caller::Own(tcp), address);
        });
        Ok(Server {
            shared,
            front: Front::Own(Door::new(listener)?, serve),
        })
    }

    /// From now on connections are taken in by a process of its own, which becomes that user. Gives also what is missing
    /// of its walls on this machine, in words. Only before the first connection, and in the process that stays.
    pub fn apart(self, user: User) -> io::Result<(Self, String)> {
        let Front::Own(door, serve) = self.front else {
            return Ok((self, String::new()));
        };
        let listener = door.listener().try_clone()?;
        drop((door, serve));
        let key = self.shared.identity.public().ok_or(ErrorKind::InvalidInput)?;
        let most = self.shared.config().max_connections;
        let (keeper, missing) = Keeper::start(user, key, listener, most)?;
        let server = Server {
            shared: self.shared,
            front: Front::Apart(keeper, Arc::default()),
        };
        Ok((server, missing))
    }

    /// Says in the log what it has too little of for its configuration.
    pub fn complain(&self) {
        descriptors::compare(self.shared.config().max_connections);
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.front {
            Front::Own(door, _) => door.listener().local_addr(),
            Front::Apart(keeper, _) => keeper.listener().local_addr(),
        }
    }

    /// Readable when [`Server::accept`] has something to do.
    pub fn news(&self) -> BorrowedFd<'_> {
        match &self.front {
            Front::Own(door, _) => door.news(),
            Front::Apart(keeper, _) => keeper.news(),
        }
    }

    /// Puts another configuration in force; requests under way end with the old one.
    pub fn reconfigure(&self, config: Config) {
        descriptors::compare(config.max_connections);
        if let Front::Apart(keeper, _) = &self.front {
            keeper.most(config.max_connections);
        }
        *self.shared.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Clients that were welcomed since the last call.
    pub fn take_seen(&self) -> Vec<Sighting> {
        self.shared.seen.take()
    }

    /// How many clients are connected, as far as this process knows.
    pub fn connected(&self) -> usize {
        match &self.front {
            Front::Own(door, _) => door.connected(),
            Front::Apart(_, places) => places.taken(),
        }
    }

    /// How many of them have a thread: the others have not said a word yet.
    pub fn served(&self) -> usize {
        match &self.front {
            Front::Own(door, _) => door.served(),
            Front::Apart(_, places) => places.taken(),
        }
    }

    /// Takes the connections that are waiting, and lets in who has said a first word. Gives the time after which it is to
    /// be called again even if nothing happens.
    pub fn accept(&self) -> Option<Duration> {
        match &self.front {
            Front::Own(door, serve) => {
                let most = self.shared.config().max_connections;
                door.accept(most, &self.shared.limits, serve)
            }
            Front::Apart(keeper, places) => keeper.hear(&|address, line| self.called(places, address, line)),
        }
    }

    /// The other process has taken a connection in. It keeps to the number of places too, if it is what it should be.
    pub(super) fn called(&self, places: &Arc<Places>, address: IpAddr, line: UnixStream) {
        let most = self.shared.config().max_connections;
        let Answer::Seat(seat) = places.ask(most, address, None, Instant::now()) else {
            return apart::refuse(&line, true);
        };
        let shared = Arc::clone(&self.shared);
        spawn(address, move || shared.serve(seat, Caller::Far(line), address));
    }
}

/// A connection before the handshake.
enum Caller {
    Own(TcpStream),
    Far(UnixStream),
}

impl Caller {
    fn refuse(self) {
        match self {
            Caller::Own(tcp) => refuse(tcp, false, Duration::from_secs(1)),
            Caller::Far(line) => apart::refuse(&line, false),
        }
    }

    /// The handshake.
    fn accept(self, shared: &Shared) -> Result<(Line, PublicKey), TlsError> {
        match self {
            Caller::Own(tcp) => {
                let deadline = Deadline::after(shared.limits.handshake);
                let (stream, key) = shared.identity.accept(tcp, deadline)?;
                Ok((Line::Own(Box::new(stream)), key))
            }
            Caller::Far(line) => {
                let mut far = Far::new(line, &shared.limits)?;
                let key = far.accept(&shared.identity)?;
                Ok((Line::Far(far), key))
            }
        }
    }
}

impl Shared {
    /// The whole life of a connection, on its thread.
    fn serve(&self, mut seat: Seat, caller: Caller, address: IpAddr) {
        let config = self.config();
        let mut peer = Peer {
            address,
            names: Vec::new(),
        };
        // Who has shown no key yet makes us ask for its name only where the connection as such depends on it.
        let early = config.names_needed_to_connect();
        if early {
            peer.names = self.names(address);
        }
        let refused = connect(&mut seat, &config, &peer, self.limits.second);
        if let Some(why) = refused {
            ::log::warn!("{address}: refused: {why}");
            return caller.refuse();
        }
        let (stream, key) = match caller.accept(self) {
            Ok(accepted) => accepted,
            Err(error) => return no_handshake(address, &error),
        };
        if !early && config.names_needed() {
            peer.names = self.names(address);
        }
        let connection = Connection {
            shared: self,
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
}

/// Says why there is no handshake.
pub(super) fn no_handshake(address: IpAddr, error: &TlsError) {
    match error {
        TlsError::KeyRefused => ::log::warn!("{address}: hung up: it does not accept the key of this server"),
        TlsError::Io(e) if e.kind() == ErrorKind::TimedOut => {
            ::log::warn!("{address}: refused: it was silent during the handshake");
        }
        TlsError::Io(e) => ::log::debug!("{address}: no handshake: {e}"),
        error => ::log::warn!("{address}: refused: no handshake: {error}"),
    }
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
