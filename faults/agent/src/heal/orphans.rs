//! Processes of ours whose agent is gone, and that should have ended with it: stopped ones, and those that hang. What they
//! hold (tables, traced processes, resources) goes with them.

use std::time::Duration;

use firedrill_sys::clock;
use firedrill_sys::identity::Identity;
use firedrill_sys::process::{self, OwnProcess, State};

use super::{ARGUMENT, Job, LOOKS, Told};
use crate::{disk, guard};

/// How long what is ending anyway may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a guard at work may take.
const GUARD_PATIENCE: Duration = Duration::from_secs(20);
/// How long a killed process may take to end.
const END: Duration = Duration::from_secs(5);

/// Ends those whose role, empty for an agent, is meant.
pub(super) fn end(job: &Job, meant: impl Fn(&str) -> bool, tell: &mut (dyn FnMut(Told) + Send)) {
    let mut asked = Vec::new();
    for orphan in find(job).into_iter().filter(|one| meant(one.role.as_deref().unwrap_or_default())) {
        let OwnProcess { process, role, .. } = &orphan;
        let identity = Identity { pid: process.pid, start: process.start };
        let what = format!("process {} ({}) of an agent that is gone", process.pid, role.as_deref().unwrap_or("agent"));
        let is_guard = role.as_deref() == Some(guard::ARGUMENT);
        let halted = matches!(process.state, State::Stopped | State::Held);
        let patience = if is_guard { GUARD_PATIENCE } else { PATIENCE };
        // One that is stopped will not end by itself.
        if !halted && clock::until(patience, LOOKS, || (!identity.is_alive()).then_some(())).is_some() {
            continue;
        }
        // Its agent may have been started while it was looked for, and so have been missed.
        if !find(job).iter().any(|one| (one.process.pid, one.process.start) == (process.pid, process.start)) {
            continue;
        }
        asked.push((identity, what, identity.kill()));
    }
    for (identity, what, killed) in asked {
        let ended = killed.and_then(|()| identity.wait_gone(END));
        let remedy = format!("{}kill -9 {}", job.prefix, identity.pid);
        tell(match ended {
            Ok(true) => Told::Removed { what },
            Ok(false) => Told::Left { what, why: "it does not end".to_owned(), remedy },
            Err(error) => Told::Left { what, why: error.to_string(), remedy },
        });
    }
}

/// Those with the job's tags whose parent is none of ours. Disks belong to whoever mounted them, and stay.
fn find(job: &Job) -> Vec<OwnProcess> {
    let all = process::own_processes().unwrap_or_default();
    let ours: Vec<i32> = all.iter().map(|one| one.process.pid).collect();
    let is_orphan = |one: &OwnProcess| {
        let helper = one.role.as_deref().is_some_and(|role| role != disk::ARGUMENT && role != ARGUMENT);
        let tagged = one.tag.as_ref().is_some_and(|tag| tag.starts_with(&job.tag));
        helper && tagged && !ours.contains(&one.process.parent)
    };
    all.iter().filter(|one| is_orphan(one)).cloned().collect()
}
