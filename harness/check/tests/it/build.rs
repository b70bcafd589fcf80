//! Builds recorded runs by hand. Times are milliseconds of the run; the storm begins at 1 s.

use std::time::Duration;

use firedrill_check::{CHECKS, JudgeInput, PlannedFault};
use firedrill_core::action::{Action, Effect, Endpoint, Link, Presence};
use firedrill_core::check::{Check, Finding, Question, When};
use firedrill_core::cluster::{ClusterView, Epoch, NodeName, NodeView, Position, Role};
use firedrill_core::event::{Event, Moment, Phase, Stamped};
use firedrill_core::history::{Call, EpochSwitch, FinalRead, Op, Outcome, ProcessId, Reply, Route};
use firedrill_core::record::Recorded;
use firedrill_core::scenario::InvariantSpec;
use firedrill_core::seed::Seed;
use firedrill_core::spec::{Fields, Mistake, Mistakes};
use firedrill_core::time::{RunTime, Wall};
use toml::de::DeTable;

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

pub(crate) fn ms(millis: u64) -> RunTime {
    RunTime::from_millis(millis)
}

pub(crate) fn kill(name: &str) -> Action {
    Action::Kill { node: node(name), process: None, signal: 9, stay_down: true }
}

pub(crate) fn cut(from: &str, to: &str) -> Action {
    let end = |name: &str| Endpoint::Node(node(name));
    Action::Cut { links: vec![Link { from: end(from), to: end(to) }], port: None }
}

/// A run with one fault, `kill`, and these invariants.
pub(crate) fn input(invariants: &[InvariantSpec]) -> JudgeInput<'_> {
    JudgeInput {
        repeat: 0,
        seed: Seed(1),
        folder: "1".into(),
        started: Wall { unix_nanos: 0 },
        seconds: 1.0,
        faults: vec![PlannedFault { id: "kill".into(), kind: "process.kill".into() }],
        torn: Vec::new(),
        invariants,
    }
}

/// A check of the registry with these keys beside `check`.
pub(crate) fn parse(name: &str, keys: &str) -> Result<Box<dyn Check>, Vec<Mistake>> {
    let entry = CHECKS.iter().find(|entry| entry.name == name).expect("a check of that name");
    let table = DeTable::parse(keys).expect("toml");
    let mistakes = Mistakes::default();
    let mut fields = Fields::new(table.get_ref(), table.span(), "[[invariant]]", &mistakes);
    let check = (entry.parse)(&mut fields);
    fields.finish();
    match check {
        Some(check) if mistakes.count() == 0 => Ok(check),
        _ => Err(mistakes.into_sorted()),
    }
}

pub(crate) fn ask_when(name: &str, keys: &str, run: &Recorded, when: &When, grace: Duration) -> Finding {
    let check = parse(name, keys).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    check.check(run, &Question { when, grace })
}

pub(crate) fn ask(name: &str, run: &Recorded) -> Finding {
    ask_when(name, "", run, &When::Always, Duration::ZERO)
}

/// A run in the making.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) run: Recorded,
}

impl Build {
    /// Three nodes, steady, the storm begun at 1 s.
    pub(crate) fn new() -> Self {
        let run = Recorded { nodes: NodeName::numbered(3), ..Recorded::default() };
        let mut build = Self { run };
        build.event(0, Event::Phase { phase: Phase::Start, wall: Wall { unix_nanos: 0 } });
        build.event(900, Event::Steady { met: true, seen: "primaries == 1".into() });
        build.event(1000, Event::Phase { phase: Phase::Storm, wall: Wall { unix_nanos: 1 } });
        build
    }

    pub(crate) fn event(&mut self, at: u64, event: Event) {
        self.run.events.push(Stamped { at: ms(at), event });
    }

    /// A router write, acknowledged. Its receipt is ten times its row.
    pub(crate) fn ack(&mut self, row: u64, due: u64, acked: u64, server: &str, epoch: u64) -> &mut Call {
        let call = self.insert(row, due, Some((acked, Outcome::Ok(Reply::Done))));
        call.served_by = Some(node(server));
        call.epoch = Some(Epoch(epoch));
        call.receipt = Some(Position(row * 10));
        call
    }

    pub(crate) fn insert(&mut self, row: u64, due: u64, completed: Option<(u64, Outcome)>) -> &mut Call {
        self.run.calls.push(Call {
            process: ProcessId(0),
            op: Op::Insert { row },
            due: ms(due),
            invoked: ms(due),
            completed: completed.map(|(at, outcome)| (ms(at), outcome)),
            route: Route::Router,
            served_by: None,
            epoch: None,
            receipt: None,
        });
        self.run.calls.last_mut().expect("a call was pushed")
    }

    /// Writes acknowledged after 2 ms, one due every 10 ms in the interval; the row is the due time.
    pub(crate) fn load(&mut self, from: u64, to: u64, server: &str, epoch: u64) -> &mut Self {
        for due in (from..to).step_by(10) {
            self.ack(due, due, due + 2, server, epoch);
        }
        self
    }

    pub(crate) fn proof(&mut self, at: u64, fault: &str, moment: Moment, presence: Presence) {
        let effect = Effect { presence, evidence: "looked".into() };
        self.event(at, Event::StepProof { fault: fault.into(), step: 0, moment, effect });
    }

    /// A held fault of one action, proven throughout and gone after.
    pub(crate) fn fault(&mut self, id: &str, target: &str, action: Action, from: u64, to: u64) -> &mut Self {
        let fault = id.to_owned();
        let (kind, targets, words) = ("some.kind".to_owned(), vec![node(target)], format!("does {action}"));
        self.event(from, Event::FaultOnset { fault: fault.clone(), kind, targets, words });
        self.proof(from, id, Moment::Before, Presence::Absent);
        let hold_nanos = Some((to - from) * 1_000_000);
        self.event(from, Event::StepApplied { fault: fault.clone(), step: 0, action, hold_nanos, from: ms(from) });
        self.proof(from, id, Moment::Onset, Presence::Full);
        self.proof(u64::midpoint(from, to), id, Moment::Middle, Presence::Full);
        self.proof(to, id, Moment::BeforeHeal, Presence::Full);
        let (held, by) = (Some((ms(from), ms(to))), "asked".to_owned());
        self.event(to, Event::StepReverted { fault: fault.clone(), step: 0, held, by });
        self.proof(to, id, Moment::AfterHeal, Presence::Absent);
        self.event(to, Event::FaultHealed { fault });
        self
    }

    /// The whole cluster as seen: the nodes not named are replicas on the primary's epoch; the first of them is the
    /// sync standby. Incarnations are 1.
    pub(crate) fn view(&mut self, at: u64, primary: &str, epoch: u64, down: &[&str]) -> &mut ClusterView {
        let mut standby = true;
        let view = |name: &NodeName| {
            if down.contains(&name.as_str()) {
                return NodeView::down(name.clone(), "no answer");
            }
            let leads = name.as_str() == primary;
            let role = if leads { Role::Primary } else { Role::Replica };
            let mut view = NodeView::down(name.clone(), "");
            view.up = true;
            view.roles.insert(role);
            if !leads && std::mem::take(&mut standby) {
                view.roles.insert(Role::SyncStandby);
            }
            view.read_write = leads;
            view.epoch = Some(Epoch(epoch));
            view.position = Some(Position(1));
            view.streaming = !leads;
            view.incarnation = Some(1);
            view
        };
        let nodes = NodeName::numbered(3).iter().map(view).collect();
        self.event(at, Event::View { view: ClusterView { at: ms(at), nodes, disagreement: None } });
        let Some(Stamped { event: Event::View { view }, .. }) = self.run.events.last_mut() else { unreachable!() };
        view
    }

    /// A watcher's answers: the first and the last of a row, each taking 1 ms.
    pub(crate) fn seen(&mut self, server: &str, epoch: u64, first: u64, last: u64) {
        let event = Event::NodeSeen {
            node: node(server),
            read_write: Some(true),
            epoch: Some(Epoch(epoch)),
            first_asked: ms(first),
            first_answered: ms(first + 1),
            last_asked: ms(last),
            last_answered: ms(last + 1),
            count: 2,
        };
        self.event(last + 1, event);
    }

    pub(crate) fn leader(&mut self, at: u64, holder: Option<&str>) -> &mut Self {
        self.event(at, Event::Leader { holder: holder.map(node), revision: None });
        self
    }

    pub(crate) fn switch(&mut self, from: u64, to: u64, fork: u64) -> &mut Self {
        let (from, to, fork) = (Epoch(from), Epoch(to), Position(fork));
        self.run.switches.push(EpochSwitch { from, to, fork });
        self
    }

    pub(crate) fn read(&mut self, name: &str, epoch: u64, rows: Vec<u64>) -> &mut Self {
        let (epoch, position) = (Some(Epoch(epoch)), Some(Position(1_000_000)));
        self.run.finals.push(FinalRead { node: node(name), at: ms(100_000), epoch, position, rows: Ok(rows) });
        self
    }

    pub(crate) fn acked_rows(&self) -> Vec<u64> {
        let acked = self.run.calls.iter().filter(|call| call.acked().is_some());
        let mut rows: Vec<u64> = acked
            .filter_map(|call| match &call.op {
                Op::Insert { row } => Some(*row),
                Op::CreateLedger | Op::Scan | Op::CreateStore { .. } | Op::Txn(_) => None,
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Settled; every node of the last epoch holds `rows`; nothing left behind.
    pub(crate) fn end_with(&mut self, epoch: u64, rows: &[u64]) -> Recorded {
        for name in ["n1", "n2", "n3"] {
            self.read(name, epoch, rows.to_vec());
        }
        self.settle(true)
    }

    /// Settled with everything acknowledged in place.
    pub(crate) fn end(&mut self, epoch: u64) -> Recorded {
        let rows = self.acked_rows();
        self.end_with(epoch, &rows)
    }

    /// Ends the run with the reads it has. Events come to lie in order of time, calls in order of completion.
    pub(crate) fn settle(&mut self, met: bool) -> Recorded {
        self.event(99_000, Event::Settled { met, seen: "n3 is behind".into() });
        self.event(99_500, Event::Phase { phase: Phase::FinalReads, wall: Wall { unix_nanos: 2 } });
        self.event(100_000, Event::Swept { residue: Vec::new() });
        self.sorted()
    }

    pub(crate) fn sorted(&self) -> Recorded {
        let mut run = self.run.clone();
        run.events.sort_by_key(|stamped| stamped.at);
        run.calls.sort_by_key(|call| call.completed.as_ref().map_or(RunTime::from_nanos(u64::MAX), |(at, _)| *at));
        run
    }
}

/// The story of a primary that is killed at 10 s: n1 serves epoch 1 until then, n2 epoch 2 from 13 s to 20 s; whole
/// again at 18 s. Fork point 100,000: rows from 10,000 on lie beyond it. Acknowledged rows are 1,000, 1,010 …
pub(crate) fn failover() -> Build {
    let mut build = Build::new();
    build.leader(500, Some("n1"));
    build.view(950, "n1", 1, &[]);
    build.seen("n1", 1, 950, 9900);
    build.load(1000, 10_000, "n1", 1);
    build.fault("kill", "n1", kill("n1"), 10_000, 15_000);
    build.view(10_300, "n1", 1, &["n1"]).nodes[1].read_write = false;
    build.leader(12_000, None).leader(12_200, Some("n2"));
    build.seen("n2", 2, 12_500, 19_900);
    build.view(12_800, "n2", 2, &["n1"]);
    for due in (10_000..13_000).step_by(10) {
        build.insert(due, due, Some((due + 500, Outcome::info("timed out"))));
    }
    build.load(13_000, 20_000, "n2", 2);
    build.view(18_000, "n2", 2, &[]);
    build.view(20_500, "n2", 2, &[]).nodes[1].position = Some(Position(200_000));
    build.switch(1, 2, 100_000);
    build
}
