//! The kill storm: the agent, its guard, or all of it die at random instants and between any two steps, while everything it
//! can do is in force against servers that outlive it. Afterwards an inventory that none of our code takes is as before.
//!
//! `FIREDRILL_STORM_KILLS` is how many kills (a few without it); `FIREDRILL_STORM_SEED` repeats one. `ci/bench storm` runs
//! a thousand and more.

mod inventory;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use firedrill_agent::failpoint::{OF_AGENT, OF_DEEDS, OF_GUARD};
use firedrill_agent::protocol::{Answer, Ask, VERSION};
use firedrill_core::action::{Action, Undo};
use firedrill_core::cluster::ProcessName;
use firedrill_core::harm::{Chance, ClockChange, DiskHarm, DiskTarget, Impairment, NameAnswer, Occurrence, Pressure};
use firedrill_sys::clock;
use firedrill_sys::process::own_processes;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use self::inventory::{Independent, Stopwatch, TRY};
use self::tally::{Chances, Kill, Tally, number};
use crate::agent::Agent;
use crate::heal::{heal, job};
use crate::served::ServedDisk;
use crate::world::{World, cut, kill, link, node, pause, wait, world};

/// The lease of the storm's agents.
const LEASE: Duration = Duration::from_secs(1);
/// How long a guard lets a silent agent be that is busy with a deed; see `guard/heart.rs`.
const DEED: Duration = Duration::from_secs(20);
/// A point is tried so often before it counts as one that nothing comes by.
const TRIES: usize = 4;
/// Kills without `FIREDRILL_STORM_KILLS`.
const FEW: usize = 12;

/// Everything that can be done to the world, each once and some of it twice. What the agent does not offer, or not in
/// this world, is left out by itself.
fn actions() -> Vec<Action> {
    let bash = Some(ProcessName("bash".to_owned()));
    let impair = |how| Action::Impair { links: vec![link(2, 3), link(3, 2)], port: None, how, seed: 7 };
    let harm = |how| {
        // Not where a loss of power leaves its marks: an agent that waits for the disk it has stalled does nothing else.
        let path = Some("data".to_owned());
        let target = DiskTarget { path, ops: BTreeSet::new(), when: Occurrence::Always };
        Action::HarmDisk { node: node(3), target, how, seed: 7 }
    };
    let press = |number: u8, pressure| Action::Press { node: node(number), pressure };
    let millis = Duration::from_millis;
    let chance = Chance::per_million(500_000);
    vec![
        cut(1, 2),
        cut(2, 3),
        pause(2, None),
        pause(2, Some("sleep")),
        pause(3, None),
        kill(1, None, true),
        kill(1, Some("sleep"), false),
        Action::ShiftClock { node: node(2), process: None, change: ClockChange::Offset { nanos: 7_000_000_000 } },
        impair(Impairment::Loss { chance }),
        impair(Impairment::Delay { delay: millis(50), jitter: millis(5) }),
        impair(Impairment::Refuse),
        impair(Impairment::HalfOpen),
        impair(Impairment::Bandwidth { bytes_per_second: 10_000 }),
        harm(DiskHarm::Stall),
        harm(DiskHarm::Full),
        harm(DiskHarm::Latency { delay: millis(50) }),
        harm(DiskHarm::CorruptAtRest { bits: 3 }),
        Action::Stop { node: node(1), grace: millis(300) },
        Action::Roll { nodes: vec![node(3), node(1)], every: millis(400), down: millis(100), grace: millis(300) },
        Action::LosePower { nodes: vec![node(3)] },
        Action::Oom { node: node(1), process: None },
        Action::RestartLoop { node: node(1), process: None, every: millis(200) },
        press(2, Pressure::Cpu { workers: 1 }),
        press(1, Pressure::Memory { bytes: 8 << 20 }),
        press(2, Pressure::Io { workers: 1 }),
        press(2, Pressure::Fds { spare: 0 }),
        press(1, Pressure::Pids { spare: 5 }),
        Action::MisleadNames { askers: vec![node(1)], names: vec![node(2)], answer: NameAnswer::Failure },
        Action::MisleadNames {
            askers: vec![node(3)],
            names: vec![node(2)],
            answer: NameAnswer::Wrong { address: Ipv4Addr::LOCALHOST },
        },
        Action::Pause { node: node(2), process: bash },
    ]
}

/// Who dies, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Victim {
    Agent,
    Guard,
    AgentAndGuard,
    GuardAndAgent,
    Everything,
    Owner,
    StoppedAgent,
    StoppedGuard,
    Point,
}

impl Victim {
    /// How long after it the last effect is gone at the latest.
    const fn promised(self) -> Duration {
        match self {
            Self::StoppedAgent => DEED,
            Self::Agent
            | Self::Guard
            | Self::AgentAndGuard
            | Self::GuardAndAgent
            | Self::Everything
            | Self::Owner
            | Self::StoppedGuard
            | Self::Point => LEASE,
        }
    }
}

/// The kind of an action, and of what it does where that differs.
fn kind(action: &Action) -> String {
    let value = serde_json::to_value(action).expect("data");
    let inner = if let Action::Press { pressure, .. } = action {
        pressure.to_string()
    } else if let Action::Impair { how, .. } = action {
        how.to_string()
    } else if let Action::HarmDisk { how, .. } = action {
        how.to_string()
    } else {
        String::new()
    };
    format!("{} {inner}", value["action"].as_str().expect("a name")).trim().to_owned()
}

struct Storm {
    world: World,
    independent: Independent,
    before: BTreeSet<String>,
    chances: Chances,
    tally: Tally,
    /// The kill that comes next, or is being looked at.
    kill: Kill,
    /// What is in force, by tag, as far as the agent has said.
    in_force: BTreeMap<String, String>,
}

impl Storm {
    fn start(name: &'static str, seed: u64) -> Option<Self> {
        let mut world = world()?;
        world.limit(128 << 20, 60);
        world.disk = ServedDisk::start();
        std::fs::create_dir_all(world.clocks(2).join("bash")).expect("a folder");
        std::fs::create_dir_all(world.folder().join("journals")).expect("a folder");
        world.with_starter(None);
        world.with_names();
        world.start(1, "sleep", &["600"]);
        world.start(2, "bash", &["-c", "while true; do sleep 600; done"]);
        world.start(3, "sleep", &["600"]);
        wait("the child runs", || (world.processes(2).len() == 2).then_some(()));
        let mut independent = Independent::start(&world.places(), TRY);
        let before = independent.take();
        let (chances, tally) = (Chances(seed | 1), Tally::new(name, seed));
        Some(Self { world, independent, before, chances, tally, kill: Kill::default(), in_force: BTreeMap::new() })
    }

    /// One agent and its death, and what must be true afterwards.
    fn cycle(&mut self, victim: Victim, point: &str) {
        self.kill = Kill { victim: format!("{victim:?}"), point: point.to_owned(), ..Kill::default() };
        self.tally.at("begins", &self.kill);
        let mut agent = Agent::failing(&self.world, point);
        let hello = Ask::Hello { version: VERSION, config: self.world.config(LEASE) };
        let greeted = agent.try_ask(hello);
        assert!(matches!(greeted, Some(Answer::Hello { .. })), "{point}: {greeted:?}");
        let delay = Duration::from_millis(u64::try_from(self.chances.below(600)).expect("small"));
        let pid = agent.pid();
        let killer = thread::spawn(move || {
            if victim != Victim::Point {
                clock::until(delay, Duration::from_millis(1), || None::<()>);
                strike(victim, pid);
            }
            Stopwatch::start()
        });
        self.in_force.clear();
        // A point of one kind of deed is passed when that is done, which may take several rounds.
        let patience = if victim == Victim::Point { 60_000_000_000 } else { 8_000_000_000 };
        let deadline = clock::boottime_nanos() + patience;
        let mut actions = actions();
        while clock::boottime_nanos() < deadline && !killer.is_finished() || victim == Victim::Point {
            shuffle(&mut self.chances, &mut actions);
            if self.play(&mut agent, &actions).is_none() || clock::boottime_nanos() > deadline {
                break;
            }
        }
        let mut struck = killer.join().expect("the killer");
        if victim == Victim::Owner {
            agent.close();
            struck = Stopwatch::start();
        }
        if matches!(victim, Victim::Guard | Victim::StoppedGuard) {
            // A guard is replaced while its agent goes on, and the agent's death is then the new one's to undo.
            let replaced = self.play(&mut agent, &actions);
            assert!(replaced.is_some(), "the agent has died with its guard");
            agent.kill_9();
            struck = Stopwatch::start();
        }
        // A guard at whose point nothing passed may still live, with its agent.
        if point.starts_with("guard-") {
            agent.kill_9();
        }
        if !agent.exits() {
            // What a deed needs was kept down by others all the time.
            assert_eq!(victim, Victim::Point, "the agent lives on");
            self.kill.unpassed = true;
            agent.kill_9();
            struck = Stopwatch::start();
        }
        self.kill.in_force = self.in_force.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        self.tally.at("has died", &self.kill);
        if victim == Victim::Point {
            // The thread that kills nobody has started its own long ago.
            struck = Stopwatch::start();
        }
        let (took, fair) = self.end(victim, point, &struck);
        self.tally.note(&self.kill, took, fair);
    }

    /// Deaths at each of these points; those that nothing came by are tried again.
    fn pass(&mut self, points: &[String]) {
        for point in points {
            let victim = if point.starts_with("guard-") { Victim::Agent } else { Victim::Point };
            self.cycle(victim, point);
        }
    }

    /// Tries again what nothing has come by yet, and fails when that goes on.
    fn pass_all(&mut self, points: &[String]) {
        for _ in 1..TRIES {
            self.pass(&self.tally.unpassed(points));
        }
        let unpassed = self.tally.unpassed(points);
        assert!(unpassed.is_empty(), "never passed: {unpassed:?}; died at {:?}", self.tally.points);
    }

    /// Looks whether all is as before: effects at once, or, when the guard has died too, once the lab's init, or the next
    /// command, has healed; everything after the next command. How long after the kill effects were gone.
    fn end(&mut self, victim: Victim, point: &str, struck: &Stopwatch) -> (Duration, Duration) {
        let both = matches!(victim, Victim::AgentAndGuard | Victim::GuardAndAgent | Victim::Everything)
            || point.ends_with(",guard")
            || point.starts_with("guard-");
        let bare = both && self.chances.below(4) == 0;
        if both && !bare {
            self.heals("the lab's init");
        }
        if !bare {
            let what = format!("an effect outlasts its agent ({:?})", self.kill);
            let same = self.independent.wait_same(&self.before, false, victim.promised(), has_ended);
            assert_eq!(same, Ok(()), "{what}");
            let lies = self.world.lies();
            assert!(lies.is_empty(), "{what}: {lies:?}");
        }
        if bare {
            // A guard that dies after the next command is not that command's to heal.
            let prefix = self.world.config(LEASE).tag_prefix;
            let any = || own_processes().expect("read").iter().any(|one| one.tag.as_ref() == Some(&prefix));
            wait("all of it has died", || (!any()).then_some(()));
        }
        let took = (struck.all(), struck.fair());
        self.tally.at("effects are gone", &self.kill);
        // The next command finds what is inert, and removes it.
        if self.chances.below(2) == 0 {
            self.heals("heal");
        } else {
            self.kill.healed_by.push("agent");
            let mut next = Agent::silent(&self.world);
            let hello = Ask::Hello { version: VERSION, config: self.world.config(LEASE) };
            assert!(matches!(next.try_ask(hello), Some(Answer::Hello { .. })));
            let bye = next.try_ask(Ask::Bye);
            assert_eq!(bye, Some(Answer::Bye), "{victim:?} {point}");
            next.exit();
        }
        let same = self.independent.wait_same(&self.before, true, LEASE, has_ended);
        assert_eq!(same, Ok(()), "left after the next command ({:?})", self.kill);
        let down: Vec<u8> = (1..=3).filter(|node| !self.world.serves(*node)).collect();
        assert!(down.is_empty(), "nodes {down:?} are down after the next command ({:?})", self.kill);
        took
    }

    fn heals(&mut self, who: &'static str) {
        self.kill.healed_by.push(who);
        let (told, clean) = heal(&job(&self.world));
        assert!(clean, "{who}: {told:?}");
    }

    /// Applies all that is offered, and reverts some of it, in random order; `None` when the agent has died.
    fn play(&mut self, agent: &mut Agent, actions: &[Action]) -> Option<()> {
        let mut applied: Vec<Undo> = Vec::new();
        for action in actions {
            let tag = agent.tag();
            if let Answer::Prepared(undo) = agent.try_ask(Ask::Prepare { tag, action: action.clone() })? {
                let answer = agent.try_ask(Ask::Apply { undo: undo.clone(), hold_nanos: None })?;
                if let Answer::Applied { .. } = answer {
                    *self.kill.applied.entry(kind(action)).or_default() += 1;
                    self.in_force.insert(undo.tag.clone(), kind(action));
                }
                applied.push(undo);
            }
            if !applied.is_empty() && self.chances.below(3) == 0 {
                let undo = applied.swap_remove(self.chances.below(applied.len()));
                self.revert(agent, undo)?;
            }
        }
        shuffle(&mut self.chances, &mut applied);
        applied.into_iter().try_for_each(|undo| self.revert(agent, undo))
    }

    /// Whether this world has what it takes to come by a point.
    fn passes(&self, point: &str) -> bool {
        let config = self.world.config(LEASE);
        let needs_disk = ["disk-", "power-", "rest-"].iter().any(|kind| point.starts_with(kind));
        let (disk, groups) = (self.world.disk.is_some(), !config.nodes[0].ground.cgroups.is_empty());
        if needs_disk { disk } else { groups || !point.starts_with("oom-") }
    }

    fn revert(&mut self, agent: &mut Agent, undo: Undo) -> Option<()> {
        let tag = undo.tag.clone();
        agent.try_ask(Ask::Revert { undo })?;
        self.in_force.remove(&tag);
        Some(())
    }
}

/// The limits of a process that was there end with it, and are no effect.
fn has_ended(what: &str, line: &str) -> bool {
    what == "gone" && line.contains(" process ")
}

/// Kills with SIGKILL, or stops with SIGSTOP; what is gone already is gone.
fn strike(victim: Victim, agent: i32) {
    let children = || -> Vec<i32> {
        let list = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    let guard = || -> Vec<i32> {
        let is_guard =
            |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().ends_with(b"\0guard\0");
        children().into_iter().filter(is_guard).collect()
    };
    let (pids, signal) = match victim {
        Victim::Agent => (vec![agent], Signal::SIGKILL),
        Victim::Guard => (guard(), Signal::SIGKILL),
        Victim::AgentAndGuard => ([vec![agent], guard()].concat(), Signal::SIGKILL),
        Victim::GuardAndAgent => ([guard(), vec![agent]].concat(), Signal::SIGKILL),
        Victim::Everything => ([vec![agent], children()].concat(), Signal::SIGKILL),
        Victim::StoppedAgent => (vec![agent], Signal::SIGSTOP),
        Victim::StoppedGuard => (guard(), Signal::SIGSTOP),
        Victim::Owner | Victim::Point => return,
    };
    for pid in pids {
        // What has ended meanwhile is gone already.
        let sent = send(Pid::from_raw(pid), signal);
        assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
    }
}

fn shuffle<T>(chances: &mut Chances, all: &mut [T]) {
    for last in (1..all.len()).rev() {
        all.swap(last, chances.below(last + 1));
    }
}

#[test]
fn kills_at_random_instants_leave_nothing() {
    let seed = number("FIREDRILL_STORM_SEED").unwrap_or_else(clock::boottime_nanos);
    let kills = number("FIREDRILL_STORM_KILLS").map_or(FEW, |kills| usize::try_from(kills).expect("a number"));
    let Some(mut storm) = Storm::start("agents at random instants", seed) else { return };
    eprintln!("a storm of {kills} kills, FIREDRILL_STORM_SEED={seed}");
    let often = [Victim::Agent, Victim::AgentAndGuard, Victim::GuardAndAgent, Victim::Everything, Victim::Owner];
    let seldom = [Victim::Guard, Victim::StoppedAgent, Victim::StoppedGuard];
    for count in 0..kills {
        // What takes the guard's patience comes once in twelve.
        let victim = if count % 12 == 11 { seldom[count / 12 % 3] } else { often[storm.chances.below(often.len())] };
        storm.cycle(victim, "");
    }
    assert!(storm.tally.applied.len() >= 4, "{:?}", storm.tally.applied);
}

#[test]
fn deaths_between_any_two_steps_leave_nothing() {
    let seed = number("FIREDRILL_STORM_SEED").unwrap_or_else(clock::boottime_nanos);
    let rounds = number("FIREDRILL_STORM_ROUNDS").unwrap_or(1);
    let Some(mut storm) = Storm::start("agents between two steps", seed) else { return };
    eprintln!("deaths at each point, FIREDRILL_STORM_SEED={seed}");
    let of_agent = OF_AGENT.iter().flat_map(|point| [(*point).to_owned(), format!("{point},guard")]);
    let of_guard = OF_GUARD.map(ToOwned::to_owned);
    let of_deeds: Vec<&str> = OF_DEEDS.into_iter().filter(|point| storm.passes(point)).collect();
    let mut all: Vec<String> = of_agent.chain(of_guard).collect();
    let count = all.len();
    for round in 0..rounds {
        all.truncate(count);
        // A few with the guard where there are few rounds.
        all.extend((round..).zip(&of_deeds).map(|(turn, point)| match turn % 2 {
            0 => format!("{point},guard"),
            _ => (*point).to_owned(),
        }));
        storm.pass(&all);
    }
    storm.pass_all(&all);
}
