//! `net.dns`: nodes that ask for the names of nodes are told something wrong, nothing, or the truth late.
//!
//! What a stale record, a broken name server or a slow one do. A connection that is there needs no name: it is the next
//! one that does not come about, after a restart, a failover or a broken connection. So the fault alone may show nothing
//! but its proof, and is best held while something else makes servers connect anew. Clients of the harness connect by
//! address, and are not misled. Only for systems whose servers find each other by name.

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::{ClusterView, NodeName};
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, Needs, PlanError, PlanInput, Step};
use firedrill_core::harm::NameAnswer;
use firedrill_core::platform::LAB_NOBODY;
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::units::human;

use crate::words::list;

/// The least that can be told from the time that asking for a name takes on a busy machine.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest: whoever asks has given up long before.
const LONGEST: Duration = Duration::from_secs(60);

/// When a server of the lab gives its name server up (`resolv.conf(5)`, `timeout`), and so does the proof.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// What a proof takes beside.
const SPARE: Duration = Duration::from_millis(300);

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.dns",
    summary: "the target's questions for names of nodes are answered wrongly, with an error, or late",
    example: r#"
[[fault]]
kind   = "net.dns"
answer = "servfail"      # or "nxdomain", "nobody" (an address nobody has), "other-node", "late" (with `delay = "3s"`)
whose  = "all"           # default; or "others", "primary"; or names = ["n1", "n3"] instead
on     = "primary"       # who asks
at     = "10s"
for    = "20s"
"#,
    deeds: &[Deed::MisleadNames],
    hold: HoldRule::Required,
    parse,
};

/// The words of `answer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Nobody,
    OtherNode,
    Servfail,
    Nxdomain,
    Late,
}

/// Whose names are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Whose {
    /// Every node's.
    All,
    /// Every node's but the asker's own.
    Others,
    /// That of the node that takes writes at the onset.
    Primary,
    /// Those of these nodes.
    Named(BTreeSet<NodeName>),
}

/// The fault, its options read.
struct Dns {
    answer: NameAnswer,
    whose: Whose,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let kinds = [
        ("nobody", Kind::Nobody),
        ("other-node", Kind::OtherNode),
        ("servfail", Kind::Servfail),
        ("nxdomain", Kind::Nxdomain),
        ("late", Kind::Late),
    ];
    let kind = fields.required_word("answer", &kinds);
    let delay = delay(fields, kind);
    let whose = whose(fields);
    let answer = match kind? {
        Kind::Nobody => NameAnswer::Wrong { address: LAB_NOBODY },
        Kind::OtherNode => NameAnswer::OtherNode,
        Kind::Servfail => NameAnswer::Failure,
        Kind::Nxdomain => NameAnswer::NoSuchName,
        Kind::Late => NameAnswer::Delay { delay: delay? },
    };
    Some(Box::new(Dns { answer, whose: whose? }))
}

/// Reads `delay`, which late answers have, and no others.
fn delay(fields: &mut Fields<'_, '_>, kind: Option<Kind>) -> Option<Duration> {
    if kind == Some(Kind::Late) {
        let delay = fields.required::<Duration>("delay")?;
        if (SHORTEST..=LONGEST).contains(&delay) {
            return Some(delay);
        }
        let help = format!("write a duration from {} to {}", human(SHORTEST), human(LONGEST));
        fields.wrong("delay", "too short to be told from a busy machine, or longer than anybody waits", help);
    } else if fields.optional::<Duration>("delay").is_some() && kind.is_some() {
        fields.wrong(
            "delay",
            "only late answers have a `delay`",
            "write `answer = \"late\"`, or leave it out".to_owned(),
        );
    }
    None
}

/// Reads `whose` and `names`, which exclude each other.
fn whose(fields: &mut Fields<'_, '_>) -> Option<Whose> {
    let words = [("all", Whose::All), ("others", Whose::Others), ("primary", Whose::Primary)];
    let places: Vec<(&str, usize)> = words.iter().enumerate().map(|(place, (word, _))| (*word, place)).collect();
    let (by_word, by_name) = (fields.has("whose"), fields.has("names"));
    let word = fields.word("whose", &places, 0);
    let names: BTreeSet<NodeName> =
        fields.list::<String>("names").into_iter().map(|name| NodeName::new(name.value)).collect();
    if by_word && by_name {
        fields.wrong("names", "`whose` and `names` exclude each other", "leave one of them out".to_owned());
        return None;
    }
    if by_name && names.is_empty() {
        fields.wrong(
            "names",
            "no name at all",
            "name a node, as `names = [\"n1\"]`, or leave it out for all".to_owned(),
        );
        return None;
    }
    if by_name { Some(Whose::Named(names)) } else { words.into_iter().nth(word).map(|(_, whose)| whose) }
}

impl Dns {
    /// The names that one asker asks for.
    fn names(&self, asker: &NodeName, view: &ClusterView) -> Result<Vec<NodeName>, PlanError> {
        let all = view.nodes.iter().map(|node| node.name.clone());
        Ok(match &self.whose {
            Whose::All => all.collect(),
            Whose::Others => all.filter(|name| name != asker).collect(),
            Whose::Named(names) => names.iter().cloned().collect(),
            Whose::Primary => match view.primary() {
                Some(primary) => vec![primary.name.clone()],
                // A plan without a cluster, where it may not be among the words; or nobody answers, and the agent refuses.
                None if view.nodes.iter().all(|node| node.epoch.is_none()) => vec![NodeName::new("the primary")],
                None => return Err(PlanError(format!("no node takes writes; seen: {}", view.in_words()))),
            },
        })
    }
}

impl Dns {
    /// To see that an answer is late takes as long as it is late, for each step, and not more than a third of the hold.
    fn provable(&self, steps: usize, hold: Option<Duration>) -> Result<(), PlanError> {
        let (NameAnswer::Delay { delay }, Some(hold)) = (self.answer, hold) else { return Ok(()) };
        let looks = delay.min(GIVEN_UP) * u32::try_from(steps).unwrap_or(u32::MAX) + SPARE;
        let least = looks * 3;
        if hold >= least {
            return Ok(());
        }
        Err(PlanError(format!("late answers take their time to be proven: hold it for {} at least", human(least))))
    }
}

impl Fault for Dns {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        // Those who ask for the same are misled, and looked at, together.
        let mut groups: Vec<(Vec<NodeName>, Vec<NodeName>)> = Vec::new();
        for asker in input.targets {
            let names = self.names(asker, input.view)?;
            if names.is_empty() {
                return Err(PlanError(format!("there is nobody else whose name {asker} could ask for")));
            }
            match groups.iter_mut().find(|(_, asked)| *asked == names) {
                Some((askers, _)) => askers.push(asker.clone()),
                None => groups.push((vec![asker.clone()], names)),
            }
        }
        self.provable(groups.len(), input.hold)?;
        let step = |(askers, names)| {
            let action = Action::MisleadNames { askers, names, answer: self.answer };
            Step { offset: Duration::ZERO, action, hold: Hold::Held }
        };
        let steps = groups.into_iter().map(step).collect();
        let names = match &self.whose {
            Whose::All => "every node's name".to_owned(),
            Whose::Others => "another node's name".to_owned(),
            Whose::Primary => "the primary's name".to_owned(),
            Whose::Named(names) => list(names),
        };
        Ok(FaultPlan {
            steps,
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: format!("{} asking for {names}: {}", list(input.targets), self.answer),
        })
    }

    fn needs(&self) -> Needs {
        let names = if let Whose::Named(names) = &self.whose { names.clone() } else { BTreeSet::new() };
        Needs { names, ..Needs::default() }
    }
}
