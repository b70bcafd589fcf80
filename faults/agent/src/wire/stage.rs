//! An impairment in force: what becomes of each packet of its links. Knows no socket and no clock; chance comes from one
//! seeded stream for each link, so that equal packets meet an equal fate.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use firedrill_core::harm::{Chance, Impairment};
use firedrill_core::seed::{ChaCha8Rng, Seed};
use firedrill_sys::nft::Only;
use rand::RngExt as _;

use super::Way;
use super::frame::{self, ACK, Packet, RST, SYN};

/// A place where frames are taken or given back, by its number in the wire's list.
pub type Port = usize;

/// Whose frames are of a link: where they are taken, and the addresses they come from and go to.
pub type Key = (Port, Ipv4Addr, Ipv4Addr);

/// Where the frames of a link are given back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Exit {
    /// On to their receiver.
    pub on: Port,
    /// Back to their sender.
    pub back: Port,
}

/// How long a limited link may hold what waits for its turn; what would wait longer is dropped.
const LIMIT_QUEUE: u64 = 500_000_000;
/// A limited link holds at least so many bytes, however slow it is: about twenty full frames.
const LIMIT_BYTES: u64 = 32 << 10;
const SECOND: u64 = 1_000_000_000;

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It goes on, and a copy of it.
    Twice,
    /// It is gone.
    Drop,
    /// It goes on at that time (nanoseconds of `CLOCK_BOOTTIME`).
    Hold(u64),
    /// It must be taken apart first; each part has a fate of its own.
    Split,
    /// It is gone, and frames are sent back to its sender and on to its receiver.
    Answer {
        /// To the sender.
        back: Option<Vec<u8>>,
        /// To the receiver.
        on: Option<Vec<u8>>,
    },
}

/// One link of an impairment.
#[derive(Debug)]
struct Lane {
    exit: Exit,
    rng: ChaCha8Rng,
    /// When the last packet goes on, so that none overtakes another.
    last: u64,
    /// When a limited link has sent what it was given.
    free: u64,
}

/// An impairment in force.
#[derive(Debug)]
pub struct Stage {
    /// Higher for those made later; never used twice.
    pub id: u64,
    /// Its tag.
    pub tag: String,
    /// When it ends by itself.
    pub deadline: Option<u64>,
    how: Impairment,
    port: Option<u16>,
    lanes: BTreeMap<Key, Lane>,
    /// Packets that came.
    pub seen: u64,
    /// Packets that were dropped, held, copied, changed or answered.
    pub touched: u64,
}

/// Which packets of a link an impairment concerns.
pub fn only(how: &Impairment, port: Option<u16>, way: &Way) -> Only {
    Only { from: Some(way.from), to: Some(way.to), tcp: is_of_tcp(how), port }
}

const fn is_of_tcp(how: &Impairment) -> bool {
    matches!(how, Impairment::Reset | Impairment::Refuse | Impairment::HalfOpen)
}

impl Stage {
    /// An impairment without links.
    pub const fn new(id: u64, tag: String, how: Impairment, port: Option<u16>, deadline: Option<u64>) -> Self {
        Self { id, tag, deadline, how, port, lanes: BTreeMap::new(), seen: 0, touched: 0 }
    }

    /// Adds a link; its random stream is that of `name`.
    pub fn add(&mut self, key: Key, exit: Exit, seed: Seed, name: &str) {
        self.lanes.insert(key, Lane { exit, rng: seed.stream(name), last: 0, free: 0 });
    }

    /// Its links.
    pub fn lanes(&self) -> impl Iterator<Item = (Key, Exit)> {
        self.lanes.iter().map(|(key, lane)| (*key, lane.exit))
    }

    /// Where a packet that was taken at `input` is given back, if it is concerned. The same choice as [`Only`] is in the
    /// kernel.
    pub fn concerns(&self, input: Port, packet: &Packet) -> Option<Exit> {
        let lane = self.lanes.get(&(input, packet.from, packet.to))?;
        let is_ours = |port| packet.ports.is_some_and(|(from, to)| from == port || to == port);
        (self.port.is_none_or(is_ours) && (!is_of_tcp(&self.how) || packet.is_tcp())).then_some(lane.exit)
    }

    /// Decides about a packet it concerns. A corrupted one is changed in place.
    pub fn decide(&mut self, input: Port, packet: &Packet, bytes: &mut [u8], now: u64) -> Fate {
        let Some(lane) = self.lanes.get_mut(&(input, packet.from, packet.to)) else { return Fate::Pass };
        if counts_packets(&self.how) && frame::is_large(bytes) {
            return Fate::Split;
        }
        self.seen += 1;
        let fate = match self.how {
            Impairment::Loss { chance } => lane.drawn(chance, || Fate::Drop),
            Impairment::Delay { delay, jitter } => Fate::Hold(lane.delayed(now, delay, jitter)),
            Impairment::Duplicate { chance } => lane.drawn(chance, || Fate::Twice),
            Impairment::Reorder { chance, by } => lane.drawn(chance, || Fate::Hold(now.saturating_add(nanos(by)))),
            Impairment::Bandwidth { bytes_per_second } => lane.limited(now, packet.length(), bytes_per_second),
            Impairment::Corrupt { chance } => {
                let fate = lane.drawn(chance, || Fate::Drop);
                if fate == Fate::Drop {
                    lane.flip(packet, bytes);
                    self.touched += 1;
                }
                return Fate::Pass;
            }
            Impairment::Reset => reset(packet, bytes),
            Impairment::Refuse => refuse(packet, bytes),
            Impairment::HalfOpen => match packet.segment(bytes) {
                Some(segment) if segment.payload == 0 => Fate::Pass,
                // A later fragment is data.
                Some(_) | None => Fate::Drop,
            },
        };
        self.touched += u64::from(fate != Fate::Pass);
        fate
    }
}

/// Whether packets must be looked at one by one, not as the large segments that the kernel passes around.
const fn counts_packets(how: &Impairment) -> bool {
    match how {
        Impairment::Loss { .. }
        | Impairment::Duplicate { .. }
        | Impairment::Corrupt { .. }
        | Impairment::Reorder { .. }
        | Impairment::Bandwidth { .. } => true,
        Impairment::Delay { .. } | Impairment::Reset | Impairment::Refuse | Impairment::HalfOpen => false,
    }
}

impl Lane {
    fn drawn(&mut self, chance: Chance, fate: impl FnOnce() -> Fate) -> Fate {
        if self.rng.random_ratio(chance.parts(), Chance::CERTAIN.parts()) { fate() } else { Fate::Pass }
    }

    fn delayed(&mut self, now: u64, delay: Duration, jitter: Duration) -> u64 {
        let (delay, jitter) = (nanos(delay), nanos(jitter));
        let drawn = if jitter == 0 {
            delay
        } else {
            self.rng.random_range(delay.saturating_sub(jitter)..=delay.saturating_add(jitter))
        };
        self.last = self.last.max(now.saturating_add(drawn));
        self.last
    }

    fn limited(&mut self, now: u64, length: usize, bytes_per_second: u64) -> Fate {
        let rate = u128::from(bytes_per_second.max(1));
        let takes = |bytes: u64| u64::try_from(u128::from(bytes) * u128::from(SECOND) / rate).unwrap_or(u64::MAX);
        let begin = self.free.max(now);
        if begin - now > LIMIT_QUEUE.max(takes(LIMIT_BYTES)) {
            return Fate::Drop;
        }
        self.free = begin.saturating_add(takes(u64::try_from(length).unwrap_or(u64::MAX)));
        Fate::Hold(self.free)
    }

    fn flip(&mut self, packet: &Packet, bytes: &mut [u8]) {
        frame::finish_checksum(bytes);
        let content = packet.content(bytes);
        if content.is_empty() {
            return;
        }
        let (at, bit) = (self.rng.random_range(content), self.rng.random_range(0..8_u32));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
}

/// Segments of handshakes and resets pass; any other means that its connection is established.
fn reset(packet: &Packet, bytes: &[u8]) -> Fate {
    let Some(segment) = packet.segment(bytes).filter(|segment| segment.flags & (SYN | RST) == 0) else {
        return Fate::Pass;
    };
    let (flags, next) = (RST | ACK, segment.next());
    // Both numbers are what the other side waits for, so that neither only challenges the reset (RFC 5961, 3.2).
    let back = frame::bare_segment(bytes, packet, true, segment.acknowledges, next, flags);
    let on = frame::bare_segment(bytes, packet, false, segment.sequence, segment.acknowledges, flags);
    Fate::Answer { back, on }
}

/// As a host answers where nobody listens (RFC 9293, 3.5.2).
fn refuse(packet: &Packet, bytes: &[u8]) -> Fate {
    match packet.segment(bytes) {
        Some(segment) if segment.flags & (SYN | ACK | RST) == SYN => {
            Fate::Answer { back: frame::bare_segment(bytes, packet, true, 0, segment.next(), RST | ACK), on: None }
        }
        Some(_) | None => Fate::Pass,
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
