//! The socket by which harms are asked for. A harm is in force from its answer until its connection ends, whoever ends it,
//! or its deadline has passed; then what it holds goes on at once.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use firedrill_core::harm::{DiskHarm, DiskOp, DiskTarget};
use firedrill_sys::{clock, process};
use fuser::{INodeNo, Notifier};
use serde::{Deserialize, Serialize};

use super::harms::{Active, Harms};
use super::loss::{Gone, Torn};
use super::operations::Operations;
use super::places::Parts;
use super::tree::Inode;
use crate::log::say;
use crate::planes;

/// Connections at once, at most.
const MOST: usize = 128;
/// How often it looks whether the owner of a harm is dying.
const LOOK: Duration = Duration::from_millis(250);

/// What is asked, one JSON line a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// A harm, for as long as the connection lives.
    Harm {
        /// The tag of the action.
        tag: String,
        /// What is harmed.
        target: DiskTarget,
        /// How.
        how: DiskHarm,
        /// What chance is drawn from.
        seed: u64,
        /// When it ends by itself, in nanoseconds of `CLOCK_BOOTTIME`; it never begins later.
        deadline: Option<u64>,
    },
    /// How often a harm has bitten.
    Count {
        /// Its tag.
        tag: String,
    },
    /// What is in force.
    List,
    /// The node has lost its power: what was not synced is gone, and every operation fails.
    PowerLost,
    /// It has power again.
    PowerBack,
    /// What the kernel remembers of the data of a target may no longer be so.
    Forget {
        /// Which.
        target: DiskTarget,
    },
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// The harm is in force.
    InForce {
        /// Since when, in nanoseconds of `CLOCK_BOOTTIME`.
        from: u64,
    },
    /// How often a harm has bitten.
    Counted {
        /// Operations of servers.
        harmed: u64,
        /// Operations on our own files.
        own: u64,
        /// How long it has been in force, in nanoseconds.
        age_nanos: u64,
    },
    /// What is in force.
    Listed {
        /// The tag of each, and the process whose connection it lasts as long as; 0 before that is known.
        held: Vec<(String, i32)>,
    },
    /// So much was taken back.
    Lost {
        /// In bytes.
        bytes: u64,
        /// In how many files.
        files: u64,
    },
    /// It is done.
    Done,
    /// It was not done, or there is no such harm.
    Refused {
        /// Why.
        why: String,
    },
}

/// Asks a disk; the connection, which keeps a harm in force, and the answer.
pub fn ask(socket: &Path, order: &Order) -> io::Result<(UnixStream, Reply)> {
    planes::ask(socket, order)
}

/// Who answers.
#[derive(Clone)]
pub(crate) struct Desk {
    below: Arc<Operations>,
    harms: Arc<Harms>,
    targets: Vec<Parts>,
    notifier: Notifier,
    connected: Arc<AtomicUsize>,
    /// Who holds a harm, by its number.
    owners: Arc<Mutex<BTreeMap<u64, i32>>>,
}

/// Answers on a thread of its own.
pub(super) fn listen(listener: UnixListener, desk: Desk) -> io::Result<()> {
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let desk = desk.clone();
            if desk.connected.fetch_add(1, Ordering::Relaxed) >= MOST {
                desk.connected.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let connected = Arc::clone(&desk.connected);
            let spawned = thread::Builder::new().name("harm".to_owned()).spawn(move || {
                if let Err(error) = desk.serve(&stream) {
                    say(&format!("disk: {error}"));
                }
                desk.connected.fetch_sub(1, Ordering::Relaxed);
            });
            if spawned.is_err() {
                connected.fetch_sub(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok(())
}

impl Desk {
    pub(super) fn new(below: Arc<Operations>, harms: Arc<Harms>, targets: Vec<Parts>, notifier: Notifier) -> Self {
        Self { below, harms, targets, notifier, connected: Arc::default(), owners: Arc::default() }
    }

    fn serve(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(planes::PATIENCE))?;
        stream.set_write_timeout(Some(planes::PATIENCE))?;
        let mut line = String::new();
        let longest = u64::try_from(planes::LONGEST).unwrap_or(u64::MAX);
        BufReader::new(stream.take(longest)).read_line(&mut line)?;
        let refused = |why: String| Reply::Refused { why };
        let reply = match serde_json::from_str(&line) {
            Ok(Order::Harm { tag, target, how, seed, deadline }) => {
                let parts = Parts::of(target.path.as_deref());
                let everything = Parts::of(None);
                if how.bites_at_power_loss() && self.below.loss().is_none() {
                    refused("this disk cannot lose its power".to_owned())
                } else if self.targets.contains(&parts) || self.targets.contains(&everything) {
                    let in_time = planes::in_time(deadline).map_err(|error| error.to_string());
                    match in_time.and_then(|()| self.harms.add(tag, target, how, seed)) {
                        Ok(harm) => return self.hold(stream, &harm, deadline.unwrap_or(u64::MAX)),
                        Err(why) => refused(why),
                    }
                } else {
                    refused(format!("this disk was not started to harm {target}"))
                }
            }
            Ok(Order::Count { tag }) => self.count(&tag),
            Ok(Order::List) => Reply::Listed { held: self.held() },
            Ok(Order::PowerLost) => self.power_lost(),
            Ok(Order::PowerBack) => {
                self.below.regain_power();
                Reply::Done
            }
            Ok(Order::Forget { target }) => {
                self.forget(&Parts::of(target.path.as_deref()));
                Reply::Done
            }
            Err(error) => refused(format!("not an order: {error}")),
        };
        planes::tell(stream, &reply)
    }

    /// Keeps a harm in force until the other end is gone or the deadline has passed.
    fn hold(&self, mut stream: &UnixStream, harm: &Arc<Active>, deadline: u64) -> io::Result<()> {
        let from = clock::boottime_nanos();
        let reads = |op: DiskOp| op == DiskOp::Read;
        let of_reads = if harm.target.ops.is_empty() {
            harm.how.usual_ops().iter().copied().any(reads)
        } else {
            harm.target.ops.iter().copied().any(reads)
        };
        if of_reads {
            self.forget_later(harm.parts.clone());
        }
        let answered = planes::tell(stream, &Reply::InForce { from });
        if answered.is_ok() {
            let peer = process::peer(stream).unwrap_or(0);
            self.owners().insert(harm.id, peer);
            let mut left = Duration::from_nanos(deadline.saturating_sub(clock::boottime_nanos()));
            // Nothing more is said on it: what comes is its end, or the deadline. A killed owner that waits for this very
            // disk cannot close it, because the kernel has it wait until the harm is over.
            while !left.is_zero() && !process::is_dying(peer) {
                stream.set_read_timeout(Some(left.min(LOOK)))?;
                match stream.read(&mut [0]) {
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Ok(_) | Err(_) => break,
                }
                left = Duration::from_nanos(deadline.saturating_sub(clock::boottime_nanos()));
            }
        }
        self.harms.remove(harm.id);
        self.owners().remove(&harm.id);
        if harm.how.bites_at_power_loss() {
            self.make_safe(&harm.tag);
        }
        if harm.how == DiskHarm::CorruptRead {
            self.forget_later(harm.parts.clone());
        }
        answered
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<u64, i32>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> Vec<(String, i32)> {
        let owners = self.owners();
        let all = self.harms.all();
        all.iter().map(|harm| (harm.tag.clone(), owners.get(&harm.id).copied().unwrap_or(0))).collect()
    }

    /// Brings to the disk what a harm that has ended kept from it.
    fn make_safe(&self, tag: &str) {
        if let Some(mut loss) = self.below.loss() {
            loss.forget_lasts();
            if let Err(error) = loss.sync_swallowed() {
                say(&format!("disk: {tag}: syncing what was not: {error}"));
            }
        }
    }

    fn count(&self, tag: &str) -> Reply {
        let all = self.harms.all();
        let Some(harm) = all.iter().find(|harm| harm.tag == tag) else {
            return Reply::Refused { why: format!("{tag} is not in force") };
        };
        let count = harm.count();
        if harm.how == DiskHarm::LostFsync && self.below.loss().is_some_and(|loss| loss.is_full()) {
            return Reply::Refused { why: "more was written than a loss of power could take back".to_owned() };
        }
        let age_nanos = u64::try_from(count.age.as_nanos()).unwrap_or(u64::MAX);
        Reply::Counted { harmed: count.harmed, own: count.own, age_nanos }
    }

    fn power_lost(&self) -> Reply {
        let all = self.harms.all();
        let tear = all.iter().find(|harm| harm.how == DiskHarm::TornWrite).map(|harm| harm.seed);
        match self.below.lose_power(tear) {
            Ok(Gone { bytes, numbers, torn }) => {
                for number in &numbers {
                    self.forget_one(*number);
                }
                let torn = torn.map(|torn| self.words(torn)).unwrap_or_default();
                say(&format!("disk: power lost, {bytes} bytes in {} files taken back{torn}", numbers.len()));
                Reply::Lost { bytes, files: u64::try_from(numbers.len()).unwrap_or(u64::MAX) }
            }
            Err(error) => Reply::Refused { why: error.to_string() },
        }
    }

    fn words(&self, torn: Torn) -> String {
        let Torn { number, offset, length, left } = torn;
        let place = self.below.tree.get(number).map(|inode| self.below.tree.place(&inode)).unwrap_or_default();
        let path: PathBuf = place.iter().collect();
        format!("; of {length} bytes written at {offset} of {} the first {left} are there", path.display())
    }

    /// Has the kernel read a target's data from us again.
    fn forget(&self, parts: &Parts) {
        let covered = |inode: &Arc<Inode>| parts.cover(&self.below.tree.place(inode));
        for inode in self.below.tree.all().iter().filter(|inode| covered(inode)) {
            self.forget_one(inode.number);
        }
    }

    fn forget_one(&self, number: u64) {
        // The kernel may know nothing of it, and then has nothing to forget.
        drop(self.notifier.inval_inode(INodeNo(number), 0, 0));
    }

    /// On a thread of its own: the kernel waits for operations that another harm may hold.
    fn forget_later(&self, parts: Parts) {
        let desk = self.clone();
        let spawned = thread::Builder::new().name("forget".to_owned()).spawn(move || desk.forget(&parts));
        if let Err(error) = spawned {
            say(&format!("disk: what the kernel remembers stays: {error}"));
        }
    }
}
