//! The same as an ordinary user of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As root: runs all the other cases again as an ordinary user of this machine.
#[expect(clippy::disallowed_methods, reason = "becomes another user")]
pub(crate) fn an_ordinary_user_can_do_all_this(work: &Path) {
    if !firedrill_sys::dirs::is_root() {
        return;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ordinary = users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2).map(|field| field.parse::<u32>().ok());
        let (uid, gid) = (fields.next()??, fields.next()??);
        (1000..60_000).contains(&uid).then_some((uid, gid))
    });
    let Some((uid, gid)) = ordinary else {
        eprintln!("SKIPPED: lab as an ordinary user: there is none in /etc/passwd");
        return;
    };
    // Where cargo builds may be closed to other users.
    let program = copy_for_all(&std::env::current_exe().unwrap(), work);
    let agent = std::env::current_exe()
        .unwrap()
        .ancestors()
        .skip(1)
        .take(2)
        .map(|at| at.join("firedrill-agent"))
        .find(|path| path.exists());
    let agent = copy_for_all(&agent.unwrap(), work);
    std::os::unix::fs::chown(work, Some(uid), Some(gid)).unwrap();
    let output = Command::new("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()])
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", work)
        .env("TMPDIR", work)
        .env("FIREDRILL_AGENT", agent)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.starts_with("test ")) {
        println!("  as user {uid}: {line}");
    }
    let told = String::from_utf8_lossy(&output.stderr);
    for line in told.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        eprintln!("  as user {uid}: {line}");
    }
    assert!(output.status.success(), "{said}\n{told}");
}

fn copy_for_all(from: &Path, work: &Path) -> PathBuf {
    let to = work.join(from.file_name().unwrap());
    fs::copy(from, &to).unwrap();
    to
}
