//! A TAP device (`Documentation/networking/tuntap.rst`) beside a host's own interface: what the kernel sends to it is taken,
//! and what is given to it comes in as if from the network. It ends with its descriptor.
//!
//! Frames are as in [`crate::frames`]: each is preceded by a `struct virtio_net_hdr`.

use std::ffi::{c_int, c_short};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::frames::HEADER;

/// The device by which TAP devices are made.
pub const DEVICE: &str = "/dev/net/tun";
/// What their names begin with; a number follows.
pub const PREFIX: &str = "fdtap";

/// Requests of `linux/if_tun.h` and `linux/sockios.h`.
mod requests {
    use libc::ifreq;

    nix::ioctl_readwrite_bad!(make, 0x4004_54ca, ifreq);
    nix::ioctl_write_int_bad!(set_persistent, 0x4004_54cb);
    nix::ioctl_write_int_bad!(set_offloads, 0x4004_54d0);
    nix::ioctl_readwrite_bad!(set_flags, 0x8914, ifreq);
    nix::ioctl_readwrite_bad!(set_address, 0x8916, ifreq);
    nix::ioctl_readwrite_bad!(set_mask, 0x891c, ifreq);
    nix::ioctl_readwrite_bad!(mtu, 0x8921, ifreq);
    nix::ioctl_readwrite_bad!(set_mtu, 0x8922, ifreq);
    nix::ioctl_readwrite_bad!(hardware_address, 0x8927, ifreq);
    nix::ioctl_readwrite_bad!(set_queue, 0x8943, ifreq);
}

/// A request about one interface.
type Request = unsafe fn(c_int, *mut libc::ifreq) -> nix::Result<c_int>;

/// `TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN`: checksums and large segments are left to whoever takes the frames.
const OFFLOADS: c_int = 1 | 2 | 8;
/// Frames that the kernel keeps for a reader that is late.
const QUEUE: i32 = 10_000;
const MAC: usize = 6;
/// The address of every such device: one that is its host's anyway, as all of 127.0.0.0/8 are.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

/// A TAP device that is up.
#[derive(Debug)]
pub struct TapDevice {
    file: File,
    index: u32,
    mac: [u8; MAC],
}

impl TapDevice {
    /// In the calling thread's network namespace, for frames of `interface`.
    pub fn open(interface: &str) -> io::Result<Self> {
        let (file, request) = attach(&format!("{PREFIX}%d"))?;
        set(&file, requests::set_offloads, OFFLOADS)?;
        let bytes = request.ifr_name.iter().map(|byte| byte.to_ne_bytes()[0]).take_while(|byte| *byte != 0);
        let name = String::from_utf8(bytes.collect()).map_err(io::Error::other)?;
        accept_from_anywhere(&name)?;
        let asks = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let mut like = named(interface)?;
        control(&asks, requests::mtu, &mut like)?;
        let mut own = named(&name)?;
        own.ifr_ifru = like.ifr_ifru;
        control(&asks, requests::set_mtu, &mut own)?;
        // While it is down, so that no route to other addresses follows.
        let settings: [(Request, Ipv4Addr); 2] =
            [(requests::set_address, ADDRESS), (requests::set_mask, Ipv4Addr::BROADCAST)];
        for (request, address) in settings {
            own.ifr_ifru.ifru_addr = socket_address(address)?;
            control(&asks, request, &mut own)?;
        }
        own.ifr_ifru.ifru_metric = QUEUE;
        match control(&asks, requests::set_queue, &mut own) {
            // Asked for by ioctl it takes the host's root, not only that of the namespace (net/core/dev_ioctl.c): an ordinary
            // user has the kernel's shorter queue.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            Ok(()) | Err(_) => {}
        }
        own.ifr_ifru.ifru_flags = c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
        control(&asks, requests::set_flags, &mut own)?;
        Ok(Self { index: if_nametoindex(name.as_str())?, mac: hardware_address(&asks, &name)?, file })
    }

    /// Its number.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Puts the next frame into `buffer`, which is at least [`crate::frames::LONGEST`] long: its length, or `None` if there
    /// is none.
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has a frame come in, whatever interface it was meant for. What the kernel does not take at once is lost.
    pub fn give(&self, frame: &[u8]) -> io::Result<()> {
        let (Some(header), Some(rest)) = (frame.get(..HEADER), frame.get(HEADER + MAC..)) else { return Ok(()) };
        let parts = [IoSlice::new(header), IoSlice::new(&self.mac), IoSlice::new(rest)];
        (&self.file).write_vectored(&parts).map(drop)
    }
}

impl AsFd for TapDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Has the kernel take packets by a device although their way back is by another (`rp_filter`, `ip-sysctl.rst`): 2 asks only
/// that there is a way back, and that the device has an address, and overrules a stricter setting for all devices. IPv6 would
/// only chatter on it.
fn accept_from_anywhere(name: &str) -> io::Result<()> {
    let settings = |version: &str| format!("/proc/sys/net/{version}/conf/{name}");
    if Path::new(&settings("ipv6")).exists() {
        // What is sent there is not taken for a packet of a link in any case.
        drop(fs::write(format!("{}/disable_ipv6", settings("ipv6")), "1"));
    }
    let write = fs::write(format!("{}/rp_filter", settings("ipv4")), "2");
    // Where the settings cannot be written they may be right nevertheless.
    let read = |path: String| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let strict = [format!("{}/rp_filter", settings("ipv4")), "/proc/sys/net/ipv4/conf/all/rp_filter".to_owned()];
    if write.is_ok() || !strict.into_iter().any(|path| read(path).map_or(true, |value| value == "1")) {
        return Ok(());
    }
    write
}

#[expect(unsafe_code, reason = "an ioctl's structure, and its union")]
fn named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros are an `ifreq`: arrays of numbers, and a union of such.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(request)
}

/// A `struct sockaddr_in`.
fn socket_address(address: Ipv4Addr) -> io::Result<libc::sockaddr> {
    let sa_family = libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?;
    let mut sa_data = [0; 14];
    // Behind the port.
    for (place, byte) in sa_data.iter_mut().skip(2).zip(address.octets()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(libc::sockaddr { sa_family, sa_data })
}

#[expect(unsafe_code, reason = "an ioctl of interfaces")]
fn control(fd: &impl AsFd, request: Request, about: &mut libc::ifreq) -> io::Result<()> {
    let at = std::ptr::from_mut(about);
    // SAFETY: the pointer is to a whole `ifreq` that lives during the call, which is what these requests take.
    Ok(unsafe { request(fd.as_fd().as_raw_fd(), at) }.map(drop)?)
}

/// Removes a device of that name, in the calling thread's network namespace, which stayed although nobody has it any more;
/// `false` if somebody has.
pub fn remove_orphan(name: &str) -> io::Result<bool> {
    match attach(name) {
        // It goes when the descriptor closes.
        Ok((file, _)) => set(&file, requests::set_persistent, 0).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a device, or takes one that nobody has; `%d` in the name becomes a number.
fn attach(name: &str) -> io::Result<(File, libc::ifreq)> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    let mut request = named(name)?;
    // The flags are small.
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = c_short::try_from(flags).map_err(io::Error::other)?;
    control(&file, requests::make, &mut request)?;
    Ok((file, request))
}

#[expect(unsafe_code, reason = "an ioctl of TAP devices")]
fn set(file: &File, what: unsafe fn(c_int, c_int) -> nix::Result<c_int>, value: c_int) -> io::Result<()> {
    // SAFETY: a descriptor and a number; the kernel touches no memory of ours.
    Ok(unsafe { what(file.as_raw_fd(), value) }.map(drop)?)
}

#[expect(unsafe_code, reason = "a union")]
fn hardware_address(asks: &impl AsFd, name: &str) -> io::Result<[u8; MAC]> {
    let mut request = named(name)?;
    control(asks, requests::hardware_address, &mut request)?;
    // SAFETY: the request has just filled this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut mac = [0; MAC];
    for (place, byte) in mac.iter_mut().zip(address.sa_data) {
        [*place] = byte.to_ne_bytes();
    }
    Ok(mac)
}
