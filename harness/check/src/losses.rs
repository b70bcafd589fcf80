//! Which acknowledged rows are gone, and what dropped them. Shared by the check `no-acked-loss`, the objective
//! `lost-writes` and the recovery of each fault.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName, Position};
use firedrill_core::event::Event;
use firedrill_core::history::{Call, EpochSwitch, FinalRead, Op, Outcome, Route};
use firedrill_core::record::Recorded;
use firedrill_core::time::RunTime;

use crate::seen::{
    Impact, Restart, Writer, faults_around, first_on, impacts, process_faults, restarts, views, writers,
};

/// An acknowledgement may be on its way to the client while the server dies, and agents' clocks are off by a little: a
/// write acknowledged so shortly after the onset of a crash still counts as acknowledged before it.
const IN_FLIGHT: Duration = Duration::from_millis(100);

/// What became of the rows that were inserted.
#[derive(Clone, PartialEq, Debug)]
pub struct Losses {
    /// Rows acknowledged.
    pub acknowledged: usize,
    /// Acknowledged, and not in the final state. Empty when `decided` is an error.
    pub lost: Vec<LostRow>,
    /// Rows whose outcome is unknown: info, or still open at the end of the run.
    pub in_doubt: usize,
    /// How many of those are in the final state.
    pub in_doubt_present: usize,
    /// Rows that are there and must not be.
    pub phantoms: Vec<Phantom>,
    /// Acknowledged and in the final state, but missing on some nodes: a matter for `replicas-converge`.
    pub on_some_nodes: usize,
    /// Lost rows by fault. A row dropped while faults overlapped counts for each of them.
    pub by_fault: BTreeMap<String, usize>,
    /// Lost rows that no fault explains.
    pub unattributed: usize,
    /// Whether the final state could tell what was lost; else why not.
    pub decided: Result<(), String>,
}

/// An acknowledged row that is gone.
#[derive(Clone, PartialEq, Debug)]
pub struct LostRow {
    /// The row.
    pub row: u64,
    /// When it was acknowledged.
    pub acked: RunTime,
    /// By which way.
    pub route: Route,
    /// Who acknowledged it.
    pub node: Option<NodeName>,
    /// On which epoch.
    pub epoch: Option<Epoch>,
    /// From where on in the log of that epoch it lies.
    pub receipt: Option<Position>,
    /// What dropped it.
    pub cause: Cause,
    /// The faults that caused that; empty if none is known.
    pub faults: Vec<String>,
}

/// What dropped a row.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Cause {
    /// The cluster went over to a log without it.
    Switch {
        /// The epoch that was left.
        from: Epoch,
        /// The epoch it went over to.
        to: Epoch,
        /// The last position they share, if the servers recorded it.
        fork: Option<Position>,
    },
    /// The server that acknowledged it restarted on the same epoch.
    Restart {
        /// Which.
        node: NodeName,
        /// When the new process was first seen.
        seen: RunTime,
    },
    /// Neither was seen.
    #[default]
    Unknown,
}

/// A row that is there and must not be.
#[derive(Clone, PartialEq, Debug)]
pub struct Phantom {
    /// The row.
    pub row: u64,
    /// What clients were told of it; `None` if nobody ever inserted it.
    pub reported: Option<String>,
    /// Where it was found.
    pub nodes: Vec<NodeName>,
}

impl fmt::Display for LostRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "?".to_owned();
        let node = self.node.as_ref().map_or_else(unknown, ToString::to_string);
        let epoch = self.epoch.map_or_else(unknown, |epoch| epoch.to_string());
        let at = self.receipt.map(|receipt| format!(", from {receipt} on")).unwrap_or_default();
        let Self { row, acked, route, .. } = self;
        write!(f, "row {row}: acknowledged at {acked} by {node} through {route} (epoch {epoch}{at}); ")?;
        match &self.cause {
            Cause::Switch { from, to, fork } => {
                write!(f, "dropped when epoch {from} became {to}")?;
                if let Some(fork) = fork {
                    let side = match self.receipt {
                        Some(receipt) if receipt >= *fork => ", which it lies beyond",
                        Some(_) | None => "",
                    };
                    write!(f, ", fork point {fork}{side}")?;
                }
            }
            Cause::Restart { node, seen } => write!(f, "dropped by a restart of {node}, seen at {seen}")?,
            Cause::Unknown => f.write_str("no switch of epoch and no restart explains it")?,
        }
        if self.faults.is_empty() {
            f.write_str("; no fault explains it")
        } else {
            write!(f, "; {}", self.faults.join(", "))
        }
    }
}

/// What clients know of a row, best first.
enum Known<'a> {
    Acked(&'a Call),
    Doubt,
    Failed(&'a str),
    Shed,
}

/// Compares what was acknowledged with what is there. See DESIGN §10 (`no-acked-loss`) for how a loss is attributed.
pub fn losses(run: &Recorded) -> Losses {
    let rows = known_rows(run);
    let state = FinalState::of(run);
    let decided = FinalState::decides(run);
    let mut found = Losses {
        acknowledged: 0,
        lost: Vec::new(),
        in_doubt: 0,
        in_doubt_present: 0,
        phantoms: Vec::new(),
        on_some_nodes: 0,
        by_fault: BTreeMap::new(),
        unattributed: 0,
        decided,
    };
    let blame = Blame::of(run);
    for (row, known) in &rows {
        match known {
            Known::Acked(call) => {
                found.acknowledged += 1;
                if state.has(*row) {
                    found.on_some_nodes += usize::from(!state.everywhere(*row));
                } else if found.decided.is_ok() {
                    found.lose(blame.row(*row, call));
                }
            }
            Known::Doubt => {
                found.in_doubt += 1;
                found.in_doubt_present += usize::from(state.has(*row));
            }
            Known::Failed(_) | Known::Shed => {}
        }
    }
    found.phantoms = state.phantoms(&rows);
    found.lost.sort_by_key(|lost| (lost.acked, lost.row));
    found
}

impl Losses {
    fn lose(&mut self, lost: LostRow) {
        for fault in &lost.faults {
            *self.by_fault.entry(fault.clone()).or_default() += 1;
        }
        self.unattributed += usize::from(lost.faults.is_empty());
        self.lost.push(lost);
    }
}

fn known_rows(run: &Recorded) -> BTreeMap<u64, Known<'_>> {
    let mut rows: BTreeMap<u64, Known<'_>> = BTreeMap::new();
    for call in &run.calls {
        let Op::Insert { row } = call.op else { continue };
        let known = match &call.completed {
            Some((_, Outcome::Ok(_))) => Known::Acked(call),
            Some((_, Outcome::Info(_))) | None => Known::Doubt,
            Some((_, Outcome::Fail(_))) if call.is_shed() => Known::Shed,
            Some((_, Outcome::Fail(why))) => Known::Failed(why),
        };
        let rank = |known: &Known<'_>| match known {
            Known::Acked(_) => 0,
            Known::Doubt => 1,
            Known::Failed(_) => 2,
            Known::Shed => 3,
        };
        match rows.get(&row) {
            Some(before) if rank(before) <= rank(&known) => {}
            Some(_) | None => drop(rows.insert(row, known)),
        }
    }
    rows
}

/// What is there at the end: of every node, and of those on the highest epoch together.
struct FinalState<'a> {
    nodes: Vec<(&'a NodeName, Vec<u64>)>,
    rows: Vec<u64>,
}

impl<'a> FinalState<'a> {
    fn of(run: &'a Recorded) -> Self {
        let read = |read: &'a FinalRead| Some((&read.node, read.epoch, read.rows.as_ref().ok()?));
        let readable: Vec<_> = run.finals.iter().filter_map(read).collect();
        let highest = readable.iter().filter_map(|(_, epoch, _)| *epoch).max();
        let authoritative = readable.iter().filter(|(_, epoch, _)| *epoch == highest);
        let mut rows: Vec<u64> = authoritative.flat_map(|(_, _, rows)| rows.iter().copied()).collect();
        rows.sort_unstable();
        rows.dedup();
        let sorted = |rows: &[u64]| {
            let mut rows = rows.to_vec();
            rows.sort_unstable();
            rows
        };
        let nodes = readable.iter().map(|(node, _, rows)| (*node, sorted(rows))).collect();
        Self { nodes, rows }
    }

    fn has(&self, row: u64) -> bool {
        self.rows.binary_search(&row).is_ok()
    }

    fn everywhere(&self, row: u64) -> bool {
        self.nodes.iter().all(|(_, rows)| rows.binary_search(&row).is_ok())
    }

    fn nodes_with(&self, row: u64) -> Vec<NodeName> {
        let with = self.nodes.iter().filter(|(_, rows)| rows.binary_search(&row).is_ok());
        with.map(|(node, _)| (*node).clone()).collect()
    }

    /// Settled reads of all nodes decide. If the wait for a whole cluster ran out, the primary of the highest epoch
    /// ever seen decides alone: nothing brings back what it lacks. After an abort nothing decides.
    fn decides(run: &Recorded) -> Result<(), String> {
        let Err(why) = run.finals_settled() else { return Ok(()) };
        let waited = run.events.iter().any(|stamped| matches!(stamped.event, Event::Settled { .. }));
        let primary = views(run).last().and_then(|view| view.primary());
        let highest = writers(run).iter().map(|writer| writer.epoch).max();
        let read = |node: &NodeName| run.finals.iter().any(|read| read.node == *node && read.rows.is_ok());
        match primary {
            Some(primary) if waited && highest.is_some() && primary.epoch == highest && read(&primary.name) => Ok(()),
            Some(_) | None => Err(why),
        }
    }

    /// Presence on any node proves that it happened.
    fn phantoms(&self, rows: &BTreeMap<u64, Known<'_>>) -> Vec<Phantom> {
        let mut present: Vec<u64> = self.nodes.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
        present.sort_unstable();
        present.dedup();
        let mut found = Vec::new();
        for row in present {
            let reported = match rows.get(&row) {
                Some(Known::Acked(_) | Known::Doubt) => continue,
                Some(Known::Failed(why)) => Some((*why).to_owned()),
                Some(Known::Shed) | None => None,
            };
            found.push(Phantom { row, reported, nodes: self.nodes_with(row) });
        }
        found
    }
}

/// Finds what dropped a row, and by which fault.
struct Blame<'a> {
    run: &'a Recorded,
    writers: Vec<Writer<'a>>,
    impacts: Vec<Impact>,
    restarts: Vec<Restart<'a>>,
    switches: Vec<(EpochSwitch, Vec<String>)>,
}

impl<'a> Blame<'a> {
    fn of(run: &'a Recorded) -> Self {
        let (writers, impacts) = (writers(run), impacts(run));
        let around = |switch: &EpochSwitch| {
            let since = first_on(&writers, switch.from).unwrap_or_default();
            let until = first_on(&writers, switch.to).unwrap_or_else(|| run.load_end());
            faults_around(&impacts, since, until)
        };
        let mut switches: Vec<_> = run.switches.iter().map(|switch| (switch.clone(), around(switch))).collect();
        switches.sort_by_key(|(switch, _)| (switch.from, switch.fork, switch.to));
        Self { run, restarts: restarts(run), switches, impacts, writers }
    }

    fn row(&self, row: u64, call: &Call) -> LostRow {
        let acked = call.acked().unwrap_or_default();
        let known = self.switch(call, acked).or_else(|| self.went_back(call, acked));
        let (cause, faults) = known.or_else(|| self.restart(call, acked)).unwrap_or_default();
        LostRow {
            row,
            acked,
            route: call.route.clone(),
            node: call.served_by.clone(),
            epoch: call.epoch,
            receipt: call.receipt,
            cause,
            faults,
        }
    }

    fn switch(&self, call: &Call, acked: RunTime) -> Option<(Cause, Vec<String>)> {
        // Without an epoch of its own, it was written on the highest on which its node had been seen to write by then.
        let its = |writer: &&Writer<'_>| call.served_by.as_ref().is_none_or(|node| node == writer.node);
        let before =
            || self.writers.iter().take_while(|writer| writer.at <= acked).filter(its).map(|writer| writer.epoch).max();
        let epoch = call.epoch.or_else(before)?;
        let leaving = || self.switches.iter().filter(|(switch, _)| switch.from == epoch);
        let beyond = |switch: &EpochSwitch| call.receipt.is_some_and(|receipt| receipt >= switch.fork);
        let recorded = leaving()
            .find(|(switch, _)| beyond(switch))
            .or_else(|| leaving().next())
            // A dead branch: the history of those who went on passes it by.
            .or_else(|| self.switches.iter().find(|(switch, _)| switch.from < epoch && epoch < switch.to));
        if let Some((EpochSwitch { from, to, fork }, faults)) = recorded {
            return Some((Cause::Switch { from: *from, to: *to, fork: Some(*fork) }, faults.clone()));
        }
        let next = self.writers.iter().find(|writer| writer.epoch > epoch)?;
        let since = first_on(&self.writers, epoch).unwrap_or_default();
        let faults = faults_around(&self.impacts, since, next.at);
        Some((Cause::Switch { from: epoch, to: next.epoch, fork: None }, faults))
    }

    /// The cluster ended up on an epoch that it had left before: one that was left behind took over again, and the others
    /// followed it.
    fn went_back(&self, call: &Call, acked: RunTime) -> Option<(Cause, Vec<String>)> {
        let epoch = call.epoch?;
        let to = self.run.finals.iter().filter_map(|read| read.epoch).max().filter(|to| *to < epoch)?;
        let again = self.writers.iter().find(|writer| writer.at >= acked && writer.epoch <= to)?;
        let since = first_on(&self.writers, epoch).unwrap_or_default();
        Some((Cause::Switch { from: epoch, to, fork: None }, faults_around(&self.impacts, since, again.at)))
    }

    fn restart(&self, call: &Call, acked: RunTime) -> Option<(Cause, Vec<String>)> {
        let its = |restart: &&Restart<'_>| call.served_by.as_ref().is_none_or(|node| node == restart.node);
        let restart = self.restarts.iter().filter(its).find(|restart| restart.seen >= acked)?;
        let faults = process_faults(self.run, &self.impacts, restart.node, [acked.minus(IN_FLIGHT), restart.seen]);
        Some((Cause::Restart { node: restart.node.clone(), seen: restart.seen }, faults))
    }
}
