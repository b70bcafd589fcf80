//! The disk: a process of its own that serves a node's home as a file system, passes everything through to the folder
//! below, and harms what it is asked to harm, for exactly as long as whoever asked stays connected.
//!
//! It is started before the servers are and ends with the lab. Everything that fails dirty is kept out of the agent that
//! way: when the agent dies its connections close, and the disk goes back to passing through.

mod attributes;
mod backing;
pub mod control;
mod data;
mod early;
mod folders;
mod harms;
mod held;
mod length;
mod loss;
mod operations;
mod passing;
pub(crate) mod places;
mod relay;
mod replies;
mod ring;
mod serve;
mod tree;
pub mod trial;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firedrill_sys::{files, mounts, process};
use fuser::{Config, Session, SessionACL};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::log::say;
use harms::Harms;
pub(crate) use harms::draw;
use operations::{Operations, Power};
use passing::{Passing, Way};
use places::Parts;
use ring::Rings;
use tree::Tree;

/// The argument by which the program becomes a disk. A [`Setting`] as JSON follows.
pub const ARGUMENT: &str = "disk";
/// What a disk prints once it serves.
pub const READY: &str = "ready";
/// What the names of our own files begin with, by which probes try the disk. Their operations are counted apart, so that
/// looking at a fault does not use it up.
pub const OWN_FILE: &str = ".fd-";
/// Threads that take requests. None of them ever waits for a harm to end; what may take long, but for writes, is done by
/// others, and at most one of them syncs early.
const THREADS: usize = 2;

/// What a disk is to serve. Paths are as seen where it is started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The folder it passes through to.
    pub raw: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// The socket it listens on for harms.
    pub socket: PathBuf,
    /// What may be harmed, as in `DiskTarget`; `None` is everything. All else is left to the kernel, where it can
    /// pass through by itself.
    pub targets: Vec<Option<String>>,
    /// Whether it can lose its power: then it keeps what was overwritten and not synced, and passes everything itself.
    pub power: bool,
}

/// Why a disk could not serve.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct DiskError {
    what: String,
    #[source]
    source: io::Error,
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> DiskError {
    let what = what.into();
    move |source| DiskError { what: format!("{what}: {source}"), source }
}

/// Is a disk, until its mount is gone.
pub fn run(setting: &str) -> Result<(), DiskError> {
    let setting: Setting = serde_json::from_str(setting).map_err(|error| doing("read the setting")(error.into()))?;
    files::raise_open_files().map_err(doing("raise the limit of open files"))?;
    files::clear_umask();
    // A kernel's file system waits for nobody's turn: each operation would be late by two. Where it is not permitted, as to
    // an ordinary user, or where control groups divide real time, servers wait somewhat longer for their disk.
    drop(process::precede_others().or_else(|_| process::prefer_self()));
    let raw = files::pin(&setting.raw).map_err(doing(setting.raw.display().to_string()))?;
    let listener = UnixListener::bind(&setting.socket).map_err(doing(setting.socket.display().to_string()))?;
    let device = mounts::fuse_device().map_err(doing("open /dev/fuse"))?;
    mounts::fuse(&device, &setting.at).map_err(doing(format!("mount at {}", setting.at.display())))?;
    serve(raw, device, listener, &setting).map_err(doing("serve"))
}

fn serve(raw: File, device: File, listener: UnixListener, setting: &Setting) -> io::Result<()> {
    let tree = Arc::new(Tree::new(raw)?);
    let harms = Arc::new(Harms::start()?);
    let targets: Vec<Parts> = setting.targets.iter().map(|path| Parts::of(path.as_deref())).collect();
    let below = Arc::new(Operations::new(tree, setting.power.then(Power::new)));
    let served = if setting.power { vec![Parts::of(None)] } else { targets.clone() };
    let mut passing = Passing::new(Arc::clone(&below), Arc::clone(&harms), served);
    let rings = Rings::prepare(&device, &passing).unwrap_or_else(|error| go_by_device(&error));
    let taken = Arc::new(AtomicBool::new(false));
    if rings.is_some() {
        passing.way = Way::Offered(Arc::clone(&taken));
    }
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let session = Session::from_fd(passing, device.into(), SessionACL::All, config)?;
    if let Some(rings) = rings.filter(|_| taken.load(Ordering::Relaxed)) {
        rings.begin().unwrap_or_else(|error| go_by_device(&error));
    }
    control::listen(listener, control::Desk::new(below, harms, targets, session.notifier()))?;
    say_ready()?;
    session.run()
}

/// Says why requests come by `/dev/fuse` although the kernel offers more.
fn go_by_device<T: Default>(error: &io::Error) -> T {
    say(&format!("requests come by /dev/fuse, not by io_uring: {error}"));
    T::default()
}

fn say_ready() -> io::Result<()> {
    use std::io::Write as _;
    let mut output = io::stdout();
    writeln!(output, "{READY}")?;
    output.flush()
}
