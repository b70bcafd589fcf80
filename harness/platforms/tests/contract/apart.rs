//! The clause about several records at a time: whoever reverts one leaves in force whatever else is, in any order.

use firedrill_core::action::Undo;

use super::cases::{Same, stranger};
use super::clauses::Trial;
use super::{Breach, Clause};

/// What is in force together.
struct Records {
    here: Undo,
    elsewhere: Undo,
    /// A second one at the same place, if that can be.
    same: Option<Undo>,
    stranger: Undo,
}

/// When each is prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// Before the first is applied, as when faults of a scenario come at the same moment.
    Early,
    /// While those before it are in force.
    Late,
}

pub(super) async fn records_do_not_touch_each_other(trial: &Trial<'_>) -> Result<(), Breach> {
    Clause::Apart.of(first_goes_first(trial).await.map_err(|what| format!("first reverted first: {what}")))?;
    Clause::Apart.of(first_goes_last(trial).await.map_err(|what| format!("first reverted last: {what}")))
}

async fn first_goes_first(trial: &Trial<'_>) -> Result<(), String> {
    let Records { here, elsewhere, same, stranger } = begin(trial, When::Late).await?;
    let same: Vec<&Undo> = same.iter().collect();
    trial.revert(&here).await?;
    all_there(trial, [&[&elsewhere, &stranger], &same[..]].concat()).await?;
    if let Same::Beside(_) = trial.case.same {
        trial.over(&here).await?;
    }
    trial.revert(&stranger).await?;
    all_there(trial, [&[&elsewhere], &same[..]].concat()).await?;
    for same in same {
        trial.revert(same).await?;
    }
    trial.over(&here).await?;
    all_there(trial, vec![&elsewhere]).await?;
    trial.revert(&elsewhere).await?;
    trial.over(&elsewhere).await?;
    trial.restored().await
}

async fn first_goes_last(trial: &Trial<'_>) -> Result<(), String> {
    let Records { here, elsewhere, same, stranger } = begin(trial, When::Early).await?;
    if let Some(same) = &same {
        trial.revert(same).await?;
        all_there(trial, vec![&here, &elsewhere, &stranger]).await?;
    }
    trial.revert(&elsewhere).await?;
    trial.over(&elsewhere).await?;
    all_there(trial, vec![&here, &stranger]).await?;
    trial.revert(&here).await?;
    trial.over(&here).await?;
    all_there(trial, vec![&stranger]).await?;
    trial.revert(&stranger).await?;
    trial.restored().await
}

async fn begin(trial: &Trial<'_>, when: When) -> Result<Records, String> {
    let case = trial.case;
    let stranger = stranger(case, trial.place);
    let early = when == When::Early;
    let second = match &case.same {
        Same::Both(action) | Same::Beside(action) => Some((action, true)),
        Same::Early(action, _) if early => Some((action, true)),
        Same::Refused(action, _) => Some((action, false)),
        Same::Early(..) | Same::No(_) => None,
    };
    let never = trial.prepare(&case.action).await?;
    let mut prepared = Vec::new();
    let actions = [&stranger, &case.action, &case.elsewhere].into_iter().chain(second.map(|(action, _)| action));
    for action in actions.clone().filter(|_| early) {
        prepared.push(trial.prepare(action).await?);
    }
    let mut prepared = prepared.into_iter();
    let mut applied = Vec::new();
    for action in actions {
        let undo = match prepared.next() {
            Some(undo) => Ok(undo),
            None => trial.prepare(action).await,
        };
        // The fourth is the second one at the same place.
        if applied.len() < 3 || second.is_some_and(|(_, both)| both) {
            let undo = undo?;
            trial.apply(&undo).await?;
            applied.push(undo);
        } else if let Ok(undo) = undo {
            let refused = trial.platform.apply(&undo, None).await.is_err();
            // It must not have touched what it was refused for, nor may its revert.
            trial.revert(&undo).await?;
            if !refused {
                return Err(format!("a second one, prepared {when:?}, was not refused: {action}"));
            }
        }
    }
    // One that was never applied has nothing to take back of those that are.
    trial.revert(&never).await?;
    all_there(trial, applied.iter().collect()).await?;
    let mut applied = applied.into_iter();
    let mut next = || applied.next().ok_or("fewer were applied than there are");
    let (stranger, here, elsewhere) = (next()?, next()?, next()?);
    Ok(Records { here, elsewhere, same: applied.next(), stranger })
}

/// All at once: a probe takes a second or two.
async fn all_there(trial: &Trial<'_>, undos: Vec<&Undo>) -> Result<(), String> {
    let looks = undos.into_iter().map(|undo| trial.there(undo));
    futures_util::future::try_join_all(looks).await.map(drop)
}
