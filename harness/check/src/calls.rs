//! Small questions about calls that several checks ask.

use std::time::Duration;

use firedrill_core::history::{Call, Op, Route};
use firedrill_core::record::Recorded;
use firedrill_core::time::RunTime;

/// Whether the call writes what checks count. Making the ledger is setup and does not count.
pub(crate) fn is_write(call: &Call) -> bool {
    match &call.op {
        Op::Insert { .. } => true,
        Op::Txn(steps) => steps.iter().any(|step| step.writes()),
        Op::CreateLedger | Op::CreateStore { .. } | Op::Scan => false,
    }
}

/// Writes that go as applications' do.
pub(crate) fn router_writes(run: &Recorded) -> impl Iterator<Item = &Call> {
    run.calls.iter().filter(|call| is_write(call) && call.route == Route::Router)
}

/// When writes were acknowledged through the router, ascending.
pub(crate) fn router_acks(run: &Recorded) -> Vec<RunTime> {
    let mut acks: Vec<RunTime> = router_writes(run).filter_map(Call::acked).collect();
    acks.sort_unstable();
    acks
}

/// When the last write through the router came due: from then on silence says nothing.
pub(crate) fn last_due(run: &Recorded) -> Option<RunTime> {
    router_writes(run).map(|call| call.due).max()
}

/// A count as a figure.
pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A count as a figure.
pub(crate) fn number64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The value below or at which `percent` of the sorted values lie, by nearest rank (the smallest value whose rank is at
/// least `percent` of the count). `None` for no values.
pub(crate) fn nearest_rank<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The median, by nearest rank, of values in any order.
pub(crate) fn median(mut spans: Vec<Duration>) -> Option<Duration> {
    spans.sort_unstable();
    nearest_rank(&spans, 50)
}
