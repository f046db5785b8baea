//! Unix sockets that carry open descriptors to another process on this machine.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};

/// Connects to a socket without ever waiting: one whose owner takes nobody in just now gives `WouldBlock`. The stream
/// does not wait later either.
pub fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
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
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use std::io::{Read, Write};
    use std::os::fd::FromRawFd;

    #[test]
    #[allow(unsafe_code)]
    fn a_descriptor_arrives_open_on_the_other_side() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_fd(&here, writer.as_fd()).unwrap();
        drop(writer);
        let mut byte = [0; 1];
        let mut room = nix::cmsg_space!([i32; 1]);
        let mut parts = [io::IoSliceMut::new(&mut byte)];
        let got = recvmsg::<()>(there.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty()).unwrap();
        assert_eq!(got.bytes, 1);
        let Some(ControlMessageOwned::ScmRights(fds)) = got.cmsgs().unwrap().next() else {
            panic!("no descriptor came");
        };
        // SAFETY: the kernel has just made it for us, and nobody else knows of it.
        let mut sent = unsafe { std::fs::File::from_raw_fd(fds[0]) };
        sent.write_all(b"through").unwrap();
        drop(sent);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
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
