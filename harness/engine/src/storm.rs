//! The timeline of faults. Each fault lives in a task of its own: wait for its moment, resolve its role words, inject,
//! prove, hold, prove, heal, prove. A task is never aborted: asked to stop, it heals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::action::Action;
use firedrill_core::cluster::{ClusterView, NodeName, ProcessName, resolve};
use firedrill_core::event::{Event, Moment, Phase};
use firedrill_core::fault::{FaultPlan, Hold, PlanInput, counted};
use firedrill_core::platform::Dialer;
use firedrill_core::scenario::{FaultSpec, Scenario, Start};
use firedrill_core::seed::Seed;
use firedrill_core::system::System;
use firedrill_core::time::{Clock, RunTime};
use firedrill_core::wait;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::final_reads;
use crate::flag::Flag;
use crate::inject::{Injection, Injector, words};
use crate::recorder::{Recorder, all_joined};

/// How long the cluster may take to show a target.
const RESOLVE: Duration = Duration::from_secs(5);
/// How long one look at the cluster may take.
const LOOK: Duration = Duration::from_secs(1);
/// The proof before the heal begins so long before it, so that it ends in time.
const LAST_PROOF: Duration = Duration::from_millis(600);
/// The same for proofs that take longer: half as long again as the one in the middle took, and so much more.
const PROOF_SPARE: Duration = Duration::from_millis(200);

type Impaired = (NodeName, Option<ProcessName>);

/// What has become of a fault, for those that follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Life {
    onset: Option<RunTime>,
    healed: Option<RunTime>,
    never: bool,
}

/// What all faults of a storm share.
pub(crate) struct Storm {
    pub(crate) clock: Clock,
    pub(crate) seed: Seed,
    pub(crate) system: Arc<dyn System>,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) injector: Arc<Injector>,
    pub(crate) recorder: Recorder,
    began: RunTime,
    lives: Mutex<BTreeMap<String, Life>>,
    lived: Notify,
    stop: Flag,
    impaired: Mutex<BTreeMap<Impaired, u32>>,
    left: Mutex<Vec<Injection>>,
}

impl Storm {
    pub(crate) fn new(
        clock: Clock,
        seed: Seed,
        system: Arc<dyn System>,
        dialer: Arc<dyn Dialer>,
        injector: Arc<Injector>,
        recorder: Recorder,
    ) -> Self {
        Self {
            clock,
            seed,
            system,
            dialer,
            injector,
            recorder,
            began: clock.now(),
            lives: Mutex::new(BTreeMap::new()),
            lived: Notify::new(),
            stop: Flag::default(),
            impaired: Mutex::new(BTreeMap::new()),
            left: Mutex::new(Vec::new()),
        }
    }

    /// Ids of the faults in force now.
    pub(crate) fn active(&self) -> Vec<String> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let active = lives.iter().filter(|(_, life)| life.onset.is_some() && life.healed.is_none());
        active.map(|(id, _)| id.clone()).collect()
    }

    /// Asks every fault to heal now, and those to come never to begin.
    pub(crate) fn stop(&self) {
        self.stop.raise();
    }

    /// Runs every fault of the scenario. Returns when all that have an end have been healed.
    pub(crate) async fn run(self: &Arc<Self>, scenario: &Arc<Scenario>) {
        let mut faults = JoinSet::new();
        for index in 0..scenario.faults.len() {
            let (storm, scenario) = (Arc::clone(self), Arc::clone(scenario));
            faults.spawn(async move { storm.live(&scenario, &scenario.faults[index]).await });
        }
        all_joined(&mut faults, &self.recorder, Phase::Storm).await;
    }

    /// Undoes what has no end of its own, last first.
    pub(crate) async fn heal_rest(&self) {
        let mut left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(injection) = left.pop() {
            let fault = injection.fault.clone();
            self.injector.heal(injection).await;
            if !left.iter().any(|other| other.fault == fault) {
                self.healed(&fault);
            }
        }
    }

    async fn live(&self, scenario: &Scenario, spec: &FaultSpec) {
        if let Err(reason) = self.wait_for_start(&spec.start).await {
            return self.refuse(&spec.id, reason);
        }
        let plan = match self.plan(scenario, spec).await {
            Ok(plan) => plan,
            Err(reason) => return self.refuse(&spec.id, reason),
        };
        if let Err(reason) = self.impair(&plan, scenario.safety.max_impaired) {
            return self.refuse(&spec.id, reason);
        }
        let injections = self.inject_all(spec, &plan).await;
        match (injections, spec.hold) {
            (Err(()), _) => self.never(&spec.id),
            (Ok(injections), None) => {
                let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
                left.extend(injections);
                return;
            }
            (Ok(injections), Some(hold)) => {
                let audited = if scenario.needs_audit() { damaged_nodes(&plan) } else { Vec::new() };
                self.hold_and_heal(spec, &plan, injections, hold, &audited).await;
            }
        }
        self.release(&plan);
    }

    async fn wait_for_start(&self, start: &Start) -> Result<(), String> {
        let moment = match start {
            Start::At(at) => self.began.plus(*at),
            Start::AfterOnset(id, delay) => self.of(id, |life| life.onset).await?.plus(*delay),
            Start::AfterHealed(id, delay) => self.of(id, |life| life.healed).await?.plus(*delay),
        };
        if self.sleep_or_stop(moment).await { Err("the run was ended before its moment".to_owned()) } else { Ok(()) }
    }

    async fn of(&self, id: &str, what: fn(&Life) -> Option<RunTime>) -> Result<RunTime, String> {
        loop {
            let mut lived = std::pin::pin!(self.lived.notified());
            lived.as_mut().enable();
            let life = self.life(id);
            if let Some(moment) = what(&life) {
                return Ok(moment);
            }
            if life.never {
                return Err(format!("the fault `{id}`, which it follows, was never injected"));
            }
            tokio::select! {
                biased;
                () = self.stop.raised() => return Err("the run was ended before its moment".to_owned()),
                () = lived => {}
            }
        }
    }

    /// `true` when asked to stop before the moment.
    async fn sleep_or_stop(&self, moment: RunTime) -> bool {
        tokio::select! {
            biased;
            () = self.stop.raised() => true,
            () = self.clock.sleep_until(moment) => false,
        }
    }

    async fn plan(&self, scenario: &Scenario, spec: &FaultSpec) -> Result<FaultPlan, String> {
        let found = wait::until("a target", self.clock, RESOLVE, Duration::from_millis(100), || async {
            let view = self.system.view(self.dialer.as_ref(), self.clock, LOOK).await;
            // A fresh stream at every look: what is drawn depends on the view alone, not on how often it was asked.
            let mut rng = self.seed.stream(&format!("fault:{}", spec.id));
            let targets = resolve(&spec.on, &view, &mut rng)?;
            allowed(&view, &targets, &scenario.safety.only_if)?;
            let input = PlanInput { view: &view, targets: &targets, hold: spec.hold };
            let plan = spec.fault.plan(&input, &mut rng).map_err(|error| error.to_string())?;
            Ok((plan, targets))
        });
        let (plan, targets) = found.await.map_err(|timed_out| timed_out.to_string())?;
        self.recorder.event(Event::FaultOnset {
            fault: spec.id.clone(),
            kind: spec.entry.kind.to_owned(),
            targets,
            words: plan.words.clone(),
        });
        Ok(plan)
    }

    fn impair(&self, plan: &FaultPlan, limit: u32) -> Result<(), String> {
        let mut impaired = self.impaired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = impaired.clone();
        for one in &plan.impairs {
            *after.entry(one.clone()).or_default() += 1;
        }
        let counted = counted(after.keys());
        if counted.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
            let names: Vec<String> = counted.iter().map(|(node, process)| named(node, process.as_ref())).collect();
            return Err(format!(
                "it would impair {} at once ({}), and [safety] max-impaired is {limit}",
                counted.len(),
                names.join(", ")
            ));
        }
        *impaired = after;
        Ok(())
    }

    fn release(&self, plan: &FaultPlan) {
        let mut impaired = self.impaired.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &plan.impairs {
            if let Some(count) = impaired.get_mut(one) {
                *count -= 1;
            }
        }
        impaired.retain(|_, count| *count > 0);
    }

    async fn inject_all(&self, spec: &FaultSpec, plan: &FaultPlan) -> Result<Vec<Injection>, ()> {
        let onset = self.clock.now();
        let mut injections = Vec::new();
        for (number, step) in (0..).zip(&plan.steps) {
            if self.sleep_or_stop(onset.plus(step.offset)).await {
                break;
            }
            // Held from when its first action took effect; later actions end with it.
            let first: Option<RunTime> = injections.first().map(|injection: &Injection| injection.from);
            let held = spec.hold.map(|hold| first.map_or(hold, |first| first.plus(hold).since(self.clock.now())));
            match self.injector.inject(&spec.id, number, step, held).await {
                Ok(injection) => injections.push(injection),
                Err(error) => {
                    self.recorder.event(Event::FaultRefused { fault: spec.id.clone(), reason: words(&error) });
                    while let Some(injection) = injections.pop() {
                        self.injector.heal(injection).await;
                    }
                    return Err(());
                }
            }
        }
        let onset = injections.first().map_or(onset, |injection| injection.from);
        self.update(&spec.id, |life| life.onset = Some(onset));
        Ok(injections)
    }

    /// `audited` are nodes whose data is looked through half-way: damage must be found while it is there, because the heal
    /// may take it back.
    async fn hold_and_heal(
        &self,
        spec: &FaultSpec,
        plan: &FaultPlan,
        mut injections: Vec<Injection>,
        hold: Duration,
        audited: &[NodeName],
    ) {
        let onset = self.life(&spec.id).onset.unwrap_or(self.began);
        let held_steps: Vec<bool> = plan.steps.iter().map(|step| step.hold == Hold::Held).collect();
        let until = onset.plus(hold);
        let mut took = Duration::ZERO;
        for moment in [Moment::Middle, Moment::BeforeHeal] {
            let lead = LAST_PROOF.min(hold / 4).max((took * 3 / 2 + PROOF_SPARE).min(hold * 2 / 5));
            let when = if moment == Moment::Middle { onset.plus(hold / 2) } else { until.minus(lead) };
            if self.sleep_or_stop(when).await {
                break;
            }
            let began = self.clock.now();
            for (injection, _) in injections.iter().zip(&held_steps).filter(|(_, held)| **held) {
                self.injector.prove(injection, moment).await;
            }
            took = self.clock.now().since(began);
            for node in audited.iter().filter(|_| moment == Moment::Middle) {
                let audit = final_reads::audit(self.system.as_ref(), self.dialer.as_ref(), node).await;
                self.recorder.event(Event::Audited { node: node.clone(), audit });
            }
        }
        // Stopped early or not, what comes next is the heal.
        self.sleep_or_stop(until).await;
        while let Some(injection) = injections.pop() {
            self.injector.heal(injection).await;
        }
        self.healed(&spec.id);
    }

    fn life(&self, id: &str) -> Life {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.get(id).copied().unwrap_or_default()
    }

    fn refuse(&self, id: &str, reason: String) {
        self.recorder.event(Event::FaultRefused { fault: id.to_owned(), reason });
        self.never(id);
    }

    fn never(&self, id: &str) {
        self.update(id, |life| life.never = true);
    }

    fn healed(&self, id: &str) {
        let now = self.clock.now();
        self.recorder.event(Event::FaultHealed { fault: id.to_owned() });
        self.update(id, |life| life.healed = Some(now));
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Life)) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        change(lives.entry(id.to_owned()).or_default());
        drop(lives);
        self.lived.notify_waiters();
    }
}

/// The nodes whose data a plan damages.
fn damaged_nodes(plan: &FaultPlan) -> Vec<NodeName> {
    let damaging = plan.steps.iter().map(|step| &step.action).filter(|action| action.damages_data());
    damaging.flat_map(Action::nodes).cloned().collect()
}

fn named(node: &NodeName, process: Option<&ProcessName>) -> String {
    process.map_or_else(|| node.to_string(), |process| format!("{process} of {node}"))
}

/// Every target must bear one of the names or labels of `[safety] only-if`.
fn allowed(view: &ClusterView, targets: &[NodeName], only_if: &[String]) -> Result<(), String> {
    if only_if.is_empty() {
        return Ok(());
    }
    for target in targets {
        let labels = view.node(target).map(|node| &node.labels);
        let bears = only_if.iter().any(|wanted| match wanted.split_once('=') {
            Some((label, value)) => labels.and_then(|labels| labels.get(label)).is_some_and(|found| found == value),
            None => target.as_str() == wanted,
        });
        if !bears {
            return Err(format!("{target} bears none of [safety] only-if ({})", only_if.join(", ")));
        }
    }
    Ok(())
}
