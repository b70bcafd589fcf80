//! Streams calls and events to the run's folder as they happen, on a thread of its own, so that a slow disk never delays
//! a client. The queue is bounded; what does not fit, and any error of the disk, makes the run prove nothing.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use firedrill_core::codec::HistoryEncoder;
use firedrill_core::event::{Event, Phase, Stamped};
use firedrill_core::history::Call;
use firedrill_core::system::Sink;
use firedrill_core::time::{Clock, RunTime};
use tokio::task::JoinSet;

use crate::folder::{EVENTS_FILE, HISTORY_FILE};
use crate::observe::{Observer, Progress};

/// Calls and events that may wait for the disk: at 10,000 a second, twenty seconds of a stalled disk.
const QUEUE: usize = 200_000;
/// How much of the run may be lost when the harness is killed.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// The writing thread rests so long when it has taken everything, so that not every call has to wake it: on a machine
/// shared with the servers a wake-up costs more than the writing.
const REST: Duration = Duration::from_millis(20);

enum Message {
    Call(Box<Call>),
    Event(Box<Stamped>),
    Tick(RunTime),
}

/// Records a run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    clock: Clock,
    sender: SyncSender<Message>,
    trouble: Arc<Trouble>,
    observer: Arc<dyn Observer>,
}

#[derive(Default)]
struct Trouble {
    dropped: AtomicU64,
    error: Mutex<Option<String>>,
}

/// The writing thread; joined at the end of the run.
pub(crate) struct Writer {
    thread: JoinHandle<()>,
    trouble: Arc<Trouble>,
}

/// Opens the files of a run, before anything else is done, so that a wrong path fails early.
pub(crate) fn open(folder: &Path, clock: Clock, observer: Arc<dyn Observer>) -> io::Result<(Recorder, Writer)> {
    let (encoder, header) = HistoryEncoder::new();
    let mut history = File::create(folder.join(HISTORY_FILE))?;
    history.write_all(&header)?;
    let events = File::create(folder.join(EVENTS_FILE))?;
    let trouble = Arc::new(Trouble::default());
    let (sender, receiver) = sync_channel(QUEUE);
    let files = Files { history, events, encoder, lines: Vec::new(), flushed: RunTime::ZERO };
    let theirs = Arc::clone(&trouble);
    let thread =
        std::thread::Builder::new().name("recorder".into()).spawn(move || files.write_all(&receiver, &theirs))?;
    Ok((Recorder { clock, sender, trouble: Arc::clone(&trouble), observer }, Writer { thread, trouble }))
}

impl Recorder {
    /// Records an event that happens now.
    pub(crate) fn event(&self, event: Event) {
        self.put(self.clock.now(), event);
    }

    /// Records a call that ended, or was still open at the end.
    pub(crate) fn call(&self, call: Call) {
        self.send(Message::Call(Box::new(call)));
    }

    /// Lets time pass, so that what is buffered reaches the disk.
    pub(crate) fn tick(&self) {
        self.send(Message::Tick(self.clock.now()));
    }

    /// What has gone wrong with the recording, if anything has.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.words()
    }

    fn send(&self, message: Message) {
        match self.sender.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.trouble.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Sink for Recorder {
    fn put(&self, at: RunTime, event: Event) {
        let stamped = Stamped { at, event };
        self.observer.show(&Progress::Event(stamped.clone()));
        self.send(Message::Event(Box::new(stamped)));
    }
}

impl Trouble {
    fn words(&self) -> Option<String> {
        if let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Some(format!("the run's folder cannot be written: {error}"));
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        (dropped > 0).then(|| format!("{dropped} records did not fit into the queue before the disk"))
    }
}

impl Writer {
    /// Waits until everything is on disk, once every [`Recorder`] is dropped. `Err` says what was lost.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            return Err("the recording thread panicked".to_owned());
        }
        self.trouble.words().map_or(Ok(()), Err)
    }
}

/// Waits until every task has ended. One that panicked may have forgotten what it was to record: the run proves nothing.
pub(crate) async fn all_joined(tasks: &mut JoinSet<()>, recorder: &Recorder, phase: Phase) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            let reason = "a part of firedrill panicked, which is a bug".to_owned();
            recorder.event(Event::Broken { phase, reason });
        }
    }
}

struct Files {
    history: File,
    events: File,
    encoder: HistoryEncoder,
    lines: Vec<u8>,
    flushed: RunTime,
}

impl Files {
    /// Ends when every sender is gone. After an error it goes on taking messages, so that senders never block.
    fn write_all(mut self, receiver: &Receiver<Message>, trouble: &Trouble) {
        let mut failed = false;
        while let Some(message) = next(receiver) {
            let deed = matches!(&message, Message::Event(stamped) if is_deed(&stamped.event));
            let now = self.take(message);
            let due = now.is_some_and(|now| now.since(self.flushed) >= FLUSH_EVERY);
            if failed || !(due || deed) {
                continue;
            }
            self.flushed = now.unwrap_or(self.flushed);
            failed = self.flush(trouble).is_err();
        }
        let written = if failed { Err(()) } else { self.flush(trouble) };
        if written.is_ok() {
            let synced = self.history.sync_all().and_then(|()| self.events.sync_all());
            // What went wrong is in `trouble`, which the run reads at its end.
            let (Ok(()) | Err(())) = note(trouble, synced);
        }
    }

    fn take(&mut self, message: Message) -> Option<RunTime> {
        match message {
            Message::Call(call) => {
                self.encoder.push(&call);
                call.completed.as_ref().map(|(at, _)| *at)
            }
            Message::Event(stamped) => {
                self.lines.extend(serde_json::to_vec(&stamped).unwrap_or_default());
                self.lines.push(b'\n');
                Some(stamped.at)
            }
            Message::Tick(at) => Some(at),
        }
    }

    fn flush(&mut self, trouble: &Trouble) -> Result<(), ()> {
        let lines = std::mem::take(&mut self.lines);
        note(trouble, self.events.write_all(&lines))?;
        match self.encoder.take_block() {
            Some(block) => note(trouble, self.history.write_all(&block)),
            None => Ok(()),
        }
    }
}

/// The next message; `None` when every sender is gone. Rests before it waits for one.
fn next(receiver: &Receiver<Message>) -> Option<Message> {
    match receiver.try_recv() {
        Ok(message) => Some(message),
        Err(TryRecvError::Disconnected) => None,
        Err(TryRecvError::Empty) => {
            std::thread::park_timeout(REST);
            receiver.recv().ok()
        }
    }
}

/// What was done to the cluster reaches the disk at once: it is what a killed run is asked for first.
const fn is_deed(event: &Event) -> bool {
    matches!(
        event,
        Event::FaultOnset { .. }
            | Event::StepApplied { .. }
            | Event::StepProof { .. }
            | Event::StepReverted { .. }
            | Event::HealFailed { .. }
    )
}

fn note(trouble: &Trouble, result: io::Result<()>) -> Result<(), ()> {
    result.map_err(|error| {
        *trouble.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    })
}
