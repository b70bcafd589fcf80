//! A trial of a disk: a process of its own does to a file of ours what servers do to theirs, and says what came of it. It
//! may come to a halt in the kernel for as long as the disk is stalled, which would keep an agent's thread, and with it
//! the harm, for good; on its own it goes on when the disk does, and removes its file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use firedrill_core::harm::DiskOp;
use firedrill_sys::{clock, files};
use serde::{Deserialize, Serialize};

/// The argument by which the program becomes a trial. A [`Trial`] as JSON follows.
pub const ARGUMENT: &str = "disk-trial";

/// How seldom a rare harm is tried with a sync of what was written.
const SELDOM: u64 = 50;

/// What is tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The file; nothing is there yet.
    pub file: PathBuf,
    /// The operations that matter. Others are done as far as these need them.
    pub ops: BTreeSet<DiskOp>,
    /// How often.
    pub rounds: u64,
    /// For no longer than this, in nanoseconds, unless it is halted.
    pub nanos: u64,
    /// How much is written and read at once.
    pub bytes: usize,
    /// Whether many tries count for more than whole ones: then what is written is not synced each time, and what is
    /// synced not written.
    pub rare: bool,
}

/// What is said, one JSON line each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// It begins an operation.
    Begins(DiskOp),
    /// It has ended.
    Ended {
        /// Which operation.
        op: DiskOp,
        /// How long it took.
        nanos: u64,
        /// The error's number.
        errno: Option<i32>,
        /// Whether something else was read than had been written.
        wrong: bool,
    },
    /// All is tried.
    Done,
}

/// Is a trial.
pub fn run(trial: &str) -> io::Result<()> {
    let trial: Trial = serde_json::from_str(trial)?;
    let begun = clock::boottime_nanos();
    let mut hands = Hands { other: trial.file.with_extension("b"), file: None, trial };
    for round in 0..hands.trial.rounds {
        hands.round(round)?;
        if clock::boottime_nanos().saturating_sub(begun) >= hands.trial.nanos {
            break;
        }
    }
    drop(hands.file.take());
    remove(&hands.trial.file);
    remove(&hands.other);
    say(&Said::Done)
}

/// What cannot be removed is left to the next trial that asks, and to the lab's end.
fn remove(path: &Path) {
    drop(fs::remove_file(path));
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}

struct Hands {
    trial: Trial,
    other: PathBuf,
    file: Option<File>,
}

impl Hands {
    fn wants(&self, op: DiskOp) -> bool {
        self.trial.ops.contains(&op)
    }

    /// Does one operation and says what came of it. What somebody does who is told otherwise is no concern of ours, so
    /// that errors of one operation do not end the trial.
    fn act(&self, op: DiskOp, work: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let concerns = self.wants(op);
        if concerns {
            say(&Said::Begins(op))?;
        }
        let begun = clock::boottime_nanos();
        let result = work();
        let nanos = clock::boottime_nanos().saturating_sub(begun);
        if concerns {
            let errno = result.as_ref().err().map(|error| error.raw_os_error().unwrap_or(files::EIO));
            let wrong = result.as_ref().is_ok_and(|right| !right);
            say(&Said::Ended { op, nanos, errno, wrong })?;
        }
        Ok(result.is_ok())
    }

    fn round(&mut self, round: u64) -> io::Result<()> {
        let path = self.trial.file.clone();
        if self.file.is_none() {
            let mut made = None;
            self.act(DiskOp::Create, || {
                made = Some(files::create(&path, 0o644)?);
                Ok(true)
            })?;
            self.file = made;
        }
        let length = u64::try_from(self.trial.bytes).map_err(io::Error::other)?;
        let data = vec![u8::try_from(round % 251).unwrap_or(0) | 1; self.trial.bytes];
        let offset = (round % 16) * length;
        // Where none can be made there is none to do anything else with: that it is not there would be all it shows.
        let Some(file) = &self.file else { return Ok(()) };
        let again = self.trial.rare && !round.is_multiple_of(SELDOM);
        let written = if again && !self.wants(DiskOp::Write) && !self.wants(DiskOp::Read) {
            false
        } else {
            self.act(DiskOp::Write, || file.write_all_at(&data, offset).map(|()| true))?
        };
        if self.wants(DiskOp::Fsync) && !(again && written) {
            self.act(DiskOp::Fsync, || file.sync_data().map(|()| true))?;
        }
        if self.wants(DiskOp::Read) && written {
            self.act(DiskOp::Read, || {
                let mut back = vec![0; data.len()];
                files::open_direct(&path)?.read_exact_at(&mut back, offset)?;
                Ok(back == data)
            })?;
        }
        if self.wants(DiskOp::Truncate) {
            self.act(DiskOp::Truncate, || file.set_len(offset + length + 1).map(|()| true))?;
        }
        if self.wants(DiskOp::Open) {
            self.act(DiskOp::Open, || files::open_direct(&path).map(|_| true))?;
        }
        if self.wants(DiskOp::Rename) {
            self.act(DiskOp::Rename, || fs::rename(&path, &self.other).map(|()| true))?;
            // Back, so that the name by which it is known stays the same.
            drop(fs::rename(&self.other, &path));
        }
        if self.wants(DiskOp::Unlink) || self.wants(DiskOp::Create) {
            self.act(DiskOp::Unlink, || fs::remove_file(&path).map(|()| true))?;
            self.file = None;
        }
        Ok(())
    }
}
