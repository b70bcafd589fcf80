//! Makes the lab's network, mounts and nodes inside init's fresh namespaces. Nothing here can be seen from the host,
//! and nothing needs an undo: it all ends with init.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use firedrill_core::cluster::NodeName;
use firedrill_core::system::NODE_HOME;
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::{ip, mounts, pass, volume};

use super::{disk, names};
use crate::lab::clocks;
use crate::lab::wire::{
    CLIENTS, CLIENTS_ADDRESS, CONTROL, CONTROL_ADDRESS, DISKS, DOOR, DiskConfig, IMAGES, JOURNALS, LAB_RUN, LabConfig,
    NAMESPACES, NODES, NodeConfig, STARTER,
};
use crate::lab::{doing, template};

/// The interface of every node, in its own network namespace.
pub(crate) const INTERFACE: &str = "eth0";

/// The lab's places, as init keeps them.
#[derive(Debug)]
pub(super) struct Places {
    /// Init's own network namespace: the switch.
    pub(super) switch: OwnedFd,
    /// Network namespaces by name: nodes, clients, control.
    pub(super) networks: Vec<(String, OwnedFd)>,
    /// The nodes.
    pub(super) nodes: Vec<NodePlace>,
    /// The process of the nodes' name server, if they have names.
    pub(super) names: Option<i32>,
    /// Where the agent asks for units to be started.
    pub(super) starter: UnixListener,
    /// Where harnesses knock.
    pub(super) door: OwnedFd,
}

impl Places {
    /// The network namespace of that name.
    pub(super) fn network(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        let found = self.networks.iter().find(|(network, _)| network == name);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| io::Error::other(format!("no network namespace {name}")))
    }

    /// The node of that name.
    pub(super) fn node(&self, name: &NodeName) -> io::Result<&NodePlace> {
        let found = self.nodes.iter().find(|node| node.config.name == *name);
        found.ok_or_else(|| io::Error::other(format!("no node {name}")))
    }
}

/// A node.
#[derive(Debug)]
pub(super) struct NodePlace {
    /// As configured.
    pub(super) config: NodeConfig,
    /// IPC, host name and mount namespace, in the order to enter them (mounts last).
    pub(super) namespaces: [OwnedFd; 3],
    /// The folder of its logs.
    pub(super) logs: File,
    /// The process of its disk, if it has one that can be harmed.
    pub(super) disk: Option<i32>,
    /// The image of its volume, if it has one; kept open for whoever has to mount it again.
    _image: Option<File>,
}

/// Makes everything, from inside a new pid namespace.
pub(super) fn build(config: &LabConfig) -> io::Result<Places> {
    namespaces::unshare(&[Kind::Mount, Kind::Net, Kind::Ipc, Kind::Uts]).map_err(doing("make namespaces"))?;
    mounts::make_private().map_err(doing("make mounts private"))?;
    // Opened before /run is covered, in case the run's or the state folder is below it.
    let journals = File::open(&config.journals).map_err(doing(&config.journals.display()))?;
    let mut opened = Vec::new();
    for node in &config.nodes {
        opened.push(open_folders(config, node)?);
    }
    mounts::proc(Path::new("/proc")).map_err(doing("mount /proc"))?;
    mounts::tmpfs(Path::new("/run"), 0o755).map_err(doing("mount /run"))?;
    for folder in [NAMESPACES, IMAGES, JOURNALS] {
        fs::create_dir_all(folder)?;
    }
    mounts::bind(&open_path(&journals), Path::new(JOURNALS)).map_err(doing("show the agent's journals"))?;
    namespaces::set_host_name("switch")?;
    let switch = namespaces::open_own(Kind::Net)?;
    let networks = build_network(config, &switch)?;
    let names = config.names.as_ref().map(|program| {
        let control = networks.iter().find(|(name, _)| name == CONTROL).map(|(_, network)| network.as_fd());
        names::start(program, &config.nodes, control.into_iter().collect())
    });
    let names = names.transpose()?;
    let mut nodes = Vec::new();
    for (node, folders) in config.nodes.iter().zip(opened) {
        if let Some(clocks) = &config.clocks {
            clocks::make(clocks, node.name.as_str()).map_err(doing("make the clocks' offsets"))?;
        }
        nodes.push(build_node(config, node, folders).map_err(doing(&format!("make node {}", node.name)))?);
    }
    let starter = UnixListener::bind(STARTER).map_err(doing("listen for the agent"))?;
    starter.set_nonblocking(true)?;
    let door = pass::listen_at(Path::new(DOOR)).map_err(doing("listen at the door"))?;
    Ok(Places { switch, networks, nodes, names, starter, door })
}

fn build_network(config: &LabConfig, switch: &OwnedFd) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut places: Vec<(String, Ipv4Addr)> =
        config.nodes.iter().map(|node| (node.name.as_str().to_owned(), node.address)).collect();
    places.push((CLIENTS.to_owned(), CLIENTS_ADDRESS));
    places.push((CONTROL.to_owned(), CONTROL_ADDRESS));
    let mut script =
        "link set lo up\nlink add sw0 type bridge forward_delay 0 stp_state 0\nlink set sw0 up\n".to_owned();
    let mut networks = Vec::new();
    for (name, _) in &places {
        let path = namespace_path(name);
        namespaces::unshare(&[Kind::Net])?;
        let network = namespaces::open_own(Kind::Net)?;
        namespaces::keep_at(network.as_fd(), &path).map_err(doing(&format!("name the network namespace {name}")))?;
        networks.push((name.clone(), network));
        namespaces::enter(switch.as_fd())?;
        let line = write!(
            script,
            "link add v{name} type veth peer name {INTERFACE} netns {path}\nlink set v{name} master sw0 up\n",
            path = path.display(),
        );
        line.map_err(io::Error::other)?;
    }
    ip::batch(&script).map_err(doing("make the switch"))?;
    for ((name, address), (_, network)) in places.iter().zip(&networks) {
        let link_up = || {
            ip::batch(&format!("link set lo up\naddr add {address}/24 dev {INTERFACE}\nlink set {INTERFACE} up\n"))?;
            // A host that crashes sends nothing afterwards. The kernel, though, would go on sending what the killed
            // process had written, and deliver it when the wire is back; with one retry such an orphan is given up
            // within about a second (ip-sysctl.rst, tcp_orphan_retries).
            fs::write("/proc/sys/net/ipv4/tcp_orphan_retries", "1").map_err(doing("set tcp_orphan_retries"))
        };
        namespaces::inside(network, switch, link_up).map_err(doing(&format!("make the network of {name}")))?;
    }
    Ok(networks)
}

/// Where the network namespace of a node, the clients or the observers has its name.
pub(crate) fn namespace_path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// Where the mount namespace of a node has its name.
pub(crate) fn mounts_path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(format!("{name}.mounts"))
}

/// Where the home of a node is, in the lab's own mount namespace.
pub(crate) fn home_path(name: &str) -> PathBuf {
    let last = Path::new(NODE_HOME).file_name().unwrap_or_default();
    Path::new(NODES).join(name).join(last)
}

/// Where the image of a node's volume is, in the lab's own mount namespace.
pub(crate) fn image_path(name: &str) -> PathBuf {
    Path::new(IMAGES).join(name)
}

/// What of a node is opened while its paths are not covered.
struct Folders {
    home: File,
    logs: File,
    image: Option<File>,
}

fn open_folders(config: &LabConfig, node: &NodeConfig) -> io::Result<Folders> {
    let open = |path: &Path| File::open(path).map_err(doing(&path.display()));
    let image = node.image.as_ref().map(|path| {
        let made = volume::make(path, config.volume.as_deref())
            .and_then(|()| File::options().read(true).write(true).open(path));
        made.map_err(doing(&format!("make a volume for {}", node.name)))
    });
    Ok(Folders {
        home: open(&node.home)?,
        logs: open(&config.logs.join(node.name.as_str()))?,
        image: image.transpose()?,
    })
}

/// Gives a node mounts, IPC and a host name of its own, and comes back.
fn build_node(lab: &LabConfig, config: &NodeConfig, folders: Folders) -> io::Result<NodePlace> {
    let own = [Kind::Ipc, Kind::Uts, Kind::Mount];
    let name = config.name.as_str();
    let stage = Path::new(NODES).join(name);
    fs::create_dir_all(&stage)?;
    // Its home can be taken away and mounted anew while it is there: who shows the stage sees that.
    mounts::tmpfs(&stage, 0o755).map_err(doing("mount the node's stage"))?;
    mounts::share(&stage).map_err(doing("share the node's stage"))?;
    let disk = match &lab.disk {
        Some(disk) => Some(serve_home(disk, name, &folders)?),
        None => fill_home(&home_path(name), &folders).map(|()| None)?,
    };
    if let Some(image) = &folders.image {
        symlink(format!("/proc/1/fd/{}", image.as_raw_fd()), image_path(name))?;
    }
    let [ipc, uts, mnt] = open_all(own)?;
    namespaces::unshare(&own)?;
    let made = fill_node(config, lab, &stage).and_then(|()| open_all(own));
    for back in [&ipc, &uts, &mnt] {
        namespaces::enter(back.as_fd()).map_err(doing("come back from the node"))?;
    }
    let namespaces = made?;
    // A link to init's descriptor and no bind mount: the kernel refuses to mount a mount namespace in one that it takes
    // for a newer one, by numbers that Linux 6.18 does not give out in order (EINVAL, about one time in ten).
    symlink(format!("/proc/1/fd/{}", namespaces[2].as_raw_fd()), mounts_path(name))?;
    Ok(NodePlace { config: config.clone(), namespaces, logs: folders.logs, disk, _image: folders.image })
}

/// Has a disk serve a node's home. Returns the disk's process.
fn serve_home(config: &DiskConfig, name: &str, folders: &Folders) -> io::Result<i32> {
    let raw = disk::raw_path(name);
    fs::create_dir_all(raw.parent().unwrap_or(Path::new(DISKS)))?;
    fill_home(&raw, folders)?;
    let log = File::options().create(true).append(true).open(open_path(&folders.logs).join("disk.log"))?;
    disk::start(config, name, log)
}

/// Mounts a node's home: its folder on the host, or a volume with what is in that folder.
fn fill_home(home: &Path, folders: &Folders) -> io::Result<()> {
    fs::create_dir(home)?;
    // Only an open folder survives the covering of /run.
    let data = open_path(&folders.home);
    let Some(image) = &folders.image else {
        return mounts::bind(&data, home).map_err(doing("show the node's data"));
    };
    volume::mount(image, home).map_err(doing("mount the node's volume"))?;
    volume::prepare_root(home)
        .and_then(|()| template::copy_content(&data, home))
        .and_then(|()| volume::flush(home))
        .map_err(doing("fill the node's volume"))
}

/// Thaws every volume.
pub(super) fn thaw(config: &LabConfig) {
    for node in config.nodes.iter().filter(|node| node.image.is_some()) {
        // One that cannot be opened is mounted no more, and the holder looks for those.
        drop(File::open(home_path(node.name.as_str())).and_then(|root| volume::thaw(&root)));
    }
}

fn fill_node(config: &NodeConfig, lab: &LabConfig, stage: &Path) -> io::Result<()> {
    let stage = File::open(stage)?;
    let clocks = lab.clocks.as_ref();
    let opened = clocks.map(|clocks| clocks.open(config.name.as_str())).transpose()?;
    namespaces::set_host_name(config.name.as_str())?;
    // Shared memory too: its files would stay on the host after a kill, and nodes would see each other's.
    for (at, mode) in [("/run", 0o755), ("/tmp", 0o1777), ("/dev/shm", 0o1777)] {
        mounts::tmpfs(Path::new(at), mode).map_err(doing(&format!("mount {at}")))?;
    }
    fs::create_dir_all(LAB_RUN)?;
    mounts::bind_all(&open_path(&stage), Path::new(LAB_RUN)).map_err(doing("mount the node's home"))?;
    if lab.names.is_some() {
        names::put(CONTROL_ADDRESS).map_err(doing("have the node ask the lab's name server"))?;
    }
    clocks.zip(opened.as_ref()).map_or(Ok(()), |(clocks, opened)| clocks.put(opened))
}

fn open_all(kinds: [Kind; 3]) -> io::Result<[OwnedFd; 3]> {
    let [a, b, c] = kinds.map(namespaces::open_own);
    Ok([a?, b?, c?])
}

/// The path by which an open file can be named, whatever covers its own.
pub(crate) fn open_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
