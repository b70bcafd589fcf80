//! What a network namespace is made of, as its kernel lists it over a netlink socket: links, queueing disciplines, IPv4
//! addresses, routes, and neighbours that were set by hand. Words are those that `ip` and `tc` take.
//!
//! Message formats: `linux/rtnetlink.h`, `linux/if_link.h`, `linux/pkt_sched.h`, `linux/neighbour.h`.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::nft::message::{answers, attributes, u16_at, u32_at};

/// How long the kernel may take to answer, in seconds; it answers in microseconds.
const PATIENCE: i64 = 5;
/// The largest answer read at once: the kernel fills dumps up to 32 KiB.
const BUFFER: usize = 64 << 10;
/// Answers read for one request, at most.
const ANSWERS: usize = 10_000;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;

/// A list that the kernel is asked for: the kind of request, and of its answers; the family; the length of their heads.
#[derive(Clone, Copy)]
struct List {
    ask: u16,
    answer: u16,
    family: u8,
    head: usize,
}

const INET: u8 = 2;
const LINKS: List = List { ask: 18, answer: 16, family: 0, head: 16 };
const ADDRESSES: List = List { ask: 22, answer: 20, family: INET, head: 8 };
const ROUTES: List = List { ask: 26, answer: 24, family: INET, head: 12 };
const NEIGHBOURS: List = List { ask: 30, answer: 28, family: INET, head: 12 };
const QUEUES: List = List { ask: 38, answer: 36, family: 0, head: 20 };

/// The table of a namespace's own addresses (`RT_TABLE_LOCAL`), which follows from these, and the main one.
const LOCAL_TABLE: u32 = 255;
const MAIN_TABLE: u32 = 254;
/// `NUD_PERMANENT`.
const PERMANENT: u16 = 0x80;
/// `TC_H_ROOT` and `TC_H_INGRESS`, the same for `clsact`.
const ROOT: u32 = 0xFFFF_FFFF;
const INGRESS: u32 = 0xFFFF_FFF1;

/// What a namespace is made of; every list sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Network {
    /// Links by name, and how each is, as `ip link set` takes it: `up mtu 1500 master sw0`.
    pub links: Vec<(String, String)>,
    /// Queueing disciplines.
    pub queues: Vec<Queue>,
    /// Addresses with their prefix's length, and the link that has each.
    pub addresses: Vec<(String, String)>,
    /// Routes: which, `10.77.0.0/24`, and the whole, as `ip route replace` takes it.
    pub routes: Vec<(String, String)>,
    /// Neighbours set by hand: `10.77.0.2 dev eth0`, and the hardware's address.
    pub neighbours: Vec<(String, String)>,
}

/// A queueing discipline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Queue {
    /// The link.
    pub link: String,
    /// Where it is, as `tc` takes it: `root`, `ingress`, `parent 8005:1`.
    pub place: String,
    /// Its number, `8001:`; `0:` for what the kernel gives a link by itself.
    pub handle: String,
    /// `noqueue`, `netem`…
    pub kind: String,
}

/// Looks at the calling thread's network namespace.
pub fn look() -> io::Result<Network> {
    let mut socket = Socket::open()?;
    let links = socket.list(LINKS)?;
    let index = |message: &Message| message.number(4);
    let names: BTreeMap<u32, String> = links.iter().map(|link| (index(link), link.text(3))).collect();
    let name = |index: u32| names.get(&index).cloned().unwrap_or_else(|| format!("link {index}"));
    let mut network = Network {
        links: links.iter().map(|link| (link.text(3), link_state(link, &names))).collect(),
        queues: socket.list(QUEUES)?.iter().map(|queue| queue_of(queue, name(index(queue)))).collect(),
        addresses: socket.list(ADDRESSES)?.iter().filter_map(|message| address(message, &name)).collect(),
        routes: socket.list(ROUTES)?.iter().filter_map(|message| route(message, &name)).collect(),
        neighbours: socket.list(NEIGHBOURS)?.iter().filter_map(|message| neighbour(message, &name)).collect(),
    };
    network.links.sort();
    network.queues.sort();
    network.addresses.sort();
    network.routes.sort();
    network.neighbours.sort();
    Ok(network)
}

/// `ifinfomsg`; `IFLA_MTU`, `IFLA_MASTER`, `IFLA_TXQLEN`.
fn link_state(link: &Message, names: &BTreeMap<u32, String>) -> String {
    let flags = link.number(8);
    let up = if flags & 0x1 == 0 { "down" } else { "up" };
    let arp = if flags & 0x80 == 0 { "on" } else { "off" };
    let master = link.attribute_number(10).and_then(|index| names.get(&index));
    let master = master.map_or("nomaster".to_owned(), |master| format!("master {master}"));
    let (mtu, length) = (link.attribute_number(4).unwrap_or(0), link.attribute_number(13).unwrap_or(0));
    format!("{up} mtu {mtu} {master} txqueuelen {length} arp {arp}")
}

/// `tcmsg`; `TCA_KIND`.
fn queue_of(queue: &Message, link: String) -> Queue {
    let (handle, parent) = (queue.number(8), queue.number(12));
    let minor = |number: u32| Some(number & 0xFFFF).filter(|minor| *minor != 0).map(|minor| format!("{minor:x}"));
    let words = |number: u32| format!("{:x}:{}", number >> 16, minor(number).unwrap_or_default());
    let kind = queue.text(1);
    let place = match parent {
        ROOT => "root".to_owned(),
        INGRESS => kind.clone(),
        other => format!("parent {}", words(other)),
    };
    Queue { link, place, handle: words(handle), kind }
}

/// `ifaddrmsg`; `IFA_LOCAL`.
fn address(message: &Message, name: &impl Fn(u32) -> String) -> Option<(String, String)> {
    let length = message.bytes.get(1)?;
    Some((format!("{}/{length}", message.address(2)?), name(message.number(4))))
}

/// `rtmsg`; `RTA_DST`, `RTA_OIF`, `RTA_GATEWAY`, `RTA_PRIORITY`, `RTA_PREFSRC`, `RTA_TABLE`.
fn route(message: &Message, name: &impl Fn(u32) -> String) -> Option<(String, String)> {
    let (length, scope, kind) = (message.bytes.get(1)?, message.bytes.get(6)?, message.bytes.get(7)?);
    let table = message.attribute_number(15).unwrap_or(MAIN_TABLE);
    if table == LOCAL_TABLE {
        return None;
    }
    let to = message.address(1).map_or("default".to_owned(), |to| format!("{to}/{length}"));
    let words = |word: &str, value: Option<String>| value.map(|value| format!(" {word} {value}")).unwrap_or_default();
    // What names a route, and then where it leads.
    let metric = words("metric", message.attribute_number(6).map(|metric| metric.to_string()));
    let table = words("table", (table != MAIN_TABLE).then(|| table.to_string()));
    let which = format!("{to}{metric}{table}");
    let kind = match kind {
        6 => "blackhole ",
        7 => "unreachable ",
        8 => "prohibit ",
        9 => "throw ",
        _ => "",
    };
    let via = words("via", message.address(5).map(|via| via.to_string()));
    let dev = words("dev", message.attribute_number(4).map(name));
    let source = words("src", message.address(7).map(|source| source.to_string()));
    // `RT_SCOPE_LINK`.
    let scope = if *scope == 253 { " scope link" } else { "" };
    let whole = format!("{kind}{which}{via}{dev}{scope}{source}");
    Some((which, whole))
}

/// `ndmsg`; `NDA_DST`, `NDA_LLADDR`.
fn neighbour(message: &Message, name: &impl Fn(u32) -> String) -> Option<(String, String)> {
    if u16_at(&message.bytes, 8)? & PERMANENT == 0 {
        return None;
    }
    let hardware: Vec<String> = message.attribute(2).iter().map(|byte| format!("{byte:02x}")).collect();
    Some((format!("{} dev {}", message.address(1)?, name(message.number(4))), hardware.join(":")))
}

/// One answer: its head, and its attributes after that.
struct Message {
    bytes: Vec<u8>,
    head: usize,
}

impl Message {
    /// The number at a place of its head; 0 if it is too short.
    fn number(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).unwrap_or(0)
    }

    /// The attribute of that number; empty if it has none.
    fn attribute(&self, number: u16) -> &[u8] {
        let all = attributes(self.bytes.get(self.head..).unwrap_or_default());
        all.into_iter().find(|(kind, _)| *kind == number).map_or(&[], |(_, value)| value)
    }

    fn attribute_number(&self, number: u16) -> Option<u32> {
        u32_at(self.attribute(number), 0)
    }

    fn address(&self, number: u16) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.attribute(number).try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    }

    fn text(&self, number: u16) -> String {
        let text = self.attribute(number).split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Asks for a list and reads it to its end.
    fn list(&mut self, list: List) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let length = 16 + list.head;
        let mut request = Vec::with_capacity(length);
        request.extend(u32::try_from(length).unwrap_or(0).to_ne_bytes());
        request.extend(list.ask.to_ne_bytes());
        request.extend(DUMP.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend(0_u32.to_ne_bytes());
        request.push(list.family);
        request.resize(length, 0);
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut found = Vec::new();
        for _ in 0..ANSWERS {
            let mut buffer = vec![0; BUFFER];
            let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            buffer.truncate(length);
            for answer in answers(&buffer).iter().filter(|answer| answer.sequence == self.sequence) {
                if let Some(errno) = answer.error_number().filter(|errno| *errno != 0) {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                if answer.is_done() {
                    return Ok(found);
                }
                let (kind, bytes) = answer.content();
                if kind == list.answer {
                    found.push(Message { bytes: bytes.to_vec(), head: list.head });
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel lists without end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_link_of_whatever_namespace_this_is_in_is_seen() {
        let network = look().unwrap();
        let (_, state) = network.links.iter().find(|(name, _)| name == "lo").unwrap();
        assert!(state.contains(" mtu ") && state.contains(" nomaster "), "{state}");
    }

    #[test]
    fn queues_are_named_as_tc_does() {
        let mut bytes = vec![0; 20];
        bytes[8..12].copy_from_slice(&0x8001_0000_u32.to_ne_bytes());
        bytes[12..16].copy_from_slice(&0x8005_000A_u32.to_ne_bytes());
        bytes.extend([10, 0, 1, 0]);
        bytes.extend(b"netem\0\0\0");
        let queue = queue_of(&Message { bytes, head: 20 }, "eth0".to_owned());
        assert_eq!([queue.place, queue.handle, queue.kind], ["parent 8005:a", "8001:", "netem"]);
    }
}
