//! Numbered datagrams along links: which arrive, when, how often, in which order and in what state.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use firedrill_core::action::{Endpoint, Link};
use firedrill_sys::clock;
use firedrill_sys::datagrams::{self, Datagrams};
use firedrill_sys::ready::{self, Want};

use crate::ends::Ends;

/// Sent at once before what arrives is looked at.
const BURST: u64 = 32;
/// What a datagram adds to its payload: headers of IPv4 and UDP.
const HEADERS: u64 = 28;
/// A probe sends no longer than this, whatever is left to send.
const SENDING: Duration = Duration::from_millis(1500);
/// How long after the last packet one may still come along a link of which nothing is known.
const UNKNOWN_LINK: Duration = Duration::from_secs(1);
/// Arrivals by which a rate can be told.
const ENOUGH: usize = 5;

/// What is sent along each link.
pub(super) struct Trial {
    /// Datagrams.
    pub(super) count: u64,
    /// Time between two of them.
    pub(super) spacing: Duration,
    /// Bytes of payload.
    pub(super) size: u64,
    /// How long after the last one may still arrive.
    pub(super) patience: Duration,
}

/// What came of it on one link.
pub(super) struct Found {
    pub(super) sent: u64,
    /// Different ones, in whatever state.
    pub(super) arrived: u64,
    /// Further arrivals of the same.
    pub(super) copies: u64,
    /// With a wrong checksum.
    pub(super) corrupt: u64,
    /// After one that was sent later.
    pub(super) overtaken: u64,
    /// From sending to arrival, the shortest first.
    pub(super) delays: Vec<Duration>,
    /// How fast they were sent, if enough were.
    pub(super) offered: Option<Rate>,
    /// How fast they came, if enough did.
    pub(super) rate: Option<Rate>,
}

/// Bytes a second of whole packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// From the first arrival to the last.
    pub(super) whole: u64,
    /// Without the tenth of the pauses that were the longest: whoever sends may itself have been held up.
    pub(super) usual: u64,
}

impl Rate {
    fn of(mut times: Vec<u64>, size: u64) -> Option<Self> {
        times.sort_unstable();
        let mut pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        pauses.sort_unstable();
        if times.len() < ENOUGH {
            return None;
        }
        let rate = |pauses: &[u64]| {
            let bytes = u128::try_from(pauses.len()).unwrap_or(0) * u128::from(size);
            let span = u128::from(pauses.iter().sum::<u64>().max(1));
            u64::try_from(bytes * 1_000_000_000 / span).unwrap_or(u64::MAX)
        };
        let kept = pauses.len() - pauses.len() / 10;
        Some(Self { whole: rate(&pauses), usual: rate(pauses.get(..kept).unwrap_or_default()) })
    }
}

/// One direction between two ports.
struct Lane<'a> {
    from: &'a Endpoint,
    to: &'a Endpoint,
    source: SocketAddrV4,
    target: SocketAddrV4,
    /// When each was sent.
    sent: Vec<u64>,
    /// Number and time of each arrival that is whole.
    arrivals: Vec<(usize, u64)>,
    corrupt: Vec<u64>,
}

/// Sends along every link at once. For a port each link has two lanes: to the port, and from it.
pub(super) fn send(ends: &Ends, links: &[Link], port: Option<u16>, trial: &Trial) -> Result<Vec<Found>, String> {
    let nonce = clock::boottime_nanos();
    // Two ports that differ from probe to probe and from what servers use; only our own address pairs matter anyway.
    let own = 20_000 + u16::try_from(nonce / 1000 % 10_000).unwrap_or(0);
    let ports = port.map_or(vec![(own, own + 10_000)], |port| vec![(own, port), (port, own)]);
    let mut sockets: BTreeMap<Endpoint, Datagrams> = BTreeMap::new();
    let mut lanes = Vec::new();
    for link in links {
        let [from, to] = [&link.from, &link.to].map(|end| socket_at(ends, &mut sockets, end));
        let (from, to) = (from?, to?);
        lanes.extend(ports.iter().map(|(source, target)| Lane {
            from: &link.from,
            to: &link.to,
            source: SocketAddrV4::new(from, *source),
            target: SocketAddrV4::new(to, *target),
            sent: Vec::new(),
            arrivals: Vec::new(),
            corrupt: Vec::new(),
        }));
    }
    let payload = |number: u64| {
        let size = usize::try_from(trial.size).unwrap_or(64);
        [nonce.to_be_bytes(), number.to_be_bytes()].concat().into_iter().cycle().take(size).collect::<Vec<u8>>()
    };
    let begin = clock::boottime_nanos();
    let within = |limit: Duration| clock::boottime_nanos().saturating_sub(begin) < nanos(limit);
    let mut number = 0;
    while number < trial.count && within(SENDING) {
        let burst = if trial.spacing.is_zero() { BURST } else { 1 };
        for number in number..trial.count.min(number + burst) {
            let payload = payload(number);
            for lane in &mut lanes {
                let Some(socket) = sockets.get(lane.from) else { continue };
                let now = datagrams::now();
                socket
                    .send(lane.source.port(), lane.target, &payload)
                    .map_err(|error| format!("could not send: {error}"))?;
                lane.sent.push(now);
            }
        }
        number += burst;
        gather(&sockets, &mut lanes, nonce, trial.spacing)?;
    }
    let last = clock::boottime_nanos();
    loop {
        let since = Duration::from_nanos(clock::boottime_nanos().saturating_sub(last));
        let slowest = lanes.iter().flat_map(Lane::delays).max().unwrap_or_default();
        let silent = lanes.iter().any(|lane| lane.arrivals.is_empty());
        let patience = trial.patience.max(slowest * 3).max(if silent { UNKNOWN_LINK } else { Duration::ZERO });
        // A copy may come right behind the last original.
        let all = lanes.iter().all(|lane| lane.arrivals.len() + lane.corrupt.len() >= lane.sent.len());
        if since >= patience.min(Duration::from_secs(3))
            || (all && since >= trial.patience.min(Duration::from_millis(20)))
        {
            break;
        }
        gather(&sockets, &mut lanes, nonce, Duration::from_millis(5))?;
    }
    Ok(lanes.iter().map(|lane| lane.found(trial.size)).collect())
}

fn socket_at(ends: &Ends, sockets: &mut BTreeMap<Endpoint, Datagrams>, end: &Endpoint) -> Result<Ipv4Addr, String> {
    let (maker, address) = ends.at(end)?;
    let address = *address;
    if !sockets.contains_key(end) {
        let made = maker.inside(move || Datagrams::open(address));
        sockets.insert(end.clone(), made.map_err(|error| format!("no raw socket at {end}: {error}"))?);
    }
    Ok(address)
}

/// Notes what arrives within `limit`.
fn gather(
    sockets: &BTreeMap<Endpoint, Datagrams>,
    lanes: &mut [Lane<'_>],
    nonce: u64,
    limit: Duration,
) -> Result<(), String> {
    let deadline = clock::boottime_nanos().saturating_add(nanos(limit));
    let mut buffer = [0; 2048];
    loop {
        for (end, socket) in sockets {
            while let Some(datagram) = socket.receive(&mut buffer).map_err(|error| format!("at {end}: {error}"))? {
                let at = datagram.at;
                let mine = |lane: &&mut Lane<'_>| {
                    lane.to == end && lane.source == datagram.from && lane.target.port() == datagram.port
                };
                let Some(lane) = lanes.iter_mut().find(mine) else { continue };
                let word = |at: usize| {
                    datagram.payload.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_be_bytes)
                };
                match (word(0) == Some(nonce), datagram.intact, word(8).and_then(|word| usize::try_from(word).ok())) {
                    (true, true, Some(number)) => lane.arrivals.push((number, at)),
                    (_, false, _) => lane.corrupt.push(at),
                    (_, true, _) => {}
                }
            }
        }
        let left = deadline.saturating_sub(clock::boottime_nanos());
        if left == 0 {
            return Ok(());
        }
        let fds: Vec<_> = sockets.values().map(|socket| (std::os::fd::AsFd::as_fd(socket), Want::Read)).collect();
        ready::any(&fds, Some(Duration::from_nanos(left))).map_err(|error| format!("waiting for packets: {error}"))?;
    }
}

impl Lane<'_> {
    fn delays(&self) -> impl Iterator<Item = Duration> {
        self.arrivals.iter().filter_map(|(number, at)| {
            self.sent.get(*number).map(|sent| Duration::from_nanos(at.saturating_sub(*sent)))
        })
    }

    fn found(&self, size: u64) -> Found {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let mut first: BTreeMap<usize, u64> = BTreeMap::new();
        let (mut copies, mut overtaken, mut highest) = (0, 0, 0);
        for (number, at) in &self.arrivals {
            if first.insert(*number, *at).is_some() {
                copies += 1;
                continue;
            }
            overtaken += u64::from(*number < highest);
            highest = highest.max(*number);
        }
        let mut delays: Vec<Duration> = self.delays().collect();
        delays.sort_unstable();
        let times = self.arrivals.iter().map(|(_, at)| *at).chain(self.corrupt.iter().copied());
        let rate = Rate::of(times.collect(), size + HEADERS);
        let offered = Rate::of(self.sent.clone(), size + HEADERS);
        let arrived = (count(first.len()) + count(self.corrupt.len())).min(count(self.sent.len()));
        let corrupt = count(self.corrupt.len());
        Found { sent: count(self.sent.len()), arrived, copies, corrupt, overtaken, delays, offered, rate }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
