//! The agent's heart: a thread that beats to the guard as long as the agent's loop goes round. It is a thread of its own
//! because a deed may take longer than the lease: an agent that is stopped meanwhile is silent at once, one that hangs in a
//! deed is silent when the deed should long be done.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use std::process::ChildStdin;

use firedrill_sys::{clock, ready};

use super::{HOLD, Told, nanos};
use crate::log::say;

/// How long a deed may take before the agent is taken to hang in it.
const DEED: Duration = Duration::from_secs(20);
/// How often the heart beats.
const BEAT: Duration = Duration::from_millis(250);
/// Lines on their way to a guard that does not answer, at most.
const MOST_UNANSWERED: usize = 100;

/// The pipe to a guard, which two threads write to.
#[derive(Debug)]
pub(super) struct Pipe {
    stdin: Mutex<ChildStdin>,
    /// Lines told, and lines that the guard has answered.
    told: AtomicUsize,
    answered: AtomicUsize,
}

impl Pipe {
    pub(super) fn new(stdin: ChildStdin) -> io::Result<Self> {
        ready::never_wait(&stdin)?;
        Ok(Self { stdin: Mutex::new(stdin), told: AtomicUsize::new(0), answered: AtomicUsize::new(0) })
    }

    pub(super) fn tell(&self, told: &Told) -> io::Result<()> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        let stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        self.told.fetch_add(1, Ordering::Relaxed);
        ready::write_all(&*stdin, &line, HOLD)
    }

    pub(super) fn answered(&self, lines: usize) {
        self.answered.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines that were not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.told.load(Ordering::Relaxed).saturating_sub(self.answered.load(Ordering::Relaxed))
    }
}

/// What the two threads have in common.
#[derive(Debug)]
struct Shared {
    pipe: Mutex<Option<Arc<Pipe>>>,
    silence: Duration,
    /// When the loop last went round, `CLOCK_BOOTTIME`, and whether it does or undoes a deed since.
    turned: AtomicU64,
    busy: AtomicBool,
}

impl Shared {
    fn beat(&self) {
        let allowed = if self.busy.load(Ordering::Relaxed) { self.silence.max(DEED) } else { self.silence };
        let still = clock::boottime_nanos().saturating_sub(self.turned.load(Ordering::Relaxed));
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(pipe) = pipe.filter(|pipe| still < nanos(allowed) && pipe.unanswered() < MOST_UNANSWERED) else {
            return;
        };
        // A guard that is gone is noticed by the loop, which starts another.
        drop(pipe.tell(&Told::Beat(nanos(self.silence))));
    }
}

/// The heart. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Heart {
    shared: Arc<Shared>,
    _goes_on: Sender<()>,
}

impl Heart {
    /// Beats from now on, to whatever pipe it is given. The guard is to take `silence` for death.
    pub(super) fn start(silence: Duration) -> io::Result<Self> {
        let turned = AtomicU64::new(clock::boottime_nanos());
        let shared = Arc::new(Shared { pipe: Mutex::default(), silence, turned, busy: AtomicBool::new(false) });
        let (goes_on, ended) = channel::<()>();
        let beating = Arc::clone(&shared);
        thread::Builder::new().name("heart".to_owned()).spawn(move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                beating.beat();
            }
        })?;
        Ok(Self { shared, _goes_on: goes_on })
    }

    /// Beats to another guard from now on, or to none.
    pub(super) fn beat_to(&self, pipe: Option<Arc<Pipe>>) {
        *self.shared.pipe.lock().unwrap_or_else(PoisonError::into_inner) = pipe;
        self.shared.beat();
    }

    /// The loop has gone round; `busy` when it begins with a deed.
    pub(super) fn turned(&self, busy: bool) {
        let now = clock::boottime_nanos();
        let before = self.shared.turned.swap(now, Ordering::Relaxed);
        self.shared.busy.store(busy, Ordering::Relaxed);
        if now.saturating_sub(before) > nanos(self.shared.silence) {
            say("the agent's loop was held up for longer than its lease");
        }
    }
}
