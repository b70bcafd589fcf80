//! The agent's one loop: takes requests, deadlines and the ends of slow things from one queue, so that what is in force has
//! one owner. Nothing in it waits for the other side: answers go through a bounded queue to a thread that writes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use firedrill_core::action::Undo;
use firedrill_core::cluster::NodeName;
use firedrill_sys::clock;
use firedrill_sys::process::{self, EndSignals};

use crate::deeds::{self, cut};
use crate::ends::Ends;
use crate::holder::{Done, Holder, Rest};
use crate::input::{Input, read_lines, read_request, wrong_version};
use crate::inventory;
use crate::log::say;
use crate::output::Output;
use crate::protocol::{Answer, Ask, By, Config, MAX_LINE, Notice, Refusal, RefusalKind, Request, VERSION};
use crate::starter;
use crate::world::World;

/// Lines and ends of slow things waiting for the loop.
const QUEUE: usize = 256;
/// The longest the loop waits without looking at the lease.
const TURN: Duration = Duration::from_millis(500);
/// How long starting units may hold up the agent's own end.
const LAST_WAIT: Duration = Duration::from_secs(12);
/// Probes of links at once.
const PROBES: usize = 32;

/// What the loop is told.
enum Event {
    /// What came in.
    Input(Input),
    /// Told to end.
    Term,
    /// The units of a node run again, or not.
    Restarted { tag: String, result: Result<(), Refusal> },
}

/// Serves standard input until it ends, a signal, or a bye. `Ok(false)` when something could not be undone.
pub fn run(signals: EndSignals) -> io::Result<bool> {
    let (events, incoming) = sync_channel(QUEUE);
    let heard = Arc::new(AtomicU64::new(clock::boottime_nanos()));
    let (to_loop, last_heard) = (events.clone(), Arc::clone(&heard));
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        read_lines(&last_heard, |input| to_loop.send(Event::Input(input)).is_ok());
    })?;
    let to_loop = events.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.wait_for_term().is_ok() {
            drop(to_loop.send(Event::Term));
        }
    })?;
    let output = Output::start()?;
    let mut server =
        Server { events, heard, output, stage: None, reverting: BTreeMap::new(), ending: None, clean: true };
    server.run(&incoming);
    let Server { output, stage, clean, .. } = server;
    drop(stage);
    output.finish();
    Ok(clean)
}

/// What exists from hello on.
struct Stage {
    holder: Holder,
    ends: Arc<Ends>,
    probes: Arc<AtomicUsize>,
    lease: u64,
}

/// A revert, or a failed apply, that waits for units to be started again.
struct Reverting {
    undo: Undo,
    done: Done,
    /// Requests to answer.
    waiting: Vec<Waiting>,
}

/// How a request waiting for units is answered.
enum Waiting {
    /// As a revert.
    Revert(u64),
    /// With the error of an apply.
    Apply(u64, Refusal),
}

/// The end, once it has begun.
struct Ending {
    /// Not after this.
    deadline: u64,
    /// The bye to answer.
    bye: Option<u64>,
}

struct Server {
    events: SyncSender<Event>,
    heard: Arc<AtomicU64>,
    output: Output,
    stage: Option<Stage>,
    reverting: BTreeMap<String, Reverting>,
    ending: Option<Ending>,
    clean: bool,
}

impl Server {
    fn run(&mut self, incoming: &Receiver<Event>) {
        loop {
            match incoming.recv_timeout(self.wait()) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.end(By::StdinClosed, None),
            }
            self.turn();
            if let Some(ending) = &self.ending
                && (self.reverting.is_empty() || clock::boottime_nanos() >= ending.deadline)
            {
                self.clean &= self.reverting.is_empty();
                if let Some(id) = ending.bye {
                    let failed =
                        Refusal::new(RefusalKind::System, "not everything could be undone: see the agent's log");
                    self.output.answer(id, if self.clean { Answer::Bye } else { Answer::Refused(failed) });
                }
                return;
            }
        }
    }

    fn wait(&self) -> Duration {
        let next = self.stage.as_ref().and_then(|stage| stage.holder.next_turn());
        let wait = next.map(|next| Duration::from_nanos(next.saturating_sub(clock::boottime_nanos())));
        wait.unwrap_or(TURN).min(TURN)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Input(Input::Line(line)) => match read_request(&line) {
                Ok(Request { id, ask }) => self.answer(id, ask),
                Err((id, refusal)) => self.output.answer(id, Answer::Refused(refusal)),
            },
            Event::Input(Input::Overlong) => {
                let what = format!("a line without an end within {MAX_LINE} bytes");
                self.output.answer(0, Answer::Refused(Refusal::new(RefusalKind::Malformed, what)));
            }
            Event::Input(Input::Closed) => self.end(By::StdinClosed, None),
            Event::Term => self.end(By::Signal, None),
            Event::Restarted { tag, result } => self.restarted(&tag, result),
        }
    }

    /// What the time alone brings: deadlines, the lease, and killing what came back.
    fn turn(&mut self) {
        let Some(stage) = &mut self.stage else { return };
        stage.holder.turn();
        let unguarded = match stage.holder.tend() {
            Ok(()) => Vec::new(),
            Err(refusal) => {
                say(&format!("{refusal}: everything is undone, because nothing would undo it at the agent's death"));
                stage.holder.active()
            }
        };
        let (lost, overdue) = (stage.holder.lost(), stage.holder.overdue());
        let silence = clock::boottime_nanos().saturating_sub(self.heard.load(Ordering::Relaxed));
        let abandoned = if silence >= stage.lease { stage.holder.active() } else { Vec::new() };
        for undo in lost {
            self.revert(&undo, By::Lost, None);
        }
        for undo in overdue {
            self.revert(&undo, By::Deadline, None);
        }
        for undo in abandoned {
            self.revert(&undo, By::Lease, None);
        }
        for undo in unguarded {
            self.revert(&undo, By::Unguarded, None);
        }
    }

    fn answer(&mut self, id: u64, ask: Ask) {
        let order = |what: &str| Answer::Refused(Refusal::new(RefusalKind::Order, what));
        let boottime = clock::boottime_nanos();
        let answer = match (ask, &mut self.stage) {
            (Ask::Ping, _) => Answer::Pong { boottime },
            (_, _) if self.ending.is_some() => order("the agent is ending"),
            (Ask::Hello { version, config }, None) => self.hello(version, config),
            (Ask::Hello { .. }, Some(_)) => order("hello was already said"),
            (_, None) => order("say hello first"),
            (Ask::Renew, Some(_)) => Answer::Renewed { boottime },
            (Ask::Prepare { tag, action }, Some(stage)) => {
                deeds::prepare(&stage.holder.world, tag, action).map_or_else(Answer::Refused, Answer::Prepared)
            }
            (Ask::Apply { undo, hold_nanos }, Some(_)) => return self.apply(id, undo, hold_nanos),
            (Ask::Revert { undo }, Some(_)) => return self.revert(&undo, By::Asked, Some(id)),
            (Ask::Probe { undo }, Some(stage)) => match stage.probe(id, undo, &self.output) {
                Some(answer) => answer,
                None => return,
            },
            (Ask::Inventory, Some(stage)) => {
                inventory::take(&stage.holder.world).map_or_else(Answer::Refused, Answer::Inventory)
            }
            (Ask::Bye, Some(_)) => return self.end(By::Asked, Some(id)),
        };
        self.output.answer(id, answer);
    }

    fn hello(&mut self, version: u32, config: Config) -> Answer {
        if version != VERSION {
            return Answer::Refused(wrong_version(version));
        }
        let stage = Stage::new(config);
        match stage {
            Ok(stage) => {
                let cut_by = cut::mechanism(&stage.holder.world).to_owned();
                self.stage = Some(stage);
                Answer::Hello { version: VERSION, cut_by }
            }
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn apply(&mut self, id: u64, undo: Undo, hold_nanos: Option<u64>) {
        let Some(stage) = &mut self.stage else { return };
        match stage.holder.apply(&undo, hold_nanos) {
            Ok(from) => self.output.answer(id, Answer::Applied { from }),
            Err((refusal, Rest::Nothing)) => self.output.answer(id, Answer::Refused(refusal)),
            Err((refusal, Rest::Restart(nodes))) => {
                let done = Done { held: None, by: By::Asked, failure: None };
                let tag = undo.tag.clone();
                self.reverting
                    .insert(tag.clone(), Reverting { undo, done, waiting: vec![Waiting::Apply(id, refusal)] });
                self.restart(&tag, nodes);
            }
        }
    }

    fn revert(&mut self, undo: &Undo, by: By, asked: Option<u64>) {
        let Some(stage) = &mut self.stage else { return };
        let tag = undo.tag.clone();
        if let Some(reverting) = self.reverting.get_mut(&tag) {
            reverting.waiting.extend(asked.map(Waiting::Revert));
            return;
        }
        let waiting = asked.map(Waiting::Revert).into_iter().collect();
        match stage.holder.let_go(undo, by) {
            None => {
                let done = stage.holder.done(&tag).cloned();
                self.reply(&tag, &done.unwrap_or(Done { held: None, by, failure: None }), waiting);
            }
            Some((done, Rest::Nothing)) => self.finish(undo, &done, waiting),
            Some((done, Rest::Restart(nodes))) => {
                self.reverting.insert(tag.clone(), Reverting { undo: undo.clone(), done, waiting });
                self.restart(&tag, nodes);
            }
        }
    }

    /// Has the units of nodes started, on a thread of its own; the end comes back as an event.
    fn restart(&mut self, tag: &str, nodes: Vec<NodeName>) {
        let path = self.stage.as_ref().and_then(|stage| stage.holder.world.config.starter.clone());
        let events = self.events.clone();
        let name = tag.to_owned();
        let spawned = thread::Builder::new().name("starter".to_owned()).spawn(move || {
            let result = path.map_or(Ok(()), |path| nodes.iter().try_for_each(|node| starter::ensure(&path, node)));
            drop(events.send(Event::Restarted { tag: name, result }));
        });
        if let Err(error) = spawned {
            self.restarted(tag, Err(Refusal::system("a thread to ask for a restart", &error)));
        }
    }

    fn restarted(&mut self, tag: &str, result: Result<(), Refusal>) {
        if let Some(Reverting { undo, mut done, waiting }) = self.reverting.remove(tag) {
            done.failure = done.failure.or(result.err());
            self.finish(&undo, &done, waiting);
        }
    }

    fn finish(&mut self, undo: &Undo, done: &Done, waiting: Vec<Waiting>) {
        let tag = undo.tag.as_str();
        if let Some(stage) = &mut self.stage {
            stage.holder.finish(undo, done);
        }
        self.clean &= done.failure.is_none() || self.ending.is_none();
        if let (Some(held), true) = (done.held, done.by != By::Asked) {
            let failure = done.failure.as_ref().map(ToString::to_string);
            self.output.notice(Notice::Reverted { tag: tag.to_owned(), by: done.by, held, failure });
        }
        self.reply(tag, done, waiting);
    }

    fn reply(&self, tag: &str, done: &Done, waiting: Vec<Waiting>) {
        for waiting in waiting {
            let (id, answer) = match (waiting, &done.failure) {
                (Waiting::Revert(id), None) => (id, Answer::Reverted { held: done.held, by: done.by }),
                (Waiting::Revert(id), Some(failure)) => (id, Answer::Refused(failure.clone())),
                (Waiting::Apply(id, refusal), None) => (id, Answer::Refused(refusal)),
                (Waiting::Apply(id, refusal), Some(failure)) => {
                    let what = format!("{}; and undoing the half of {tag} failed: {failure}", refusal.what);
                    (id, Answer::Refused(Refusal { what, ..refusal }))
                }
            };
            self.output.answer(id, answer);
        }
    }

    /// Begins the end: undoes everything.
    fn end(&mut self, by: By, bye: Option<u64>) {
        if self.ending.is_none() {
            say(&format!("ending ({by})"));
            let patience = u64::try_from(LAST_WAIT.as_nanos()).unwrap_or(u64::MAX);
            self.ending = Some(Ending { deadline: clock::boottime_nanos().saturating_add(patience), bye });
        }
        let holder = self.stage.as_ref().map(|stage| &stage.holder);
        let left = holder.map(|holder| [holder.active(), holder.failed()].concat()).unwrap_or_default();
        for undo in left {
            self.revert(&undo, by, None);
        }
    }
}

impl Stage {
    fn new(config: Config) -> Result<Self, Refusal> {
        let lease = config.lease_nanos;
        process::tag_started(&config.tag_prefix);
        let world = World::new(config)?;
        let ends = Arc::new(Ends::start(&world)?);
        Ok(Self { holder: Holder::new(world)?, ends, probes: Arc::default(), lease })
    }

    /// Looks for an effect on a thread of its own, which answers by itself.
    fn probe(&self, id: u64, undo: Undo, output: &Output) -> Option<Answer> {
        let work = match deeds::work(&undo.action) {
            Ok(work) => work,
            Err(refusal) => return Some(Answer::Refused(refusal)),
        };
        if self.probes.fetch_add(1, Ordering::Relaxed) >= PROBES {
            self.probes.fetch_sub(1, Ordering::Relaxed);
            return Some(Answer::Refused(Refusal::new(RefusalKind::Order, format!("{PROBES} probes run already"))));
        }
        let (ends, output, running) = (Arc::clone(&self.ends), output.clone(), Arc::clone(&self.probes));
        let world = Arc::clone(&self.holder.world);
        let spawned = thread::Builder::new().name("probe".to_owned()).spawn(move || {
            output.answer(id, Answer::Probed(work.probe(&ends, &world, &undo)));
            running.fetch_sub(1, Ordering::Relaxed);
        });
        spawned.err().map(|error| Answer::Refused(Refusal::system("a thread to probe with", &error)))
    }
}
