//! Ctrl-C and SIGTERM: the first asks the run to heal, judge what there is and end; the second asks it to skip everything
//! but healing. Nothing makes it skip healing.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

/// How often a person has asked the run to stop.
#[derive(Clone)]
pub struct Interrupts {
    count: Arc<watch::Sender<u32>>,
}

impl Default for Interrupts {
    fn default() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }
}

impl Interrupts {
    /// Asks once more.
    pub fn raise(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// How often so far.
    pub fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Waits until it was asked at least `times` times.
    pub async fn reached(&self, times: u32) {
        let mut receiver = self.count.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        if receiver.wait_for(|count| *count >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Turns SIGINT and SIGTERM into interrupts for the rest of the process's life, on a thread of its own: also between
    /// repeats and while reports are written.
    pub fn install(&self) -> io::Result<()> {
        let listener = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listener.listen()))?;
        Ok(())
    }

    async fn listen(self) {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => self.raise(),
                _ = terminate.recv() => self.raise(),
            }
        }
    }
}
