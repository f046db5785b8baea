//! Places: how many are connected, how many of them are known, and who has to wait or go when there is no room.
//!
//! Who shows no key that is known here takes nobody's place: connections that were not welcomed yet have a room of their
//! own. One neighbourhood gets half of it, and when it is full, who has been in it for longest must go first.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections being refused at one time; beyond that a refused connection is just closed.
const REFUSALS: usize = 32;
/// Connections that were not welcomed yet, at least; as many as MaxConnections where that is more.
const ANTEROOM: usize = 128;
/// A client that was not welcomed within this time goes when another one wants its place.
const GRACE: Duration = Duration::from_secs(1);
/// So many of them go at once.
const AT_ONCE: usize = 8;

/// Whose addresses count as one: an IPv6 host can have any address of its /64.
pub(super) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

/// All places.
#[derive(Default)]
pub(super) struct Places {
    load: Mutex<Load>,
    left: Condvar,
}

/// Who is connected.
#[derive(Default)]
struct Load {
    /// Welcomed.
    total: usize,
    /// Not welcomed yet, in the order in which they came.
    waiting: BTreeMap<u64, Waiter>,
    next: u64,
    refusals: usize,
    by_address: HashMap<IpAddr, usize>,
}

struct Waiter {
    from: IpAddr,
    since: Instant,
    /// To hang up; none once that was done.
    tcp: Option<TcpStream>,
}

impl Load {
    /// The longest waiting ones, of a neighbourhood or of all, are hung up if they had their time.
    fn hasten(&mut self, from: Option<IpAddr>, now: Instant) {
        let late = self
            .waiting
            .values_mut()
            .take_while(|waiter| now.saturating_duration_since(waiter.since) >= GRACE)
            .filter(|waiter| waiter.tcp.is_some() && from.is_none_or(|from| from == waiter.from));
        for waiter in late.take(AT_ONCE) {
            if let Some(tcp) = waiter.tcp.take() {
                // Its thread wakes up and gives the place back.
                let _ = tcp.shutdown(Shutdown::Both);
            }
        }
    }
}

/// What there is for one more.
pub(super) enum Answer {
    /// A place.
    Seat(Seat),
    /// Perhaps one in a moment.
    Later,
    /// None.
    Busy,
}

enum Room {
    Refusals,
    Anteroom(u64),
    Hall,
}

/// A place among the connections; given back when dropped, also after a panic.
pub(super) struct Seat {
    places: Arc<Places>,
    room: Room,
    /// It is the one connection of this address.
    only: Option<IpAddr>,
}

impl Places {
    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(self: &Arc<Self>, room: Room) -> Seat {
        Seat {
            places: Arc::clone(self),
            room,
            only: None,
        }
    }

    /// A place for one that nobody knows yet. Without `tcp` it cannot be hung up from here.
    pub fn ask(self: &Arc<Self>, most: usize, address: IpAddr, tcp: Option<&TcpStream>, now: Instant) -> Answer {
        let mut load = self.load();
        if load.total >= most {
            return Answer::Busy;
        }
        let (anteroom, from) = (ANTEROOM.max(most), neighbourhood(address));
        let here = load.waiting.values().filter(|waiter| waiter.from == from).count();
        if here >= anteroom / 2 {
            load.hasten(Some(from), now);
            return Answer::Later;
        }
        if load.waiting.len() >= anteroom {
            load.hasten(None, now);
            return Answer::Later;
        }
        let number = load.next;
        load.next += 1;
        let waiter = Waiter {
            from,
            since: now,
            tcp: tcp.and_then(|tcp| tcp.try_clone().ok()),
        };
        load.waiting.insert(number, waiter);
        Answer::Seat(self.seat(Room::Anteroom(number)))
    }

    /// A place to be refused in.
    pub fn refusal(self: &Arc<Self>) -> Option<Seat> {
        let mut load = self.load();
        if load.refusals >= REFUSALS {
            return None;
        }
        load.refusals += 1;
        Some(self.seat(Room::Refusals))
    }

    /// How many are connected, welcomed or not yet.
    pub fn taken(&self) -> usize {
        let load = self.load();
        load.total + load.waiting.len()
    }
}

impl Seat {
    /// The client was recognised: from now on it counts among the connections. False when there are too many.
    pub fn enter(&mut self, most: usize) -> bool {
        let mut load = self.places.load();
        if load.total >= most {
            return false;
        }
        load.total += 1;
        if let Room::Anteroom(number) = self.room {
            load.waiting.remove(&number);
        }
        self.room = Room::Hall;
        true
    }

    /// Makes it the only connection of an address: waits so long for another one to end.
    pub fn only(&mut self, address: IpAddr, patience: Duration) -> bool {
        let load = self.places.load();
        // The last connection of this address may just be ending.
        let (mut load, timeout) = self
            .places
            .left
            .wait_timeout_while(load, patience, |load| load.by_address.contains_key(&address))
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return false;
        }
        load.by_address.insert(address, 1);
        self.only = Some(address);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut load = self.places.load();
        match self.room {
            Room::Refusals => load.refusals -= 1,
            Room::Anteroom(number) => {
                load.waiting.remove(&number);
            }
            Room::Hall => load.total -= 1,
        }
        if let Some(address) = self.only {
            load.by_address.remove(&address);
        }
        drop(load);
        self.places.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// Two ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn seat(places: &Arc<Places>, from: IpAddr, tcp: &TcpStream, now: Instant) -> Option<Seat> {
        match places.ask(10, from, Some(tcp), now) {
            Answer::Seat(seat) => Some(seat),
            _ => None,
        }
    }

    #[test]
    fn one_neighbourhood_gets_half_and_others_get_in() {
        let places = Arc::new(Places::default());
        let (_near, far) = pair();
        let now = Instant::now();
        let from = |n: u32| IpAddr::from(Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(n)));
        let held: Vec<Seat> = (0..100).filter_map(|n| seat(&places, from(n), &far, now)).collect();
        assert_eq!(held.len(), ANTEROOM / 2);
        assert!(seat(&places, "2001:db8:0:1::1".parse().unwrap(), &far, now).is_some());
        drop(held);
        assert!(seat(&places, from(1), &far, now).is_some());
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn who_waits_for_longest_goes_when_there_is_no_room_but_not_before_its_time() {
        let places = Arc::new(Places::default());
        let (mut near, far) = pair();
        near.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (_other, others) = pair();
        let now = Instant::now();
        let from = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let first = seat(&places, from(0), &far, now);
        let held: Vec<Seat> = (1..200).filter_map(|n| seat(&places, from(n), &others, now)).collect();
        assert_eq!(held.len() + 1, ANTEROOM);
        assert!(near.read(&mut [0]).is_err(), "nobody was hung up");
        assert!(seat(&places, from(500), &far, now + GRACE).is_none());
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
        drop(first);
        assert!(seat(&places, from(500), &far, now + GRACE).is_some());
    }

    #[test]
    fn who_is_welcomed_leaves_the_anteroom_and_counts_among_the_most() {
        let places = Arc::new(Places::default());
        let (_near, far) = pair();
        let now = Instant::now();
        let mut first = seat(&places, [10, 0, 0, 1].into(), &far, now).unwrap();
        let mut second = seat(&places, [10, 0, 0, 2].into(), &far, now).unwrap();
        assert!(first.enter(1) && !second.enter(1));
        assert!(matches!(
            places.ask(1, [10, 0, 0, 3].into(), Some(&far), now),
            Answer::Busy
        ));
        drop(first);
        assert!(second.enter(1));
    }

    #[test]
    fn an_address_has_one_connection_where_that_is_asked_for() {
        let places = Arc::new(Places::default());
        let (_near, far) = pair();
        let address = [10, 0, 0, 1].into();
        let mut first = seat(&places, address, &far, Instant::now()).unwrap();
        let mut second = seat(&places, address, &far, Instant::now()).unwrap();
        let patience = Duration::from_millis(20);
        assert!(first.only(address, patience) && !second.only(address, patience));
        drop(first);
        assert!(second.only(address, patience));
    }
}
