//! Transactions that read and overwrite registers with unique values.
//!
//! A register shows no order of its versions, so it is inferred: the initial version is before every other, and, when
//! asked for, a transaction that read a version and wrote another replaced the one by the other (`wfr`), and each
//! process, or real time, meets the versions of a key in order. Keys whose order is not known entirely are counted.

use super::Options;
use super::anomaly::Anomaly;
use super::findings::Findings;
use super::graph::{Edges, RW, WR, WW, at, components, id};
use super::ops::{Mop, NONE, Transactions};
use super::versions::{Order, Touch, Why};
use crate::limits::{Stop, Watch};

/// So many transactions that met versions in a cycle are told of.
const SHOWN: usize = 8;

/// What was inferred of the keys.
#[derive(Debug)]
pub(super) struct Orders {
    /// Version before version, and why.
    before: Vec<(u32, u32, Why)>,
    /// How many keys have versions of which it is not known which was first.
    pub(super) unknown_keys: usize,
    /// How many reads returned a value that nobody wrote.
    pub(super) garbage_reads: usize,
}

/// Finds what single reads show, and adds the dependencies.
pub(super) fn infer(
    all: &mut Transactions,
    effective: &[bool],
    options: &Options,
    edges: &mut Edges,
    findings: &mut Findings,
    watch: &mut Watch<'_>,
) -> Result<Orders, Stop> {
    let initial: Vec<u32> = (0..id(all.key_count())).map(|key| all.initial(key)).collect();
    let all = &*all;
    let mut readers: Vec<(u32, u32)> = Vec::new();
    let mut touches: Vec<Touch> = Vec::new();
    let mut replaced: Vec<(u32, u32, u32)> = Vec::new();
    let mut garbage_reads = 0;
    for (txn, _) in (0..).zip(effective).filter(|(_, effective)| **effective) {
        watch.spend(all.mops_of(txn).len() + 1)?;
        internal(all, txn, findings);
        for mop in all.mops_of(txn) {
            if let Mop::Read { key, version } = mop {
                garbage_reads += usize::from(read_alone(all, txn, *key, *version, &initial, findings));
            }
        }
        for touch in touched(all, txn) {
            if let Some(read) = touch.read {
                readers.push((read, txn));
                let of = &all.versions[at(read)];
                if of.writer != NONE && !of.intermediate {
                    edges.add(of.writer, txn, WR);
                }
                if touch.written.is_some() {
                    replaced.push((touch.key, read, txn));
                }
            }
            touches.push(touch);
        }
    }
    super::append::lost_updates(all, replaced, findings);
    readers.sort_unstable();
    readers.dedup();
    touches.sort_by_key(|touch| touch.key);
    let mut orders = Orders { before: Vec::new(), unknown_keys: 0, garbage_reads };
    for of_key in touches.chunk_by(|a, b| a.key == b.key) {
        watch.spend(of_key.len())?;
        let key = of_key[0].key;
        let order = Order::infer(all, of_key, initial[at(key)], options);
        if let Some(cycle) = order.cycle() {
            let is_in = |version: Option<u32>| version.is_some_and(|version| cycle.contains(&version));
            let mut met: Vec<&Touch> =
                of_key.iter().filter(|touch| is_in(touch.read) || is_in(touch.written)).collect();
            // Those that met two of them first.
            met.sort_by_key(|touch| !(is_in(touch.read) && is_in(touch.written)));
            let txns: Vec<u32> = met.iter().take(SHOWN).map(|touch| touch.txn).collect();
            findings.add(all, Anomaly::CyclicVersions, &txns, || {
                let values: Vec<String> = cycle.iter().map(|version| all.value(*version).to_string()).collect();
                vec![format!("the versions {} of key {} precede each other", values.join(", "), all.key_name(key))]
            });
            orders.unknown_keys += 1;
            continue;
        }
        orders.unknown_keys += usize::from(!order.is_total());
        depend(all, effective, &order, &readers, edges);
        orders.before.extend(order.into_edges());
    }
    orders.before.sort_unstable();
    Ok(orders)
}

/// What a transaction did to each key: the first version it read before writing, and the last it wrote.
fn touched(all: &Transactions, txn: u32) -> Vec<Touch> {
    let mut touches: Vec<Touch> = Vec::new();
    for mop in all.mops_of(txn) {
        let key = mop.key();
        let place = touches.iter().position(|touch| touch.key == key).unwrap_or_else(|| {
            touches.push(Touch { key, txn, read: None, written: None });
            touches.len() - 1
        });
        let touch = &mut touches[place];
        match mop {
            Mop::Write { version, .. } => touch.written = Some(*version),
            Mop::Read { version, .. } if touch.written.is_none() && touch.read.is_none() => {
                touch.read = Some(*version);
            }
            Mop::Read { .. } | Mop::ReadList { .. } => {}
        }
    }
    touches
}

/// What one read shows by itself: aborted and intermediate values. Whether nobody wrote the value.
fn read_alone(all: &Transactions, txn: u32, key: u32, version: u32, initial: &[u32], findings: &mut Findings) -> bool {
    let of = &all.versions[at(version)];
    let (name, value) = (all.key_name(key), all.value(version));
    if version == initial[at(key)] {
        return false;
    }
    if of.writer == NONE && of.aborted != NONE {
        findings.add(all, Anomaly::G1a, &[of.aborted, txn], || {
            vec![format!("T2 read {value} of key {name}, and T1, which wrote it, aborted")]
        });
    } else if of.writer == NONE {
        findings.add(all, Anomaly::GarbageRead, &[txn], || {
            vec![format!("T1 read {value} of key {name}, and nobody wrote it")]
        });
        return true;
    } else if of.intermediate && of.writer != txn {
        findings.add(all, Anomaly::G1b, &[of.writer, txn], || {
            vec![format!("T2 read {value} of key {name}, and T1, which wrote it, wrote another value after it")]
        });
    }
    false
}

/// Whether a transaction reads what its own operations say.
fn internal(all: &Transactions, txn: u32, findings: &mut Findings) {
    let mut known: Vec<(u32, u32)> = Vec::new();
    for mop in all.mops_of(txn) {
        let (Mop::Read { key, version } | Mop::Write { key, version }) = mop else { continue };
        let is_read = matches!(mop, Mop::Read { .. });
        if let Some((_, last)) = known.iter_mut().find(|(of, _)| of == key) {
            if is_read && last != version {
                let (name, expected, found) = (all.key_name(*key), all.value(*last), all.value(*version));
                findings.add(all, Anomaly::Internal, &[txn], || {
                    vec![format!("T1 read {found} of key {name} where its own operations before it make it {expected}")]
                });
            }
            *last = *version;
        } else {
            // Elle has no name for it: no order of transactions explains it, and no other transaction is part of it.
            if is_read && all.versions[at(*version)].writer == txn {
                let (name, found) = (all.key_name(*key), all.value(*version));
                findings.add(all, Anomaly::Internal, &[txn], || {
                    vec![format!("T1 read {found} of key {name}, and wrote it only afterwards")]
                });
            }
            known.push((*key, *version));
        }
    }
}

/// Dependencies between transactions from the order of the versions of a key.
fn depend(all: &Transactions, effective: &[bool], order: &Order, readers: &[(u32, u32)], edges: &mut Edges) {
    for (place, version) in order.versions().iter().enumerate() {
        let mut next: Vec<u32> = order
            .next_where(place, |next| all.writer(next, effective) != NONE)
            .into_iter()
            .map(|next| all.writer(next, effective))
            .collect();
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            continue;
        }
        let writer = all.writer(*version, effective);
        if writer != NONE {
            edges.fan(&[writer], &next, WW);
        }
        let start = readers.partition_point(|(of, _)| of < version);
        let sources: Vec<u32> =
            readers[start..].iter().take_while(|(of, _)| of == version).map(|(_, txn)| *txn).collect();
        if !sources.is_empty() {
            edges.fan(&sources, &next, RW);
        }
    }
}

impl Orders {
    /// Why transaction `a`, called `from`, precedes `b`, called `to`, by this relation.
    pub(super) fn why(&self, all: &Transactions, (a, b): (u32, u32), relation: u8, names: (&str, &str)) -> String {
        let (from, to) = names;
        let (first, second) = (touched(all, a), touched(all, b));
        let pairs = || {
            first
                .iter()
                .flat_map(|x| second.iter().filter(|y| x.key == y.key).map(move |y| (all.key_name(x.key), x, y)))
        };
        let why = |x: u32, y: u32| {
            let place = self.before.partition_point(|(from, to, _)| (*from, *to) < (x, y));
            let known = self.before.get(place).filter(|(from, to, _)| (*from, *to) == (x, y));
            known.map(|(_, _, why)| why.words()).unwrap_or_default()
        };
        let replaced = |x: Option<u32>, y: Option<u32>| x.zip(y).filter(|(x, y)| x != y);
        let found = match relation {
            WW => pairs().find_map(|(key, x, y)| {
                let (x, y) = replaced(x.written, y.written)?;
                let (before, after) = (all.value(x), all.value(y));
                Some(format!("{to} wrote {after} to key {key} after {from} wrote {before}{}", why(x, y)))
            }),
            WR => pairs().find_map(|(key, x, y)| {
                let version = x.written.filter(|written| y.read == Some(*written))?;
                Some(format!("{to} read {} of key {key}, which {from} wrote", all.value(version)))
            }),
            RW => pairs().find_map(|(key, x, y)| {
                let (x, y) = replaced(x.read, y.written)?;
                let (before, after) = (all.value(x), all.value(y));
                Some(format!("{from} read {before} of key {key}, which {to} replaced by {after}{}", why(x, y)))
            }),
            _ => None,
        };
        found.unwrap_or_else(|| format!("{from} precedes {to}"))
    }
}

/// Of a graph of `nodes` nodes with these edges, the first component of several nodes.
pub(super) fn cyclic(nodes: usize, rows: &[Vec<u32>]) -> Option<Vec<usize>> {
    let component = components(nodes, &mut Watch::unlimited(), |node, cursor| {
        let next = rows[at(node)].get(at(*cursor)).copied();
        *cursor += 1;
        next
    })
    .ok()?;
    let mut sizes = vec![0_u32; nodes];
    for of in &component {
        sizes[at(*of)] += 1;
    }
    let found = sizes.iter().position(|size| *size > 1)?;
    Some((0..nodes).filter(|node| at(component[*node]) == found).collect())
}
