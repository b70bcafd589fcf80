//! One run: start → steady → storm → heal → settle → final reads → stop. Everything it learns goes into the run's folder;
//! the verdict is computed from there afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, NodeName};
use firedrill_core::event::{Event, Phase};
use firedrill_core::history::{Outcome, Route};
use firedrill_core::platform::{Dialer, Incident, Inventory, Platform, Residue, Vantage};
use firedrill_core::scenario::{RouteKind, Scenario};
use firedrill_core::seed::Seed;
use firedrill_core::system::Sink;
use firedrill_core::time::{Clock, Wall};
use firedrill_core::wait;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::final_reads;
use crate::folder::{FINALS_FILE, write_json};
use crate::inject::{Injector, words};
use crate::interrupt::Interrupts;
use crate::journal::Journal;
use crate::load::{Load, LoadInput};
use crate::meter::{Gate, Meter};
use crate::observe::Observer;
use crate::recorder::{Recorder, Writer, all_joined};
use crate::storm::Storm;
use crate::watch::{INTERVAL, Lookout, Stage};

/// The load goes on so long after everything is healed and whole, unless the scenario fixes its length.
const TAIL: Duration = Duration::from_secs(3);
const SETUP: Duration = Duration::from_secs(20);
/// Lines of a node's logs that go with the news that its data cannot be read.
const LOG_LINES: usize = 8;

/// One run's parts, made by [`crate::suite`].
pub(crate) struct Run {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) seed: Seed,
    pub(crate) folder: PathBuf,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) clock: Clock,
    pub(crate) recorder: Recorder,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) interrupts: Interrupts,
    pub(crate) use_template: bool,
    pub(crate) stage: watch::Sender<Stage>,
    /// Where clients live.
    pub(crate) clients: Handle,
}

/// Why a run ended before its time. Already recorded.
struct Cut;

impl Run {
    /// Runs to the end, whatever happens on the way. What went wrong is in the events.
    pub(crate) async fn run(self, journal: Journal, writer: Writer) -> Result<(), String> {
        let injector = Arc::new(Injector::new(
            Arc::clone(&self.platform),
            Arc::clone(&self.scenario.cluster.system),
            journal,
            self.recorder.clone(),
            self.clock,
        ));
        let before = self.live(&injector).await;
        self.enter(Phase::Stop);
        self.stop(before).await;
        if let Err(error) = injector.close().await {
            self.broken(Phase::Stop, words(&error));
        }
        self.enter(Phase::Judge);
        self.stage.send_replace(Stage::default());
        drop((injector, self));
        // Joining a thread blocks; nothing else of this run is left to do.
        tokio::task::spawn_blocking(move || writer.finish()).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn enter(&self, phase: Phase) {
        self.stage.send_modify(|stage| stage.phase = Some(phase));
        self.recorder.event(Event::Phase { phase, wall: Wall::now() });
    }

    pub(crate) fn phase(&self) -> Phase {
        self.stage.borrow().phase.unwrap_or(Phase::Preflight)
    }

    fn broken(&self, phase: Phase, reason: impl Into<String>) {
        self.recorder.event(Event::Broken { phase, reason: reason.into() });
    }

    /// Everything that needs a live cluster. Returns the inventory before the storm, if it came so far.
    async fn live(&self, injector: &Arc<Injector>) -> Option<Inventory> {
        self.enter(Phase::Start);
        let started = self.unless_interrupted(self.start()).await?;
        if let Err(reason) = started {
            self.broken(Phase::Start, reason);
            return None;
        }
        let before = match self.platform.inventory().await {
            Ok(inventory) => inventory,
            Err(error) => {
                self.broken(Phase::Start, words(&error));
                return None;
            }
        };
        let dialer = self.platform.dialer();
        let mut background = JoinSet::new();
        let (view, views) = watch::channel(ClusterView::default());
        let meter = Arc::new(Meter::default());
        background.spawn(self.lookout(&dialer, &meter, view).run());
        let system = Arc::clone(&self.scenario.cluster.system);
        let (sink, watched, clock): (Arc<dyn Sink>, _, _) =
            (Arc::new(self.recorder.clone()), Arc::clone(&dialer), self.clock);
        background.spawn(async move { system.watch(watched, clock, sink).await });
        let (died, agent) = watch::channel(false);
        background.spawn(incidents(Arc::clone(&self.platform), self.recorder.clone(), died));
        let drill = Drill { run: self, injector, dialer, meter, views, agent };
        // A cut run has recorded why; it goes on to stop either way.
        let (Ok(()) | Err(Cut)) = drill.run().await;
        background.abort_all();
        all_joined(&mut background, &self.recorder, self.phase()).await;
        Some(before)
    }

    fn lookout(&self, dialer: &Arc<dyn Dialer>, meter: &Arc<Meter>, view: watch::Sender<ClusterView>) -> Lookout {
        Lookout {
            clock: self.clock,
            system: Arc::clone(&self.scenario.cluster.system),
            dialer: Arc::clone(dialer),
            recorder: self.recorder.clone(),
            meter: Arc::clone(meter),
            observer: Arc::clone(&self.observer),
            view,
            stage: self.stage.subscribe(),
        }
    }

    /// `None` when a person interrupted, which is recorded.
    async fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.interrupts.reached(1) => {
                self.recorder.event(Event::Interrupted { phase: self.phase() });
                None
            }
            done = work => Some(done),
        }
    }

    async fn stop(&self, before: Option<Inventory>) {
        let mut residue: Vec<Residue> = Vec::new();
        if let Some(before) = before {
            match self.platform.inventory().await {
                Ok(after) => residue.extend(self.platform.residue(&before, &after)),
                Err(error) => self.broken(Phase::Stop, words(&error)),
            }
        }
        if let Err(error) = self.platform.stop().await {
            self.broken(Phase::Stop, words(&error));
        }
        match self.platform.inventory().await {
            Ok(after) => residue.extend(self.platform.residue(&Inventory::default(), &after)),
            Err(error) => self.broken(Phase::Stop, words(&error)),
        }
        residue.sort();
        residue.dedup();
        self.recorder.event(Event::Swept { residue });
    }
}

async fn incidents(platform: Arc<dyn Platform>, recorder: Recorder, died: watch::Sender<bool>) {
    loop {
        let incident = platform.incident().await;
        let fatal = matches!(incident, Incident::AgentDied { .. });
        recorder.event(Event::Incident { incident });
        if fatal {
            died.send_replace(true);
            return;
        }
    }
}

/// The part of a run under load.
struct Drill<'a> {
    run: &'a Run,
    injector: &'a Arc<Injector>,
    dialer: Arc<dyn Dialer>,
    meter: Arc<Meter>,
    views: watch::Receiver<ClusterView>,
    agent: watch::Receiver<bool>,
}

impl Drill<'_> {
    async fn run(mut self) -> Result<(), Cut> {
        let run = self.run;
        run.enter(Phase::Steady);
        run.unless_interrupted(self.set_up()).await.ok_or(Cut)?.map_err(|reason| {
            run.broken(Phase::Steady, reason);
            Cut
        })?;
        let load = Load::start(
            &run.scenario.load,
            &run.scenario.cluster.nodes,
            LoadInput {
                clock: run.clock,
                system: Arc::clone(&run.scenario.cluster.system),
                dialer: Arc::clone(&self.dialer),
                recorder: run.recorder.clone(),
                meter: Arc::clone(&self.meter),
                seed: run.seed,
                home: run.clients.clone(),
            },
        );
        let whole_run = self.steady_and_storm().await;
        match whole_run {
            Ok(()) => {
                let settled = self.settle_under_load().await;
                load.stop(&run.recorder, run.phase()).await;
                settled?;
                self.finish().await
            }
            Err(cut) => {
                load.stop(&run.recorder, run.phase()).await;
                Err(cut)
            }
        }
    }

    /// The workload's own preparations, through the router, until they succeed.
    async fn set_up(&self) -> Result<(), String> {
        let (run, scenario) = (self.run, &self.run.scenario);
        let ops = scenario.load.workload.open().setup();
        let done = wait::until("the workload's setup", run.clock, SETUP, Duration::from_millis(200), || async {
            let connecting =
                scenario.cluster.system.connect(Arc::clone(&self.dialer), Vantage::Control, &Route::Router);
            let mut client = connecting.await.map_err(|error| error.to_string())?;
            for op in &ops {
                match client.invoke(op).await.outcome {
                    Outcome::Ok(_) => {}
                    Outcome::Fail(why) | Outcome::Info(why) => return Err(format!("{op}: {why}")),
                }
            }
            Ok(())
        });
        done.await.map_err(|timed_out| timed_out.to_string())
    }

    async fn steady_and_storm(&mut self) -> Result<(), Cut> {
        let run = self.run;
        let steady = run.unless_interrupted(self.steady()).await.ok_or(Cut)?;
        let (met, seen) = match &steady {
            Ok(seen) => (true, seen.clone()),
            Err(seen) => (false, seen.clone()),
        };
        run.recorder.event(Event::Steady { met, seen });
        if !met {
            return Err(Cut);
        }
        self.storm().await
    }

    async fn steady(&mut self) -> Result<String, String> {
        let spec = &self.run.scenario.steady;
        let clock = self.run.clock;
        let mut gates: Vec<Gate> = spec.require.iter().map(Gate::new).collect();
        let began = clock.now();
        let mut since = None;
        loop {
            clock.sleep(INTERVAL).await;
            if let Some(trouble) = self.run.recorder.trouble() {
                return Err(trouble);
            }
            let now = clock.now();
            let (view, reading) = (self.views.borrow().clone(), self.meter.read(now));
            let mut unmet = Vec::new();
            for gate in &mut gates {
                if !gate.look(&view, reading, now) {
                    unmet.push(gate.in_words());
                }
            }
            if unmet.is_empty() {
                if now.since(*since.get_or_insert(now)) >= spec.hold {
                    return Ok(gates.iter().map(Gate::in_words).collect::<Vec<_>>().join(", "));
                }
            } else {
                since = None;
            }
            if now.since(began) >= spec.within {
                let unmet = if unmet.is_empty() { "met, but not for long enough".to_owned() } else { unmet.join(", ") };
                return Err(format!("not steady within {}: {unmet}", firedrill_core::units::human(spec.within)));
            }
        }
    }

    async fn storm(&mut self) -> Result<(), Cut> {
        let run = self.run;
        run.enter(Phase::Storm);
        let storm = Arc::new(Storm::new(
            run.clock,
            run.seed,
            Arc::clone(&run.scenario.cluster.system),
            Arc::clone(&self.dialer),
            Arc::clone(self.injector),
            run.recorder.clone(),
        ));
        let began = run.clock.now();
        let planned = began.plus(run.scenario.storm_length());
        run.stage.send_modify(|stage| {
            stage.storm = Some(Arc::clone(&storm));
            stage.storm_span = Some((began, planned));
        });
        let (theirs, scenario) = (Arc::clone(&storm), Arc::clone(&run.scenario));
        let mut task = JoinSet::new();
        task.spawn(async move { theirs.run(&scenario).await });
        let quiet = async {
            all_joined(&mut task, &run.recorder, Phase::Storm).await;
            run.clock.sleep_until(planned).await;
        };
        let cut = tokio::select! {
            biased;
            () = run.interrupts.reached(1) => {
                run.recorder.event(Event::Interrupted { phase: Phase::Storm });
                true
            }
            () = halted(run, &mut self.views, &self.meter, &mut self.agent) => true,
            () = quiet => false,
        };
        storm.stop();
        run.enter(Phase::Heal);
        // Every task heals what it holds before it ends; each of its waits is bounded.
        all_joined(&mut task, &run.recorder, Phase::Heal).await;
        storm.heal_rest().await;
        self.injector.heal_forgotten().await;
        run.stage.send_modify(|stage| stage.storm = None);
        if !cut && run.interrupts.count() > 0 {
            run.recorder.event(Event::Interrupted { phase: Phase::Heal });
            return Err(Cut);
        }
        if cut { Err(Cut) } else { Ok(()) }
    }

    /// Goes on under load until the cluster is whole and a little longer, so that the whole recovery is measured.
    async fn settle_under_load(&mut self) -> Result<(), Cut> {
        let run = self.run;
        run.enter(Phase::Settle);
        let waiting = async {
            let limit = run.scenario.cluster.settle;
            // Not whole in time is found again, and recorded, by the final reads.
            if final_reads::whole(&run.scenario, self.dialer.as_ref(), run.clock, limit, |_| {}).await.is_ok()
                && run.scenario.load.duration.is_none()
                && self.acknowledges(limit).await
            {
                run.clock.sleep(TAIL).await;
            }
        };
        run.unless_interrupted(waiting).await.ok_or(Cut)
    }

    /// Waits for an acknowledgement through the router: a cluster can look whole while its commits still wait for a
    /// standby whose connection has not got over the partition (TCP backs off for as long as it lasted).
    async fn acknowledges(&self, limit: Duration) -> bool {
        let run = self.run;
        if run.scenario.load.routes == [RouteKind::Direct] {
            return true;
        }
        let acknowledged = wait::until("an acknowledgement", run.clock, limit, INTERVAL, || async {
            let reading = self.meter.read(run.clock.now());
            if reading.ok > 0.0 { Ok(()) } else { Err("none in the last second".to_owned()) }
        });
        acknowledged.await.is_ok()
    }

    async fn finish(&mut self) -> Result<(), Cut> {
        let run = self.run;
        let reading = || run.enter(Phase::FinalReads);
        let log = |node: &NodeName| run.platform.last_log_lines(node, LOG_LINES);
        let taking = final_reads::take(&run.scenario, Arc::clone(&self.dialer), &run.recorder, run.clock, reading, log);
        let finals = run.unless_interrupted(taking).await.ok_or(Cut)?;
        write_json(&run.folder.join(FINALS_FILE), &finals).map_err(|error| {
            run.broken(Phase::FinalReads, words(&error));
            Cut
        })
    }
}

/// Returns when the storm must end: a halt condition, a dead agent, or a record that cannot be written.
async fn halted(run: &Run, views: &mut watch::Receiver<ClusterView>, meter: &Meter, agent: &mut watch::Receiver<bool>) {
    let mut gates: Vec<Gate> = run.scenario.safety.halt_if.iter().map(Gate::new).collect();
    loop {
        tokio::select! {
            biased;
            died = agent.wait_for(|died| *died) => {
                if died.is_ok() {
                    run.broken(Phase::Storm, "the agent ended, and with it every fault");
                    return;
                }
            }
            () = run.clock.sleep(INTERVAL) => {}
        }
        if let Some(trouble) = run.recorder.trouble() {
            run.broken(Phase::Storm, trouble);
            return;
        }
        let now = run.clock.now();
        let (view, reading) = (views.borrow().clone(), meter.read(now));
        for gate in &mut gates {
            if gate.look(&view, reading, now) {
                let (condition, seen) = (gate.text().to_owned(), gate.in_words());
                run.recorder.event(Event::Halted { condition, seen });
                return;
            }
        }
    }
}
