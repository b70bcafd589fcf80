//! Faults as pure decisions: a view of the cluster and a seeded stream to a timed plan of actions.
//!
//! Nothing here touches the world, reads a clock or draws without the stream it is handed. A new fault is one file and
//! one line in [`FAULTS`]; its example is parsed by a test, and the listing, the docs and "did you mean" follow from it.

use firedrill_core::fault::FaultEntry;

pub mod clock;
pub mod disk;
pub mod net;
pub mod node;
pub mod process;
pub mod resource;
mod words;

/// Every fault, in alphabetical order.
pub static FAULTS: &[FaultEntry] = &[
    clock::drift::ENTRY,
    clock::jump::ENTRY,
    clock::skew::ENTRY,
    clock::strobe::ENTRY,
    disk::corrupt::ENTRY,
    disk::error::ENTRY,
    disk::freeze::ENTRY,
    disk::full::ENTRY,
    disk::latency::ENTRY,
    disk::lost_fsync::ENTRY,
    disk::read_only::ENTRY,
    disk::stall::ENTRY,
    disk::throttle::ENTRY,
    disk::torn_write::ENTRY,
    net::bandwidth::ENTRY,
    net::corrupt::ENTRY,
    net::dns::ENTRY,
    net::duplicate::ENTRY,
    net::half_open::ENTRY,
    net::jitter::ENTRY,
    net::latency::ENTRY,
    net::loss::ENTRY,
    net::partition::ENTRY,
    net::refuse::ENTRY,
    net::reorder::ENTRY,
    net::reset::ENTRY,
    node::crash::ENTRY,
    node::power_loss::ENTRY,
    node::rolling_restart::ENTRY,
    node::stop::ENTRY,
    process::kill::ENTRY,
    process::oom::ENTRY,
    process::pause::ENTRY,
    process::restart_loop::ENTRY,
    resource::cpu::ENTRY,
    resource::fds::ENTRY,
    resource::io::ENTRY,
    resource::memory::ENTRY,
    resource::pids::ENTRY,
];
