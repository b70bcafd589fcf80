//! Transactions that read lists and append unique elements to them.
//!
//! The longest read of a key gives the order of its versions; whatever was appended and never read comes after it. The
//! inference is that of Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations"
//! (VLDB 2020).

use std::borrow::Cow;

use super::anomaly::Anomaly;
use super::findings::Findings;
use super::graph::{Edges, RW, WR, WW, at, id};
use super::ops::{Mop, NONE, Transactions};
use crate::limits::{Stop, Watch};

/// The versions of each key.
#[derive(Debug)]
pub(super) struct Orders {
    /// Of each key, in order, as its longest read has them.
    read: Vec<Vec<u32>>,
    /// Of each key, what was appended and never read.
    unread: Vec<Vec<u32>>,
    /// Of each version its place among those read, or [`NONE`].
    places: Vec<u32>,
}

/// Finds what single reads show, and adds the dependencies.
pub(super) fn infer(
    all: &Transactions,
    effective: &[bool],
    edges: &mut Edges,
    findings: &mut Findings,
    watch: &mut Watch<'_>,
) -> Result<Orders, Stop> {
    let mut seen = vec![NONE; all.versions.len()];
    let orders = orders(all, effective, &mut seen);
    seen.fill(NONE);
    let mut readers: Vec<Vec<u32>> = vec![Vec::new(); all.key_count()];
    let mut replaced: Vec<(u32, u32, u32)> = Vec::new();
    let mut marks = 0;
    // Of each key the elements that are sound in the longest list, so that lists like it need no look at each element.
    let is_sound = |version: &&u32| all.versions[at(**version)].writer != NONE;
    let sound: Vec<usize> =
        (0..all.key_count()).map(|key| all.list(&all.longest(key)).iter().take_while(is_sound).count()).collect();
    for txn in all.committed() {
        let mops = all.mops_of(txn);
        watch.spend(mops.len() + 1)?;
        internal(all, txn, findings);
        for (number, mop) in mops.iter().enumerate() {
            let Mop::ReadList { key, elements } = mop else { continue };
            let row = all.list(elements);
            let order = &orders.read[at(*key)];
            let is_sound = elements.start == all.longest(at(*key)).start && row.len() <= sound[at(*key)];
            read_alone(all, txn, *key, (row, is_sound), findings);
            let distinct = if order.get(..row.len()) == Some(row) {
                Cow::Borrowed(row)
            } else {
                marks += 1;
                Cow::Owned(distinct(row, &mut seen, marks))
            };
            if distinct.len() < row.len() {
                findings.add(all, Anomaly::DuplicateElements, &[txn], || {
                    vec![format!("T1 read key {} as {}, with an element twice", all.key_name(*key), shown(all, row))]
                });
            }
            if order.get(..distinct.len()) != Some(&distinct[..]) {
                findings.add(all, Anomaly::IncompatibleOrder, &[txn], || {
                    let (key, row, order) = (all.key_name(*key), shown(all, row), shown(all, order));
                    vec![format!("T1 read key {key} as {row}; another read is {order}: none is a prefix of the other")]
                });
                continue;
            }
            if mops[..number].iter().any(|before| matches!(before, Mop::Write { key: of, .. } if of == key)) {
                continue;
            }
            if let Some(last) = distinct.last() {
                let writer = all.writer(*last, effective);
                if writer != NONE {
                    edges.add(writer, txn, WR);
                }
            }
            let next = order[distinct.len()..].iter().map(|next| all.writer(*next, effective)).find(|w| *w != NONE);
            match next {
                Some(next) => edges.add(txn, next, RW),
                None => readers[at(*key)].push(txn),
            }
            let is_first = !mops[..number].iter().any(|before| before.key() == *key);
            if is_first && mops[number..].iter().any(|after| matches!(after, Mop::Write { key: of, .. } if of == key)) {
                replaced.push((*key, distinct.last().copied().unwrap_or(NONE), txn));
            }
        }
    }
    lost_updates(all, replaced, findings);
    for (key, readers) in readers.iter_mut().enumerate() {
        watch.spend(orders.read[key].len() + 1)?;
        readers.dedup();
        writes(all, effective, &orders.read[key], &orders.unread[key], readers, edges);
    }
    dirty_updates(all, &orders, findings);
    Ok(orders)
}

/// The longest read of each key, and what nobody read.
fn orders(all: &Transactions, effective: &[bool], seen: &mut [u32]) -> Orders {
    let read: Vec<Vec<u32>> =
        (0..all.key_count()).map(|key| distinct(all.list(&all.longest(key)), seen, id(key))).collect();
    let mut places = vec![NONE; all.versions.len()];
    for order in &read {
        for (place, version) in order.iter().enumerate() {
            places[at(*version)] = id(place);
        }
    }
    let mut unread: Vec<Vec<u32>> = vec![Vec::new(); all.key_count()];
    for (version, of) in all.versions.iter().enumerate() {
        if places[version] == NONE && all.writer(id(version), effective) != NONE {
            unread[at(of.key)].push(id(version));
        }
    }
    Orders { read, unread, places }
}

/// A row without repetitions: the first of each stays. `mark` is the row's own.
fn distinct(row: &[u32], seen: &mut [u32], mark: u32) -> Vec<u32> {
    row.iter().copied().filter(|version| std::mem::replace(&mut seen[at(*version)], mark) != mark).collect()
}

/// What one read shows by itself: aborted, intermediate and garbage elements.
fn read_alone(all: &Transactions, txn: u32, key: u32, (row, is_sound): (&[u32], bool), findings: &mut Findings) {
    let to_look_at = if is_sound { &[] } else { row };
    for version in to_look_at {
        let of = &all.versions[at(*version)];
        if of.writer != NONE {
            continue;
        }
        let (name, value) = (all.key_name(key), all.value(*version));
        if of.aborted == NONE {
            findings.add(all, Anomaly::GarbageRead, &[txn], || {
                vec![format!("T1 read {value} in key {name}, and nobody appended it")]
            });
        } else {
            findings.add(all, Anomaly::G1a, &[of.aborted, txn], || {
                vec![format!("T2 read {value} in key {name}, and T1, which appended it, aborted")]
            });
        }
    }
    let Some((number, last)) = row.last().map(|version| (*version, &all.versions[at(*version)])) else { return };
    if last.intermediate && last.writer != txn && last.writer != NONE {
        findings.add(all, Anomaly::G1b, &[last.writer, txn], || {
            let (name, value) = (all.key_name(key), all.value(number));
            vec![format!("T2 read key {name} up to {value}, and T1, which appended it, appended more")]
        });
    }
}

/// Whether a transaction reads what its own operations say.
fn internal(all: &Transactions, txn: u32, findings: &mut Findings) {
    let mops = all.mops_of(txn);
    for (number, mop) in mops.iter().enumerate() {
        let Mop::ReadList { key, elements } = mop else { continue };
        let mut own: Vec<u32> = Vec::new();
        let mut base = None;
        for before in mops[..number].iter().rev().filter(|before| before.key() == *key) {
            match before {
                Mop::Write { version, .. } => own.push(*version),
                Mop::ReadList { elements, .. } => {
                    base = Some(all.list(elements));
                    break;
                }
                Mop::Read { .. } => {}
            }
        }
        own.reverse();
        let row = all.list(elements);
        let ahead = ahead(&mops[number + 1..], *key, row, &own);
        if let Some(version) = ahead {
            findings.add(all, Anomaly::Internal, &[txn], || {
                let (name, value) = (all.key_name(*key), all.value(version));
                vec![format!("T1 read {value} in key {name}, and appended it only afterwards")]
            });
        }
        let agrees = row.ends_with(&own) && base.is_none_or(|base| row[..row.len() - own.len()] == *base);
        if !agrees {
            findings.add(all, Anomaly::Internal, &[txn], || {
                let mut expected = base.unwrap_or_default().to_vec();
                expected.extend(own);
                let start = if base.is_some() { "" } else { "something that ends with " };
                let (name, row, expected) = (all.key_name(*key), shown(all, row), shown(all, &expected));
                vec![format!("T1 read key {name} as {row} where its own operations make it {start}{expected}")]
            });
        }
    }
}

/// An element of a read that its own transaction appends only afterwards. Elle has no name for it: no order of transactions
/// explains it, and no other transaction is part of it.
fn ahead(after: &[Mop], key: u32, row: &[u32], own: &[u32]) -> Option<u32> {
    let later = after.iter().filter_map(|mop| match mop {
        Mop::Write { key: of, version } if *of == key => Some(*version),
        Mop::Write { .. } | Mop::Read { .. } | Mop::ReadList { .. } => None,
    });
    later.filter(|version| !own.contains(version)).find(|version| row.contains(version))
}

/// Transactions that read the same version of a key and then wrote the key: `(key, version, transaction)`.
pub(super) fn lost_updates(all: &Transactions, mut replaced: Vec<(u32, u32, u32)>, findings: &mut Findings) {
    replaced.sort_unstable();
    for group in replaced.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|group| group.len() > 1) {
        let txns: Vec<u32> = group.iter().map(|(_, _, txn)| *txn).take(4).collect();
        let (key, version, _) = group[0];
        findings.add(all, Anomaly::LostUpdate, &txns, || {
            let last = if version == NONE { "empty".to_owned() } else { format!("at {}", all.value(version)) };
            vec![format!("{} transactions read key {} {last} and then wrote it", group.len(), all.key_name(key))]
        });
    }
}

/// Dependencies between the writers of a key, and of the readers of its last version on what nobody read.
fn writes(
    all: &Transactions,
    effective: &[bool],
    read: &[u32],
    unread: &[u32],
    readers: &mut Vec<u32>,
    edges: &mut Edges,
) {
    let mut last = NONE;
    for version in read {
        let writer = all.writer(*version, effective);
        if writer != NONE {
            if last != NONE {
                edges.add(last, writer, WW);
            }
            last = writer;
        }
    }
    let mut after: Vec<u32> = unread.iter().map(|version| all.writer(*version, effective)).collect();
    after.sort_unstable();
    after.dedup();
    if last != NONE {
        edges.fan(&[last], &after, WW);
    }
    readers.sort_unstable();
    readers.dedup();
    if !readers.is_empty() && !after.is_empty() {
        edges.fan(readers, &after, RW);
    }
}

/// Committed elements on top of aborted ones.
fn dirty_updates(all: &Transactions, orders: &Orders, findings: &mut Findings) {
    for order in &orders.read {
        let mut below = None;
        for version in order {
            let of = &all.versions[at(*version)];
            if of.writer == NONE && of.aborted != NONE {
                below = Some(version);
            } else if let Some(below) = below
                && of.writer != NONE
            {
                let aborted = &all.versions[at(*below)];
                findings.add(all, Anomaly::DirtyUpdate, &[aborted.aborted, of.writer], || {
                    let (name, value, below) = (all.key_name(of.key), all.value(*version), all.value(*below));
                    vec![format!("T2 appended {value} to key {name} after {below} of T1, which aborted")]
                });
                break;
            }
        }
    }
}

/// A list as EDN; of a long one the end.
fn shown(all: &Transactions, row: &[u32]) -> String {
    const SHOWN: usize = 12;
    let skipped = row.len().saturating_sub(SHOWN);
    let values: Vec<String> = row[skipped..].iter().map(|version| all.value(*version).to_string()).collect();
    format!("[{}{}]", if skipped == 0 { "" } else { "… " }, values.join(" "))
}

impl Orders {
    /// Why transaction `a`, called `from`, precedes `b`, called `to`, by this relation.
    pub(super) fn why(&self, all: &Transactions, (a, b): (u32, u32), relation: u8, names: (&str, &str)) -> String {
        let (from, to) = names;
        let writes = |txn: u32| {
            all.mops_of(txn).iter().filter_map(|mop| match mop {
                Mop::Write { key, version } => Some((*key, *version)),
                Mop::Read { .. } | Mop::ReadList { .. } => None,
            })
        };
        let reads = |txn: u32| {
            all.mops_of(txn).iter().filter_map(|mop| match mop {
                Mop::ReadList { key, elements } => Some((*key, all.list(elements))),
                Mop::Read { .. } | Mop::Write { .. } => None,
            })
        };
        let place = |version: u32| self.places[at(version)];
        let name = |key: u32| all.key_name(key);
        let value = |version: u32| all.value(version);
        let found = match relation {
            WW => writes(a).find_map(|(key, x)| {
                let (_, y) = writes(b).find(|(of, y)| *of == key && place(x) < place(*y))?;
                Some(format!("{to} appended {} to key {} after {from} appended {}", value(y), name(key), value(x)))
            }),
            WR => reads(b).find_map(|(key, row)| {
                let (_, x) = writes(a).find(|(_, x)| row.last() == Some(x))?;
                Some(format!("{to} read {} in key {}, which {from} appended", value(x), name(key)))
            }),
            RW => reads(a).find_map(|(key, row)| {
                let (_, y) = writes(b).find(|(of, y)| *of == key && !row.contains(y))?;
                Some(format!("{from} read key {} without {}, which {to} appended", name(key), value(y)))
            }),
            _ => None,
        };
        found.unwrap_or_else(|| format!("{from} precedes {to}"))
    }
}
