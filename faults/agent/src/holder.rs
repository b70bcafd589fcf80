//! The holder: what is in force, since when and until when, and who undid what.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use firedrill_core::action::{Action, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_sys::clock;

use crate::deeds::kill::{self, Target};
use crate::deeds::{Grip, cut, pause};
use crate::guard::Guard;
use crate::log::say;
use crate::protocol::{By, Held, Refusal, RefusalKind};
use crate::world::{World, is_tag};

/// Actions in force at once, at most.
const ACTIVE: usize = 256;
/// Undone actions remembered, so that a later revert can be answered.
const DONE: usize = 1024;
/// How often what is to stay down is looked for.
const KEEP_DOWN: Duration = Duration::from_millis(20);

/// An action in force.
#[derive(Debug)]
struct Active {
    undo: Undo,
    grip: Grip,
    from: u64,
    deadline: Option<u64>,
}

/// An action that was in force.
#[derive(Clone, Debug)]
pub struct Done {
    /// When.
    pub held: Option<Held>,
    /// Who undid it.
    pub by: By,
    /// What went wrong.
    pub failure: Option<Refusal>,
}

/// What is left to do for a revert after the agent has let go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// The units of a node must run again: it takes a while, so it is done elsewhere.
    Restart(NodeName),
}

/// Everything the agent holds.
#[derive(Debug)]
pub struct Holder {
    /// Where the agent is.
    pub world: World,
    guard: Guard,
    active: BTreeMap<String, Active>,
    done: BTreeMap<String, Done>,
    done_order: VecDeque<String>,
    failed: BTreeMap<String, Undo>,
    next_keep_down: u64,
}

impl Holder {
    /// Holds nothing yet. Starts the guard.
    pub fn new(world: World) -> Result<Self, Refusal> {
        let guard = Guard::start(&world.config)?;
        Ok(Self {
            world,
            guard,
            active: BTreeMap::new(),
            done: BTreeMap::new(),
            done_order: VecDeque::new(),
            failed: BTreeMap::new(),
            next_keep_down: 0,
        })
    }

    /// Performs an action, or says since when it is in force. What fails half-way is undone before this returns, but for
    /// units that must be started again: those are the error's second part.
    pub fn apply(&mut self, undo: &Undo, hold_nanos: Option<u64>) -> Result<u64, (Refusal, Rest)> {
        if let Some(active) = self.active.get(&undo.tag) {
            return Ok(active.from);
        }
        self.check(undo).map_err(|refusal| (refusal, Rest::Nothing))?;
        self.guard.hold(undo).map_err(|refusal| (refusal, Rest::Nothing))?;
        let (grip, from) = match self.take(undo) {
            Ok(taken) => taken,
            Err(refusal) => {
                self.guard.release(&undo.tag);
                let rest = self.rest(undo);
                let rest = if refusal.kind == RefusalKind::NoTarget { Rest::Nothing } else { rest };
                return Err((refusal, rest));
            }
        };
        say(&format!("{} applied: {}; held from {from}", undo.tag, undo.action));
        let deadline = hold_nanos.map(|hold| from.saturating_add(hold));
        self.active.insert(undo.tag.clone(), Active { undo: undo.clone(), grip, from, deadline });
        Ok(from)
    }

    fn check(&self, undo: &Undo) -> Result<(), Refusal> {
        let refuse = |what: String| Err(Refusal::new(RefusalKind::Order, what));
        if !is_tag(&undo.tag) || !undo.tag.starts_with(&self.world.config.tag_prefix) {
            return refuse(format!("`{}` is not a tag of this run", undo.tag));
        }
        if self.done.contains_key(&undo.tag) {
            return refuse(format!("{} was already undone; prepare the action again", undo.tag));
        }
        if self.active.len() >= ACTIVE {
            return refuse(format!("{ACTIVE} actions are in force already"));
        }
        Ok(())
    }

    /// Does the deed and returns when it took effect.
    fn take(&mut self, undo: &Undo) -> Result<(Grip, u64), Refusal> {
        match &undo.action {
            Action::Cut { links } => {
                let table = cut::apply(&self.world, &undo.tag, links)?;
                Ok((Grip::Cut(table), clock::boottime_nanos()))
            }
            Action::Kill { node, process, signal, stay_down } => {
                let target = Target { node, process: process.as_ref(), stay_down: *stay_down };
                let (from, since_ticks) = kill::apply(&self.world, &target, *signal)?;
                Ok((Grip::Kill { since_ticks }, from))
            }
            Action::Pause { node, process } => {
                let (stopped, from) = pause::apply(&self.world, node, process.as_ref(), &self.paused_but(&undo.tag))?;
                if stopped.iter().any(|reference| !undo.processes.contains(reference)) {
                    self.guard.hold(&Undo { processes: stopped.clone(), ..undo.clone() }).or_else(|refusal| {
                        pause::revert(&stopped, &self.paused_but(&undo.tag))?;
                        Err(refusal)
                    })?;
                }
                Ok((Grip::Pause(stopped), from))
            }
        }
    }

    /// What is stopped by actions in force other than `tag`.
    fn paused_but(&self, tag: &str) -> Vec<ProcessRef> {
        let others = self.active.iter().filter(|(other, _)| *other != tag);
        let stopped = others.filter_map(|(_, active)| match &active.grip {
            Grip::Pause(stopped) => Some(stopped),
            Grip::Cut(_) | Grip::Kill { .. } => None,
        });
        stopped.flatten().cloned().collect()
    }

    /// Lets go. What then is left to do is [`Rest`]; [`Holder::finish`] must be called when that is done too.
    /// `None` if the action was already undone without a failure: ask [`Holder::done`].
    pub fn let_go(&mut self, undo: &Undo, by: By) -> Option<(Done, Rest)> {
        let active = self.active.remove(&undo.tag);
        let earlier = self.done.get(&undo.tag);
        if active.is_none() && earlier.is_some_and(|done| done.failure.is_none()) {
            return None;
        }
        let mut done = match earlier {
            Some(earlier) => Done { failure: None, ..earlier.clone() },
            None => Done { held: None, by, failure: None },
        };
        let grip = active.map(|active| {
            done.held = Some(Held { from: active.from, to: clock::boottime_nanos() });
            active.grip
        });
        done.failure = self.release(undo, grip).err();
        Some((done, self.rest(undo)))
    }

    fn release(&self, undo: &Undo, grip: Option<Grip>) -> Result<(), Refusal> {
        match (&undo.action, grip) {
            (Action::Cut { .. }, Some(Grip::Cut(table))) => cut::revert(Some(table), &undo.tag),
            (Action::Cut { .. }, _) if !is_tag(&undo.tag) => {
                Err(Refusal::new(RefusalKind::Order, format!("`{}` is not a tag of ours", undo.tag)))
            }
            (Action::Cut { .. }, _) => cut::revert(None, &undo.tag),
            (Action::Pause { .. }, Some(Grip::Pause(stopped))) => pause::revert(&stopped, &self.paused_but(&undo.tag)),
            (Action::Pause { node, process }, _) => {
                let orphans = pause::orphans(&self.world, node, process.as_ref(), &undo.processes)?;
                pause::revert(&orphans, &self.paused_but(&undo.tag))
            }
            (Action::Kill { .. }, _) => Ok(()),
        }
    }

    /// After a kill the node's units must run again, unless another kill still keeps the node down.
    fn rest(&self, undo: &Undo) -> Rest {
        let Action::Kill { node, .. } = &undo.action else { return Rest::Nothing };
        let kept_down = self
            .active
            .values()
            .any(|other| kill_target(&other.undo).is_some_and(|target| target.node == node && target.empties()));
        if kept_down || self.world.config.starter.is_none() { Rest::Nothing } else { Rest::Restart(node.clone()) }
    }

    /// Remembers how an action was undone, logs it, and lets the guard forget it.
    pub fn finish(&mut self, undo: &Undo, done: &Done) {
        let tag = undo.tag.as_str();
        if let Some(Held { from, to }) = done.held {
            let span = firedrill_core::units::human(Duration::from_nanos(to.saturating_sub(from)));
            say(&format!("{tag} undone ({}): held from {from} to {to}, {span}", done.by));
            if self.done.insert(tag.to_owned(), done.clone()).is_none() {
                self.done_order.push_back(tag.to_owned());
            }
        }
        if let Some(failure) = &done.failure {
            say(&format!("{tag} could not be undone: {failure}"));
            if self.failed.len() < ACTIVE {
                self.failed.insert(tag.to_owned(), undo.clone());
            }
        } else {
            self.failed.remove(tag);
            self.guard.release(tag);
        }
        if self.done_order.len() > DONE {
            let oldest = self.done_order.pop_front();
            oldest.map(|oldest| self.done.remove(&oldest));
        }
    }

    /// How an action was undone.
    pub fn done(&self, tag: &str) -> Option<&Done> {
        self.done.get(tag)
    }

    /// Everything in force.
    pub fn active(&self) -> Vec<Undo> {
        self.active.values().map(|active| active.undo.clone()).collect()
    }

    /// What could not be undone yet.
    pub fn failed(&self) -> Vec<Undo> {
        self.failed.values().cloned().collect()
    }

    /// What is in force although its deadline has passed.
    pub fn overdue(&self) -> Vec<Undo> {
        let now = clock::boottime_nanos();
        let overdue = self.active.values().filter(|active| active.deadline.is_some_and(|deadline| deadline <= now));
        overdue.map(|active| active.undo.clone()).collect()
    }

    /// When something is to be done next: a deadline, or a look at what is to stay down.
    pub fn next_turn(&self) -> Option<u64> {
        let deadlines = self.active.values().filter_map(|active| active.deadline);
        let keeping =
            self.active.values().any(|active| kill_target(&active.undo).is_some_and(|target| target.stay_down));
        deadlines.chain(keeping.then_some(self.next_keep_down)).min()
    }

    /// Kills again what was started of what is to stay down, when it is time to look.
    pub fn keep_down(&mut self) {
        let now = clock::boottime_nanos();
        if now < self.next_keep_down {
            return;
        }
        self.next_keep_down = now.saturating_add(u64::try_from(KEEP_DOWN.as_nanos()).unwrap_or(u64::MAX));
        for (tag, active) in &self.active {
            let (Some(target), Grip::Kill { since_ticks }) = (kill_target(&active.undo), &active.grip) else {
                continue;
            };
            if !target.stay_down {
                continue;
            }
            match kill::keep_down(&self.world, &target, *since_ticks) {
                Ok(0) => {}
                Ok(count) => say(&format!("{tag}: killed {count} that were started on {} meanwhile", target.node)),
                Err(refusal) => say(&format!("{tag}: keeping {} down failed: {refusal}", target.node)),
            }
        }
    }
}

/// Whom an undo's action kills, if it does.
pub fn kill_target(undo: &Undo) -> Option<Target<'_>> {
    match &undo.action {
        Action::Kill { node, process, stay_down, .. } => {
            Some(Target { node, process: process.as_ref(), stay_down: *stay_down })
        }
        Action::Cut { .. } | Action::Pause { .. } => None,
    }
}
