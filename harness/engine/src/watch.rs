//! Looks at the whole cluster four times a second while a run lives: for the console, the gates and the record.

use std::sync::Arc;
use std::time::Duration;

use firedrill_core::cluster::ClusterView;
use firedrill_core::event::{Event, Phase};
use firedrill_core::platform::Dialer;
use firedrill_core::system::System;
use firedrill_core::time::{Clock, RunTime};
use tokio::sync::watch;

use crate::meter::Meter;
use crate::observe::{Observer, Progress, Tick};
use crate::recorder::Recorder;
use crate::storm::Storm;

/// How often the cluster is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(1);
/// An unchanged cluster is recorded so often.
const RECORD_EVERY: Duration = Duration::from_secs(2);

/// The state that the console shows beside the view.
#[derive(Clone, Default)]
pub(crate) struct Stage {
    pub(crate) phase: Option<Phase>,
    pub(crate) storm: Option<Arc<Storm>>,
    pub(crate) storm_span: Option<(RunTime, RunTime)>,
}

/// Looks until cancelled.
pub(crate) struct Lookout {
    pub(crate) clock: Clock,
    pub(crate) system: Arc<dyn System>,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) recorder: Recorder,
    pub(crate) meter: Arc<Meter>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) view: watch::Sender<ClusterView>,
    pub(crate) stage: watch::Receiver<Stage>,
}

impl Lookout {
    pub(crate) async fn run(self) {
        let mut recorded: Option<(RunTime, ClusterView)> = None;
        loop {
            let began = self.clock.now();
            let view = self.system.view(self.dialer.as_ref(), self.clock, LOOK).await;
            let now = self.clock.now();
            let changed =
                recorded.as_ref().is_none_or(|(at, last)| now.since(*at) >= RECORD_EVERY || !same_shape(last, &view));
            if changed {
                self.recorder.event(Event::View { view: view.clone() });
                recorded = Some((now, view.clone()));
            }
            self.recorder.tick();
            self.show(now, &view);
            self.view.send_replace(view);
            self.clock.sleep_until(began.plus(INTERVAL)).await;
        }
    }

    fn show(&self, at: RunTime, view: &ClusterView) {
        let stage = self.stage.borrow().clone();
        let reading = self.meter.read(at);
        self.observer.show(&Progress::Tick(Tick {
            at,
            phase: stage.phase.unwrap_or(Phase::Start),
            ok_per_second: reading.ok,
            bad_per_second: reading.bad,
            primary: view.primary().map(|node| node.name.to_string()),
            cluster: view.in_words(),
            active: stage.storm.map(|storm| storm.active()).unwrap_or_default(),
            storm: stage.storm_span,
        }));
    }
}

/// Whether two views differ in nothing but positions and times.
fn same_shape(a: &ClusterView, b: &ClusterView) -> bool {
    let shape = |view: &ClusterView| {
        let nodes = view.nodes.iter().map(|node| {
            (
                node.name.clone(),
                node.up,
                node.roles.clone(),
                node.read_write,
                node.epoch,
                node.streaming,
                node.incarnation,
            )
        });
        (nodes.collect::<Vec<_>>(), view.disagreement.is_some())
    };
    shape(a) == shape(b)
}
