//! Weak isolation of registers with unique writes: read committed, read atomic and causal consistency, as axioms.
//!
//! Unlike [`crate::txn`], nothing is inferred of the order of versions but what the axioms demand, and the answer is
//! exact: a level holds if and only if what it demands of the commit order has no cycle. The algorithms are those of
//! "AWDIT: An Optimal Weak Database Isolation Tester" (PLDI 2025, arXiv 2504.06975). Added here: aborted transactions, of
//! which nothing may be read; transactions of unknown outcome, whose writes count once somebody read one; and real time.
//!
//! ```
//! use firedrill_check::limits::Watch;
//! use firedrill_check::weak::{Level, Verdict, judge};
//!
//! // Session 1 sees the second write of session 0, and then not the first.
//! let text = "w(1,1,0,0)\nw(2,1,0,1)\nr(2,1,1,2)\nr(1,0,1,3)\n";
//! let report = judge(text, &Level::ALL[..3], &mut Watch::unlimited())?;
//! assert_eq!(report.verdict, Verdict::Violated);
//! assert_eq!(report.violates.iter().map(|level| level.name()).collect::<Vec<_>>(), ["cc"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod causal;
mod cycle;
#[cfg(test)]
mod definition;
mod graph;
mod infer;
mod levels;
mod part;
#[cfg(test)]
mod part_tests;
mod reads;
mod realtime;
mod registers;
mod report;
#[cfg(test)]
mod tests;
mod writers;

use crate::history::{self, Format, Loaded, Unloaded};
use crate::intern::at;
use crate::limits::{Stop, Watch};
use crate::txn::{TxnError, Unread};
use graph::{Graph, Inferred};
use part::Asked;
use reads::Access;
use realtime::Realtime;
use registers::Registers;
use report::Findings;

pub use levels::{Axiom, Level};
pub use report::{Anomaly, Report, Shown, Verdict, Witness};

/// Reads a history in whatever format it is and checks these levels. Plume's and AWDIT's formats, which have no real time,
/// are read without making operations of them.
pub fn judge(text: &str, levels: &[Level], watch: &mut Watch<'_>) -> Result<Report, TxnError> {
    match history::access_format(text) {
        Some(format) => {
            let concluded = conclude(Registers::scan(text, format, watch), levels, watch)?;
            Ok(concluded.with_evidence((format, levels), None, watch))
        }
        None => match history::load_text_within(text, watch) {
            Ok(history) => {
                let concluded = conclude(Registers::read(&history, watch), levels, watch)?;
                Ok(concluded.with_evidence((history.format, levels), Some(&history), watch))
            }
            Err(Unloaded::Mistake(error)) => Err(error.into()),
            Err(Unloaded::Stopped(stop)) => Ok(nothing_read(stop)),
        },
    }
}

/// Checks these levels of a history of `[:w key value]` and `[:r key value]`. A level with real time holds trivially as
/// much as the one without when the format has none. Only [`judge`] looks for evidence.
pub fn check(history: &Loaded, levels: &[Level], watch: &mut Watch<'_>) -> Result<Report, TxnError> {
    conclude(Registers::read(history, watch), levels, watch).map(|concluded| concluded.report)
}

/// The answer when a limit was reached before anything was read.
pub fn nothing_read(stop: Stop) -> Report {
    report(&Registers::default(), Vec::new(), Findings::default(), Some(stop))
}

/// A report with the transactions it is about.
struct Concluded {
    report: Report,
    all: Registers,
}

impl Concluded {
    /// With lines of the history, when it was read as one.
    fn with_evidence(
        mut self,
        (format, levels): (Format, &[Level]),
        history: Option<&Loaded>,
        watch: &mut Watch<'_>,
    ) -> Report {
        self.report.evidence = Asked { all: &self.all, format, levels, history }.evidence(&self.report, watch);
        self.report
    }
}

fn conclude(read: Result<Registers, Unread>, levels: &[Level], watch: &mut Watch<'_>) -> Result<Concluded, TxnError> {
    let all = match read {
        Ok(all) => all,
        Err(Unread::Mistake(error)) => return Err(error),
        Err(Unread::Stopped(stop)) => {
            return Ok(Concluded { report: nothing_read(stop), all: Registers::default() });
        }
    };
    let mut findings = Findings::default();
    let mut broken = Vec::new();
    let stop = decide(&all, levels, &mut findings, &mut broken, watch).err();
    Ok(Concluded { report: report(&all, broken, findings, stop), all })
}

/// Notes the levels that do not hold.
fn decide(
    all: &Registers,
    levels: &[Level],
    findings: &mut Findings,
    broken: &mut Vec<Level>,
    watch: &mut Watch<'_>,
) -> Result<(), Stop> {
    let access = Access::new(all, findings, watch)?;
    if !findings.witnesses.is_empty() {
        broken.extend_from_slice(levels);
    }
    for has_realtime in [false, true] {
        let of: Vec<Level> = levels.iter().copied().filter(|level| level.realtime == has_realtime).collect();
        if of.is_empty() {
            continue;
        }
        let realtime = (has_realtime && all.has_realtime).then(|| Realtime::new(all));
        let base = Graph::new(all, &access, realtime.as_ref(), &Inferred::default());
        let Some(order) = base.order(watch)? else {
            broken.extend(&of);
            tell(&base, of[0], Anomaly::CyclicCausality, findings, watch)?;
            continue;
        };
        for level in of {
            let inferred = match level.axiom {
                Axiom::ReadCommitted => infer::read_committed(all, &access, watch)?,
                Axiom::ReadAtomic => infer::read_atomic(all, &access, realtime.as_ref(), watch)?,
                Axiom::Causal => causal::causal(all, &access, realtime.as_ref(), &order, watch)?,
            };
            let graph = Graph::new(all, &access, realtime.as_ref(), &inferred);
            if graph.order(watch)?.is_none() {
                broken.push(level);
                tell(&graph, level, Anomaly::CyclicCommitOrder(level), findings, watch)?;
            }
        }
    }
    Ok(())
}

fn tell(
    graph: &Graph<'_>,
    level: Level,
    anomaly: Anomaly,
    findings: &mut Findings,
    watch: &mut Watch<'_>,
) -> Result<(), Stop> {
    for cycle in cycle::cycles(graph, watch)? {
        if !findings.lacks(anomaly) {
            break;
        }
        let steps = cycle::steps(graph.all, &cycle);
        let told = cycle::words(graph.all, level, &steps);
        let transactions = told.txns.iter().map(|txn| report::shown(graph.all, *txn)).collect();
        let mut numbers = told.txns;
        numbers.extend(cycle::between(graph, &steps, watch)?);
        let (relations, reasons) = (told.relations, told.reasons);
        findings.witnesses.push(Witness { anomaly, transactions, relations, reasons, numbers });
    }
    Ok(())
}

fn report(all: &Registers, mut broken: Vec<Level>, findings: Findings, stop: Option<Stop>) -> Report {
    broken.sort_unstable();
    broken.dedup();
    let is_direct = |level: &Level| !broken.iter().any(|other| other != level && level.implies(*other));
    let violates: Vec<Level> = broken.iter().copied().filter(is_direct).collect();
    let is_broken = |level: &Level| broken.iter().any(|other| level.implies(*other));
    let also_violates = Level::ALL.into_iter().filter(|level| is_broken(level) && !violates.contains(level)).collect();
    let mut anomalies: Vec<Anomaly> = findings.witnesses.iter().map(|witness| witness.anomaly).collect();
    anomalies.sort_unstable();
    anomalies.dedup();
    let verdict = match (stop, broken.is_empty(), all.txns.is_empty()) {
        (_, false, _) => Verdict::Violated,
        (Some(stop), true, _) => Verdict::Unknown(stop),
        (None, true, true) => Verdict::Nothing,
        (None, true, false) => Verdict::Valid,
    };
    let operations = all.txns.iter().map(|txn| at(txn.mops.end - txn.mops.start)).sum();
    let (witnesses, transactions) = (findings.witnesses, all.txns.len());
    Report { verdict, anomalies, violates, also_violates, witnesses, transactions, operations, evidence: Vec::new() }
}
