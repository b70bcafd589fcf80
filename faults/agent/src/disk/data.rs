//! What is done with the data of open files, by whichever way the request came.

use firedrill_core::harm::DiskOp;
use fuser::INodeNo;

use super::passing::{About, Passing};
use super::replies::{End, Give, Written, give_data, give_end};

/// A file that is open: its number, and that of having opened it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Of {
    pub(super) number: INodeNo,
    pub(super) open: u64,
}

impl Passing {
    pub(super) fn read_data(&self, Of { number, open }: Of, offset: u64, size: u32, reply: impl Give) {
        let about = About { bytes: u64::from(size), ..About::new(DiskOp::Read, number) };
        self.through(about, None, &|| false, reply, move |below, twist, reply| {
            give_data(reply, below.read(open, offset, size, twist));
        });
    }

    /// Whether a sync may be begun early now, as soon as the answer has been given.
    pub(super) fn write_data(&self, Of { number, open }: Of, offset: u64, reply: impl Written) -> bool {
        let bytes = u64::try_from(reply.data().len()).unwrap_or(u64::MAX);
        let about = About { bytes, ..About::new(DiskOp::Write, number) };
        let quiet = self.harms.none();
        let grows = || self.needs_room(open, offset.saturating_add(bytes));
        self.through(about, None, &grows, reply, move |below, twist, reply| {
            match below.write(open, offset, reply.data(), twist) {
                Ok(written) => reply.written(written),
                Err(error) => reply.refuse(error.into()),
            }
        });
        quiet
    }

    pub(super) fn sync_data(&self, Of { number, open }: Of, only_data: bool, reply: impl End) {
        let about = About { slow: !self.below.is_syncing(open, only_data), ..About::new(DiskOp::Fsync, number) };
        self.through(about, None, &|| false, reply, move |below, twist, reply| {
            below.sync(open, only_data, twist, |done| give_end(reply, done));
        });
    }
}
