//! Syncs begun early. Databases write to a log and sync it, again and again; a server that has slept while its write was
//! passed through may wait for its turn on a processor before it can ask for the sync. Where a file has been written and
//! synced like that, the sync begins as soon as the write is answered, and the request for it, when it comes, waits for
//! what is left of it, or for nothing. To sync more than was asked for is always allowed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firedrill_sys::clock;

use super::operations::Open;

/// After so many writes in a row that were each synced at once, the next is expected to be.
const LIKELY: u8 = 2;

/// How a request for a sync is answered.
type Answer = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The changes and syncs of a file.
#[derive(Default)]
pub(super) struct Early(Mutex<State>);

#[derive(Default)]
struct State {
    /// Changes of the file's data begun so far, and those of them that have ended.
    begun: u64,
    ended: u64,
    /// The open file of the last change, if that was a write, and nobody asked for a sync since.
    writer: Option<u64>,
    /// Writes in a row that were each synced at once, all by the same kind of sync.
    streak: u8,
    only_data: bool,
    ahead: Option<Ahead>,
    /// The error of an early sync that nobody has asked for yet, by open file.
    failed: BTreeMap<u64, i32>,
}

impl State {
    fn covers(&self, open: u64, only_data: bool) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| {
            (ahead.open, ahead.only_data) == (open, only_data)
                && (self.begun, self.ended) == (ahead.covers, ahead.covers)
                && ahead.asked.is_none()
        })
    }
}

/// A sync begun early.
struct Ahead {
    open: u64,
    only_data: bool,
    /// The changes begun, and ended, when it began.
    covers: u64,
    over: bool,
    asked: Option<Answer>,
}

impl std::fmt::Debug for Early {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Early").finish_non_exhaustive()
    }
}

impl Early {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the file's data by `change`, which may be a write through an open file.
    pub(super) fn change(&self, writer: Option<u64>, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.begins();
        let result = change();
        self.ended(writer.filter(|_| result.is_ok()));
        result
    }

    /// A change is about to be made.
    fn begins(&self) {
        let mut state = self.state();
        state.begun += 1;
        if state.writer.take().is_some() {
            state.streak = 0;
        }
        if state.ahead.as_ref().is_some_and(|ahead| ahead.over) {
            state.ahead = None;
        }
    }

    /// It was made; by a write through that open file, if it was one.
    fn ended(&self, writer: Option<u64>) {
        let mut state = self.state();
        state.ended += 1;
        state.writer = writer;
    }

    /// Whether the write that has just ended should be synced before anybody asks, and if so, by which kind of sync. Then
    /// it is, and [`Early::over`] must follow.
    fn expects(&self, open: u64) -> Option<bool> {
        let mut state = self.state();
        let settled = state.writer == Some(open) && state.begun == state.ended;
        let expects = settled && state.streak >= LIKELY && state.ahead.is_none();
        expects.then(|| {
            let (only_data, covers) = (state.only_data, state.begun);
            state.ahead = Some(Ahead { open, only_data, covers, over: false, asked: None });
            only_data
        })
    }

    /// An early sync has ended; answers who asked for it meanwhile.
    fn over(&self, result: io::Result<()>) {
        let mut state = self.state();
        let Some(ahead) = state.ahead.take() else { return };
        match (ahead.asked, result) {
            (Some(answer), result) => {
                drop(state);
                answer(result);
            }
            (None, Ok(())) if ahead.covers == state.begun => {
                state.ahead = Some(Ahead { over: true, asked: None, ..ahead });
            }
            (None, Ok(())) => {}
            (None, Err(error)) => {
                state.failed.insert(ahead.open, error.raw_os_error().unwrap_or(firedrill_sys::files::EIO));
            }
        }
    }

    /// A sync is asked for: `answer` is given at once or when an early sync that covers all changes has ended; or comes
    /// back, when the sync has yet to be made.
    pub(super) fn asked<A>(&self, open: u64, only_data: bool, answer: A) -> Option<A>
    where
        A: FnOnce(io::Result<()>) + Send + 'static,
    {
        let mut state = self.state();
        if state.writer.take() == Some(open) {
            state.streak = if only_data == state.only_data { state.streak.saturating_add(1) } else { 1 };
            state.only_data = only_data;
        }
        if let Some(error) = state.failed.remove(&open) {
            drop(state);
            answer(Err(io::Error::from_raw_os_error(error)));
            return None;
        }
        let fits = state.covers(open, only_data);
        let Some(ahead) = state.ahead.as_mut().filter(|_| fits) else { return Some(answer) };
        if ahead.over {
            state.ahead = None;
            drop(state);
            answer(Ok(()));
        } else {
            ahead.asked = Some(Box::new(answer));
        }
        None
    }

    /// Whether such a request would find an early sync that covers all changes.
    pub(super) fn covers(&self, open: u64, only_data: bool) -> bool {
        self.state().covers(open, only_data)
    }

    /// The open file is no more.
    pub(super) fn closed(&self, open: u64) {
        self.state().failed.remove(&open);
    }
}

/// Syncs a file if that is expected after the write that has just been answered; how long it took.
pub(super) fn sync(number: u64, open: &Arc<Open>) -> Option<Duration> {
    let early = &open.inode.early;
    let only_data = early.expects(number)?;
    let begun = clock::boottime_nanos();
    let result = if only_data { open.file.sync_data() } else { open.file.sync_all() };
    let took = Duration::from_nanos(clock::boottime_nanos().saturating_sub(begun));
    early.over(result);
    Some(took)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, TryRecvError, channel};

    use firedrill_sys::files;

    use super::super::operations::{Operations, Power, Twist};
    use super::super::tree::{ROOT, Tree};
    use super::*;

    /// A write through an open file.
    fn write(early: &Early, open: u64) {
        early.begins();
        early.ended(Some(open));
    }

    /// Asks for a sync; what the answer was, or `None` if it must yet be made.
    fn ask(early: &Early, open: u64, only_data: bool) -> Option<Receiver<io::Result<()>>> {
        let (sender, receiver) = channel();
        early.asked(open, only_data, move |result| sender.send(result).unwrap()).is_none().then_some(receiver)
    }

    /// A file that open file 1 has written to and synced often.
    fn habit() -> Early {
        let early = Early::default();
        for _ in 0..LIKELY {
            write(&early, 1);
            assert_eq!(early.expects(1), None);
            assert!(ask(&early, 1, true).is_none());
        }
        write(&early, 1);
        early
    }

    #[test]
    fn a_sync_begun_early_answers_the_next_request_once() {
        let early = habit();
        assert_eq!(early.expects(1), Some(true));
        early.over(Ok(()));
        assert!(ask(&early, 1, true).unwrap().try_recv().unwrap().is_ok());
        assert!(ask(&early, 1, true).is_none());
    }

    #[test]
    fn a_request_waits_for_what_is_left() {
        let early = habit();
        assert_eq!(early.expects(1), Some(true));
        let answer = ask(&early, 1, true).unwrap();
        assert!(matches!(answer.try_recv(), Err(TryRecvError::Empty)));
        early.over(Err(io::Error::from_raw_os_error(files::ENOSPC)));
        assert_eq!(answer.try_recv().unwrap().unwrap_err().raw_os_error(), Some(files::ENOSPC));
        assert!(ask(&early, 1, true).is_none());
    }

    #[test]
    fn what_an_early_sync_does_not_cover_is_synced() {
        type Change = fn(&Early);
        let later: [(&str, Change); 4] = [
            ("another write", |early| write(early, 1)),
            ("a write that has not ended", Early::begins),
            ("a change of the length", |early| {
                early.begins();
                early.ended(None);
            }),
            ("the same by another", |early| write(early, 2)),
        ];
        for (what, change) in later {
            for over_before in [true, false] {
                let early = habit();
                assert_eq!(early.expects(1), Some(true));
                if over_before {
                    early.over(Ok(()));
                }
                change(&early);
                assert!(ask(&early, 1, true).is_none(), "{what}");
                if !over_before {
                    early.over(Ok(()));
                    assert!(ask(&early, 1, true).is_none(), "{what}");
                }
            }
        }
        let early = habit();
        assert_eq!(early.expects(1), Some(true));
        early.over(Ok(()));
        assert!(ask(&early, 2, true).is_none(), "another open file");
        assert!(ask(&early, 1, false).is_none(), "another kind of sync");
    }

    #[test]
    fn only_a_habit_is_expected() {
        let early = habit();
        early.begins();
        early.ended(Some(1));
        assert_eq!(early.expects(1), None, "two writes without a sync between them");
        let early = habit();
        early.begins();
        assert_eq!(early.expects(1), None, "a change under way");
        let early = habit();
        assert!(ask(&early, 1, true).is_none());
        assert_eq!(early.expects(1), None, "asked for already");
    }

    #[test]
    fn an_error_nobody_asked_for_is_told_once_to_the_same_open_file() {
        let early = habit();
        assert_eq!(early.expects(1), Some(true));
        early.over(Err(io::Error::from_raw_os_error(files::EIO)));
        write(&early, 1);
        assert!(ask(&early, 2, true).is_none());
        assert_eq!(ask(&early, 1, true).unwrap().try_recv().unwrap().unwrap_err().raw_os_error(), Some(files::EIO));
        assert!(ask(&early, 1, true).is_none());
    }

    #[test]
    fn a_loss_of_power_takes_back_what_was_synced_early_and_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log"), [b'.'; 8]).unwrap();
        let tree = Arc::new(Tree::new(files::pin(folder.path()).unwrap()).unwrap());
        let (inode, _) = tree.meet(&tree.get(ROOT).unwrap(), "log".as_ref()).unwrap();
        let file = files::reopen(&inode.pinned, files::O_RDWR).unwrap();
        let below = Arc::new(Operations::new(tree, Some(Power::new())));
        let open = below.keep(file, Arc::clone(&inode), None);
        for offset in 0..6 {
            below.write(open, offset, b"x", &Twist::default()).unwrap();
            below.sync_early(open);
            let (sender, receiver) = channel();
            if offset < 5 {
                below.sync(open, true, &Twist::default(), move |done| sender.send(done).unwrap());
                receiver.recv().unwrap().unwrap();
            }
        }
        assert!(inode.early.state().ahead.as_ref().is_some_and(|ahead| ahead.over), "it was synced early");
        below.lose_power(None).unwrap();
        assert_eq!(std::fs::read(folder.path().join("log")).unwrap(), b"xxxxx...");
    }
}
