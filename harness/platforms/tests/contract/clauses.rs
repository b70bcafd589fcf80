//! The clauses about one record at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firedrill_core::action::{Action, Applied, Presence, Reverted, Undo};
use firedrill_core::platform::{Inventory, Platform, Residue};
use firedrill_core::wait;

use super::cases::{After, Case, Place, Seen, Steps};
use super::{Breach, Clause, Stand, apart};

/// How far apart two tellings of the same moment may be: clocks are compared again and again, and ever better.
const SAME_MOMENT: Duration = Duration::from_millis(50);

/// What there is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Look {
    inventory: Inventory,
    independent: Option<BTreeSet<String>>,
}

impl Look {
    /// In words what differs.
    fn same(&self, now: &Self) -> Result<(), String> {
        let mut words = Vec::new();
        let differences = differences(&self.inventory, &now.inventory);
        if !differences.is_empty() {
            words.push(format!("the inventory differs: {differences:?}"));
        }
        if let (Some(before), Some(now)) = (&self.independent, &now.independent) {
            words.extend(before.difference(now).map(|line| format!("gone, by another's look: {line}")));
            words.extend(now.difference(before).map(|line| format!("new, by another's look: {line}")));
        }
        if words.is_empty() { Ok(()) } else { Err(words.join("\n  ")) }
    }
}

/// One case on one platform.
pub(super) struct Trial<'a> {
    stand: &'a dyn Stand,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) case: &'a Case,
    pub(super) place: &'a Place,
    before: Look,
    /// Everything prepared, so that nothing stays in force when a clause is broken.
    prepared: Mutex<Vec<Undo>>,
}

/// Asks every clause of one case; those that are broken.
pub(super) async fn all(stand: &dyn Stand, place: &Place, case: &Case) -> Vec<Breach> {
    let trial = match Clause::Prepare.of(Trial::begin(stand, place, case).await) {
        Ok(trial) => trial,
        Err(breach) => return vec![breach],
    };
    let mut broken = Vec::new();
    broken.extend(prepare_changes_nothing(&trial).await.err());
    broken.extend(revert_without_apply_changes_nothing(&trial).await.err());
    broken.extend(trial.and_untouched(Clause::Revert, apply_is_seen_and_revert_undoes(&trial)).await.err());
    if let Steps::Several(points) = case.steps {
        broken.extend(trial.and_untouched(Clause::HalfWay, half_way_is_undone(&trial, points)).await.err());
    }
    broken.extend(trial.and_untouched(Clause::Apart, apart::records_do_not_touch_each_other(&trial)).await.err());
    trial.tidy().await;
    let of_case = |Breach { clause, what }| Breach { clause, what: format!("{}: {what}", case.action) };
    broken.into_iter().map(of_case).collect()
}

impl<'a> Trial<'a> {
    /// Waits until nothing is in force any more of what was before, servers that were started again included.
    async fn begin(stand: &'a dyn Stand, place: &'a Place, case: &'a Case) -> Result<Self, String> {
        let before = Look { inventory: Inventory::default(), independent: None };
        let platform = stand.platform();
        let mut trial = Self { stand, platform, case, place, before, prepared: Mutex::default() };
        let undo = trial.prepare(&case.action).await?;
        trial.gone(&undo).await?;
        let inventory = trial.inventory().await?;
        trial.before = Look { inventory, independent: stand.independent().await };
        Ok(trial)
    }

    async fn inventory(&self) -> Result<Inventory, String> {
        self.platform.inventory().await.map_err(|error| format!("no inventory: {error}"))
    }

    /// All is as it was before, at once, by the inventory alone: who else looks takes its time.
    async fn unchanged(&self) -> Result<(), String> {
        self.before.same(&Look { inventory: self.inventory().await?, independent: None })
    }

    /// The same, as soon as what had to be started again is up.
    pub(super) async fn restored(&self) -> Result<(), String> {
        self.stand.whole().await?;
        self.wait("all to be as before", async || self.unchanged().await).await
    }

    /// The same, whoever looks.
    async fn untouched(&self) -> Result<(), String> {
        let look = async || {
            let independent = self.stand.independent().await;
            self.before.same(&Look { inventory: self.inventory().await?, independent })
        };
        self.wait("all to be as before", look).await
    }

    /// The clause, and that all is as before afterwards.
    async fn and_untouched(
        &self,
        clause: Clause,
        kept: impl Future<Output = Result<(), Breach>>,
    ) -> Result<(), Breach> {
        kept.await?;
        clause.of(self.untouched().await)
    }

    async fn wait(&self, what: &str, look: impl AsyncFn() -> Result<(), String>) -> Result<(), String> {
        let looks = Duration::from_millis(20);
        let waited = wait::until(what, self.stand.clock(), self.stand.patience(), looks, || look()).await;
        waited.map_err(|timed_out| timed_out.to_string())
    }

    pub(super) async fn prepare(&self, action: &Action) -> Result<Undo, String> {
        let undo = self.platform.prepare(action).await.map_err(|error| format!("prepare of {action}: {error:?}"))?;
        self.prepared.lock().unwrap().push(undo.clone());
        Ok(undo)
    }

    pub(super) async fn apply(&self, undo: &Undo) -> Result<Applied, String> {
        self.platform.apply(undo, None).await.map_err(|error| format!("apply of {}: {error:?}", undo.action))
    }

    pub(super) async fn revert(&self, undo: &Undo) -> Result<Reverted, String> {
        self.platform.revert(undo).await.map_err(|error| format!("revert of {}: {error:?}", undo.action))
    }

    /// The effect is there, all of it.
    pub(super) async fn there(&self, undo: &Undo) -> Result<(), String> {
        self.is(undo, Presence::Full).await
    }

    /// Nothing of the effect is there.
    pub(super) async fn gone(&self, undo: &Undo) -> Result<(), String> {
        self.is(undo, Presence::Absent).await
    }

    async fn is(&self, undo: &Undo, wanted: Presence) -> Result<(), String> {
        let what = format!("{wanted:?} of {}", undo.action);
        let look = async || {
            let effect = self.stand.look(undo).await;
            if effect.presence == wanted { Ok(()) } else { Err(format!("{:?}, {}", effect.presence, effect.evidence)) }
        };
        self.wait(&what, look).await
    }

    /// What is still seen once it is reverted.
    pub(super) async fn over(&self, undo: &Undo) -> Result<(), String> {
        match self.case.after {
            After::Nothing => self.gone(undo).await,
            After::Effect(_) => Ok(()),
        }
    }

    /// Whatever a broken clause has left in force would break the clauses of others, too.
    async fn tidy(&self) {
        self.stand.stop_at(None).await;
        let prepared = std::mem::take(&mut *self.prepared.lock().unwrap());
        for undo in prepared.iter().rev() {
            // Whether that works has been asked before.
            drop(self.platform.revert(undo).await);
        }
    }
}

async fn prepare_changes_nothing(trial: &Trial<'_>) -> Result<(), Breach> {
    let kept = async {
        let undo = trial.prepare(&trial.case.action).await?;
        trial.unchanged().await?;
        trial.untouched().await?;
        trial.gone(&undo).await
    };
    Clause::Prepare.of(kept.await)
}

async fn revert_without_apply_changes_nothing(trial: &Trial<'_>) -> Result<(), Breach> {
    let kept = async {
        let undo = trial.prepare(&trial.case.action).await?;
        for _ in 0..2 {
            let reverted = trial.revert(&undo).await?;
            if let Some(held) = reverted.held {
                return Err(format!("it was never applied, and was in force in {held:?}"));
            }
        }
        trial.unchanged().await?;
        trial.gone(&undo).await
    };
    Clause::RevertUnapplied.of(kept.await)
}

async fn apply_is_seen_and_revert_undoes(trial: &Trial<'_>) -> Result<(), Breach> {
    let undo = Clause::Prepare.of(trial.prepare(&trial.case.action).await)?;
    let applied = Clause::Apply.of(trial.apply(&undo).await)?;
    Clause::Apply.of(trial.there(&undo).await)?;
    if let Seen::Listed = trial.case.seen {
        let now = Clause::Apply.of(trial.inventory().await)?;
        if differences(&trial.before.inventory, &now).is_empty() {
            return Clause::Apply.of(Err(format!("not in the inventory: {:?}", now.items)));
        }
    }
    let first = Clause::Revert.of(trial.revert(&undo).await)?;
    let to = match first.held {
        Some((from, to)) if close(from, applied.from) && to >= from && first.by == "asked" => to,
        Some(_) | None => {
            let what = format!("applied at {:?}, and the revert tells {first:?}", applied.from);
            return Clause::Revert.of(Err(what));
        }
    };
    Clause::Revert.of(trial.over(&undo).await)?;
    Clause::Revert.of(trial.restored().await)?;
    let second = Clause::RevertTwice.of(trial.revert(&undo).await)?;
    let same = second.held.is_some_and(|(from, until)| close(from, applied.from) && close(until, to));
    if !same || second.by != first.by {
        return Clause::RevertTwice.of(Err(format!("first {first:?}, then {second:?}")));
    }
    Clause::RevertTwice.of(trial.unchanged().await)?;
    Clause::RevertTwice.of(trial.over(&undo).await)
}

fn close(one: firedrill_core::time::RunTime, other: firedrill_core::time::RunTime) -> bool {
    one.since(other).max(other.since(one)) <= SAME_MOMENT
}

async fn half_way_is_undone(trial: &Trial<'_>, points: &[&str]) -> Result<(), Breach> {
    for point in points {
        let kept = half_way(trial, point).await.map_err(|what| format!("at {point}: {what}"));
        Clause::HalfWay.of(kept)?;
    }
    Ok(())
}

async fn half_way(trial: &Trial<'_>, point: &str) -> Result<(), String> {
    let undo = trial.prepare(&trial.case.action).await?;
    if !trial.stand.stop_at(Some(point)).await {
        return Ok(());
    }
    let applied = trial.platform.apply(&undo, None).await;
    trial.stand.stop_at(None).await;
    match applied {
        Err(error) if error.to_string().contains(point) => {}
        other => return Err(format!("it did not stop there: {other:?}")),
    }
    for _ in 0..2 {
        let reverted = trial.revert(&undo).await?;
        if let Some(held) = reverted.held {
            return Err(format!("it was never all in force, and the revert tells {held:?}"));
        }
    }
    trial.over(&undo).await?;
    trial.restored().await
}

/// What there is in one of the two and not in the other. Commands may name other processes, because servers restart.
fn differences(before: &Inventory, now: &Inventory) -> Vec<Residue> {
    [before.differences(now), now.differences(before)].concat()
}
