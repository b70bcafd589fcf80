//! A run against a cluster that `up` left running: its harness knocks at the lab's door, has an agent of its own started
//! inside, and goes again. The lab, and its servers, stay.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use firedrill_core::platform::{Inventory, Item, StartError, Started};
use firedrill_core::wait;
use firedrill_sys::pass;
use tokio::task::spawn_blocking;

use super::clocks;
use super::control::{Control, Knock};
use super::groups;
use super::heal::{self, TAG, Told};
use super::life::inside;
use super::records::{Purpose, Record, labs_dir, list};
use super::wire::{Ask, CONFIG_FILE, DOOR, DiskConfig, LabConfig};
use super::{Lab, doing, not_started, preflight};

/// How long who was there before may take to undo everything and to leave.
const PATIENCE: Duration = Duration::from_secs(40);
const KNOCK_EVERY: Duration = Duration::from_millis(100);

/// The lab that is visited.
#[derive(Clone, Debug)]
pub(super) struct Visited {
    pub(super) record: Record,
    pub(super) config: LabConfig,
}

impl Lab {
    /// Enters the running lab `id`: heals after whoever died in it, starts an agent, and starts what units are down.
    pub(super) async fn visit(&self, id: &str) -> Result<Started, StartError> {
        let agent_program = preflight::find_agent().map_err(|missing| StartError::Missing(vec![missing]))?;
        let visited = find(id).map_err(not_started("find the cluster"))?;
        self.fits(&visited).map_err(not_started("use this cluster"))?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Some(visited.record.clone());
        *self.visited.lock().unwrap_or_else(PoisonError::into_inner) = Some(visited.clone());
        fs::create_dir_all(&self.request.run_dir).map_err(not_started("make the run's folder"))?;
        self.knock(&visited).await.map_err(not_started("enter the cluster"))?;
        let ours = id.to_owned();
        let healed = spawn_blocking(move || heal::heal_lab(&ours, TAG)).await.map_err(io::Error::other);
        let told = healed.and_then(|healed| healed).map_err(not_started("heal after an earlier run"))?;
        if let Some(Told::Left { what, why, remedy }) = told.into_iter().find(|told| matches!(told, Told::Left { .. }))
        {
            let left = io::Error::other(format!("{what}: {why}; remove it with: {remedy}"));
            return Err(not_started("heal after an earlier run")(left));
        }
        self.start_agent(&agent_program).await?;
        let control = super::current(&self.line).map_err(not_started("reach the lab"))?;
        control.ask(Ask::StartUnits, &[]).await.map_err(not_started("start the servers"))?;
        Ok(Started::Plain)
    }

    /// What the lab has must be what this run's servers and faults need: it is there before servers start, or never.
    fn fits(&self, Visited { record, config }: &Visited) -> io::Result<()> {
        let needs = &self.request.needs;
        let disk = config.disk.as_ref();
        let all = |disk: &DiskConfig| disk.targets.contains(&None) || needs.disk.is_subset(&disk.targets);
        let volumes = config.nodes.iter().all(|node| node.image.is_some());
        let power = volumes || disk.is_some_and(|disk| disk.power);
        let asked = self.volume().map(|asked| asked.to_string());
        let lacks = if config.units != self.recipe.units {
            "it has other servers"
        } else if self.wants_disks() && !disk.is_some_and(all) {
            "its disks cannot be harmed so"
        } else if self.wants_power() && !power {
            "its nodes cannot lose their power"
        } else if self.wants_freeze() && !volumes || asked.is_some() && asked != config.volume {
            "its nodes have no such volumes"
        } else if !clocks::needed(&self.recipe, &needs.clocks)
            .is_none_or(|wanted| wanted.are_of(config.clocks.as_ref()))
        {
            "its clocks cannot be changed so"
        } else if !config.limits.cover(groups::limits(needs)) {
            "its nodes have no such limits"
        } else {
            return Ok(());
        };
        let id = &record.run_id;
        Err(io::Error::other(format!(
            "{lacks}: `firedrill down {id}`, then `firedrill up` with the scenario to be run"
        )))
    }

    async fn knock(&self, visited: &Visited) -> io::Result<()> {
        let init = visited.record.init.ok_or_else(|| io::Error::other("the lab's init is not known"))?;
        let door = inside(init, DOOR.as_ref());
        let entered = wait::until("its door to open", self.request.clock, PATIENCE, KNOCK_EVERY, async || {
            let knocked = match pass::connect_to(&door) {
                Ok(stream) => Control::knock(stream, self.incidents.0.clone()).await,
                Err(error) => Err(doing("knock at its door")(error)),
            };
            match knocked {
                Ok(Knock::Entered(control)) => Ok(Ok(control)),
                Ok(Knock::Later(why)) => Err(why),
                Err(error) => Ok(Err(error)),
            }
        });
        let control = entered.await.map_err(io::Error::other)??;
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(control));
        Ok(())
    }

    /// Leaves the lab, once the agent has undone everything and ended.
    pub(super) async fn leave(&self) -> io::Result<()> {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(agent) = &agent {
            // One that cannot answer is dead, or ends when it is dropped; what it leaves is looked for afterwards.
            drop(agent.bye().await);
        }
        drop(agent);
        let Some(control) = self.line.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let ended = wait::until("the end of the agent", self.request.clock, PATIENCE, KNOCK_EVERY, async || {
            match control.ask(Ask::Count, &[]).await {
                Ok((count, _)) if count.agents == 0 => Ok(Ok(())),
                Ok(_) => Err("it still runs".to_owned()),
                Err(error) => Ok(Err(error)),
            }
        });
        ended.await.map_err(io::Error::other)?
    }

    /// What this run has left in the lab, after it has gone: journals of agents that tell of something.
    pub(super) fn left_in(&self, visited: &Visited) -> Inventory {
        let prefix = format!("{TAG}{}-", self.request.run_id);
        let remedy = format!("firedrill heal {}", self.request.run_id);
        let entries = fs::read_dir(&visited.config.journals).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let mut left = Inventory::default();
        for entry in ours {
            left.note("journal", format!("of an agent, {}", entry.path().display()), Item::stray(remedy.clone()));
        }
        left
    }

    /// The lab that is visited, if one is.
    pub(super) fn visited(&self) -> Option<Visited> {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The folder of the nodes' logs.
    pub(super) fn logs(&self) -> PathBuf {
        let own = || self.request.run_dir.join("nodes");
        self.visited().map_or_else(own, |visited| visited.config.logs)
    }

    /// The log of the agent, in the run's folder.
    pub(super) fn agent_log(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(self.request.run_dir.join("agent.log"))
    }
}

fn find(id: &str) -> io::Result<Visited> {
    let up = |record: &Record| record.run_id == id && record.purpose == Purpose::Up;
    let record = list().into_iter().find(up).ok_or_else(|| {
        let what = format!("no cluster {id} is left running; `firedrill up` prints the id of what it leaves running");
        io::Error::new(io::ErrorKind::NotFound, what)
    })?;
    let file = labs_dir().join(id).join(CONFIG_FILE);
    let text = fs::read(&file).map_err(doing(&file.display()))?;
    let config = serde_json::from_slice(&text).map_err(io::Error::other)?;
    Ok(Visited { record, config })
}
