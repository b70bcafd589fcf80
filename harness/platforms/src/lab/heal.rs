//! Healing after agents that are gone: those that act on this host, and those of a lab that lives on without one. The
//! agent's own program does it, inside the lab where there is one; see `firedrill_agent::heal`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

pub use firedrill_agent::heal::Told;
use firedrill_agent::heal::{ARGUMENT, Job};
pub use firedrill_agent::protocol::TAG;
use firedrill_core::cluster::NodeName;
use firedrill_sys::{dirs, launch, namespaces};

use super::init::home_path;
use super::records::{Purpose, Record, labs_dir, list};
use super::wire::{CONFIG_FILE, JOURNAL_FOLDER, JOURNALS, LabConfig};
use super::{clocks, doing, preflight};

/// The first argument by which this program knows that it is to heal inside a running lab; its id and a tag follow.
pub const INSIDE: &str = "__lab-heal";

/// The folder of journals of the agents of a lab.
pub fn journals_of(run_id: &str) -> PathBuf {
    labs_dir().join(run_id).join(JOURNAL_FOLDER)
}

/// Undoes what agents that are gone left on this host, of tags that begin with `tag`: what bears our tag. No agent keeps a
/// journal here: those of the lab keep theirs in it, and end with it.
pub fn heal_host(tag: &str) -> io::Result<Vec<Told>> {
    let Ok(program) = agent() else {
        // Where there is no agent's program, no agent has left anything.
        return Ok(Vec::new());
    };
    let job = Job {
        tag: tag.to_owned(),
        journals: Vec::new(),
        folders: Vec::new(),
        everywhere: dirs::is_root(),
        prefix: String::new(),
    };
    run(&program, &job)
}

/// Labs that live on without a harness, by id.
pub fn left_running() -> Vec<String> {
    list().into_iter().filter(|record| record.purpose == Purpose::Up).map(|record| record.run_id).collect()
}

/// Undoes what agents that are gone left inside the running lab `run_id`, of tags that begin with `tag`. The lab lives on.
pub fn heal_lab(run_id: &str, tag: &str) -> io::Result<Vec<Told>> {
    let output = launch::own_output(&[INSIDE, run_id, tag].map(OsStr::new))?;
    read(&output)
}

/// What the program does when its first argument is [`INSIDE`]: heals, and prints what was told. Must be called before any
/// thread is started.
pub fn print_inside() -> io::Result<Vec<Told>> {
    let mut args = std::env::args().skip(2);
    let (Some(run_id), Some(tag)) = (args.next(), args.next()) else { return Err(io::Error::other("no lab")) };
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("no lab {run_id} is running"));
    let record: Record = list().into_iter().find(|record| record.run_id == run_id).ok_or_else(not_found)?;
    let init = record.init.ok_or_else(not_found)?;
    let text =
        std::fs::read(labs_dir().join(&run_id).join(CONFIG_FILE)).map_err(doing("read the lab's configuration"))?;
    let config: LabConfig = serde_json::from_slice(&text).map_err(io::Error::other)?;
    let folders = |node: &NodeName| [clocks::folder(node.as_str()), home_path(node.as_str())];
    let job = Job {
        tag,
        journals: vec![JOURNALS.into()],
        folders: config.nodes.iter().flat_map(|node| folders(&node.name)).collect(),
        everywhere: false,
        prefix: prefix(init.pid),
    };
    let program = agent()?;
    // All are opened first: once inside the first, the outer /proc may be closed to us.
    let open = |kind: &&str| File::open(format!("/proc/{}/ns/{kind}", init.pid)).map_err(doing("open the lab"));
    let user: &[&str] = if dirs::is_root() { &[] } else { &["user"] };
    let opened = [user, &["pid", "mnt", "net"]].concat().iter().map(open).collect::<io::Result<Vec<File>>>()?;
    for namespace in &opened {
        namespaces::enter(namespace.as_fd()).map_err(doing("enter the lab"))?;
    }
    run(&program, &job)
}

/// What a person puts before a command to be inside the lab of that init.
pub(super) fn prefix(init: i32) -> String {
    let user = if dirs::is_root() { "" } else { "--user --preserve-credentials " };
    format!("nsenter --target {init} {user}--pid --mount --net ")
}

fn agent() -> io::Result<PathBuf> {
    preflight::find_agent().map_err(|missing| io::Error::other(format!("{} ({})", missing.what, missing.remedy)))
}

fn run(program: &std::path::Path, job: &Job) -> io::Result<Vec<Told>> {
    let text = serde_json::to_string(job).map_err(io::Error::other)?;
    read(&launch::output_of(program, &[ARGUMENT, &text].map(OsStr::new))?)
}

/// One line for each thing; no line, and a failure, is a program that could not even begin.
fn read(output: &std::process::Output) -> io::Result<Vec<Told>> {
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other));
    let told = told.collect::<io::Result<Vec<Told>>>()?;
    if told.is_empty() && !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(told)
}
