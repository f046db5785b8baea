//! Names from the C library: canonical host names, names of addresses, netgroups. They honour nsswitch.conf and
//! /etc/hosts, which no pure resolver does.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use nix::libc;

/// The canonical name of a host, as `hostname -f` gives it. Blocks as long as the resolver does.
pub fn canonical_name(host: &str) -> Option<String> {
    let node = CString::new(host).ok()?;
    let hints = libc::addrinfo {
        ai_flags: libc::AI_CANONNAME,
        ai_family: libc::AF_UNSPEC,
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    };
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: node is a C string, hints is a filled addrinfo, list is a place for the result.
    if unsafe { libc::getaddrinfo(node.as_ptr(), ptr::null(), &raw const hints, &raw mut list) } != 0 || list.is_null()
    {
        return None;
    }
    // SAFETY: getaddrinfo succeeded, so list points to an addrinfo; its canonical name is a C string or null.
    let name = unsafe {
        let canonical = (*list).ai_canonname;
        (!canonical.is_null()).then(|| CStr::from_ptr(canonical).to_string_lossy().into_owned())
    };
    // SAFETY: list came from getaddrinfo and is freed once.
    unsafe { libc::freeaddrinfo(list) };
    name
}

/// The name of an address, or `None` where it has none. Blocks as long as the resolver does.
pub fn name_of(address: IpAddr) -> Option<String> {
    let mut host = [0u8; 1025];
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let length = match SocketAddr::new(address, 0) {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every socket address.
            unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every socket address.
            unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    // SAFETY: storage holds a valid address of that length; host is a writable buffer of the given size.
    let status = unsafe {
        libc::getnameinfo(
            storage.as_ptr().cast(),
            length as libc::socklen_t,
            host.as_mut_ptr().cast(),
            host.len() as libc::socklen_t,
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if status != 0 {
        return None;
    }
    CStr::from_bytes_until_nul(&host)
        .ok()
        .map(|name| name.to_string_lossy().into_owned())
}

unsafe extern "C" {
    fn innetgr(
        netgroup: *const libc::c_char,
        host: *const libc::c_char,
        user: *const libc::c_char,
        domain: *const libc::c_char,
    ) -> libc::c_int;
}

/// Whether a host is in a netgroup.
pub fn in_netgroup(group: &[u8], host: &str) -> bool {
    let (Ok(group), Ok(host)) = (CString::new(group), CString::new(host)) else {
        return false;
    };
    // SAFETY: both are C strings; null means "any" for user and domain.
    unsafe { innetgr(group.as_ptr(), host.as_ptr(), ptr::null(), ptr::null()) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_has_a_name_that_hosts_gives_it() {
        // Whatever /etc/hosts says of 127.0.0.1, nothing breaks, and the name leads somewhere.
        if let Some(name) = name_of(IpAddr::from([127, 0, 0, 1])) {
            assert!(canonical_name(&name).is_some());
        }
    }

    #[test]
    fn a_name_with_a_nul_is_no_name() {
        assert_eq!(canonical_name("a\0b"), None);
        assert!(!in_netgroup(b"a\0b", "h"));
    }
}
