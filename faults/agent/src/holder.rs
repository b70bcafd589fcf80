//! The holder: what is in force, since when and until when, and who undid what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use firedrill_core::action::{ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_sys::clock;

use crate::deeds::{self, Grip, Scene};
use crate::failpoint;
use crate::guard::Guard;
use crate::leftovers;
use crate::log::say;
use crate::protocol::{By, Held, Refusal, RefusalKind};
use crate::sabotage::{self, Sabotage};
use crate::starter::Down;
use crate::world::{World, is_tag};

/// Actions in force at once, at most.
const ACTIVE: usize = 256;
/// Undone actions remembered, so that a later revert can be answered.
const DONE: usize = 1024;

/// An action in force.
#[derive(Debug)]
struct Active {
    undo: Undo,
    grip: Box<dyn Grip>,
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
    /// The units of nodes must run again: it takes a while, so it is done elsewhere.
    Restart(Vec<NodeName>),
}

/// Everything the agent holds.
#[derive(Debug)]
pub struct Holder {
    /// Where the agent is.
    pub world: Arc<World>,
    guard: Guard,
    active: BTreeMap<String, Active>,
    done: BTreeMap<String, Done>,
    done_order: VecDeque<String>,
    failed: BTreeMap<String, Undo>,
    /// Nodes that are down, by tag, as the starter knows them.
    down: BTreeMap<String, Vec<Down>>,
    /// `None` but in tests.
    sabotage: Option<Sabotage>,
}

impl Holder {
    /// Holds nothing yet. Undoes what an agent of the same run has left that died together with its guard, and starts the
    /// guard.
    pub fn new(world: World) -> Result<Self, Refusal> {
        let failed = match &world.config.journal {
            Some(folder) => leftovers::undo_all(folder, &world),
            None => BTreeMap::new(),
        };
        let guard = Guard::start(&world.config)?;
        Ok(Self {
            world: Arc::new(world),
            guard,
            active: BTreeMap::new(),
            done: BTreeMap::new(),
            done_order: VecDeque::new(),
            failed,
            down: BTreeMap::new(),
            sabotage: sabotage::read()?,
        })
    }

    /// To be called again and again: keeps the guard awake, and in being. An error when there is none any more.
    pub fn tend(&mut self) -> Result<(), Refusal> {
        self.guard.tend()
    }

    /// Performs an action, or says since when it is in force. What fails half-way is undone before this returns, but for
    /// units that must be started again: those are the error's second part.
    pub fn apply(&mut self, undo: &Undo, hold_nanos: Option<u64>) -> Result<u64, (Refusal, Rest)> {
        if let Some(active) = self.active.get(&undo.tag) {
            return Ok(active.from);
        }
        self.check(undo).map_err(|refusal| (refusal, Rest::Nothing))?;
        let aimed = sabotage::aim(self.sabotage, &self.world, undo).map_err(|refusal| (refusal, Rest::Nothing))?;
        let undo = aimed.as_ref();
        self.guard.hold(undo).map_err(|refusal| (refusal, Rest::Nothing))?;
        self.guard.busy(true);
        self.note_down(undo);
        let taken = self.take(undo, hold_nanos);
        self.guard.busy(false);
        let (grip, from) = match taken {
            Ok(taken) => taken,
            Err(refusal) => {
                self.guard.release(&undo.tag, None, None);
                let rest = self.rest(undo);
                let rest = if refusal.kind == RefusalKind::NoTarget { Rest::Nothing } else { rest };
                if rest == Rest::Nothing {
                    self.forget_down(&undo.tag);
                }
                return Err((refusal, rest));
            }
        };
        failpoint::at("after-apply");
        self.guard.applied(&undo.tag, from);
        failpoint::at("after-held");
        let grip = sabotage::hold(self.sabotage, grip, from, hold_nanos);
        say(&format!("{} applied: {}; held from {from}", undo.tag, undo.action));
        let deadline = hold_nanos.map(|hold| from.saturating_add(hold));
        self.active.insert(undo.tag.clone(), Active { undo: undo.clone(), grip, from, deadline });
        Ok(from)
    }

    /// Tells the starter which nodes are about to be down.
    fn note_down(&mut self, undo: &Undo) {
        let Some(path) = &self.world.config.starter else { return };
        for node in deeds::restarts(&undo.action) {
            match Down::note(path, node) {
                Ok(down) => self.down.entry(undo.tag.clone()).or_default().push(down),
                // The guard is there nevertheless, and so is the journal.
                Err(refusal) => say(&format!("{}: only the guard will start {node} again: {refusal}", undo.tag)),
            }
        }
    }

    fn forget_down(&mut self, tag: &str) {
        self.down.remove(tag).into_iter().flatten().for_each(Down::forget);
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

    /// Does the deed and returns when it took effect. What fails half-way is taken back.
    fn take(&mut self, undo: &Undo, hold: Option<u64>) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let work = sabotage::work(self.sabotage, &undo.action)?;
        let stopped = self.stopped_but(&undo.tag);
        let by_half = self.sabotage == Some(Sabotage::HalfWay);
        let mut scene = Scene { world: &self.world, guard: &mut self.guard, held: &stopped, hold, by_half };
        work.apply(&mut scene, undo).map_err(|refusal| match work.undo(&self.world, undo, &stopped) {
            Ok(()) => refusal,
            Err(second) => Refusal {
                what: format!("{}; and taking the half of it back failed: {second}", refusal.what),
                ..refusal
            },
        })
    }

    /// What is stopped by actions in force other than `tag`.
    fn stopped_but(&self, tag: &str) -> Vec<ProcessRef> {
        let others = self.active.iter().filter(|(other, _)| *other != tag);
        others.flat_map(|(_, active)| active.grip.stopped()).cloned().collect()
    }

    /// Lets go. What then is left to do is [`Rest`]; [`Holder::finish`] must be called when that is done too.
    /// `None` if the action was already undone without a failure: ask [`Holder::done`].
    pub fn let_go(&mut self, undo: &Undo, by: By) -> Option<(Done, Rest)> {
        let active = self.active.remove(&undo.tag);
        let applied = active.as_ref().map(|active| active.undo.clone());
        let undo = applied.as_ref().unwrap_or(undo);
        let earlier = self.done.get(&undo.tag);
        if active.is_none() && earlier.is_some_and(|done| done.failure.is_none()) {
            return None;
        }
        let mut done = match earlier {
            Some(earlier) => Done { failure: None, ..earlier.clone() },
            None => Done { held: None, by, failure: None },
        };
        let grip = active.map(|active| {
            let to = active.grip.lost().unwrap_or_else(clock::boottime_nanos);
            done.held = Some(Held { from: active.from, to: to.max(active.from) });
            active.grip
        });
        failpoint::at("before-revert");
        self.guard.busy(true);
        done.failure = self.release(undo, grip).err();
        self.guard.busy(false);
        failpoint::at("after-revert");
        Some((done, self.rest(undo)))
    }

    fn release(&self, undo: &Undo, grip: Option<Box<dyn Grip>>) -> Result<(), Refusal> {
        let held = self.stopped_but(&undo.tag);
        match grip {
            Some(grip) => grip.let_go(&self.world, undo, &held),
            None => deeds::work(&undo.action)?.undo(&self.world, undo, &held),
        }
    }

    /// The units that must run again, but for nodes that another action still keeps down.
    fn rest(&self, undo: &Undo) -> Rest {
        let kept_down = |node: &NodeName| self.active.values().any(|other| deeds::keeps_down(&other.undo.action, node));
        let nodes: Vec<NodeName> =
            deeds::restarts(&undo.action).into_iter().filter(|node| !kept_down(node)).cloned().collect();
        if nodes.is_empty() || self.world.config.starter.is_none() { Rest::Nothing } else { Rest::Restart(nodes) }
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
            self.forget_down(tag);
            self.guard.release(tag, done.held, Some(done.by));
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

    /// What is no longer in force although nobody undid it.
    pub fn lost(&self) -> Vec<Undo> {
        let lost = self.active.values().filter(|active| active.grip.lost().is_some());
        lost.map(|active| active.undo.clone()).collect()
    }

    /// When something is to be done next: a deadline, or the turn of what is in force.
    pub fn next_turn(&self) -> Option<u64> {
        let deadlines = self.active.values().filter_map(|active| active.deadline);
        deadlines.chain(self.active.values().filter_map(|active| active.grip.next_turn())).min()
    }

    /// Lets those whose turn has come do what keeps them in force.
    pub fn turn(&mut self) {
        let now = clock::boottime_nanos();
        for active in self.active.values_mut() {
            if active.grip.next_turn().is_some_and(|next| next <= now) {
                active.grip.turn(&self.world, &active.undo);
            }
        }
    }
}
