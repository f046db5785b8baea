//! Unix sockets that carry open descriptors to another process on this machine.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    sendmsg, socket, socketpair,
};

/// The most descriptors that the kernel lets come with one message.
const MOST: usize = 253;

/// Connects to a socket without ever waiting: one whose owner takes nobody in just now gives `WouldBlock`. The stream
/// does not wait later either.
pub fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

/// Two ends of a socket that keeps messages apart.
pub fn messages() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends bytes and descriptors in one go. On a stream perhaps not all of the bytes; gives how many. With `wait` false it
/// fails with `WouldBlock` where the other side does not take them now.
pub fn send(to: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], wait: bool) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(bytes)];
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    flags.set(MsgFlags::MSG_DONTWAIT, !wait);
    loop {
        match sendmsg::<UnixAddr>(to.as_raw_fd(), &parts, rights, flags, None) {
            Err(nix::errno::Errno::EINTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// Receives bytes and the descriptors that came with them; nothing at all is the end. With `wait` false it fails with
/// `WouldBlock` where nothing is there. A message that is longer than the space is an error.
#[allow(unsafe_code)]
pub fn receive(from: BorrowedFd<'_>, space: &mut [u8], wait: bool) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = nix::cmsg_space!([RawFd; MOST]);
    let mut parts = [IoSliceMut::new(space)];
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    flags.set(MsgFlags::MSG_DONTWAIT, !wait);
    let got = loop {
        match recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut room), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            got => break got?,
        }
    };
    let mut fds = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made them for us, and nobody else knows of them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if got.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    Ok((got.bytes, fds))
}

/// Sends one descriptor, with one byte that means nothing. The other side has a copy of its own then.
pub fn send_fd(to: &UnixStream, fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let byte = [IoSlice::new(&[0])];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(to.as_fd().as_raw_fd(), &byte, &rights, flags, None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_descriptor_arrives_open_on_the_other_side() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_fd(&here, writer.as_fd()).unwrap();
        drop(writer);
        let (count, fds) = receive(there.as_fd(), &mut [0; 8], true).unwrap();
        assert_eq!((count, fds.len()), (1, 1));
        let mut sent = std::fs::File::from(fds.into_iter().next().unwrap());
        sent.write_all(b"through").unwrap();
        drop(sent);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn messages_stay_apart_and_more_than_there_is_room_for_is_an_error_that_leaves_nothing_open() {
        let (here, there) = messages().unwrap();
        let wait = |space: &mut [u8]| receive(there.as_fd(), space, false).map(|(count, fds)| (count, fds.len()));
        assert_eq!(wait(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        send(here.as_fd(), b"one", &[here.as_fd(), here.as_fd()], true).unwrap();
        send(here.as_fd(), b"three", &[], true).unwrap();
        send(here.as_fd(), b"four", &[here.as_fd()], true).unwrap();
        assert_eq!(wait(&mut [0; 8]).unwrap(), (3, 2));
        assert_eq!(wait(&mut [0; 8]).unwrap(), (5, 0));
        assert_eq!(wait(&mut [0; 3]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
        // Nobody has it open any more, so this is the end.
        assert_eq!(wait(&mut [0; 8]).unwrap(), (0, 0));
    }

    #[test]
    fn a_full_or_missing_socket_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert_eq!(connect_now(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut open = Vec::new();
        let error = loop {
            match connect_now(&path) {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
            assert!(open.len() < 100_000, "the row of a socket has an end");
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
