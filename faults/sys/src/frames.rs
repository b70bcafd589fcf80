//! Ethernet frames at interfaces of a switch, by packet sockets (packet(7)): taken as they come in, before the bridge has
//! them, and sent out past it. The sockets end with their process, and nothing of them stays.
//!
//! Each frame is preceded by the [`HEADER`] bytes of a `struct virtio_net_hdr` (`linux/virtio_net.h`), which says what
//! the sender left to the hardware: checksums, and cutting large segments into frames.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

/// Bytes before each frame.
pub const HEADER: usize = 10;
/// The longest frame the kernel hands over, its [`HEADER`] included: 64 KiB and the headers around them.
pub const LONGEST: usize = (64 << 10) + 64;

/// `linux/if_packet.h`.
const PACKET_STATISTICS: c_int = 6;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_IGNORE_OUTGOING: c_int = 23;
/// `linux/if_ether.h`: all protocols, IPv4.
const ETH_P_ALL: u16 = 3;
const ETH_P_IP: u32 = 0x0800;
/// What the kernel may keep for a reader that is late, in bytes.
const BUFFER: usize = 32 << 20;
/// Addresses a tap can choose by: jumps of a filter reach 255 instructions.
const ADDRESSES: usize = 200;

/// Takes the IPv4 frames that come in by one interface.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    interface: u32,
}

impl Tap {
    /// On an interface of the calling thread's network namespace. Takes nothing before [`Tap::listen`].
    pub fn open(interface: &str) -> io::Result<Self> {
        let fd = packet_socket()?;
        set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32)?;
        set(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
        // More than an ordinary user's limit needs CAP_NET_ADMIN; what is given without it has to do.
        if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &BUFFER)?;
        }
        Ok(Self { fd, interface: if_nametoindex(interface)? })
    }

    /// From now on takes the frames to these addresses.
    pub fn listen(&self, to: &[Ipv4Addr]) -> io::Result<()> {
        if to.len() > ADDRESSES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {ADDRESSES} addresses")));
        }
        attach(&self.fd, &filter(to))?;
        bind(&self.fd, self.interface, ETH_P_ALL)
    }

    /// Puts the next frame into `buffer`, which is at least [`LONGEST`] long: its length, or `None` if there is none.
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Frames that found no room since the last call: nobody took the others fast enough.
    #[expect(unsafe_code, reason = "nix does not know this option")]
    pub fn missed(&self) -> io::Result<u32> {
        // `struct tpacket_stats`: packets, drops.
        let mut stats = [0_u32; 2];
        let mut length = length_of(&stats)?;
        let (fd, at) = (self.fd.as_raw_fd(), std::ptr::from_mut(&mut stats).cast());
        // SAFETY: the pointer is to eight bytes that live during the call, and the length says so.
        let result = unsafe { libc::getsockopt(fd, libc::SOL_PACKET, PACKET_STATISTICS, at, &raw mut length) };
        if result == 0 { Ok(stats[1]) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends frames out by one interface.
#[derive(Debug)]
pub struct Outlet {
    fd: OwnedFd,
}

impl Outlet {
    /// On an interface of the calling thread's network namespace. What it sends bears `mark`; 0 is none.
    pub fn open(interface: &str, mark: u32) -> io::Result<Self> {
        let fd = packet_socket()?;
        set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32)?;
        if mark != 0 {
            setsockopt(&fd, sockopt::Mark, &mark)?;
        }
        // Protocol 0 takes nothing in.
        bind(&fd, if_nametoindex(interface)?, 0)?;
        Ok(Self { fd })
    }

    /// Sends one frame with its [`HEADER`]; what the interface does not take at once is lost.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(send(self.fd.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).map(drop)?)
    }
}

#[expect(unsafe_code, reason = "nix makes no packet sockets without a protocol")]
fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: three numbers; the kernel touches no memory of ours.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "nix cannot make this address")]
fn bind(fd: &OwnedFd, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let (length, at) = (length_of(&address)?, std::ptr::from_ref(&address).cast());
    // SAFETY: the pointer is to an address that lives during the call, and the length is its own.
    if unsafe { libc::bind(fd.as_raw_fd(), at, length) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "nix does not know these options")]
fn set<T>(fd: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let (length, at) = (length_of(value)?, std::ptr::from_ref(value).cast());
    // SAFETY: the pointer is to a value that lives during the call, and the length is its own.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, at, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn length_of<T>(_value: &T) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}

fn attach(fd: &OwnedFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    // The kernel copies the program and does not write to it.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// A classic BPF program that takes IPv4 frames to these addresses whole and nothing else (`linux/filter.h`).
fn filter(to: &[Ipv4Addr]) -> Vec<libc::sock_filter> {
    /// `BPF_LD | BPF_H | BPF_ABS`, `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Where the protocol and the destination are in a frame.
    const PROTOCOL_AT: u32 = 12;
    const DESTINATION_AT: u32 = 30;
    let count = u8::try_from(to.len()).unwrap_or(u8::MAX);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![
        step(LOAD_HALF, 0, 0, PROTOCOL_AT),
        // Past the load and all comparisons to the refusal.
        step(JUMP_IF_EQUAL, 0, count.saturating_add(1), ETH_P_IP),
        step(LOAD_WORD, 0, 0, DESTINATION_AT),
    ];
    // Past the comparisons that are left and the refusal to the acceptance.
    let comparisons = to.iter().zip((1..=count).rev());
    program.extend(comparisons.map(|(address, left)| step(JUMP_IF_EQUAL, left, 0, u32::from(*address))));
    program.extend([step(RETURN, 0, 0, 0), step(RETURN, 0, 0, u32::MAX)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with a program; only with the instructions that are used here.
    fn run(program: &[libc::sock_filter], frame: &[u8]) -> u32 {
        let (mut at, mut loaded) = (0_usize, 0_u32);
        loop {
            let step = program[at];
            at += 1;
            let offset = usize::try_from(step.k).unwrap_or(usize::MAX);
            match step.code {
                0x28 => loaded = u32::from(u16::from_be_bytes([frame[offset], frame[offset + 1]])),
                0x20 => loaded = u32::from_be_bytes(frame[offset..offset + 4].try_into().unwrap()),
                0x15 => at += usize::from(if loaded == step.k { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn a_filter_takes_frames_to_its_addresses() {
        let address = |last: u8| Ipv4Addr::new(10, 77, 0, last);
        let frame =
            |kind: u16, to: Ipv4Addr| [&[0; 12][..], &kind.to_be_bytes(), &[0; 16], &to.octets(), &[0; 20]].concat();
        let program = filter(&[address(1), address(2), address(3)]);
        for (kind, last, want) in
            [(0x800, 1, true), (0x800, 2, true), (0x800, 3, true), (0x800, 4, false), (0x806, 1, false)]
        {
            assert_eq!(run(&program, &frame(kind, address(last))) != 0, want, "{kind:x} to {last}");
        }
        assert_eq!(run(&filter(&[]), &frame(0x800, address(1))), 0);
    }
}
