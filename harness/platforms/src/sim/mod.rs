//! The simulated platform: a small replicated ledger inside this process, on virtual time, deterministic by seed, with bugs
//! planted on request. It is how the engine and the checks are tested; it never stands in for a real cluster.
//!
//! [`world`] holds nodes, wires and the queue of what is due; [`store`] is one node; [`connection`] is how clients reach it;
//! [`deeds`] is how faults do. Everything is a task on the run's own runtime: no thread, no socket, no file.

mod connection;
mod deeds;
mod log;
mod store;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::{Action, Applied, Deed, Effect, Reverted, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{
    DeedError, Dialer, Incident, Inventory, Mechanism, Missing, Offer, OpenRequest, Platform, PlatformEntry, Reach,
    Residue, StartError, Started, Survey,
};
use firedrill_core::system::SimBug;
use tokio::task::JoinSet;

use connection::{SimDialer, Tasks, spawn};
use deeds::Held;
use world::{State, World};

/// The platform `sim`.
pub const ENTRY: PlatformEntry = PlatformEntry {
    name: "sim",
    summary: "inside this process, on virtual time: for tests of scenarios and of firedrill itself",
    offers,
    virtual_time: true,
    survey,
    open,
};

fn offers(deed: Deed) -> Offer {
    match deed {
        Deed::CutLinks | Deed::KillProcess | Deed::PauseProcess => Offer::Always,
        Deed::FreezeDisk
        | Deed::HarmDisk
        | Deed::ImpairLinks
        | Deed::LosePower
        | Deed::MisleadNames
        | Deed::OomProcess
        | Deed::PressCpu
        | Deed::PressFds
        | Deed::PressIo
        | Deed::PressMemory
        | Deed::PressPids
        | Deed::ShiftClock => Offer::Never("the simulated nodes have no such thing"),
    }
}

fn open(request: OpenRequest) -> Result<Arc<dyn Platform>, Vec<Missing>> {
    let Some(recipe) = request.sim else {
        return Err(vec![Missing {
            what: "this system cannot be simulated".to_owned(),
            remedy: "set `system = \"sim\"`, or choose another platform".to_owned(),
        }]);
    };
    let world = Arc::new(World::new(&request.nodes, &recipe, request.seed, request.clock));
    Ok(Arc::new(SimPlatform {
        shared: Shared { world, held: Arc::default(), bugs: recipe.bugs.into_iter().collect() },
        tasks: Arc::new(Mutex::new(JoinSet::new())),
        run_id: request.run_id,
        tags: AtomicU32::new(0),
    }))
}

/// What the platform and the deadlines of its faults share.
#[derive(Clone)]
struct Shared {
    world: Arc<World>,
    /// Every action ever applied, by tag.
    held: Arc<Mutex<BTreeMap<String, Held>>>,
    bugs: BTreeSet<SimBug>,
}

/// By what each deed is simulated.
fn survey(deeds: &[Deed]) -> Survey {
    let asked = |deed: Deed| match (deed, offers(deed)) {
        (_, Offer::Never(why)) => Err(Missing::new(why, "use the lab: --on lab")),
        (Deed::CutLinks, _) => Ok(Mechanism::best(deed, "simulated wires that hold packets back")),
        (Deed::PauseProcess, _) => Ok(Mechanism::best(deed, "simulated process stopped")),
        (_, _) => Ok(Mechanism::best(deed, "simulated process ended, its memory lost")),
    };
    Survey { missing: Vec::new(), deeds: deeds.iter().map(|deed| (*deed, asked(*deed))).collect() }
}

struct SimPlatform {
    shared: Shared,
    tasks: Tasks,
    run_id: String,
    tags: AtomicU32,
}

#[async_trait]
impl Platform for SimPlatform {
    async fn survey(&self, deeds: &[Deed]) -> Survey {
        survey(deeds)
    }

    async fn start(&self, _use_template: bool) -> Result<Started, StartError> {
        let world = &self.shared.world;
        if world.lock().on {
            return Err(StartError::Other {
                what: "the simulated cluster is already running".to_owned(),
                source: None,
            });
        }
        world.change(State::start);
        spawn(&self.tasks, Arc::clone(world).run());
        Ok(Started::Plain)
    }

    async fn save_template(&self) -> Result<(), StartError> {
        Ok(())
    }

    async fn discard_template(&self) {}

    async fn stop(&self) -> Result<(), DeedError> {
        self.shared.world.change(|state, _| state.stop());
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        Ok(())
    }

    async fn prepare(&self, action: &Action) -> Result<Undo, DeedError> {
        let number = self.tags.fetch_add(1, Ordering::Relaxed);
        self.shared.prepare(action, format!("fd-{}-{number}", self.run_id))
    }

    async fn apply(&self, undo: &Undo, hold: Option<Duration>) -> Result<Applied, DeedError> {
        let from = self.shared.apply(undo)?;
        if let Some(hold) = hold {
            let (shared, undo) = (self.shared.clone(), undo.clone());
            let deadline = from.plus(hold);
            spawn(&self.tasks, async move {
                shared.world.clock.sleep_until(deadline).await;
                shared.revert(&undo, "deadline");
            });
        }
        Ok(Applied { from, error: Duration::ZERO })
    }

    async fn revert(&self, undo: &Undo) -> Result<Reverted, DeedError> {
        Ok(self.shared.revert(undo, "asked"))
    }

    async fn probe(&self, undo: &Undo) -> Effect {
        self.shared.probe(undo).await
    }

    async fn inventory(&self) -> Result<Inventory, DeedError> {
        Ok(self.shared.inventory())
    }

    fn residue(&self, before: &Inventory, after: &Inventory) -> Vec<Residue> {
        before.differences(after)
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::new(SimDialer { world: Arc::clone(&self.shared.world), tasks: Arc::clone(&self.tasks) })
    }

    async fn incident(&self) -> Incident {
        // Nothing happens in this world but what faults do to it.
        std::future::pending().await
    }

    fn last_log_lines(&self, node: &NodeName, lines: usize) -> Vec<String> {
        let state = self.shared.world.lock();
        let all = state.nodes.get(node).map(|node| &node.lines);
        all.map_or_else(Vec::new, |all| all.iter().skip(all.len().saturating_sub(lines)).cloned().collect())
    }

    fn how_to_reach(&self) -> Vec<Reach> {
        // It lives inside this process and cannot be reached from outside.
        Vec::new()
    }
}
