//! Where firedrill keeps what outlives a command: records and node data (state), and templates (cache).

use std::env;
use std::path::PathBuf;

use nix::unistd::Uid;

/// Whether the process has user id 0.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Records of labs and journals, and the nodes' data. `FIREDRILL_STATE_DIR`, else `/var/lib/firedrill` as root, else
/// `$XDG_STATE_HOME/firedrill` or `~/.local/state/firedrill` (XDG Base Directory Specification 0.8).
pub fn state_dir() -> PathBuf {
    choose("FIREDRILL_STATE_DIR", "/var/lib/firedrill", "XDG_STATE_HOME", ".local/state")
}

/// Templates of clusters; safe to delete. `FIREDRILL_CACHE_DIR`, else `/var/cache/firedrill` as root, else
/// `$XDG_CACHE_HOME/firedrill` or `~/.cache/firedrill`.
pub fn cache_dir() -> PathBuf {
    choose("FIREDRILL_CACHE_DIR", "/var/cache/firedrill", "XDG_CACHE_HOME", ".cache")
}

fn choose(own: &str, of_root: &str, xdg: &str, below_home: &str) -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    if let Some(dir) = set(own) {
        return absolute(dir);
    }
    if is_root() {
        return PathBuf::from(of_root);
    }
    // The XDG specification says that relative paths in these variables are to be ignored.
    let base = set(xdg).filter(|path| path.is_absolute());
    let home = || set("HOME").unwrap_or_else(env::temp_dir).join(below_home);
    absolute(base.unwrap_or_else(home).join("firedrill"))
}
