use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn both_sides_learn_the_key_the_other_proved_to_hold() {
    let (server_key, client_key) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let (client, server) = pair();
    let identity = Identity::new(&server_key).unwrap();
    let at_server = thread::spawn(move || {
        let (mut stream, key) = identity.accept(server, wait()).unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        stream.write_all(&said).unwrap();
        stream.flush().unwrap();
        key
    });
    let known = Some(server_key.public());
    let (mut stream, key) = Identity::new(&client_key)
        .unwrap()
        .connect(client, known, wait())
        .unwrap();
    assert_eq!(key, server_key.public());
    stream.write_all(b"hello").unwrap();
    let mut said = [0; 5];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
    assert_eq!(at_server.join().unwrap(), client_key.public());
}

#[test]
fn a_server_with_another_key_than_the_pinned_one_is_not_spoken_to() {
    let (real, false_key) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let (client, server) = pair();
    let identity = Identity::new(&false_key).unwrap();
    let at_server = thread::spawn(move || identity.accept(server, wait()).map(|_| ()));
    let result = Identity::new(&real)
        .unwrap()
        .connect(client, Some(real.public()), wait());
    assert!(matches!(result, Err(TlsError::OtherKey { shown, .. }) if shown == false_key.public()));
    assert!(matches!(at_server.join().unwrap(), Err(TlsError::KeyRefused)));
}

#[test]
fn garbage_and_silence_end_in_time() {
    let identity = Identity::new(&PrivateKey::generate().unwrap()).unwrap();
    let (mut client, server) = pair();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(matches!(identity.accept(server, wait()), Err(TlsError::Protocol(_))));
    let (_silent, server) = pair();
    let start = Instant::now();
    let result = identity.accept(server, Deadline::after(Duration::from_millis(200)));
    assert!(matches!(result, Err(TlsError::Io(e)) if e.kind() == io::ErrorKind::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_peer_that_trickles_cannot_stretch_the_deadline() {
    let identity = Identity::new(&PrivateKey::generate().unwrap()).unwrap();
    let (mut client, server) = pair();
    let start = Instant::now();
    // A record of 16 KiB is announced and comes one byte at a time.
    let trickle = thread::spawn(move || {
        let _ = client.write_all(&[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xf0]);
        while start.elapsed() < Duration::from_secs(5) && client.write_all(&[0]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let result = identity.accept(server, Deadline::after(Duration::from_millis(300)));
    assert!(matches!(result, Err(TlsError::Io(e)) if e.kind() == io::ErrorKind::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(2));
    trickle.join().unwrap();
}

#[test]
fn a_refusal_before_the_handshake_is_understood() {
    for (busy, denied) in [(true, false), (false, true)] {
        let (client, server) = pair();
        let at_server = thread::spawn(move || refuse(server, busy, Duration::from_secs(1)));
        let identity = Identity::new(&PrivateKey::generate().unwrap()).unwrap();
        let error = identity.connect(client, None, wait()).map(|_| ()).unwrap_err();
        assert_eq!(matches!(error, TlsError::Denied), denied, "{error:?}");
        assert_eq!(matches!(error, TlsError::Busy), busy, "{error:?}");
        at_server.join().unwrap();
    }
}

/// A handshake in two halves: what the holder of the key signs, and what is shown to it, may be changed on the way.
fn apart(shown: fn(&mut Proof)) -> (PublicKey, Result<PublicKey, &'static str>) {
    let (server_key, client_key) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let (client, server) = pair();
    let known = Some(server_key.public());
    let at_client = {
        let client_key = client_key.clone();
        thread::spawn(move || {
            Identity::new(&client_key)
                .unwrap()
                .connect(client, known, wait())
                .map(|_| ())
        })
    };
    let front = Front::new(server_key.public()).unwrap();
    let witness = Witness::new(Identity::new(&server_key).unwrap()).unwrap();
    let nonce = witness.nonce();
    let shared = Arc::new(Mutex::new(witness));
    let holder = shared.clone();
    let sign: Sign = Box::new(move |message| holder.lock().unwrap().sign(message).map_err(io::Error::other));
    let (_stream, mut proof) = front.accept(server, wait(), nonce, sign).unwrap();
    at_client.join().unwrap().unwrap();
    shown(&mut proof);
    let witness = Arc::into_inner(shared).unwrap().into_inner().unwrap();
    (client_key.public(), witness.judge(&proof))
}

#[test]
fn who_holds_the_key_is_shown_what_the_client_signed_and_judges_by_itself() {
    let (client, judged) = apart(|_| ());
    assert_eq!(judged, Ok(client));
}

#[test]
fn no_proof_holds_of_which_any_byte_is_another() {
    let (_, judged) = apart(|proof| proof.signature[0] ^= 1);
    assert_eq!(judged, Err("the client has not signed it"));
    let (_, judged) = apart(|proof| proof.transcript.clear());
    assert!(judged.is_err());
    let (_, judged) = apart(|proof| proof.transcript.push(0));
    assert_eq!(judged, Err("there is more than should be"));
    let (_, judged) = apart(|proof| {
        let end = proof.transcript.len();
        // The last byte of the client's key, before the two of its extensions.
        proof.transcript[end - 3] ^= 1;
    });
    assert_eq!(judged, Err("the client has not signed it"));
    // Bytes all over a handshake.
    fn damage<const N: usize>(proof: &mut Proof) {
        let at = proof.transcript.len() * N / 16;
        proof.transcript[at] ^= 1;
    }
    let all: [fn(&mut Proof); 16] = [
        damage::<0>,
        damage::<1>,
        damage::<2>,
        damage::<3>,
        damage::<4>,
        damage::<5>,
        damage::<6>,
        damage::<7>,
        damage::<8>,
        damage::<9>,
        damage::<10>,
        damage::<11>,
        damage::<12>,
        damage::<13>,
        damage::<14>,
        damage::<15>,
    ];
    for damage in all {
        assert!(apart(damage).1.is_err());
    }
}

#[test]
fn a_proof_of_one_handshake_is_none_in_another() {
    static OLD: Mutex<Option<Proof>> = Mutex::new(None);
    let (_, judged) = apart(|proof| *OLD.lock().unwrap() = Some(proof.clone()));
    assert!(judged.is_ok());
    let (_, judged) = apart(|proof| *proof = OLD.lock().unwrap().take().unwrap());
    assert_eq!(judged, Err("it is of another handshake"));
}

#[test]
fn nothing_is_signed_but_what_a_server_signs_and_once_a_handshake() {
    let key = PrivateKey::generate().unwrap();
    let begin = || Witness::new(Identity::new(&key).unwrap()).unwrap();
    let message = |context: &[u8], hash: usize| [&[b' '; 64], context, &vec![7; hash]].concat();
    let server = b"TLS 1.3, server CertificateVerify\0";
    for wrong in [
        message(b"TLS 1.3, client CertificateVerify\0", 32),
        message(server, 31),
        message(server, 33),
        message(server, 0),
        b"anything".to_vec(),
        Vec::new(),
    ] {
        assert!(begin().sign(&wrong).is_err());
    }
    let mut witness = begin();
    let right = message(server, 32);
    let signature = witness.sign(&right).unwrap();
    assert!(key.public().verify(&right, &signature) && !key.public().verify(&right[1..], &signature));
    assert!(witness.sign(&right).is_err());
}
