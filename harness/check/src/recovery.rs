//! How the cluster came back after one fault: the phases of recovery, each with its own observer, in time since the
//! fault's onset.
//!
//! A fault answers for what happens until the next one begins. In [`Recovery::phases`] a measure that is absent does not
//! apply (a killed replica elects nobody); one that is there without a value applies and did not happen while watched.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, Epoch, NodeName, Role};
use firedrill_core::event::{Event, Phase};
use firedrill_core::history::Call;
use firedrill_core::record::{FaultSpan, Recorded, Recovery, seconds};
use firedrill_core::scenario::ObjectiveMeasure;
use firedrill_core::time::RunTime;

use crate::calls::{is_write, last_due, median, router_acks, router_writes};
use crate::losses::Losses;
use crate::seen::{Writer, is_redundant, views, writers};

/// Service counts as interrupted by a pause between acknowledgements of more than ten times their steady median, and of
/// more than this: shorter ones are the host's own hiccups.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// So many operations in a row must be on time before the backlog counts as drained.
const ON_TIME: usize = 20;
/// Latencies are not told apart more finely than this.
const LATENCY_GRAIN: Duration = Duration::from_millis(1);

/// What a fault interrupted and when each phase of recovery was reached. `losses` are those of the same run.
pub fn recovery(run: &Recorded, fault: &FaultSpan, losses: &Losses) -> Recovery {
    let watch = Watch::of(run, fault);
    let mut phases = BTreeMap::new();
    let mut put = |measure, at: Option<Option<RunTime>>| {
        if let Some(at) = at {
            phases.insert(measure, at.map(|at| seconds(at.since(fault.onset))));
        }
    };
    let leadership = watch.leadership();
    let promoted = watch.promoted(&leadership);
    put(ObjectiveMeasure::Detected, leadership.changed.then_some(leadership.gone));
    put(ObjectiveMeasure::Elected, leadership.changed.then_some(leadership.elected));
    put(ObjectiveMeasure::Promoted, promoted);
    put(ObjectiveMeasure::Fenced, promoted.flatten().map(|_| Some(watch.fenced())));
    let outage = watch.outage();
    let interrupted = outage.as_ref().is_some_and(|outage| watch.interrupts(outage));
    let disrupted = leadership.changed || promoted.is_some() || interrupted;
    if disrupted {
        let first = watch.first_ack(promoted.flatten(), outage.as_ref().filter(|_| interrupted));
        put(ObjectiveMeasure::Failover, Some(first));
        put(ObjectiveMeasure::Drained, watch.drained(first));
    }
    put(ObjectiveMeasure::Redundancy, watch.redundant(promoted.flatten()));
    Recovery {
        disrupted,
        phases,
        outage: outage.map(|outage| seconds(outage.length())),
        watched: seconds(watch.until.since(fault.onset)),
        lost_writes: losses.decided.is_ok().then(|| count(losses, &fault.fault)),
    }
}

fn count(losses: &Losses, fault: &str) -> u64 {
    losses.by_fault.get(fault).and_then(|lost| u64::try_from(*lost).ok()).unwrap_or(0)
}

/// The part of a run that one fault answers for.
struct Watch<'a> {
    run: &'a Recorded,
    onset: RunTime,
    /// When the next fault began, or the observers stopped looking.
    until: RunTime,
    /// When the first fault of the run began: everything before is steady.
    steady_until: RunTime,
    writers: Vec<Writer<'a>>,
    /// Who took writes just before the onset, on which epoch.
    before: Option<Writer<'a>>,
}

/// A time without acknowledgements.
#[derive(Clone, Copy)]
struct Pause {
    from: RunTime,
    /// When it ended; `None` if it did not while watched.
    to: Option<RunTime>,
    until: RunTime,
}

impl Pause {
    fn length(&self) -> Duration {
        self.to.unwrap_or(self.until).since(self.from)
    }
}

#[derive(Default)]
struct Leadership {
    changed: bool,
    gone: Option<RunTime>,
    elected: Option<RunTime>,
    holder: Option<NodeName>,
}

impl<'a> Watch<'a> {
    fn of(run: &'a Recorded, fault: &FaultSpan) -> Self {
        let onsets: Vec<RunTime> = run.faults().iter().map(|span| span.onset).collect();
        let stopped = [Phase::FinalReads, Phase::Stop].into_iter().find_map(|phase| run.phase_start(phase));
        let last_view = views(run).map(|view| view.at).max().unwrap_or_default();
        let looked = stopped.unwrap_or_else(|| run.load_end().max(last_view));
        let next = onsets.iter().copied().filter(|onset| *onset > fault.onset).min();
        let until = next.unwrap_or(looked).max(fault.onset);
        let steady_until = onsets.iter().copied().min().unwrap_or(fault.onset);
        let writers = writers(run);
        let highest = writers.iter().take_while(|writer| writer.at <= fault.onset).max_by_key(|w| (w.epoch, w.at));
        Self { run, onset: fault.onset, until, steady_until, before: highest.copied(), writers }
    }

    fn contains(&self, at: RunTime) -> bool {
        self.onset <= at && at < self.until
    }

    /// What became of the leader key. It changed when it was gone, or somebody else had it.
    fn leadership(&self) -> Leadership {
        let mut found = Leadership::default();
        let mut last: Option<&NodeName> = None;
        for stamped in &self.run.events {
            let Event::Leader { holder, revision: _ } = &stamped.event else { continue };
            if stamped.at < self.onset {
                last = holder.as_ref();
                continue;
            }
            if stamped.at >= self.until {
                break;
            }
            let other = holder.is_none() || (last.is_some() && holder.as_ref() != last);
            if !found.changed && other {
                found.changed = true;
                found.gone = Some(stamped.at);
            }
            if found.changed && found.elected.is_none() && holder.is_some() {
                found.elected = Some(stamped.at);
                found.holder.clone_from(holder);
            }
        }
        found
    }

    /// When a node took writes on a higher epoch. Applies when that happened or had to: nobody leads, or another node.
    #[expect(clippy::option_option, reason = "whether it applies, and whether it happened")]
    fn promoted(&self, leadership: &Leadership) -> Option<Option<RunTime>> {
        let old = self.before?;
        let higher = self.writers.iter().find(|writer| self.contains(writer.at) && writer.epoch > old.epoch);
        let had_to = leadership.changed && leadership.holder.as_ref() != Some(old.node);
        (higher.is_some() || had_to).then(|| higher.map(|writer| writer.at))
    }

    /// The last write that the old primary acknowledged on the old epoch; the onset if there was none after it.
    fn fenced(&self) -> RunTime {
        let Some(old) = self.before else { return self.onset };
        let its = |call: &&Call| {
            is_write(call)
                && call.served_by.as_ref() == Some(old.node)
                && call.epoch.is_none_or(|epoch| epoch <= old.epoch)
        };
        let acks = self.run.calls.iter().filter(its).filter_map(Call::acked);
        acks.filter(|at| self.contains(*at)).max().unwrap_or(self.onset)
    }

    /// The longest time without an acknowledgement through the router that ended after the onset. The last one before
    /// the onset begins it, because nobody knows when between two the service went. Silence after the load is no pause.
    fn outage(&self) -> Option<Pause> {
        let acks = router_acks(self.run);
        let until = self.until.min(last_due(self.run)?);
        if until <= self.onset {
            return None;
        }
        let before = acks.partition_point(|at| *at <= self.onset);
        let from = before.checked_sub(1).and_then(|place| acks.get(place)).copied().unwrap_or(self.onset);
        let mut pauses = Vec::new();
        let mut last = from;
        for at in acks.iter().skip(before).take_while(|at| **at < until) {
            pauses.push(Pause { from: last, to: Some(*at), until });
            last = *at;
        }
        // The next fault or the end of the load may fall into a pause that is as long as any.
        let ended = acks.iter().skip(before).find(|at| **at >= until && **at < self.until).copied();
        pauses.push(Pause { from: last, to: ended, until });
        pauses.into_iter().max_by_key(|pause| (pause.length(), std::cmp::Reverse(pause.from)))
    }

    fn interrupts(&self, pause: &Pause) -> bool {
        let steady: Vec<RunTime> = router_acks(self.run).into_iter().filter(|at| *at < self.steady_until).collect();
        let gaps = steady.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        let usual = median(gaps).unwrap_or_default();
        pause.length() > SHORTEST_PAUSE.max(usual.saturating_mul(10))
    }

    /// The first acknowledged router write due after the onset that shows the service restored: answered on a higher
    /// epoch if there is one, else after the pause. What the old primary still acknowledged before it noticed anything
    /// is no recovery.
    fn first_ack(&self, promoted: Option<RunTime>, pause: Option<&Pause>) -> Option<RunTime> {
        let old = self.before.map(|writer| writer.epoch);
        let restored = |call: &Call, at: RunTime| match (promoted, old, call.epoch) {
            (Some(_), Some(old), Some(epoch)) => epoch > old,
            (Some(promoted), _, _) => at >= promoted,
            (None, _, _) => pause.is_none_or(|pause| pause.to.is_some_and(|end| at >= end)),
        };
        let due = router_writes(self.run).filter(|call| call.due >= self.onset);
        let acks = due.filter_map(|call| call.acked().filter(|at| restored(call, *at)));
        acks.min().filter(|at| self.contains(*at))
    }

    /// When latency from due was back within twice its steady median, over twenty router writes in order of due time,
    /// none of them failed. Does not apply when there was no steady latency to compare with.
    #[expect(clippy::option_option, reason = "whether it applies, and whether it happened")]
    fn drained(&self, first_ack: Option<RunTime>) -> Option<Option<RunTime>> {
        let mut calls: Vec<(RunTime, Option<RunTime>)> =
            router_writes(self.run).map(|call| (call.due, call.acked())).collect();
        calls.sort_unstable();
        let latency = |(due, acked): &(RunTime, Option<RunTime>)| acked.map(|acked| acked.since(*due));
        let steady: Vec<Duration> =
            calls.iter().filter(|(due, _)| *due < self.steady_until).filter_map(latency).collect();
        if steady.len() < ON_TIME {
            return None;
        }
        let usual = median(steady)?;
        let bound = usual.saturating_mul(2).max(usual + LATENCY_GRAIN);
        // From the write that showed the service restored on: what was quick before it was quick in spite of the fault.
        let Some(first_ack) = first_ack else { return Some(None) };
        let due_after = |call: &&(RunTime, Option<RunTime>)| {
            call.0 >= self.onset && call.0 < self.until && call.1.is_none_or(|acked| acked >= first_ack)
        };
        let after: Vec<_> = calls.iter().filter(due_after).collect();
        let on_time = after.windows(ON_TIME).find_map(|window| {
            let spans: Option<Vec<Duration>> = window.iter().map(|call| latency(call)).collect();
            let quick = median(spans?)? <= bound;
            window.first().filter(|_| quick)?.1
        });
        Some(on_time)
    }

    /// The first view that shows all replicas streaming on the primary's epoch, and a sync standby named if there used
    /// to be one. Applies when redundancy was lost, or had to be because the epoch changed.
    #[expect(clippy::option_option, reason = "whether it applies, and whether it happened")]
    fn redundant(&self, promoted: Option<RunTime>) -> Option<Option<RunTime>> {
        let synchronous = |view: &ClusterView| view.nodes.iter().any(|node| node.roles.contains(&Role::SyncStandby));
        let named = views(self.run).take_while(|view| view.at <= self.onset).any(synchronous);
        let whole = |view: &ClusterView| is_redundant(view) && (!named || synchronous(view));
        let old: Option<Epoch> = self.before.filter(|_| promoted.is_some()).map(|writer| writer.epoch);
        let after = || views(self.run).filter(|view| self.contains(view.at));
        let higher = |view: &ClusterView| old.is_none_or(|old| view.primary().is_some_and(|p| p.epoch > Some(old)));
        let lost = after().find(|view| !whole(view)).map(|view| view.at);
        let since = match (promoted, lost) {
            (Some(promoted), lost) => lost.unwrap_or(promoted).min(promoted),
            (None, Some(lost)) => lost,
            (None, None) => return None,
        };
        Some(after().find(|view| view.at >= since && higher(view) && whole(view)).map(|view| view.at))
    }
}
