//! The simulation with a promise broken, one at a time, so that whatever looks for broken promises can be seen to find them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::{Action, Applied, Deed, Effect, Presence, Reverted, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{
    DeedError, Dialer, Incident, Inventory, Platform, Reach, Residue, StartError, Started, Survey,
};
use firedrill_core::time::RunTime;

use crate::contract::Clause;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Breaker {
    PrepareActs,
    UnappliedRevertFails,
    UnappliedRevertTellsHeld,
    UnappliedRevertActs,
    ApplyDoesNothing,
    InventoryIsBlind,
    ProbeSeesAlways,
    RevertForgets,
    RevertTellsNoHold,
    SecondRevertFails,
    SecondRevertTellsAnother,
    SecondRevertActs,
    HalfIsForgotten,
    HalfCannotBeReverted,
    RevertTakesAll,
    RevertTakesItsKind,
    RevertTakesItsPlace,
    RevertTakesOtherKinds,
}

impl Breaker {
    /// Each, and the clause that finds it first.
    pub(crate) const ALL: [(Self, Clause); 18] = [
        (Self::PrepareActs, Clause::Prepare),
        (Self::UnappliedRevertFails, Clause::RevertUnapplied),
        (Self::UnappliedRevertTellsHeld, Clause::RevertUnapplied),
        (Self::UnappliedRevertActs, Clause::RevertUnapplied),
        (Self::ApplyDoesNothing, Clause::Apply),
        (Self::InventoryIsBlind, Clause::Apply),
        (Self::ProbeSeesAlways, Clause::Prepare),
        (Self::RevertForgets, Clause::Revert),
        (Self::RevertTellsNoHold, Clause::Revert),
        (Self::SecondRevertFails, Clause::RevertTwice),
        (Self::SecondRevertTellsAnother, Clause::RevertTwice),
        (Self::SecondRevertActs, Clause::RevertTwice),
        (Self::HalfIsForgotten, Clause::HalfWay),
        (Self::HalfCannotBeReverted, Clause::HalfWay),
        (Self::RevertTakesAll, Clause::Apart),
        (Self::RevertTakesItsKind, Clause::Apart),
        (Self::RevertTakesItsPlace, Clause::Apart),
        (Self::RevertTakesOtherKinds, Clause::Apart),
    ];
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Half,
    Applied,
    Reverted,
}

/// The platform, and what of it is broken. It can also stop half-way, which the simulation by itself cannot.
pub(crate) struct Broken {
    inner: Arc<dyn Platform>,
    breaker: Option<Breaker>,
    point: Mutex<Option<String>>,
    records: Mutex<BTreeMap<String, (Undo, Stage)>>,
}

impl Broken {
    pub(crate) fn new(inner: Arc<dyn Platform>, breaker: Option<Breaker>) -> Self {
        Self { inner, breaker, point: Mutex::default(), records: Mutex::default() }
    }

    pub(crate) fn stop_at(&self, point: Option<String>) {
        *self.point.lock().unwrap() = point;
    }

    fn is(&self, breaker: Breaker) -> bool {
        self.breaker == Some(breaker)
    }

    fn note(&self, undo: &Undo, stage: Stage) {
        self.records.lock().unwrap().insert(undo.tag.clone(), (undo.clone(), stage));
    }

    fn stage(&self, undo: &Undo) -> Option<Stage> {
        self.records.lock().unwrap().get(&undo.tag).map(|(_, stage)| *stage)
    }

    /// Does it under another tag, which nobody knows.
    async fn secretly(&self, action: &Action) -> Result<(), DeedError> {
        let undo = self.inner.prepare(action).await?;
        self.inner.apply(&undo, None).await.map(drop)
    }

    /// What is done in place of a revert, or before it.
    async fn revert_wrongly(
        &self,
        breaker: Breaker,
        undo: &Undo,
        stage: Option<Stage>,
    ) -> Result<Option<Reverted>, DeedError> {
        let answer = |held| Ok(Some(Reverted { held, by: "asked".to_owned() }));
        let once = RunTime::from_millis(1);
        match (breaker, stage) {
            (Breaker::UnappliedRevertFails, None)
            | (Breaker::SecondRevertFails, Some(Stage::Reverted))
            | (Breaker::HalfCannotBeReverted, Some(Stage::Half)) => return Err(wrong("refused")),
            (Breaker::UnappliedRevertTellsHeld, None) | (Breaker::SecondRevertTellsAnother, Some(Stage::Reverted)) => {
                return answer(Some((once, once)));
            }
            (Breaker::UnappliedRevertActs, None) | (Breaker::SecondRevertActs, Some(Stage::Reverted)) => {
                self.secretly(&undo.action).await?;
            }
            (Breaker::RevertForgets, Some(Stage::Applied)) => {
                // What it tells is right.
                let reverted = self.inner.revert(undo).await?;
                self.secretly(&undo.action).await?;
                return Ok(Some(reverted));
            }
            (Breaker::RevertTellsNoHold, Some(Stage::Applied)) => {
                self.inner.revert(undo).await?;
                return answer(None);
            }
            (Breaker::HalfIsForgotten, Some(Stage::Half)) => return answer(None),
            (Breaker::RevertTakesAll, Some(Stage::Applied)) => self.take_along(|_| true).await?,
            (Breaker::RevertTakesItsKind, Some(Stage::Applied)) => {
                self.take_along(|other| other.action.deed() == undo.action.deed()).await?;
            }
            (Breaker::RevertTakesItsPlace, Some(Stage::Applied)) => {
                self.take_along(|other| other.action == undo.action).await?;
            }
            (Breaker::RevertTakesOtherKinds, Some(Stage::Applied)) => {
                self.take_along(|other| other.action.deed() != undo.action.deed()).await?;
            }
            (_, _) => {}
        }
        Ok(None)
    }

    /// Reverts others that are in force.
    async fn take_along(&self, chosen: impl Fn(&Undo) -> bool) -> Result<(), DeedError> {
        let records: Vec<(Undo, Stage)> = self.records.lock().unwrap().values().cloned().collect();
        for (other, _) in records.iter().filter(|(other, stage)| *stage == Stage::Applied && chosen(other)) {
            self.inner.revert(other).await?;
        }
        Ok(())
    }
}

fn wrong(what: &str) -> DeedError {
    DeedError::Agent(what.to_owned())
}

#[async_trait]
impl Platform for Broken {
    async fn prepare(&self, action: &Action) -> Result<Undo, DeedError> {
        let undo = self.inner.prepare(action).await?;
        if self.is(Breaker::PrepareActs) {
            self.secretly(action).await?;
        }
        Ok(undo)
    }

    async fn apply(&self, undo: &Undo, hold: Option<Duration>) -> Result<Applied, DeedError> {
        let point = self.point.lock().unwrap().clone();
        if let Some(point) = point {
            self.note(undo, Stage::Half);
            self.inner.apply(undo, hold).await?;
            return Err(wrong(&format!("stopped at {point}")));
        }
        if self.is(Breaker::ApplyDoesNothing) {
            let nothing = Undo { action: Action::Cut { links: Vec::new(), port: None }, ..undo.clone() };
            return self.inner.apply(&nothing, hold).await;
        }
        self.note(undo, Stage::Applied);
        self.inner.apply(undo, hold).await
    }

    async fn revert(&self, undo: &Undo) -> Result<Reverted, DeedError> {
        let stage = self.stage(undo);
        if let Some(breaker) = self.breaker
            && let Some(answer) = self.revert_wrongly(breaker, undo, stage).await?
        {
            return Ok(answer);
        }
        let reverted = self.inner.revert(undo).await?;
        // The half was in force by the simulation's books; by the promise it never was.
        if stage == Some(Stage::Half) {
            return Ok(Reverted { held: None, ..reverted });
        }
        if stage.is_some() {
            self.note(undo, Stage::Reverted);
        }
        Ok(reverted)
    }

    async fn probe(&self, undo: &Undo) -> Effect {
        let effect = self.inner.probe(undo).await;
        if self.is(Breaker::ProbeSeesAlways) { Effect { presence: Presence::Full, ..effect } } else { effect }
    }

    async fn inventory(&self) -> Result<Inventory, DeedError> {
        if self.is(Breaker::InventoryIsBlind) { Ok(Inventory::default()) } else { self.inner.inventory().await }
    }

    async fn survey(&self, deeds: &[Deed]) -> Survey {
        self.inner.survey(deeds).await
    }

    async fn start(&self, use_template: bool) -> Result<Started, StartError> {
        self.inner.start(use_template).await
    }

    async fn save_template(&self) -> Result<(), StartError> {
        self.inner.save_template().await
    }

    async fn discard_template(&self) {
        self.inner.discard_template().await;
    }

    async fn stop(&self) -> Result<(), DeedError> {
        self.inner.stop().await
    }

    fn residue(&self, before: &Inventory, after: &Inventory) -> Vec<Residue> {
        self.inner.residue(before, after)
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        self.inner.dialer()
    }

    async fn incident(&self) -> Incident {
        self.inner.incident().await
    }

    fn last_log_lines(&self, node: &NodeName, lines: usize) -> Vec<String> {
        self.inner.last_log_lines(node, lines)
    }

    fn how_to_reach(&self) -> Vec<Reach> {
        self.inner.how_to_reach()
    }
}
