//! The door: a listener, the porch before it and the places behind it. Whoever has said a first word gets a thread.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::Epoll;
use nix::sys::resource::{Resource, getrlimit};

use super::porch::Porch;
use super::seats::{Answer, Places, Seat};
use super::server::{Limits, STACK};
use crate::tls::refuse;

/// Connections that have not said a word yet: a quarter of the descriptors, and at most so many.
const PORCH: u64 = 4096;
/// So many are taken in before it is looked who has said a word, so that in a crowd nobody is sent off unheard.
const BURST: usize = 64;
/// So often in one go: in a flood there is other work, too.
const BURSTS: usize = 64;
/// How often it is looked who stands on the porch for too long.
const LOOK: Duration = Duration::from_millis(100);
/// How soon those who wait for a place are looked at again.
const PRESSED: Duration = Duration::from_millis(20);

/// What is done with a connection that has a place, on its thread.
pub(super) type Serve = Arc<dyn Fn(Seat, TcpStream, IpAddr) + Send + Sync>;

/// A door that is open.
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Places>,
    /// Those who have not said a word yet, and when it was last looked who stands there for too long.
    porch: Mutex<(Porch, Instant)>,
    news: Arc<Epoll>,
}

impl Door {
    /// In front of a listener.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let most = usize::try_from((descriptors / 4).min(PORCH)).unwrap_or_default();
        Self::with_porch(listener, most)
    }

    /// With a porch for so many.
    fn with_porch(listener: TcpListener, most: usize) -> io::Result<Self> {
        let porch = Porch::new(&listener, most)?;
        Ok(Door {
            news: porch.news(),
            porch: Mutex::new((porch, Instant::now())),
            places: Arc::default(),
            listener,
        })
    }

    /// What it is in front of.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Readable when [`Door::accept`] has something to do.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.news.0.as_fd()
    }

    fn porch(&self) -> MutexGuard<'_, (Porch, Instant)> {
        self.porch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are connected.
    pub fn connected(&self) -> usize {
        self.served() + self.porch().0.len()
    }

    /// How many of them have a thread: the others have not said a word yet.
    pub fn served(&self) -> usize {
        self.places.taken()
    }

    /// Takes the connections that are waiting, and lets in who has said a first word, where there is room for so many.
    /// Gives the time after which it is to be called again even if nothing happens.
    pub fn accept(&self, most: usize, limits: &Limits, serve: &Serve) -> Option<Duration> {
        let mut guard = self.porch();
        let (porch, looked) = &mut *guard;
        let now = Instant::now();
        for _ in 0..BURSTS {
            let more = self.take_in(porch, now);
            if let Err(error) = porch.listen(now) {
                ::log::error!("cannot wait for connections: {error}");
            }
            let admitted = porch.admit(
                &mut |guest| match self.places.ask(most, guest.address, Some(&guest.tcp), now) {
                    Answer::Seat(seat) => Some(Some(seat)),
                    Answer::Later if now.saturating_duration_since(guest.ready()) < limits.second => None,
                    Answer::Later | Answer::Busy => Some(None),
                },
            );
            for (guest, seat) in admitted {
                self.begin(most, guest.tcp, guest.address, seat, serve);
            }
            if !more {
                break;
            }
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

    /// Takes some of the connections that are waiting. Gives whether there may be more.
    fn take_in(&self, porch: &mut Porch, now: Instant) -> bool {
        for _ in 0..BURST {
            let taken = match self.listener.accept() {
                Ok((tcp, from)) => porch.add(tcp, from.ip().to_canonical(), now),
                Err(e) => Err(e),
            };
            match taken {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) => {
                    // Out of descriptors perhaps: wait for some to be given back.
                    ::log::warn!("cannot accept a connection: {e}");
                    thread::sleep(Duration::from_millis(100));
                    return false;
                }
            }
        }
        true
    }

    /// Gives a connection its thread: to be served where it has a place, or to be told that there is none.
    fn begin(&self, most: usize, tcp: TcpStream, address: IpAddr, seat: Option<Seat>, serve: &Serve) {
        if tcp.set_nonblocking(false).is_err() {
            return;
        }
        let busy = seat.is_none();
        let Some(seat) = seat.or_else(|| self.places.refusal()) else {
            return;
        };
        let serve = Arc::clone(serve);
        spawn(address, move || {
            if busy {
                full(address, most);
                refuse(tcp, true, Duration::from_secs(1));
                drop(seat);
            } else {
                serve(seat, tcp, address);
            }
        });
    }
}

/// Says that there is no room.
pub(super) fn full(address: IpAddr, most: usize) {
    ::log::warn!(
        "{address}: refused: Server is currently too busy -- increase MaxConnections or Splaytime? ({most} connections)"
    );
}

/// A thread for a connection.
pub(super) fn spawn(address: IpAddr, work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new()
        .name("client".to_string())
        .stack_size(STACK)
        .spawn(work);
    if let Err(error) = thread {
        ::log::error!("{address}: refused: no thread for it: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage};
    use std::io::Write;
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn of_a_crowd_that_has_spoken_nobody_is_sent_off_however_small_the_porch_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        socket::listen(&listener, Backlog::MAXALLOWABLE).unwrap();
        let here = SockaddrStorage::from(listener.local_addr().unwrap());
        let door = Door::with_porch(listener, 2 * BURST).unwrap();
        // Each from an address of its own.
        let crowd = (1..=250).flat_map(|n| [[127, 2, 0, n], [127, 2, 1, n], [127, 2, 2, n]]);
        let crowd: Vec<TcpStream> = crowd
            .map(|from| {
                let fd = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
                let from = SocketAddr::new(from.into(), 0);
                socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
                socket::connect(fd.as_raw_fd(), &here).unwrap();
                let mut tcp = TcpStream::from(fd);
                tcp.write_all(b"a word").unwrap();
                tcp
            })
            .collect();
        let served = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&served);
        let serve: Serve = Arc::new(move |seat, _, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(seat);
        });
        let until = Instant::now() + Duration::from_secs(10);
        while served.load(Ordering::Relaxed) < crowd.len() && Instant::now() < until {
            door.accept(10_000, &Limits::default(), &serve);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(served.load(Ordering::Relaxed), crowd.len());
    }
}
