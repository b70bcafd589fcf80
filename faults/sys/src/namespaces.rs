//! Linux namespaces, for processes with a single thread: unshare, keep, enter, and the maps of user namespaces.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

/// A kind of namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Users and capabilities.
    User,
    /// Process ids, for children to come.
    Pid,
    /// Mounts.
    Mount,
    /// Network.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
}

impl Kind {
    const fn flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }
}

/// Puts the calling process into new namespaces of these kinds.
pub fn unshare(kinds: &[Kind]) -> io::Result<()> {
    let flags = kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
    Ok(nix::sched::unshare(flags)?)
}

/// The calling process's namespace of this kind; the descriptor keeps it alive.
pub fn open_own(kind: Kind) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/self/ns/{}", kind.file()))?.into())
}

/// Moves the calling process into a namespace.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::empty())?)
}

/// Does `work` inside `namespace`, then goes back to `home`. When the way back is barred the error says so, and the
/// caller must not go on.
pub fn inside<T>(namespace: impl AsFd, home: impl AsFd, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    enter(namespace.as_fd())?;
    let done = work();
    enter(home.as_fd())?;
    done
}

/// Does `work` on a thread of its own, in the mount or network namespace that a file is: the process stays where it is, and is
/// not taken for one that lives there.
pub fn visit<T: Send>(namespace: &Path, kind: Kind, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let there = File::open(namespace)?;
    let enter = move || {
        if kind == Kind::Mount {
            // The kernel moves no thread to other mounts that shares its working directory with others.
            nix::sched::unshare(CloneFlags::CLONE_FS)?;
        }
        setns(there.as_fd(), kind.flag())?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
}

/// Maps one user and one group of the parent namespace into the user namespace the caller has just made.
pub fn map_own_user(inside: (u32, u32), outside: (u32, u32)) -> io::Result<()> {
    // A kernel from before 3.19 has no such file; without it the group map would be refused (user_namespaces(7)).
    match fs::write("/proc/self/setgroups", "deny") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::write("/proc/self/uid_map", format!("{} {} 1", inside.0, outside.0))?;
    fs::write("/proc/self/gid_map", format!("{} {} 1", inside.1, outside.1))
}

/// Gives a namespace a name: a bind mount of it on the file `path`, which is created.
pub fn keep_at(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    File::create(path)?;
    crate::mounts::bind(Path::new(&format!("/proc/self/fd/{}", namespace.as_raw_fd())), path)
}

/// Every network namespace that can be found: by a process in it, by a name, or by a file that somebody has open. Its name as
/// [`crate::identity::own_namespace`] has it, and a path by which it can be opened.
pub fn networks() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut note = |path: PathBuf| {
        let name = fs::read_link(&path).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("net:[") {
            found.entry(name).or_insert(path);
        }
    };
    let pids: Vec<i32> = crate::children::all().unwrap_or_default().into_iter().map(|(pid, _)| pid).collect();
    // Processes first: an open file may be closed at any time.
    for pid in &pids {
        note(PathBuf::from(format!("/proc/{pid}/ns/net")));
    }
    for pid in &pids {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.for_each(|entry| note(entry.path()));
    }
    // `36 35 0:4 net:[4026532281] /run/netns/x rw - nsfs nsfs rw`, see proc_pid_mountinfo(5).
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(3);
        if let (Some(root), Some(at)) = (fields.next(), fields.next())
            && root.starts_with("net:[")
        {
            found.entry(root.to_owned()).or_insert_with(|| PathBuf::from(at));
        }
    }
    found
}

/// The caller's effective user and group.
pub fn own_ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

/// Sets the host name of the caller's UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}
