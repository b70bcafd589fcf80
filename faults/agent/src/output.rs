//! The agent's standard output, written by a thread of its own: an owner that does not read must not hold up a deadline.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firedrill_sys::clock;

use crate::log::say;
use crate::protocol::{Answer, Line, Notice};

/// Lines waiting to be written; more are dropped, and logged.
const QUEUE: usize = 1024;
/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where answers and notices go.
#[derive(Clone, Debug)]
pub struct Output {
    lines: SyncSender<Option<Line>>,
    writer: std::sync::Arc<JoinHandle<()>>,
}

impl Output {
    /// Starts the thread that writes.
    pub fn start() -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let writer = thread::Builder::new().name("output".to_owned()).spawn(move || write_lines(&queue))?;
        Ok(Self { lines, writer: std::sync::Arc::new(writer) })
    }

    /// Answers a request.
    pub fn answer(&self, id: u64, answer: Answer) {
        self.put(Line::Answer { id, answer });
    }

    /// Says something unasked.
    pub fn notice(&self, notice: Notice) {
        self.put(Line::Notice(notice));
    }

    fn put(&self, line: Line) {
        if let Err(error) = self.lines.try_send(Some(line)) {
            say(&format!("an answer was dropped, because nobody reads: {error}"));
        }
    }

    /// Waits until all is written, but not for an owner that does not read.
    pub fn finish(self) {
        if self.lines.try_send(None).is_ok() {
            let written = clock::until(PATIENCE, Duration::from_millis(1), || self.writer.is_finished().then_some(()));
            if written.is_none() {
                say("the last answers were not read");
            }
        }
    }
}

fn write_lines(queue: &Receiver<Option<Line>>) {
    let mut stdout = io::stdout();
    while let Ok(Some(line)) = queue.recv() {
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            stdout.write_all(&bytes)?;
            stdout.flush()
        });
        if let Err(error) = written {
            say(&format!("writing failed: {error}"));
            break;
        }
    }
}
