//! The owner's side of the agent: asks over any pair of streams, renews the lease, and puts the agent's times into the
//! run's. It must not know how the agent was started.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firedrill_agent::protocol::{Answer, Ask, Config, Line, MAX_LINE, Notice, Refusal, RefusalKind, Request, VERSION};
use firedrill_core::action::{Action, Applied, Effect, Presence, Reverted, Undo};
use firedrill_core::platform::{DeedError, Inventory};
use firedrill_core::time::{Clock, RunTime};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// How long the agent may take for what needs no waiting on its side.
const QUICK: Duration = Duration::from_secs(5);
/// How long for what waits for processes to stop, end or start.
const SLOW: Duration = Duration::from_secs(20);
/// Pings at the beginning, to learn the offset between the clocks.
const PINGS: u32 = 8;
/// Notices kept until they are taken.
const NOTICES: usize = 1024;
/// Requests on their way to the agent.
const QUEUE: usize = 64;

/// A connection to an agent. Dropping it closes the agent's standard input, which undoes everything it holds.
pub struct AgentClient {
    shared: Arc<Shared>,
    /// Aborted when this is dropped.
    tasks: JoinSet<()>,
    tag_prefix: String,
    next_tag: AtomicU64,
    cut_by: String,
}

/// What the tasks of a connection have in common.
struct Shared {
    clock: Clock,
    outgoing: mpsc::Sender<Request>,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    next_id: AtomicU64,
    died: watch::Sender<Option<String>>,
    notices: Mutex<VecDeque<Notice>>,
    offset: Mutex<Option<Offset>>,
}

/// How far the run's clock is ahead of the agent's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Offset {
    /// Run time minus `CLOCK_BOOTTIME`, in nanoseconds.
    nanos: i128,
    /// Half of the round trip it was measured by: the largest possible error.
    error: Duration,
}

impl Offset {
    /// From the agent's time, read somewhere between `asked` and `answered`.
    fn measured(boottime: u64, asked: RunTime, answered: RunTime) -> Self {
        let half = answered.since(asked) / 2;
        let middle = asked.plus(half);
        Self { nanos: i128::from(middle.as_nanos()) - i128::from(boottime), error: half }
    }

    /// Whether `newer` is to replace it: it is closer, or the two contradict each other (the machine was suspended).
    fn gives_way_to(self, newer: Self) -> bool {
        let apart = self.nanos.abs_diff(newer.nanos);
        newer.error <= self.error || apart > self.error.as_nanos() + newer.error.as_nanos()
    }

    /// A moment of the agent's clock in the run's time; moments before the run are its start.
    fn run_time(self, boottime: u64) -> RunTime {
        let nanos = (i128::from(boottime) + self.nanos).max(0);
        RunTime::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl AgentClient {
    /// Says hello over the agent's standard input (`write`) and output (`read`), measures the offset between the clocks,
    /// and begins to renew the lease. Must be called inside a tokio runtime.
    pub async fn connect(
        read: impl AsyncRead + Unpin + Send + 'static,
        write: impl AsyncWrite + Unpin + Send + 'static,
        config: Config,
        clock: Clock,
    ) -> Result<Self, DeedError> {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            clock,
            outgoing,
            pending: Mutex::default(),
            next_id: AtomicU64::new(1),
            died: watch::Sender::new(None),
            notices: Mutex::default(),
            offset: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(write_all(queue, write));
        tasks.spawn(read_all(Arc::clone(&shared), read));
        let tag_prefix = config.tag_prefix.clone();
        let lease = Duration::from_nanos(config.lease_nanos);
        let mut client = Self { shared, tasks, tag_prefix, next_tag: AtomicU64::new(1), cut_by: String::new() };
        let answer = client.shared.ask(Ask::Hello { version: VERSION, config }, QUICK).await?;
        let Answer::Hello { cut_by, .. } = answer else { return Err(unexpected("hello", &answer)) };
        client.cut_by = cut_by;
        for _ in 0..PINGS {
            client.shared.measure(Ask::Ping).await?;
        }
        client.tasks.spawn(renew(Arc::clone(&client.shared), lease / 3));
        Ok(client)
    }

    /// What cuts are made with on this host: `nft table of family bridge, owned by the agent's socket`.
    pub fn cut_by(&self) -> &str {
        &self.cut_by
    }

    /// Reads what undoing the action takes, under a fresh tag.
    pub async fn prepare(&self, action: &Action) -> Result<Undo, DeedError> {
        let tag = format!("{}{}", self.tag_prefix, self.next_tag.fetch_add(1, Ordering::Relaxed));
        let answer = self.shared.ask(Ask::Prepare { tag, action: action.clone() }, QUICK).await?;
        if let Answer::Prepared(undo) = answer { Ok(undo) } else { Err(unexpected("prepare", &answer)) }
    }

    /// Performs the action; the agent reverts it by itself after `hold`.
    pub async fn apply(&self, undo: &Undo, hold: Option<Duration>) -> Result<Applied, DeedError> {
        let hold_nanos = hold.map(|hold| u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX));
        let answer = self.shared.ask(Ask::Apply { undo: undo.clone(), hold_nanos }, SLOW).await?;
        if let Answer::Applied { from } = answer {
            let offset = self.shared.offset()?;
            Ok(Applied { from: offset.run_time(from), error: offset.error })
        } else {
            Err(unexpected("apply", &answer))
        }
    }

    /// Undoes the action; fine if never, half or already done.
    pub async fn revert(&self, undo: &Undo) -> Result<Reverted, DeedError> {
        let answer = self.shared.ask(Ask::Revert { undo: undo.clone() }, SLOW).await?;
        if let Answer::Reverted { held, by } = answer {
            let offset = self.shared.offset()?;
            let held = held.map(|held| (offset.run_time(held.from), offset.run_time(held.to)));
            Ok(Reverted { held, by: by.to_string() })
        } else {
            Err(unexpected("revert", &answer))
        }
    }

    /// Looks for the effect of the action; [`Presence::Unknown`] with the reason if that cannot be done.
    pub async fn probe(&self, undo: &Undo) -> Effect {
        let unknown = |evidence: String| Effect { presence: Presence::Unknown, evidence };
        match self.shared.ask(Ask::Probe { undo: undo.clone() }, SLOW).await {
            Ok(Answer::Probed(effect)) => effect,
            Ok(other) => unknown(unexpected("probe", &other).to_string()),
            Err(error) => unknown(with_source(&error)),
        }
    }

    /// Lists what a fault could leave behind: `nft` tables and `process-stopped`.
    pub async fn inventory(&self) -> Result<Inventory, DeedError> {
        let answer = self.shared.ask(Ask::Inventory, QUICK).await?;
        if let Answer::Inventory(inventory) = answer { Ok(inventory) } else { Err(unexpected("inventory", &answer)) }
    }

    /// Has the agent revert everything and exit. Fine if it is already gone.
    pub async fn bye(&self) -> Result<(), DeedError> {
        if self.shared.died.borrow().is_some() {
            return Ok(());
        }
        let answer = self.shared.ask(Ask::Bye, SLOW).await?;
        if let Answer::Bye = answer { Ok(()) } else { Err(unexpected("bye", &answer)) }
    }

    /// Waits until the agent is gone and says why; forever if it stays. Cancel-safe.
    pub async fn died(&self) -> String {
        let mut died = self.shared.died.subscribe();
        loop {
            if let Some(why) = died.borrow_and_update().clone() {
                return why;
            }
            if died.changed().await.is_err() {
                return "the connection was dropped".to_owned();
            }
        }
    }

    /// Why the agent is gone, if it is.
    pub fn death(&self) -> Option<String> {
        self.shared.died.borrow().clone()
    }

    /// What the agent did by itself since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        lock(&self.shared.notices).drain(..).collect()
    }
}

impl Shared {
    /// Asks and waits for the answer, at most `limit`. A refusal is an error.
    async fn ask(&self, ask: Ask, limit: Duration) -> Result<Answer, DeedError> {
        if let Some(why) = self.died.borrow().clone() {
            return Err(DeedError::Agent(why));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.pending).insert(id, sender);
        let deadline = self.clock.instant(self.clock.now().plus(limit));
        let answered = tokio::time::timeout_at(deadline, async {
            if self.outgoing.send(Request { id, ask }).await.is_err() {
                return Err("its standard input is closed".to_owned());
            }
            receiver
                .await
                .map_err(|_| self.died.borrow().clone().unwrap_or_else(|| "the connection was closed".to_owned()))
        })
        .await;
        lock(&self.pending).remove(&id);
        match answered {
            Ok(Ok(Answer::Refused(refusal))) => Err(refused(refusal)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(DeedError::Agent(why)),
            Err(_) => Err(DeedError::Agent(format!("no answer within {}", firedrill_core::units::human(limit)))),
        }
    }

    /// Asks for the agent's time and improves the offset by it.
    async fn measure(&self, ask: Ask) -> Result<(), DeedError> {
        let asked = self.clock.now();
        let answer = self.ask(ask, QUICK).await?;
        let answered = self.clock.now();
        let (Answer::Pong { boottime } | Answer::Renewed { boottime }) = answer else {
            return Err(unexpected("ping", &answer));
        };
        let newer = Offset::measured(boottime, asked, answered);
        let mut offset = lock(&self.offset);
        if offset.is_none_or(|older| older.gives_way_to(newer)) {
            *offset = Some(newer);
        }
        Ok(())
    }

    fn offset(&self) -> Result<Offset, DeedError> {
        lock(&self.offset).ok_or_else(|| DeedError::Agent("it never told its time".to_owned()))
    }

    /// Takes one line of the agent.
    fn receive(&self, line: &str) -> Result<(), String> {
        match serde_json::from_str(line).map_err(|error| format!("it said something unreadable: {error}"))? {
            Line::Answer { id, answer } => {
                // Nobody waits any more for an answer that comes after its deadline.
                if let Some(waiting) = lock(&self.pending).remove(&id) {
                    drop(waiting.send(answer));
                }
            }
            Line::Notice(notice) => {
                let mut notices = lock(&self.notices);
                if notices.len() == NOTICES {
                    notices.pop_front();
                }
                notices.push_back(notice);
            }
        }
        Ok(())
    }
}

/// Writes requests until there are no more or the agent does not read.
async fn write_all(mut queue: mpsc::Receiver<Request>, mut write: impl AsyncWrite + Unpin) {
    while let Some(request) = queue.recv().await {
        let Ok(mut line) = serde_json::to_vec(&request) else { break };
        line.push(b'\n');
        let written = async {
            write.write_all(&line).await?;
            write.flush().await
        };
        if written.await.is_err() {
            break;
        }
    }
}

/// Reads the agent's lines until they end, then lets everybody who waits know.
async fn read_all(shared: Arc<Shared>, read: impl AsyncRead + Unpin) {
    let mut read = BufReader::new(read);
    let why = loop {
        match next_line(&mut read).await {
            Ok(Some(line)) => {
                if let Err(why) = shared.receive(&line) {
                    break why;
                }
            }
            Ok(None) => break "it ended".to_owned(),
            Err(error) => break format!("reading from it failed: {error}"),
        }
    };
    shared.died.send_replace(Some(why));
    lock(&shared.pending).clear();
}

/// The next line, of at most [`MAX_LINE`] bytes; `None` at the end.
async fn next_line(read: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    if read.take(limit).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
    }
    String::from_utf8(line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Renews the lease until the agent is gone. A renewal that fails is tried again at the next turn.
async fn renew(shared: Arc<Shared>, interval: Duration) {
    while shared.died.borrow().is_none() {
        shared.clock.sleep(interval).await;
        // An agent that is gone or stuck is seen by `read_all` and by whoever asks next.
        drop(shared.measure(Ask::Renew).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(refusal: Refusal) -> DeedError {
    let Refusal { kind, what, errno } = refusal;
    match kind {
        RefusalKind::NoTarget => DeedError::NoTarget(what),
        RefusalKind::NotOffered => DeedError::NotOffered(what),
        RefusalKind::Version | RefusalKind::Malformed | RefusalKind::Order => DeedError::Agent(what),
        RefusalKind::System => {
            let source = errno.map_or_else(|| io::Error::other("refused"), io::Error::from_raw_os_error);
            DeedError::System { what, source }
        }
    }
}

fn unexpected(asked: &str, answer: &Answer) -> DeedError {
    DeedError::Agent(format!("it answered {answer:?} to {asked}"))
}

fn with_source(error: &DeedError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
