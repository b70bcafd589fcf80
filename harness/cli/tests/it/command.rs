//! Starting the binary in a clean environment.

use std::path::{Path, PathBuf};
use std::process::Output;

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

/// Runs `firedrill ARGS` in the repository, with its state in `state`.
#[expect(clippy::disallowed_methods, reason = "the test runs the command itself, as people do")]
pub(crate) fn firedrill_in(state: &Path, args: &[&str]) -> Ended {
    let output: Output = std::process::Command::new(env!("CARGO_BIN_EXE_firedrill"))
        .args(args)
        .current_dir(repository())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .env("FIREDRILL_STATE_DIR", state)
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// As [`firedrill_in`], for what keeps no state.
pub(crate) fn firedrill(args: &[&str]) -> Ended {
    firedrill_in(Path::new("/nonexistent"), args)
}
