//! What is shown while a run goes on. The run never waits for the terminal: lines go through a bounded queue to a thread
//! that writes them, and what does not fit is counted and said.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use firedrill_engine::observe::{Observer, Progress};

use crate::output;
use crate::terminal::Terminal;

mod live;
mod plain;
mod words;

#[cfg(test)]
mod tests;

/// Things that may wait for a slow terminal.
const QUEUE: usize = 4096;

/// Turns progress into what is written. Pure: the same progress gives the same bytes.
trait Painter: Send {
    /// What to write for one thing; empty for what is not shown.
    fn paint(&mut self, progress: &Progress) -> String;
    /// What to write when nothing more comes.
    fn finish(&mut self) -> String;
}

/// An observer that writes to standard output.
pub(crate) struct Console {
    sender: Mutex<Option<SyncSender<Progress>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    dropped: AtomicU64,
}

impl Console {
    /// A live block on a terminal, plain lines elsewhere.
    pub(crate) fn open(terminal: Terminal) -> Self {
        let mut painter: Box<dyn Painter> = if terminal.live {
            Box::new(live::Live::new(terminal))
        } else {
            Box::new(plain::Plain::new(terminal.style))
        };
        let (sender, receiver) = sync_channel(QUEUE);
        let writing = std::thread::Builder::new().name("console".into()).spawn(move || write(&receiver, &mut *painter));
        // Without a thread nothing is shown; the run is as good without.
        Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(writing.ok()), dropped: AtomicU64::new(0) }
    }

    /// Writes what is still waiting and takes the live block away. Nothing is shown afterwards.
    pub(crate) fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            output::error("the live display ended early; the run did not\n");
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            output::print(&format!("{dropped} things were not shown because the terminal was too slow\n"));
        }
    }
}

impl Observer for Console {
    fn show(&self, progress: &Progress) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let full = sender.as_ref().is_some_and(|sender| sender.try_send(progress.clone()).is_err());
        if full && !matches!(progress, Progress::Tick(_)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(receiver: &Receiver<Progress>, painter: &mut dyn Painter) {
    while let Ok(progress) = receiver.recv() {
        let text = painter.paint(&progress);
        if !text.is_empty() {
            output::print(&text);
        }
    }
    output::print(&painter.finish());
}
