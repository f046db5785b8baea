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
