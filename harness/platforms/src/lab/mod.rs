//! The lab: real servers on this machine, each node in its own network, mounts and control group, everything held by
//! one process whose end is the end of it all. It knows units, not what they are; roles and readiness are the system's.

mod attach;
mod clocks;
mod control;
mod dial;
mod files;
mod groups;
pub mod heal;
pub mod init;
mod inventory;
mod life;
mod preflight;
mod records;
pub mod stray;
mod template;
mod visit;
mod wire;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::{Action, Applied, Deed, Effect, Presence, Reverted, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{
    DeedError, Dialer, Incident, Inventory, Missing, NodeAddress, Offer, OpenRequest, Platform, PlatformEntry, Reach,
    Residue, StartError, Started, Survey, lab_addresses,
};
use firedrill_core::system::LabRecipe;
use firedrill_sys::{clock, dirs};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

pub use self::attach::{Inside, enter};
use self::dial::{LabDialer, Line, current};
pub use self::records::{Purpose, Record, any_dead, down, leftovers, list, sweep};
use self::template::Template;
use self::visit::Visited;
use self::wire::{Ask, CLIENTS};
use crate::agent_client::AgentClient;

/// The lab in the registry.
pub const ENTRY: PlatformEntry = PlatformEntry {
    name: "lab",
    summary: "real servers on this machine, each node in namespaces of its own",
    offers: |_| Offer::Perhaps,
    virtual_time: false,
    survey: preflight::any,
    open: |request| Lab::open(request).map(|lab| -> Arc<dyn Platform> { Arc::new(lab) }),
};

/// A lab for one run.
pub struct Lab {
    request: OpenRequest,
    recipe: LabRecipe,
    addresses: Vec<NodeAddress>,
    line: Line,
    agent: Mutex<Option<Arc<AgentClient>>>,
    incidents: (mpsc::UnboundedSender<Incident>, tokio::sync::Mutex<mpsc::UnboundedReceiver<Incident>>),
    made: tokio::sync::Mutex<Made>,
    /// The record of the lab last made, for what may be left of it.
    record: Mutex<Option<Record>>,
    /// The lab that lives on, if this run uses one.
    visited: Mutex<Option<Visited>>,
    /// How far the machine's wall clock was ahead of `CLOCK_BOOTTIME` at first, in nanoseconds.
    wall: i128,
}

/// What a start has made so far; kept here, not in the start, because a start may be dropped at any moment.
#[derive(Default)]
struct Made {
    lab_dir: Option<PathBuf>,
    holder: Option<Child>,
    copying: Option<JoinHandle<io::Result<Started>>>,
}

impl Lab {
    /// A lab for one run. Touches nothing yet.
    pub fn open(mut request: OpenRequest) -> Result<Self, Vec<Missing>> {
        let Some(recipe) = request.lab.clone() else {
            let what = "this system cannot run in the lab".to_owned();
            return Err(vec![Missing { what, remedy: "choose another platform: firedrill list".to_owned() }]);
        };
        // The holder works in another directory.
        request.run_dir = std::path::absolute(&request.run_dir).unwrap_or(request.run_dir);
        let (sender, receiver) = mpsc::unbounded_channel();
        Ok(Self {
            addresses: lab_addresses(&request.nodes),
            request,
            recipe,
            line: Line::default(),
            agent: Mutex::default(),
            incidents: (sender, tokio::sync::Mutex::new(receiver)),
            made: tokio::sync::Mutex::default(),
            record: Mutex::default(),
            visited: Mutex::default(),
            wall: clock::wall_offset_nanos(),
        })
    }

    /// Lets the lab live on when this process ends, until [`down`]. Faults do not outlive the process.
    pub async fn detach(&self) -> io::Result<()> {
        let made = self.made.lock().await;
        let lab_dir = made.lab_dir.as_ref().ok_or_else(|| io::Error::other("the lab does not run"))?;
        current(&self.line)?.ask(Ask::Detach, &[]).await?;
        let mut record = Record::read(lab_dir)?;
        record.purpose = Purpose::Up;
        record.harness = None;
        record.reach = self.how_to_reach();
        record.write(lab_dir)
    }

    fn agent(&self) -> Result<Arc<AgentClient>, DeedError> {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        agent.clone().ok_or_else(|| DeedError::Agent("the lab does not run".to_owned()))
    }
}

#[async_trait]
impl Platform for Lab {
    async fn survey(&self, deeds: &[Deed]) -> Survey {
        let (recipe, deeds, volume) = (self.recipe.clone(), deeds.to_vec(), self.volume());
        let links = self.request.needs.links;
        let asked = spawn_blocking(move || preflight::survey(Some(&recipe), &deeds, volume, links)).await;
        asked.unwrap_or_else(|error| {
            let what = format!("this host could not be asked: {error}");
            Survey { missing: vec![Missing::new(what, "please report this as a bug")], deeds: Vec::new() }
        })
    }

    async fn start(&self, use_template: bool) -> Result<Started, StartError> {
        let mut made = self.made.lock().await;
        if let Some(id) = &self.request.against {
            let started = self.visit(id).await;
            if started.is_err() {
                self.leave().await.map_err(not_started("leave the cluster"))?;
            }
            return started;
        }
        if made.lab_dir.is_some() {
            return Err(StartError::Other { what: "the lab runs already".to_owned(), source: None });
        }
        let started = self.start_all(&mut made, use_template).await;
        if started.is_err() {
            self.stop_all(&mut made).await.map_err(not_started("remove what was half started"))?;
        }
        started
    }

    async fn save_template(&self) -> Result<(), StartError> {
        let made = self.made.lock().await;
        let lab_dir = made.lab_dir.clone().ok_or_else(|| not_running("save a template"))?;
        let control = current(&self.line).map_err(not_started("reach the lab"))?;
        self.end_units(&control).await?;
        let template = Template::of(&self.recipe);
        let homes = self.homes(&lab_dir).map_err(not_started("find the nodes' data"))?;
        let saved = spawn_blocking(move || template.save(&homes)).await.map_err(io::Error::other);
        let restarted = control.ask(Ask::StartUnits, &[]).await;
        saved.and_then(|saved| saved).map_err(not_started("save the template"))?;
        restarted.map(drop).map_err(not_started("start the servers again"))
    }

    async fn discard_template(&self) {
        let template = Template::of(&self.recipe);
        // A template that cannot be removed is found wanting again, and costs a cold start each time; no harm is done.
        drop(spawn_blocking(move || template.discard()).await);
    }

    async fn stop(&self) -> Result<(), DeedError> {
        let mut made = self.made.lock().await;
        let stopped = self.stop_all(&mut made).await;
        stopped.map_err(|source| DeedError::System { what: "stop the lab".to_owned(), source })
    }

    async fn prepare(&self, action: &Action) -> Result<Undo, DeedError> {
        self.agent()?.prepare(action).await
    }

    async fn apply(&self, undo: &Undo, hold: Option<Duration>) -> Result<Applied, DeedError> {
        self.agent()?.apply(undo, hold).await
    }

    async fn revert(&self, undo: &Undo) -> Result<Reverted, DeedError> {
        let agent = self.agent()?;
        match agent.revert(undo).await {
            // Its death has undone it: the kernel the cuts, its guard the pauses and the kills.
            Err(_) if agent.death().is_some() => Ok(Reverted { held: None, by: "the agent's death".to_owned() }),
            answer => answer,
        }
    }

    async fn probe(&self, undo: &Undo) -> Effect {
        match self.agent() {
            Ok(agent) => agent.probe(undo).await,
            Err(error) => Effect { presence: Presence::Unknown, evidence: error.to_string() },
        }
    }

    /// While the lab runs, what its agent finds and what is beside it on the host; afterwards, what it has left there.
    async fn inventory(&self) -> Result<Inventory, DeedError> {
        let visited = self.visited();
        let own = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(record) = visited.as_ref().map(|visited| visited.record.clone()).or(own) else {
            return Ok(Inventory::default());
        };
        let (run_id, wall) = (self.request.run_id.clone(), self.wall);
        let lab_dir = records::labs_dir().join(&record.run_id);
        let Ok(agent) = self.agent() else {
            return Ok(visited.map_or_else(|| inventory::left(&record, &lab_dir), |visited| self.left_in(&visited)));
        };
        let prefix = record.init.map(|init| heal::prefix(init.pid)).unwrap_or_default();
        let mut found = agent.inventory().await?.reached_by(&prefix);
        inventory::let_go_of_the_hosts(&mut found);
        let beside = spawn_blocking(move || inventory::beside(&record, &lab_dir, &run_id, wall)).await;
        found
            .extend(beside.map_err(|error| DeedError::NoTarget(format!("this host could not be looked at: {error}")))?);
        Ok(found)
    }

    fn residue(&self, before: &Inventory, after: &Inventory) -> Vec<Residue> {
        before.differences(after)
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::new(LabDialer { line: Arc::clone(&self.line), addresses: self.addresses.clone() })
    }

    async fn incident(&self) -> Incident {
        match self.incidents.1.lock().await.recv().await {
            Some(incident) => incident,
            // Not reached: this lab holds a sender itself.
            None => std::future::pending().await,
        }
    }

    fn last_log_lines(&self, node: &NodeName, lines: usize) -> Vec<String> {
        files::last_log_lines(&self.logs().join(node.as_str()), lines)
    }

    fn how_to_reach(&self) -> Vec<Reach> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(init) = record.and_then(|record| record.init) else { return Vec::new() };
        let user = if dirs::is_root() { "" } else { "--user --preserve-credentials " };
        let enter = |name: &str| {
            let namespace = init::namespace_path(name);
            format!("nsenter --target {} {user}--mount nsenter --net={}", init.pid, namespace.display())
        };
        let mut places = vec![Reach { node: None, place: "as a client".to_owned(), prefix: enter(CLIENTS) }];
        places.extend(self.addresses.iter().map(|node| {
            let name = node.node.as_str();
            let mounts = init::mounts_path(name);
            Reach {
                node: Some(node.node.clone()),
                place: format!("on {name} ({})", node.address),
                prefix: format!("{} --mount={}", enter(name), mounts.display()),
            }
        }));
        places
    }
}

/// An error that says what was being done.
fn doing(what: &(impl Display + ?Sized)) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn not_started(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::Other { what: what.to_owned(), source: Some(Box::new(error)) }
}

fn not_running(what: &str) -> StartError {
    StartError::Other { what: format!("{what}: the lab does not run"), source: None }
}
