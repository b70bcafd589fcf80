//! Names of nodes: a name server where the observers are, and the files by which every node asks that one. No fault cuts
//! the observers, and so no name server that is not meant to be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use firedrill_agent::names::{ARGUMENT, PORT, READY, Setting};
use firedrill_core::platform::{Missing, NodeAddress};
use firedrill_sys::mounts;
use firedrill_sys::spawn::{RunAs, Spawn};

use super::disk::await_word;
use crate::lab::doing;
use crate::lab::wire::{CONTROL_ADDRESS, NAME_SERVER, NodeConfig};

/// Where the files are that a node sees in place of the host's, in its own `/run`.
const FILES: &str = "/run/firedrill-names";
/// Which name servers are asked (`resolv.conf(5)`).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names that no name server is asked for (`hosts(5)`).
const HOSTS: &str = "/etc/hosts";
/// Who is asked for names at all (`nsswitch.conf(5)`).
const SWITCH: &str = "/etc/nsswitch.conf";

/// Starts the name server in the network it is to be asked in, and waits until it answers. Returns its process id.
pub(super) fn start(program: &Path, nodes: &[NodeConfig], network: Vec<BorrowedFd<'_>>) -> io::Result<i32> {
    let nodes = nodes.iter().map(|node| NodeAddress { node: node.name.clone(), address: node.address });
    let setting =
        Setting { at: SocketAddrV4::new(CONTROL_ADDRESS, PORT), socket: NAME_SERVER.into(), nodes: nodes.collect() };
    let setting = serde_json::to_string(&setting).map_err(io::Error::other)?;
    let argv = [program.to_string_lossy().into_owned(), ARGUMENT.to_owned(), setting];
    let (heard, told) = io::pipe()?;
    let (null, log) = (File::open("/dev/null")?, io::stderr());
    let spawn = Spawn {
        argv: &argv,
        env: &BTreeMap::new(),
        stdio: [null.as_fd(), told.as_fd(), log.as_fd()],
        cgroups: &[],
        namespaces: network,
        directory: Path::new("/"),
        run_as: RunAs::Same,
    };
    let pid = spawn.start().map_err(doing("start the name server"))?;
    drop(told);
    await_word(READY, heard).map_err(doing("wait for the name server; see lab.log"))?;
    Ok(pid)
}

/// Has the caller's mounts show files by which that name server alone is asked for names. Its `/run` must be its own.
pub(super) fn put(server: Ipv4Addr) -> io::Result<()> {
    fs::create_dir_all(FILES)?;
    show(RESOLV_CONF, &format!("nameserver {server}\noptions timeout:1 attempts:1\n"))?;
    if Path::new(HOSTS).exists() {
        show(HOSTS, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")?;
    }
    // Without that file the C library asks these two as well.
    match fs::read_to_string(SWITCH) {
        Ok(text) => show(SWITCH, &switched(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The same with names looked for in files and then with name servers, and nowhere else.
fn switched(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("hosts:")).collect();
    lines.push("hosts: files dns\n");
    lines.join("\n")
}

fn show(path: &str, content: &str) -> io::Result<()> {
    let place = place(path)?;
    if place.starts_with("/run") {
        fs::create_dir_all(place.parent().unwrap_or(Path::new("/run")))?;
        return fs::write(&place, content).map_err(doing(&place.display()));
    }
    let file = Path::new(FILES).join(Path::new(path).file_name().unwrap_or_default());
    fs::write(&file, content)?;
    mounts::bind(&file, &place).map_err(doing(&place.display()))
}

/// Where the file really is: a link may lead into `/run`, where nothing is yet (as that of systemd-resolved does).
fn place(path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path);
    let Ok(target) = fs::read_link(path) else { return Ok(path.to_owned()) };
    let mut place = PathBuf::new();
    for part in path.parent().unwrap_or(Path::new("/")).join(target).components() {
        if part == Component::ParentDir {
            place.pop();
        } else {
            place.push(part);
        }
    }
    if place.starts_with("/run") { Ok(place) } else { fs::canonicalize(path) }
}

/// Whether nodes can be given names on this host.
pub(crate) fn can_name() -> Result<(), Missing> {
    let there = fs::symlink_metadata(RESOLV_CONF).is_ok() && place(RESOLV_CONF).is_ok();
    let missing = || {
        Missing::new(format!("there is no {RESOLV_CONF} that nodes could see another one of"), "touch /etc/resolv.conf")
    };
    if there { Ok(()) } else { Err(missing()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_line_is_another_one() {
        let text = "passwd: files systemd\nhosts: files myhostname resolve [!UNAVAIL=return] dns\ngroup: files\n";
        assert_eq!(switched(text), "passwd: files systemd\ngroup: files\nhosts: files dns\n");
        assert_eq!(switched(""), "hosts: files dns\n");
    }
}
