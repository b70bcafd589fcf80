//! The lab: real servers on this machine, each node in its own network, mounts and control group, everything held by
//! one process whose end is the end of it all. It knows units, not what they are; roles and readiness are the system's.

mod attach;
mod control;
mod dial;
mod files;
pub mod init;
mod preflight;
mod records;
mod template;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_agent::protocol::{Config, NodeSite, Site, TAG};
use firedrill_core::action::{Action, Applied, Deed, Effect, Presence, Reverted, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{
    DeedError, Dialer, Incident, Inventory, Mechanism, Missing, NodeAddress, Offer, OpenRequest, Platform,
    PlatformEntry, Residue, StartError, Started, lab_addresses,
};
use firedrill_core::system::LabRecipe;
use firedrill_core::{units, wait};
use firedrill_sys::identity::{Identity, boot_id};
use firedrill_sys::{cgroup, dirs, launch, pass};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

pub use self::attach::{Inside, enter};
use self::control::Control;
use self::dial::{LabDialer, Line, current};
use self::records::leftovers_of;
pub use self::records::{Purpose, Record, down, leftovers, list, sweep};
use self::template::Template;
use self::wire::{Ask, CLIENTS, CLIENTS_ADDRESS, LabConfig, NodeConfig, STARTER};
use crate::agent_client::AgentClient;

/// The lab in the registry.
pub const ENTRY: PlatformEntry = PlatformEntry {
    name: "lab",
    summary: "real servers on this machine, each node in namespaces of its own",
    offers: |deed| match deed {
        Deed::CutLinks | Deed::KillProcess | Deed::PauseProcess => Offer::Perhaps,
    },
    virtual_time: false,
    open: |request| Lab::open(request).map(|lab| -> Arc<dyn Platform> { Arc::new(lab) }),
};

/// How long the units of one name may take to end when asked, before a template is made.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// How often processes are counted meanwhile.
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// How long the kernel may take to end a lab.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

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

    async fn start_all(&self, made: &mut Made, use_template: bool) -> Result<Started, StartError> {
        let agent_program = preflight::find_agent().map_err(|missing| StartError::Missing(vec![missing]))?;
        let record = self.new_record().map_err(not_started("record the lab"))?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.clone());
        let lab_dir = records::create(&record).map_err(not_started("make the lab's folder"))?;
        made.lab_dir = Some(lab_dir.clone());
        let started = self.fill(made, &lab_dir, use_template).await.map_err(not_started("fill the nodes' folders"))?;
        self.hold(made, &lab_dir, &record).await.map_err(not_started("make the lab's network"))?;
        self.start_agent(&agent_program).await?;
        let control = current(&self.line).map_err(not_started("reach the lab"))?;
        control.ask(Ask::StartUnits, &[]).await.map_err(not_started("start the servers"))?;
        Ok(started)
    }

    fn new_record(&self) -> io::Result<Record> {
        let group = format!("firedrill-{}", self.request.run_id);
        let mut cgroups = Vec::new();
        for root in if dirs::is_root() { cgroup::roots() } else { Vec::new() } {
            cgroups.extend(self.request.nodes.iter().map(|node| root.join(&group).join(node.as_str())));
            cgroups.push(root.join(&group));
        }
        Ok(Record {
            run_id: self.request.run_id.clone(),
            boot_id: boot_id()?,
            purpose: Purpose::Run,
            harness: Identity::own(),
            holder: None,
            init: None,
            cgroups,
            run_dir: self.request.run_dir.clone(),
            reach: Vec::new(),
        })
    }

    /// Puts the nodes' data in place, from the template or from the recipe.
    async fn fill(&self, made: &mut Made, lab_dir: &Path, use_template: bool) -> io::Result<Started> {
        let template = Template::of(&self.recipe);
        let (recipe, nodes, lab_dir) = (self.recipe.clone(), self.request.nodes.clone(), lab_dir.to_owned());
        let copying = made.copying.insert(spawn_blocking(move || {
            if use_template && template.exists() {
                match template.clone_to(&lab_dir) {
                    Ok(()) => return Ok(Started::FromTemplate),
                    // Another run may just have removed it. A cold start is always possible.
                    Err(_) => files::clear(&lab_dir, &nodes)?,
                }
            }
            files::write(&recipe, &nodes, &lab_dir)?;
            Ok(Started::Cold)
        }));
        let filled = copying.await.map_err(io::Error::other)?;
        made.copying = None;
        filled
    }

    /// Starts the holder and waits until init has made the network and the nodes.
    async fn hold(&self, made: &mut Made, lab_dir: &Path, record: &Record) -> io::Result<()> {
        let logs = self.request.run_dir.join("nodes");
        for node in &self.request.nodes {
            fs::create_dir_all(logs.join(node.as_str()))?;
        }
        let config = self.config(lab_dir, record, logs)?;
        let text = serde_json::to_vec(&config).map_err(io::Error::other)?;
        fs::write(lab_dir.join(wire::CONFIG_FILE), text)?;
        let log = File::options().create(true).append(true).open(self.request.run_dir.join("lab.log"))?;
        let (here, there) = pass::pair()?;
        made.holder = Some(launch::own_program(&[init::ARGUMENT.as_ref(), lab_dir.as_os_str()], there, &log)?);
        let control = Control::connect(here, self.incidents.0.clone()).await?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Some(Record::read(lab_dir)?);
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(control));
        Ok(())
    }

    fn config(&self, lab_dir: &Path, record: &Record, logs: PathBuf) -> io::Result<LabConfig> {
        let nodes = self.addresses.iter().map(|address| NodeConfig {
            name: address.node.clone(),
            address: address.address,
            home: lab_dir.join(address.node.as_str()),
            cgroups: record.cgroups.iter().filter(|group| group.ends_with(address.node.as_str())).cloned().collect(),
        });
        let accounts = if dirs::is_root() { Some(files::accounts(&self.recipe)?) } else { None };
        Ok(LabConfig {
            logs,
            nodes: nodes.collect(),
            units: self.recipe.units.clone(),
            accounts,
            owner: firedrill_sys::namespaces::own_ids(),
        })
    }

    /// Starts the agent inside the lab and says hello to it.
    async fn start_agent(&self, program: &Path) -> Result<(), StartError> {
        let connected = async {
            let (here, there) = UnixStream::pair()?;
            let log = File::options().create(true).append(true).open(self.request.run_dir.join("agent.log"))?;
            let argv = vec![program.to_string_lossy().into_owned()];
            let path = std::env::var("PATH").unwrap_or_default();
            let env = BTreeMap::from([("PATH".to_owned(), path)]);
            let streams = [there.as_fd(), there.as_fd(), log.as_fd()];
            current(&self.line)?.ask(Ask::Agent { argv, env }, &streams).await?;
            here.set_nonblocking(true)?;
            Ok(tokio::net::UnixStream::from_std(here)?.into_split())
        };
        let (read, write) = connected.await.map_err(not_started("start the agent"))?;
        let said_hello = AgentClient::connect(read, write, self.agent_config(), self.request.clock).await;
        let failed = |error| StartError::Other { what: "reach the agent".to_owned(), source: Some(Box::new(error)) };
        let agent = said_hello.map_err(failed)?;
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(agent));
        Ok(())
    }

    fn agent_config(&self) -> Config {
        let site = |name: &str, address| Site { netns: init::namespace_path(name), link: format!("v{name}"), address };
        let nodes = self
            .addresses
            .iter()
            .map(|node| NodeSite { name: node.node.clone(), site: site(node.node.as_str(), node.address) });
        Config {
            tag_prefix: format!("{TAG}{}-", self.request.run_id),
            lease_nanos: u64::try_from(self.request.lease.as_nanos()).unwrap_or(u64::MAX),
            nodes: nodes.collect(),
            clients: Some(site(CLIENTS, CLIENTS_ADDRESS)),
            starter: Some(STARTER.into()),
        }
    }

    fn agent(&self) -> Result<Arc<AgentClient>, DeedError> {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        agent.clone().ok_or_else(|| DeedError::Agent("the lab does not run".to_owned()))
    }

    /// Ends everything that was made, in whatever state it is.
    async fn stop_all(&self, made: &mut Made) -> io::Result<()> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).take();
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = line {
            // Init may be gone already; the holder's end, awaited below, is what counts.
            drop(control.say(Ask::Stop).await);
        }
        if let Some(copying) = made.copying.take() {
            // What it copied, or why it could not, no longer matters; only that it has stopped.
            drop(copying.await);
        }
        let Some(lab_dir) = made.lab_dir.clone() else { return Ok(()) };
        if let Some(holder) = made.holder.take() {
            self.await_end(holder, &lab_dir).await?;
        }
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spawn_blocking(move || record.map_or(Ok(()), |record| records::remove_remains(&lab_dir, &record)))
            .await
            .map_err(io::Error::other)??;
        made.lab_dir = None;
        Ok(())
    }

    async fn await_end(&self, mut holder: Child, lab_dir: &Path) -> io::Result<()> {
        let pid = holder.id();
        let ended = spawn_blocking(move || holder.wait());
        if let Ok(ended) = tokio::time::timeout(STOP_PATIENCE, ended).await {
            return ended.map_err(io::Error::other)?.map(drop);
        }
        // Init does not hear: kill it, and what it holds with it. The holder then ends by itself.
        Record::read(lab_dir)?.init.map_or(Ok(()), Identity::kill)?;
        let waited = units::human(STOP_PATIENCE);
        Err(io::Error::other(format!("the lab's holder, process {pid}, did not end within {waited}")))
    }

    /// Asks the units to end, last started first, and waits until nothing of them runs.
    async fn end_units(&self, control: &Control) -> Result<(), StartError> {
        let mut names: Vec<&str> = Vec::new();
        for unit in &self.recipe.units {
            if !names.contains(&unit.name.as_str()) {
                names.push(&unit.name);
            }
        }
        while let Some(name) = names.pop() {
            let ask = Ask::EndUnits { unit: name.to_owned() };
            control.ask(ask, &[]).await.map_err(not_started("ask servers to end"))?;
            let left = self.recipe.units.iter().filter(|unit| names.contains(&unit.name.as_str())).count();
            let last = names.is_empty();
            let what = format!("the end of {name} on every node");
            let ended = wait::until(&what, self.request.clock, END_PATIENCE, COUNT_EVERY, async || {
                let (count, _) = control.ask(Ask::Count, &[]).await.map_err(|error| error.to_string())?;
                // Once the last unit has ended, nothing that any of them started may still write.
                let done = count.units <= left && (!last || count.processes == 0);
                if done { Ok(()) } else { Err(format!("{} units, {} processes", count.units, count.processes)) }
            });
            ended.await.map_err(|timed_out| StartError::Other { what: timed_out.to_string(), source: None })?;
        }
        Ok(())
    }
}

#[async_trait]
impl Platform for Lab {
    async fn preflight(&self, deeds: &[Deed]) -> Result<Vec<Mechanism>, Vec<Missing>> {
        let (recipe, deeds) = (self.recipe.clone(), deeds.to_vec());
        let asked = spawn_blocking(move || preflight::preflight(&recipe, &deeds)).await;
        asked.unwrap_or_else(|error| {
            let what = format!("this host could not be asked: {error}");
            Err(vec![Missing { what, remedy: "please report this as a bug".to_owned() }])
        })
    }

    async fn start(&self, use_template: bool) -> Result<Started, StartError> {
        let mut made = self.made.lock().await;
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
        let nodes: Vec<String> = self.request.nodes.iter().map(|node| node.as_str().to_owned()).collect();
        let saved = spawn_blocking(move || template.save(&lab_dir, &nodes)).await.map_err(io::Error::other);
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
        self.agent()?.revert(undo).await
    }

    async fn probe(&self, undo: &Undo) -> Effect {
        match self.agent() {
            Ok(agent) => agent.probe(undo).await,
            Err(error) => Effect { presence: Presence::Unknown, evidence: error.to_string() },
        }
    }

    /// While the lab runs, what its agent finds; afterwards, what the lab has left on the host.
    async fn inventory(&self) -> Result<Inventory, DeedError> {
        if let Ok(agent) = self.agent() {
            return agent.inventory().await;
        }
        let mut inventory = Inventory::default();
        for residue in self.left() {
            inventory.items.entry(LEFT_KIND.to_owned()).or_default().push(residue.what);
        }
        Ok(inventory)
    }

    fn residue(&self, before: &Inventory, after: &Inventory) -> Vec<Residue> {
        let left = self.left();
        let mut found = Vec::new();
        for (kind, names) in &after.items {
            let known = before.items.get(kind);
            for name in names.iter().filter(|name| known.is_none_or(|known| !known.contains(name))) {
                let on_host = left.iter().find(|residue| kind == LEFT_KIND && residue.what == *name);
                found.push(on_host.cloned().unwrap_or_else(|| Residue {
                    what: format!("{kind} {name} in the lab"),
                    remedy: format!("firedrill heal {}", self.request.run_id),
                }));
            }
        }
        found
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
        files::last_log_lines(&self.request.run_dir.join("nodes").join(node.as_str()), lines)
    }

    fn how_to_reach(&self) -> Vec<String> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(init) = record.and_then(|record| record.init) else { return Vec::new() };
        let user = if dirs::is_root() { "" } else { "--user --preserve-credentials " };
        let enter = |name: &str| {
            let namespace = init::namespace_path(name);
            format!("nsenter --target {} {user}--mount nsenter --net={}", init.pid, namespace.display())
        };
        let mut words = vec![format!("as a client: {} COMMAND", enter(CLIENTS))];
        words.extend(self.addresses.iter().map(|node| {
            let name = node.node.as_str();
            let mounts = init::mounts_path(name);
            format!("on {name} ({}): {} --mount={} COMMAND", node.address, enter(name), mounts.display())
        }));
        words
    }
}

/// The kind, in inventories, of what a lab has left on the host.
const LEFT_KIND: &str = "host";

impl Lab {
    fn left(&self) -> Vec<Residue> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        record.map(|record| leftovers_of(&record, &records::labs_dir().join(&record.run_id))).unwrap_or_default()
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
