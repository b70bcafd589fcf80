//! Cuts made in nftables over a netlink socket of our own: one table of family `bridge` for each, which the kernel deletes
//! when the socket that made it closes (`NFT_TABLE_F_OWNER`, Linux ≥ 5.12).
//!
//! Message formats: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`. A batch is all or nothing.

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

/// Which IPv4 packets of a pair; all by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Only {
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
    let release = uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    keeper_of(&release)
}

fn keeper_of(release: &str) -> Keeper {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 12) { Keeper::Socket } else { Keeper::Nobody }
}

/// A table that drops IPv4 packets between pairs of interfaces, in the network namespace of the thread that made it.
/// ARP passes, so senders see silence and never "host unreachable".
#[derive(Debug)]
pub struct DropTable {
    socket: Socket,
    name: String,
}

impl DropTable {
    /// Makes the table with all its rules in one transaction. On an error nothing of it is there.
    pub fn create(name: &str, pairs: &[Pair], keeper: Keeper) -> io::Result<Self> {
        let mut socket = Socket::open()?;
        let mut bodies = vec![Body::table(name, keeper == Keeper::Socket), Body::forward_chain(name)];
        bodies.extend(pairs.iter().flat_map(|pair| Body::drop_rules(name, pair)));
        socket.transact(&bodies)?;
        Ok(Self { socket, name: name.to_owned() })
    }

    /// Deletes the table. The socket closes in any case.
    pub fn delete(mut self) -> io::Result<()> {
        self.socket.transact(&[Body::delete_table(&self.name)])
    }
}

/// Deletes a table that nobody keeps, by its name; fine if there is none. `EPERM` if another socket owns it.
pub fn delete_table(name: &str) -> io::Result<()> {
    match Socket::open()?.transact(&[Body::delete_table(name)]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Names of the tables of family `bridge` in this network namespace that begin with `prefix`, sorted.
pub fn tables(prefix: &str) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Socket::open()?.dump(message::BRIDGE)?.into_iter().map(|table| table.name).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    Ok(names)
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

    /// Sends all as one batch and waits until the kernel has acknowledged each.
    fn transact(&mut self, bodies: &[Body]) -> io::Result<()> {
        let first = self.sequence;
        let (batch, last) = message::batch(bodies, first);
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
