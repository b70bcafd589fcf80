//! Everything that the inventory lists is left behind once, from outside as no fault would, and found; the command that is
//! told with it is run as it stands, and nothing differs any more.

mod plants;

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

use self::plants::{KNOBS, PLANTS, Plant, plant};
use crate::rig::{PYTHON, block_on, can_have_volumes, nodes, recipe, run_id, stop_and_find_nothing, until, whole};

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
            deadline: None,
        };
        let harm = disk::control::Order::Harm {
            tag: format!("fd-{run}-96"),
            target: DiskTarget::default(),
            how: DiskHarm::Latency { delay: Duration::from_millis(1) },
            seed: 1,
            deadline: None,
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
    block_on(async {
        let run = run_id("residue");
        let mut named = recipe();
        named.names = true;
        named.clocks.insert(ProcessName("sleep".to_owned()), "/usr/bin/sleep".into());
        let (root, volumes) = (dirs::is_root(), can_have_volumes());
        let mut deeds = vec![Deed::ShiftClock];
        if volumes {
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
        let possible = |plant: &&Plant| {
            let of = |kind: &str| plant.told.0.starts_with(kind);
            let loops = of("frozen volume ") || of("loop device ");
            (root || !plant.root) && (clocks || !of("clock ")) && (volumes || !loops)
        };
        let (plants, skipped): (Vec<_>, Vec<_>) = PLANTS.iter().partition(possible);
        for plant in &skipped {
            eprintln!("SKIPPED: {} of {} things that are left: {}", skipped.len(), PLANTS.len(), plant.script);
        }
        for plant in plants {
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

/// Labs see copies of the host's mounts, and lose them together with the folder.
pub(crate) fn a_mount_of_the_hosts_comes_and_goes_as_it_likes(work: &Path) {
    if !dirs::is_root() {
        return eprintln!("SKIPPED: a mount of the host's that is gone: only root mounts anything there");
    }
    block_on(async {
        let (run, at) = (run_id("hosts"), work.join("hosts").display().to_string());
        assert!(shell(&format!("mkdir {at} && mount -t tmpfs theirs {at}")));
        let lab = open_all(work, &run, recipe(), &[]);
        let started = lab.start(false).await;
        let site = Site::of(&lab, &run).await;
        let there = shell(&site.fill(&format!("IN mountpoint -q {at}")));
        let gone = shell(&format!("umount {at} && rmdir {at}"));
        started.unwrap();
        assert!(there && gone, "the lab saw it: {there}, it is gone: {gone}");
        assert!(!shell(&site.fill(&format!("IN mountpoint -q {at}"))), "the lab still sees it");
        whole(&lab).await;
        assert_eq!(site.residue().await, []);
        stop_and_find_nothing(&lab, &run).await;
    });
}

pub(crate) fn a_harm_of_a_disk_that_is_left_is_told(work: &Path) {
    if !dirs::is_root() {
        return eprintln!("SKIPPED: a harm of a disk that is left: only root can leave one");
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
