//! The simulated world: nodes, the wires between them, and one queue of what is due. One task (`run`) steps it; everybody
//! else looks or pushes under its lock and never waits while holding that.
//!
//! Determinism rests on this: the queue is ordered by (time, sequence), maps are ordered, chance is seeded, and waiters
//! are woken in the order they came. `tokio::sync::watch` and unbiased `select!` draw unseeded numbers and stay out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firedrill_core::action::{Endpoint, Link};
use firedrill_core::cluster::NodeName;
use firedrill_core::seed::{ChaCha8Rng, Seed};
use firedrill_core::sim::{Answer, Request};
use firedrill_core::system::SimRecipe;
use firedrill_core::time::{Clock, RunTime};
use rand::RngExt as _;
use tokio::sync::{Notify, oneshot};

use super::store::{Effects, Message, Store};

/// How often a process looks at the time.
const TICK: Duration = Duration::from_millis(10);
/// Messages a stopped process's socket buffers hold; what comes later is dropped.
const INBOX: usize = 4096;
/// Lines kept of each node's log.
const LINES: usize = 200;
/// The pid of the first process; each start takes the next.
const FIRST_PID: i32 = 1000;

pub(super) struct World {
    pub(super) clock: Clock,
    state: Mutex<State>,
    /// Links, pauses or processes changed.
    changed: Notify,
    /// Something is due earlier than `run` sleeps.
    sooner: Notify,
}

pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeName, Node>,
    /// Cut links, each with the tags that cut it.
    pub(super) cuts: BTreeMap<Link, BTreeSet<String>>,
    pub(super) leftovers: BTreeSet<String>,
    /// Whether the servers have been started and not stopped.
    pub(super) on: bool,
    queue: BTreeMap<(RunTime, u64), Event>,
    sequence: u64,
    asleep_until: RunTime,
    last_arrival: BTreeMap<(NodeName, NodeName), RunTime>,
    next_pid: i32,
    rng: ChaCha8Rng,
}

pub(super) struct Node {
    store: Store,
    pub(super) pid: i32,
    pub(super) incarnation: u64,
    /// Tags that stop the process without ending it.
    pub(super) paused: BTreeSet<String>,
    /// Tags that keep the process down.
    pub(super) down: BTreeSet<String>,
    inbox: VecDeque<(NodeName, Message)>,
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// How often the process has looked at the time.
    pub(super) beats: u64,
    pub(super) lines: VecDeque<String>,
    pub(super) connections: usize,
}

enum Event {
    Tick(NodeName),
    Arrival { from: NodeName, to: NodeName, message: Message },
}

/// What has become of the process a connection goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Process {
    Running,
    Paused,
    Gone,
}

impl World {
    pub(super) fn new(nodes: &[NodeName], recipe: &SimRecipe, seed: Seed, clock: Clock) -> Self {
        let now = clock.now();
        let node = |name: &NodeName| Node {
            store: Store::new(name.clone(), nodes, recipe, seed.stream(&format!("sim-node-{name}")), now),
            pid: 0,
            incarnation: 0,
            paused: BTreeSet::new(),
            down: BTreeSet::new(),
            inbox: VecDeque::new(),
            answers: BTreeMap::new(),
            beats: 0,
            lines: VecDeque::new(),
            connections: 0,
        };
        let state = State {
            nodes: nodes.iter().map(|name| (name.clone(), node(name))).collect(),
            cuts: BTreeMap::new(),
            leftovers: BTreeSet::new(),
            on: false,
            queue: BTreeMap::new(),
            sequence: 0,
            asleep_until: RunTime::ZERO,
            last_arrival: BTreeMap::new(),
            next_pid: FIRST_PID,
            rng: seed.stream("sim-network"),
        };
        Self { clock, state: Mutex::new(state), changed: Notify::new(), sooner: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes links, pauses or processes, and tells everybody who waits for such a change.
    pub(super) fn change<T>(&self, deed: impl FnOnce(&mut State, RunTime) -> T) -> T {
        let done = {
            let mut state = self.lock();
            deed(&mut state, self.clock.now())
        };
        self.sooner.notify_one();
        self.changed.notify_waiters();
        done
    }

    /// Waits until `look` finds something; it looks again after every change.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = look(&mut self.lock());
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    /// Hands a request to the process. `None` when it ends before it has answered.
    pub(super) async fn ask(&self, node: &NodeName, incarnation: u64, request: &Request) -> Option<Answer> {
        let receiver = self
            .until(|state| match state.process(node, incarnation) {
                Process::Gone => Some(None),
                Process::Paused => None,
                Process::Running => Some(state.request(node, request, self.clock.now())),
            })
            .await?;
        self.wake_if_sooner();
        receiver.await.ok()
    }

    fn wake_if_sooner(&self) {
        let state = self.lock();
        if state.queue.keys().next().is_some_and(|(due, _)| *due < state.asleep_until) {
            self.sooner.notify_one();
        }
    }

    /// Steps the world as time passes. Never returns.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let until = self.lock().step(self.clock.now());
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }
}

impl State {
    /// Whether a packet on the link arrives.
    pub(super) fn open(&self, from: &Endpoint, to: &Endpoint) -> bool {
        !self.cuts.contains_key(&Link { from: from.clone(), to: to.clone() })
    }

    /// The time a packet takes. Whole milliseconds, because that is how finely tokio's timer sleeps.
    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(1..=2))
    }

    /// What has become of a process.
    pub(super) fn process(&self, node: &NodeName, incarnation: u64) -> Process {
        match self.nodes.get(node) {
            Some(node) if self.on && node.down.is_empty() && node.incarnation == incarnation => {
                if node.paused.is_empty() { Process::Running } else { Process::Paused }
            }
            Some(_) | None => Process::Gone,
        }
    }

    /// Starts every server.
    pub(super) fn start(&mut self, now: RunTime) {
        self.on = true;
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            self.launch(&name, now);
            self.push(now.plus(TICK), Event::Tick(name));
        }
    }

    /// Stops every server. What faults have set stays to be seen by the inventory.
    pub(super) fn stop(&mut self) {
        self.on = false;
        self.queue.clear();
        for node in self.nodes.values_mut() {
            node.end();
        }
    }

    fn launch(&mut self, name: &NodeName, now: RunTime) {
        let pid = self.next_pid;
        self.next_pid += 1;
        if let Some(node) = self.nodes.get_mut(name) {
            node.pid = pid;
            node.incarnation += 1;
            node.store.restart(now);
        }
    }

    /// Ends the process and keeps it down for `tag`.
    pub(super) fn kill(&mut self, name: &NodeName, tag: &str, now: RunTime) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let running = node.down.is_empty();
        node.down.insert(tag.to_owned());
        if !running {
            return;
        }
        let kept = node.store.kept_by_crash(now);
        let spreads = node.store.is_primary();
        node.store.crash();
        node.end();
        let Some(kept) = kept else { return };
        for (other, node) in &mut self.nodes {
            if spreads || other == name {
                node.store.lose_beyond(kept);
            }
        }
    }

    /// Starts the process again if `tag` was the last to keep it down.
    pub(super) fn revive(&mut self, name: &NodeName, tag: &str, now: RunTime) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.down.remove(tag) && node.down.is_empty() && self.on {
            self.launch(name, now);
        }
    }

    /// Stops the process without ending it.
    pub(super) fn pause(&mut self, name: &NodeName, tag: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.paused.insert(tag.to_owned());
        }
    }

    /// Lets the process go on if `tag` was the last to stop it; it first reads what came in meanwhile.
    pub(super) fn resume(&mut self, name: &NodeName, tag: &str, now: RunTime) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if !node.paused.remove(tag) || !node.paused.is_empty() {
            return;
        }
        for (from, message) in std::mem::take(&mut node.inbox) {
            self.act(name, |store, out| store.receive(&from, message, now, out), now);
        }
    }

    fn push(&mut self, due: RunTime, event: Event) {
        self.sequence += 1;
        self.queue.insert((due, self.sequence), event);
    }

    /// Does everything that is due, and says when to come again.
    fn step(&mut self, now: RunTime) -> RunTime {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Event::Tick(name) => {
                    if self
                        .nodes
                        .get(&name)
                        .is_some_and(|node| self.process(&name, node.incarnation) == Process::Running)
                    {
                        self.act(&name, |store, out| store.tick(now, out), now);
                        self.nodes.entry(name.clone()).and_modify(|node| node.beats += 1);
                    }
                    self.push(now.plus(TICK), Event::Tick(name));
                }
                Event::Arrival { from, to, message } => self.arrive(&from, &to, message, now),
            }
        }
        self.asleep_until = self.queue.keys().next().map_or(now.plus(Duration::from_secs(1)), |(due, _)| *due);
        self.asleep_until
    }

    fn arrive(&mut self, from: &NodeName, to: &NodeName, message: Message, now: RunTime) {
        if !self.open(&Endpoint::Node(from.clone()), &Endpoint::Node(to.clone())) {
            return;
        }
        let incarnation = self.nodes.get(to).map_or(0, |node| node.incarnation);
        match self.process(to, incarnation) {
            Process::Running => self.act(to, |store, out| store.receive(from, message, now, out), now),
            Process::Paused => {
                if let Some(node) = self.nodes.get_mut(to).filter(|node| node.inbox.len() < INBOX) {
                    node.inbox.push_back((from.clone(), message));
                }
            }
            Process::Gone => {}
        }
    }

    fn request(&mut self, name: &NodeName, request: &Request, now: RunTime) -> Option<oneshot::Receiver<Answer>> {
        let (sender, receiver) = oneshot::channel();
        self.sequence += 1;
        let id = self.sequence;
        let node = self.nodes.get_mut(name)?;
        node.answers.insert(id, sender);
        let incarnation = node.incarnation;
        self.act(name, |store, out| store.request(id, request, incarnation, now, out), now);
        Some(receiver)
    }

    /// Lets a node do one thing, and carries out what follows from it.
    fn act(&mut self, name: &NodeName, deed: impl FnOnce(&mut Store, &mut Effects), now: RunTime) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let mut effects = Effects::default();
        deed(&mut node.store, &mut effects);
        for (id, answer) in effects.answers {
            if let Some(sender) = node.answers.remove(&id) {
                // Who asked may have gone away; then nobody wants the answer.
                drop(sender.send(answer));
            }
        }
        node.lines.extend(effects.lines);
        let surplus = node.lines.len().saturating_sub(LINES);
        node.lines.drain(..surplus);
        for (to, message) in effects.sends {
            if self.open(&Endpoint::Node(name.clone()), &Endpoint::Node(to.clone())) {
                let due = now.plus(self.latency());
                let last = self.last_arrival.entry((name.clone(), to.clone())).or_default();
                *last = due.max(*last);
                let due = *last;
                self.push(due, Event::Arrival { from: name.clone(), to, message });
            }
        }
    }
}

impl Node {
    /// The process ended: its sockets are closed, and nobody gets an answer.
    fn end(&mut self) {
        self.inbox.clear();
        self.answers.clear();
    }
}
