//! An encrypted stream over TCP: deadlines that a trickling peer cannot stretch, writes gathered into large pieces.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ClientConnection, ConnectionCommon, ServerConnection, SideData};
use rustls_pki_types::CertificateDer;

use super::{TlsError, io_error};
use crate::keys::PublicKey;
use crate::sys::trip;
use crate::wire::Packer;

/// Writes are gathered up to this many bytes before they are encrypted and sent.
const GATHER: usize = 64 * 1024;
/// A client takes up to this many bytes from the kernel at once: rustls asks for 4 KiB at a time.
const AHEAD: usize = 128 * 1024;

/// Until when a peer must have moved, and how long one wait may be.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    wait: Duration,
}

impl Deadline {
    /// From now on.
    pub fn after(wait: Duration) -> Self {
        Deadline {
            end: Instant::now() + wait,
            wait,
        }
    }
}

/// TCP with a deadline. A peer that trickles bytes is cut off at most one wait after the deadline.
struct Timed {
    tcp: TcpStream,
    deadline: Deadline,
    /// What was read ahead; empty where nothing is.
    ahead: Vec<u8>,
    /// The part of it that was not asked for yet.
    held: Range<usize>,
}

impl Timed {
    fn new(tcp: TcpStream, deadline: Deadline) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        watch(&tcp)?;
        tcp.set_read_timeout(Some(deadline.wait))?;
        tcp.set_write_timeout(Some(deadline.wait))?;
        Ok(Timed {
            tcp,
            deadline,
            ahead: Vec::new(),
            held: 0..0,
        })
    }

    fn arm(&mut self, deadline: Deadline) -> io::Result<()> {
        if deadline.wait != self.deadline.wait {
            self.tcp.set_read_timeout(Some(deadline.wait))?;
            self.tcp.set_write_timeout(Some(deadline.wait))?;
        }
        self.deadline = deadline;
        Ok(())
    }

    fn in_time(&self) -> io::Result<()> {
        if Instant::now() >= self.deadline.end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Makes a call, and makes it again where it was interrupted: the kernel does not where a socket has time-outs, and a
    /// process that was stopped and goes on is interrupted, too.
    fn made(&self, call: &mut dyn FnMut(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.in_time()?;
            match call(&self.tcp) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                made => return made.map_err(timed_out),
            }
        }
    }
}

/// A peer that vanished (power cut, cable) while nothing is under way is found out within half a minute, whatever it may
/// be silent otherwise: the kernel asks for it.
fn watch(tcp: &TcpStream) -> io::Result<()> {
    setsockopt(tcp, sockopt::KeepAlive, &true)?;
    setsockopt(tcp, sockopt::TcpKeepIdle, &10)?;
    setsockopt(tcp, sockopt::TcpKeepInterval, &5)?;
    setsockopt(tcp, sockopt::TcpKeepCount, &4)?;
    Ok(())
}

/// A socket time-out is reported as `WouldBlock` by the kernel; it means the same.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.in_time()?;
        if self.held.is_empty() {
            if self.ahead.is_empty() {
                return self.made(&mut |mut tcp| tcp.read(buffer));
            }
            let mut ahead = std::mem::take(&mut self.ahead);
            let read = self.made(&mut |mut tcp| tcp.read(&mut ahead));
            self.ahead = ahead;
            self.held = 0..read?;
        }
        let count = self.ahead.get(self.held.clone()).unwrap_or_default().read(buffer)?;
        self.held.start += count;
        Ok(count)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.made(&mut |mut tcp| tcp.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An encrypted stream. What is written is sent by [`Write::flush`] at the latest.
pub struct Stream<C> {
    tls: C,
    tcp: Timed,
    out: Vec<u8>,
    packer: Option<Box<Packer>>,
}

/// The client's end.
pub type ClientStream = Stream<ClientConnection>;
/// The server's end.
pub type ServerStream = Stream<ServerConnection>;

impl<C, S> Stream<C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    pub(super) fn new(tls: C, tcp: TcpStream, deadline: Deadline) -> Result<Self, TlsError> {
        Ok(Stream {
            tls,
            tcp: Timed::new(tcp, deadline)?,
            out: Vec::new(),
            packer: None,
        })
    }

    pub(super) fn handshake(&mut self) -> Result<(), TlsError> {
        while self.tls.is_handshaking() {
            let (read, written) = self.tls.complete_io(&mut self.tcp).map_err(|error| {
                // Tell the peer why before hanging up.
                let _ = self.tls.write_tls(&mut self.tcp);
                let _ = self.tcp.tcp.shutdown(Shutdown::Write);
                io_error(error)
            })?;
            if read == 0 && written == 0 {
                return Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(())
    }

    pub(super) fn peer(&self) -> Option<PublicKey> {
        let shown: &[CertificateDer<'_>] = self.tls.peer_certificates()?;
        PublicKey::from_spki(shown.first()?)
    }

    /// From now on much is taken from the kernel at once. Costs memory: for one who fetches.
    pub(super) fn read_ahead(&mut self) {
        self.tcp.ahead = vec![0; AHEAD];
    }

    /// From now on the peer must have moved by this deadline.
    pub fn arm(&mut self, deadline: Deadline) -> io::Result<()> {
        self.tcp.arm(deadline)
    }

    /// The buffer that the next flush sends: frames are written straight into it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends bytes at once, after what is in the buffer.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.put(bytes)
    }

    /// Packs what is written from now on; it has to be whole frames.
    pub fn pack(&mut self) -> io::Result<()> {
        self.flush()?;
        self.packer = Some(Box::default());
        Ok(())
    }

    /// How long a word to the peer and its answer take, where the kernel has measured it.
    pub fn round_trip(&self) -> Option<Duration> {
        trip::shortest(self.tcp.tcp.as_fd())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut tls = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        match &mut self.packer {
            None => tls.write_all(bytes)?,
            Some(packer) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    tls.write_all(packer.take(&mut rest))?;
                }
            }
        }
        tls.flush()
    }

    /// Sends the buffer when it has grown large.
    pub fn flush_when_large(&mut self) -> io::Result<()> {
        if self.out.len() >= GATHER {
            self.flush()?;
        }
        Ok(())
    }

    /// Says good-bye. The peer then knows that nothing was cut off.
    pub fn close(mut self) {
        self.farewell();
    }

    /// Says good-bye and waits until the peer has hung up, at most this long and for a bounded number of bytes: what was
    /// said last is not lost to a reset.
    pub fn close_after(mut self, wait: Duration) {
        self.farewell();
        linger(&self.tcp.tcp, wait);
    }

    fn farewell(&mut self) {
        let _ = self.flush();
        self.tls.send_close_notify();
        let _ = self.flush();
        let _ = self.tcp.tcp.shutdown(Shutdown::Write);
    }

    /// Whether the peer has hung up or sent something unasked while nothing was under way.
    pub fn stale(&self) -> bool {
        if !self.tcp.held.is_empty() {
            return true;
        }
        let _ = self.tcp.tcp.set_nonblocking(true);
        let seen = self.tcp.tcp.peek(&mut [0]);
        let _ = self.tcp.tcp.set_nonblocking(false);
        !matches!(seen, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl<C, S> Read for Stream<C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        rustls::Stream::new(&mut self.tls, &mut self.tcp).read(buffer)
    }
}

impl<C, S> Write for Stream<C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        self.flush_when_large()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() && !self.tls.wants_write() {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.out);
        let sent = self.put(&out);
        if sent.is_ok() {
            out.clear();
        }
        self.out = out;
        sent
    }
}

/// Refuses a connection before the handshake with a fatal alert in clear (RFC 8446, 6): "access denied" when the address is
/// not accepted, "internal error" when there is no room. Takes at most `wait`.
pub fn refuse(mut tcp: TcpStream, busy: bool, wait: Duration) {
    let description = if busy { 80 } else { 49 };
    let _ = tcp.set_write_timeout(Some(wait));
    let _ = tcp.write_all(&[0x15, 3, 3, 0, 2, 2, description]);
    let _ = tcp.shutdown(Shutdown::Write);
    linger(&tcp, wait);
}

/// Reads away what the peer still sends until it hangs up: closing with unread bytes would reset the connection.
fn linger(tcp: &TcpStream, wait: Duration) {
    let end = Instant::now() + wait;
    let mut sink = [0; 4096];
    let mut tcp = tcp;
    for _ in 0..64 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || tcp.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match tcp.read(&mut sink) {
            Ok(n) if n > 0 => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}
