//! Requests by `io_uring`, where the kernel offers it: a thread for each processor takes what is asked there. What is done with
//! data it does, or has done, itself; all else is passed on.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use firedrill_sys::fuse_ring::{self, Asked, Queue};
use firedrill_sys::process;
use fuser::INodeNo;

use super::data::Of;
use super::held::Holds;
use super::passing::{Passing, Way};
use super::relay::Relay;
use super::serve::LARGEST_WRITE;
use crate::log;

/// More processors than this may have queues that take more than they give.
const MOST: u16 = 256;
/// Requests at once, of all queues; but of each at least, and at most, so many: stalled ones keep their places.
const PLACES: u16 = 2048;
const FEWEST: u16 = 64;
const MANY: u16 = 256;

/// `enum fuse_opcode` of `linux/fuse.h`.
const READ: u32 = 15;
const WRITE: u32 = 16;
const FSYNC: u32 = 20;
/// `FUSE_FSYNC_FDATASYNC`.
const ONLY_DATA: u32 = 1;

/// Threads with queues that the kernel does not know of yet.
pub(super) struct Rings {
    server: Arc<Server>,
    lanes: Vec<Lane>,
}

/// What a thread waits for, and what it says.
struct Lane {
    begin: SyncSender<Arc<Server>>,
    said: Receiver<io::Result<()>>,
}

/// What threads serve.
struct Server {
    passing: Passing,
    relay: Arc<Relay>,
}

impl Rings {
    /// Makes them, if the kernel offers it; an error if they cannot be had. Everything that can be missing is asked for here:
    /// once the kernel has been told of them, nobody is served without.
    pub(super) fn prepare(device: &File, passing: &Passing) -> io::Result<Option<Self>> {
        if fuse_ring::is_on() != Some(true) {
            return Ok(None);
        }
        let processors = fuse_ring::processors()?;
        if processors > MOST {
            return Err(io::Error::other(format!("{processors} processors are too many")));
        }
        let places = (PLACES / processors.max(1)).clamp(FEWEST, MANY);
        let device = Arc::new(device.try_clone()?);
        let lanes = (0..processors).map(|processor| Lane::start(&device, processor, places));
        let lanes = lanes.collect::<io::Result<_>>()?;
        let passing = Passing { way: Way::Queues(device), ..passing.share() };
        let relay = Relay::start(passing.share())?;
        let rings = Self { server: Arc::new(Server { passing, relay }), lanes };
        rings.hear()?;
        Ok(Some(rings))
    }

    /// What each thread says next: an error if one of them has failed.
    fn hear(&self) -> io::Result<()> {
        let all: Vec<_> = self.lanes.iter().map(|lane| lane.said.recv().map_err(io::Error::other).flatten()).collect();
        all.into_iter().collect()
    }

    /// Has the kernel send requests by them. If it refuses, it goes on by `/dev/fuse`.
    pub(super) fn begin(&self) -> io::Result<()> {
        for lane in &self.lanes {
            lane.begin.send(Arc::clone(&self.server)).map_err(io::Error::other)?;
        }
        self.hear()
    }
}

impl Lane {
    fn start(device: &Arc<File>, processor: u16, places: u16) -> io::Result<Self> {
        let ((begin, start), (say, said)) = (sync_channel(1), sync_channel(2));
        let device = Arc::clone(device);
        let thread = thread::Builder::new().name(format!("queue-{processor}"));
        thread.spawn(move || {
            let _alive = OrNobody;
            if let Err(error) = run(&device, (processor, places), &start, &say) {
                log::say(&format!("requests on processor {processor} can no longer be taken: {error}"));
                process::die();
            }
        })?;
        Ok(Self { begin, said })
    }
}

/// A queue that nobody serves would have all who ask there wait for ever: without one of its threads the process ends, and
/// whoever asks is told that the disk is gone.
struct OrNobody;

impl Drop for OrNobody {
    fn drop(&mut self) {
        if thread::panicking() {
            process::die();
        }
    }
}

/// Serves a queue until the file system is no more, or is told that there is nothing to serve.
fn run(
    device: &File,
    (processor, places): (u16, u16),
    start: &Receiver<Arc<Server>>,
    say: &SyncSender<io::Result<()>>,
) -> io::Result<()> {
    let payload = usize::try_from(LARGEST_WRITE).map_err(io::Error::other)?;
    let mut queue = match Queue::new(device, processor, places, payload) {
        Ok(queue) => queue,
        Err(error) => return say.send(Err(error)).or(Ok(())),
    };
    // Who hears no more has given up all of them.
    let (Ok(()), Ok(server)) = (say.send(Ok(())), start.recv()) else { return Ok(()) };
    let registered = queue.register();
    let refused = registered.is_err();
    if say.send(registered).is_err() || refused {
        return Ok(());
    }
    match serve(&mut queue, &server) {
        Err(error) if fuse_ring::is_gone(&error) => Ok(()),
        ended => ended,
    }
}

/// Takes requests until the file system is no more.
fn serve(queue: &mut Queue, server: &Server) -> io::Result<()> {
    loop {
        let written: Vec<u64> = queue.turn()?.into_iter().filter_map(|asked| server.take(asked)).collect();
        if !written.is_empty() {
            queue.give()?;
        }
        for open in written {
            let below = Arc::clone(&server.passing.below);
            if below.syncs_slowly() {
                server.passing.harms.held.add(Holds::default(), move || below.sync_early(open));
            } else {
                below.sync_early(open);
            }
        }
    }
}

impl Server {
    /// Takes a request; an open file that may be synced early as soon as the answer has been given.
    fn take(&self, asked: Asked) -> Option<u64> {
        let file = Of { number: INodeNo(asked.node()), open: asked.argument_long(0) };
        // `struct fuse_read_in`, `struct fuse_write_in`, `struct fuse_fsync_in`: behind the open file come where, or how.
        match asked.operation() {
            READ => {
                let (offset, size) = (asked.argument_long(8), asked.argument_word(16));
                self.passing.read_data(file, offset, size, asked);
            }
            WRITE => {
                let offset = asked.argument_long(8);
                return self.passing.write_data(file, offset, asked).then_some(file.open);
            }
            FSYNC => {
                let only_data = asked.argument_word(8) & ONLY_DATA != 0;
                self.passing.sync_data(file, only_data, asked);
            }
            _ => self.relay.pass(asked),
        }
        None
    }
}
