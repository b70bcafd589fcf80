//! Parts of a history that should show what a witness of it shows.

use std::collections::BTreeSet;

use super::registers::{Mop, Registers};
use super::report::{Anomaly, Report, Witness};
use super::{Level, conclude};
use crate::evidence::{self, Evidence, Member, Part, Shown};
use crate::history::{Format, Loaded, Value};
use crate::intern::{NONE, at, id};
use crate::limits::{Stop, Watch};

/// The largest part in which everything that met some keys is tried.
const LARGEST: usize = 4096;

/// A history and what is asked of it.
pub(super) struct Asked<'a> {
    pub(super) all: &'a Registers,
    pub(super) format: Format,
    pub(super) levels: &'a [Level],
    /// Where lines are, when it was read as operations.
    pub(super) history: Option<&'a Loaded>,
}

impl Asked<'_> {
    /// Of each anomaly that was found the smallest part that shows it, as far as limits allow.
    pub(super) fn evidence(&self, report: &Report, watch: &mut Watch<'_>) -> Vec<Evidence> {
        evidence::of_each(&report.anomalies, &report.witnesses, |of| of.anomaly, |witness| self.of(witness, watch))
    }

    fn of(&self, witness: &Witness, watch: &mut Watch<'_>) -> Result<Option<Evidence>, Stop> {
        let told: BTreeSet<u32> = witness.numbers.iter().copied().filter(|txn| *txn < self.all.initial()).collect();
        let with_writers = self.with_writers(&told);
        let all = self.all_that_met(&with_writers, watch)?;
        let parts = [told, with_writers, all];
        let mut parts = parts.iter().map(|chosen| Ok(self.part(chosen, witness.anomaly)));
        let shown = |history: &Loaded| self.shown(history, witness.anomaly);
        evidence::evidence(&witness.anomaly.name(), self.all.txns.len(), &mut parts, &shown, watch)
    }

    /// The anomaly as a part shows it.
    fn shown(&self, history: &Loaded, anomaly: Anomaly) -> Option<Shown> {
        let mut watch = Watch::unlimited();
        let concluded = conclude(Registers::read(history, &mut watch), self.levels, &mut watch).ok()?;
        let witness = concluded.report.witnesses.into_iter().find(|witness| witness.anomaly == anomaly)?;
        let transactions = witness.transactions.into_iter().map(|shown| shown.place).collect();
        Some(Shown { transactions, relations: witness.relations, reasons: witness.reasons })
    }

    /// With those that wrote what they read.
    fn with_writers(&self, chosen: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mops = chosen.iter().flat_map(|txn| self.all.mops_of(*txn));
        let writers = mops.map(|mop| self.all.versions[at(mop.version)].writer);
        chosen.iter().copied().chain(writers.filter(|writer| *writer < self.all.initial())).collect()
    }

    /// With all that met a key of theirs, up to a number.
    fn all_that_met(&self, chosen: &BTreeSet<u32>, watch: &mut Watch<'_>) -> Result<BTreeSet<u32>, Stop> {
        let keys: BTreeSet<u32> = chosen.iter().flat_map(|txn| self.all.mops_of(*txn)).map(|mop| mop.key()).collect();
        let mut all = chosen.clone();
        for txn in 0..id(self.all.txns.len()) {
            let mops = self.all.mops_of(txn);
            watch.spend(mops.len() + 1)?;
            if all.len() < LARGEST && mops.iter().any(|mop| keys.contains(&mop.key())) {
                all.insert(txn);
            }
        }
        Ok(all)
    }

    /// These transactions, without what others wrote.
    fn part(&self, chosen: &BTreeSet<u32>, anomaly: Anomaly) -> Part {
        let member = |txn: &u32| {
            let of = &self.all.txns[at(*txn)];
            let all = self.all.mops_of(*txn);
            let mops: Vec<evidence::Mop> = all.iter().filter_map(|mop| self.mop(*mop, chosen, anomaly)).collect();
            let end = at(of.line);
            let begin = self.history.and_then(|history| history.ops.get(at(of.begins))).map_or(end, |op| op.line);
            Member {
                process: self.all.sessions[at(of.session)].0,
                outcome: of.outcome,
                begins: (at(of.begins), begin),
                ends: (of.ends != NONE).then(|| (at(of.ends), end)),
                left_out: all.len() - mops.len(),
                mops,
            }
        };
        Part { write: "w", format: self.format, members: chosen.iter().map(member).collect() }
    }

    fn mop(&self, mop: Mop, chosen: &BTreeSet<u32>, anomaly: Anomaly) -> Option<evidence::Mop> {
        let writer = self.all.versions[at(mop.version)].writer;
        let is_initial = writer == self.all.initial();
        let is_garbage = writer == NONE && anomaly == Anomaly::GarbageRead;
        let is_there = mop.is_write() || is_initial || is_garbage || chosen.contains(&writer);
        let value = if is_initial { Value::Nil } else { self.all.value(mop.version) };
        is_there.then(|| evidence::Mop { is_write: mop.is_write(), key: self.all.key_name(mop.key()), value })
    }
}
