//! Whether a pressure is felt, from what the kernel counts for the node, whoever causes it.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_core::action::{Effect, Presence, Undo};
use firedrill_core::harm::Pressure;
use firedrill_core::units::Bytes;
use firedrill_sys::{clock, press, process};

use super::{KEY_FILES, KEY_MEMORY, limits, memory_group, pids_group};
use crate::hog::Lowered;
use crate::protocol::{NodeSite, Refusal};
use crate::world::World;

/// How long processes are watched.
const WATCHED: Duration = Duration::from_secs(1);
/// How often they are looked at meanwhile.
const LOOKS: Duration = Duration::from_millis(50);
/// The share of looks at which one must want a processor to be one that spins, in percent. What it has waited cannot be
/// taken for that: the kernel counts a wait when it is over.
const SPINS: u32 = 90;
/// What a process writes in that time to be one that keeps the disk busy, in bytes: far more than a server at a moderate
/// load, which writes pages of a few KiB.
const WRITES: u64 = 512 * 1024;
/// More process numbers than asked for may be left for a moment, while the next are taken.
const PIDS_SLACK: u64 = 4;

pub(super) fn look(world: &World, site: &NodeSite, pressure: Pressure, undo: &Undo) -> Result<Effect, Refusal> {
    match pressure {
        Pressure::Cpu { workers } => cpu(world, site, workers),
        Pressure::Memory { bytes } => memory(site, bytes, undo),
        Pressure::Io { workers } => io(world, site, workers),
        Pressure::Fds { .. } => Ok(fds(site, undo)),
        Pressure::Pids { spare } => pids(site, spare),
    }
}

/// What each process of the node has more of after a while; and how long that was, in nanoseconds.
fn watch<T>(world: &World, site: &NodeSite, read: impl Fn(i32) -> Option<T>) -> Result<(Vec<(T, T)>, u64), Refusal> {
    let mut before = BTreeMap::new();
    let since = clock::boottime_nanos();
    for process in world.everybody(&site.name)? {
        before.extend(read(process.pid).map(|value| ((process.pid, process.start), value)));
    }
    let _nothing: Option<()> = clock::until(WATCHED, WATCHED, || None);
    let passed = clock::boottime_nanos().saturating_sub(since);
    let mut both = Vec::new();
    for process in world.everybody(&site.name)? {
        let pair = before.remove(&(process.pid, process.start)).zip(read(process.pid));
        both.extend(pair);
    }
    Ok((both, passed))
}

/// As many as asked for, some, or none.
fn by_count(found: usize, asked: u32) -> Presence {
    match u32::try_from(found).unwrap_or(u32::MAX) {
        0 => Presence::Absent,
        found if found >= asked => Presence::Full,
        _ => Presence::Partial,
    }
}

fn cpu(world: &World, site: &NodeSite, workers: u32) -> Result<Effect, Refusal> {
    let processes = world.everybody(&site.name)?;
    let ran = || processes.iter().map(|process| process::ran_nanos(process.pid)).collect::<Vec<_>>();
    let (since, before) = (clock::boottime_nanos(), ran());
    let mut looks = 0;
    let mut wanted = vec![0_u32; processes.len()];
    let _nothing: Option<()> = clock::until(WATCHED, LOOKS, || {
        looks += 1;
        for (process, wanted) in processes.iter().zip(&mut wanted) {
            *wanted += u32::from(process::wants_processor(process.pid) == Some(true));
        }
        None
    });
    let (passed, after) = (clock::boottime_nanos().saturating_sub(since), ran());
    let spins = |wanted: u32| wanted * 100 >= looks * SPINS;
    let spinning = wanted.iter().filter(|wanted| spins(**wanted)).count();
    let had = before.into_iter().zip(after).zip(&wanted).filter(|(_, wanted)| spins(**wanted));
    let had: u64 = had.filter_map(|((before, after), _)| Some(after?.saturating_sub(before?))).sum();
    let presence = if processes.is_empty() { Presence::Unknown } else { by_count(spinning, workers) };
    let evidence = format!(
        "{spinning} processes of {} wanted a processor at {SPINS}% or more of {looks} looks, and had {}% of one",
        site.name,
        (had * 100).checked_div(passed).unwrap_or(0)
    );
    Ok(Effect { presence, evidence })
}

fn io(world: &World, site: &NodeSite, workers: u32) -> Result<Effect, Refusal> {
    let (watched, passed) = watch(world, site, process::written)?;
    let grown: Vec<u64> = watched.iter().map(|(before, after)| after.saturating_sub(*before)).collect();
    let busy = grown.iter().filter(|bytes| **bytes >= WRITES).count();
    let presence = if watched.is_empty() { Presence::Unknown } else { by_count(busy, workers) };
    let evidence = format!(
        "{busy} processes of {} wrote at least {} each within {}, all together {}",
        site.name,
        Bytes(WRITES),
        firedrill_core::units::human(Duration::from_nanos(passed)),
        Bytes(grown.iter().sum())
    );
    Ok(Effect { presence, evidence })
}

fn memory(site: &NodeSite, bytes: u64, undo: &Undo) -> Result<Effect, Refusal> {
    let before: u64 = undo.saved.get(KEY_MEMORY).and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(group) = memory_group(site) else {
        let evidence = format!("{} has no control group that counts its memory", site.name);
        return Ok(Effect { presence: Presence::Unknown, evidence });
    };
    let memory = group.memory().map_err(|error| Refusal::system(format!("memory of {}", site.name), &error))?;
    let grown = memory.kept.saturating_sub(before);
    let presence = match grown {
        grown if grown >= bytes / 10 * 8 => Presence::Full,
        grown if grown <= bytes / 10 * 2 => Presence::Absent,
        _ => Presence::Partial,
    };
    let evidence = format!(
        "{} keeps {} of memory, {} more than before, of {}",
        site.name,
        Bytes(memory.kept),
        Bytes(grown),
        Bytes(memory.limit)
    );
    Ok(Effect { presence, evidence })
}

fn pids(site: &NodeSite, spare: u64) -> Result<Effect, Refusal> {
    let free = pids_group(site)?.free_pids();
    let free = free.map_err(|error| Refusal::system(format!("process numbers of {}", site.name), &error))?;
    let presence = if free <= spare + PIDS_SLACK { Presence::Full } else { Presence::Absent };
    Ok(Effect { presence, evidence: format!("{} may start {free} processes or threads more", site.name) })
}

fn fds(site: &NodeSite, undo: &Undo) -> Effect {
    let known: Vec<_> = limits(undo).into_iter().flat_map(|(_, limits)| limits).collect();
    let mut limited = 0;
    let mut least = u64::MAX;
    for Lowered { process, from, .. } in &known {
        let (Ok(limit), Ok(open)) = (press::file_limit(process.pid), press::open_files(process.pid)) else { continue };
        limited += usize::from(limit.soft < *from);
        least = least.min(limit.soft.saturating_sub(open));
    }
    let presence = match limited {
        0 if known.is_empty() => Presence::Unknown,
        0 => Presence::Absent,
        limited if limited == known.len() => Presence::Full,
        _ => Presence::Partial,
    };
    let left = undo.saved.keys().filter(|key| key.starts_with(KEY_FILES)).count();
    let evidence = format!(
        "{limited} of {} processes of {} ({left} at the onset) may open fewer files than before, one only {least} more",
        known.len(),
        site.name
    );
    Effect { presence, evidence }
}
