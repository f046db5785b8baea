//! The holder before a network process that has been taken over: what it may ask for, and what it gets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::letter::{self, letter};
use crate::keys::{PrivateKey, Store};
use crate::serve::seats::Places;
use crate::serve::{Config, Limits, Pattern, Rule, Server};
use crate::sys::pass;
use crate::tls::{ClientStream, Deadline, Front, Identity, Proof, ServerStream, Sign};
use crate::wire::{self, Hello, Reply, Request, Want};

/// A file that is sent by its descriptor, of several pieces.
const LARGE: usize = 10 * wire::MAX_DATA;

/// A server as it is in the holder, with a client that it knows and a tree that is for that client.
struct Holder {
    server: Server,
    places: Arc<Places>,
    key: PrivateKey,
    client: PrivateKey,
    dir: tempfile::TempDir,
}

impl Holder {
    fn new() -> Holder {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("keys"));
        store.prepare().unwrap();
        let (key, client) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        store.trust("root", [127, 0, 0, 1].into(), &client.public()).unwrap();
        std::fs::create_dir(dir.path().join("srv")).unwrap();
        std::fs::write(dir.path().join("srv/one"), "one").unwrap();
        std::fs::write(dir.path().join("srv/large"), vec![7; LARGE]).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        let mut config = Config {
            bind: Some([127, 0, 0, 1].into()),
            multiple: vec![Pattern::Any],
            ..Config::default()
        };
        config.access.admit.push(Rule {
            path: dir.path().join("srv").to_str().unwrap().into(),
            hosts: vec![Pattern::Any],
            root: Vec::new(),
            place: "test".to_string(),
        });
        let limits = Limits {
            handshake: Duration::from_millis(500),
            write: Duration::from_millis(150),
            slack: Duration::from_millis(300),
            ..Limits::default()
        };
        let server = Server::bind(config, Identity::new(&key).unwrap(), store, 0, limits).unwrap();
        Holder {
            server,
            places: Arc::default(),
            key,
            client,
            dir,
        }
    }

    /// The other process hands a connection over; the holder lets it go on.
    fn call(&self) -> (UnixStream, [u8; 32]) {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        self.server.called(&self.places, [127, 0, 0, 1].into(), there);
        let mut go = [0; letter::HEAD + 32];
        here.read_exact(&mut go).unwrap();
        assert_eq!(go[..letter::HEAD], letter::head(letter::GO, 32));
        (here, go[letter::HEAD..].try_into().unwrap())
    }

    /// A handshake with a client that holds this key, as it should be.
    fn handshake(&self, here: &UnixStream, nonce: [u8; 32], client: &PrivateKey) -> Proof {
        self.streams(here, nonce, client).0
    }

    /// The same, with both ends of what is encrypted from then on.
    fn streams(&self, here: &UnixStream, nonce: [u8; 32], client: &PrivateKey) -> (Proof, ServerStream, ClientStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let wait = || Deadline::after(Duration::from_secs(5));
        let (identity, known) = (Identity::new(client).unwrap(), self.key.public());
        let at_client = thread::spawn(move || identity.connect(tcp, Some(known), wait()).map(|done| done.0));
        let mut holder = here.try_clone().unwrap();
        let sign: Sign = Box::new(move |message| {
            holder.write_all(&letter(letter::SIGN, message))?;
            let mut signature = [0; letter::HEAD + 64];
            holder.read_exact(&mut signature)?;
            Ok(signature[letter::HEAD..].to_vec())
        });
        let front = Front::new(self.key.public()).unwrap();
        let (stream, proof) = front.accept(listener.accept().unwrap().0, wait(), nonce, sign).unwrap();
        (proof, stream, at_client.join().unwrap().unwrap())
    }

    /// A session after a handshake with the client that is known.
    fn session(&self) -> UnixStream {
        let (mut here, nonce) = self.call();
        let proof = self.handshake(&here, nonce, &self.client);
        here.write_all(&shown(&proof)).unwrap();
        here
    }
}

fn shown(proof: &Proof) -> Vec<u8> {
    letter(letter::PROOF, &[&proof.signature[..], &proof.transcript].concat())
}

/// What the holder says until it hangs up, or wants to hear something, if only of a file.
fn says(here: &mut UnixStream) -> Vec<(u8, Vec<u8>)> {
    let mut said = Vec::new();
    loop {
        let mut head = [0; letter::HEAD];
        if here.read_exact(&mut head).is_err() {
            return said;
        }
        let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize];
        here.read_exact(&mut body).unwrap();
        said.push((head[0], body));
        if [letter::NEXT, letter::POUR].contains(&head[0]) {
            return said;
        }
    }
}

fn frame(id: u32, request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(id, &mut bytes).unwrap();
    letter(letter::FRAME, &bytes)
}

fn hello() -> Request {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Request::Hello(Hello {
        versions: (1, 1),
        features: wire::FEATURES,
        time: now.as_secs().cast_signed(),
        user: "root".into(),
        program: "test".into(),
    })
}

/// The replies among what was said.
fn replies(said: &[(u8, Vec<u8>)]) -> Vec<Reply> {
    let told = said.iter().filter(|(kind, _)| *kind == letter::TELL);
    let mut out = Vec::new();
    for (_, bytes) in told {
        let mut rest = &bytes[..];
        while let Some((header, payload)) = wire::read_frame(&mut rest, wire::MAX_REPLY).unwrap() {
            out.push(Reply::decode(header, payload).unwrap());
        }
    }
    out
}

#[test]
fn a_client_that_has_proved_its_key_is_served_and_gets_what_it_was_granted_and_nothing_else() {
    let holder = Holder::new();
    let mut here = holder.session();
    says(&mut here);
    here.write_all(&frame(1, &hello())).unwrap();
    let said = says(&mut here);
    assert!(said.iter().any(|(kind, _)| *kind == letter::WELCOMED));
    assert!(matches!(replies(&said)[..], [Reply::Welcome { .. }]));
    for (path, granted) in [("srv", true), ("secret", false), ("keys", false), ("", false)] {
        let root = holder.dir.path().join(path).to_str().unwrap().into();
        let request = Request::Manifest {
            root,
            known: None,
            select: crate::fsx::Select::default(),
        };
        here.write_all(&frame(2, &request)).unwrap();
        let replies = replies(&says(&mut here));
        assert_eq!(
            !matches!(replies[..], [Reply::Error { .. }]),
            granted,
            "{path}: {replies:?}"
        );
    }
}

#[test]
fn without_a_proof_that_holds_nothing_is_served_whoever_the_client_is_said_to_be() {
    let holder = Holder::new();
    // No proof at all.
    let (mut here, _) = holder.call();
    here.write_all(&frame(1, &hello())).unwrap();
    assert!(says(&mut here).is_empty());
    // A proof of nothing.
    let (mut here, _) = holder.call();
    here.write_all(&shown(&Proof {
        transcript: vec![1; 500],
        signature: vec![2; 64],
    }))
    .unwrap();
    assert!(says(&mut here).is_empty());
    // The proof of an earlier handshake of the same client.
    let (here, nonce) = holder.call();
    let old = holder.handshake(&here, nonce, &holder.client);
    let (mut here, _) = holder.call();
    here.write_all(&shown(&old)).unwrap();
    assert!(says(&mut here).is_empty());
    // The same with a signature of the holder over the old messages is no other.
    let (mut here, nonce) = holder.call();
    holder.handshake(&here, nonce, &PrivateKey::generate().unwrap());
    here.write_all(&shown(&old)).unwrap();
    assert!(says(&mut here).is_empty());
    // A key that nobody knows, proved: it may greet, and no more.
    let (mut here, nonce) = holder.call();
    let proof = holder.handshake(&here, nonce, &PrivateKey::generate().unwrap());
    here.write_all(&shown(&proof)).unwrap();
    says(&mut here);
    here.write_all(&frame(1, &hello())).unwrap();
    let said = says(&mut here);
    assert!(matches!(
        replies(&said)[..],
        [Reply::Error {
            code: wire::Code::Identity,
            ..
        }]
    ));
    assert_eq!(said.last().unwrap().0, letter::CLOSE_AFTER);
}

#[test]
fn the_key_signs_for_the_server_of_one_handshake_and_for_nothing_else() {
    let holder = Holder::new();
    let blanks = [b' '; 64];
    for context in [&b"TLS 1.3, client CertificateVerify\0"[..], b"", b"\0"] {
        let (mut here, _) = holder.call();
        let message = [&blanks[..], context, &[7; 32]].concat();
        here.write_all(&letter(letter::SIGN, &message)).unwrap();
        assert!(says(&mut here).is_empty());
    }
    let (mut here, _) = holder.call();
    let message = [&blanks[..], b"TLS 1.3, server CertificateVerify\0", &[7; 32]].concat();
    here.write_all(&letter(letter::SIGN, &message)).unwrap();
    here.write_all(&letter(letter::SIGN, &message)).unwrap();
    let said = says(&mut here);
    assert_eq!(said.len(), 1);
    assert!(holder.key.public().verify(&message, &said[0].1));
}

#[test]
fn letters_that_do_not_fit_or_are_too_long_end_a_session_before_they_are_read() {
    let holder = Holder::new();
    let long = |kind: u8| letter::head(kind, 1 << 30).to_vec();
    let bad = [
        letter(letter::GO, &[0; 32]),
        letter(0, b""),
        letter(letter::SIGN, b"x"),
        letter(letter::POURED, &[0; 40]),
        letter(letter::FRAME, b""),
        letter(letter::FRAME, b"\0\0"),
        letter(letter::FRAME, &[0xff; wire::HEADER]),
        [
            letter::head(letter::FRAME, wire::HEADER + 1).to_vec(),
            vec![0; wire::HEADER + 1],
        ]
        .concat(),
        long(letter::FRAME),
        long(letter::BROKEN),
        long(letter::END),
    ];
    for letter in bad {
        let mut here = holder.session();
        says(&mut here);
        here.write_all(&letter).unwrap();
        let said = says(&mut here);
        let served = |reply: &Reply| !matches!(reply, Reply::Error { .. });
        assert!(!replies(&said).iter().any(served), "{letter:?}");
        assert!(said.iter().all(|(kind, _)| *kind != letter::NEXT), "{letter:?}");
    }
}

#[test]
fn more_connections_than_there_are_places_are_turned_away_and_silent_ones_are_let_go() {
    let holder = Holder::new();
    let held: Vec<UnixStream> = (0..200)
        .map(|_| {
            let (here, there) = UnixStream::pair().unwrap();
            holder.server.called(&holder.places, [127, 0, 0, 1].into(), there);
            here
        })
        .collect();
    let full = held.iter().filter(|here| {
        let mut kind = [0];
        here.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut here: &UnixStream = here;
        here.read_exact(&mut kind).is_ok() && kind == [letter::FULL]
    });
    assert_eq!(full.count(), 200 - 64);
    assert_eq!(holder.places.taken(), 64);
}

#[test]
fn a_line_that_is_no_stream_and_a_connection_that_is_none_are_dropped() {
    let holder = Holder::new();
    let file = std::fs::File::open(holder.dir.path().join("secret")).unwrap();
    let line = UnixStream::from(std::os::fd::OwnedFd::from(file));
    holder.server.called(&holder.places, [127, 0, 0, 1].into(), line);
    let (sender, receiver) = channel::<()>();
    let places = holder.places.clone();
    thread::spawn(move || {
        while places.taken() > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        drop(sender);
    });
    assert!(receiver.recv_timeout(Duration::from_secs(10)).is_err());
    assert_eq!(holder.places.taken(), 0);
    // What is sent with a message is closed when the message makes no sense.
    let (here, there) = pass::messages().unwrap();
    let (probe, other) = UnixStream::pair().unwrap();
    use std::os::fd::AsFd;
    pass::send(here.as_fd(), b"C", &[other.as_fd()], true).unwrap();
    drop(other);
    super::keeper::hear_once(there.as_fd());
    probe.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!((&probe).read(&mut [0]).unwrap(), 0);
}

/// A session in which the holder has asked for the large file to be sent.
fn pouring(holder: &Holder) -> UnixStream {
    let mut here = holder.session();
    says(&mut here);
    here.write_all(&frame(1, &hello())).unwrap();
    says(&mut here);
    let root = holder.dir.path().join("srv");
    let meta = std::fs::metadata(root.join("large")).unwrap();
    let mtime = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    let fetch = Request::Fetch {
        root: root.to_str().unwrap().into(),
    };
    here.write_all(&frame(2, &fetch)).unwrap();
    says(&mut here);
    let want = Want {
        path: "large".into(),
        size: meta.len(),
        mtime: mtime.as_nanos().cast_signed(),
        digest: None,
    };
    let wants = Request::Want {
        last: true,
        files: vec![want],
    };
    here.write_all(&frame(2, &wants)).unwrap();
    assert_eq!(says(&mut here).last().unwrap().0, letter::POUR);
    here
}

fn so_far(pieces: usize) -> Vec<u8> {
    letter(letter::POURING, &((pieces * wire::MAX_DATA) as u64).to_be_bytes())
}

#[test]
fn a_file_may_take_long_to_send_while_the_network_process_says_how_far_it_is_and_no_longer() {
    let holder = Holder::new();
    let mut here = pouring(&holder);
    // Twice as long as it may be silent.
    for pieces in 1..7 {
        thread::sleep(Duration::from_millis(500));
        here.write_all(&so_far(pieces)).unwrap();
    }
    let all = [&(LARGE as u64).to_be_bytes()[..], &[1; 32]].concat();
    here.write_all(&letter(letter::POURED, &all)).unwrap();
    let replies = replies(&says(&mut here));
    assert!(
        matches!(replies[..], [Reply::FileEnd { .. }, Reply::FetchEnd]),
        "{replies:?}"
    );
    drop(here);
    // Silent, not getting on, or over the end.
    for said in [
        vec![],
        [so_far(2), so_far(2)].concat(),
        so_far(11),
        letter(letter::POURING, b""),
    ] {
        let mut here = pouring(&holder);
        here.write_all(&said).unwrap();
        let last = says(&mut here);
        assert!(last.iter().all(|(kind, _)| *kind == letter::CLOSE), "{last:?}");
        assert_eq!(here.read(&mut [0]).unwrap(), 0, "it waits");
    }
}

#[test]
fn a_client_that_does_not_read_a_file_is_cut_off_by_the_network_process() {
    use std::os::fd::AsFd;
    let holder = Holder::new();
    let (call, nonce) = holder.call();
    let (_, stream, client) = holder.streams(&call, nonce, &holder.client);
    let (mut here, there) = UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    let size = 64 << 20;
    file.set_len(size).unwrap();
    let order = [&2u32.to_be_bytes()[..], &size.to_be_bytes(), &[0]].concat();
    pass::send(here.as_fd(), &letter(letter::POUR, &order), &[file.as_fd()], true).unwrap();
    let limits = Limits {
        write: Duration::from_millis(300),
        ..Limits::default()
    };
    let seat = Arc::<Places>::default().refusal().unwrap();
    super::net::obey(&limits, seat, stream, there);
    let said = says(&mut here);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].0, letter::BROKEN);
    assert_eq!(letter::error_in(&said[0].1).kind(), std::io::ErrorKind::TimedOut);
    drop(client);
}
