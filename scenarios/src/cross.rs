//! What only several sections together can get wrong.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::{NodeName, Selector, resolve, symbolic_view};
use firedrill_core::fault::{FaultPlan, PlanInput, Step, impaired};
use firedrill_core::platform::Offer;
use firedrill_core::scenario::Start;
use firedrill_core::seed::Seed;
use firedrill_core::select::minority_of;
use firedrill_core::timeline::{Entry, Misplaced, Slot, slots};
use firedrill_core::units::human;
use firedrill_core::workload::WorkloadEntry;

use crate::Context;
use crate::fault::Draft;
use crate::{cluster, load, safety, volumes};

pub(crate) fn check(
    context: &Context<'_>,
    cluster: &cluster::Draft,
    load: &load::Draft,
    faults: &[Draft],
    safety: &safety::Draft,
) {
    for fault in faults {
        process(context, cluster, fault);
        deeds(context, cluster, fault);
        clocks(context, cluster, fault);
        names(context, cluster, fault);
    }
    volumes::check(context, faults);
    operations(context, cluster, load);
    let placed = timeline(context, faults);
    outlasting(context, load, faults, &placed);
    let plans: Vec<Option<FaultPlan>> = faults.iter().map(|fault| plan(context, &cluster.nodes, fault)).collect();
    together(context, faults, &placed, &plans, safety);
    awaiting_power_loss(context, faults, &placed, &plans);
}

/// What shows only at a loss of power needs one of the same nodes while it is in force.
fn awaiting_power_loss(context: &Context<'_>, faults: &[Draft], placed: &[Option<Slot>], plans: &[Option<FaultPlan>]) {
    for (place, draft) in faults.iter().enumerate() {
        let (Some(fault), Some(slot), Some(plan)) = (&draft.fault, placed[place], &plans[place]) else { continue };
        if !fault.waits_for_power_loss() {
            continue;
        }
        let within = |other: usize, offset: Duration| {
            let onset = placed[other].map(|other| other.onset + offset);
            onset.is_some_and(|onset| onset > slot.onset && onset < slot.end())
        };
        let same = |other: usize, nodes: &[NodeName]| {
            let everybody = faults[other].on.as_ref().is_some_and(|on| on.value == Selector::All);
            everybody || plan.impairs.iter().all(|(node, _)| nodes.contains(node))
        };
        let loses_power = |other: usize, step: &Step| {
            let Action::LosePower { nodes } = &step.action else { return false };
            within(other, step.offset) && same(other, nodes)
        };
        let steps = plans.iter().enumerate().flat_map(|(other, plan)| plan.iter().map(move |plan| (other, plan)));
        if !steps.into_iter().any(|(other, plan)| plan.steps.iter().any(|step| loses_power(other, step))) {
            let (id, on) = (&draft.id.value, draft.on.as_ref().map_or_else(String::new, |on| on.value.to_string()));
            let message =
                format!("`{id}` shows only at a loss of power, and none of `{on}` comes while it is in force");
            let help = format!(
                "add a fault of kind \"node.power-loss\" on \"{on}\" with `after = \"{id} + 10s\"`, and hold `{id}` longer"
            );
            context.note(draft.kind_place.clone(), message, help);
        }
    }
}

/// A process that a fault names must be one of the system's.
fn process(context: &Context<'_>, cluster: &cluster::Draft, fault: &Draft) {
    let (Some(system), Some(place)) = (&cluster.system, &fault.process_place) else { return };
    let Some(process) = fault.fault.as_ref().and_then(|fault| fault.process()) else { return };
    let known = system.processes();
    if !known.contains(process) {
        let names: Vec<&str> = known.iter().map(|name| name.0.as_str()).collect();
        let message = format!("the system has no process `{process}`");
        context.unknown(place.clone(), message, &process.0, &names);
    }
}

/// The system's clients must be able to perform what the workload issues.
fn operations(context: &Context<'_>, cluster: &cluster::Draft, load: &load::Draft) {
    let (Some(system), Some(workload)) = (cluster.entry, load.entry) else { return };
    let can = |entry: &WorkloadEntry| entry.ops.iter().all(|op| system.performs.contains(op));
    if can(workload) {
        return;
    }
    let others: Vec<&str> =
        context.registries.workloads.iter().filter(|entry| can(entry)).map(|entry| entry.kind).collect();
    let message = format!("the system {} cannot perform the workload {}", system.name, workload.kind);
    context.note(load.kind_place.clone(), message, format!("it can perform: {}", others.join(", ")));
}

/// A clock that cannot be changed is refused here, because changing it would be silently without effect.
fn clocks(context: &Context<'_>, cluster: &cluster::Draft, fault: &Draft) {
    let (Some(system), Some(needs)) = (&cluster.system, fault.fault.as_ref().map(|fault| fault.needs())) else {
        return;
    };
    for process in needs.clocks {
        let known = system.processes();
        let can: Vec<&str> =
            known.iter().filter(|name| system.clock_of(name).is_ok()).map(|name| name.0.as_str()).collect();
        let help =
            if can.is_empty() { "leave the fault out".to_owned() } else { format!("aim at: {}", can.join(", ")) };
        match process {
            Some(process) if known.contains(&process) => {
                if let Err(why) = system.clock_of(&process) {
                    let place = fault.process_place.clone().unwrap_or_else(|| fault.kind_place.clone());
                    context.note(place, format!("the clock of `{process}` cannot be changed: {why}"), help);
                }
            }
            None if can.is_empty() => {
                context.note(fault.kind_place.clone(), "the system has no process whose clock can be changed", help);
            }
            Some(_) | None => {}
        }
    }
}

/// Who never asks for a name cannot be misled; and a name must be a node's.
fn names(context: &Context<'_>, cluster: &cluster::Draft, fault: &Draft) {
    let (Some(system), Some(read), Some(entry)) = (&cluster.system, &fault.fault, fault.entry) else { return };
    if !entry.deeds.contains(&Deed::MisleadNames) {
        return;
    }
    if let Err(help) = system.uses_names() {
        let message = "the servers find each other by address, so that no answer of a name server reaches them";
        context.note(fault.kind_place.clone(), message, help);
    }
    for name in read.needs().names.iter().filter(|name| !cluster.nodes.contains(name)) {
        let known: Vec<&str> = cluster.nodes.iter().map(NodeName::as_str).collect();
        let message = format!("there is no node `{name}` whose name could be asked for");
        context.unknown(fault.kind_place.clone(), message, name.as_str(), &known);
    }
}

/// The platform must be able to do, and the system to bear, what the fault needs.
fn deeds(context: &Context<'_>, cluster: &cluster::Draft, fault: &Draft) {
    let Some(entry) = fault.entry else { return };
    for deed in entry.deeds {
        if let Some(platform) = cluster.platform
            && let Offer::Never(why) = (platform.offers)(*deed)
        {
            let others = offering(context, *deed);
            let help =
                if others.is_empty() { "leave the fault out".to_owned() } else { format!("run it on: {others}") };
            let message = format!("the platform {} never offers {deed}: {why}", platform.name);
            context.note(fault.kind_place.clone(), message, help);
        }
        let refusal = cluster.entry.and_then(|system| system.refuses.iter().find(|(refused, _)| refused == deed));
        if let (Some(system), Some((_, why))) = (cluster.entry, refusal) {
            let message = format!("the system {} does not take {deed}: {why}", system.name);
            context.note(fault.kind_place.clone(), message, "leave the fault out");
        }
    }
}

fn offering(context: &Context<'_>, deed: Deed) -> String {
    let offers = context.registries.platforms.iter().filter(|platform| match (platform.offers)(deed) {
        Offer::Never(_) => false,
        Offer::Perhaps | Offer::Always => true,
    });
    offers.map(|platform| platform.name).collect::<Vec<_>>().join(", ")
}

/// The static timeline; what has no place on it is noted.
fn timeline(context: &Context<'_>, faults: &[Draft]) -> Vec<Option<Slot>> {
    // A start or hold that is noted already stands in as nothing, so that faults behind it are not called misplaced.
    let nowhere = Start::At(Duration::ZERO);
    let entries: Vec<Entry<'_>> = faults
        .iter()
        .map(|fault| Entry {
            id: &fault.id.value,
            start: fault.start.as_ref().map_or(&nowhere, |start| &start.value),
            hold: fault.hold.as_ref().map(|hold| hold.value).or(fault.hold_amiss.then_some(Duration::ZERO)),
        })
        .collect();
    let results = slots(&entries);
    for (fault, result) in faults.iter().zip(&results) {
        let (Some(start), Err(why)) = (&fault.start, result) else { continue };
        misplaced(context, faults, start.span.clone(), why);
    }
    let known = |(fault, result): (&Draft, Result<Slot, Misplaced>)| result.ok().filter(|_| fault.start.is_some());
    faults.iter().zip(results).map(known).collect()
}

fn misplaced(context: &Context<'_>, faults: &[Draft], place: std::ops::Range<usize>, why: &Misplaced) {
    match why {
        Misplaced::Unknown(id) => {
            let ids: Vec<&str> = faults.iter().map(|fault| fault.id.value.as_str()).collect();
            context.unknown(place, format!("no fault has the id `{id}`"), id, &ids);
        }
        Misplaced::NeverHealed(id) => {
            let help = format!("give `{id}` a `for`, or write `after = \"{id} + 5s\"`, which counts from its onset");
            context.note(place, format!("`{id}` has no `for`: it is healed only when the storm is over"), help);
        }
        Misplaced::Cycle(ids) => {
            let message = format!("faults wait for each other in a circle: {}", ids.join(" → "));
            context.note(place, message, "let one of them begin `at` a time");
        }
        Misplaced::Behind(_) => {} // What it waits for is noted.
    }
}

/// A fixed length of the storm must have room for every fault.
fn outlasting(context: &Context<'_>, load: &load::Draft, faults: &[Draft], placed: &[Option<Slot>]) {
    let Some(duration) = load.duration.as_ref().map(|duration| duration.value) else { return };
    for (fault, slot) in faults.iter().zip(placed) {
        let Some(slot) = slot.filter(|slot| slot.end() > duration) else { continue };
        let place = fault.hold.as_ref().map(|hold| hold.span.clone());
        let place = place.or_else(|| fault.start.as_ref().map(|start| start.span.clone()));
        let (end, length) = (human(slot.end()), human(duration));
        let message = format!("`{}` lasts until {end}, but the load only {length}", fault.id.value);
        let help = "make `duration` under [workload] longer, or leave it out: it follows from the faults";
        context.note(place.unwrap_or_else(|| fault.kind_place.clone()), message, help);
    }
}

/// How many nodes a selector needs, and what to call that; `None` if it fits the cluster.
fn misfit(selector: &Selector, nodes: &[NodeName]) -> Option<String> {
    let count = nodes.len();
    let has = if count == 1 { "the cluster has 1 node".to_owned() } else { format!("the cluster has {count} nodes") };
    match selector {
        Selector::Replicas | Selector::Replica | Selector::SyncStandby if count < 2 => {
            Some(format!("`{selector}` needs a second node, and {has}"))
        }
        Selector::Minority if minority_of(count) == 0 => Some(format!("{has}: a minority of that is nobody")),
        Selector::Any(wanted) if usize::try_from(*wanted).unwrap_or(usize::MAX) > count => {
            Some(format!("`{selector}` wants {wanted} nodes, and {has}"))
        }
        Selector::Node(name) if !nodes.contains(name) => Some(format!("there is no node `{name}`: {has}")),
        Selector::Primary
        | Selector::Replicas
        | Selector::Replica
        | Selector::SyncStandby
        | Selector::DcsLeader
        | Selector::Minority
        | Selector::Majority
        | Selector::All
        | Selector::Any(_)
        | Selector::Zone(_)
        | Selector::Node(_) => None,
    }
}

/// The fault's plan on a cluster of words, as far as one can be made; what cannot be planned at all is noted.
fn plan(context: &Context<'_>, nodes: &[NodeName], draft: &Draft) -> Option<FaultPlan> {
    let (fault, on) = (draft.fault.as_ref()?, draft.on.as_ref()?);
    if let Some(message) = misfit(&on.value, nodes) {
        let help = match (&on.value, nodes) {
            (Selector::Node(_), [first, .., last]) => format!("the nodes are {first} to {last}"),
            _ => "aim at fewer, or raise `nodes` under [cluster]".to_owned(),
        };
        context.note(on.span.clone(), message, help);
        return None;
    }
    let view = symbolic_view(&on.value, nodes);
    let mut rng = Seed(0).stream(&draft.id.value);
    // Zones are known only on the living cluster.
    let targets = resolve(&on.value, &view, &mut rng).ok()?;
    let hold = draft.hold.as_ref().map(|hold| hold.value);
    match fault.plan(&PlanInput { view: &view, targets: &targets, hold }, &mut rng) {
        Ok(plan) => Some(plan),
        Err(_) if draft.hold_amiss => None,
        Err(error) => {
            context.note(draft.kind_place.clone(), error.to_string(), "see `firedrill list faults`");
            None
        }
    }
}

/// Faults in force together must not impair more than allowed. Two that aim at the same words may aim at different
/// nodes in the run, which counts again at each onset.
fn together(
    context: &Context<'_>,
    faults: &[Draft],
    placed: &[Option<Slot>],
    plans: &[Option<FaultPlan>],
    safety: &safety::Draft,
) {
    let max = usize::try_from(safety.safety.max_impaired).unwrap_or(usize::MAX);
    for (place, fault) in faults.iter().enumerate() {
        let (Some(slot), Some(plan), Some(on)) = (placed[place], &plans[place], &fault.on) else { continue };
        let in_force = (0..faults.len()).filter(|other| *other != place).filter(|other| {
            let other_slot = placed[*other];
            // Of two that begin together the later one in the file is the one that goes too far.
            other_slot.is_some_and(|other_slot| {
                other_slot.overlaps(&slot) && (other_slot.onset, *other) < (slot.onset, place)
            })
        });
        let others: Vec<usize> = in_force.filter(|other| plans[*other].is_some()).collect();
        let all = others.iter().filter_map(|other| plans[*other].as_ref()).chain([plan]);
        let count = impaired(all);
        let alone = impaired([plan]);
        if count <= max || (alone == 0 && !others.is_empty()) {
            continue;
        }
        let ids: Vec<String> = others.iter().map(|other| format!("`{}`", faults[*other].id.value)).collect();
        let with = if alone > max { String::new() } else { format!("together with {}, ", ids.join(", ")) };
        let count = if alone > max { alone } else { count };
        let limit = if safety.max_place.is_some() { "" } else { " unless the file says otherwise" };
        let message = format!("{with}`{}` impairs {count} nodes at once, and {max} is allowed{limit}", fault.id.value);
        let help = format!("write `max-impaired = {count}` under [safety] if that is meant, or aim at fewer");
        context.note(on.span.clone(), message, help);
    }
}
