//! What watchers, views and answers say about who took writes on which epoch, and which faults were about.

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
    run.events.iter().filter_map(|stamped| match &stamped.event {
        Event::View { view } => Some(view),
        _ => None,
    })
}

/// One primary, and every other node streaming on its epoch.
pub(crate) fn is_redundant(view: &ClusterView) -> bool {
    view.primary().is_some_and(|primary| {
        let mut others = view.nodes.iter().filter(|node| node.name != primary.name);
        others.all(|node| node.up && node.streaming && node.epoch == primary.epoch)
    })
}

/// Ids of the faults in force at a moment, with their kinds, in order of onset.
pub(crate) fn in_force(run: &Recorded, at: RunTime) -> Vec<String> {
    let faults = run.faults().into_iter();
    let active = faults.filter(|fault| fault.onset <= at && fault.healed.is_none_or(|healed| at < healed));
    active.map(|fault| format!("{} ({})", fault.fault, fault.kind)).collect()
}

/// The faults in force at a moment as the end of a sentence, or nothing.
pub(crate) fn in_force_words(run: &Recorded, at: RunTime) -> String {
    let active = in_force(run, at);
    if active.is_empty() { String::new() } else { format!("; in force then: {}", active.join(", ")) }
}

/// The faults that had something to do with what happened between `since` and `until`: the last one that began before
/// `until`, and those whose effect overlaps that. The effect of a fault lasts until a view after its heal shows the
/// cluster whole, because a failover outlives the kill that caused it.
pub(crate) fn faults_around(run: &Recorded, since: RunTime, until: RunTime) -> Vec<String> {
    let effect_end = |fault: &FaultSpan| {
        let healed = fault.healed?;
        views(run).find(|view| view.at > healed && is_redundant(view)).map(|view| view.at)
    };
    let spans = run.faults();
    let mut candidates: Vec<(&FaultSpan, Option<RunTime>)> = Vec::new();
    for fault in spans.iter().filter(|fault| fault.onset < until) {
        let end = effect_end(fault);
        if end.is_none_or(|end| end > since) {
            candidates.push((fault, end));
        }
    }
    let Some(last) = candidates.iter().map(|(fault, _)| fault.onset).max() else { return Vec::new() };
    candidates.retain(|(_, end)| end.is_none_or(|end| end > last));
    candidates.sort_by(|a, b| (a.0.onset, &a.0.fault).cmp(&(b.0.onset, &b.0.fault)));
    candidates.into_iter().map(|(fault, _)| fault.fault.clone()).collect()
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
pub(crate) fn process_faults(run: &Recorded, node: &NodeName, since: RunTime, until: RunTime) -> Vec<String> {
    let hits = |fault: &FaultSpan| {
        run.events.iter().any(|stamped| match &stamped.event {
            Event::StepApplied { fault: id, action, .. } if *id == fault.fault => match action {
                Action::Kill { node: hit, .. } | Action::Pause { node: hit, .. } => hit == node,
                Action::Cut { .. } => false,
            },
            _ => false,
        })
    };
    let spans = run.faults().into_iter().filter(|fault| since <= fault.onset && fault.onset <= until && hits(fault));
    spans.map(|fault| fault.fault).collect()
}
