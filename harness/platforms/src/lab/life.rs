//! The life of a lab, from its folder to its end. What is made is put into [`Made`] at once, because a start may be
//! dropped at any moment, and its end must find everything.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use firedrill_agent::protocol::{Config, Ground, NodeSite, Reach, Site, TAG};
use firedrill_agent::{failpoint, sabotage};
use firedrill_core::action::Deed;
use firedrill_core::fault::LabLinks;
use firedrill_core::harm::FileSystem;
use firedrill_core::platform::{StartError, Started};
use firedrill_core::{units, wait};
use firedrill_sys::identity::{Identity, boot_id};
use firedrill_sys::{dirs, launch, pass};
use tokio::task::spawn_blocking;

use super::clocks::Clocks;
use super::control::Control;
use super::dial::current;
use super::records::{self, Purpose, Record};
use super::stray;
use super::template::Template;
use super::wire::{
    self, Ask, CLIENTS, CLIENTS_ADDRESS, DiskConfig, JOURNAL_FOLDER, JOURNALS, LabConfig, NAME_SERVER, NodeConfig,
    STARTER,
};
use super::{Lab, Made, clocks, files, groups, init, not_started, preflight};
use crate::agent_client::AgentClient;

/// How long the units of one name may take to end when asked, before a template is made.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// How often processes are counted meanwhile.
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// How long the kernel may take to end a lab.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

impl Lab {
    pub(super) async fn start_all(&self, made: &mut Made, use_template: bool) -> Result<Started, StartError> {
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
        let group = stray::group_name(&self.request.run_id);
        let mut cgroups = Vec::new();
        for root in groups::roots(groups::limits(&self.request.needs)) {
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
        fs::create_dir_all(lab_dir.join(JOURNAL_FOLDER))?;
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
            image: self.has_volumes().then(|| lab_dir.join(format!("{}.img", address.node))),
            cgroups: record.cgroups.iter().filter(|group| group.ends_with(address.node.as_str())).cloned().collect(),
        });
        let accounts = if dirs::is_root() { Some(files::accounts(&self.recipe)?) } else { None };
        Ok(LabConfig {
            logs,
            journals: lab_dir.join(JOURNAL_FOLDER),
            nodes: nodes.collect(),
            units: self.recipe.units.clone(),
            accounts,
            volume: self.volume().map(|asked| asked.to_string()),
            limits: groups::limits(&self.request.needs),
            clocks: self.clocks(),
            owner: firedrill_sys::namespaces::own_ids(),
            disk: self.disk_config()?,
            names: if self.recipe.names { Some(agent_program()?) } else { None },
        })
    }

    /// Starts the agent inside the lab and says hello to it.
    pub(super) async fn start_agent(&self, program: &Path) -> Result<(), StartError> {
        let connected = async {
            let (here, there) = UnixStream::pair()?;
            let log = self.agent_log()?;
            let argv = vec![program.to_string_lossy().into_owned()];
            let path = std::env::var("PATH").unwrap_or_default();
            let mut env = BTreeMap::from([("PATH".to_owned(), path)]);
            if cfg!(debug_assertions) {
                for variable in [sabotage::VARIABLE, failpoint::VARIABLE] {
                    env.extend(std::env::var(variable).ok().map(|asked| (variable.to_owned(), asked)));
                }
            }
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
        let at_ends = self.request.needs.links == LabLinks::Ends;
        let site = |name: &str, address, own: Reach| Site {
            netns: init::namespace_path(name),
            link: format!("v{name}"),
            address,
            reach: if at_ends { own } else { Reach::Switch },
        };
        let nodes = self.addresses.iter().map(|node| NodeSite {
            name: node.node.clone(),
            site: site(node.node.as_str(), node.address, Reach::OwnEnd(init::INTERFACE.to_owned())),
            ground: self.ground(node.node.as_str()),
        });
        Config {
            tag_prefix: format!("{TAG}{}-", self.request.run_id),
            lease_nanos: u64::try_from(self.request.lease.as_nanos()).unwrap_or(u64::MAX),
            nodes: nodes.collect(),
            // No agent is where clients of real hosts are.
            clients: Some(site(CLIENTS, CLIENTS_ADDRESS, Reach::OtherEnd)),
            starter: Some(STARTER.into()),
            resolver: self.recipe.names.then(|| NAME_SERVER.into()),
            journal: Some(JOURNALS.into()),
        }
    }

    /// Whether every node's home is on a volume of its own, so that it can be frozen, or its power cut.
    pub(super) fn has_volumes(&self) -> bool {
        // A disk that can be harmed can lose its power, too.
        let own = || (self.wants_freeze() || self.wants_power()) && !self.wants_disks();
        self.visited().map_or_else(own, |lab| lab.config.nodes.iter().all(|node| node.image.is_some()))
    }

    /// The file system that volumes are asked to have.
    pub(super) fn volume(&self) -> Option<FileSystem> {
        self.request.needs.volumes.first().copied()
    }

    /// Whether every node's home is served by a disk that can be harmed.
    fn has_disks(&self) -> bool {
        self.visited().map_or_else(|| self.wants_disks(), |lab| lab.config.disk.is_some())
    }

    pub(super) fn wants_power(&self) -> bool {
        self.request.needs.deeds.contains(&Deed::LosePower)
    }

    pub(super) fn wants_freeze(&self) -> bool {
        self.request.needs.deeds.contains(&Deed::FreezeDisk)
    }

    pub(super) fn wants_disks(&self) -> bool {
        self.request.needs.deeds.contains(&Deed::HarmDisk)
    }

    fn disk_config(&self) -> io::Result<Option<DiskConfig>> {
        if !self.has_disks() {
            return Ok(None);
        }
        Ok(Some(DiskConfig {
            program: agent_program()?,
            targets: self.request.needs.disk.clone(),
            power: self.wants_power(),
        }))
    }

    fn clocks(&self) -> Option<Clocks> {
        let own = || clocks::needed(&self.recipe, &self.request.needs.clocks);
        self.visited().map_or_else(own, |lab| lab.config.clocks)
    }

    /// The control groups of a node that there are.
    fn cgroups(&self, node: &str) -> Vec<PathBuf> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = record.iter().flat_map(|record| &record.cgroups);
        groups.filter(|group| group.ends_with(node) && group.is_dir()).cloned().collect()
    }

    fn ground(&self, node: &str) -> Ground {
        let disks = self.has_disks();
        Ground {
            mounts: Some(init::mounts_path(node)),
            home: Some(if disks { init::raw_path(node) } else { init::home_path(node) }),
            disk: disks.then(|| init::socket_path(node)),
            served: disks.then(|| init::home_path(node)),
            device: self.has_volumes().then(|| init::image_path(node)),
            clock: self.clocks().map(|_| clocks::folder(node)),
            cgroups: self.cgroups(node),
        }
    }

    /// Where the nodes' data is to be found from outside: in the lab's folder, or on volumes that only the lab sees.
    pub(super) fn homes(&self, lab_dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let init = record.and_then(|record| record.init);
        let names = self.request.nodes.iter().map(|node| node.as_str().to_owned());
        let home = |name: String| {
            let home = match (self.has_volumes(), init) {
                (false, _) => lab_dir.join(&name),
                (true, Some(init)) => inside(init, &init::home_path(&name)),
                (true, None) => return Err(io::Error::other("the lab's init is not known")),
            };
            Ok((name, home))
        };
        names.map(home).collect()
    }

    /// Ends everything that was made, in whatever state it is.
    pub(super) async fn stop_all(&self, made: &mut Made) -> io::Result<()> {
        if self.request.against.is_some() {
            return self.leave().await;
        }
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
    pub(super) async fn end_units(&self, control: &Control) -> Result<(), StartError> {
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

fn agent_program() -> io::Result<PathBuf> {
    preflight::find_agent().map_err(|missing| io::Error::other(missing.what))
}

/// How a path inside the lab is named outside (`proc_pid_root(5)`).
pub(super) fn inside(init: Identity, path: &Path) -> PathBuf {
    let below = path.strip_prefix("/").unwrap_or(path);
    PathBuf::from(format!("/proc/{}/root", init.pid)).join(below)
}
