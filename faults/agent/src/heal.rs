//! Healing after agents that are gone, for `firedrill heal`: what holds effects for nobody is ended, what their journals tell
//! is undone, and what bears our tag is looked for. Everything is tried, whatever fails; whom a living agent serves is
//! spared. Its owner gives it a [`Job`] as its argument and reads one [`Told`] a line.

mod by_hand;
mod orphans;
pub(crate) mod tagged;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firedrill_core::action::Undo;
use firedrill_sys::clock;
use firedrill_sys::identity::{Identity, own_namespace};
use firedrill_sys::namespaces::{self, Kind};
use serde::{Deserialize, Serialize};

use crate::disk::trial;
use crate::journal::{self, Header, Leftover};
use crate::leftovers;
use crate::protocol::Refusal;
use crate::world::World;

/// The argument by which the program heals; a [`Job`] as JSON follows.
pub const ARGUMENT: &str = "heal";
/// How long a guard whose agent has just died may take to undo what that left.
const GUARD_PATIENCE: Duration = Duration::from_secs(20);
const LOOKS: Duration = Duration::from_millis(50);

/// What is to be healed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What the tags begin with: `fd-<run>-`, or [`crate::protocol::TAG`] for whatever is ours.
    pub tag: String,
    /// Folders of agents' journals.
    pub journals: Vec<PathBuf>,
    /// Folders in which files of ours may lie, a few levels deep.
    pub folders: Vec<PathBuf>,
    /// Whether tables of ours are looked for in every network namespace that can be found, not only in the caller's own.
    pub everywhere: bool,
    /// What a person puts before a command to be where the caller is: `nsenter --target 5 --pid --mount --net `, or nothing.
    pub prefix: String,
}

/// What was done, or could not be; one JSON line each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// An action is undone that a journal told of.
    Undone {
        /// Its tag.
        tag: String,
        /// What it was, in words.
        action: String,
    },
    /// Something of ours that no journal told of is gone.
    Removed {
        /// What, in words.
        what: String,
    },
    /// Something is still there.
    Left {
        /// What, in words.
        what: String,
        /// Why.
        why: String,
        /// The command that a person would type.
        remedy: String,
    },
    /// An agent lives, and is spared.
    Live {
        /// What its tags begin with.
        tag: String,
    },
}

/// Heals. Whether nothing is left.
pub fn run(job: &str) -> io::Result<bool> {
    let job: Job = serde_json::from_str(job)?;
    let mut clean = true;
    heal(&job, &mut |told| {
        clean &= !matches!(told, Told::Left { .. });
        // Whoever reads is gone when it cannot be written; what is left to do is done nevertheless.
        drop(serde_json::to_string(&told).map(|line| writeln!(io::stdout(), "{line}")));
    });
    Ok(clean)
}

/// Heals, and tells of each thing.
pub fn heal(job: &Job, tell: &mut (dyn FnMut(Told) + Send)) {
    let tries = |role: &str| role == trial::ARGUMENT;
    orphans::end(job, |role| !tries(role), tell);
    for folder in &job.journals {
        match journal::find(folder, &job.tag) {
            Ok(paths) => paths.iter().for_each(|path| heal_journal(job, path, tell)),
            Err(error) => tell(unread(folder, &error.to_string())),
        }
    }
    tagged::remove(job, tell);
    // Whoever tries a disk that is frozen or stalled can end only now; and it holds nothing.
    orphans::end(job, tries, tell);
}

fn unread(path: &Path, why: &str) -> Told {
    let path = path.display();
    Told::Left { what: format!("journal {path}"), why: why.to_owned(), remedy: format!("cat {path}; rm -r {path}") }
}

/// Undoes what one journal holds.
fn heal_journal(job: &Job, path: &Path, tell: &mut (dyn FnMut(Told) + Send)) {
    let taken = clock::until(GUARD_PATIENCE, LOOKS, || match Leftover::take(path) {
        Ok(None) => match journal::header(path) {
            // It is gone: somebody else was quicker, or nothing was applied.
            None => Some(Ok(None)),
            Some(header) if lives(&header) => {
                tell(Told::Live { tag: header.config.tag_prefix });
                Some(Ok(None))
            }
            // Its guard is at it.
            Some(_) => None,
        },
        taken => Some(taken),
    });
    match taken {
        Some(Ok(Some(mut leftover))) => undo(job, &mut leftover, tell),
        Some(Ok(None)) => {}
        Some(Err(error)) => tell(unread(path, &error.to_string())),
        None => tell(unread(path, "the guard of a dead agent has it, and does not end")),
    }
}

/// Whether the agent of a journal that somebody has locked is alive. One of another pid namespace cannot be looked at.
fn lives(header: &Header) -> bool {
    !header.knows_processes() || header.agent.is_some_and(Identity::is_alive)
}

fn undo(job: &Job, leftover: &mut Leftover, tell: &mut (dyn FnMut(Told) + Send)) {
    let header = leftover.header.clone();
    let place = Place::of(&header);
    let prefix = format!("{}{}", job.prefix, place.as_ref().map_or(String::new(), Place::prefix));
    let mut told = Vec::new();
    let undone = within(place.as_ref(), || {
        let world = World::of_leftovers(header.config.clone()).map_err(io::Error::other)?;
        let mut note = |undo: &Undo, result: &Result<(), Refusal>| told.push((undo.clone(), result.clone()));
        leftovers::undo_one(leftover, &world, &mut note);
        Ok(())
    });
    for (undo, result) in told {
        let (tag, action) = (undo.tag.clone(), undo.action.to_string());
        tell(match result {
            Ok(()) => Told::Undone { tag, action },
            Err(refusal) => Told::Left {
                what: format!("{action} ({tag})"),
                why: refusal.to_string(),
                remedy: by_hand::remedy(&header.config, &undo, &prefix),
            },
        });
    }
    if let Err(error) = undone {
        tell(unread(&leftover.path, &error.to_string()));
    }
}

/// The network namespace of an agent that is gone, when it is another one than the caller's and still there.
struct Place {
    path: PathBuf,
    open: File,
}

impl Place {
    fn of(header: &Header) -> Option<Self> {
        if own_namespace("net").is_ok_and(|own| own == header.network) {
            return None;
        }
        let path = namespaces::networks().remove(&header.network)?;
        // One that goes now takes everything with it.
        let open = File::open(&path).ok()?;
        Some(Self { path, open })
    }

    fn prefix(&self) -> String {
        format!("nsenter --net={} ", self.path.display())
    }
}

/// Does it in a place, and comes back.
fn within<T>(place: Option<&Place>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(place) = place else { return work() };
    let home: OwnedFd = namespaces::open_own(Kind::Net)?;
    namespaces::inside(place.open.as_fd(), &home, work)
}
