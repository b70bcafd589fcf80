//! Asking for the address of a name as every server does: through the C library, which reads the files of the mount
//! namespace and asks from the network namespace that the calling thread is in.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use crate::namespaces;

/// What comes of asking for a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolved {
    /// Its addresses, as they came.
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no address (`EAI_NONAME`, `EAI_NODATA`).
    NoSuchName,
    /// The name servers did not answer, or could not find out (`EAI_AGAIN`).
    Failed,
    /// Anything else, in the library's own words.
    Other(String),
}

/// Moves the calling thread into a network namespace and, if there is one to move into, a mount namespace. The thread
/// must end there: there is no way back.
pub fn enter(network: &Path, mounts: Option<&Path>) -> io::Result<()> {
    // Both are opened first: from inside the mounts the other one may not be seen.
    let network = File::open(network)?;
    let mounts = mounts.map(File::open).transpose()?;
    if let Some(mounts) = mounts {
        // A root directory of its own, which the kernel asks of a thread that changes its mounts (setns(2)).
        nix::sched::unshare(CloneFlags::CLONE_FS)?;
        namespaces::enter(mounts.as_fd())?;
    }
    namespaces::enter(network.as_fd())
}

/// Asks for the addresses of a name, of either family, as `getaddrinfo(3)` with no hint does. Takes as long as the name
/// servers and `resolv.conf(5)` make it.
#[expect(unsafe_code, reason = "the standard library does not say how asking for a name failed")]
pub fn addresses(name: &str) -> io::Result<Resolved> {
    let name = CString::new(name)?;
    // SAFETY: all zeros is what the interface asks of hints that say nothing.
    let mut hints: libc::addrinfo = unsafe { MaybeUninit::zeroed().assume_init() };
    // Each address once.
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: a text that ends with NUL, no service, hints and a place for the list, all living during the call.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) };
    match code {
        0 => {}
        libc::EAI_NONAME | libc::EAI_NODATA => return Ok(Resolved::NoSuchName),
        libc::EAI_AGAIN => return Ok(Resolved::Failed),
        other => {
            // SAFETY: the library returns a constant text for every code.
            let words = unsafe { CStr::from_ptr(libc::gai_strerror(other)) };
            return Ok(Resolved::Other(words.to_string_lossy().into_owned()));
        }
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: each element of the list is valid until it is freed below.
        let entry = unsafe { &*next };
        // SAFETY: as above; the address belongs to the element.
        found.extend(unsafe { address(entry) });
        next = entry.ai_next;
    }
    // SAFETY: the list as it came, once.
    unsafe { libc::freeaddrinfo(list) };
    Ok(Resolved::Addresses(found))
}

/// The address of an element of a list.
///
/// # Safety
///
/// The element must be one of `getaddrinfo`'s that is not freed.
#[expect(unsafe_code, reason = "reads what the C library points to")]
unsafe fn address(entry: &libc::addrinfo) -> Option<IpAddr> {
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: an address of this family is such a structure; it need not be aligned.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is such a structure; it need not be aligned.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_its_own_address() {
        let address = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 3));
        assert_eq!(addresses("10.77.0.3").unwrap(), Resolved::Addresses(vec![address]));
        assert!(addresses("a\0b").is_err());
    }
}
