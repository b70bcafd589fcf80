//! The links a fault of the network is about: those from and to its targets, by direction, by the other end, and by port.

use std::time::Duration;

use firedrill_core::action::{Action, Endpoint, Link};
use firedrill_core::fault::{Fault, FaultPlan, Hold, PlanError, PlanInput, Step};
use firedrill_core::harm::{Chance, Impairment};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::units::human;
use rand::Rng as _;

use super::grudge;
use crate::words::list;

/// The least chance whose effect a probe is sure to see in a second or two.
const LEAST_CHANCE: Chance = Chance::LEAST_PROVEN;
/// The longest that packets may be held back, so that a probe sees them arrive.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest: what a busy machine adds by itself is less.
pub(super) const SHORTEST: Duration = Duration::from_millis(2);

/// Which packets of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Directions {
    /// Those to it.
    In,
    /// Those from it.
    Out,
    /// All.
    Both,
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    /// The other nodes.
    Peers,
    /// The clients.
    Clients,
    /// Everybody.
    All,
}

/// An impairment of the links of its targets.
struct Impaired {
    directions: Directions,
    between: Between,
    port: Option<u16>,
    how: Impairment,
}

/// Reads `direction`, `between` and `port`, which every impairment has.
pub(super) fn impaired(fields: &mut Fields<'_, '_>, how: Option<Impairment>) -> Option<Box<dyn Fault>> {
    let directions = [("in", Directions::In), ("out", Directions::Out), ("both", Directions::Both)];
    let directions = fields.word("direction", &directions, Directions::Both);
    let others = [("peers", Between::Peers), ("clients", Between::Clients), ("all", Between::All)];
    let between = fields.word("between", &others, Between::All);
    let port = port(fields);
    Some(Box::new(Impaired { directions, between, port, how: how? }))
}

/// Reads `port`.
pub(super) fn port(fields: &mut Fields<'_, '_>) -> Option<u16> {
    let number: u64 = fields.optional("port")?;
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    if port.is_none() {
        fields.wrong("port", format!("{number} is not a port"), "a port is a number from 1 to 65535".to_owned());
    }
    port
}

/// Reads a chance that a probe can see.
pub(super) fn chance(fields: &mut Fields<'_, '_>) -> Option<Chance> {
    let chance: Chance = fields.required("chance")?;
    if chance < LEAST_CHANCE {
        let help = format!("write {LEAST_CHANCE} or more");
        fields.wrong("chance", format!("{chance} is too little to be proven within a second or two"), help);
        return None;
    }
    Some(chance)
}

/// Reads for how long packets are held back, if a probe can see it.
pub(super) fn span(fields: &mut Fields<'_, '_>, key: &str, shortest: Duration) -> Option<Duration> {
    let span = fields.required(key)?;
    if (shortest..=LONGEST).contains(&span) {
        return Some(span);
    }
    let (from, to) = (human(shortest), human(LONGEST));
    let bounds = format!("write a duration from {from} to {to}; for longer silence there is net.partition");
    fields.wrong(key, "too short or too long to be proven", bounds);
    None
}

impl Fault for Impaired {
    fn plan(&self, input: &PlanInput<'_>, rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let ends = grudge::ends(input.view, true);
        let is_target = |end: &Endpoint| matches!(end, Endpoint::Node(node) if input.targets.contains(node));
        let meets = |other: &Endpoint| match self.between {
            Between::Peers => *other != Endpoint::Clients,
            Between::Clients => *other == Endpoint::Clients,
            Between::All => true,
        };
        let concerns = |from: &Endpoint, to: &Endpoint| {
            let (out, into) = (is_target(from) && meets(to), is_target(to) && meets(from));
            match self.directions {
                Directions::In => into,
                Directions::Out => out,
                Directions::Both => into || out,
            }
        };
        let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to)));
        let links: Vec<Link> = pairs
            .filter(|(from, to)| from != to && concerns(from, to))
            .map(|(from, to)| Link { from: from.clone(), to: to.clone() })
            .collect();
        if links.is_empty() {
            return Err(PlanError("there is nobody at the other end".to_owned()));
        }
        let action = Action::Impair { links, port: self.port, how: self.how, seed: rng.next_u64() };
        Ok(FaultPlan {
            steps: vec![Step { offset: Duration::ZERO, action, hold: Hold::Held }],
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: self.words(&list(input.targets)),
        })
    }
}

impl Impaired {
    fn words(&self, targets: &str) -> String {
        let others = match self.between {
            Between::Peers => "other nodes",
            Between::Clients => "the clients",
            Between::All => "everybody",
        };
        let way = match self.directions {
            Directions::In => format!("from {others} to {targets}"),
            Directions::Out => format!("from {targets} to {others}"),
            Directions::Both => format!("between {targets} and {others}"),
        };
        let port = self.port.map(|port| format!(" on port {port}")).unwrap_or_default();
        format!("{}{port} {way}", self.how)
    }
}
