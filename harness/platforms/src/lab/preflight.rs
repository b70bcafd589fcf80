//! What a lab needs of this host, asked before anything is touched: programs, users, and namespaces, which are tried in
//! a process that ends at once and takes the trial with it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use firedrill_core::action::Deed;
use firedrill_core::platform::{Mechanism, Missing};
use firedrill_core::system::LabRecipe;
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::nft::{self, DropTable, Keeper, Pair};
use firedrill_sys::spawn::{self, Forked};
use firedrill_sys::{accounts, cgroup, children, dirs, ip, launch, mounts, programs};

use super::init::{ARGUMENT, TRIAL, TRIAL_WITH_CUT};

/// The file name of the agent.
const AGENT: &str = "firedrill-agent";

/// Asks this host for everything, and returns what each deed will be done with, or all that is missing at once.
pub(super) fn preflight(recipe: &LabRecipe, deeds: &[Deed]) -> Result<Vec<Mechanism>, Vec<Missing>> {
    let mut missing = missing_programs(recipe);
    missing.extend(missing_users(recipe));
    missing.extend([dirs::state_dir(), dirs::cache_dir()].iter().filter_map(|folder| closed_folder(folder)));
    if programs::find("ip").is_some() {
        missing.extend(try_in_own_process(deeds.contains(&Deed::CutLinks)));
    }
    if missing.is_empty() { Ok(deeds.iter().copied().map(mechanism).collect()) } else { Err(missing) }
}

fn mechanism(deed: Deed) -> Mechanism {
    let (by, note) = match deed {
        Deed::CutLinks => match nft::keeper() {
            Keeper::Socket => ("nft table of family bridge in the lab's switch, owned by the agent", String::new()),
            Keeper::Nobody => (
                "nft table of family bridge in the lab's switch",
                "this kernel is older than 5.12, so the table outlives a killed agent until the lab ends".to_owned(),
            ),
        },
        Deed::KillProcess => ("signals to the node's processes; init of the lab starts them again", String::new()),
        Deed::PauseProcess => ("SIGSTOP to the node's process tree, until nothing of it runs", groups_note()),
        Deed::HarmDisk
        | Deed::ImpairLinks
        | Deed::LosePower
        | Deed::MisleadNames
        | Deed::OomProcess
        | Deed::PressCpu
        | Deed::PressFds
        | Deed::PressIo
        | Deed::PressMemory
        | Deed::PressPids
        | Deed::ShiftClock => ("nothing yet", String::new()),
    };
    Mechanism { deed, by: by.to_owned(), note }
}

fn groups_note() -> String {
    if !dirs::is_root() {
        "control groups need root; not needed for this".to_owned()
    } else if cgroup::roots().is_empty() {
        "this machine has no control groups to write to; not needed for this".to_owned()
    } else {
        String::new()
    }
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

fn missing_programs(recipe: &LabRecipe) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut packages = Vec::new();
    for program in recipe.programs.iter().filter(|program| program.path.is_none()) {
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

fn try_in_own_process(cuts: bool) -> Vec<Missing> {
    let failed = |why: String| {
        vec![Missing { what: format!("namespaces could not be tried: {why}"), remedy: "run as root".to_owned() }]
    };
    let trial = if cuts { TRIAL_WITH_CUT } else { TRIAL };
    match launch::own_output(&[OsStr::new(ARGUMENT), OsStr::new(trial)]) {
        Ok(output) => serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| failed(format!("{error} in {:?}", String::from_utf8_lossy(&output.stdout)))),
        Err(error) => failed(error.to_string()),
    }
}

/// Makes namespaces, mounts and links as a lab would, in this process and a child, both of which are to end afterwards.
pub(super) fn try_namespaces(cuts: bool) -> Vec<Missing> {
    let settings = Settings::read();
    let tried = (|| -> Result<bool, (Step, io::Error)> {
        if !settings.root {
            let owner = namespaces::own_ids();
            namespaces::unshare(&[Kind::User]).map_err(|error| (Step::User, error))?;
            namespaces::map_own_user((0, 0), owner).map_err(|error| (Step::Rights, error))?;
        }
        let rights = |error| (Step::Rights, error);
        namespaces::unshare(&[Kind::Mount, Kind::Net, Kind::Ipc, Kind::Uts]).map_err(rights)?;
        mounts::make_private().map_err(rights)?;
        mounts::tmpfs(Path::new("/run"), 0o755).map_err(rights)?;
        let links = "link add sw0 type bridge\nlink add va type veth peer name vb\n";
        ip::batch(links).map_err(|error| (Step::Links, error))?;
        if cuts {
            let pair = Pair { input: "va".to_owned(), output: "vb".to_owned() };
            DropTable::create("fd-trial", &[pair], nft::keeper()).map_err(|error| (Step::Cut, error))?;
        }
        // Last, because the first process started after it is the new namespace's init, and only that one may mount
        // its /proc.
        namespaces::unshare(&[Kind::Pid]).map_err(rights)?;
        match spawn::fork().map_err(|error| (Step::Proc, error))? {
            Forked::Child => spawn::leave(mounts::proc(Path::new("/proc")).is_ok()),
            Forked::Parent(child) => Ok(children::wait(child).map_err(|error| (Step::Proc, error))?.1),
        }
    })();
    match tried {
        Ok(true) => Vec::new(),
        Ok(false) => vec![settings.explain(Step::Proc, &io::Error::other("not permitted"))],
        Err((step, error)) => vec![settings.explain(step, &error)],
    }
}

/// What a trial failed at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Making a user namespace.
    User,
    /// Having capabilities: in the user namespace just made, or as root.
    Rights,
    /// Making a bridge and a pair of links.
    Links,
    /// Making an nftables table that drops packets in the bridge.
    Cut,
    /// Mounting `/proc`.
    Proc,
}

/// Settings of the kernel that decide whether ordinary users may have namespaces; `None` where it has no such setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Settings {
    root: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns`: Ubuntu, from 23.10 on.
    apparmor_restricts: Option<u64>,
    /// `kernel.unprivileged_userns_clone`: Debian, before 11 off by default.
    userns_clone: Option<u64>,
    /// `user.max_user_namespaces`.
    most_user_namespaces: Option<u64>,
}

impl Settings {
    fn read() -> Self {
        let number = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        Self {
            root: dirs::is_root(),
            apparmor_restricts: number("kernel/apparmor_restrict_unprivileged_userns"),
            userns_clone: number("kernel/unprivileged_userns_clone"),
            most_user_namespaces: number("user/max_user_namespaces"),
        }
    }

    fn explain(&self, step: Step, error: &io::Error) -> Missing {
        let as_root = ", or run firedrill as root";
        let (what, remedy) = match step {
            Step::Links => (
                "the kernel cannot make a bridge and veth links".to_owned(),
                "sudo modprobe -a bridge veth".to_owned(),
            ),
            Step::Cut => (
                "the kernel has no nftables for bridges".to_owned(),
                "sudo modprobe -a nf_tables nft_meta_bridge".to_owned(),
            ),
            Step::Proc => (
                "/proc cannot be mounted in a pid namespace".to_owned(),
                "in a container: run it with --privileged, or with /proc unmasked (--security-opt systempaths=unconfined)"
                    .to_owned(),
            ),
            Step::User | Step::Rights if self.root => (
                "root may not make namespaces here".to_owned(),
                "in a container: run it with --privileged (CAP_SYS_ADMIN and CAP_NET_ADMIN)".to_owned(),
            ),
            Step::User | Step::Rights if self.most_user_namespaces == Some(0) => (
                "user namespaces are switched off (user.max_user_namespaces is 0)".to_owned(),
                format!("sudo sysctl -w user.max_user_namespaces=15000{as_root}"),
            ),
            Step::User | Step::Rights if self.userns_clone == Some(0) => (
                "ordinary users may not make user namespaces (kernel.unprivileged_userns_clone is 0)".to_owned(),
                format!("sudo sysctl -w kernel.unprivileged_userns_clone=1{as_root}"),
            ),
            Step::User | Step::Rights if self.apparmor_restricts == Some(1) => (
                "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)".to_owned(),
                format!("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0{as_root}"),
            ),
            Step::User | Step::Rights => (
                "ordinary users may not make namespaces here".to_owned(),
                "run firedrill as root; in a container: run it with --privileged".to_owned(),
            ),
        };
        Missing { what: format!("{what}: {error}"), remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_restriction_names_its_setting() {
        let open =
            Settings { root: false, apparmor_restricts: Some(0), userns_clone: Some(1), most_user_namespaces: Some(9) };
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        for (settings, step, want) in [
            (Settings { apparmor_restricts: Some(1), ..open }, Step::Rights, "apparmor_restrict_unprivileged_userns=0"),
            (Settings { userns_clone: Some(0), ..open }, Step::User, "kernel.unprivileged_userns_clone=1"),
            (Settings { most_user_namespaces: Some(0), ..open }, Step::User, "user.max_user_namespaces=15000"),
            (Settings { root: true, ..open }, Step::Rights, "--privileged"),
            (open, Step::User, "as root"),
            (open, Step::Links, "modprobe"),
            (open, Step::Cut, "nf_tables"),
            (open, Step::Proc, "/proc"),
        ] {
            let missing = settings.explain(step, &refused);
            assert!(missing.remedy.contains(want), "{missing:?} lacks {want}");
        }
    }
}
