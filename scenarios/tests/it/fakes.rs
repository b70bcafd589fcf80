//! Stand-ins for the registries, just real enough to be named, parsed and planned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::{Action, Deed};
use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::cluster::{ClusterView, NodeName, ProcessName};
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, Needs, PlanError, PlanInput, Step};
use firedrill_core::history::{EpochSwitch, Op, OpKind, ProcessId, Route};
use firedrill_core::platform::{Dialer, Missing, Offer, OpenRequest, Platform, PlatformEntry, Survey, Vantage};
use firedrill_core::record::Recorded;
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::system::{Client, ConnectError, LabRecipe, SimRecipe, Sink, System, SystemEntry};
use firedrill_core::time::Clock;
use firedrill_core::units::Rate;
use firedrill_core::verdict::Verdict;
use firedrill_core::workload::{Workload, WorkloadEntry, WorkloadSpec};
use firedrill_scenarios::Registries;

pub(crate) static REGISTRIES: Registries =
    Registries { faults: FAULTS, systems: SYSTEMS, platforms: PLATFORMS, workloads: WORKLOADS, checks: CHECKS };

struct FakeFault {
    process: Option<ProcessName>,
    clock: bool,
}

/// Cuts the power, or shows only when it is cut.
struct FakePower {
    waits: bool,
}

impl Fault for FakePower {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let nodes = input.targets.to_vec();
        let impairs = nodes.iter().map(|node| (node.clone(), None)).collect();
        let action = match nodes.first() {
            Some(node) if self.waits => Action::Pause { node: node.clone(), process: None },
            _ => Action::LosePower { nodes },
        };
        let steps = vec![Step { offset: Duration::ZERO, action, hold: Hold::Held }];
        Ok(FaultPlan { steps, impairs, words: "something".to_owned() })
    }

    fn waits_for_power_loss(&self) -> bool {
        self.waits
    }
}

impl Fault for FakeFault {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        if input.view.nodes.len() < 2 {
            return Err(PlanError("it needs two nodes at least".to_owned()));
        }
        let action = |node: &NodeName| Action::Pause { node: node.clone(), process: self.process.clone() };
        let step = |node| Step { offset: Duration::ZERO, action: action(node), hold: Hold::Held };
        Ok(FaultPlan {
            steps: input.targets.iter().map(step).collect(),
            impairs: input.targets.iter().map(|node| (node.clone(), self.process.clone())).collect(),
            words: "something".to_owned(),
        })
    }

    fn process(&self) -> Option<&ProcessName> {
        self.process.as_ref()
    }

    fn needs(&self) -> Needs {
        let clocks = self.clock.then(|| self.process.clone()).into_iter().collect();
        Needs { clocks, ..Needs::default() }
    }
}

fn shaped(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let shapes = [("isolate", ()), ("isolate-from-peers", ()), ("halves", ())];
    fields.required_word("shape", &shapes)?;
    Some(Box::new(FakeFault { process: None, clock: false }))
}

fn of_process(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let process = fields.optional("process").map(ProcessName);
    Some(Box::new(FakeFault { process, clock: false }))
}

fn of_clock(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let process = fields.optional("process").map(ProcessName);
    Some(Box::new(FakeFault { process, clock: true }))
}

fn of_path(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    fields.required::<String>("path")?;
    Some(Box::new(FakeFault { process: None, clock: false }))
}

/// Reads nothing and does not say why, which is a mistake of the plug-in.
fn silent(_: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    None
}

const fn fault(
    kind: &'static str,
    deeds: &'static [Deed],
    hold: HoldRule,
    parse: fn(&mut Fields<'_, '_>) -> Option<Box<dyn Fault>>,
) -> FaultEntry {
    FaultEntry { kind, summary: "", example: "", deeds, hold, parse }
}

static FAULTS: &[FaultEntry] = &[
    fault("clock.jump", &[Deed::ShiftClock], HoldRule::Required, of_clock),
    fault("disk.lost-fsync", &[], HoldRule::Required, |_| Some(Box::new(FakePower { waits: true }))),
    fault("disk.stall", &[Deed::PauseProcess], HoldRule::Required, of_path),
    fault("fake.silent", &[], HoldRule::Optional, silent),
    fault("net.partition", &[Deed::CutLinks], HoldRule::Required, shaped),
    fault("node.crash", &[Deed::CutLinks, Deed::KillProcess], HoldRule::Required, of_process),
    fault("node.power-loss", &[], HoldRule::Required, |_| Some(Box::new(FakePower { waits: false }))),
    fault("process.kill", &[Deed::KillProcess], HoldRule::Optional, of_process),
    fault("process.pause", &[Deed::PauseProcess], HoldRule::Required, of_process),
];

struct FakeSystem;

#[async_trait]
impl System for FakeSystem {
    fn processes(&self) -> Vec<ProcessName> {
        ["etcd", "patroni", "postgres"].map(|name| ProcessName(name.to_owned())).to_vec()
    }

    async fn view(&self, _: &dyn Dialer, _: Clock, _: Duration) -> ClusterView {
        ClusterView::default()
    }

    fn whole(&self, _: &ClusterView) -> Result<(), String> {
        Ok(())
    }

    async fn watch(&self, _: Arc<dyn Dialer>, _: Clock, _: Arc<dyn Sink>) {}

    async fn connect(&self, _: Arc<dyn Dialer>, _: Vantage, _: &Route) -> Result<Box<dyn Client>, ConnectError> {
        Err(ConnectError("a stand-in".to_owned()))
    }

    async fn epoch_switches(&self, _: &dyn Dialer, _: &NodeName) -> Result<Vec<EpochSwitch>, String> {
        Ok(Vec::new())
    }

    fn clock_of(&self, process: &ProcessName) -> Result<(), &'static str> {
        if process.0 == "postgres" { Ok(()) } else { Err("it has an hourglass") }
    }

    async fn versions(&self, _: &dyn Dialer) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn lab(&self) -> Option<LabRecipe> {
        None
    }

    fn sim(&self) -> Option<SimRecipe> {
        None
    }

    fn recovery_bound(&self) -> Duration {
        Duration::from_secs(12)
    }

    fn shell_hints(&self) -> Vec<(Option<NodeName>, String)> {
        Vec::new()
    }
}

fn patroni(fields: &mut Fields<'_, '_>, _: &[NodeName]) -> Option<Arc<dyn System>> {
    let modes = [("off", ()), ("on", ()), ("strict", ())];
    fields.optional_word("synchronous-mode", &modes);
    for key in ["ttl", "loop-wait", "retry-timeout"] {
        fields.optional::<Duration>(key);
    }
    Some(Arc::new(FakeSystem))
}

fn sim(fields: &mut Fields<'_, '_>, _: &[NodeName]) -> Option<Arc<dyn System>> {
    fields.list::<String>("bugs");
    fields.optional::<Duration>("lease");
    Some(Arc::new(FakeSystem))
}

static SYSTEMS: &[SystemEntry] = &[
    SystemEntry {
        name: "patroni",
        summary: "",
        example: "",
        parse: patroni,
        performs: &[OpKind::Ledger],
        platforms: &["lab", "kites"],
        refuses: &[],
    },
    SystemEntry {
        name: "sim",
        summary: "",
        example: "",
        parse: sim,
        performs: &[OpKind::Ledger],
        platforms: &["sim"],
        refuses: &[(Deed::PauseProcess, "it has no processes")],
    },
];

fn always(_: Deed) -> Offer {
    Offer::Always
}

#[expect(clippy::wildcard_enum_match_arm, reason = "one deed is told from all others")]
fn never_cut(deed: Deed) -> Offer {
    match deed {
        Deed::CutLinks => Offer::Never("kites have no wires"),
        _ => Offer::Perhaps,
    }
}

fn nowhere(_: OpenRequest) -> Result<Arc<dyn Platform>, Vec<Missing>> {
    Err(Vec::new())
}

fn unasked(_: &[Deed]) -> Survey {
    Survey::default()
}

static PLATFORMS: &[PlatformEntry] = &[
    PlatformEntry {
        name: "kites",
        summary: "",
        offers: never_cut,
        virtual_time: false,
        survey: unasked,
        open: nowhere,
    },
    PlatformEntry { name: "lab", summary: "", offers: always, virtual_time: false, survey: unasked, open: nowhere },
    PlatformEntry { name: "sim", summary: "", offers: always, virtual_time: true, survey: unasked, open: nowhere },
];

struct FakeWorkload;

impl Workload for FakeWorkload {
    fn setup(&self) -> Vec<Op> {
        Vec::new()
    }

    fn next(&mut self, _: ProcessId, _: &mut ChaCha8Rng) -> Op {
        Op::Scan
    }

    fn finale(&self) -> Vec<Op> {
        Vec::new()
    }
}

impl WorkloadSpec for FakeWorkload {
    fn open(&self) -> Box<dyn Workload> {
        Box::new(Self)
    }
}

static WORKLOADS: &[WorkloadEntry] = &[WorkloadEntry {
    kind: "ledger",
    summary: "",
    example: "",
    ops: &[OpKind::Ledger],
    checks: &["no-acked-loss", "progress", "replicas-converge", "single-writer"],
    parse: |_| Some(Box::new(FakeWorkload)),
}];

struct FakeCheck(&'static str);

impl Check for FakeCheck {
    fn name(&self) -> &'static str {
        self.0
    }

    fn check(&self, _: &Recorded, _: &Question<'_>) -> Finding {
        Finding::new(self.0, Verdict::Invalid, "a stand-in")
    }
}

fn progress(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    fields.optional::<Rate>("min");
    fields.optional_word("must", &[("go", ()), ("stall", ())]);
    Some(Box::new(FakeCheck("progress")))
}

static CHECKS: &[CheckEntry] = &[
    CheckEntry {
        name: "linearizable",
        summary: "",
        example: "",
        takes_when: false,
        anomalies: Vec::new,
        parse: |_| Some(Box::new(FakeCheck("linearizable"))),
    },
    CheckEntry {
        name: "no-acked-loss",
        summary: "",
        example: "",
        takes_when: false,
        anomalies: Vec::new,
        parse: |_| Some(Box::new(FakeCheck("no-acked-loss"))),
    },
    CheckEntry { name: "progress", summary: "", example: "", takes_when: true, anomalies: Vec::new, parse: progress },
    CheckEntry {
        name: "replicas-converge",
        summary: "",
        example: "",
        takes_when: false,
        anomalies: Vec::new,
        parse: |_| Some(Box::new(FakeCheck("replicas-converge"))),
    },
    CheckEntry {
        name: "single-writer",
        summary: "",
        example: "",
        takes_when: false,
        anomalies: Vec::new,
        parse: |_| Some(Box::new(FakeCheck("single-writer"))),
    },
];
