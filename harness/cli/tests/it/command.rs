//! Starting the binary in a clean environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What the command printed and how it ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A program in a clean environment, with firedrill's state in `state`.
#[expect(clippy::disallowed_methods, reason = "the test runs the command itself, as people do")]
pub(crate) fn program(program: &str, state: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(repository())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .env("FIREDRILL_STATE_DIR", state)
        .env("FIREDRILL_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .stdin(Stdio::null());
    command
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs `firedrill ARGS` in the repository, with its state in `state`.
pub(crate) fn firedrill_in(state: &Path, args: &[&str]) -> Ended {
    Ended::of(program(FIREDRILL, state).args(args).output().unwrap())
}

/// The binary.
pub(crate) const FIREDRILL: &str = env!("CARGO_BIN_EXE_firedrill");

/// Mounts a file system of `$1` at `$2`, then becomes the rest of its arguments.
const MOUNT_THEN: &str = "mount -t tmpfs -o size=$1 tmpfs $2 && shift 2 && exec \"$@\"";

/// As [`firedrill_in`], with a disk of that size mounted at `disk`: for this command alone, in mounts of its own.
pub(crate) fn in_small_disk(size: &str, disk: &str, state: &Path, args: &[&str]) -> Ended {
    Ended::of(small_disk(size, disk, state).arg(FIREDRILL).args(args).output().unwrap())
}

/// What runs the arguments that are added to it with a small disk.
pub(crate) fn small_disk(size: &str, disk: &str, state: &Path) -> Command {
    let mut command = program("unshare", state);
    // An ordinary user may mount in a user namespace of its own.
    command.args(["--mount", "--propagation", "private"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", MOUNT_THEN, "sh", size, disk]);
    command
}

/// Whether [`in_small_disk`] works on this machine.
pub(crate) fn small_disks_can_be_made() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().to_str().unwrap();
    let tried = small_disk("64k", disk, folder.path()).arg("true").output().map_err(|error| error.to_string())?;
    if tried.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&tried.stderr).into_owned()) }
}

static MACHINE: RwLock<()> = RwLock::new(());

/// The machine, for one test with real servers at a time.
pub(crate) fn machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The machine, for tests with real servers that mostly wait, and bear each other's company.
pub(crate) fn shared_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn is_root() -> bool {
    firedrill_sys::dirs::is_root()
}

/// As [`firedrill_in`], for what keeps no state.
pub(crate) fn firedrill(args: &[&str]) -> Ended {
    firedrill_in(Path::new("/nonexistent"), args)
}
