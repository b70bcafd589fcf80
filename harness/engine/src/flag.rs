//! A flag that is raised once and can be waited for. Waiters wake in the order in which they began to wait: tokio's `watch`
//! wakes them in an order drawn at random, which would make simulated runs differ.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Flag {
    raised: AtomicBool,
    changed: Notify,
}

impl Flag {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    pub(crate) async fn raised(&self) {
        let mut changed = std::pin::pin!(self.changed.notified());
        // Registered before the look, so that a raise in between is not missed.
        changed.as_mut().enable();
        if !self.is_raised() {
            changed.await;
        }
    }
}
