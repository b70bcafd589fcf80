//! One simulated node: a pure state machine of what it is told and what time it is. No clock, no network, no task.
//!
//! Replication after Raft (Ongaro 2014) with its pre-vote and leader stickiness, and a lease: a primary that has not heard
//! from a majority for `lease` steps down before any majority can elect another. The planted bugs are the only
//! places where it is dishonest; each is marked by a question to `has`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName, Position};
use firedrill_core::history::EpochSwitch;
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::sim::{Answer, Request, Status};
use firedrill_core::system::{SimBug, SimRecipe};
use firedrill_core::time::RunTime;
use rand::RngExt as _;

use super::log::{Entry, Log, position};

/// How long acknowledged entries stay unshipped under [`SimBug::AckBeforeReplicating`].
const SHIPPING_LAG: Duration = Duration::from_millis(100);
/// How long acknowledged entries stay in memory alone under [`SimBug::LostOnCrash`].
const FLUSH_LAG: Duration = Duration::from_millis(250);

/// What nodes tell each other.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// The primary ships entries, or none: a heartbeat.
    Append { epoch: Epoch, before: usize, before_epoch: Epoch, entries: Vec<Entry>, commit: usize, sent: RunTime },
    /// The answer: how far the follower's log agrees, or from where to ship again.
    Appended { epoch: Epoch, held: Result<usize, usize>, sent: RunTime },
    /// A candidate asks for a vote; on trial it only asks whether it would get one.
    Ballot { epoch: Epoch, last: (Epoch, usize), trial: bool },
    /// The answer to a ballot of that epoch.
    Vote { epoch: Epoch, trial: bool, granted: bool },
}

/// What a step of the node makes happen outside of it.
#[derive(Default)]
pub(super) struct Effects {
    /// Messages to peers.
    pub(super) sends: Vec<(NodeName, Message)>,
    /// Answers to requests, by number.
    pub(super) answers: Vec<(u64, Answer)>,
    /// Lines for the node's log.
    pub(super) lines: Vec<String>,
}

enum Part {
    Follower { primary: Option<NodeName>, in_sync: bool },
    Candidate { trial: bool, since: RunTime, votes: BTreeSet<NodeName> },
    Primary(Leading),
}

struct Leading {
    peers: BTreeMap<NodeName, Progress>,
    beat_due: RunTime,
    /// Writes not yet acknowledged: log length they need committed, number of the request.
    waiting: BTreeMap<usize, u64>,
}

struct Progress {
    next: usize,
    held: usize,
    /// When the latest message this peer has answered was sent.
    heard: RunTime,
}

pub(super) struct Store {
    name: NodeName,
    peers: Vec<NodeName>,
    lease: Duration,
    bugs: BTreeSet<SimBug>,
    rng: ChaCha8Rng,
    /// Survives a crash, as do `epoch` and `voted`.
    log: Log,
    epoch: Epoch,
    voted: Option<NodeName>,
    part: Part,
    stand_at: RunTime,
    /// When a living primary was last heard.
    heard: Option<RunTime>,
    /// The primary last followed, for [`SimBug::StaleReadAfterFailover`].
    followed: Option<NodeName>,
    frozen: Option<Vec<u64>>,
}

impl Store {
    pub(super) fn new(name: NodeName, nodes: &[NodeName], recipe: &SimRecipe, rng: ChaCha8Rng, now: RunTime) -> Self {
        let mut store = Self {
            peers: nodes.iter().filter(|peer| **peer != name).cloned().collect(),
            name,
            lease: recipe.lease,
            bugs: recipe.bugs.iter().copied().collect(),
            rng,
            log: Log::default(),
            epoch: Epoch(0),
            voted: None,
            part: Part::Follower { primary: None, in_sync: false },
            stand_at: now,
            heard: None,
            followed: None,
            frozen: None,
        };
        store.stand_at = store.patience(now);
        store
    }

    fn has(&self, bug: SimBug) -> bool {
        self.bugs.contains(&bug)
    }

    fn majority(&self) -> usize {
        self.peers.len().div_ceil(2) + 1
    }

    /// When to stand if nothing is heard from `now` on: the lease and a drawn part of it.
    fn patience(&mut self, now: RunTime) -> RunTime {
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX).max(2);
        let drawn = self.rng.random_range(lease / 10 + 1..=lease / 2 + 1);
        now.plus(self.lease).plus(Duration::from_millis(drawn))
    }

    fn beat(&self) -> Duration {
        (self.lease / 10).clamp(Duration::from_millis(10), Duration::from_millis(100))
    }

    /// Until when a primary may lead: the lease from the latest moment a majority (itself included) is known to have heard it.
    fn lease_end(&self, leading: &Leading, now: RunTime) -> RunTime {
        let mut heard: Vec<RunTime> = leading.peers.values().map(|peer| peer.heard).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let needed = self.majority() - 1;
        let latest = if needed == 0 { now } else { heard.get(needed - 1).copied().unwrap_or_default() };
        latest.plus(self.lease)
    }

    fn leads(&self, now: RunTime) -> bool {
        match &self.part {
            Part::Primary(leading) => self.has(SimBug::TwoPrimaries) || now < self.lease_end(leading, now),
            Part::Follower { .. } | Part::Candidate { .. } => false,
        }
    }

    /// The process ended: what is not on disk is gone.
    pub(super) fn crash(&mut self) {
        self.part = Part::Follower { primary: None, in_sync: false };
        self.heard = None;
        self.followed = None;
        self.frozen = None;
    }

    /// The process starts again.
    pub(super) fn restart(&mut self, now: RunTime) {
        self.stand_at = self.patience(now);
    }

    /// If a crash of this node loses writes, how much of the log everyone keeps. The planted bug is that replicas share the
    /// primary's unflushed tail, so that it is gone everywhere when the primary crashes.
    pub(super) fn kept_by_crash(&self, now: RunTime) -> Option<usize> {
        self.has(SimBug::LostOnCrash).then(|| self.log.written_before(now.minus(FLUSH_LAG)))
    }

    pub(super) fn is_primary(&self) -> bool {
        matches!(self.part, Part::Primary(_))
    }

    pub(super) fn lose_beyond(&mut self, kept: usize) {
        self.log.truncate(kept);
    }

    /// Time passes; to be called every few milliseconds.
    pub(super) fn tick(&mut self, now: RunTime, out: &mut Effects) {
        match &self.part {
            Part::Primary(leading) => {
                if !self.leads(now) {
                    self.follow(None, now, "no majority heard for the lease", out);
                } else if now >= leading.beat_due {
                    self.ship_all(now, out);
                }
                self.advance(now, out);
            }
            Part::Follower { .. } | Part::Candidate { .. } => {
                if now >= self.stand_at {
                    self.stand(true, now, out);
                }
            }
        }
    }

    fn follow(&mut self, primary: Option<NodeName>, now: RunTime, why: &str, out: &mut Effects) {
        let part = std::mem::replace(&mut self.part, Part::Follower { primary, in_sync: false });
        if let Part::Primary(leading) = part {
            out.lines.push(format!("{now} stepped down on epoch {}: {why}", self.epoch));
            let unknown = |id| (id, Answer::Unknown { why: format!("stepped down: {why}") });
            out.answers.extend(leading.waiting.into_values().map(unknown));
        }
        self.stand_at = self.patience(now);
    }

    fn stand(&mut self, trial: bool, now: RunTime, out: &mut Effects) {
        self.stand_at = self.patience(now).minus(self.lease / 2);
        if !trial {
            self.epoch = Epoch(self.epoch.0 + 1);
            self.voted = Some(self.name.clone());
        }
        let epoch = if trial { Epoch(self.epoch.0 + 1) } else { self.epoch };
        self.part = Part::Candidate { trial, since: now, votes: BTreeSet::from([self.name.clone()]) };
        let ballot = Message::Ballot { epoch, last: self.log.last(), trial };
        out.sends.extend(self.peers.iter().map(|peer| (peer.clone(), ballot.clone())));
        self.count_votes(now, out);
    }

    fn count_votes(&mut self, now: RunTime, out: &mut Effects) {
        let Part::Candidate { trial, since, votes } = &self.part else { return };
        let (trial, since) = (*trial, *since);
        if votes.len() < self.majority() {
            return;
        }
        if trial {
            self.stand(false, now, out);
        } else {
            self.lead(since, now, out);
        }
    }

    fn lead(&mut self, since: RunTime, now: RunTime, out: &mut Effects) {
        out.lines.push(format!("{now} elected on epoch {} with a log of {}", self.epoch, self.log.len()));
        let progress = || Progress { next: self.log.len(), held: 0, heard: since };
        let peers = self.peers.iter().map(|peer| (peer.clone(), progress())).collect();
        self.part = Part::Primary(Leading { peers, beat_due: now, waiting: BTreeMap::new() });
        self.followed = Some(self.name.clone());
        self.frozen = None;
        self.log.push(Entry { epoch: self.epoch, at: now, row: None });
        self.ship_all(now, out);
        self.advance(now, out);
    }

    fn ship_all(&mut self, now: RunTime, out: &mut Effects) {
        let beat_due = now.plus(self.beat());
        for peer in self.peers.clone() {
            self.ship(&peer, now, out);
        }
        if let Part::Primary(leading) = &mut self.part {
            leading.beat_due = beat_due;
        }
    }

    fn ship(&mut self, peer: &NodeName, now: RunTime, out: &mut Effects) {
        let end = if self.has(SimBug::AckBeforeReplicating) {
            self.log.written_before(now.minus(SHIPPING_LAG))
        } else {
            self.log.len()
        };
        let Part::Primary(leading) = &mut self.part else { return };
        let Some(progress) = leading.peers.get_mut(peer) else { return };
        let before = progress.next.min(self.log.len());
        let end = end.max(before);
        progress.next = end;
        let (epoch, commit) = (self.epoch, self.log.commit().min(end));
        let entries = self.log.between(before, end);
        let before_epoch = self.log.epoch_at(before);
        out.sends.push((peer.clone(), Message::Append { epoch, before, before_epoch, entries, commit, sent: now }));
    }

    /// Commits what a majority holds (Raft §5.4.2: only entries of the own epoch by counting) and answers who waits for it.
    fn advance(&mut self, now: RunTime, out: &mut Effects) {
        let alone = self.has(SimBug::AckBeforeReplicating);
        let Part::Primary(leading) = &self.part else { return };
        let cut_off = now >= self.lease_end(leading, now);
        let mut held: Vec<usize> = leading.peers.values().map(|peer| peer.held).chain([self.log.len()]).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let agreed = held.get(self.majority() - 1).copied().unwrap_or(0);
        // Past its lease only a primary with the planted bug gets here, and it is content with itself.
        let commit = if alone || cut_off { self.log.len() } else { agreed };
        if self.log.epoch_at(commit) == self.epoch {
            self.log.commit_to(commit);
        }
        let Part::Primary(leading) = &mut self.part else { return };
        let open = leading.waiting.split_off(&(self.log.commit() + 1));
        let done = std::mem::replace(&mut leading.waiting, open);
        let acknowledged =
            done.into_iter().map(|(len, id)| (id, Answer::Acknowledged { epoch: self.epoch, position: position(len) }));
        out.answers.extend(acknowledged);
    }

    /// A message of a peer arrives.
    pub(super) fn receive(&mut self, from: &NodeName, message: Message, now: RunTime, out: &mut Effects) {
        if self.is_primary() && !self.leads(now) {
            self.follow(None, now, "no majority heard for the lease", out);
        }
        match message {
            Message::Append { epoch, before, before_epoch, entries, commit, sent } => {
                let held = if epoch < self.epoch {
                    Err(0)
                } else {
                    self.accept_primary(from, epoch, now, out);
                    let held = self.log.accept(before, before_epoch, entries, commit);
                    self.part = Part::Follower { primary: Some(from.clone()), in_sync: held.is_ok() };
                    held
                };
                out.sends.push((from.clone(), Message::Appended { epoch: self.epoch, held, sent }));
            }
            Message::Appended { epoch, held, sent } => self.receive_appended(from, epoch, held, sent, now, out),
            Message::Ballot { epoch, last, trial } => {
                let granted = self.votes_for(from, epoch, last, trial, now, out);
                let epoch = if granted { epoch } else { self.epoch };
                out.sends.push((from.clone(), Message::Vote { epoch, trial, granted }));
            }
            Message::Vote { epoch, trial, granted } => {
                let asked = if trial { Epoch(self.epoch.0 + 1) } else { self.epoch };
                if !granted {
                    self.learn_epoch(epoch, now, out);
                } else if let Part::Candidate { trial: standing, votes, .. } = &mut self.part
                    && *standing == trial
                    && epoch == asked
                {
                    votes.insert(from.clone());
                    self.count_votes(now, out);
                }
            }
        }
    }

    fn accept_primary(&mut self, from: &NodeName, epoch: Epoch, now: RunTime, out: &mut Effects) {
        if epoch > self.epoch {
            self.learn_epoch(epoch, now, out);
        }
        if self.has(SimBug::StaleReadAfterFailover)
            && self.followed.as_ref().is_some_and(|followed| followed != from)
            && self.frozen.is_none()
        {
            self.frozen = Some(self.log.rows());
        }
        if self.followed.as_ref() != Some(from) {
            out.lines.push(format!("{now} follows {from} on epoch {epoch}"));
        }
        self.followed = Some(from.clone());
        self.heard = Some(now);
        self.stand_at = self.patience(now);
    }

    fn learn_epoch(&mut self, epoch: Epoch, now: RunTime, out: &mut Effects) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.voted = None;
            self.follow(None, now, "another epoch began", out);
        }
    }

    fn receive_appended(
        &mut self,
        from: &NodeName,
        epoch: Epoch,
        held: Result<usize, usize>,
        sent: RunTime,
        now: RunTime,
        out: &mut Effects,
    ) {
        self.learn_epoch(epoch, now, out);
        let Part::Primary(leading) = &mut self.part else { return };
        let Some(progress) = leading.peers.get_mut(from).filter(|_| epoch == self.epoch) else { return };
        progress.heard = progress.heard.max(sent);
        match held {
            Ok(held) => {
                progress.held = progress.held.max(held);
                self.advance(now, out);
            }
            Err(again_from) => {
                progress.next = again_from;
                self.ship(from, now, out);
            }
        }
    }

    fn votes_for(
        &mut self,
        from: &NodeName,
        epoch: Epoch,
        last: (Epoch, usize),
        trial: bool,
        now: RunTime,
        out: &mut Effects,
    ) -> bool {
        let led = self.leads(now) || self.heard.is_some_and(|heard| now < heard.plus(self.lease));
        if led || last < self.log.last() || epoch < self.epoch {
            return false;
        }
        if trial {
            return epoch > self.epoch;
        }
        self.learn_epoch(epoch, now, out);
        let free = self.voted.as_ref().is_none_or(|voted| voted == from);
        if free {
            // A vote is a promise of the lease, as hearing a primary is.
            self.voted = Some(from.clone());
            self.heard = Some(now);
            self.stand_at = self.patience(now);
        }
        free
    }

    /// A client's request arrives; the answer comes now or later under the same number.
    pub(super) fn request(&mut self, id: u64, request: &Request, incarnation: u64, now: RunTime, out: &mut Effects) {
        if self.is_primary() && !self.leads(now) {
            self.follow(None, now, "no majority heard for the lease", out);
        }
        let answer = match request {
            Request::Status => Answer::Status(self.status(incarnation, now)),
            Request::Scan => {
                let rows = self.frozen.clone().unwrap_or_else(|| self.log.rows());
                Answer::Rows { epoch: self.epoch, position: position(self.log.commit()), rows }
            }
            Request::Switches => Answer::Switches { switches: self.switches() },
            Request::CreateLedger => return self.write(id, None, now, out),
            Request::Insert { row } => return self.write(id, Some(*row), now, out),
        };
        out.answers.push((id, answer));
    }

    fn write(&mut self, id: u64, row: Option<u64>, now: RunTime, out: &mut Effects) {
        let Part::Primary(leading) = &mut self.part else {
            out.answers.push((id, Answer::ReadOnly { epoch: self.epoch }));
            return;
        };
        self.log.push(Entry { epoch: self.epoch, at: now, row });
        leading.waiting.insert(self.log.len(), id);
        self.ship_all(now, out);
        self.advance(now, out);
    }

    fn status(&self, incarnation: u64, now: RunTime) -> Status {
        let read_write = self.leads(now);
        let fresh = self.heard.is_some_and(|heard| now < heard.plus(self.lease / 2));
        let (primary, streaming) = match &self.part {
            Part::Primary(_) => (Some(self.name.clone()), false),
            Part::Follower { primary, in_sync } => (primary.clone(), *in_sync && fresh),
            Part::Candidate { .. } => (None, false),
        };
        let reached = if read_write { self.log.len() } else { self.log.commit() };
        Status { read_write, epoch: self.epoch, position: position(reached), streaming, primary, incarnation }
    }

    fn switches(&self) -> Vec<EpochSwitch> {
        let forks = self.log.forks().into_iter();
        forks.map(|(from, to, fork)| EpochSwitch { from, to, fork: Position(fork) }).collect()
    }
}
