//! What a lab needs of this host, asked before anything is touched: programs, users, and namespaces, which are tried in
//! a process that ends at once and takes the trial with it.

use std::path::{Path, PathBuf};

use firedrill_core::action::Deed;
use firedrill_core::fault::LabLinks;
use firedrill_core::harm::FileSystem;
use firedrill_core::platform::{Mechanism, Missing, Survey};
use firedrill_core::system::LabRecipe;
use firedrill_sys::nft::{self, Keeper};
use firedrill_sys::{accounts, dirs, fuse_ring, namespaces, programs, trace, volume};

use super::{clocks, groups, init};

pub(super) mod trial;

/// The file name of the agent.
const AGENT: &str = "firedrill-agent";

/// What disks are harmed with.
const HARM_DISK: &str = "a file system in user space (FUSE) between the servers and their files, which passes through when the agent is gone";

/// What nodes are misled with.
const MISLEAD_NAMES: &str = "a name server of the lab's own, which every node asks by its own /etc/resolv.conf, and which tells the truth when the agent is gone";

/// Asks this host what any lab needs, and of each deed what it would be done with; for links both at the switch and, as a
/// remark, at the nodes' ends.
pub(super) fn any(deeds: &[Deed]) -> Survey {
    let mut found = survey(None, deeds, None, LabLinks::Switch);
    let of_links: Vec<Deed> =
        deeds.iter().copied().filter(|deed| matches!(deed, Deed::CutLinks | Deed::ImpairLinks)).collect();
    if of_links.is_empty() {
        return found;
    }
    for (deed, at_ends) in survey(None, &of_links, None, LabLinks::Ends).deeds {
        let words = match at_ends {
            Ok(mechanism) => mechanism.by,
            Err(lacks) => format!("cannot: {} ({})", lacks.what, lacks.remedy),
        };
        let remark = format!("with `[cluster.lab] links = \"ends\"`: {words}");
        let of_deed = found.deeds.iter_mut().filter(|(known, _)| *known == deed);
        for mechanism in of_deed.filter_map(|(_, asked)| asked.as_mut().ok()) {
            let before = if mechanism.note.is_empty() { String::new() } else { format!("{}; ", mechanism.note) };
            mechanism.note = format!("{before}{remark}");
        }
    }
    found
}

/// Asks this host for everything: what the recipe's servers need, and what each deed will be done with. Without a recipe
/// only what any lab needs. `volume` is the file system that volumes are asked to have.
pub(super) fn survey(
    recipe: Option<&LabRecipe>,
    deeds: &[Deed],
    volume: Option<FileSystem>,
    links: LabLinks,
) -> Survey {
    let mut missing = missing_programs(recipe);
    missing.extend(recipe.into_iter().flat_map(missing_users));
    missing.extend([dirs::state_dir(), dirs::cache_dir()].iter().filter_map(|folder| closed_folder(folder)));
    let mut refused = Vec::new();
    if programs::find("ip").is_some() {
        for (deed, lacks) in trial::try_in_own_process(deeds, links) {
            match deed {
                None => missing.push(lacks),
                Some(deed) => refused.push((deed, lacks)),
            }
        }
    }
    let asked = |deed: Deed| match refused.iter().find(|(refused, _)| *refused == deed) {
        Some((_, lacks)) => Err(lacks.clone()),
        None => mechanism(deed, volume, links),
    };
    Survey { missing, deeds: deeds.iter().map(|deed| (*deed, asked(*deed))).collect() }
}

/// What a deed is done with here, as far as it can be told without a trial in namespaces (see [`trial`]).
fn mechanism(deed: Deed, volume: Option<FileSystem>, links: LabLinks) -> Result<Mechanism, Missing> {
    match deed {
        Deed::CutLinks | Deed::ImpairLinks if links == LabLinks::Ends => at_ends(deed),
        Deed::CutLinks => Ok(match nft::keeper() {
            Keeper::Socket => {
                Mechanism::best(deed, "nft table of family bridge in the lab's switch, owned by the agent")
            }
            Keeper::Nobody => Mechanism::fallback(
                deed,
                "nft table of family bridge in the lab's switch, deleted by the agent's guard",
                "this kernel has no tables with an owner, which end with the agent",
                "run on Linux 5.12 or later",
            ),
        }),
        Deed::KillProcess => {
            Ok(Mechanism::best(deed, "signals to the node's processes; init of the lab starts them again"))
        }
        Deed::PauseProcess => Ok(pause()),
        Deed::FreezeDisk => on_volume(deed, volume, "fsfreeze (FIFREEZE)", ""),
        Deed::LosePower => on_volume(deed, volume, "FS_IOC_SHUTDOWN", ", then SIGKILL and a new mount"),
        Deed::HarmDisk => Ok(harm_disk()),
        Deed::ShiftClock => clocks::library().map(|_| {
            Mechanism::best(deed, "libfaketime in the servers; the offset is the name of a thread of the agent")
        }),
        // Not netem, whether this kernel has it or not: a queueing discipline outlives whoever made it.
        Deed::ImpairLinks => match nft::keeper() {
            Keeper::Socket => Ok(Mechanism::best(
                deed,
                "a process of the agent's in the lab's switch: packet sockets, beside an nft table that ends with it",
            )
            .note(
                "better than netem, which would outlive a killed agent and is not used even where the kernel has it",
            )),
            Keeper::Nobody => Err(Missing::new(
                "this kernel has no nftables with an owner, which end with the process that impairs",
                "run on Linux 5.12 or later",
            )),
        },
        Deed::OomProcess => {
            let by = format!(
                "a process that takes what is left of the node's {}, until the kernel's killer has come",
                groups::memory_words()
            );
            groups::mechanism(deed, "memory", &by)
        }
        Deed::PressCpu => {
            let without = "processes that spin beside the node's";
            let why = "all nodes feel it, because they share one control group";
            Ok(groups::mechanism_or(deed, "cpu", "processes that spin in the node's control group", without, why))
        }
        Deed::PressFds => {
            Ok(Mechanism::best(deed, "limits of the node's processes, lowered and put back by one of their own user"))
        }
        Deed::PressIo => {
            Ok(Mechanism::best(deed, "processes that write and sync a file without a name in the node's home"))
        }
        Deed::PressMemory => {
            let by = format!("a process that takes memory of the node's {}", groups::memory_words());
            groups::mechanism(deed, "memory", &by)
        }
        Deed::PressPids => {
            groups::mechanism(deed, "pids", "threads that sleep, up to the limit of the node's control group")
        }
        Deed::MisleadNames => {
            init::can_name().map(|()| Mechanism::best(deed, MISLEAD_NAMES).note("for systems that use names"))
        }
    }
}

/// What disks are harmed with, and by which way the kernel brings it requests: what the servers pay while nothing is harmed.
fn harm_disk() -> Mechanism {
    let best = Mechanism::best(Deed::HarmDisk, HARM_DISK);
    match (fuse_ring::is_on(), fuse_ring::is_permitted()) {
        (Some(true), Ok(())) => best.note("requests come by io_uring"),
        (Some(true), Err(refused)) => best.note(format!(
            "requests come by /dev/fuse: this process may not use io_uring, by which servers would pay less for it: {refused}"
        )),
        (Some(false), _) => best.note(format!(
            "requests come by /dev/fuse; by io_uring servers pay less for it: echo Y | sudo tee {}",
            fuse_ring::SWITCH
        )),
        (None, _) => best,
    }
}

/// What links are harmed with at the nodes' own ends.
fn at_ends(deed: Deed) -> Result<Mechanism, Missing> {
    if nft::keeper() == Keeper::Nobody {
        let what = "this kernel has no nftables with an owner, which end with the agent";
        return Err(Missing::new(what, "run on Linux 5.12 or later"));
    }
    if !nft::has_egress() {
        let what = "this kernel has no hook for what a node sends (family netdev, egress), which links to clients need";
        return Err(Missing::new(what, "run on Linux 5.16 or later"));
    }
    let by = if deed == Deed::CutLinks {
        "nft tables of family netdev at the nodes' own interfaces, owned by the agent"
    } else {
        "a process of the agent's with a TAP device beside each node's own interface, to which nft tables of family netdev \
         send its packets; device and tables end with it"
    };
    Ok(Mechanism::best(deed, by))
}

/// Held as a debugger holds, where the kernel lets anybody be one.
fn pause() -> Mechanism {
    let deed = Deed::PauseProcess;
    if trace::is_permitted() {
        return Mechanism::best(
            deed,
            "every thread held as by a debugger (ptrace), by a process that dies with the agent",
        );
    }
    let by = "SIGSTOP to the node's process tree, until nothing of it runs; undone by the agent's guard";
    let lacks = "this kernel forbids ptrace to everybody";
    Mechanism::fallback(deed, by, lacks, "boot with kernel.yama.ptrace_scope below 3")
}

/// Only root outside of a user namespace may attach loop devices and mount file systems of devices.
fn on_volume(deed: Deed, asked: Option<FileSystem>, by: &str, then: &str) -> Result<Mechanism, Missing> {
    if !dirs::is_root() {
        let what = "only root may mount volumes of their own for the nodes (loop devices)";
        return Err(Missing::new(what, "run firedrill as root"));
    }
    let words = |kind| format!("{by} on a loop-mounted {kind} for each node{then}");
    let kind = volume::kind(asked.map(|asked| asked.to_string()).as_deref());
    kind.map(|kind| Mechanism::best(deed, words(kind))).map_err(|(what, remedy)| Missing::new(what, remedy))
}

/// Where the agent is: `FIREDRILL_AGENT`, else beside this program, or one folder up, where cargo puts it as seen from
/// the tests that it builds.
pub(super) fn find_agent() -> Result<PathBuf, Missing> {
    let missing = |what: String| Missing { what, remedy: "cargo build --release".to_owned() };
    if let Some(named) = std::env::var_os("FIREDRILL_AGENT").filter(|value| !value.is_empty()) {
        let path = std::path::absolute(&named).unwrap_or_else(|_| PathBuf::from(&named));
        let what = || missing(format!("FIREDRILL_AGENT={} is no program", path.display()));
        return if programs::is_executable(&path) { Ok(path) } else { Err(what()) };
    }
    let own = std::env::current_exe().unwrap_or_default();
    let places = own.ancestors().skip(1).take(2).map(|folder| folder.join(AGENT));
    let what = || missing(format!("{AGENT} is not beside {}", own.display()));
    places.into_iter().find(|path| programs::is_executable(path)).ok_or_else(what)
}

fn missing_programs(recipe: Option<&LabRecipe>) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut packages = Vec::new();
    let needed = recipe.into_iter().flat_map(|recipe| &recipe.programs);
    for program in needed.filter(|program| program.path.is_none()) {
        missing.push((format!("program {} is not installed", program.name), program.package.clone()));
    }
    if programs::find("ip").is_none() {
        missing.push(("program ip is not installed".to_owned(), "iproute2".to_owned()));
    }
    packages.extend(missing.iter().map(|(_, package)| package.as_str()));
    packages.sort_unstable();
    packages.dedup();
    let sudo = if dirs::is_root() { "" } else { "sudo " };
    let remedy = format!("{sudo}apt-get install {}", packages.join(" "));
    let mut missing: Vec<Missing> =
        missing.iter().map(|(what, _)| Missing { what: what.clone(), remedy: remedy.clone() }).collect();
    missing.extend(find_agent().err());
    missing
}

/// Users that units run as, which only root can become.
fn missing_users(recipe: &LabRecipe) -> Vec<Missing> {
    if !dirs::is_root() {
        let (uid, _) = namespaces::own_ids();
        let nameless = accounts::name_of(uid).is_ok_and(|name| name.is_none());
        let what = format!("user {uid} has no name, which PostgreSQL's initdb wants");
        return nameless
            .then(|| Missing { what, remedy: "run as a user of /etc/passwd".to_owned() })
            .into_iter()
            .collect();
    }
    let mut users: Vec<&str> = recipe.units.iter().map(|unit| unit.user.as_str()).collect();
    users.sort_unstable();
    users.dedup();
    let absent = users.into_iter().filter(|user| !accounts::find(user).is_ok_and(|found| found.is_some()));
    let missing = |user: &str| Missing {
        what: format!("user {user} does not exist"),
        remedy: format!("install the package that makes it, or: useradd --system {user}"),
    };
    absent.map(missing).collect()
}

/// Whether the folder, or the nearest one above it that exists, is closed to us.
fn closed_folder(folder: &Path) -> Option<Missing> {
    let existing = folder.ancestors().find(|ancestor| ancestor.exists())?;
    let what = format!("{} cannot be written to", existing.display());
    let remedy = "set FIREDRILL_STATE_DIR and FIREDRILL_CACHE_DIR to folders of yours".to_owned();
    (!programs::may_write(existing)).then_some(Missing { what, remedy })
}
