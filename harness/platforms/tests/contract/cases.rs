//! One case for every action there is, and for every way in which it spoils something. A new one without a case does not
//! compile. What an action cannot promise is said here, with the reason.

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Action, Deed, Endpoint, Link};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::harm::{Chance, ClockChange, DiskHarm, DiskTarget, Impairment, NameAnswer, Occurrence, Pressure};
use firedrill_core::platform::LAB_NOBODY;

/// Where the cases happen.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Of at least so many nodes.
    pub(crate) nodes: [NodeName; 3],
    /// A process that runs on each. It writes, syncs and reads a file in the folder `data` of its home again and again; in
    /// the folder `rest` there is a file that nobody writes.
    pub(crate) server: ProcessName,
    /// Another one, if there is one.
    pub(crate) other: Option<ProcessName>,
}

/// An action, and what is to be known of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) action: Action,
    /// The same deed at another place.
    pub(crate) elsewhere: Action,
    pub(crate) same: Same,
    pub(crate) steps: Steps,
    pub(crate) after: After,
    pub(crate) seen: Seen,
}

/// A second record of the same deed at the same place.
#[derive(Clone, Debug)]
pub(crate) enum Same {
    /// Both are in force.
    Both(Action),
    /// Both are in force, and the effect of each can be told from the other's.
    Beside(Action),
    /// Both are in force if the second was prepared before the first was applied; the text says why only then.
    Early(Action, &'static str),
    /// Refused; the text says why.
    Refused(Action, &'static str),
    /// There is no such thing; the text says why.
    No(&'static str),
}

/// What it consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steps {
    /// One step, which is done or not; the text says which.
    One(&'static str),
    /// Several; it can be stopped at each of these points.
    Several(&'static [&'static str]),
}

/// What is left to see once it is reverted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    Nothing,
    /// The effect; the text says why.
    Effect(&'static str),
}

/// Whether the inventory differs while it is in force.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    Listed,
    /// It need not; the text says why nothing could stay unseen.
    ByProbe(&'static str),
}

impl Case {
    /// What is left out, and why.
    pub(crate) fn without(&self) -> Vec<String> {
        let mut without = Vec::new();
        match &self.same {
            Same::Both(_) | Same::Beside(_) => {}
            Same::Early(_, why) => {
                without.push(format!("a second one at the same place must be prepared before: {why}"));
            }
            Same::Refused(_, why) => without.push(format!("a second one at the same place is refused: {why}")),
            Same::No(why) => without.push(format!("no second one at the same place: {why}")),
        }
        if let Steps::One(step) = self.steps {
            without.push(format!("no half-way: {step}"));
        }
        if let After::Effect(why) = self.after {
            without.push(format!("reverted, its effect is still seen: {why}"));
        }
        if let Seen::ByProbe(why) = self.seen {
            without.push(format!("not asked of the inventory: {why}"));
        }
        without
    }
}

/// A list with something for every variant. What is left out does not compile: the match that says so is never called.
macro_rules! for_every {
    ($type:ty { $($pattern:pat => $value:expr),+ $(,)? }) => {{
        const _: fn(&$type) = |value| match value { $($pattern => ()),+ };
        vec![$($value),+]
    }};
}

/// Every deed.
pub(crate) fn deeds() -> Vec<Deed> {
    for_every!(Deed {
        Deed::CutLinks => Deed::CutLinks,
        Deed::FreezeDisk => Deed::FreezeDisk,
        Deed::HarmDisk => Deed::HarmDisk,
        Deed::ImpairLinks => Deed::ImpairLinks,
        Deed::KillProcess => Deed::KillProcess,
        Deed::LosePower => Deed::LosePower,
        Deed::MisleadNames => Deed::MisleadNames,
        Deed::OomProcess => Deed::OomProcess,
        Deed::PauseProcess => Deed::PauseProcess,
        Deed::PressCpu => Deed::PressCpu,
        Deed::PressFds => Deed::PressFds,
        Deed::PressIo => Deed::PressIo,
        Deed::PressMemory => Deed::PressMemory,
        Deed::PressPids => Deed::PressPids,
        Deed::ShiftClock => Deed::ShiftClock,
    })
}

/// Every case.
pub(crate) fn all(place: &Place) -> Vec<Case> {
    let all = for_every!(Action {
        Action::Cut { .. } => cuts(place),
        Action::Impair { .. } => impairs(place),
        Action::Pause { .. } => pauses(place),
        Action::Kill { .. } => kills(place),
        Action::RestartLoop { .. } => loops(place),
        Action::Stop { .. } => stops(place),
        Action::Roll { .. } => rolls(place),
        Action::Oom { .. } => ooms(place),
        Action::Press { .. } => presses(place),
        Action::ShiftClock { .. } => clocks(place),
        Action::MisleadNames { .. } => lies(place),
        Action::HarmDisk { .. } => harms(place),
        Action::FreezeDisk { .. } => freezes(place),
        Action::LosePower { .. } => power_losses(place),
    });
    let all: Vec<Case> = all.into_iter().flatten().collect();
    for deed in deeds() {
        assert!(all.iter().any(|case| case.action.deed() == deed), "{deed} has no case");
    }
    all
}

/// Something of another kind that is in force at the same time, where it is in nobody's way.
pub(crate) fn stranger(case: &Case, place: &Place) -> Action {
    let third = place.nodes[2].clone();
    match case.action.deed() {
        Deed::CutLinks | Deed::ImpairLinks => Action::Pause { node: third, process: None },
        Deed::FreezeDisk
        | Deed::HarmDisk
        | Deed::KillProcess
        | Deed::LosePower
        | Deed::MisleadNames
        | Deed::OomProcess
        | Deed::PauseProcess
        | Deed::PressCpu
        | Deed::PressFds
        | Deed::PressIo
        | Deed::PressMemory
        | Deed::PressPids
        | Deed::ShiftClock => {
            let third = Endpoint::Node(third);
            let link = |from: &Endpoint, to: &Endpoint| Link { from: from.clone(), to: to.clone() };
            let links = vec![link(&third, &Endpoint::Clients), link(&Endpoint::Clients, &third)];
            Action::Cut { links, port: None }
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
/// How long servers may take to end when they are asked to.
const GRACE: Duration = Duration::from_millis(300);
const PROCESSES_END: &str = "what would be left is that a process does not run, and its probe says so";
const HOGS: &str = "what takes the resource is a process that ends with the agent; what it took is seen by the probe";

/// Both directions between two nodes.
fn between(place: &Place, one: usize, other: usize) -> Vec<Link> {
    let [one, other] = [one, other].map(|number| Endpoint::Node(place.nodes[number].clone()));
    vec![Link { from: one.clone(), to: other.clone() }, Link { from: other, to: one }]
}

fn cuts(place: &Place) -> Vec<Case> {
    let cut = |one, other, port| Action::Cut { links: between(place, one, other), port };
    let case = |port| Case {
        action: cut(0, 1, port),
        elsewhere: cut(0, 2, port),
        same: Same::Both(cut(0, 1, port)),
        steps: Steps::One("one transaction of nftables makes the table with all links that are cut in one place"),
        after: After::Nothing,
        seen: Seen::Listed,
    };
    vec![case(None), case(Some(7000))]
}

fn impairs(place: &Place) -> Vec<Case> {
    let chance = Chance::per_million(300_000);
    let half = Chance::per_million(500_000);
    let ways = for_every!(Impairment {
        Impairment::Loss { .. } => Impairment::Loss { chance: half },
        Impairment::Delay { .. } => Impairment::Delay { delay: 40 * MILLISECOND, jitter: 10 * MILLISECOND },
        Impairment::Duplicate { .. } => Impairment::Duplicate { chance },
        Impairment::Corrupt { .. } => Impairment::Corrupt { chance },
        Impairment::Reorder { .. } => Impairment::Reorder { chance, by: 10 * MILLISECOND },
        Impairment::Bandwidth { .. } => Impairment::Bandwidth { bytes_per_second: 100_000 },
        Impairment::Reset => Impairment::Reset,
        Impairment::Refuse => Impairment::Refuse,
        Impairment::HalfOpen => Impairment::HalfOpen,
    });
    let case = |how| {
        let impair = |one, other, seed| Action::Impair { links: between(place, one, other), port: None, how, seed };
        Case {
            action: impair(0, 1, 1),
            elsewhere: impair(0, 2, 2),
            same: Same::Both(impair(0, 1, 3)),
            steps: Steps::Several(&["impair-mid-apply"]),
            after: After::Nothing,
            seen: Seen::Listed,
        }
    };
    ways.into_iter().map(case).collect()
}

fn pauses(place: &Place) -> Vec<Case> {
    let pause = |number: usize| Action::Pause { node: place.nodes[number].clone(), process: None };
    vec![Case {
        action: pause(0),
        elsewhere: pause(1),
        same: Same::Both(pause(0)),
        steps: Steps::Several(&["mid-apply"]),
        after: After::Nothing,
        seen: Seen::Listed,
    }]
}

/// The other process on the same node, if there is one.
fn beside(place: &Place, action: impl Fn(Option<ProcessName>) -> Action) -> Same {
    place
        .other
        .clone()
        .map_or(Same::No("there is one process only on each node"), |other| Same::Beside(action(Some(other))))
}

fn kills(place: &Place) -> Vec<Case> {
    let kill = |number: usize, process: Option<ProcessName>, stay_down| Action::Kill {
        node: place.nodes[number].clone(),
        process,
        signal: 9,
        stay_down,
    };
    let server = || Some(place.server.clone());
    let steps = Steps::Several(&["mid-apply"]);
    let seen = Seen::ByProbe(PROCESSES_END);
    vec![
        Case {
            action: kill(0, None, true),
            elsewhere: kill(1, None, true),
            same: Same::No("nothing is left there that could be killed"),
            steps,
            after: After::Nothing,
            seen,
        },
        Case {
            action: kill(0, server(), true),
            elsewhere: kill(1, server(), true),
            same: beside(place, |other| kill(0, other, true)),
            steps,
            after: After::Nothing,
            seen,
        },
        Case {
            action: kill(0, server(), false),
            elsewhere: kill(1, server(), false),
            same: beside(place, |other| kill(0, other, false)),
            steps,
            after: After::Effect("what was killed once stays killed; another process runs in its place"),
            seen,
        },
    ]
}

fn loops(place: &Place) -> Vec<Case> {
    let again = |number: usize, process: Option<ProcessName>| Action::RestartLoop {
        node: place.nodes[number].clone(),
        process,
        every: 200 * MILLISECOND,
    };
    let server = || Some(place.server.clone());
    vec![Case {
        action: again(0, server()),
        elsewhere: again(1, server()),
        same: beside(place, |other| again(0, other)),
        steps: Steps::Several(&["loop-mid-apply"]),
        after: After::Nothing,
        seen: Seen::ByProbe(PROCESSES_END),
    }]
}

fn stops(place: &Place) -> Vec<Case> {
    let stop = |number: usize| Action::Stop { node: place.nodes[number].clone(), grace: GRACE };
    vec![Case {
        action: stop(0),
        elsewhere: stop(1),
        same: Same::Early(stop(0), "nothing runs there any more that could be stopped"),
        steps: Steps::Several(&["stop-mid-apply"]),
        after: After::Nothing,
        seen: Seen::ByProbe(PROCESSES_END),
    }]
}

fn rolls(place: &Place) -> Vec<Case> {
    let roll = |nodes: &[NodeName]| Action::Roll {
        nodes: nodes.to_vec(),
        every: GRACE,
        down: 100 * MILLISECOND,
        grace: GRACE,
    };
    vec![Case {
        action: roll(&place.nodes[..2]),
        elsewhere: roll(&place.nodes[2..]),
        same: Same::No("what the one has restarted the other would take for its own restart"),
        steps: Steps::Several(&["roll-mid-apply"]),
        after: After::Nothing,
        seen: Seen::ByProbe(PROCESSES_END),
    }]
}

fn ooms(place: &Place) -> Vec<Case> {
    let oom = |number: usize| Action::Oom { node: place.nodes[number].clone(), process: Some(place.server.clone()) };
    vec![Case {
        action: oom(0),
        elsewhere: oom(1),
        same: Same::No("the kernel counts its kills for the node, whoever called it"),
        steps: Steps::Several(&["oom-mid-apply"]),
        after: After::Effect("what the killer chose stays killed; another process runs in its place"),
        seen: Seen::ByProbe(PROCESSES_END),
    }]
}

fn presses(place: &Place) -> Vec<Case> {
    let ways = for_every!(Pressure {
        Pressure::Cpu { .. } => Pressure::Cpu { workers: 1 },
        Pressure::Memory { .. } => Pressure::Memory { bytes: 32 << 20 },
        Pressure::Io { .. } => Pressure::Io { workers: 1 },
        Pressure::Fds { .. } => Pressure::Fds { spare: 8 },
        Pressure::Pids { .. } => Pressure::Pids { spare: 8 },
    });
    let case = |pressure| {
        let press = |number: usize| Action::Press { node: place.nodes[number].clone(), pressure };
        let limits = matches!(pressure, Pressure::Fds { .. });
        let refused = "what the first has lowered it puts back, whatever the second lowered";
        Case {
            action: press(0),
            elsewhere: press(1),
            same: if limits { Same::Refused(press(0), refused) } else { Same::Both(press(0)) },
            steps: Steps::Several(&["press-mid-apply"]),
            after: After::Nothing,
            seen: if limits { Seen::Listed } else { Seen::ByProbe(HOGS) },
        }
    };
    ways.into_iter().map(case).collect()
}

fn clocks(place: &Place) -> Vec<Case> {
    let hour = 3_600_000_000_000;
    let changes = for_every!(ClockChange {
        ClockChange::Offset { .. } => ClockChange::Offset { nanos: -hour },
        ClockChange::Slew { .. } => ClockChange::Slew { nanos: hour, over: 500 * MILLISECOND },
        ClockChange::Strobe { .. } => ClockChange::Strobe { nanos: hour, every: 300 * MILLISECOND },
        ClockChange::Drift { .. } => ClockChange::Drift { parts_per_million: 100_000_000 },
    });
    let case = |change| {
        let process = Some(place.server.clone());
        let shift =
            |number: usize| Action::ShiftClock { node: place.nodes[number].clone(), process: process.clone(), change };
        Case {
            action: shift(0),
            elsewhere: shift(1),
            same: Same::Refused(shift(0), "a clock has one offset"),
            steps: Steps::Several(&["clock-mid-apply"]),
            after: After::Nothing,
            seen: Seen::Listed,
        }
    };
    changes.into_iter().map(case).collect()
}

fn lies(place: &Place) -> Vec<Case> {
    let answers = for_every!(NameAnswer {
        NameAnswer::Wrong { .. } => NameAnswer::Wrong { address: LAB_NOBODY },
        NameAnswer::OtherNode => NameAnswer::OtherNode,
        NameAnswer::Failure => NameAnswer::Failure,
        NameAnswer::NoSuchName => NameAnswer::NoSuchName,
        NameAnswer::Delay { .. } => NameAnswer::Delay { delay: 200 * MILLISECOND },
    });
    let case = |answer| {
        let lie = |asker: usize, name: usize| Action::MisleadNames {
            askers: vec![place.nodes[asker].clone()],
            names: vec![place.nodes[name].clone()],
            answer,
        };
        Case {
            action: lie(0, 1),
            elsewhere: lie(2, 1),
            same: Same::Both(lie(0, 1)),
            steps: Steps::One("one order to the name server"),
            after: After::Nothing,
            seen: Seen::Listed,
        }
    };
    answers.into_iter().map(case).collect()
}

fn harms(place: &Place) -> Vec<Case> {
    let always = for_every!(DiskHarm {
        DiskHarm::Stall => DiskHarm::Stall,
        DiskHarm::Latency { .. } => DiskHarm::Latency { delay: 30 * MILLISECOND },
        DiskHarm::Error => DiskHarm::Error,
        DiskHarm::Full => DiskHarm::Full,
        DiskHarm::ReadOnly => DiskHarm::ReadOnly,
        DiskHarm::Throttle { .. } => DiskHarm::Throttle { bytes_per_second: 200_000 },
        DiskHarm::CorruptRead => DiskHarm::CorruptRead,
        DiskHarm::CorruptAtRest { .. } => DiskHarm::CorruptAtRest { bits: 4 },
        DiskHarm::TornWrite => DiskHarm::TornWrite,
        DiskHarm::LostFsync => DiskHarm::LostFsync,
    });
    let mut ways: Vec<(DiskHarm, Occurrence)> = always.into_iter().map(|harm| (harm, Occurrence::Always)).collect();
    // Those that bite only now and then: the probe counts, while the servers write.
    ways.push((DiskHarm::Error, Occurrence::Nth(3)));
    ways.push((DiskHarm::Error, Occurrence::Chance(Chance::per_million(200_000))));
    let case = |(how, when)| {
        let at_rest = matches!(how, DiskHarm::CorruptAtRest { .. });
        let path = Some(if at_rest { "rest" } else { "data" }.to_owned());
        let target = DiskTarget { path, ops: BTreeSet::new(), when };
        let harm = |number: usize, seed| Action::HarmDisk {
            node: place.nodes[number].clone(),
            target: target.clone(),
            how,
            seed,
        };
        let points: &'static [&'static str] = if at_rest { &["rest-mid-apply"] } else { &["disk-mid-apply"] };
        Case {
            action: harm(0, 1),
            elsewhere: harm(1, 2),
            same: Same::Both(harm(0, 3)),
            steps: Steps::Several(points),
            after: After::Nothing,
            seen: Seen::ByProbe(
                "a harm lives in the disk's process, which forgets it; what it does is seen by the probe",
            ),
        }
    };
    ways.into_iter().map(case).collect()
}

fn freezes(place: &Place) -> Vec<Case> {
    let freeze = |number: usize| Action::FreezeDisk { node: place.nodes[number].clone() };
    vec![Case {
        action: freeze(0),
        elsewhere: freeze(1),
        same: Same::Refused(freeze(0), "a file system is frozen or not"),
        steps: Steps::Several(&["freeze-after"]),
        after: After::Nothing,
        seen: Seen::ByProbe("whether a file system is frozen can only be tried, which the probe does"),
    }]
}

fn power_losses(place: &Place) -> Vec<Case> {
    let lose = |number: usize| Action::LosePower { nodes: vec![place.nodes[number].clone()] };
    vec![Case {
        action: lose(0),
        elsewhere: lose(1),
        same: Same::No("a node without power has none to lose"),
        steps: Steps::Several(&["power-after-marks", "power-after-wire", "power-after-loss"]),
        after: After::Nothing,
        seen: Seen::Listed,
    }]
}
