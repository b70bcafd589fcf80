//! The harness's end of the lab: asks init, and hears what it notices.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::platform::Incident;
use firedrill_sys::pass;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::wire::{Ask, Count, Request, Tell};

/// How long init may take to answer; it never waits itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the lab's network and mounts may take to be made.
const BUILD_PATIENCE: Duration = Duration::from_secs(60);

/// An answer: what was counted, and descriptors.
type Answer = Result<(Count, Vec<OwnedFd>), String>;

#[derive(Debug)]
struct Pending {
    next_id: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    gone: bool,
}

/// What came of knocking at the door of a lab.
pub(super) enum Knock {
    /// It is entered.
    Entered(Control),
    /// It cannot be entered yet; why.
    Later(String),
}

/// A connection to a lab's init. When it is dropped the lab ends, unless detached.
#[derive(Debug)]
pub(super) struct Control {
    socket: Arc<UnixStream>,
    pending: Arc<Mutex<Pending>>,
    /// Aborted when this is dropped.
    _reader: JoinSet<()>,
}

impl Control {
    /// Waits until the lab is built, then listens. Incidents go to `incidents`.
    pub(super) async fn connect(socket: OwnedFd, incidents: mpsc::UnboundedSender<Incident>) -> io::Result<Self> {
        // A stream by its type only: whole messages are read and written through `pass`, never bytes.
        let socket = Arc::new(UnixStream::from_std(StdStream::from(socket))?);
        let first = tokio::time::timeout(BUILD_PATIENCE, receive(&socket)).await;
        match first.map_err(|_| io::Error::other("the lab's network was not ready in time"))?? {
            Some((Tell::Ready, _)) => {}
            Some((Tell::Failed { what }, _)) => return Err(io::Error::other(what)),
            Some((other, _)) => return Err(io::Error::other(format!("unexpected {other:?}"))),
            None => return Err(io::Error::other("the lab's init ended at once; see lab.log in the run's folder")),
        }
        Ok(Self::listen(socket, incidents))
    }

    /// Enters a lab that lives on without a harness, if it may be entered. Fails when another run uses it.
    pub(super) async fn knock(socket: OwnedFd, incidents: mpsc::UnboundedSender<Incident>) -> io::Result<Knock> {
        let socket = Arc::new(UnixStream::from_std(StdStream::from(socket))?);
        let first = tokio::time::timeout(PATIENCE, receive(&socket)).await;
        match first.map_err(|_| io::Error::other("the lab's init does not answer"))?? {
            Some((Tell::Ready, _)) => Ok(Knock::Entered(Self::listen(socket, incidents))),
            Some((Tell::Occupied { what, ends: true }, _)) => Ok(Knock::Later(what)),
            Some((Tell::Occupied { what, ends: false }, _)) => Err(io::Error::other(what)),
            Some((other, _)) => Err(io::Error::other(format!("unexpected {other:?}"))),
            None => Err(gone()),
        }
    }

    fn listen(socket: Arc<UnixStream>, incidents: mpsc::UnboundedSender<Incident>) -> Self {
        let pending = Arc::new(Mutex::new(Pending { next_id: 1, waiting: BTreeMap::new(), gone: false }));
        let mut reader = JoinSet::new();
        reader.spawn(read_all(Arc::clone(&socket), Arc::clone(&pending), incidents));
        Self { socket, pending, _reader: reader }
    }

    /// Asks init, sending descriptors along, and waits for the answer.
    pub(super) async fn ask(&self, ask: Ask, fds: &[BorrowedFd<'_>]) -> io::Result<(Count, Vec<OwnedFd>)> {
        let (answer, receiver) = oneshot::channel();
        let id = {
            let mut pending = lock(&self.pending);
            if pending.gone {
                return Err(gone());
            }
            let id = pending.next_id;
            pending.next_id += 1;
            pending.waiting.insert(id, answer);
            id
        };
        let bytes = serde_json::to_vec(&Request { id, ask }).map_err(io::Error::other)?;
        self.socket.async_io(Interest::WRITABLE, || pass::send(self.socket.as_fd(), &bytes, fds)).await?;
        let answered = tokio::time::timeout(PATIENCE, receiver).await;
        let answered = answered.map_err(|_| io::Error::other("the lab's init does not answer"))?;
        answered.map_err(|_| gone())?.map_err(io::Error::other)
    }

    /// Tells init something to which there is no answer.
    pub(super) async fn say(&self, ask: Ask) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Request { id: 0, ask }).map_err(io::Error::other)?;
        self.socket.async_io(Interest::WRITABLE, || pass::send(self.socket.as_fd(), &bytes, &[])).await
    }
}

async fn receive(socket: &UnixStream) -> io::Result<Option<(Tell, Vec<OwnedFd>)>> {
    match socket.async_io(Interest::READABLE, || pass::receive(socket.as_fd())).await? {
        Some(message) => Ok(Some((serde_json::from_slice(&message.bytes).map_err(io::Error::other)?, message.fds))),
        None => Ok(None),
    }
}

/// Hears init until it is gone. Incidents are unbounded by type only: init sends one for each end of a process it
/// started, and starts none by itself.
async fn read_all(socket: Arc<UnixStream>, pending: Arc<Mutex<Pending>>, incidents: mpsc::UnboundedSender<Incident>) {
    let mut detail = "the lab's init is gone, and everything of the lab with it".to_owned();
    loop {
        let (id, answer) = match receive(&socket).await {
            Ok(Some((Tell::Done { id, count }, fds))) => (id, Ok((count, fds))),
            Ok(Some((Tell::Refused { id, why }, _))) => (id, Err(why)),
            Ok(Some((Tell::UnitExited { node, unit, status }, _))) => {
                // Nobody to hear it means that the platform is being dropped.
                drop(incidents.send(Incident::UnitExited { node, unit, status }));
                continue;
            }
            Ok(Some((Tell::AgentExited { status }, _))) => {
                drop(incidents.send(Incident::AgentDied { detail: status }));
                continue;
            }
            Ok(Some((Tell::DiskExited { node, status }, _))) => {
                let detail = format!("its process that serves the disk of {node} ended: {status}");
                drop(incidents.send(Incident::AgentDied { detail }));
                continue;
            }
            Ok(Some((Tell::NamesExited { status }, _))) => {
                drop(incidents.send(Incident::AgentDied { detail: format!("its name server ended: {status}") }));
                continue;
            }
            Ok(Some((Tell::Ready | Tell::Failed { .. } | Tell::Occupied { .. }, _))) => continue,
            Ok(None) => break,
            Err(error) => {
                detail = format!("the lab's init cannot be heard: {error}");
                break;
            }
        };
        let waiting = lock(&pending).waiting.remove(&id);
        // An asker that has given up is gone, and descriptors sent to it are closed here.
        drop(waiting.map(|waiting| waiting.send(answer)));
    }
    let mut pending = lock(&pending);
    pending.gone = true;
    pending.waiting.clear();
    drop(incidents.send(Incident::AgentDied { detail }));
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the lab is gone")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
