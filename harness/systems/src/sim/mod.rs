//! The simulated system: the client side of the small replicated ledger that the platform `sim` plays. Nothing here knows
//! that it is a simulation but [`System::sim`]; it speaks through the dialer as any other system does.

mod client;
mod watch;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::cluster::{ClusterView, NodeName, NodeView, ProcessName, Role};
use firedrill_core::event::Event;
use firedrill_core::history::{EpochSwitch, OpKind, Route};
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::sim::{Answer, PROCESS, Request, Status};
use firedrill_core::spec::{Fields, suggest};
use firedrill_core::system::{Client, ConnectError, LabRecipe, SimBug, SimRecipe, Sink, System, SystemEntry};
use firedrill_core::time::Clock;

use wire::{Wire, join_all};

/// The system `sim`.
pub const ENTRY: SystemEntry = SystemEntry {
    name: "sim",
    summary: "a small simulated ledger with a leased primary and majority commits; bugs can be planted in it",
    example: "[cluster]\nsystem = \"sim\"\nplatform = \"sim\"\nnodes = 3\n\n[cluster.sim]\nlease = \"1s\"\nbugs = [\"ack-before-replicating\"]\n",
    parse,
    performs: &[OpKind::Ledger],
    platforms: &["sim"],
    refuses: &[],
};

/// The words of the planted bugs.
pub const BUGS: [(&str, SimBug); 6] = [
    ("ack-before-replicating", SimBug::AckBeforeReplicating),
    ("stale-read-after-failover", SimBug::StaleReadAfterFailover),
    ("two-primaries", SimBug::TwoPrimaries),
    ("lost-on-crash", SimBug::LostOnCrash),
    ("fault-does-nothing", SimBug::FaultDoesNothing),
    ("undo-leaves-something", SimBug::UndoLeavesSomething),
];

const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

fn parse(fields: &mut Fields<'_, '_>, nodes: &[NodeName]) -> Option<Arc<dyn System>> {
    let before = fields.mistakes().count();
    let lease = fields.or("lease", Duration::from_secs(1));
    if !LEASES.contains(&lease) {
        fields.wrong("lease", "`lease` must be from 100ms to 60s", "leave it out for 1s".to_owned());
    }
    let mut bugs = BTreeSet::new();
    for word in fields.list::<String>("bugs") {
        if let Some((_, bug)) = BUGS.iter().find(|(known, _)| *known == word.value) {
            bugs.insert(*bug);
        } else {
            let known: Vec<&str> = BUGS.iter().map(|(known, _)| *known).collect();
            let message = format!("the simulation has no bug `{}`", word.value);
            fields.mistakes().note(word.span, message, "not known", suggest(&word.value, &known));
        }
    }
    let recipe = SimRecipe { bugs: bugs.into_iter().collect(), lease };
    if fields.mistakes().count() > before {
        return None;
    }
    Some(Arc::new(SimSystem { nodes: nodes.to_vec(), recipe }))
}

struct SimSystem {
    nodes: Vec<NodeName>,
    recipe: SimRecipe,
}

#[async_trait]
impl System for SimSystem {
    fn processes(&self) -> Vec<ProcessName> {
        vec![ProcessName(PROCESS.to_owned())]
    }

    async fn view(&self, dial: &dyn Dialer, clock: Clock, limit: Duration) -> ClusterView {
        let asked = self.nodes.iter().map(|node| async move {
            match tokio::time::timeout(limit, wire::status(dial, Vantage::Control, node)).await {
                Ok(Ok(status)) => (node, Ok(status)),
                Ok(Err(error)) => (node, Err(error.to_string())),
                Err(_) => (node, Err("no answer".to_owned())),
            }
        });
        let answers = join_all(asked).await;
        let disagreement = disagreement(&answers);
        let nodes = answers.into_iter().map(|(node, answer)| node_view(node, answer)).collect();
        ClusterView { at: clock.now(), nodes, disagreement }
    }

    fn whole(&self, view: &ClusterView) -> Result<(), String> {
        let problem = if let Some(disagreement) = &view.disagreement {
            disagreement.clone()
        } else if let Some(down) = view.nodes.iter().find(|node| !node.up) {
            format!("{} is down: {}", down.name, down.detail)
        } else if view.primaries() != 1 {
            format!("{} nodes take writes", view.primaries())
        } else if let Some(idle) = view.nodes.iter().find(|node| !node.read_write && !node.streaming) {
            format!("{} does not follow the primary", idle.name)
        } else {
            return Ok(());
        };
        Err(format!("{problem} ({})", view.in_words()))
    }

    async fn watch(&self, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>) {
        watch::watch(&self.nodes, &*dial, clock, &*sink).await;
    }

    async fn connect(
        &self,
        dial: Arc<dyn Dialer>,
        vantage: Vantage,
        route: &Route,
    ) -> Result<Box<dyn Client>, ConnectError> {
        client::connect(&self.nodes, &*dial, vantage, route).await
    }

    async fn epoch_switches(&self, dial: &dyn Dialer, node: &NodeName) -> Result<Vec<EpochSwitch>, String> {
        let asked = async { Wire::open(dial, Vantage::Control, node).await?.ask(&Request::Switches).await };
        match tokio::time::timeout(wire::PATIENCE, asked).await {
            Ok(Ok(Answer::Switches { switches })) => Ok(switches),
            Ok(Ok(other)) => Err(format!("{node} gave another answer: {other:?}")),
            Ok(Err(error)) => Err(format!("{node}: {error}")),
            Err(_) => Err(format!("{node} does not answer")),
        }
    }

    async fn versions(&self, _dial: &dyn Dialer) -> BTreeMap<String, String> {
        BTreeMap::from([("sim".to_owned(), firedrill_core::VERSION.to_owned())])
    }

    fn lab(&self) -> Option<LabRecipe> {
        None
    }

    fn sim(&self) -> Option<SimRecipe> {
        Some(self.recipe.clone())
    }

    /// A lease to notice, half of one drawn, and room for two split votes.
    fn recovery_bound(&self) -> Duration {
        self.recipe.lease * 5
    }

    fn shell_hints(&self) -> Vec<(Option<NodeName>, String)> {
        Vec::new()
    }
}

fn node_view(name: &NodeName, answer: Result<Status, String>) -> NodeView {
    match answer {
        Err(why) => NodeView::down(name.clone(), why),
        Ok(status) => {
            let role = if status.read_write { Some(Role::Primary) } else { status.streaming.then_some(Role::Replica) };
            NodeView {
                name: name.clone(),
                up: true,
                roles: role.into_iter().collect(),
                read_write: status.read_write,
                epoch: Some(status.epoch),
                position: Some(status.position),
                streaming: status.streaming,
                incarnation: Some(status.incarnation),
                unfinished: 0,
                labels: BTreeMap::new(),
                detail: told(&status),
            }
        }
    }
}

fn told(status: &Status) -> String {
    match &status.primary {
        Some(primary) => format!("{primary} leads on epoch {}", status.epoch),
        None => format!("nobody leads on epoch {}", status.epoch),
    }
}

/// What the nodes that answered tell differently.
fn disagreement(answers: &[(&NodeName, Result<Status, String>)]) -> Option<String> {
    let mut stories: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, answer) in answers {
        if let Ok(status) = answer {
            stories.entry(told(status)).or_default().push(node.as_str());
        }
    }
    let several = stories.len() > 1;
    let words = stories.iter().map(|(story, nodes)| format!("{} says {story}", nodes.join(" and ")));
    several.then(|| words.collect::<Vec<_>>().join("; "))
}

/// Puts an event as seen now.
fn seen(sink: &dyn Sink, clock: Clock, event: Event) {
    sink.put(clock.now(), event);
}
