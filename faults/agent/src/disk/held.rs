//! Operations that wait: for a harm to end, for their time, or, if they may take long, only for another thread. Whoever took
//! the request is free meanwhile, and the answer is given by that thread.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use firedrill_sys::clock;

/// Threads that do what has waited.
const RUNNERS: usize = 6;

/// What an operation waits for: harms, each until it ends or until a moment of `CLOCK_BOOTTIME`, in nanoseconds.
#[derive(Default, Debug)]
pub(super) struct Holds(Vec<(u64, Option<u64>)>);

impl Holds {
    /// It waits for this one as well.
    pub(super) fn add(&mut self, harm: u64, until: Option<u64>) {
        self.0.push((harm, until));
    }

    /// Whether it waits for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Waiting {
    /// Bounded by the threads of the servers: each waits for one operation.
    operations: Vec<(Holds, Work)>,
    /// Those whose wait is over.
    ready: VecDeque<Work>,
}

impl Waiting {
    /// Ends the holds that `over` names, and makes ready what then waits for nothing.
    fn end(&mut self, over: impl Fn(u64, Option<u64>) -> bool) {
        let (mut still, mut free) = (Vec::new(), Vec::new());
        for (mut holds, work) in std::mem::take(&mut self.operations) {
            holds.0.retain(|(harm, until)| !over(*harm, *until));
            if holds.is_empty() { free.push(work) } else { still.push((holds, work)) }
        }
        self.operations = still;
        self.ready.extend(free);
    }

    fn next_moment(&self) -> Option<u64> {
        self.operations.iter().flat_map(|(holds, _)| &holds.0).filter_map(|(_, until)| *until).min()
    }
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The operations that wait, and the threads that do them then.
pub(super) struct Held(Arc<Shared>);

impl Held {
    /// Nothing waits. The threads live as long as the process.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for _ in 0..RUNNERS {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("held".to_owned()).spawn(move || run(&shared))?;
        }
        Ok(Self(shared))
    }

    /// Has `work` done by one of the threads once nothing holds it any more, which may be now.
    pub(super) fn add(&self, holds: Holds, work: impl FnOnce() + Send + 'static) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.operations.push((holds, Box::new(work)));
        self.0.changed.notify_one();
    }

    /// A harm has ended.
    pub(super) fn release(&self, harm: u64) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.end(|held_by, _| held_by == harm);
        self.0.changed.notify_all();
    }
}

fn run(shared: &Shared) {
    let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = clock::boottime_nanos();
        waiting.end(|_, until| until.is_some_and(|until| until <= now));
        if let Some(work) = waiting.ready.pop_front() {
            if !waiting.ready.is_empty() {
                shared.changed.notify_one();
            }
            drop(waiting);
            work();
            waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        waiting = match waiting.next_moment() {
            Some(moment) => {
                let left = Duration::from_nanos(moment.saturating_sub(now));
                shared.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_two_hold_waits_for_both() {
        let held = Held::start().unwrap();
        let (sender, receiver) = channel();
        let mut holds = Holds::default();
        holds.add(1, None);
        holds.add(2, None);
        held.add(holds, move || sender.send(()).unwrap());
        held.release(1);
        assert_eq!(receiver.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        held.release(2);
        assert_eq!(receiver.recv_timeout(LONG), Ok(()));
    }

    #[test]
    fn a_moment_passes_or_its_harm_ends() {
        let held = Held::start().unwrap();
        let begun = clock::boottime_nanos();
        let late = begun + 50_000_000;
        let (sender, receiver) = channel();
        for (harm, until) in [(1, late), (2, u64::MAX)] {
            let (sender, mut holds) = (sender.clone(), Holds::default());
            holds.add(harm, Some(until));
            held.add(holds, move || sender.send(harm).unwrap());
        }
        assert_eq!(receiver.recv_timeout(LONG), Ok(1));
        assert!(clock::boottime_nanos() >= late);
        held.release(2);
        assert_eq!(receiver.recv_timeout(LONG), Ok(2));
    }
}
