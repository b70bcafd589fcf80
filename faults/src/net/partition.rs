//! `net.partition`: packets between some ends are dropped silently, in one of the shapes that are known to hurt.
//!
//! Senders see timeouts and never an error, as behind a failed switch. `isolate-from-peers` is the shape that shows
//! lost writes: clients still reach the old primary, and the other nodes do not.

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Action, Deed, Endpoint};
use firedrill_core::cluster::NodeName;
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;

use super::grudge::{self, Direction, Grudge};
use super::links;
use crate::words::list;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.partition",
    summary: "drops packets between ends: isolate, isolate-from-peers, halves, one-way, bridge, majorities-ring, clients",
    example: r#"
[[fault]]
kind  = "net.partition"
shape = "isolate-from-peers"   # clients still reach it
on    = "primary"
at    = "10s"
for   = "20s"
# port = 5432                  # only TCP and UDP from or to it
"#,
    deeds: &[Deed::CutLinks],
    hold: HoldRule::Required,
    parse,
};

/// Who does not hear whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Each target from everybody, clients included.
    Isolate,
    /// Each target from all other nodes; clients still reach it.
    IsolateFromPeers,
    /// The nodes in two sides; clients reach all.
    Halves,
    /// Packets between targets and other nodes, one direction only.
    OneWay(Direction),
    /// Two sides and one node that hears both.
    Bridge,
    /// Every node hears a majority, no two the same.
    MajoritiesRing,
    /// Targets from the clients only.
    Clients,
}

const SHAPES: [(&str, Shape); 7] = [
    ("isolate", Shape::Isolate),
    ("isolate-from-peers", Shape::IsolateFromPeers),
    ("halves", Shape::Halves),
    ("one-way", Shape::OneWay(Direction::In)),
    ("bridge", Shape::Bridge),
    ("majorities-ring", Shape::MajoritiesRing),
    ("clients", Shape::Clients),
];

struct Partition {
    shape: Shape,
    port: Option<u16>,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let shape = fields.required_word("shape", &SHAPES);
    let directed = fields.has("direction");
    let shape = match shape {
        Some(Shape::OneWay(_)) => {
            let directions = [("in", Direction::In), ("out", Direction::Out)];
            fields.required_word("direction", &directions).map(Shape::OneWay)
        }
        other => {
            fields.raw("direction");
            if directed && other.is_some() {
                let help = "leave it out, or write `shape = \"one-way\"`".to_owned();
                fields.wrong("direction", "only the shape one-way has a `direction`", help);
            }
            other
        }
    };
    let port = links::port(fields);
    Some(Box::new(Partition { shape: shape?, port }))
}

/// What a shape comes to on a view.
struct Shaped {
    grudge: Grudge,
    impaired: Vec<NodeName>,
    words: String,
}

impl Fault for Partition {
    fn plan(&self, input: &PlanInput<'_>, rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let ends = grudge::ends(input.view, true);
        let shaped = self.shaped(input, rng)?;
        let links = shaped.grudge.links(&ends);
        if links.is_empty() {
            return Err(PlanError("there is nobody to cut it from".to_owned()));
        }
        let action = Action::Cut { links, port: self.port };
        let on = self.port.map(|port| format!("on port {port} ")).unwrap_or_default();
        Ok(FaultPlan {
            steps: vec![Step { offset: Duration::ZERO, action, hold: Hold::Held }],
            impairs: shaped.impaired.into_iter().map(|node| (node, None)).collect(),
            words: format!("{on}{}", shaped.words),
        })
    }
}

impl Partition {
    fn shaped(&self, input: &PlanInput<'_>, rng: &mut ChaCha8Rng) -> Result<Shaped, PlanError> {
        let all = grudge::ends(input.view, true);
        let nodes = grudge::ends(input.view, false);
        let targets: Vec<Endpoint> = input.targets.iter().cloned().map(Endpoint::Node).collect();
        let names = list(input.targets);
        let peers: Vec<NodeName> = names_of(&nodes).into_iter().filter(|node| !input.targets.contains(node)).collect();
        let aimed = |grudge, words| Ok(Shaped { grudge, impaired: input.targets.to_vec(), words });
        match self.shape {
            Shape::Isolate => aimed(grudge::isolate(&all, &targets), format!("isolate {names} from everybody")),
            Shape::IsolateFromPeers => {
                let words = format!("isolate {names} from all other nodes; clients still reach it");
                aimed(grudge::isolate(&nodes, &targets), words)
            }
            Shape::OneWay(direction) => {
                let grudge = grudge::one_way(&nodes, &targets, direction);
                let words = match direction {
                    Direction::In => format!("drop packets from {} to {names}", list(&peers)),
                    Direction::Out => format!("drop packets from {names} to {}", list(&peers)),
                };
                aimed(grudge, words)
            }
            Shape::Clients => {
                aimed(grudge::split(&targets, &[Endpoint::Clients]), format!("cut the clients from {names}"))
            }
            Shape::Halves => {
                let (near, far) = grudge::halves(&nodes, &targets, rng);
                let words = format!("split {} from {}", list(&names_of(&near)), list(&names_of(&far)));
                Ok(Shaped { grudge: grudge::split(&near, &far), impaired: smaller(&near, &far), words })
            }
            Shape::Bridge => {
                let Some(sides) = grudge::bridge(&nodes, &targets, rng) else {
                    return Err(PlanError("a bridge needs two nodes beside those it aims at".to_owned()));
                };
                let (near, far) = (names_of(&sides.near), names_of(&sides.far));
                let words = format!("split {} from {}; {} hears both", list(&near), list(&far), sides.bridge);
                let impaired = smaller(&sides.near, &sides.far);
                Ok(Shaped { grudge: grudge::split(&sides.near, &sides.far), impaired, words })
            }
            Shape::MajoritiesRing => {
                let Some(grudge) = grudge::majorities_ring(&nodes, rng) else {
                    return Err(PlanError(format!("a ring of majorities needs five nodes, not {}", nodes.len())));
                };
                // Nobody loses its majority, so nobody counts as impaired.
                let words = "every node hears a majority, no two the same".to_owned();
                Ok(Shaped { grudge, impaired: Vec::new(), words })
            }
        }
    }
}

fn names_of(ends: &[Endpoint]) -> Vec<NodeName> {
    let node = |end: &Endpoint| match end {
        Endpoint::Node(name) => Some(name.clone()),
        Endpoint::Clients => None,
    };
    ends.iter().filter_map(node).collect()
}

/// A split impairs its smaller side; of equal ones the first.
fn smaller(near: &[Endpoint], far: &[Endpoint]) -> Vec<NodeName> {
    let side: BTreeSet<NodeName> = names_of(if near.len() <= far.len() { near } else { far }).into_iter().collect();
    side.into_iter().collect()
}
