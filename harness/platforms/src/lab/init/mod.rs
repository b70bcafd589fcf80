//! The process that holds a lab, and the lab's init. The harness starts its own program again as the *holder*: a fresh
//! process with a single thread, which is what the kernel asks of whoever enters a user namespace. The holder forks
//! *init*, process 1 of the lab. When init ends, however it ends, the kernel ends every process, mount, link and rule of
//! the lab with it; the holder, which lives outside, then removes what lies on the host: data and control groups.

mod build;
mod disk;
mod healer;
mod names;
mod serve;
mod units;

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use firedrill_sys::children::{self, ChildEnds};
use firedrill_sys::identity::Identity;
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::spawn::{self, Forked};
use firedrill_sys::{cgroup, clock, dirs, pass};

pub(crate) use build::{INTERFACE, home_path, image_path, mounts_path, namespace_path, open_path};
pub(crate) use disk::{raw_path, socket_path};
pub(crate) use names::can_name;

use super::doing;
use super::preflight::trial;
use super::records::{self, Record};
use super::wire::{CONFIG_FILE, LabConfig, Tell};

/// The first argument by which a program that is asked to be a lab's holder knows it.
pub const ARGUMENT: &str = "__lab-init";
/// The second argument that asks for a trial of what a lab needs, instead of a lab's folder. A third says what
/// is to be tried, as JSON.
pub(crate) const TRIAL: &str = "trial";

/// How often it is looked whether init has ended.
const END_LOOKS: Duration = Duration::from_millis(5);

/// What a program does when its first argument is [`ARGUMENT`]: becomes a lab's holder, and with its child the lab's
/// init. Must be called before any thread is started.
pub fn main() -> ExitCode {
    let argument = std::env::args_os().nth(2).unwrap_or_default();
    let done = if argument == TRIAL { print_trial() } else { hold(&argument) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the lab's log. When that cannot be written nobody is left to tell.
            drop(writeln!(io::stderr(), "lab: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn print_trial() -> io::Result<()> {
    let asked = std::env::args().nth(3).unwrap_or_default();
    let text = serde_json::to_string(&trial::try_namespaces(&asked)).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{text}")
}

/// Holds the lab in the folder `lab_dir` until its init has ended, then removes what it leaves on the host.
fn hold(lab_dir: &OsString) -> io::Result<()> {
    let lab_dir = Path::new(lab_dir);
    spawn::leave_session()?;
    let harness = spawn::take_stdin()?;
    std::env::set_current_dir("/")?;
    let mut config = units::read_config(&lab_dir.join(CONFIG_FILE))?;
    let mut record = Record::read(lab_dir)?;
    record.holder = Identity::own();
    record.write(lab_dir)?;
    make_groups(&mut config, &record)?;
    let lived = hold_init(lab_dir, &config, &mut record, harness);
    let removed = records::remove_remains(lab_dir, &record);
    lived.and(removed)
}

/// Makes the control groups. A lab works without, so one that cannot be made is only noted, and not joined.
fn make_groups(config: &mut LabConfig, record: &Record) -> io::Result<()> {
    for group in record.cgroups.iter().rev() {
        if let Err(error) = cgroup::create(group) {
            writeln!(io::stderr(), "lab: without control group {}: {error}", group.display())?;
        }
    }
    let nodes = config.nodes.len();
    for node in &mut config.nodes {
        node.cgroups.retain(|group| group.is_dir());
        if let Err(error) = config.limits.set(&node.cgroups, nodes) {
            writeln!(io::stderr(), "lab: {} is not limited: {error}", node.name)?;
        }
    }
    Ok(())
}

fn hold_init(lab_dir: &Path, config: &LabConfig, record: &mut Record, harness: OwnedFd) -> io::Result<()> {
    if !dirs::is_root() {
        namespaces::unshare(&[Kind::User]).map_err(doing("make a user namespace"))?;
        namespaces::map_own_user((0, 0), config.owner).map_err(doing("map the user"))?;
    }
    namespaces::unshare(&[Kind::Pid]).map_err(doing("make a pid namespace"))?;
    // Its other end closes when init ends, however it ends, before the kernel waits for the lab's other processes.
    let (mut end, held) = io::pipe()?;
    match spawn::fork()? {
        Forked::Child => {
            let ended = be_init(config, harness);
            drop(held);
            // The child must not run the holder's part. Its end is the lab's end, whatever it says.
            spawn::leave(ended.is_ok())
        }
        Forked::Parent(init) => {
            // Otherwise the harness would not see init's end.
            drop((harness, held));
            record.init = Identity::of(init);
            record.write(lab_dir)?;
            end.read_to_end(&mut Vec::new())?;
            release(lab_dir, record.init);
            let (status, fine) = children::wait(init)?;
            if fine { Ok(()) } else { Err(io::Error::other(format!("init ended with {status}"))) }
        }
    }
}

/// Init has ended, or is about to. With a frozen volume it never would.
fn release(lab_dir: &Path, init: Option<Identity>) {
    let gone = || init.is_none_or(|init| !init.is_alive()).then_some(());
    if clock::until(records::THAW_AFTER, END_LOOKS, gone).is_none() {
        records::thaw_all(lab_dir);
    }
}

fn be_init(config: &LabConfig, harness: OwnedFd) -> io::Result<()> {
    spawn::die_with_parent()?;
    let listening = ChildEnds::listen()?;
    let places = match build::build(config) {
        Ok(places) => places,
        Err(error) => {
            let what = error.to_string();
            let told = serde_json::to_vec(&Tell::Failed { what }).map_err(io::Error::other)?;
            pass::send(harness.as_fd(), &told, &[])?;
            return Err(error);
        }
    };
    let served = serve::Init::new(&places, units::Units::new(config, &places), listening, harness).serve();
    // Whoever waits for a frozen volume could not be killed, and the lab would not end.
    build::thaw(config);
    if let Err(error) = &served {
        writeln!(io::stderr(), "lab: init: {error}")?;
    }
    served
}
