//! The only maker of injections: prepare → journal → apply, and back. Every effect is proven at its onset and its absence
//! after the heal.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use firedrill_core::action::{Effect, Presence, Undo};
use firedrill_core::event::{Event, Moment};
use firedrill_core::fault::{Hold, Step};
use firedrill_core::platform::{DeedError, Platform};
use firedrill_core::system::System;
use firedrill_core::time::{Clock, RunTime};
use firedrill_core::wait;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::failpoint;
use crate::journal::{Entry, Journal, JournalError};
use crate::recorder::Recorder;

/// The agent undoes a held action by itself so long after the engine should have: a safety net, late enough that on a busy
/// machine the proof before the heal still ends in time, and that the engine's own reverts, which go last first, come before it.
const AGENT_MARGIN: Duration = Duration::from_secs(2);
/// How long an effect may take to vanish after its undo (a server takes its time to start).
const VANISH: Duration = Duration::from_secs(10);
/// How long the servers may take to tell of an effect.
const WITNESS: Duration = Duration::from_secs(5);
/// An undo is tried so often.
const UNDO_TRIES: u32 = 3;

/// Why an action was not injected. Nothing of it is in force.
#[derive(Debug, Error)]
pub(crate) enum InjectError {
    #[error("could not {action}")]
    Deed {
        action: String,
        #[source]
        source: DeedError,
    },
    #[error("the undo of `{action}` could not be journaled, so it was not applied")]
    Journal {
        action: String,
        #[source]
        source: JournalError,
    },
    #[error("the effect of `{action}` is there before it is injected: {evidence}")]
    AlreadyThere { action: String, evidence: String },
}

/// An action in force. Must be given back to [`Injector::heal`].
#[must_use]
pub(crate) struct Injection {
    pub(crate) fault: String,
    pub(crate) step: u32,
    /// Since when it is in force.
    pub(crate) from: RunTime,
    undo: Undo,
}

impl Injection {
    fn copy(&self) -> Self {
        Self { fault: self.fault.clone(), step: self.step, from: self.from, undo: self.undo.clone() }
    }
}

type Held = std::sync::Mutex<Vec<Injection>>;

/// Performs and undoes actions for one run.
pub(crate) struct Injector {
    platform: Arc<dyn Platform>,
    system: Arc<dyn System>,
    journal: Mutex<Option<Journal>>,
    /// What may be in force, and what to undo it with; kept here as well because the task of a fault may panic.
    in_force: Held,
    recorder: Recorder,
    clock: Clock,
}

impl Injector {
    pub(crate) fn new(
        platform: Arc<dyn Platform>,
        system: Arc<dyn System>,
        journal: Journal,
        recorder: Recorder,
        clock: Clock,
    ) -> Self {
        Self { platform, system, journal: Mutex::new(Some(journal)), in_force: Held::default(), recorder, clock }
    }

    /// Injects one step of a fault. `hold` is how long it will be held, if that is known.
    pub(crate) async fn inject(
        &self,
        fault: &str,
        number: u32,
        step: &Step,
        hold: Option<Duration>,
    ) -> Result<Injection, InjectError> {
        let action = step.action.to_string();
        let failed = |source| InjectError::Deed { action: action.clone(), source };
        failpoint::at("harness-before-prepare");
        let undo = self.platform.prepare(&step.action).await.map_err(failed)?;
        failpoint::at("harness-prepared");
        let mut injection = Injection { fault: fault.to_owned(), step: number, from: self.clock.now(), undo };
        let before = self.prove(&injection, Moment::Before).await;
        if before.presence == Presence::Full {
            return Err(InjectError::AlreadyThere { action: action.clone(), evidence: before.evidence });
        }
        self.write(&Entry::Intent { undo: injection.undo.clone() })
            .await
            .map_err(|source| InjectError::Journal { action: action.clone(), source })?;
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).push(injection.copy());
        let deadline = hold.map(|hold| hold + AGENT_MARGIN);
        let asked = self.platform.apply(&injection.undo, deadline);
        let applied = match failpoint::amid("harness-asking-apply", asked).await {
            Ok(applied) => applied,
            Err(source) => {
                let refused = Err(InjectError::Deed { action: action.clone(), source });
                self.heal(injection).await;
                return refused;
            }
        };
        failpoint::at("harness-answered-apply");
        injection.from = applied.from;
        let entry = Entry::Applied { tag: injection.undo.tag.clone() };
        if let Err(source) = self.write(&entry).await {
            self.heal(injection).await;
            return Err(InjectError::Journal { action: action.clone(), source });
        }
        let hold_nanos = match step.hold {
            Hold::Held => hold.map(|hold| u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX)),
            Hold::OneShot => None,
        };
        self.recorder.event(Event::StepApplied {
            fault: fault.to_owned(),
            step: number,
            action: step.action.clone(),
            hold_nanos,
            from: applied.from,
        });
        failpoint::at("harness-applied-told");
        self.prove(&injection, Moment::Onset).await;
        Ok(injection)
    }

    /// Probes for the effect and records what was found.
    pub(crate) async fn prove(&self, injection: &Injection, moment: Moment) -> Effect {
        let effect = self.look(&injection.undo).await;
        self.recorder.event(Event::StepProof {
            fault: injection.fault.clone(),
            step: injection.step,
            moment,
            effect: effect.clone(),
        });
        effect
    }

    /// Where only the servers themselves can tell they are asked, else the platform.
    async fn look(&self, undo: &Undo) -> Effect {
        let dialer = self.platform.dialer();
        let witness = self.system.witness(dialer.as_ref(), &undo.action);
        match tokio::time::timeout(WITNESS, witness).await {
            Ok(Some(effect)) => effect,
            Ok(None) => self.platform.probe(undo).await,
            Err(_) => Effect { presence: Presence::Unknown, evidence: "the servers did not answer".to_owned() },
        }
    }

    /// Undoes an injection and waits until its effect is gone. What cannot be undone is recorded, and stays in the
    /// journal for `firedrill heal`.
    pub(crate) async fn heal(&self, injection: Injection) {
        let Injection { fault, step, undo, .. } = &injection;
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).retain(|held| held.undo.tag != undo.tag);
        failpoint::at("harness-before-revert");
        let mut tries = 0;
        let reverted = loop {
            tries += 1;
            match failpoint::amid("harness-asking-revert", self.platform.revert(undo)).await {
                Ok(reverted) => break Ok(reverted),
                Err(error) if tries == UNDO_TRIES => break Err(error),
                Err(_) => self.clock.sleep(Duration::from_millis(200)).await,
            }
        };
        match reverted {
            Ok(reverted) => {
                failpoint::at("harness-answered-revert");
                let (held, by) = (reverted.held, reverted.by);
                self.recorder.event(Event::StepReverted { fault: fault.clone(), step: *step, held, by });
                failpoint::at("harness-reverted-told");
                if let Err(error) = self.write(&Entry::Reverted { tag: undo.tag.clone() }).await {
                    self.recorder.event(Event::HealFailed { fault: fault.clone(), reason: words(&error) });
                }
                // A process that was killed once stays killed: there is no effect to wait for.
                if !undo.action.is_instant() {
                    self.prove_gone(&injection).await;
                }
            }
            Err(error) => {
                self.recorder.event(Event::HealFailed { fault: fault.clone(), reason: words(&error) });
            }
        }
    }

    /// Undoes, last first, what nobody has given back: its task has panicked.
    pub(crate) async fn heal_forgotten(&self) {
        let mut forgotten = std::mem::take(&mut *self.in_force.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(injection) = forgotten.pop() {
            self.heal(injection).await;
        }
    }

    async fn prove_gone(&self, injection: &Injection) {
        let gone = wait::until("the effect to vanish", self.clock, VANISH, Duration::from_millis(100), || async {
            let effect = self.look(&injection.undo).await;
            match effect.presence {
                // A probe that cannot look will not learn to; that it could not is what is recorded.
                Presence::Absent | Presence::Unknown => Ok(effect),
                Presence::Full | Presence::Partial => Err(effect.evidence),
            }
        });
        let effect = match gone.await {
            Ok(effect) => effect,
            Err(timed_out) => Effect { presence: Presence::Full, evidence: timed_out.to_string() },
        };
        let (fault, step) = (injection.fault.clone(), injection.step);
        self.recorder.event(Event::StepProof { fault, step, moment: Moment::AfterHeal, effect });
    }

    async fn write(&self, entry: &Entry) -> Result<(), JournalError> {
        match self.journal.lock().await.as_mut() {
            Some(journal) => journal.write(entry),
            None => Ok(()),
        }
    }

    /// Ends the journal: removed if everything was undone, kept otherwise.
    pub(crate) async fn close(&self) -> Result<(), JournalError> {
        self.journal.lock().await.take().map_or(Ok(()), Journal::close)
    }
}

/// An error with its causes, on one line.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
