//! The network process: takes connections in, speaks TLS, checks that requests are requests, and tells clients what the
//! holder says.

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::keeper::{BEGIN, CALL, FAILED, LOG, MESSAGE, MOST, READY};
use super::letter::{self, Bringing, Came};
use crate::digest::Blake3;
use crate::keys::PublicKey;
use crate::serve::connection::FAREWELL;
use crate::serve::door::{Door, Serve, full};
use crate::serve::seats::Seat;
use crate::serve::server::{Limits, no_handshake};
use crate::sys::{confine, pass};
use crate::tls::{Deadline, Front, ServerStream, Sign, refuse};
use crate::wire::{self, Request};

/// The argument with which cfservd starts itself as the network process.
pub const ARGUMENT: &str = "--network-process";

/// How often the holder hears that a file is still being sent.
const PULSE: Duration = Duration::from_secs(2);

/// What the process is called, where the other one is `cfservd`.
const NAME: &CStr = c"cfservd-net";

/// The life of the network process, which ends with the holder's. Its standard input is the socket to it.
pub fn main() -> io::Result<()> {
    confine::close_others()?;
    let _ = nix::sys::prctl::set_name(NAME);
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let mut space = [0; MESSAGE];
    let (count, fds) = pass::receive(control.as_fd(), &mut space, true)?;
    let (order, listener) = Order::read(space.get(..count).unwrap_or_default(), fds)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "this is no order to begin"))?;
    match begin(&control, &order, listener) {
        Ok((net, door, missing)) => {
            say(&control, READY, missing.as_bytes())?;
            net.serve(&door)
        }
        Err(error) => say(&control, FAILED, error.to_string().as_bytes()),
    }
}

/// What the holder wants.
struct Order {
    uid: u32,
    gid: u32,
    most: usize,
    level: LevelFilter,
    key: PublicKey,
}

impl Order {
    fn read(message: &[u8], fds: Vec<OwnedFd>) -> Option<(Self, TcpListener)> {
        let [listener] = <[OwnedFd; 1]>::try_from(fds).ok()?;
        let mut rest = message.strip_prefix(&[BEGIN])?;
        let mut number = || {
            let (first, more) = rest.split_first_chunk()?;
            rest = more;
            Some(u32::from_be_bytes(*first))
        };
        let (uid, gid, most, level) = (number()?, number()?, number()?, number()?);
        let level = LevelFilter::iter().find(|known| *known as usize == level as usize)?;
        let order = Order {
            uid,
            gid,
            most: usize::try_from(most).ok()?,
            level,
            key: PublicKey::from_pem(rest)?,
        };
        Some((order, TcpListener::from(listener)))
    }
}

/// A message to the holder, cut to what fits.
fn say(control: &impl AsFd, kind: u8, text: &[u8]) -> io::Result<()> {
    let text = text.get(..MESSAGE - 16).unwrap_or(text);
    pass::send(control.as_fd(), &[&[kind], text].concat(), &[], true).map(|_| ())
}

fn begin(control: &OwnedFd, order: &Order, listener: TcpListener) -> io::Result<(Net, Door, String)> {
    let front = Front::new(order.key).map_err(io::Error::other)?;
    // Before the filter: it asks for the limit of descriptors.
    let door = Door::new(listener)?;
    // They are for the holder, which we end with.
    confine::ignore(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE])?;
    let missing = confine::confine(order.uid, order.gid)?;
    Told::init(control.try_clone()?, order.level);
    let net = Net {
        shared: Arc::new(Shared {
            control: control.try_clone()?,
            front,
            limits: Limits::default(),
        }),
        most: Arc::new(AtomicUsize::new(order.most)),
    };
    Ok((net, door, missing.join("; ")))
}

/// The log goes to the holder.
struct Told(OwnedFd);

impl Told {
    fn init(control: OwnedFd, level: LevelFilter) {
        if log::set_boxed_logger(Box::new(Told(control))).is_ok() {
            log::set_max_level(level);
        }
        std::panic::set_hook(Box::new(|info| log::error!("a fault of the program: {info}")));
    }
}

impl Log for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dsau")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = u8::try_from(record.level() as usize).unwrap_or(u8::MAX);
            let text = record.args().to_string();
            let _ = say(&self.0, LOG, &[&[level], text.as_bytes()].concat());
        }
    }

    fn flush(&self) {}
}

struct Net {
    shared: Arc<Shared>,
    most: Arc<AtomicUsize>,
}

struct Shared {
    control: OwnedFd,
    front: Front,
    limits: Limits,
}

impl Net {
    /// Serves until the holder hangs up.
    fn serve(&self, door: &Door) -> io::Result<()> {
        let (shared, most) = (self.shared.clone(), self.most.clone());
        let serve: Serve = Arc::new(move |seat, tcp, address| {
            Client::serve(&shared, seat, tcp, address, most.load(Ordering::Relaxed));
        });
        let mut wait = None;
        loop {
            let mut waited = [
                PollFd::new(door.news(), PollFlags::POLLIN),
                PollFd::new(self.shared.control.as_fd(), PollFlags::POLLIN),
            ];
            let time = wait.map_or(PollTimeout::NONE, |wait| {
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            });
            let _ = poll(&mut waited, time);
            let mut space = [0; MESSAGE];
            match pass::receive(self.shared.control.as_fd(), &mut space, false) {
                Ok((0, _)) => return Ok(()),
                Ok((5, _)) => {
                    if let [MOST, number @ ..] = space
                        && let Some(number) = number.first_chunk()
                    {
                        let number = usize::try_from(u32::from_be_bytes(*number)).unwrap_or(usize::MAX);
                        self.most.store(number, Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            wait = door.accept(self.most.load(Ordering::Relaxed), &self.shared.limits, &serve);
        }
    }
}

/// A stream to the holder.
struct Holder {
    from: BufReader<Bringing>,
    came: Came,
    body: Vec<u8>,
}

impl Holder {
    /// Hands a connection over.
    fn call(shared: &Shared, tcp: &TcpStream) -> io::Result<Self> {
        let (to, theirs) = UnixStream::pair()?;
        pass::send(shared.control.as_fd(), &[CALL], &[tcp.as_fd(), theirs.as_fd()], true)?;
        let (from, came) = Bringing::new(to);
        Ok(Holder {
            from,
            came,
            body: Vec::new(),
        })
    }

    fn send(&self, kind: u8, body: &[u8]) -> io::Result<()> {
        use std::io::Write;
        self.from.get_ref().stream().write_all(&letter::letter(kind, body))
    }

    fn read(&mut self, kinds: &[u8]) -> io::Result<Option<u8>> {
        letter::read(&mut self.from, kinds, &mut self.body)
    }
}

/// A connection after the handshake.
struct Client<'a> {
    limits: &'a Limits,
    seat: Seat,
    stream: ServerStream,
}

impl Client<'_> {
    /// The whole life of a connection, on its thread.
    fn serve(shared: &Shared, seat: Seat, tcp: TcpStream, address: IpAddr, most: usize) {
        let moment = Duration::from_secs(1);
        let mut holder = match Holder::call(shared, &tcp) {
            Ok(holder) => holder,
            Err(error) => return log::error!("{address}: refused: it cannot be handed over: {error}"),
        };
        let nonce = match holder.read(&[letter::GO, letter::DENIED, letter::FULL]) {
            Ok(Some(letter::GO)) => <[u8; 32]>::try_from(holder.body.as_slice()),
            // Why is in the log already.
            Ok(Some(letter::DENIED)) => return refuse(tcp, false, moment),
            Ok(Some(_)) => {
                full(address, most);
                return refuse(tcp, true, moment);
            }
            Ok(None) => return,
            Err(error) => return log::error!("{address}: refused: {error}"),
        };
        let Ok(nonce) = nonce else {
            return;
        };
        let holder = Rc::new(RefCell::new(holder));
        let signs = holder.clone();
        let sign: Sign = Box::new(move |message| {
            let mut holder = signs.borrow_mut();
            holder.send(letter::SIGN, message)?;
            match holder.read(&[letter::SIGN])? {
                Some(_) => Ok(holder.body.clone()),
                None => Err(ErrorKind::UnexpectedEof.into()),
            }
        });
        let deadline = Deadline::after(shared.limits.handshake);
        let (stream, proof) = match shared.front.accept(tcp, deadline, nonce, sign) {
            Ok(accepted) => accepted,
            Err(error) => return no_handshake(address, &error),
        };
        let mut holder = holder.borrow_mut();
        if proof.signature.len() != 64
            || holder
                .send(letter::PROOF, &[&proof.signature[..], &proof.transcript].concat())
                .is_err()
        {
            return;
        }
        let client = Client {
            limits: &shared.limits,
            seat,
            stream,
        };
        client.obey(&mut holder);
    }

    /// Does what the holder says until that says good-bye, or has ended.
    fn obey(mut self, holder: &mut Holder) {
        const ORDERS: &[u8] = &[
            letter::TELL,
            letter::NEXT,
            letter::POUR,
            letter::WELCOMED,
            letter::PACK,
            letter::CLOSE,
            letter::CLOSE_AFTER,
        ];
        loop {
            let done = match holder.read(ORDERS) {
                Ok(Some(letter::TELL)) => self.tell(&holder.body),
                Ok(Some(letter::NEXT)) => self.next(holder),
                Ok(Some(letter::POUR)) => self.pour(holder),
                Ok(Some(letter::WELCOMED)) => {
                    self.seat.enter(usize::MAX);
                    Ok(())
                }
                Ok(Some(letter::PACK)) => self.stream.pack(),
                Ok(Some(letter::CLOSE)) => return self.stream.close(),
                Ok(Some(_)) => return self.stream.close_after(FAREWELL),
                Ok(None) | Err(_) => return,
            };
            if let Err(error) = done {
                let broken = letter::error_out(&error);
                if error.kind() != ErrorKind::InvalidData {
                    let _ = holder.send(letter::BROKEN, &broken);
                    return;
                }
                // Its requests are no requests: it is told so.
                if holder.send(letter::BROKEN, &broken).is_err() {
                    return;
                }
            }
        }
    }

    fn arm(&mut self, wait: Duration) -> io::Result<()> {
        self.stream.arm(Deadline::after(wait))
    }

    fn tell(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.arm(self.limits.write)?;
        self.stream.send(bytes)
    }

    /// Reads a request and passes it on when it is one.
    fn next(&mut self, holder: &mut Holder) -> io::Result<()> {
        let wait = holder.body.first_chunk().map_or(0, |wait| u64::from_be_bytes(*wait));
        self.arm(Duration::from_millis(wait))?;
        let Some(header) = wire::read_header(&mut self.stream, wire::MAX_REQUEST)? else {
            return holder.send(letter::END, &[]);
        };
        let mut frame = header.bytes().to_vec();
        frame.resize(wire::HEADER + header.len, 0);
        let payload = frame.get_mut(wire::HEADER..).unwrap_or_default();
        self.stream.read_exact(payload)?;
        Request::decode(header, payload).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        holder.send(letter::FRAME, &frame)
    }

    /// Sends a file that the holder has opened.
    fn pour(&mut self, holder: &mut Holder) -> io::Result<()> {
        let bad = || io::Error::from(ErrorKind::InvalidInput);
        let [a, b, c, d, size @ .., wanted] = holder.body.as_slice() else {
            return Err(bad());
        };
        let (id, wanted) = (u32::from_be_bytes([*a, *b, *c, *d]), *wanted != 0);
        let mut left = size.try_into().map(u64::from_be_bytes).map_err(|_| bad())?;
        let whole = left;
        let mut file = File::from(holder.came.borrow_mut().pop_front().ok_or_else(bad)?);
        let mut buffer = vec![0; wire::MAX_DATA];
        let mut hasher = Blake3::new();
        let mut told = (0, Instant::now());
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let space = buffer.get_mut(..most).unwrap_or_default();
            let read = match file.read(space) {
                // Shorter than it should be, or not to be read: the holder sees it by the size.
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let bytes = space.get(..read).unwrap_or_default();
            if wanted {
                hasher.update(bytes);
            }
            wire::put_data(self.stream.buffer(), id, bytes);
            self.arm(self.limits.write)?;
            self.stream.flush_when_large()?;
            left -= read as u64;
            let sent = whole - left;
            if told.1.elapsed() >= PULSE && sent >= told.0 + wire::MAX_DATA as u64 {
                holder.send(letter::POURING, &sent.to_be_bytes())?;
                told = (sent, Instant::now());
            }
        }
        let digest = if wanted { hasher.finish() } else { [0; 32] };
        holder.send(letter::POURED, &[&(whole - left).to_be_bytes()[..], &digest].concat())
    }
}

/// A connection after its handshake, to its end.
#[cfg(test)]
pub(super) fn obey(limits: &Limits, seat: Seat, stream: ServerStream, line: UnixStream) {
    let (from, came) = Bringing::new(line);
    let body = Vec::new();
    Client { limits, seat, stream }.obey(&mut Holder { from, came, body });
}
