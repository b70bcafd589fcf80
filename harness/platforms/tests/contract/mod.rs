//! The contract that every platform must keep, whatever it reaches nodes by: what prepare, apply, revert, probe and inventory
//! promise of every action there is. It knows no platform. A new one makes a [`Stand`] (an open platform with three nodes, each
//! running a server that reads and writes its files) and asks [`keeps`] for every case of [`cases::all`].

mod apart;
mod cases;
mod clauses;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::{Deed, Effect, Undo};
use firedrill_core::platform::{DeedError, Offer, Platform};
use firedrill_core::time::Clock;
use firedrill_core::units::human;

pub(crate) use self::cases::{Case, Place, all, deeds};

/// A platform that is open, started and whole.
#[async_trait]
pub(crate) trait Stand: Send + Sync {
    fn platform(&self) -> Arc<dyn Platform>;
    fn offers(&self, deed: Deed) -> Offer;
    fn clock(&self) -> Clock;
    /// How long an effect may take to be seen, and to be gone: some count what happens meanwhile, and servers take their time
    /// to be up again.
    fn patience(&self) -> Duration;
    /// Waits until every server is up; what it last saw if they are not in time.
    async fn whole(&self) -> Result<(), String>;
    /// What there is now, listed by no code of the platform's: equal lists mean that nothing has changed. `None` where
    /// nobody else can look.
    async fn independent(&self) -> Option<BTreeSet<String>>;
    /// Has deeds stop at this point between two of their steps (`failpoint.rs` of the agent names them); `None` is nowhere
    /// any more. Whether it can.
    async fn stop_at(&self, point: Option<&str>) -> bool;
    /// Looks for an effect: the platform, or the servers themselves where only they can tell.
    async fn look(&self, undo: &Undo) -> Effect {
        self.platform().probe(undo).await
    }
}

/// What is promised, clause by clause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Clause {
    /// Prepare changes nothing.
    Prepare,
    /// What was never applied can be reverted, which changes nothing.
    RevertUnapplied,
    /// What is applied is seen by the probe, and by the inventory if it is something that could stay.
    Apply,
    /// What is reverted is gone: by the probe, by the inventory, and by whoever else looks.
    Revert,
    /// What is reverted can be reverted again: the same is told, and nothing changes.
    RevertTwice,
    /// What stopped half-way can be reverted, and is gone.
    HalfWay,
    /// Reverting one leaves in force whatever else is.
    Apart,
}

impl Clause {
    /// A promise that was not kept, if `kept` is an error: what was found.
    fn of<T>(self, kept: Result<T, String>) -> Result<T, Breach> {
        kept.map_err(|what| Breach { clause: self, what })
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Prepare => "prepare changes nothing",
            Self::RevertUnapplied => "revert without apply changes nothing",
            Self::Apply => "what is applied is seen",
            Self::Revert => "what is reverted is gone",
            Self::RevertTwice => "revert twice tells the same",
            Self::HalfWay => "what stopped half-way can be reverted",
            Self::Apart => "records do not touch each other",
        })
    }
}

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Breach {
    pub(crate) clause: Clause,
    /// The action, and what was found.
    pub(crate) what: String,
}

/// What was asked, and what came of it.
#[derive(Default, Debug)]
pub(crate) struct Report {
    /// Cases of which every clause was kept, with what was left out of each and why.
    pub(crate) kept: Vec<(String, Vec<String>)>,
    pub(crate) breaches: Vec<Breach>,
    /// Deeds that the platform never offers, or not here, and why.
    pub(crate) not_offered: Vec<(Deed, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (case, without) in &self.kept {
            writeln!(f, "kept: {case}")?;
            for why in without {
                writeln!(f, "      {why}")?;
            }
        }
        for (deed, why) in &self.not_offered {
            writeln!(f, "not offered: {deed}: {why}")?;
        }
        for Breach { clause, what } in &self.breaches {
            writeln!(f, "BROKEN: {clause}: {what}")?;
        }
        Ok(())
    }
}

impl Report {
    /// How many of each.
    pub(crate) fn counts(&self) -> String {
        let (kept, not_offered, broken) = (self.kept.len(), self.not_offered.len(), self.breaches.len());
        format!("{kept} cases kept, {not_offered} not offered, {broken} clauses broken")
    }

    /// With another one.
    pub(crate) fn add(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.breaches.extend(other.breaches);
        self.not_offered.extend(other.not_offered);
    }
}

/// Asks everything that is promised of a case.
pub(crate) async fn keeps(stand: &dyn Stand, place: &Place, case: &Case) -> Report {
    let mut report = Report::default();
    if let Offer::Never(why) = stand.offers(case.action.deed()) {
        report.not_offered.push((case.action.deed(), format!("{}: {why}", case.action)));
        return report;
    }
    // What else may be the matter is found again, and told.
    if let Err(DeedError::NotOffered(why)) = stand.platform().prepare(&case.action).await {
        report.not_offered.push((case.action.deed(), why));
        return report;
    }
    let began = stand.clock().now();
    report.breaches = clauses::all(stand, place, case).await;
    if report.breaches.is_empty() {
        let took = human(stand.clock().now().since(began));
        report.kept.push((format!("{} ({took})", case.action), case.without()));
    }
    report
}
