//! UDP datagrams over raw sockets (raw(7)): from and to any port, whoever has it, and seen with the checksum they arrive
//! with. For probes only: nobody has to be bound to a port that is looked at.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recvmsg, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// What the kernel may keep for a reader that is late, in bytes.
const BUFFER: usize = 16 << 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// A raw socket for UDP at one address.
#[derive(Debug)]
pub struct Datagrams {
    fd: OwnedFd,
    address: Ipv4Addr,
}

/// A datagram that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// Whom it is from.
    pub from: SocketAddrV4,
    /// The port it goes to.
    pub port: u16,
    /// Its content.
    pub payload: &'a [u8],
    /// Whether its checksum is right.
    pub intact: bool,
    /// When it arrived by the kernel's time, however late it is read: as [`now`].
    pub at: u64,
}

/// The clock by which arrivals are told, in nanoseconds (`CLOCK_REALTIME`; the kernel stamps packets with no other).
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, nanos)
}

fn nanos(time: TimeSpec) -> u64 {
    u64::try_from(std::time::Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}

impl Datagrams {
    /// In the network namespace of the calling thread, for datagrams from and to this address of it.
    pub fn open(address: Ipv4Addr) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Udp)?;
        if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &BUFFER)?;
        }
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, 0)))?;
        Ok(Self { fd, address })
    }

    /// Sends a datagram from one of our ports.
    pub fn send(&self, port: u16, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let length = u16::try_from(UDP_HEADER + payload.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(UDP_HEADER + payload.len());
        for number in [port, to.port(), length, 0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(payload);
        let sum = match !sum(self.address, *to.ip(), &bytes) {
            0 => 0xffff,
            sum => sum,
        };
        bytes[6..UDP_HEADER].copy_from_slice(&sum.to_be_bytes());
        sendto(self.fd.as_raw_fd(), &bytes, &SockaddrIn::from(to), MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// The next datagram to our address, whatever its port; `None` if there is none.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Datagram<'a>>> {
        loop {
            let Some((length, at)) = self.take(buffer)? else { return Ok(None) };
            let at = at.unwrap_or_else(now);
            if read(buffer.get(..length).unwrap_or_default(), at).is_some() {
                return Ok(read(buffer.get(..length).unwrap_or_default(), at));
            }
        }
    }
}

impl Datagrams {
    /// Length and time of the next packet.
    fn take(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<u64>)>> {
        let mut stamp = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let got = recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut stamp), MsgFlags::MSG_DONTWAIT);
        let got = match got {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut at = None;
        for message in got.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(time) = message {
                at = Some(nanos(time));
            }
        }
        Ok(Some((got.bytes, at)))
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A raw socket hands over the whole IPv4 packet.
fn read(packet: &[u8], at: u64) -> Option<Datagram<'_>> {
    let header = usize::from(packet.first()? & 15) * 4;
    let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
    let udp = packet.get(header..)?;
    let number = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    let (from, to) = (address(12)?, address(16)?);
    let intact = usize::from(number(4)?) == udp.len() && sum(from, to, udp) == 0xffff;
    Some(Datagram {
        from: SocketAddrV4::new(from, number(0)?),
        port: number(2)?,
        payload: udp.get(UDP_HEADER..)?,
        intact,
        at,
    })
}

/// The sum of RFC 1071 over the pseudo header and a datagram.
fn sum(from: Ipv4Addr, to: Ipv4Addr, udp: &[u8]) -> u16 {
    let length = u32::try_from(udp.len()).unwrap_or(0);
    let pseudo = [from.octets(), to.octets(), u32::from(UDP).to_be_bytes(), length.to_be_bytes()].concat();
    let pairs = pseudo.chunks(2).chain(udp.chunks(2)).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let total: u32 = pairs.sum();
    let once = (total & 0xffff) + (total >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_datagram_arrives_with_its_ports_and_checksum() {
        let Ok(socket) = Datagrams::open(Ipv4Addr::LOCALHOST) else {
            eprintln!("SKIPPED: raw sockets need root");
            return;
        };
        let payload = b"firedrill-datagrams-test";
        socket.send(4, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7), payload).unwrap();
        let mut buffer = [0; 2048];
        let looked = std::time::Duration::from_millis(1);
        let found = clock::until(std::time::Duration::from_secs(5), looked, || {
            let found = socket.receive(&mut buffer).unwrap()?;
            (found.payload == payload).then_some((found.from, found.port, found.intact))
        });
        assert_eq!(found, Some((SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4), 7, true)));
    }
}
