//! The units of the lab: started when the port they need answers, reaped when they end, never restarted unasked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::system::{NODE_HOME, TemplateEnd, Unit};
use firedrill_core::time::{Clock, RunTime};
use firedrill_sys::process::{self, Process};
use firedrill_sys::spawn::{RunAs, Spawn};
use firedrill_sys::{children, namespaces, sockets};

use super::build::{NodePlace, Places, open_path};
use super::healer::Healer;
use crate::lab::doing;
use crate::lab::wire::{Count, LabConfig, Tell};

/// How long a unit waits for the port that it needs.
const PORT_PATIENCE: Duration = Duration::from_secs(300);
/// How long one look at a port of an own address may take.
const PORT_LOOK: Duration = Duration::from_millis(20);

/// What a unit is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing.
    Down,
    /// Waiting for its port since then.
    Waiting(RunTime),
    /// Running, with this process id.
    Up(i32),
}

#[derive(Debug)]
struct Supervised {
    unit: Unit,
    state: State,
    /// Whether it was asked to end, so that its end is no incident.
    asked: bool,
    /// Whether it is to be started again when it has ended.
    again: bool,
}

/// All units, and the agent.
#[derive(Debug)]
pub(super) struct Units {
    all: Vec<Supervised>,
    agent: Option<i32>,
    /// The processes of disks, and whose disks they are.
    disks: Vec<(i32, NodeName)>,
    /// The process of the name server.
    names: Option<i32>,
    clock: Clock,
    run_as: BTreeMap<String, RunAs>,
    /// Nodes whose units are to end, one after the other.
    stopping: BTreeSet<String>,
    healer: Healer,
}

impl Units {
    /// The configured units, none running.
    pub(super) fn new(config: &LabConfig, places: &Places) -> Self {
        let disks = places.nodes.iter().filter_map(|node| Some((node.disk?, node.config.name.clone())));
        let supervised =
            |unit: &Unit| Supervised { unit: unit.clone(), state: State::Down, asked: false, again: false };
        let run_as = config.units.iter().map(|unit| {
            let nested = RunAs::Nested(config.owner.0, config.owner.1);
            let account = config.accounts.as_ref().and_then(|accounts| accounts.get(&unit.user));
            (unit.user.clone(), account.map_or(nested, |account| RunAs::Account(account.clone())))
        });
        Self {
            all: config.units.iter().map(supervised).collect(),
            agent: None,
            disks: disks.collect(),
            names: places.names,
            clock: Clock::start(),
            run_as: run_as.collect(),
            stopping: BTreeSet::new(),
            healer: Healer::new(config.nodes.iter().map(|node| node.name.as_str().to_owned())),
        }
    }

    /// Starts what does not run, on `node` or everywhere: at once, or when its port answers.
    pub(super) fn start(&mut self, node: Option<&str>) {
        let now = self.clock.now();
        self.stopping.retain(|stopping| node.is_some_and(|node| node != stopping));
        for supervised in &mut self.all {
            let chosen = node.is_none_or(|node| supervised.unit.node.as_str() == node);
            if chosen && supervised.state == State::Down {
                supervised.state = State::Waiting(now);
                supervised.asked = false;
            }
            // Still on its way to its end: the one that it was asked for, or a kill. Whoever killed it sees that its main
            // thread has ended, and asks for it again; init is told of its end only when its last thread has.
            let ending = |pid: i32| Process::read(pid).is_none_or(|process| process.state == process::State::Ended);
            let may_end = |state: State| matches!(state, State::Up(pid) if supervised.asked || ending(pid));
            supervised.again |= chosen && may_end(supervised.state);
        }
    }

    /// Whoever had a node down is gone without a word: it is started once all that is healed.
    pub(super) fn left_down(&mut self, node: String) {
        self.healer.left_down(node, self.clock.now());
    }

    /// Whether any unit waits for its turn.
    pub(super) fn any_waiting(&self) -> bool {
        self.healer.is_due() || self.all.iter().any(|supervised| matches!(supervised.state, State::Waiting(_)))
    }

    /// Asks the units of a node to end, each once those that were started after it have ended.
    pub(super) fn stop(&mut self, node: &str) {
        self.stopping.insert(node.to_owned());
    }

    /// Asks the last unit that still runs of each node that is stopping.
    fn stop_next(&mut self) -> io::Result<()> {
        for node in &self.stopping {
            for supervised in self.all.iter_mut().rev().filter(|supervised| supervised.unit.node.as_str() == node) {
                match supervised.state {
                    State::Down => {}
                    State::Waiting(_) => supervised.state = State::Down,
                    State::Up(pid) => {
                        if !supervised.asked {
                            supervised.asked = true;
                            children::terminate(pid)?;
                        }
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts the waiting units whose port answers, and asks those to end whose turn has come.
    pub(super) fn advance(&mut self, places: &Places) -> Vec<Tell> {
        // Only a child that is there is asked. Should that be refused, whoever wished for its end kills it later.
        drop(self.stop_next());
        let now = self.clock.now();
        for node in self.healer.healed(self.agent.is_some(), now) {
            self.start(Some(&node));
        }
        let mut told = Vec::new();
        for supervised in &mut self.all {
            let State::Waiting(since) = supervised.state else { continue };
            let unit = &supervised.unit;
            let late = now.since(since) > PORT_PATIENCE;
            let failure = match may_start(unit, places) {
                Ok(false) if late => {
                    io::Error::other(format!("the port it needs, {:?}, never answered", unit.needs_port))
                }
                Ok(false) => continue,
                Err(error) => error,
                Ok(true) => match start_unit(unit, self.run_as.get(&unit.user), places) {
                    Ok(pid) => {
                        supervised.state = State::Up(pid);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            supervised.state = State::Down;
            told.push(exited(unit, &format!("not started: {failure}")));
        }
        told
    }

    /// Asks the units of that name to end, and those that wait not to start.
    pub(super) fn end(&mut self, name: &str) -> io::Result<()> {
        let running = self.all.iter().filter_map(|supervised| match supervised.state {
            State::Up(pid) => Some(pid),
            State::Down | State::Waiting(_) => None,
        });
        let known: Vec<i32> = running.chain(self.helpers()).collect();
        for supervised in self.all.iter_mut().filter(|supervised| supervised.unit.name == name) {
            supervised.asked = true;
            match supervised.state {
                State::Down => {}
                State::Waiting(_) => supervised.state = State::Down,
                State::Up(pid) => match supervised.unit.for_template {
                    TemplateEnd::Terminate => children::terminate(pid)?,
                    TemplateEnd::KillThenInterruptOrphans => children::kill_then_interrupt_orphans(pid, &known)?,
                },
            }
        }
        Ok(())
    }

    /// The processes that are no units: the agent, disks, the name server, who heals.
    fn helpers(&self) -> impl Iterator<Item = i32> {
        self.agent
            .into_iter()
            .chain(self.disks.iter().map(|(pid, _)| *pid))
            .chain(self.names)
            .chain(self.healer.process())
    }

    /// Starts the agent in init's own namespaces.
    pub(super) fn start_agent(
        &mut self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        stdio: [BorrowedFd<'_>; 3],
    ) -> io::Result<()> {
        let directory = Path::new("/");
        let spawn = Spawn { argv, env, stdio, cgroups: &[], namespaces: Vec::new(), directory, run_as: RunAs::Same };
        self.agent = Some(spawn.start()?);
        self.healer.knows(argv, env, stdio[2])
    }

    /// A child of init has ended.
    pub(super) fn ended(&mut self, pid: i32, status: &str) -> io::Result<Option<Tell>> {
        if self.agent == Some(pid) {
            self.agent = None;
            self.healer.agent_ended(status)?;
            // What the agent had stopped must not stay stopped.
            children::continue_all()?;
            return Ok(Some(Tell::AgentExited { status: status.to_owned() }));
        }
        if self.healer.ended(pid) {
            return Ok(None);
        }
        if let Some((_, node)) = self.disks.iter().find(|(disk, _)| *disk == pid) {
            return Ok(Some(Tell::DiskExited { node: node.clone(), status: status.to_owned() }));
        }
        if self.names == Some(pid) {
            return Ok(Some(Tell::NamesExited { status: status.to_owned() }));
        }
        let Some(supervised) = self.all.iter_mut().find(|supervised| supervised.state == State::Up(pid)) else {
            return Ok(None);
        };
        let again = std::mem::take(&mut supervised.again);
        supervised.state = if again { State::Waiting(self.clock.now()) } else { State::Down };
        if again {
            supervised.asked = false;
            return Ok(None);
        }
        Ok((!supervised.asked).then(|| exited(&supervised.unit, status)))
    }

    /// How much runs.
    pub(super) fn count(&self) -> io::Result<Count> {
        let units = self.all.iter().filter(|supervised| supervised.state != State::Down).count();
        let mut ours = vec![1];
        ours.extend(self.helpers());
        let mut processes = 0;
        // Parents come before children except when numbers wrap around, which a lab does not live to see.
        for (pid, parent) in children::all()? {
            if ours.contains(&pid) || (parent != 1 && ours.contains(&parent)) {
                ours.push(pid);
            } else {
                processes += 1;
            }
        }
        Ok(Count { units, processes, agents: self.agents() })
    }

    /// How many agents there are, and processes that heal after one.
    pub(super) fn agents(&self) -> usize {
        [self.agent, self.healer.process()].into_iter().flatten().count()
    }
}

fn exited(unit: &Unit, status: &str) -> Tell {
    Tell::UnitExited { node: unit.node.clone(), unit: unit.name.clone(), status: status.to_owned() }
}

fn may_start(unit: &Unit, places: &Places) -> io::Result<bool> {
    let Some(port) = unit.needs_port else { return Ok(true) };
    let own = SocketAddrV4::new(places.node(&unit.node)?.config.address, port);
    let loopback = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let network = places.network(unit.node.as_str())?;
    namespaces::inside(network, &places.switch, || {
        Ok(sockets::answers(own, PORT_LOOK)? || sockets::answers(loopback, PORT_LOOK)?)
    })
}

fn start_unit(unit: &Unit, run_as: Option<&RunAs>, places: &Places) -> io::Result<i32> {
    let node = places.node(&unit.node)?;
    let mut log = open_log(node, &unit.name)?;
    let started = spawn_unit(unit, run_as, places, node, &log);
    if let Err(error) = &started {
        writeln!(log, "firedrill: not started: {error}")?;
    }
    started
}

fn spawn_unit(unit: &Unit, run_as: Option<&RunAs>, places: &Places, node: &NodePlace, log: &File) -> io::Result<i32> {
    let null = File::open("/dev/null")?;
    let mut namespaces = vec![places.network(unit.node.as_str())?];
    namespaces.extend(node.namespaces.iter().map(|fd| fd.as_fd()));
    let doors: Vec<_> = node.config.cgroups.iter().map(|group| firedrill_sys::cgroup::door(group)).collect();
    let spawn = Spawn {
        argv: &unit.argv,
        env: &unit.env,
        stdio: [null.as_fd(), log.as_fd(), log.as_fd()],
        cgroups: &doors,
        namespaces,
        directory: Path::new(NODE_HOME),
        run_as: run_as.cloned().ok_or_else(|| io::Error::other(format!("no user {}", unit.user)))?,
    };
    spawn.start()
}

/// Opened by init, before the unit gives up its privileges, because the run's folder is the harness's.
fn open_log(node: &NodePlace, unit: &str) -> io::Result<File> {
    let path = open_path(&node.logs).join(format!("{unit}.log"));
    OpenOptions::new().create(true).append(true).open(path).map_err(doing(&format!("open the log of {unit}")))
}

/// Whether there is such a node at all.
pub(super) fn known_node(places: &Places, name: &str) -> bool {
    places.nodes.iter().any(|node| node.config.name.as_str() == name)
}

/// The configuration the harness wrote.
pub(super) fn read_config(path: &Path) -> io::Result<LabConfig> {
    let text = fs::read(path).map_err(doing(&path.display()))?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
