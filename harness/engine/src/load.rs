//! Clients. Operations come due at a fixed rate whatever the cluster does (open loop); a client with nothing in flight
//! takes the oldest due one from a bounded queue; what does not fit is recorded as shed. Latency counts from when an
//! operation was due, so that a stalled server cannot hide its stall (coordinated omission).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::event::Phase;
use firedrill_core::history::{Call, Op, Outcome, ProcessId, Route, SHED};
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::scenario::{LoadSpec, Pace, RouteKind, client_routes};
use firedrill_core::seed::{ChaCha8Rng, Seed};
use firedrill_core::system::{Client, System};
use firedrill_core::time::{Clock, RunTime};
use firedrill_core::workload::Workload;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::flag::Flag;
use crate::meter::Meter;
use crate::recorder::{Recorder, all_joined};

/// A client that could not connect waits so long before it tries again in a closed loop.
const RECONNECT: Duration = Duration::from_millis(10);

/// What every client shares.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) system: Arc<dyn System>,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) recorder: Recorder,
    pub(crate) meter: Arc<Meter>,
    pub(crate) timeout: Duration,
    workload: Mutex<(Box<dyn Workload>, ChaCha8Rng)>,
    processes: AtomicU32,
}

impl Shared {
    fn next_op(&self, who: ProcessId) -> Op {
        let mut guard = self.workload.lock().unwrap_or_else(PoisonError::into_inner);
        let (workload, rng) = &mut *guard;
        workload.next(who, rng)
    }

    fn new_process(&self) -> ProcessId {
        ProcessId(self.processes.fetch_add(1, Ordering::Relaxed))
    }

    fn finished(&self, call: Call) {
        self.meter.count(&call);
        self.workload.lock().unwrap_or_else(PoisonError::into_inner).0.observe(&call);
        self.recorder.call(call);
    }
}

/// The load of one run.
pub(crate) struct Load {
    tasks: JoinSet<()>,
    stop: Arc<Flag>,
    timeout: Duration,
}

/// Everything the load needs beside the scenario.
pub(crate) struct LoadInput {
    pub(crate) clock: Clock,
    pub(crate) system: Arc<dyn System>,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) recorder: Recorder,
    pub(crate) meter: Arc<Meter>,
    pub(crate) seed: Seed,
    /// Where clients live: beside the rest of a run, so that neither delays the other.
    pub(crate) home: Handle,
}

impl Load {
    /// Starts every client. Nothing is due before now.
    pub(crate) fn start(spec: &LoadSpec, nodes: &[NodeName], input: LoadInput) -> Self {
        let shared = Arc::new(Shared {
            clock: input.clock,
            system: input.system,
            dialer: input.dialer,
            recorder: input.recorder,
            meter: input.meter,
            timeout: spec.timeout,
            workload: Mutex::new((spec.workload.open(), input.seed.stream("workload"))),
            processes: AtomicU32::new(0),
        });
        let stop = Arc::new(Flag::default());
        let mut tasks = JoinSet::new();
        for (group, size) in groups(spec, nodes) {
            let queue = match spec.pace {
                Pace::Max => None,
                Pace::Open(rate) => {
                    let per_client = rate.0 / f64::from(spec.clients.max(1));
                    let rate = per_client * f64::from(size);
                    let queue = Arc::new(DueQueue::new(rate, size));
                    let due =
                        due_times(Arc::clone(&shared), Arc::clone(&queue), group.clone(), rate, Arc::clone(&stop));
                    tasks.spawn_on(due, &input.home);
                    Some(queue)
                }
            };
            for _ in 0..size {
                let client = client(Arc::clone(&shared), group.clone(), queue.clone(), Arc::clone(&stop));
                tasks.spawn_on(client, &input.home);
            }
        }
        Self { tasks, stop, timeout: spec.timeout }
    }

    /// Lets nothing more come due, and waits until what is in flight has ended (bounded by the operations' deadline).
    pub(crate) async fn stop(mut self, recorder: &Recorder, phase: Phase) {
        self.stop.raise();
        let drained = all_joined(&mut self.tasks, recorder, phase);
        if tokio::time::timeout(self.timeout + Duration::from_secs(1), drained).await.is_err() {
            self.tasks.abort_all();
        }
    }
}

/// Clients of one route, that share a queue.
fn groups(spec: &LoadSpec, nodes: &[NodeName]) -> Vec<(Route, u32)> {
    let mut groups: Vec<(Route, u32)> = Vec::new();
    if spec.routes.is_empty() {
        groups.push((Route::Router, spec.clients));
    }
    for route in client_routes(spec, nodes) {
        match groups.iter_mut().find(|(known, _)| *known == route) {
            Some((_, size)) => *size += 1,
            None => groups.push((route, 1)),
        }
    }
    debug_assert!(spec.routes.contains(&RouteKind::Direct) || groups.len() == 1);
    groups
}

struct DueQueue {
    due: Mutex<VecDeque<RunTime>>,
    capacity: usize,
    ready: Notify,
}

impl DueQueue {
    /// Holds what comes due in one second, or one operation a client if that is more.
    fn new(rate: f64, clients: u32) -> Self {
        let second = Duration::try_from_secs_f64(rate.clamp(1.0, 1e6)).map_or(1, |span| span.as_secs());
        let capacity = usize::try_from(second.max(u64::from(clients))).unwrap_or(usize::MAX);
        Self { due: Mutex::new(VecDeque::with_capacity(capacity)), capacity, ready: Notify::new() }
    }

    fn push(&self, due: RunTime) -> bool {
        let mut queue = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= self.capacity {
            return false;
        }
        queue.push_back(due);
        drop(queue);
        self.ready.notify_one();
        true
    }

    async fn take(&self, stopped: &Flag) -> Option<RunTime> {
        loop {
            if stopped.is_raised() {
                return None;
            }
            let popped = self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if popped.is_some() {
                return popped;
            }
            tokio::select! {
                biased;
                () = stopped.raised() => {}
                () = self.ready.notified() => {}
            }
        }
    }
}

/// Makes operations come due, evenly spaced, from a random phase within the first interval.
async fn due_times(shared: Arc<Shared>, queue: Arc<DueQueue>, route: Route, rate: f64, stopped: Arc<Flag>) {
    let Ok(interval) = Duration::try_from_secs_f64(1.0 / rate) else { return };
    let begin = shared.clock.now();
    let shedder = shared.new_process();
    let mut count: u32 = 0;
    loop {
        let due = begin.plus(interval.saturating_mul(count));
        tokio::select! {
            biased;
            () = stopped.raised() => return,
            () = shared.clock.sleep_until(due) => {}
        }
        if !queue.push(due) {
            let shed = Some((shared.clock.now(), Outcome::fail(SHED)));
            let op = shared.next_op(shedder);
            shared.finished(blank(shedder, op, due, due, &route, shed));
        }
        count = count.saturating_add(1);
    }
}

fn blank(
    process: ProcessId,
    op: Op,
    due: RunTime,
    invoked: RunTime,
    route: &Route,
    completed: Option<(RunTime, Outcome)>,
) -> Call {
    Call { process, op, due, invoked, completed, route: route.clone(), served_by: None, epoch: None, receipt: None }
}

async fn client(shared: Arc<Shared>, route: Route, queue: Option<Arc<DueQueue>>, stopped: Arc<Flag>) {
    let mut process = shared.new_process();
    let mut connection: Option<Box<dyn Client>> = None;
    loop {
        let due = match &queue {
            Some(queue) => queue.take(&stopped).await,
            None if stopped.is_raised() => None,
            None => Some(shared.clock.now()),
        };
        let Some(due) = due else { return };
        let invoked = shared.clock.now();
        let deadline = shared.clock.instant(invoked.plus(shared.timeout));
        let op = shared.next_op(process);
        let mut call = blank(process, op, due, invoked, &route, None);
        if connection.is_none() {
            match connect(&shared, &route, deadline).await {
                Ok(connected) => connection = Some(connected),
                Err(why) => {
                    call.completed = Some((shared.clock.now(), Outcome::fail(why)));
                    shared.finished(call);
                    if queue.is_none() {
                        shared.clock.sleep(RECONNECT).await;
                    }
                    continue;
                }
            }
        }
        if let Some(client) = connection.as_mut() {
            let keep = perform(&shared, client.as_mut(), deadline, &mut call).await;
            if !keep {
                connection = None;
            }
        }
        if matches!(call.completed, Some((_, Outcome::Info(_)))) {
            process = shared.new_process();
        }
        shared.finished(call);
    }
}

async fn connect(shared: &Shared, route: &Route, deadline: tokio::time::Instant) -> Result<Box<dyn Client>, String> {
    let connecting = shared.system.connect(Arc::clone(&shared.dialer), Vantage::Clients, route);
    match tokio::time::timeout_at(deadline, connecting).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(why)) => Err(why.to_string()),
        Err(_) => Err("could not connect before the deadline".to_owned()),
    }
}

/// Performs the call's operation; tells whether the connection may be used again. A router client never stays with a
/// node that gave it anything but an acknowledgement: the cluster may have failed over.
async fn perform(shared: &Shared, client: &mut dyn Client, deadline: tokio::time::Instant, call: &mut Call) -> bool {
    let Ok(completion) = tokio::time::timeout_at(deadline, client.invoke(&call.op)).await else {
        call.completed = Some((shared.clock.now(), Outcome::info("no answer before the deadline")));
        return false;
    };
    let keep = completion.usable && (completion.outcome.is_ok() || call.route != Route::Router);
    call.completed = Some((shared.clock.now(), completion.outcome));
    call.served_by = completion.served_by;
    call.epoch = completion.epoch;
    call.receipt = completion.receipt;
    keep
}
