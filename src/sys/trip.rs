//! How far away the other end of a connection is.

use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc;

/// The shortest round trip that the kernel has seen on a TCP connection: one that a busy machine made longer does not
/// count. None where there is none, or this is no such connection.
#[allow(unsafe_code)]
pub fn shortest(tcp: BorrowedFd<'_>) -> Option<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the kernel writes at most `len` bytes into a structure of that size and says how many.
    let status = unsafe {
        libc::getsockopt(
            tcp.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    // SAFETY: it is made of numbers alone, and was all zeros.
    let info = unsafe { info.assume_init() };
    let known = usize::try_from(len).ok()? >= offset_of!(libc::tcp_info, tcpi_min_rtt) + size_of::<u32>();
    (status == 0 && known && !matches!(info.tcpi_min_rtt, 0 | u32::MAX))
        .then(|| Duration::from_micros(info.tcpi_min_rtt.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_connection_on_this_machine_has_a_short_way_and_what_is_none_has_no_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        for _ in 0..3 {
            near.write_all(b"x").unwrap();
            far.read_exact(&mut [0]).unwrap();
            far.write_all(b"x").unwrap();
            near.read_exact(&mut [0]).unwrap();
        }
        let way = shortest(near.as_fd()).unwrap();
        assert!(way < Duration::from_secs(1), "{way:?}");
        assert_eq!(shortest(listener.as_fd()), None);
        assert_eq!(shortest(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()), None);
    }
}
