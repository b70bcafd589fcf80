//! Frames as bytes: what is looked at, what is made, and what the sender left to hardware that is not there.
//!
//! A frame is a `struct virtio_net_hdr` (ten bytes, the machine's byte order), the Ethernet header, and an IPv4 packet.

use std::net::Ipv4Addr;

use firedrill_sys::frames::HEADER;

/// Where the Ethernet header, its protocol, and the IPv4 header begin.
const ETHERNET: usize = HEADER;
const ETHERTYPE: usize = ETHERNET + 12;
const IP: usize = ETHERNET + 14;
/// Lengths of headers without options.
const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is that of the pseudo header only, from `csum_start` on.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4` and `VIRTIO_NET_HDR_GSO_ECN`.
const LARGE_TCP: u8 = 1;
const LARGE_ECN: u8 = 0x80;

/// TCP flags.
pub const FIN: u8 = 1;
/// TCP flags.
pub const SYN: u8 = 2;
/// TCP flags.
pub const RST: u8 = 4;
/// TCP flags.
pub const PSH: u8 = 8;
/// TCP flags.
pub const ACK: u8 = 16;
const CWR: u8 = 0x80;

/// An IPv4 packet in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Whom it is from.
    pub from: Ipv4Addr,
    /// Where it goes.
    pub to: Ipv4Addr,
    protocol: u8,
    /// Where the transport header begins.
    transport: usize,
    /// Where the packet ends in the frame.
    end: usize,
    /// Source and destination port, of TCP and UDP packets that are no later fragments.
    pub ports: Option<(u16, u16)>,
}

/// A TCP segment in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledges: u32,
    /// Flags.
    pub flags: u8,
    header: usize,
    /// Bytes of payload.
    pub payload: usize,
}

impl Segment {
    /// The sequence number after it: SYN and FIN count as a byte each.
    pub fn next(&self) -> u32 {
        let flags = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        let payload = u32::try_from(self.payload).unwrap_or(u32::MAX);
        self.sequence.wrapping_add(payload).wrapping_add(flags)
    }
}

/// The packet of a frame; `None` if it is none of IPv4, or cut off.
pub fn look(frame: &[u8]) -> Option<Packet> {
    let first = *frame.get(IP)?;
    let header = usize::from(first & 15) * 4;
    if u16_at(frame, ETHERTYPE)? != 0x800 || first >> 4 != 4 || header < IP_HEADER {
        return None;
    }
    let end = IP + usize::from(u16_at(frame, IP + 2)?);
    let transport = IP + header;
    if end > frame.len() || transport > end {
        return None;
    }
    let protocol = *frame.get(IP + 9)?;
    let later_fragment = u16_at(frame, IP + 6)? & 0x1fff != 0;
    let has_ports = matches!(protocol, TCP | UDP) && !later_fragment && transport + 4 <= end;
    let ports = has_ports.then(|| Some((u16_at(frame, transport)?, u16_at(frame, transport + 2)?))).flatten();
    let address = |at: usize| Some(Ipv4Addr::from_bits(u32_at(frame, at)?));
    Some(Packet { from: address(IP + 12)?, to: address(IP + 16)?, protocol, transport, end, ports })
}

impl Packet {
    /// Whether it is of TCP, later fragments included.
    pub const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Bytes of the packet with its IPv4 header.
    pub const fn length(&self) -> usize {
        self.end - IP
    }

    /// Its TCP segment, if it is one whole.
    pub fn segment(&self, frame: &[u8]) -> Option<Segment> {
        if !self.is_tcp() || self.ports.is_none() || self.transport + TCP_HEADER > self.end {
            return None;
        }
        let header = usize::from(*frame.get(self.transport + 12)? >> 4) * 4;
        let payload = (self.end - self.transport).checked_sub(header)?;
        Some(Segment {
            sequence: u32_at(frame, self.transport + 4)?,
            acknowledges: u32_at(frame, self.transport + 8)?,
            flags: *frame.get(self.transport + 13)?,
            header,
            payload,
        })
    }

    /// Where its payload is, or all after the IPv4 header if it has none.
    pub fn content(&self, frame: &[u8]) -> std::ops::Range<usize> {
        let header = match self.protocol {
            TCP => self.segment(frame).map_or(0, |segment| segment.header),
            UDP => 8,
            _ => 0,
        };
        let start = self.transport + header;
        if self.ports.is_some() && start < self.end { start..self.end } else { self.transport..self.end }
    }
}

/// Whether it is several TCP segments that hardware was to take apart.
pub fn is_large(frame: &[u8]) -> bool {
    frame.get(1).is_some_and(|kind| kind & !LARGE_ECN == LARGE_TCP)
}

/// Computes the checksum that the sender left to the hardware, if it did. Afterwards nobody takes it for right unseen.
pub fn finish_checksum(frame: &mut [u8]) {
    if frame.first().is_none_or(|flags| flags & NEEDS_CHECKSUM == 0) {
        if let Some(flags) = frame.first_mut() {
            *flags = 0;
        }
        return;
    }
    let (Some(start), Some(offset)) = (native_at(frame, 6), native_at(frame, 8)) else { return };
    let (start, at) = (HEADER + usize::from(start), HEADER + usize::from(start) + usize::from(offset));
    let Some(covered) = frame.get(start..) else { return };
    // In UDP a checksum of 0 means that there is none.
    let sum = match fold(sum_of(covered)) {
        0xffff => 0xffff,
        sum => !sum,
    };
    put(frame, at, &sum.to_be_bytes());
    frame[..HEADER].fill(0);
}

/// The segments of a large frame, each a frame of its own that needs nothing of any hardware; `None` if it is not large.
pub fn segments(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    if !is_large(frame) {
        return None;
    }
    let packet = look(frame)?;
    let segment = packet.segment(frame)?;
    let size = usize::from(native_at(frame, 4)?);
    let headers = packet.transport + segment.header;
    let payload = frame.get(headers..packet.end)?;
    let last = payload.len().div_ceil(size.max(1)).checked_sub(1)?;
    let identification = u16_at(frame, IP + 4)?;
    let mut made = Vec::with_capacity(last + 1);
    for (number, part) in payload.chunks(size.max(1)).enumerate() {
        let mut bytes = [frame.get(..headers)?, part].concat();
        bytes[..HEADER].fill(0);
        let number16 = u16::try_from(number).ok()?;
        put(&mut bytes, IP + 2, &u16::try_from(headers - IP + part.len()).ok()?.to_be_bytes());
        put(&mut bytes, IP + 4, &identification.wrapping_add(number16).to_be_bytes());
        let before = u32::try_from(number * size).ok()?;
        put(&mut bytes, packet.transport + 4, &segment.sequence.wrapping_add(before).to_be_bytes());
        // Only the first says that the window was reduced, and only the last pushes or ends.
        let mut flags = segment.flags;
        flags &= if number == 0 { u8::MAX } else { !CWR };
        flags &= if number == last { u8::MAX } else { !(FIN | PSH) };
        put(&mut bytes, packet.transport + 13, &[flags]);
        seal(&mut bytes, packet.transport);
        made.push(bytes);
    }
    Some(made)
}

/// A TCP segment without payload between the ends of a frame; `back` to its sender, else on to its receiver.
pub fn bare_segment(
    frame: &[u8],
    packet: &Packet,
    back: bool,
    sequence: u32,
    acknowledges: u32,
    flags: u8,
) -> Option<Vec<u8>> {
    let (source, destination) = packet.ports?;
    let (mac_to, mac_from) = (frame.get(ETHERNET..ETHERNET + 6)?, frame.get(ETHERNET + 6..ETHERNET + 12)?);
    let ((mac_to, mac_from), (from, to), (source, destination)) = if back {
        ((mac_from, mac_to), (packet.to, packet.from), (destination, source))
    } else {
        ((mac_to, mac_from), (packet.from, packet.to), (source, destination))
    };
    let length = u16::try_from(IP_HEADER + TCP_HEADER).ok()?.to_be_bytes();
    let mut bytes = [
        &[0; HEADER][..],
        mac_to,
        mac_from,
        &[8, 0],
        // Version and length of the header, no fragment, 64 hops, TCP.
        &[0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, TCP, 0, 0],
        &from.octets(),
        &to.octets(),
        &source.to_be_bytes(),
        &destination.to_be_bytes(),
        &sequence.to_be_bytes(),
        &acknowledges.to_be_bytes(),
        // Length of the header in words of four bytes, no window, no urgent data.
        &[0x50, flags, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    seal(&mut bytes, IP + IP_HEADER);
    Some(bytes)
}

/// Computes the checksums of an IPv4 header and the TCP segment after it.
fn seal(bytes: &mut [u8], transport: usize) {
    put(bytes, IP + 10, &[0, 0]);
    let header = !fold(sum_of(&bytes[IP..transport]));
    put(bytes, IP + 10, &header.to_be_bytes());
    put(bytes, transport + 16, &[0, 0]);
    let length = u32::try_from(bytes.len() - transport).unwrap_or(0);
    let pseudo = sum_of(&bytes[IP + 12..IP + 20]) + u32::from(TCP) + length;
    let sum = !fold(pseudo + sum_of(&bytes[transport..]));
    put(bytes, transport + 16, &sum.to_be_bytes());
}

/// The sum of RFC 1071, not folded; frames are too short for it to overflow.
fn sum_of(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    pairs.fold(0, u32::wrapping_add)
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn native_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// A TCP frame from n1:1000 to n2:`port` with right checksums.
    pub(crate) fn tcp(port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let empty = Packet { from: FROM, to: TO, protocol: TCP, transport: 0, end: 0, ports: Some((1000, port)) };
        let mut bytes = bare_segment(&[7; HEADER + 14], &empty, false, 5000, 9000, flags).unwrap();
        bytes.extend(payload);
        let length = u16::try_from(bytes.len() - IP).unwrap();
        put(&mut bytes, IP + 2, &length.to_be_bytes());
        seal(&mut bytes, IP + IP_HEADER);
        bytes
    }

    fn is_right(frame: &[u8]) -> bool {
        let mut again = frame.to_vec();
        seal(&mut again, IP + IP_HEADER);
        again == frame
    }

    #[test]
    fn a_frame_is_read() {
        let frame = tcp(5432, ACK | PSH, b"hello");
        let packet = look(&frame).unwrap();
        assert_eq!((packet.from, packet.to, packet.ports, packet.length()), (FROM, TO, Some((1000, 5432)), 45));
        let segment = packet.segment(&frame).unwrap();
        assert_eq!((segment.sequence, segment.acknowledges, segment.payload, segment.next()), (5000, 9000, 5, 5005));
        assert_eq!(&frame[packet.content(&frame)], b"hello");
        for cut in 0..frame.len() {
            assert!(look(&frame[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn an_answer_goes_back() {
        let frame = tcp(5432, SYN, b"");
        let back = bare_segment(&frame, &look(&frame).unwrap(), true, 0, 5001, RST | ACK).unwrap();
        let packet = look(&back).unwrap();
        assert_eq!((packet.from, packet.to, packet.ports), (TO, FROM, Some((5432, 1000))));
        assert_eq!(packet.segment(&back).unwrap().acknowledges, 5001);
        assert!(is_right(&back));
    }

    #[test]
    fn a_large_frame_comes_apart() {
        let payload: Vec<u8> = (0..2500_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut frame = tcp(5432, ACK | PSH | FIN | CWR, &payload);
        assert_eq!(segments(&frame), None);
        frame[1] = LARGE_TCP;
        frame[4..6].copy_from_slice(&1000_u16.to_ne_bytes());
        let parts = segments(&frame).unwrap();
        assert!(parts.iter().all(|part| is_right(part)));
        let seen: Vec<(u32, u8, usize)> = parts
            .iter()
            .map(|part| look(part).unwrap().segment(part).unwrap())
            .map(|segment| (segment.sequence, segment.flags, segment.payload))
            .collect();
        assert_eq!(seen, [(5000, ACK | CWR, 1000), (6000, ACK, 1000), (7000, ACK | PSH | FIN, 500)]);
        let content: Vec<u8> = parts.iter().flat_map(|part| part[look(part).unwrap().content(part)].to_vec()).collect();
        assert_eq!(content, payload);
    }

    #[test]
    fn a_checksum_left_to_hardware_is_finished() {
        let whole = tcp(5432, ACK, b"odd");
        let mut left = whole.clone();
        let transport = IP + IP_HEADER;
        let pseudo = sum_of(&whole[IP + 12..IP + 20]) + u32::from(TCP) + 23;
        put(&mut left, transport + 16, &fold(pseudo).to_be_bytes());
        left[0] = NEEDS_CHECKSUM;
        left[6..8].copy_from_slice(&u16::try_from(transport - HEADER).unwrap().to_ne_bytes());
        left[8..10].copy_from_slice(&16_u16.to_ne_bytes());
        finish_checksum(&mut left);
        assert_eq!(left, whole);
        // `VIRTIO_NET_HDR_F_DATA_VALID`: what is changed in it would not be noticed.
        left[0] = 2;
        finish_checksum(&mut left);
        assert_eq!(left, whole);
    }
}
