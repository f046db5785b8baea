//! A cable between client and server that can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use super::CLIENT;

/// The far side of a cable.
pub struct Cable {
    pub port: u16,
    state: Arc<AtomicU8>,
}

pub const WHOLE: u8 = 0;
pub const CUT: u8 = 1;
pub const SILENT: u8 = 2;

impl Cable {
    pub fn new(to: u16) -> Cable {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(AtomicU8::new(WHOLE));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Some(far) = from_client(to) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let state = Arc::clone(&shared);
                    thread::spawn(move || pump(from, to, &state));
                }
            }
        });
        Cable { port, state }
    }

    pub fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

/// A connection to the server from the address of the client.
fn from_client(port: u16) -> Option<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let (client, server): (IpAddr, IpAddr) = (CLIENT.parse().unwrap(), "127.0.0.1".parse().unwrap());
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(client, 0))).ok()?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(server, port))).ok()?;
    Some(TcpStream::from(fd))
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let hang_up = |from: &TcpStream, to: &TcpStream| {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    };
    let _ = from.set_read_timeout(Some(Duration::from_millis(5)));
    let mut buffer = [0; 16 * 1024];
    let mut lost = false;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            // Interrupted: this process was stopped and goes on.
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => 0,
                _ => break,
            },
        };
        match state.load(Ordering::SeqCst) {
            CUT => break,
            // What was on its way is gone; such a connection never comes to itself again.
            SILENT => lost = true,
            _ if lost => break,
            _ if to.write_all(&buffer[..read]).is_err() => break,
            _ => {}
        }
    }
    hang_up(&from, &to);
}
