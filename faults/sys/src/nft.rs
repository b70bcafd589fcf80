//! Links taken out of the kernel's way in nftables, over a netlink socket of our own: a table of family `bridge` in a switch,
//! or of family `netdev` at a host's own interface, which the kernel deletes when the socket that made it closes
//! (`NFT_TABLE_F_OWNER`, Linux ≥ 5.12).
//!
//! Message formats: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`. A batch is all or nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::utsname::uname;

use self::message::{Body, Listed};

pub(crate) mod message;

/// How long the kernel may take to answer, in seconds; it answers in microseconds.
const PATIENCE: i64 = 5;
/// The largest answer read at once: the kernel fills dumps up to 32 KiB.
const BUFFER: usize = 64 << 10;
/// `NFPROTO_UNSPEC`.
const EVERY_FAMILY: u8 = 0;
/// Families by number (`linux/netfilter.h`), as `nft` names them.
const FAMILIES: [(u8, &str); 6] = [(1, "inet"), (2, "ip"), (3, "arp"), (5, "netdev"), (7, "bridge"), (10, "ip6")];
/// Answers read for one request, at most.
const ANSWERS: usize = 10_000;

/// Packets that are dropped: those that come in by one interface of the bridge and would leave by another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Name of the interface they come in by.
    pub input: String,
    /// Name of the interface they would leave by.
    pub output: String,
    /// Which of them.
    pub only: Only,
}

/// A side of a host's interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hook {
    /// What comes in, before anything else of the host has it but packet sockets.
    Ingress,
    /// What goes out, after everything else of the host but packet sockets that listen (Linux ≥ 5.16). Whoever sent it does
    /// not learn what becomes of it.
    Egress,
}

impl Hook {
    /// As `nft` names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What becomes of packets at a side of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The side.
    pub hook: Hook,
    /// Which of them.
    pub only: Only,
    /// What.
    pub then: Then,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It is gone.
    Drop,
    /// It leaves by another device instead.
    Forward {
        /// The index of that.
        device: u32,
        /// Those with this mark go on.
        unless: u32,
    },
}

/// Which IPv4 packets; all by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Only {
    /// Those from this address.
    pub from: Option<Ipv4Addr>,
    /// Those to this address.
    pub to: Option<Ipv4Addr>,
    /// TCP segments.
    pub tcp: bool,
    /// TCP and UDP packets from or to this port. Later fragments of a packet have no ports and are none of these.
    pub port: Option<u16>,
}

/// Who keeps a table in being.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeper {
    /// The socket: the table goes when it closes.
    Socket,
    /// Nobody: the table stays until it is deleted.
    Nobody,
}

/// Whether this kernel has tables that die with their socket.
pub fn keeper() -> Keeper {
    keeper_of(&release())
}

fn keeper_of(release: &str) -> Keeper {
    if version(release) >= (5, 12) { Keeper::Socket } else { Keeper::Nobody }
}

/// Whether this kernel has [`Hook::Egress`], as far as its number tells: one may have been built without.
pub fn has_egress() -> bool {
    version(&release()) >= (5, 16)
}

fn release() -> String {
    uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default()
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The families in which tables of ours are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// Of a switch.
    Bridge,
    /// Of a host's interface.
    Netdev,
}

impl Family {
    /// Both.
    const ALL: [Self; 2] = [Self::Bridge, Self::Netdev];

    const fn number(self) -> u8 {
        match self {
            Self::Bridge => message::BRIDGE,
            Self::Netdev => message::NETDEV,
        }
    }

    /// As `nft` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }
}

/// A table that takes IPv4 packets of links out of the kernel's way, in the network namespace of the thread that made it.
/// ARP passes, so senders see silence and never "host unreachable".
#[derive(Debug)]
pub struct LinkTable {
    socket: Socket,
    family: Family,
    name: String,
}

impl LinkTable {
    /// In a switch: drops what passes between pairs of interfaces. All rules are one transaction: on an error nothing of it
    /// is there.
    pub fn in_switch(name: &str, pairs: &[Pair], keeper: Keeper) -> io::Result<Self> {
        let rules = pairs.iter().flat_map(|pair| Body::drop_rules(name, pair));
        Self::create(name, Family::Bridge, std::iter::once(Body::forward_chain(name)).chain(rules), keeper)
    }

    /// At an interface of a host. On an error nothing of it is there.
    pub fn at_interface(name: &str, interface: &str, rules: &[Rule], keeper: Keeper) -> io::Result<Self> {
        let hooks: BTreeSet<Hook> = rules.iter().map(|rule| rule.hook).collect();
        let chains = hooks.into_iter().map(|hook| Body::edge_chain(name, hook, interface));
        let rules = rules.iter().flat_map(|rule| Body::edge_rules(name, rule));
        Self::create(name, Family::Netdev, chains.chain(rules), keeper)
    }

    fn create(name: &str, family: Family, rest: impl Iterator<Item = Body>, keeper: Keeper) -> io::Result<Self> {
        let mut socket = Socket::open()?;
        let table = Body::table(name, keeper == Keeper::Socket);
        socket.transact(family, &std::iter::once(table).chain(rest).collect::<Vec<_>>())?;
        Ok(Self { socket, family, name: name.to_owned() })
    }

    /// Deletes the table. The socket closes in any case.
    pub fn delete(mut self) -> io::Result<()> {
        self.socket.transact(self.family, &[Body::delete_table(&self.name)])
    }
}

/// Deletes a table that nobody keeps, by its name; fine if there is none. `EPERM` if another socket owns it.
pub fn delete_table(family: Family, name: &str) -> io::Result<()> {
    match Socket::open()?.transact(family, &[Body::delete_table(name)]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The tables of these families in this network namespace whose names begin with `prefix`, sorted.
pub fn tables(prefix: &str) -> io::Result<Vec<(Family, String)>> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let tables = Socket::open()?.dump(family.number())?.into_iter().map(|table| (family, table.name));
        found.extend(tables.filter(|(_, name)| name.starts_with(prefix)));
    }
    found.sort();
    Ok(found)
}

/// A table of any family.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Table {
    /// As `nft` names it: `bridge fd-a-1`.
    pub name: String,
    /// The process whose socket it goes with, if there is such a socket: only that one may delete it. 0 when it is not seen.
    pub owner: Option<i32>,
}

/// The tables of all families in this network namespace, sorted.
pub fn all_tables() -> io::Result<Vec<Table>> {
    let family = |number: u8| FAMILIES.iter().find(|(known, _)| *known == number).map_or("unknown", |(_, name)| name);
    let found = Socket::open()?.dump(EVERY_FAMILY)?;
    let table = |listed: &Listed| Table {
        name: format!("{} {}", family(listed.family), listed.name),
        owner: listed.owner.map(|port| owner(port).unwrap_or(0)),
    };
    let mut tables: Vec<Table> = found.iter().map(table).collect();
    tables.sort();
    Ok(tables)
}

/// The process with the netlink socket of that port, in this network namespace (`NETLINK_NETFILTER` is protocol 12).
fn owner(port: u32) -> Option<i32> {
    let text = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let inode = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(1) == Some(&"12") && fields.get(2)?.parse() == Ok(port);
        is_it.then(|| fields.last().copied()).flatten()
    })?;
    let socket = format!("socket:[{inode}]");
    let has_it = |pid: &i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|link| *link == *Path::new(&socket)))
    };
    crate::children::all().ok()?.into_iter().map(|(pid, _)| pid).find(has_it)
}

/// A netlink socket to nftables.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        Ok(Self { fd, sequence: 1 })
    }

    /// Sends all as one batch for tables of a family and waits until the kernel has acknowledged each.
    fn transact(&mut self, family: Family, bodies: &[Body]) -> io::Result<()> {
        let first = self.sequence;
        let (batch, last) = message::batch(bodies, family.number(), first);
        self.sequence = last + 1;
        send(self.fd.as_raw_fd(), &batch, MsgFlags::empty())?;
        // The batch's begin has number `first`; its end has `last`. Neither is acknowledged unless the batch itself fails.
        let mut waiting = bodies.len();
        let mut failure = None;
        for _ in 0..ANSWERS {
            let datagram = match self.receive() {
                Ok(datagram) => datagram,
                // A failed batch is answered message by message; silence after a failure is its end.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            for answer in message::answers(&datagram) {
                match answer.error_number() {
                    Some(0) => waiting = waiting.saturating_sub(1),
                    Some(errno) => {
                        failure.get_or_insert_with(|| io::Error::from_raw_os_error(errno));
                        waiting = if answer.sequence == first { 0 } else { waiting.saturating_sub(1) };
                    }
                    None => {}
                }
            }
            if waiting == 0 {
                return failure.map_or(Ok(()), Err);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel answers without end"))
    }

    /// Asks for a list of the tables of a family and reads it to its end.
    fn dump(&mut self, family: u8) -> io::Result<Vec<Listed>> {
        let request = message::single(&Body::list_tables(), family, self.sequence);
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut names = Vec::new();
        for _ in 0..ANSWERS {
            let datagram = self.receive()?;
            for answer in message::answers(&datagram) {
                if let Some(errno) = answer.error_number().filter(|errno| *errno != 0) {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                if answer.is_done() {
                    return Ok(names);
                }
                names.extend(answer.table().filter(|table| family == EVERY_FAMILY || table.family == family));
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel lists without end"))
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; BUFFER];
        let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_tables_need_linux_5_12() {
        for (release, want) in [
            ("6.18.44-fc", Keeper::Socket),
            ("5.12.0", Keeper::Socket),
            ("5.11.22-generic", Keeper::Nobody),
            ("4.18.0-553.el8", Keeper::Nobody),
            ("", Keeper::Nobody),
        ] {
            assert_eq!(keeper_of(release), want, "{release}");
        }
    }
}
