//! Starts the recipe of a Patroni cluster on `127.0.77.<i>`, each server as its own user, and ends what it started.

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, Vantage};
use firedrill_core::system::{LabRecipe, Unit};
use firedrill_core::time::Clock;
use firedrill_core::wait;
use firedrill_systems::patroni::{Options, Place, Programs, recipe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tokio::net::TcpStream;

/// A cluster of real servers. Dropping it ends every process of it.
pub(crate) struct Cluster {
    pub(crate) places: Vec<Place>,
    recipe: LabRecipe,
    running: Vec<(NodeName, String, Child)>,
    _folder: tempfile::TempDir,
    folder: PathBuf,
}

impl Cluster {
    /// Writes the files of a cluster, or says why it cannot run here.
    pub(crate) fn new(options: &Options, nodes: &[NodeName]) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("not root: the servers run as users of their own".to_owned());
        }
        for user in ["postgres", "etcd"] {
            User::from_name(user).ok().flatten().ok_or_else(|| format!("no user {user}"))?;
        }
        let programs = Programs::find(None);
        for program in programs.listed() {
            program.path.ok_or_else(|| format!("package {} is not installed", program.package))?;
        }
        let guard = tempfile::Builder::new().prefix("fdsys").tempdir().map_err(|error| error.to_string())?;
        let folder = guard.path().to_owned();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let place = |(node, i): (&NodeName, u8)| Place {
            node: node.clone(),
            address: Ipv4Addr::new(127, 0, 77, i),
            home: folder.join(node.as_str()).display().to_string(),
        };
        let places: Vec<Place> = nodes.iter().zip(1_u8..).map(place).collect();
        let recipe = recipe(options, &programs, &places);
        let cluster = Self { places, recipe, running: Vec::new(), _folder: guard, folder };
        cluster.write_files();
        Ok(cluster)
    }

    fn home(&self, node: &NodeName) -> PathBuf {
        self.folder.join(node.as_str())
    }

    fn write_files(&self) {
        for place in &self.places {
            fs::create_dir(self.home(&place.node)).unwrap();
        }
        for file in &self.recipe.files {
            let path = self.home(&file.node).join(&file.path);
            match &file.content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::create_dir_all(&path).unwrap(),
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).unwrap();
            let user = User::from_name(&file.user).unwrap().unwrap();
            chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
    }

    /// Starts the units of these nodes, each once the port it needs answers.
    pub(crate) async fn start(&mut self, nodes: &[NodeName], clock: Clock) {
        for unit in self.recipe.units.clone().iter().filter(|unit| nodes.contains(&unit.node)) {
            if let Some(port) = unit.needs_port {
                let dialer = self.dialer();
                wait::until("port", clock, Duration::from_secs(20), Duration::from_millis(20), async || {
                    let stream = dialer.dial(Vantage::Control, &unit.node, port).await;
                    stream.map(drop).map_err(|error| error.to_string())
                })
                .await
                .unwrap();
            }
            let child = self.spawn(unit);
            self.running.push((unit.node.clone(), unit.name.clone(), child));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test of the recipe starts it without the lab")]
    fn spawn(&self, unit: &Unit) -> Child {
        let home = self.home(&unit.node);
        let log = fs::File::options().create(true).append(true).open(home.join(format!("{}.log", unit.name))).unwrap();
        Command::new("setpriv")
            .args([&format!("--reuid={}", unit.user), &format!("--regid={}", unit.user)])
            .args(["--clear-groups", "--pdeathsig=KILL", "--"])
            .args(&unit.argv)
            .env_clear()
            .envs(&unit.env)
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// The processes of PostgreSQL on a node: they live in its data directory.
    pub(crate) fn postgres(&self, node: &NodeName) -> Vec<Pid> {
        let data = self.home(node).join("postgres/data");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            if fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data) {
                found.push(Pid::from_raw(pid));
            }
        }
        found
    }

    pub(crate) fn signal_postgres(&self, node: &NodeName, signal: Signal) {
        for pid in self.postgres(node) {
            // One may have ended since it was listed.
            kill(pid, signal).unwrap_or_default();
        }
    }

    /// Ends the units of a node, asked or forced, and waits until they are gone.
    pub(crate) fn end(&mut self, node: &NodeName, signal: Signal) {
        if signal == Signal::SIGKILL {
            self.signal_postgres(node, signal);
        }
        // Patroni before etcd, as it stops PostgreSQL and tells etcd so.
        let (gone, rest) = std::mem::take(&mut self.running).into_iter().partition(|(on, _, _)| on == node);
        self.running = rest;
        let mut gone: Vec<(NodeName, String, Child)> = gone;
        for (_, _, mut child) in gone.drain(..).rev() {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            // It may have ended by itself.
            kill(pid, signal).unwrap_or_default();
            child.wait().unwrap();
        }
        if signal == Signal::SIGKILL {
            self.signal_postgres(node, signal);
        }
    }

    /// Ends the units of all nodes at the same time: Patroni first, as it stops PostgreSQL and tells etcd so.
    pub(crate) fn end_all(&mut self, signal: Signal) {
        let running = std::mem::take(&mut self.running);
        let (patronis, etcds): (Vec<_>, Vec<_>) = running.into_iter().partition(|(_, unit, _)| unit == "patroni");
        for mut units in [patronis, etcds] {
            for (_, _, child) in &units {
                kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap_or_default();
            }
            for (_, _, child) in &mut units {
                child.wait().unwrap();
            }
        }
        for place in &self.places {
            self.signal_postgres(&place.node, Signal::SIGKILL);
        }
    }

    /// The last lines of every log, for a failed test.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for place in &self.places {
            for unit in ["etcd", "patroni"] {
                let log = fs::read_to_string(self.home(&place.node).join(format!("{unit}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(40)..].join("\n");
                writeln!(text, "--- {} {unit}\n{last}", place.node).unwrap();
            }
        }
        text
    }

    pub(crate) fn dialer(&self) -> Loopback {
        Loopback(self.places.clone())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end_all(Signal::SIGKILL);
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Reaches the nodes by their loopback addresses.
#[derive(Clone)]
pub(crate) struct Loopback(Vec<Place>);

#[async_trait]
impl Dialer for Loopback {
    async fn dial(&self, _from: Vantage, node: &NodeName, port: u16) -> io::Result<BoxStream> {
        let place = self.0.iter().find(|place| place.node == *node).ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect((place.address, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// Runs a test to its end on a runtime of its own, on this thread alone: the servers die with the thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}
