//! A server with short limits on a real socket: clients that are silent, slow or too many.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod packed;

use super::*;
use crate::fsx::Select;
use crate::keys::{PrivateKey, PublicKey, Store};
use crate::tls::{ClientStream, Deadline, Identity};
use crate::wire::{self, Code, Hello, Reply, Request, Want};

struct Running {
    address: SocketAddr,
    key: PublicKey,
    client: PrivateKey,
    server: Arc<Server>,
    stop: Arc<AtomicBool>,
    dir: tempfile::TempDir,
}

impl Running {
    fn start(limits: Limits, change: impl FnOnce(&mut Config)) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("keys"));
        store.prepare().unwrap();
        let (key, client) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        store
            .trust("root", "127.0.0.1".parse().unwrap(), &client.public())
            .unwrap();
        std::fs::create_dir(dir.path().join("srv")).unwrap();
        let mut config = Config {
            bind: Some("127.0.0.1".parse().unwrap()),
            multiple: vec![Pattern::Any],
            ..Config::default()
        };
        config.access.admit.push(Rule {
            path: dir.path().join("srv").to_str().unwrap().into(),
            hosts: vec![Pattern::Any],
            root: Vec::new(),
            place: "test".to_string(),
        });
        change(&mut config);
        let server = Arc::new(Server::bind(config, Identity::new(&key).unwrap(), store, 0, limits).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (running, stopped) = (server.clone(), stop.clone());
        thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                running.accept();
                thread::sleep(Duration::from_millis(2));
            }
        });
        Running {
            address: server.address().unwrap(),
            key: key.public(),
            client,
            server,
            stop,
            dir,
        }
    }

    fn tls(&self) -> ClientStream {
        let tcp = TcpStream::connect(self.address).unwrap();
        let identity = Identity::new(&self.client).unwrap();
        identity.connect(tcp, Some(self.key), wait()).unwrap().0
    }

    /// A client that was welcomed.
    fn hello(&self) -> ClientStream {
        let mut stream = self.tls();
        let hello = greeting(PLAIN);
        hello.encode(1, stream.buffer()).unwrap();
        assert!(matches!(
            reply(&mut stream),
            Some(Reply::Welcome { features: PLAIN, .. })
        ));
        stream
    }

    /// A file of the tree as a manifest says it is.
    fn want(&self, path: &str) -> Want {
        let meta = std::fs::metadata(self.dir.path().join("srv").join(path)).unwrap();
        let mtime = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        Want {
            path: path.into(),
            size: meta.len(),
            mtime: mtime.as_nanos().cast_signed(),
            digest: None,
        }
    }

    fn root(&self) -> bstr::BString {
        self.dir.path().join("srv").to_str().unwrap().into()
    }

    /// Waits until nobody is connected.
    fn empty(&self, within: Duration) {
        let start = Instant::now();
        while self.server.connected() > 0 {
            assert!(start.elapsed() < within, "{} still connected", self.server.connected());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// All features but what only a client that unpacks can read.
const PLAIN: u32 = wire::FEATURES & !wire::PACKED;

/// What a client says first.
fn greeting(features: u32) -> Request {
    Request::Hello(Hello {
        versions: wire::VERSIONS,
        features,
        time: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            .cast_signed(),
        user: "root".into(),
        program: "test".into(),
    })
}

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn reply(stream: &mut ClientStream) -> Option<Reply> {
    let (header, payload) = wire::read_frame(stream, wire::MAX_REPLY).ok()??;
    Some(Reply::decode(header, payload).unwrap())
}

fn short() -> Limits {
    let short = Duration::from_millis(300);
    Limits {
        handshake: short,
        idle: short,
        write: short,
        second: short,
        ..Limits::default()
    }
}

#[test]
fn silent_clients_are_cut_off_before_and_after_the_handshake_and_the_greeting() {
    let running = Running::start(short(), |_| ());
    let mut silent = TcpStream::connect(running.address).unwrap();
    let mut greeted_not = running.tls();
    let mut idle = running.hello();
    let start = Instant::now();
    running.empty(Duration::from_secs(5));
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0);
    assert!(reply(&mut greeted_not).is_none());
    assert!(reply(&mut idle).is_none());
    running.hello();
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_others_are_served_meanwhile() {
    let running = Running::start(short(), |_| ());
    std::fs::write(running.dir.path().join("srv/big"), vec![7; 64 << 20]).unwrap();
    let mut slow = running.hello();
    let want = running.want("big");
    let size = want.size;
    Request::Fetch { root: running.root() }
        .encode(2, slow.buffer())
        .unwrap();
    Request::Want {
        last: true,
        files: vec![want],
    }
    .encode(2, slow.buffer())
    .unwrap();
    slow.flush().unwrap();
    let mut other = running.hello();
    let manifest = Request::Manifest {
        root: running.root(),
        known: None,
        select: Select::default(),
    };
    manifest.encode(2, other.buffer()).unwrap();
    assert!(matches!(reply(&mut other), Some(Reply::Entries(entries)) if entries.len() == 1));
    drop(other);
    running.empty(Duration::from_secs(5));
    // What it gets when it reads at last is a part.
    let mut got = 0;
    while let Some(reply) = reply(&mut slow) {
        match reply {
            Reply::Data(bytes) => got += bytes.len() as u64,
            Reply::FileEnd { .. } => panic!("it got everything"),
            _ => {}
        }
    }
    assert!(got < size);
}

#[test]
fn a_flood_of_connections_is_held_to_the_maximum_and_ends_with_a_clear_word() {
    let running = Running::start(Limits::default(), |config| config.max_connections = 3);
    let held: Vec<ClientStream> = (0..3).map(|_| running.hello()).collect();
    for _ in 0..40 {
        let tcp = TcpStream::connect(running.address).unwrap();
        let identity = Identity::new(&running.client).unwrap();
        let refused = identity.connect(tcp, Some(running.key), wait()).map(|_| ());
        assert!(
            matches!(refused, Err(crate::tls::TlsError::Busy | crate::tls::TlsError::Io(_))),
            "{refused:?}"
        );
        assert!(running.server.connected() <= 3);
    }
    drop(held);
    running.empty(Duration::from_secs(5));
    running.hello();
}

#[test]
fn who_says_nothing_takes_nobodys_place_and_no_thread() {
    let running = Running::start(Limits::default(), |config| config.max_connections = 3);
    let silent: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    let start = Instant::now();
    while running.server.connected() < 60 {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{}",
            running.server.connected()
        );
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(running.server.served(), 0);
    let held: Vec<ClientStream> = (0..3).map(|_| running.hello()).collect();
    assert_eq!(running.server.served(), 3);
    drop((silent, held));
    running.empty(Duration::from_secs(5));
}

/// What a client says first, as it is on the wire.
fn first_word(running: &Running) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (identity, key) = (Identity::new(&running.client).unwrap(), running.key);
    let speaks = thread::spawn(move || identity.connect(tcp, Some(key), wait()).map(|_| ()));
    let (mut heard, _) = listener.accept().unwrap();
    let mut word = vec![0; 4096];
    let count = heard.read(&mut word).unwrap();
    drop(heard);
    speaks.join().unwrap().unwrap_err();
    word[..count].to_vec()
}

#[test]
fn who_begins_a_handshake_and_falls_silent_gives_way_and_others_get_in() {
    let running = Running::start(Limits::default(), |_| ());
    let word = first_word(&running);
    let silent: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut tcp = TcpStream::connect(running.address).unwrap();
            tcp.write_all(&word).unwrap();
            tcp
        })
        .collect();
    // All come from one address, and that is the client's too: it waits for those before it, but not for their time-outs.
    let start = Instant::now();
    let mut served = 0;
    while served < 3 && start.elapsed() < Duration::from_secs(12) {
        let tcp = TcpStream::connect(running.address).unwrap();
        let identity = Identity::new(&running.client).unwrap();
        served += u32::from(identity.connect(tcp, Some(running.key), wait()).is_ok());
        assert!(running.server.served() <= 128);
    }
    assert_eq!(served, 3, "in {:?}", start.elapsed());
    drop(silent);
    running.empty(Duration::from_secs(5));
}

#[test]
fn requests_may_be_sent_ahead_and_are_answered_in_order() {
    let running = Running::start(Limits::default(), |_| ());
    let mut stream = running.hello();
    for id in 10..200 {
        let manifest = Request::Manifest {
            root: running.root(),
            known: None,
            select: Select::default(),
        };
        manifest.encode(id, stream.buffer()).unwrap();
    }
    for id in 10..200 {
        for _ in 0..2 {
            let (header, _) = wire::read_frame(&mut stream, wire::MAX_REPLY).unwrap().unwrap();
            assert_eq!(header.id, id);
        }
    }
}

#[test]
fn chunks_make_the_file_and_parts_of_it_come_as_they_were_asked_for() {
    let running = Running::start(Limits::default(), |_| ());
    let content: Vec<u8> = (0..900_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    let path = running.dir.path().join("srv/big");
    std::fs::write(&path, &content).unwrap();
    let want = running.want("big");
    let mut stream = running.hello();
    let ask = |stream: &mut ClientStream, file: &Want, ranges: Option<&[(u64, u64)]>| {
        let (root, file) = (running.root(), file.clone());
        let request = match ranges {
            None => Request::Cut { root, file },
            Some(ranges) => Request::Ranges {
                root,
                file,
                ranges: ranges
                    .iter()
                    .map(|(at, len)| wire::Range { at: *at, len: *len })
                    .collect(),
            },
        };
        request.encode(5, stream.buffer()).unwrap();
        let mut replies = vec![reply(stream)];
        while matches!(
            replies.last(),
            Some(Some(Reply::Chunks(_) | Reply::Data(_) | Reply::File { .. }))
        ) {
            replies.push(reply(stream));
        }
        replies
    };
    for _ in 0..2 {
        let replies = ask(&mut stream, &want, None);
        let [Some(Reply::Chunks(chunks)), Some(Reply::FileEnd { digest })] = &replies[..] else {
            panic!("{replies:?}")
        };
        assert_eq!(*digest, crate::digest::blake3(&content));
        let mut rest = &content[..];
        for chunk in chunks {
            let (head, tail) = rest.split_at(chunk.len as usize);
            assert_eq!(*chunk, crate::digest::Chunk::of(head));
            rest = tail;
        }
        assert!(rest.is_empty());
        let replies = ask(&mut stream, &want, Some(&[(10, 100_000), (899_999, 1)]));
        let mut parts = content[10..100_010].to_vec();
        parts.push(content[899_999]);
        let came = replies.iter().flatten().filter_map(|reply| match reply {
            Reply::Data(bytes) => Some(&bytes[..]),
            _ => None,
        });
        assert!(came.collect::<Vec<_>>().concat() == parts);
        assert_eq!(replies[0], Some(Reply::File { size: 100_001 }));
        let end = Reply::FileEnd {
            digest: crate::digest::blake3(&parts),
        };
        assert_eq!(replies.last(), Some(&Some(end)));
    }
    // What is not there, not granted or not the same any more is refused, and the connection stays.
    std::fs::write(running.dir.path().join("secret"), "secret").unwrap();
    for (path, size, code) in [
        ("none", want.size, Code::Missing),
        ("../secret", 6, Code::Refused),
        ("big", want.size - 1, Code::Changed),
    ] {
        let file = Want {
            path: path.into(),
            size,
            ..want.clone()
        };
        for ranges in [None, Some(&[(0, 5)][..])] {
            let replies = ask(&mut stream, &file, ranges);
            assert!(
                matches!(&replies[..], [Some(Reply::FileError { code: told, .. })] if *told == code),
                "{path}: {replies:?}"
            );
        }
    }
    // A range that is not in the file is a broken protocol.
    let replies = ask(&mut stream, &want, Some(&[(899_999, 2)]));
    assert!(matches!(
        replies[..],
        [Some(Reply::Error {
            code: Code::Protocol,
            ..
        })]
    ));
    assert!(reply(&mut stream).is_none());
}

#[test]
fn noise_in_place_of_requests_ends_the_connection_with_a_word() {
    use proptest::prelude::*;
    let running = Running::start(Limits::default(), |config| config.max_connections = 1000);
    let noise = proptest::collection::vec(any::<u8>(), 1..300);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&noise, |bytes| {
            let mut stream = running.hello();
            let mut frame = u32::try_from(bytes.len() - 1).unwrap().to_be_bytes().to_vec();
            frame.push(bytes[0]);
            frame.extend([0, 0, 0, 9]);
            frame.extend(&bytes[1..]);
            stream.write_all(&frame).unwrap();
            stream.flush().unwrap();
            match reply(&mut stream) {
                Some(Reply::Error { code, .. }) => prop_assert_eq!(code, Code::Protocol),
                other => prop_assert!(other.is_none(), "{:?}", other),
            }
            Ok(())
        })
        .unwrap();
    running.empty(Duration::from_secs(5));
}

#[test]
fn who_was_welcomed_is_told_once_and_not_where_the_policy_says_no() {
    for wanted in [true, false] {
        let running = Running::start(short(), |config| config.last_seen = wanted);
        let _ = running.tls();
        drop(running.hello());
        drop(running.hello());
        let seen = running.server.take_seen();
        let seen: Vec<String> = seen
            .iter()
            .map(|seen| format!("{}{}", seen.direction.sign(), seen.address))
            .collect();
        assert_eq!(seen, if wanted { vec!["-127.0.0.1"] } else { Vec::new() });
        assert!(running.server.take_seen().is_empty());
    }
}

#[test]
fn a_client_for_which_there_is_no_room_any_more_hears_when_to_come_again_if_it_knows_the_word() {
    let running = Running::start(Limits::default(), |config| config.max_connections = 1);
    // All three stand before the greeting; there is room for one.
    let (mut second, mut third) = (running.tls(), running.tls());
    let _first = running.hello();
    greeting(wire::FEATURES).encode(1, second.buffer()).unwrap();
    assert!(matches!(reply(&mut second), Some(Reply::Busy { again: 1.., .. })));
    greeting(0).encode(1, third.buffer()).unwrap();
    let said = reply(&mut third);
    assert!(matches!(said, Some(Reply::Error { code: Code::Busy, .. })), "{said:?}");
}
