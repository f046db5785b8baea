//! Connections that have not said a whole first word yet. They stand here without a thread: who is silent, or says one byte
//! a second, costs a descriptor, and when there are too many, the first of them goes first. A client greets as soon as it is
//! connected, and is heard before its turn to go comes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::seats::neighbourhood;

/// The number of the listener; those of guests are above.
const LISTENER: u64 = 0;
/// How much of a first word is looked at; a longer one is whole enough.
const WORD: usize = 4096;
/// What a TLS record with a handshake message begins with.
const HANDSHAKE: u8 = 0x16;
/// When there was no place for so many neighbourhoods, there is none at all.
const TRIES: usize = 8;

/// A connection that waits.
pub(super) struct Guest {
    pub tcp: TcpStream,
    pub address: IpAddr,
    since: Instant,
    /// Since when it waits for a place.
    ready: Option<Instant>,
}

impl Guest {
    /// Since when it waits for a place.
    pub fn ready(&self) -> Instant {
        self.ready.unwrap_or(self.since)
    }
}

/// All that wait, the first one first.
pub(super) struct Porch {
    epoll: Arc<Epoll>,
    guests: BTreeMap<u64, Guest>,
    /// Those that are ready.
    ready: Vec<u64>,
    neighbours: HashMap<IpAddr, usize>,
    next: u64,
    most: usize,
}

impl Porch {
    /// A porch in front of a listener, for so many.
    pub fn new(listener: &TcpListener, most: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Porch {
            epoll: Arc::new(epoll),
            guests: BTreeMap::new(),
            ready: Vec::new(),
            neighbours: HashMap::new(),
            next: LISTENER + 1,
            most: most.max(4),
        })
    }

    /// Readable when somebody came or said something.
    pub fn news(&self) -> Arc<Epoll> {
        Arc::clone(&self.epoll)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// Whether somebody waits for a place.
    pub fn pressed(&self) -> bool {
        !self.ready.is_empty()
    }

    /// One more. The first of its neighbourhood goes when that has a quarter of the room, the first of all when it is full;
    /// of those who wait for a place only where nobody else was silent before this moment.
    pub fn add(&mut self, tcp: TcpStream, address: IpAddr, now: Instant) -> io::Result<()> {
        let from = neighbourhood(address);
        let crowded = self.neighbours.get(&from).copied().unwrap_or(0) >= self.most / 4;
        if crowded || self.guests.len() >= self.most {
            let mut candidates = self
                .guests
                .iter()
                .filter(|(_, guest)| !crowded || neighbourhood(guest.address) == from);
            // Who comes in this very moment was not listened to yet.
            let silent = |guest: &Guest| guest.ready.is_none() && guest.since < now;
            let first = candidates.clone().find(|(_, guest)| silent(guest));
            if let Some(number) = first.or_else(|| candidates.next()).map(|(number, _)| *number) {
                drop(self.take(number));
            }
        }
        tcp.set_nonblocking(true)?;
        let number = self.next;
        let news = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(&tcp, EpollEvent::new(news, number))?;
        self.next += 1;
        *self.neighbours.entry(from).or_default() += 1;
        let guest = Guest {
            tcp,
            address,
            since: now,
            ready: None,
        };
        self.guests.insert(number, guest);
        Ok(())
    }

    fn take(&mut self, number: u64) -> Option<Guest> {
        let guest = self.guests.remove(&number)?;
        let from = neighbourhood(guest.address);
        if let Some(count) = self.neighbours.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.neighbours.remove(&from);
            }
        }
        if guest.ready.is_some() {
            self.ready.retain(|ready| *ready != number);
        }
        // Its descriptor may live on elsewhere.
        let _ = self.epoll.delete(&guest.tcp);
        Some(guest)
    }

    /// Takes note of who has said something or left.
    pub fn listen(&mut self, now: Instant) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for event in events.iter().take(count).filter(|event| event.data() != LISTENER) {
                self.heard(event.data(), event.events(), now);
            }
            if count < events.len() {
                return Ok(());
            }
        }
    }

    fn heard(&mut self, number: u64, events: EpollFlags, now: Instant) {
        let Some(guest) = self.guests.get_mut(&number) else {
            return;
        };
        let left = events.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let mut word = [0; WORD];
        let said = loop {
            match guest.tcp.peek(&mut word) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                said => break said,
            }
        };
        let ready = match said {
            Ok(0) => None,
            Ok(count) => Some(whole(word.get(..count).unwrap_or_default())),
            Err(error) => (error.kind() == io::ErrorKind::WouldBlock).then_some(false),
        };
        match ready {
            Some(true) if guest.ready.is_none() => {
                guest.ready = Some(now);
                self.ready.push(number);
            }
            Some(false) if !left => {}
            Some(true) => {}
            _ => drop(self.take(number)),
        }
    }

    /// Takes out those of the ready ones for whom there is an answer, the first one first. Where there is none for one of a
    /// neighbourhood there is none for the others of it.
    pub fn admit<T>(&mut self, ask: &mut dyn FnMut(&Guest) -> Option<T>) -> Vec<(Guest, T)> {
        let (mut out, mut full) = (Vec::new(), Vec::new());
        for number in self.ready.clone() {
            let Some(guest) = self.guests.get(&number) else {
                continue;
            };
            let from = neighbourhood(guest.address);
            if full.contains(&from) {
                continue;
            }
            match ask(guest) {
                Some(answer) => out.extend(self.take(number).map(|guest| (guest, answer))),
                None => full.push(from),
            }
            if full.len() >= TRIES {
                break;
            }
        }
        out
    }

    /// Those that came before a moment and have not said a whole word since leave: how many, and the last one's address.
    pub fn expire(&mut self, before: Instant) -> Option<(usize, IpAddr)> {
        let late: Vec<u64> = self
            .guests
            .iter()
            .take_while(|(_, guest)| guest.since < before)
            .filter(|(_, guest)| guest.ready.is_none())
            .map(|(number, _)| *number)
            .collect();
        let mut last = None;
        for number in &late {
            last = self.take(*number).map(|guest| guest.address);
        }
        last.map(|address| (late.len(), address))
    }
}

/// Whether a first word is whole: a TLS record, as long as it says it is. What is no TLS at all is heard at once.
fn whole(word: &[u8]) -> bool {
    match word {
        [HANDSHAKE, _, _, high, low, rest @ ..] => {
            rest.len() >= usize::from(u16::from_be_bytes([*high, *low])).min(WORD - 5)
        }
        [HANDSHAKE, ..] => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;

    struct Street {
        listener: TcpListener,
        porch: Porch,
    }

    impl Street {
        fn new(most: usize) -> Street {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let porch = Porch::new(&listener, most).unwrap();
            Street { listener, porch }
        }

        /// Somebody comes, from wherever that is said to be.
        fn comes(&mut self, from: &str) -> TcpStream {
            self.comes_at(from, Instant::now())
        }

        fn comes_at(&mut self, from: &str, now: Instant) -> TcpStream {
            let near = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            near.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (far, _) = self.listener.accept().unwrap();
            self.porch.add(far, from.parse().unwrap(), now).unwrap();
            near
        }

        /// Who is ready now.
        fn ready(&mut self) -> Vec<IpAddr> {
            std::thread::sleep(Duration::from_millis(20));
            self.porch.listen(Instant::now()).unwrap();
            let admitted = self.porch.admit(&mut |_| Some(()));
            admitted.iter().map(|(guest, ())| guest.address).collect()
        }
    }

    fn gone(near: &mut TcpStream) -> bool {
        matches!(near.read(&mut [0]), Ok(0))
    }

    #[test]
    fn a_record_is_whole_when_all_of_it_is_there_and_what_is_no_record_at_once() {
        assert!(!whole(b"\x16") && !whole(b"\x16\x03\x01\x00\x02x") && whole(b"\x16\x03\x01\x00\x02xy"));
        assert!(whole(b"GET / HTTP/1.0\r\n") && whole(b"S"));
        let long = [&b"\x16\x03\x01\xff\xff"[..], &[0; WORD]].concat();
        assert!(whole(&long[..WORD]) && !whole(&long[..WORD - 1]));
    }

    #[test]
    fn who_has_said_a_whole_word_goes_in_and_who_says_it_byte_by_byte_waits() {
        let mut street = Street::new(16);
        let mut slow = street.comes("10.0.0.1");
        let mut quick = street.comes("10.0.0.2");
        slow.write_all(b"\x16\x03\x01").unwrap();
        quick.write_all(b"\x16\x03\x01\x00\x02xy").unwrap();
        assert_eq!(street.ready(), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        slow.write_all(b"\x00\x01").unwrap();
        assert!(street.ready().is_empty());
        slow.write_all(b"z").unwrap();
        assert_eq!(street.ready().len(), 1);
        assert_eq!(street.porch.len(), 0);
    }

    #[test]
    fn when_it_is_full_the_first_goes_and_a_crowd_of_one_neighbourhood_displaces_itself() {
        let mut street = Street::new(8);
        let mut other = street.comes("10.0.0.9");
        let mut crowd: Vec<TcpStream> = (0..5).map(|_| street.comes("10.0.0.1")).collect();
        assert_eq!(street.porch.len(), 3);
        let stayed: Vec<bool> = crowd.iter_mut().map(|near| !gone(near)).collect();
        assert_eq!(stayed, [false, false, false, true, true]);
        let _more: Vec<TcpStream> = (10..15).map(|n| street.comes(&format!("10.0.0.{n}"))).collect();
        assert!(!gone(&mut other));
        let _last = street.comes("10.0.0.20");
        assert!(gone(&mut other));
        assert_eq!(street.porch.len(), 8);
    }

    #[test]
    fn when_it_is_full_who_has_spoken_stays_and_the_first_silent_one_goes() {
        let mut street = Street::new(4);
        let mut first = street.comes("10.0.0.1");
        first.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        street.porch.listen(Instant::now()).unwrap();
        let mut silent = street.comes("10.0.0.2");
        let _more: Vec<TcpStream> = (3..6).map(|n| street.comes(&format!("10.0.0.{n}"))).collect();
        assert!(gone(&mut silent) && !gone(&mut first));
    }

    #[test]
    fn who_comes_in_the_same_moment_to_a_full_porch_is_not_sent_off_unheard() {
        let mut street = Street::new(4);
        let mut spoken: Vec<TcpStream> = (1..5).map(|n| street.comes(&format!("10.0.0.{n}"))).collect();
        spoken.iter_mut().for_each(|near| near.write_all(b"x").unwrap());
        std::thread::sleep(Duration::from_millis(20));
        street.porch.listen(Instant::now()).unwrap();
        let now = Instant::now();
        let mut pair = ["10.0.0.8", "10.0.0.9"].map(|from| street.comes_at(from, now));
        assert!(pair.iter_mut().all(|near| !gone(near)));
        assert_eq!(street.ready(), [[10, 0, 0, 3], [10, 0, 0, 4]].map(IpAddr::from));
    }

    #[test]
    fn who_hangs_up_or_stays_silent_is_forgotten() {
        let mut street = Street::new(8);
        drop(street.comes("10.0.0.1"));
        let mut silent = street.comes("10.0.0.2");
        assert!(street.ready().is_empty());
        assert_eq!(street.porch.len(), 1);
        let address = "10.0.0.2".parse().unwrap();
        assert_eq!(street.porch.expire(Instant::now()), Some((1, address)));
        assert!(gone(&mut silent) && street.porch.len() == 0);
    }

    #[test]
    fn one_who_finds_no_place_keeps_nobody_else_out() {
        let mut street = Street::new(40);
        let crowd: Vec<TcpStream> = (0..5).map(|_| street.comes("10.0.0.1")).collect();
        let other = street.comes("10.0.0.2");
        for mut near in crowd.iter().chain([&other]) {
            near.write_all(b"x").unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        street.porch.listen(Instant::now()).unwrap();
        let full: IpAddr = "10.0.0.1".parse().unwrap();
        let mut asked = 0;
        let admitted = street.porch.admit(&mut |guest| {
            asked += 1;
            (guest.address != full).then_some(())
        });
        assert_eq!((admitted.len(), asked, street.porch.len()), (1, 2, 5));
        assert!(street.porch.pressed());
    }
}
