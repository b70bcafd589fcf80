//! Parts of a history that should show what a witness of it shows.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Witness;
use super::graph::{at, id};
use super::ops::{Mop, NONE, Transactions, Version};
use super::{Anomaly, Model, Options, Report, conclude};
use crate::evidence::{self, Evidence, Member, Part, Shown};
use crate::history::{Format, Loaded, Value};
use crate::limits::{Stop, Watch};

/// So many elements at the end of a list that was read are looked at; and so many transactions of a version.
const LOOKED_AT: usize = 64;
/// The largest part in which everything that met some keys is tried.
const LARGEST: usize = 4096;
/// How far parts are widened.
const WIDEST: usize = 3;

/// A history and what is asked of it.
pub(super) struct Asked<'a> {
    pub(super) all: &'a Transactions,
    pub(super) format: Format,
    pub(super) model: Model,
    pub(super) options: &'a Options,
    /// The line of an event.
    pub(super) line: &'a dyn Fn(usize) -> usize,
}

impl Asked<'_> {
    /// Of each anomaly that was found the smallest part that shows it, as far as limits allow.
    pub(super) fn evidence(&self, report: &Report, watch: &mut Watch<'_>) -> Vec<Evidence> {
        evidence::of_each(&report.anomalies, &report.witnesses, |of| of.anomaly, |witness| self.of(witness, watch))
    }

    fn of(&self, witness: &Witness, watch: &mut Watch<'_>) -> Result<Option<Evidence>, Stop> {
        let mut parts = Vec::new();
        let mut chosen: BTreeSet<u32> = witness.numbers.iter().copied().collect();
        for width in 0..=WIDEST {
            let wider = self.wider(&chosen, width, watch)?;
            if width == 0 || wider.len() > chosen.len() {
                parts.push(Ok(self.part(&wider, witness.anomaly)));
            }
            if width < WIDEST {
                chosen = wider;
            }
        }
        // What orders the versions of a key can be anywhere.
        let everything = (0..id(self.all.txns.len())).filter(|_| self.all.txns.len() <= LARGEST);
        let whole = std::iter::once_with(|| Ok(self.part(&everything.collect(), witness.anomaly)));
        let shown = |history: &Loaded| self.shown(history, witness.anomaly);
        evidence::evidence(
            witness.anomaly.name(),
            self.all.txns.len(),
            &mut parts.into_iter().chain(whole),
            &shown,
            watch,
        )
    }

    /// The anomaly as a part shows it.
    fn shown(&self, history: &Loaded, anomaly: Anomaly) -> Option<Shown> {
        let mut watch = Watch::unlimited();
        let read = Transactions::read(history, self.model, &mut watch);
        let concluded = conclude(read, self.format.has_realtime(), self.model, self.options, &mut watch).ok()?;
        let witness = concluded.report.witnesses.into_iter().find(|witness| witness.anomaly == anomaly)?;
        let transactions = witness.transactions.into_iter().map(Some).collect();
        Some(Shown { transactions, relations: witness.relations, reasons: witness.reasons })
    }

    /// These transactions and some that may be needed beside them: those that read most of their keys, those that wrote what
    /// they read, and at last all that met their keys.
    fn wider(&self, chosen: &BTreeSet<u32>, width: usize, watch: &mut Watch<'_>) -> Result<BTreeSet<u32>, Stop> {
        let mut wider = chosen.clone();
        match (width, self.model) {
            (0, _) => {}
            (1, Model::ListAppend) => wider.extend(self.longest(&self.keys(chosen), watch)?),
            (1, Model::RwRegister) => wider.extend(self.met(&self.versions(chosen), watch)?),
            (2, _) => {
                for version in self.versions(chosen) {
                    let Version { writer, aborted, .. } = self.all.versions[at(version)];
                    wider.extend([writer, aborted].into_iter().filter(|txn| *txn != NONE));
                }
            }
            _ => {
                let keys = self.keys(chosen);
                for txn in 0..id(self.all.txns.len()) {
                    let mops = self.all.mops_of(txn);
                    watch.spend(mops.len() + 1)?;
                    if wider.len() < LARGEST && mops.iter().any(|mop| keys.contains(&mop.key())) {
                        wider.insert(txn);
                    }
                }
            }
        }
        Ok(wider)
    }

    fn keys(&self, chosen: &BTreeSet<u32>) -> BTreeSet<u32> {
        chosen.iter().flat_map(|txn| self.all.mops_of(*txn)).map(Mop::key).collect()
    }

    /// What transactions wrote and read. Of a long list the end, what it has twice, and where it is first unlike the longest.
    fn versions(&self, chosen: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut versions = BTreeSet::new();
        for mop in chosen.iter().flat_map(|txn| self.all.mops_of(*txn)) {
            match mop {
                Mop::Write { version, .. } | Mop::Read { version, .. } => {
                    versions.insert(*version);
                }
                Mop::ReadList { key, elements } => {
                    let (row, longest) = (self.all.list(elements), self.all.list(&self.all.longest(at(*key))));
                    versions.extend(&row[row.len().saturating_sub(LOOKED_AT)..]);
                    if let Some(place) = (0..row.len()).find(|place| longest.get(*place) != row.get(*place)) {
                        versions.extend(row.get(place).into_iter().chain(longest.get(place)));
                    }
                    let mut seen = BTreeSet::new();
                    versions.extend(row.iter().filter(|version| !seen.insert(**version)));
                }
            }
        }
        versions
    }

    /// Of each key a transaction that read the longest list.
    fn longest(&self, keys: &BTreeSet<u32>, watch: &mut Watch<'_>) -> Result<Vec<u32>, Stop> {
        let mut found: BTreeMap<u32, (usize, u32)> = BTreeMap::new();
        for txn in self.all.committed() {
            let mops = self.all.mops_of(txn);
            watch.spend(mops.len() + 1)?;
            for mop in mops {
                let Mop::ReadList { key, elements } = mop else { continue };
                if keys.contains(key) {
                    let best = found.entry(*key).or_insert((0, txn));
                    *best = (elements.len(), txn).max(*best);
                }
            }
        }
        Ok(found.into_values().map(|(_, txn)| txn).collect())
    }

    /// Of each version some transactions that met it, among them the first to end and the last to begin.
    fn met(&self, versions: &BTreeSet<u32>, watch: &mut Watch<'_>) -> Result<BTreeSet<u32>, Stop> {
        let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for txn in 0..id(self.all.txns.len()) {
            let mops = self.all.mops_of(txn);
            watch.spend(mops.len() + 1)?;
            for mop in mops {
                if let Mop::Read { version, .. } | Mop::Write { version, .. } = mop
                    && versions.contains(version)
                {
                    by_version.entry(*version).or_default().push(txn);
                }
            }
        }
        let mut met = BTreeSet::new();
        for txns in by_version.values() {
            let of = |txn: &&u32| &self.all.txns[at(**txn)];
            met.extend(txns.iter().min_by_key(|txn| of(txn).ends));
            met.extend(txns.iter().max_by_key(|txn| of(txn).begins));
            met.extend(txns.iter().take(LOOKED_AT));
        }
        Ok(met)
    }

    /// These transactions, without what others wrote.
    fn part(&self, chosen: &BTreeSet<u32>, anomaly: Anomaly) -> Part {
        let member = |txn: &u32| {
            let of = &self.all.txns[at(*txn)];
            let all = self.all.mops_of(*txn);
            let mops: Vec<evidence::Mop> = all.iter().filter_map(|mop| self.mop(mop, chosen, anomaly)).collect();
            let event = |place: u32| (at(place), (self.line)(at(place)));
            Member {
                process: of.process,
                outcome: of.outcome,
                begins: event(of.begins),
                ends: (of.ends != NONE).then(|| event(of.ends)),
                left_out: all.len() - mops.len(),
                mops,
            }
        };
        let write = match self.model {
            Model::ListAppend => "append",
            Model::RwRegister => "w",
        };
        Part { write, format: self.format, members: chosen.iter().map(member).collect() }
    }

    fn mop(&self, mop: &Mop, chosen: &BTreeSet<u32>, anomaly: Anomaly) -> Option<evidence::Mop> {
        let is_there = |version: u32| {
            let Version { writer, aborted, .. } = self.all.versions[at(version)];
            let is_unwritten = writer == NONE && aborted == NONE;
            chosen.contains(&writer) || chosen.contains(&aborted) || (is_unwritten && anomaly == Anomaly::GarbageRead)
        };
        let key = self.all.key_name(mop.key());
        let value = |version: u32| self.all.value(version);
        let (is_write, value) = match mop {
            Mop::Write { version, .. } => (true, value(*version)),
            Mop::Read { version, .. } if value(*version).is_nil() => (false, Value::Nil),
            Mop::Read { version, .. } if is_there(*version) => (false, value(*version)),
            Mop::Read { .. } => return None,
            Mop::ReadList { elements, .. } => {
                let row = self.all.list(elements).iter().copied().filter(|version| is_there(*version));
                (false, Value::List(row.map(value).collect()))
            }
        };
        Some(evidence::Mop { is_write, key, value })
    }
}
