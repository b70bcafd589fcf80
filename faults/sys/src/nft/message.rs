//! Netlink messages of nftables as bytes: `linux/netlink.h`, `linux/netfilter/nf_tables.h`. Knows no socket.
//!
//! Headers are in the machine's byte order, numbers in attributes in the network's.

use super::{Hook, Only, Pair, Rule, Then};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;

/// `NFPROTO_NETDEV` and `NFPROTO_BRIDGE`.
pub(crate) const NETDEV: u8 = 5;
pub(crate) const BRIDGE: u8 = 7;
/// `NF_NETDEV_INGRESS` and `NF_NETDEV_EGRESS`.
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;
/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 2;
/// `NF_BR_FORWARD`.
const FORWARD: u32 = 2;
/// `NF_BR_PRI_FILTER_BRIDGED`.
const PRIORITY: i32 = -200;
/// `NFT_META_PROTOCOL`, `NFT_META_MARK`, `NFT_META_IIFNAME`, `NFT_META_OIFNAME`.
const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
/// `NFT_REG_1`.
const REGISTER: u32 = 1;
/// `ETH_P_IP`.
const IPV4: [u8; 2] = [0x08, 0x00];
/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// Where the protocol, the source and the destination are in an IPv4 header, and the two ports in that of TCP or UDP.
const PROTOCOL_AT: u32 = 9;
const SOURCE_AT: u32 = 12;
const DESTINATION_AT: u32 = 16;
const PORTS_AT: [u32; 2] = [0, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `IFNAMSIZ`: names are compared whole, padded with zeros.
const NAME_SIZE: usize = 16;
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// One message without its sequence number.
pub(crate) struct Body {
    kind: u16,
    flags: u16,
    attributes: Vec<u8>,
}

impl Body {
    /// A new table.
    pub(crate) fn table(name: &str, owned: bool) -> Self {
        let mut attributes = text(1, name);
        if owned {
            attributes.extend(number(2, OWNER));
        }
        Self { kind: NEW_TABLE, flags: REQUEST | ACK | CREATE | EXCL, attributes }
    }

    /// A base chain `forward` in the bridge's forward hook, at the priority of bridge filters, that accepts.
    pub(crate) fn forward_chain(table: &str) -> Self {
        let hook = [number(1, FORWARD), attribute(2, &PRIORITY.to_be_bytes())].concat();
        let attributes = [text(1, table), text(3, "forward"), nested(4, &hook), text(7, "filter")].concat();
        Self { kind: NEW_CHAIN, flags: REQUEST | ACK | CREATE | EXCL, attributes }
    }

    /// `iifname <input> oifname <output> ether type ip drop`, and what narrows it.
    pub(crate) fn drop_rules(table: &str, pair: &Pair) -> Vec<Self> {
        let between = [
            meta(META_INPUT_NAME),
            equals(&padded(&pair.input)),
            meta(META_OUTPUT_NAME),
            equals(&padded(&pair.output)),
        ];
        Self::rules(table, "forward", &between.concat(), &pair.only, &drop_verdict())
    }

    /// A base chain at one side of an interface, named after it, that accepts.
    pub(crate) fn edge_chain(table: &str, side: Hook, interface: &str) -> Self {
        let hook = match side {
            Hook::Ingress => INGRESS,
            Hook::Egress => EGRESS,
        };
        let hook = [number(1, hook), attribute(2, &0_i32.to_be_bytes()), text(3, interface)].concat();
        let attributes = [text(1, table), text(3, side.name()), nested(4, &hook), text(7, "filter")].concat();
        Self { kind: NEW_CHAIN, flags: REQUEST | ACK | CREATE | EXCL, attributes }
    }

    /// `ether type ip drop` or `ether type ip mark != <mark> fwd to <device>`, and what narrows it.
    pub(crate) fn edge_rules(table: &str, rule: &Rule) -> Vec<Self> {
        let (unmarked, then) = match rule.then {
            Then::Drop => (Vec::new(), drop_verdict()),
            Then::Forward { device, unless } => {
                ([meta(META_MARK), differs(&unless.to_ne_bytes())].concat(), forward(device))
            }
        };
        Self::rules(table, rule.hook.name(), &unmarked, &rule.only, &then)
    }

    /// `<first> ether type ip <then>` with what narrows it between; for a port one rule for each protocol and each side of
    /// the packet that the port may be on.
    fn rules(table: &str, chain: &str, first: &[u8], only: &Only, then: &[u8]) -> Vec<Self> {
        let mut all = [first, &meta(META_PROTOCOL), &equals(&IPV4)].concat();
        for (at, address) in [(SOURCE_AT, only.from), (DESTINATION_AT, only.to)] {
            if let Some(address) = address {
                all.extend([payload(NETWORK, at, 4), equals(&address.octets())].concat());
            }
        }
        let protocols: &[u8] = if only.tcp { &[TCP] } else { &[TCP, UDP] };
        let narrowed = |protocol: u8| [payload(NETWORK, PROTOCOL_AT, 1), equals(&[protocol])].concat();
        let narrow: Vec<Vec<u8>> = match only.port {
            None if only.tcp => vec![narrowed(TCP)],
            None => vec![Vec::new()],
            Some(port) => {
                let sides = PORTS_AT.map(|at| [payload(TRANSPORT, at, 2), equals(&port.to_be_bytes())].concat());
                let each = |protocol: &u8| sides.clone().map(|side| [narrowed(*protocol), side].concat());
                protocols.iter().flat_map(each).collect()
            }
        };
        let rule = |narrow: &Vec<u8>| {
            let expressions = [all.as_slice(), narrow, then].concat();
            let attributes = [text(1, table), text(2, chain), nested(4, &expressions)].concat();
            Self { kind: NEW_RULE, flags: REQUEST | ACK | CREATE | APPEND, attributes }
        };
        narrow.iter().map(rule).collect()
    }

    /// Deletes a table with all that is in it.
    pub(crate) fn delete_table(name: &str) -> Self {
        Self { kind: DELETE_TABLE, flags: REQUEST | ACK, attributes: text(1, name) }
    }

    /// Lists the tables.
    pub(crate) fn list_tables() -> Self {
        Self { kind: GET_TABLE, flags: REQUEST | DUMP, attributes: Vec::new() }
    }
}

/// A whole batch for tables of a family, numbered from `first`, and the number of its end.
pub(crate) fn batch(bodies: &[Body], family: u8, first: u32) -> (Vec<u8>, u32) {
    let mut bytes = encode(BATCH_BEGIN, REQUEST, first, 0, SUBSYSTEM, &[]);
    let mut sequence = first;
    for body in bodies {
        sequence += 1;
        bytes.extend(encode(SUBSYSTEM << 8 | body.kind, body.flags, sequence, family, 0, &body.attributes));
    }
    sequence += 1;
    bytes.extend(encode(BATCH_END, REQUEST, sequence, 0, SUBSYSTEM, &[]));
    (bytes, sequence)
}

/// One message on its own.
pub(crate) fn single(body: &Body, family: u8, sequence: u32) -> Vec<u8> {
    encode(SUBSYSTEM << 8 | body.kind, body.flags, sequence, family, 0, &body.attributes)
}

fn encode(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + FAMILY_HEADER + attributes.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, payload: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, payload)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)].concat())
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, key)].concat())
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    expression("payload", &[number(1, REGISTER), number(2, base), number(3, offset), number(4, length)].concat())
}

/// `NFT_CMP_EQ` and `NFT_CMP_NEQ`.
fn compares(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, how), nested(3, &attribute(1, value))].concat())
}

fn equals(value: &[u8]) -> Vec<u8> {
    compares(0, value)
}

fn differs(value: &[u8]) -> Vec<u8> {
    compares(1, value)
}

/// The number of a device goes through a register, in the machine's byte order.
fn forward(device: u32) -> Vec<u8> {
    let load = [number(1, REGISTER), nested(2, &attribute(1, &device.to_ne_bytes()))].concat();
    [expression("immediate", &load), expression("fwd", &number(1, REGISTER))].concat()
}

fn drop_verdict() -> Vec<u8> {
    expression("immediate", &[number(1, 0), nested(2, &nested(2, &number(1, 0)))].concat())
}

fn padded(name: &str) -> [u8; NAME_SIZE] {
    let mut bytes = [0; NAME_SIZE];
    for (place, byte) in bytes.iter_mut().take(NAME_SIZE - 1).zip(name.bytes()) {
        *place = byte;
    }
    bytes
}

/// One message of the kernel.
pub(crate) struct Answer<'a> {
    kind: u16,
    /// The number of the request it answers.
    pub(crate) sequence: u32,
    payload: &'a [u8],
}

/// The messages in a datagram; what is cut off is left out.
pub(crate) fn answers(mut datagram: &[u8]) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    while let (Some(length), Some(kind), Some(sequence)) =
        (u32_at(datagram, 0), u16_at(datagram, 4), u32_at(datagram, 8))
    {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(payload) = datagram.get(HEADER..length) else { break };
        answers.push(Answer { kind, sequence, payload });
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

impl Answer<'_> {
    /// For an acknowledgement: 0, or the error number.
    pub(crate) fn error_number(&self) -> Option<i32> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let code: [u8; 4] = self.payload.get(..4)?.try_into().ok()?;
        Some(i32::from_ne_bytes(code).saturating_neg())
    }

    /// Whether a list ends here.
    pub(crate) fn is_done(&self) -> bool {
        self.kind == NLMSG_DONE
    }

    /// Of what kind it is, and what is in it after its header.
    pub(crate) fn content(&self) -> (u16, &[u8]) {
        (self.kind, self.payload)
    }

    /// For a table: what it is.
    pub(crate) fn table(&self) -> Option<Listed> {
        if self.kind != SUBSYSTEM << 8 | NEW_TABLE {
            return None;
        }
        let all = attributes(self.payload.get(FAMILY_HEADER..)?);
        let of = |number: u16| all.iter().find(|(kind, _)| *kind == number).map(|(_, value)| *value);
        let name = of(1)?.split(|byte| *byte == 0).next()?;
        let owner = of(7).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
        Some(Listed { family: *self.payload.first()?, name: String::from_utf8(name.to_vec()).ok()?, owner })
    }
}

/// A table, as listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    /// `NFPROTO_BRIDGE`…
    pub(crate) family: u8,
    /// Its name.
    pub(crate) name: String,
    /// The port of the socket that owns it, if one does.
    pub(crate) owner: Option<u32>,
}

/// The attributes in a message, by number; what is cut off is left out.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else { break };
        found.push((kind & !NESTED, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_count_only_their_content() {
        let bytes = text(1, "fd-a");
        assert_eq!(bytes.len(), 12);
        assert_eq!(u16_at(&bytes, 0), Some(9));
    }

    #[test]
    fn cut_off_answers_are_left_out() {
        let whole = single(&Body::table("fd-a", true), BRIDGE, 7);
        assert_eq!(answers(&whole).len(), 1);
        assert_eq!(
            answers(&whole)[0].table().map(|table| (table.family, table.name)),
            Some((BRIDGE, "fd-a".to_owned()))
        );
        assert!(answers(&whole[..whole.len() - 1]).is_empty());
        assert!(answers(&[0; 64]).is_empty());
    }
}
