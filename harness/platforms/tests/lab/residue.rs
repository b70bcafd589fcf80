//! Everything that the inventory lists is left behind once, from outside as no fault would, and found; the command that is
//! told with it is run as it stands, and nothing differs any more.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use firedrill_agent::{disk, names};
use firedrill_core::action::Deed;
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::fault::Needs;
use firedrill_core::harm::{DiskHarm, DiskTarget, NameAnswer};
use firedrill_core::platform::{Inventory, OpenRequest, Platform as _, Residue};
use firedrill_core::seed::Seed;
use firedrill_core::system::LabRecipe;
use firedrill_core::time::Clock;
use firedrill_platforms::lab::{self, Lab};
use firedrill_sys::dirs;

use crate::rig::{PYTHON, block_on, nodes, recipe, run_id, stop_and_find_nothing, until, whole};

/// Something to be left behind: how, and what is then told of it, `*` being whatever is not known before.
struct Plant {
    /// A script, run on the host; words in capitals are replaced, see [`Site::fill`].
    script: &'static str,
    /// What differs, and the command that undoes it: the first of what is told.
    told: (&'static str, &'static str),
    /// Whether only root can leave it.
    root: bool,
}

const fn plant(script: &'static str, what: &'static str, remedy: &'static str) -> Plant {
    Plant { script, told: (what, remedy), root: false }
}

const fn of_root(script: &'static str, what: &'static str, remedy: &'static str) -> Plant {
    Plant { root: true, ..plant(script, what, remedy) }
}

/// One for each kind of thing, inside the lab and beside it.
const PLANTS: &[Plant] = &[
    plant(
        "IN nft add table bridge fd-RUN-91",
        "nft table bridge fd-RUN-91 of the switch",
        "IN nft delete table bridge fd-RUN-91",
    ),
    plant(
        "AT-N1 nft add table inet somebodys",
        "nft table inet somebodys of n1",
        "AT-N1 nft delete table inet somebodys",
    ),
    plant(
        "IN sh -c '(echo \"add table ip fd-RUN-92 { flags owner; }\"; sleep 600) | nft -i' >/dev/null 2>&1 &",
        "nft table ip fd-RUN-92 of the switch",
        "IN kill -9 *",
    ),
    plant(
        "IN ip link set vn1 down",
        "link vn1 of the switch was up mtu 1500 master sw0 txqueuelen 1000 arp on, is down mtu 1500 *",
        "IN ip link set dev vn1 up mtu 1500 master sw0 txqueuelen 1000 arp on",
    ),
    plant(
        "AT-N1 ip link set eth0 mtu 900",
        "link eth0 of n1 was up mtu 1500 *, is up mtu 900 *",
        "AT-N1 ip link set dev eth0 up mtu 1500 *",
    ),
    plant(
        "AT-CONTROL ip link add fd0 type veth peer name fd1",
        "link fd0 of control: down *",
        "AT-CONTROL ip link del dev fd0",
    ),
    plant("IN ip link del vn2", "link * is gone", "IN sh -c 'ip link add vn2 type veth peer name eth0 netns *"),
    plant(
        "AT-N1 tc qdisc add dev eth0 root pfifo",
        "queueing discipline root of eth0 of n1 was handle 0: noqueue, is handle *: pfifo",
        "AT-N1 tc qdisc del dev eth0 root",
    ),
    plant(
        "IN tc qdisc add dev vn2 ingress",
        "queueing discipline ingress of vn2 of the switch: handle ffff: ingress",
        "IN tc qdisc del dev vn2 ingress",
    ),
    plant(
        "AT-N1 ip addr add 10.77.0.99/32 dev eth0",
        "address 10.77.0.99/32 on eth0 of n1",
        "AT-N1 ip addr del 10.77.0.99/32 dev eth0",
    ),
    plant(
        "AT-N1 ip route add blackhole 10.77.0.2/32",
        "route 10.77.0.2/32 of n1: blackhole 10.77.0.2/32",
        "AT-N1 ip route del 10.77.0.2/32",
    ),
    plant(
        "AT-N1 ip route del 10.77.0.0/24",
        "route 10.77.0.0/24 of n1 is gone",
        "AT-N1 ip route replace 10.77.0.0/24 dev eth0 scope link src 10.77.0.1",
    ),
    plant(
        "AT-N1 ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
        "neighbour 10.77.0.2 dev eth0 of n1: 02:00:00:00:00:01",
        "AT-N1 ip neigh del 10.77.0.2 dev eth0",
    ),
    plant("IN mount -t tmpfs left /mnt", "mount /mnt of the lab (tmpfs left): rw", "IN umount /mnt"),
    plant("MOUNTS-N1 mount -t tmpfs left /mnt", "mount /mnt of n1 (tmpfs left): rw", "MOUNTS-N1 umount /mnt"),
    plant(
        "MOUNTS-N1 mount -o remount,ro /tmp",
        "mount /tmp of n1 (tmpfs firedrill) was rw, is ro",
        "MOUNTS-N1 mount -o remount,rw /tmp",
    ),
    plant(
        "MOUNTS-N1 umount /dev/shm",
        "mount /dev/shm of n1 (tmpfs firedrill) is gone",
        "MOUNTS-N1 mount -t tmpfs -o rw,nosuid,nodev,* firedrill /dev/shm",
    ),
    plant("IN ip netns add left", "network namespace /run/netns/left", "IN ip netns del left"),
    plant("IN unshare --net sleep 600 >/dev/null 2>&1 &", "network namespace net:[*] without a name", "IN kill -9 *"),
    plant("IN kill -STOP WEB", "stopped process python3 (WEB) of n1", "IN kill -CONT WEB"),
    plant(
        // PTRACE_SEIZE and PTRACE_INTERRUPT, see ptrace(2).
        "IN PYTHON -c 'import ctypes, time; p = ctypes.CDLL(None).ptrace; p(0x4206, WEB, None, None); p(0x4207, WEB, None, None); time.sleep(600)' >/dev/null 2>&1 &",
        "stopped process python3 (WEB) of n1",
        "IN kill -9 *",
    ),
    plant(
        "IN OWNER prlimit --pid WEB --nofile=64:",
        "process limit nofile of python3 of n1 was *, is 64:*",
        "IN OWNER prlimit --pid WEB --nofile=*",
    ),
    plant(
        "IN sh -c 'echo 500 > /proc/WEB/oom_score_adj'",
        "process limit oom_score_adj of python3 of n1 was *, is 500",
        "IN sh -c 'echo * > /proc/WEB/oom_score_adj'",
    ),
    plant(
        "IN sh -c 'sleep 600 | FIREDRILL_TAG=fd-RUN- AGENT hog' >/dev/null 2>&1 &",
        "process firedrill-agent hog (1)",
        "IN kill -9 *",
    ),
    plant(
        "IN sh -c 'touch /run/firedrill/nodes/n1/home/.fd-RUN-93.synced'",
        "file /run/firedrill/nodes/n1/home/.fd-RUN-93.synced",
        "IN rm -f /run/firedrill/nodes/n1/home/.fd-RUN-93.synced",
    ),
    plant(
        "MOUNTS-N1 sh -c 'echo nameserver 10.0.0.1 > /etc/resolv.conf'",
        "file /etc/resolv.conf of n1 was nameserver 10.77.0.202\\noptions timeout:1 attempts:1\\n, is nameserver 10.0.0.1\\n",
        "MOUNTS-N1 sh -c 'printf '\\''nameserver 10.77.0.202\\noptions timeout:1 attempts:1\\n'\\'' > /etc/resolv.conf'",
    ),
    plant(
        "IN ln -s fd-RUN-94 /run/firedrill/clock/n1/sleep/offset",
        "clock of sleep of n1",
        "IN rm -f /run/firedrill/clock/n1/sleep/offset",
    ),
    plant(
        "IN PYTHON -c 'HOLD' /run/firedrill/names.sock 'LIE' >/dev/null 2>&1 &",
        "lie of the name server fd-RUN-95",
        "IN kill *",
    ),
    plant("touch /tmp/fd-RUN-96", "file /tmp/fd-RUN-96", "rm -r /tmp/fd-RUN-96"),
    of_root("losetup --find LAB/n1.img", "loop device with LAB/n1.img once more", "losetup --detach /dev/loop*"),
    of_root("ip netns add fd-RUN-97", "network namespace /run/netns/fd-RUN-97", "ip netns del fd-RUN-97"),
    of_root("nft add table inet fd-RUN-98", "nft table inet fd-RUN-98 of the host", "nft delete table inet fd-RUN-98"),
    of_root("mount -t tmpfs left LAB/journals", "mount LAB/journals of the host", "umount LAB/journals"),
    of_root("mkdir GROUP/left", "control group GROUP/left", "rmdir GROUP/left"),
];

/// How a group's knobs are turned, in both versions: the file, and what is written into it.
const KNOBS: &[(&str, &str)] = &[
    ("cgroup.freeze", "1"),
    ("cpu.cfs_quota_us", "50000"),
    ("cpu.max", "50000 100000"),
    ("cpu.shares", "77"),
    ("cpu.weight", "77"),
    ("freezer.state", "FROZEN"),
    ("memory.high", "300000000"),
    ("memory.limit_in_bytes", "400003072"),
    ("memory.max", "400003072"),
    ("pids.max", "900"),
];

/// Keeps a connection on which something was asked for, until it is killed.
const HOLD: &str = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                    s.sendall(sys.argv[2].encode() + bytes([10])); time.sleep(600)";

/// A lab, and what words in scripts stand for there.
struct Site<'a> {
    lab: &'a Lab,
    words: Vec<(&'static str, String)>,
    before: Inventory,
}

impl<'a> Site<'a> {
    async fn of(lab: &'a Lab, run: &str) -> Self {
        let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
        let user = if dirs::is_root() { "" } else { "--user --preserve-credentials " };
        let inside = format!("nsenter --target {} {user}--pid --mount --net", record.init.unwrap().pid);
        let at = |name: &str| format!("{inside} nsenter --net=/run/firedrill/ns/{name}");
        let web = format!(
            "n1=$({} readlink /proc/self/ns/net); for p in $({inside} pgrep --full http.server); do \
             test \"$({inside} readlink /proc/$p/ns/net)\" = \"$n1\" && echo $p; done",
            at("n1")
        );
        let web = output(&web);
        let user_of = output(&format!("{inside} stat --format='--reuid=%u --regid=%g' /proc/{web}"));
        // In a user namespace everybody is root.
        let owner = if dirs::is_root() { format!("setpriv {user_of} --clear-groups") } else { String::new() };
        let lie = names::control::Order::Mislead {
            tag: format!("fd-{run}-95"),
            askers: ["10.77.0.1".parse().unwrap()].into(),
            names: [NodeName::new("n2")].into(),
            answer: NameAnswer::Failure,
            most_nanos: None,
        };
        let harm = disk::control::Order::Harm {
            tag: format!("fd-{run}-96"),
            target: DiskTarget::default(),
            how: DiskHarm::Latency { delay: Duration::from_millis(1) },
            seed: 1,
            most_nanos: None,
        };
        let group = record.cgroups.first().map(|group| group.display().to_string()).unwrap_or_default();
        let lab_dir = dirs::state_dir().join("labs").join(run).display().to_string();
        let words = vec![
            ("AT-CONTROL", at("control")),
            ("AT-N1", at("n1")),
            ("MOUNTS-N1", format!("{inside} nsenter --mount=/run/firedrill/ns/n1.mounts")),
            ("GROUP", group),
            ("LIE", serde_json::to_string(&lie).unwrap()),
            ("HARM", serde_json::to_string(&harm).unwrap()),
            ("HOLD", HOLD.to_owned()),
            ("PYTHON", PYTHON.to_owned()),
            ("AGENT", agent().display().to_string()),
            ("LAB", lab_dir),
            ("OWNER", owner),
            ("WEB", web),
            ("RUN", run.to_owned()),
            ("IN", inside),
        ];
        let mut site = Self { lab, words, before: Inventory::default() };
        site.before = site.lab.inventory().await.unwrap();
        site
    }

    /// A text with its words replaced.
    fn fill(&self, text: &str) -> String {
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let (mut filled, mut rest) = (String::new(), text);
        while let Some(c) = rest.chars().next() {
            let alone = |word: &str| {
                let after = rest.strip_prefix(word);
                after.is_some_and(|after| !is_part(after.chars().next()) && !is_part(filled.chars().last()))
            };
            // Of words that begin alike the longer one comes first.
            let found = self.words.iter().find(|(word, _)| alone(word));
            filled.push_str(found.map_or(&c.to_string(), |(_, value)| value));
            rest = &rest[found.map_or(c.len_utf8(), |(word, _)| word.len())..];
        }
        // A word may stand for nothing.
        filled.replace("  ", " ")
    }

    async fn residue(&self) -> Vec<Residue> {
        self.lab.residue(&self.before, &self.lab.inventory().await.unwrap())
    }

    /// Leaves it, sees that it is told, runs what is told, and sees that nothing differs any more.
    async fn check(&self, plant: &Plant) {
        let [script, what, remedy] = [plant.script, plant.told.0, plant.told.1].map(|text| self.fill(text));
        self.check_words(&script, &what, &remedy).await;
    }

    async fn check_words(&self, script: &str, what: &str, remedy: &str) {
        assert!(shell(script), "{script}");
        let told = until(&format!("news of {script}"), || async {
            let found = self.residue().await;
            let is_it = |residue: &&Residue| matches(&residue.what, what) && matches(&residue.remedy, remedy);
            if found.iter().any(|residue| is_it(&residue)) {
                Ok(found)
            } else {
                Err(format!("{found:#?}, not {what}: {remedy}"))
            }
        })
        .await;
        for residue in &told {
            // One command may undo several differences, so that the next has nothing to do.
            shell(&format!("{{ {}; }} 2>/dev/null", residue.remedy));
        }
        until(&format!("the end of {script} by {told:#?}"), || async {
            let found = self.residue().await;
            if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
        })
        .await;
    }
}

/// Whether a text is as the pattern has it, `*` being anything.
fn matches(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    for part in parts {
        // The last part must be the end; an empty one is any end.
        let Some(at) = rest.find(part) else { return false };
        rest = if part.is_empty() { "" } else { &rest[at + part.len()..] };
    }
    rest.is_empty()
}

/// Runs a script as a person would; whether it succeeded.
#[expect(clippy::disallowed_methods, reason = "what a person would type")]
fn command(script: &str) -> Command {
    // An ordinary user's path may lack the folders that nft and losetup are in.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("PATH", path).stdin(Stdio::null());
    command
}

fn shell(script: &str) -> bool {
    command(script).status().unwrap().success()
}

fn output(script: &str) -> String {
    String::from_utf8(command(script).output().unwrap().stdout).unwrap().trim().to_owned()
}

fn agent() -> PathBuf {
    let said = std::env::var_os("FIREDRILL_AGENT").map(PathBuf::from);
    let beside = || {
        let program = std::env::current_exe().unwrap();
        program.ancestors().skip(1).take(2).map(|at| at.join("firedrill-agent")).find(|path| path.exists())
    };
    said.or_else(beside).unwrap()
}

/// A lab in which everything of these deeds can be done, and every clock can be changed.
fn open_all(work: &Path, run: &str, recipe: LabRecipe, deeds: &[Deed]) -> Lab {
    let mut needs = Needs::default();
    needs.deeds.extend(deeds);
    needs.clocks.insert(None);
    needs.disk.insert(None);
    let run_dir = work.join(format!("run-{run}"));
    std::fs::create_dir_all(&run_dir).unwrap();
    let request = OpenRequest {
        run_id: run.to_owned(),
        nodes: nodes(),
        lab: Some(recipe),
        sim: None,
        against: None,
        needs,
        run_dir,
        lease: Duration::from_secs(5),
        seed: Seed(1),
        clock: Clock::start(),
    };
    Lab::open(request).unwrap()
}

pub(crate) fn whatever_is_left_is_told_with_the_command_that_undoes_it(work: &Path) {
    if !dirs::is_root() {
        return eprintln!("SKIPPED: what is left is planted as root");
    }
    block_on(async {
        let run = run_id("residue");
        let mut named = recipe();
        named.names = true;
        named.clocks.insert(ProcessName("sleep".to_owned()), "/usr/bin/sleep".into());
        let root = dirs::is_root();
        let mut deeds = vec![Deed::ShiftClock];
        if root && Path::new("/dev/loop-control").exists() {
            deeds.extend([Deed::LosePower, Deed::OomProcess, Deed::PressCpu, Deed::PressPids]);
        }
        let lab = open_all(work, &run, named, &deeds);
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let site = Site::of(&lab, &run).await;
        assert_eq!(site.residue().await, [], "nothing was left yet");
        let clocks = shell(&site.fill("IN test -d /run/firedrill/clock/n1/sleep"));
        if !clocks {
            eprintln!("SKIPPED: a clock that is left changed: there is no libfaketime");
        }
        let possible = |plant: &&Plant| (root || !plant.root) && (clocks || !plant.told.0.starts_with("clock "));
        for plant in PLANTS.iter().filter(possible) {
            site.check(plant).await;
        }
        let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
        for group in record.cgroups.iter().filter(|group| group.ends_with("n1")) {
            for (knob, value) in KNOBS.iter().filter(|(knob, _)| group.join(knob).exists()) {
                let path = group.join(knob).display().to_string();
                let was = std::fs::read_to_string(&path).unwrap().trim().to_owned();
                let (script, what) = (format!("echo {value} > {path}"), format!("knob {path} was {was}, is {value}"));
                let remedy = format!("echo '{was}' > {path}");
                site.check_words(&script, &what, &remedy).await;
            }
        }
        stop_and_find_nothing(&lab, &run).await;
    });
}

pub(crate) fn a_harm_of_a_disk_that_is_left_is_told(work: &Path) {
    if !dirs::is_root() {
        return eprintln!("SKIPPED: what is left is planted as root");
    }
    block_on(async {
        let run = run_id("harm");
        let lab = open_all(work, &run, recipe(), &[Deed::HarmDisk]);
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let site = Site::of(&lab, &run).await;
        site.check(&plant(
            "IN PYTHON -c 'HOLD' /run/firedrill/disks/n1/socket 'HARM' >/dev/null 2>&1 &",
            "disk harm fd-RUN-96 of n1",
            "IN kill *",
        ))
        .await;
        stop_and_find_nothing(&lab, &run).await;
    });
}
