//! What watchers, views and answers say about who took writes on which epoch, and which faults were about.

use std::time::Duration;

use firedrill_core::action::Action;
use firedrill_core::cluster::{ClusterView, Epoch, NodeName};
use firedrill_core::event::Event;
use firedrill_core::record::{FaultSpan, Recorded};
use firedrill_core::time::RunTime;

use crate::calls::is_write;

/// A moment at which a node was known to take writes on an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) at: RunTime,
    pub(crate) node: &'a NodeName,
    pub(crate) epoch: Epoch,
}

/// Every such moment, ascending: answers to watchers, views, and acknowledged writes.
pub(crate) fn writers(run: &Recorded) -> Vec<Writer<'_>> {
    let mut found = Vec::new();
    for stamped in &run.events {
        if let Event::NodeSeen {
            node, read_write: Some(true), epoch: Some(epoch), first_answered, last_answered, ..
        } = &stamped.event
        {
            found.push(Writer { at: *first_answered, node, epoch: *epoch });
            found.push(Writer { at: *last_answered, node, epoch: *epoch });
        }
    }
    for view in views(run) {
        let rw = view.nodes.iter().filter(|node| node.up && node.read_write);
        found.extend(rw.filter_map(|node| Some(Writer { at: view.at, node: &node.name, epoch: node.epoch? })));
    }
    for call in run.calls.iter().filter(|call| is_write(call)) {
        if let (Some(at), Some(node), Some(epoch)) = (call.acked(), &call.served_by, call.epoch) {
            found.push(Writer { at, node, epoch });
        }
    }
    found.sort_by_key(|writer| (writer.at, writer.epoch));
    found
}

/// When a node was first known to take writes on this epoch or a higher one.
pub(crate) fn first_on(writers: &[Writer<'_>], epoch: Epoch) -> Option<RunTime> {
    writers.iter().find(|writer| writer.epoch >= epoch).map(|writer| writer.at)
}

/// The views of the whole cluster, in order.
pub(crate) fn views(run: &Recorded) -> impl Iterator<Item = &ClusterView> {
    run.events.iter().filter_map(|stamped| {
        let Event::View { view } = &stamped.event else { return None };
        Some(view)
    })
}

/// One primary, and every other node streaming on its epoch.
pub(crate) fn is_redundant(view: &ClusterView) -> bool {
    view.primary().is_some_and(|primary| {
        let mut others = view.nodes.iter().filter(|node| node.name != primary.name);
        others.all(|node| node.up && node.streaming && node.epoch == primary.epoch)
    })
}

/// A fault that took effect, and for how long it mattered.
pub(crate) struct Impact {
    pub(crate) span: FaultSpan,
    /// When the cluster was whole again after it; `None` if that was not seen.
    pub(crate) over: Option<RunTime>,
}

/// A look at the cluster takes up to so long, so that what it shows may be so old.
const VIEW_AGE: Duration = Duration::from_secs(1);

/// The faults that took effect, in order of onset. One matters until a view shows the cluster whole after its heal (after
/// its onset, if all it did was done in an instant), because a failover outlives the kill that caused it.
pub(crate) fn impacts(run: &Recorded) -> Vec<Impact> {
    let mut found = Vec::new();
    for span in run.faults() {
        let applied: Vec<&Action> = actions(run, &span.fault).collect();
        if applied.is_empty() {
            continue;
        }
        let gone = if applied.iter().all(|action| action.is_instant()) {
            Some(span.onset)
        } else {
            span.healed.or_else(|| refused(run, &span))
        };
        let whole = |gone: RunTime| views(run).find(|view| view.at > gone.plus(VIEW_AGE) && is_redundant(view));
        found.push(Impact { over: gone.and_then(whole).map(|view| view.at), span });
    }
    found.sort_by(|a, b| (a.span.onset, &a.span.fault).cmp(&(b.span.onset, &b.span.fault)));
    found
}

/// The actions of a fault that took effect.
fn actions<'a>(run: &'a Recorded, wanted: &str) -> impl Iterator<Item = &'a Action> {
    run.events.iter().filter_map(move |stamped| {
        let Event::StepApplied { fault, action, .. } = &stamped.event else { return None };
        (fault == wanted).then_some(action)
    })
}

/// When the last action of a fault that was given up half-way was undone.
fn refused(run: &Recorded, span: &FaultSpan) -> Option<RunTime> {
    let of = |id: &String| *id == span.fault;
    run.events.iter().find(|stamped| matches!(&stamped.event, Event::FaultRefused { fault, .. } if of(fault)))?;
    let undone = |event: &Event| matches!(event, Event::StepReverted { fault, .. } if of(fault));
    run.events.iter().rev().find(|stamped| undone(&stamped.event)).map(|stamped| stamped.at)
}

/// The faults that mattered at a moment as the end of a sentence, or nothing.
pub(crate) fn faults_words(run: &Recorded, at: RunTime) -> String {
    let active =
        impacts(run).into_iter().filter(|fault| fault.span.onset <= at && fault.over.is_none_or(|over| at < over));
    let names: Vec<String> = active.map(|fault| format!("{} ({})", fault.span.fault, fault.span.kind)).collect();
    if names.is_empty() { String::new() } else { format!("; faults then: {}", names.join(", ")) }
}

/// The faults that had something to do with what happened between `since` and `until`: the last one that began before
/// `until`, and those that still mattered when it began.
pub(crate) fn faults_around(impacts: &[Impact], since: RunTime, until: RunTime) -> Vec<String> {
    let matters = |impact: &Impact, at: RunTime| impact.over.is_none_or(|over| over > at);
    let began = || impacts.iter().filter(|impact| impact.span.onset < until && matters(impact, since));
    let Some(last) = began().map(|impact| impact.span.onset).max() else { return Vec::new() };
    let overlapping = began().filter(|impact| impact.span.onset == last || matters(impact, last));
    overlapping.map(|impact| impact.span.fault.clone()).collect()
}

/// A server process that was replaced by another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Restart<'a> {
    pub(crate) node: &'a NodeName,
    /// When the new process was first seen.
    pub(crate) seen: RunTime,
}

/// Restarts of servers, in order, from changes of their incarnation between views.
pub(crate) fn restarts(run: &Recorded) -> Vec<Restart<'_>> {
    let mut known: Vec<(&NodeName, u64)> = Vec::new();
    let mut found = Vec::new();
    for view in views(run) {
        for node in &view.nodes {
            let Some(incarnation) = node.incarnation else { continue };
            match known.iter_mut().find(|(name, _)| **name == node.name) {
                None => known.push((&node.name, incarnation)),
                Some((_, before)) if *before != incarnation => {
                    *before = incarnation;
                    found.push(Restart { node: &node.name, seen: view.at });
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// Ids of the faults that killed or paused something on a node and began in the interval.
pub(crate) fn process_faults(run: &Recorded, impacts: &[Impact], node: &NodeName, when: [RunTime; 2]) -> Vec<String> {
    let hits = |action: &Action| action.nodes().contains(&node);
    let [since, until] = when;
    let began = impacts.iter().map(|impact| &impact.span).filter(|span| since <= span.onset && span.onset <= until);
    began.filter(|span| actions(run, &span.fault).any(hits)).map(|span| span.fault.clone()).collect()
}
