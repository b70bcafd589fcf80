//! The start of a run: from the platform's first process to a whole cluster. What goes wrong here is told with the last
//! lines of the servers' logs, because nothing else is known yet.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, NodeName};
use firedrill_core::platform::{Incident, StartError, Started};
use firedrill_core::wait::TimedOut;

use crate::final_reads;
use crate::inject::words;
use crate::observe::{Progress, Tick};
use crate::run::Run;

/// Log lines of a server that ended at the start that are shown, and out of how many they are chosen.
const LOG_LINES: usize = 15;
const LOG_LINES_READ: usize = 100;
/// Lines of each log when nothing ended and yet the cluster did not become whole.
const LOG_LINES_OF_MANY: usize = 3;
/// Nodes whose logs are shown then.
const MOST_NODES_SHOWN: usize = 3;
/// Incidents that may wait to be forgotten, more than there are servers.
const MOST_INCIDENTS: usize = 1000;

impl Run {
    /// Starts the cluster and waits until it is whole. `Err` carries, from its second line on, what the nodes' logs say.
    pub(crate) async fn start(&self) -> Result<(), String> {
        let started = self.platform.start(self.use_template).await.map_err(|error| start_words(&error))?;
        let limit = self.scenario.cluster.start;
        match (self.become_whole(limit).await, started) {
            (Ok(()), Started::FromTemplate | Started::Plain) => Ok(()),
            (Ok(()), Started::Cold) if !self.use_template => Ok(()),
            (Ok(()), Started::Cold) => {
                self.platform.save_template().await.map_err(|error| start_words(&error))?;
                self.become_whole(limit).await
            }
            (Err(_), Started::FromTemplate) => {
                // A template that does not start is of no use to anybody: once more from nothing.
                self.platform.discard_template().await;
                self.platform.stop().await.map_err(|error| words(&error))?;
                self.forget_incidents().await;
                self.platform.start(false).await.map_err(|error| start_words(&error))?;
                self.become_whole(limit).await
            }
            (Err(reason), Started::Cold | Started::Plain) => Err(reason),
        }
    }

    async fn become_whole(&self, limit: Duration) -> Result<(), String> {
        let dialer = self.platform.dialer();
        let last = Mutex::new(ClusterView::default());
        let look = |view: &ClusterView| {
            self.show(view);
            view.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
        };
        tokio::select! {
            biased;
            whole = final_reads::whole(&self.scenario, dialer.as_ref(), self.clock, limit, look) => match whole {
                Ok(_) => Ok(()),
                Err(timed_out) => {
                    let view = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    Err(self.not_whole_words(&timed_out, &view))
                }
            },
            incident = self.platform.incident() => Err(self.incident_words(&incident)),
        }
    }

    /// Forgets what was noticed of servers that have been stopped since.
    async fn forget_incidents(&self) {
        for _ in 0..MOST_INCIDENTS {
            tokio::select! {
                biased;
                _ = self.platform.incident() => {}
                () = std::future::ready(()) => return,
            }
        }
    }

    /// Shows a cluster on its way to become whole.
    fn show(&self, view: &ClusterView) {
        self.observer.show(&Progress::Tick(Tick {
            at: self.clock.now(),
            phase: self.phase(),
            ok_per_second: 0.0,
            bad_per_second: 0.0,
            primary: view.primary().map(|node| node.name.to_string()),
            cluster: view.in_words(),
            active: Vec::new(),
            storm: None,
        }));
    }

    fn incident_words(&self, incident: &Incident) -> String {
        match incident {
            Incident::UnitExited { node, unit, status } => {
                let log = self.platform.last_log_lines(node, LOG_LINES_READ);
                with_log(format!("{unit} on {node} ended at the start: {status}"), &telling(log, unit))
            }
            Incident::AgentDied { detail } => format!("the agent ended at the start: {detail}"),
        }
    }

    /// A server that tries again and again does not end: its log says why all the same.
    fn not_whole_words(&self, timed_out: &TimedOut, view: &ClusterView) -> String {
        let up = |node: &NodeName| view.node(node).is_some_and(|seen| seen.up);
        let nodes = &self.scenario.cluster.nodes;
        let down: Vec<&NodeName> = nodes.iter().filter(|node| !up(node)).collect();
        let asked = if down.is_empty() { nodes.iter().collect() } else { down };
        let mut log = Vec::new();
        for node in asked.into_iter().take(MOST_NODES_SHOWN) {
            let lines = self.platform.last_log_lines(node, LOG_LINES_OF_MANY);
            log.extend(lines.into_iter().map(|line| format!("{node} {line}")));
        }
        with_log(timed_out.to_string(), &log)
    }
}

fn start_words(error: &StartError) -> String {
    match error {
        StartError::Missing(missing) => {
            let lines = missing.iter().map(|missing| format!("{}: {}", missing.what, missing.remedy));
            lines.collect::<Vec<_>>().join("\n")
        }
        StartError::UnitDied { log, .. } => with_log(error.to_string(), log),
        StartError::Other { .. } => words(error),
    }
}

/// One line that says what happened, and then what the logs say, line by line.
fn with_log(what: String, log: &[String]) -> String {
    [&[what], log].concat().join("\n")
}

/// What ended knows best why; the logs of its neighbours only matter if it said nothing. The frames of a stack trace,
/// which are indented, would push out what was wrong.
fn telling(mut log: Vec<String>, unit: &str) -> Vec<String> {
    let own = |line: &String| line.strip_prefix(unit).is_some_and(|rest| rest.starts_with(':'));
    if log.iter().any(own) {
        log.retain(own);
    }
    let said = |line: &String| {
        let text = line.split_once(": ").map_or("", |(_, text)| text);
        !text.is_empty() && !text.starts_with(char::is_whitespace)
    };
    log.retain(said);
    log.split_off(log.len().saturating_sub(LOG_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_last_is_not_hidden_by_a_stack_trace_or_by_its_neighbours() {
        let lines =
            ["etcd: elected", "patroni: FATAL: no memory", "patroni: Traceback:", "patroni:   File x", "patroni: "];
        let log = lines.map(ToOwned::to_owned).to_vec();
        assert_eq!(telling(log.clone(), "patroni"), ["patroni: FATAL: no memory", "patroni: Traceback:"]);
        assert_eq!(telling(log, "haproxy").first().map(String::as_str), Some("etcd: elected"));
        let lengthy: Vec<String> = (0..50).map(|i| format!("etcd: line {i}")).collect();
        assert_eq!(telling(lengthy.clone(), "etcd"), lengthy[50 - LOG_LINES..]);
    }
}
