//! Tagged datagrams between network namespaces: whether packets really pass, without asking what would stop them.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

use crate::clock;

/// Datagrams sent for each direction.
pub const DATAGRAMS: usize = 3;
/// Time between two datagrams of one direction.
const SPACING: Duration = Duration::from_millis(4);
/// How long after the last was sent one may still arrive.
const PATIENCE: Duration = Duration::from_millis(300);

/// Something to do in a namespace, or why it cannot be entered.
type Errand = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Makes sockets in one network namespace. A socket belongs to the namespace of the thread that made it, so one thread
/// stays in there for as long as this exists; the sockets themselves may be used by any thread.
#[derive(Debug)]
pub struct SocketMaker {
    errands: Sender<Errand>,
}

impl SocketMaker {
    /// Enters the namespace that a file is. Errors are told by what is then asked for.
    pub fn start(netns: PathBuf) -> io::Result<Self> {
        let (errands, incoming) = channel();
        thread::Builder::new().name("sockets".to_owned()).spawn(move || run_errands(&netns, &incoming))?;
        Ok(Self { errands })
    }

    /// A UDP socket bound to `address` and a free port.
    pub fn udp(&self, address: Ipv4Addr) -> io::Result<UdpSocket> {
        self.inside(move || UdpSocket::bind(SocketAddrV4::new(address, 0)))
    }

    /// Does something inside the namespace. It must not wait: other errands do.
    pub fn inside<T: Send + 'static>(&self, make: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let gone = || io::Error::other("the thread in the namespace has ended");
        let (reply, answer) = sync_channel(1);
        let errand = move |entered: io::Result<()>| {
            // Whoever asked waits below; if it does not, nobody misses the answer.
            drop(reply.send(entered.and_then(|()| make())));
        };
        self.errands.send(Box::new(errand)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

fn run_errands(netns: &PathBuf, errands: &Receiver<Errand>) {
    let entered = File::open(netns).and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?));
    for errand in errands {
        errand(match &entered {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot enter {}: {error}", netns.display()))),
        });
    }
}

/// One direction to be tried: sockets at both ends.
#[derive(Debug)]
pub struct Direction {
    sender: UdpSocket,
    receiver: UdpSocket,
    to: SocketAddr,
}

impl Direction {
    /// From a socket in the sender's namespace to one in the receiver's.
    pub fn new(sender: UdpSocket, receiver: UdpSocket) -> io::Result<Self> {
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        let to = receiver.local_addr()?;
        Ok(Self { sender, receiver, to })
    }
}

/// Sends [`DATAGRAMS`] along each direction at the same time; how many arrived, or why they could not be sent.
/// `tag` makes them recognisable in a capture, and with the time of sending unlike all others.
pub fn try_directions(directions: &[Direction], tag: &str) -> Vec<io::Result<usize>> {
    let nonce = clock::boottime_nanos();
    let payload = |direction: usize, number: usize| format!("{tag} {nonce} {direction} {number}").into_bytes();
    let mut results: Vec<io::Result<usize>> = directions.iter().map(|_| Ok(0)).collect();
    for number in 0..DATAGRAMS {
        for (index, direction) in directions.iter().enumerate() {
            if let Err(error) = direction.sender.send_to(&payload(index, number), direction.to) {
                results[index] = Err(error);
            }
        }
        gather(directions, &payload, &mut results, SPACING);
    }
    gather(directions, &payload, &mut results, PATIENCE);
    results
}

/// Counts what arrives within `limit`; returns early when nothing more can.
fn gather(
    directions: &[Direction],
    payload: &impl Fn(usize, usize) -> Vec<u8>,
    results: &mut [io::Result<usize>],
    limit: Duration,
) {
    let mut buffer = [0; 512];
    clock::until(limit, Duration::ZERO, || {
        for (index, direction) in directions.iter().enumerate() {
            // Non-blocking: ends when nothing is there. What others send to this port is not counted.
            while let Ok(length) = direction.receiver.recv(&mut buffer) {
                let ours = (0..DATAGRAMS).any(|number| buffer.get(..length) == Some(&payload(index, number)));
                if let (true, Ok(count)) = (ours, &mut results[index]) {
                    *count += 1;
                }
            }
        }
        let done = results.iter().all(|result| result.as_ref().map_or(true, |count| *count >= DATAGRAMS));
        if !done {
            wait_for_any(directions);
        }
        done.then_some(())
    });
}

/// Waits until something is there, at most two milliseconds.
fn wait_for_any(directions: &[Direction]) {
    let mut waits: Vec<PollFd<'_>> =
        directions.iter().map(|direction| PollFd::new(direction.receiver.as_fd(), PollFlags::POLLIN)).collect();
    let _cut_short = poll(&mut waits, PollTimeout::from(2_u8)).is_err();
}
