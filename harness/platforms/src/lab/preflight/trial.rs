//! Tries what a lab needs of the kernel in a process of its own, which ends at once and takes the trial with it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use firedrill_core::action::Deed;
use firedrill_core::fault::LabLinks;
use firedrill_core::platform::Missing;
use firedrill_sys::frames::{Outlet, Tap};
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::nft::{self, Hook, LinkTable, Only, Pair, Rule, Then};
use firedrill_sys::spawn::{self, Forked};
use firedrill_sys::tap::{self, TapDevice};
use firedrill_sys::{children, dirs, ip, launch, mounts};

use crate::lab::init::{ARGUMENT, TRIAL};

/// What a trial found missing: for a deed, or for everything.
pub(in crate::lab) type Lack = (Option<Deed>, Missing);

/// Starts this program again for the trial.
pub(super) fn try_in_own_process(deeds: &[Deed], links: LabLinks) -> Vec<Lack> {
    let failed =
        |why: String| vec![(None, Missing::new(format!("namespaces could not be tried: {why}"), "run as root"))];
    let asked = match serde_json::to_string(&(deeds, links)) {
        Ok(asked) => asked,
        Err(error) => return failed(error.to_string()),
    };
    match launch::own_output(&[OsStr::new(ARGUMENT), OsStr::new(TRIAL), OsStr::new(&asked)]) {
        Ok(output) => serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| failed(format!("{error} in {:?}", String::from_utf8_lossy(&output.stdout)))),
        Err(error) => failed(error.to_string()),
    }
}

/// Makes namespaces, mounts and links as a lab would, in this process and a child, both of which are to end afterwards.
/// `asked` are the deeds that are tried there, too, and where links are harmed, as JSON.
pub(in crate::lab) fn try_namespaces(asked: &str) -> Vec<Lack> {
    let (deeds, links): (Vec<Deed>, LabLinks) = match serde_json::from_str(asked) {
        Ok(asked) => asked,
        Err(error) => return vec![(None, Missing::new(format!("deeds: {error}"), "please report this as a bug"))],
    };
    let mut lacks = Vec::new();
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
        let script = "link add sw0 type bridge\nlink add va type veth peer name vb\n";
        ip::batch(script).map_err(|error| (Step::Links, error))?;
        lacks.extend(deeds.iter().filter_map(|deed| Some((Some(*deed), try_deed(*deed, links)?))));
        // Last, because the first process started after it is the new namespace's init, and only that one may mount
        // its /proc.
        namespaces::unshare(&[Kind::Pid]).map_err(rights)?;
        match spawn::fork().map_err(|error| (Step::Proc, error))? {
            Forked::Child => spawn::leave(mounts::proc(Path::new("/proc")).is_ok()),
            Forked::Parent(child) => Ok(children::wait(child).map_err(|error| (Step::Proc, error))?.1),
        }
    })();
    match tried {
        Ok(true) => {}
        Ok(false) => lacks.push((None, settings.explain(Step::Proc, &io::Error::other("not permitted")))),
        Err((step, error)) => lacks.push((None, settings.explain(step, &error))),
    }
    lacks
}

/// Tries what a deed takes that only a trial can tell: in fresh namespaces, with a bridge `sw0` and a pair of links `va` and
/// `vb`.
fn try_deed(deed: Deed, links: LabLinks) -> Option<Missing> {
    match deed {
        Deed::CutLinks if links == LabLinks::Ends => {
            let refused = try_at_end("fd-trial-cut", Then::Drop).err()?;
            Some(without_edges(&refused))
        }
        Deed::ImpairLinks if links == LabLinks::Ends => {
            let device = match TapDevice::open("va") {
                Ok(device) => device,
                Err(refused) => return Some(without_tap(&refused)),
            };
            let then = Then::Forward { device: device.index(), unless: 1 };
            let refused = try_at_end("fd-trial-impair", then).and_then(|()| Outlet::open("va", 1).map(drop)).err()?;
            Some(without_edges(&refused))
        }
        Deed::CutLinks => {
            let refused = try_table("fd-trial-cut").err()?;
            let what = format!("the kernel has no nftables for bridges: {refused}");
            Some(Missing::new(what, "sudo modprobe -a nf_tables nft_meta_bridge"))
        }
        Deed::HarmDisk => {
            let device = match mounts::fuse_device() {
                Ok(device) => device,
                Err(refused) => return Some(without_fuse(&refused)),
            };
            // A place of its own: without anybody to serve it, whoever looks there waits.
            let at = Path::new("/run/firedrill-trial");
            let refused = fs::create_dir(at).and_then(|()| mounts::fuse(&device, at)).err()?;
            let what = format!("file systems in user space cannot be mounted: {refused}");
            Some(Missing::new(what, "in a container: run it with --privileged; else use Linux 4.18 or later"))
        }
        Deed::ImpairLinks => {
            let sockets =
                || Tap::open("va").and_then(|tap| tap.listen(&[Ipv4Addr::LOCALHOST])).and(Outlet::open("vb", 0));
            let tried = try_table("fd-trial-impair").and_then(|()| sockets().map(drop));
            let what = format!("the kernel has no nftables for bridges, or no packet sockets: {}", tried.err()?);
            Some(Missing::new(what, "sudo modprobe -a nf_tables nft_meta_bridge af_packet"))
        }
        Deed::FreezeDisk
        | Deed::KillProcess
        | Deed::LosePower
        | Deed::MisleadNames
        | Deed::OomProcess
        | Deed::PauseProcess
        | Deed::PressCpu
        | Deed::PressFds
        | Deed::PressIo
        | Deed::PressMemory
        | Deed::PressPids
        | Deed::ShiftClock => None,
    }
}

/// A table that drops packets between the two links.
fn try_table(name: &str) -> io::Result<()> {
    let only = Only { to: Some(Ipv4Addr::LOCALHOST), tcp: true, port: Some(1), ..Only::default() };
    let pair = Pair { input: "va".to_owned(), output: "vb".to_owned(), only };
    LinkTable::in_switch(name, &[pair], nft::keeper()).map(drop)
}

/// A table at both sides of one of the links.
fn try_at_end(name: &str, then: Then) -> io::Result<()> {
    let only = Only { to: Some(Ipv4Addr::LOCALHOST), tcp: true, port: Some(1), ..Only::default() };
    let rules = [Hook::Ingress, Hook::Egress].map(|hook| Rule { hook, only, then });
    LinkTable::at_interface(name, "va", &rules, nft::keeper()).map(drop)
}

fn without_edges(refused: &io::Error) -> Missing {
    let what = format!("the kernel has no nftables at both sides of interfaces (family netdev): {refused}");
    Missing::new(what, "use Linux 5.16 or later; sudo modprobe -a nf_tables nft_fwd_netdev")
}

fn without_tap(refused: &io::Error) -> Missing {
    let what = format!("{} gives no device: {refused}", tap::DEVICE);
    let remedy = if refused.kind() == io::ErrorKind::PermissionDenied {
        "sudo chmod 666 /dev/net/tun, or run firedrill as root"
    } else {
        "sudo modprobe tun; in a container: run it with --device /dev/net/tun"
    };
    Missing::new(what, remedy)
}

fn without_fuse(refused: &io::Error) -> Missing {
    let what = format!("/dev/fuse cannot be opened: {refused}");
    let remedy = if refused.kind() == io::ErrorKind::PermissionDenied {
        "sudo chmod 666 /dev/fuse, or run firedrill as root"
    } else {
        "sudo modprobe fuse; in a container: run it with --device /dev/fuse"
    };
    Missing::new(what, remedy)
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
            (open, Step::Proc, "/proc"),
        ] {
            let missing = settings.explain(step, &refused);
            assert!(missing.remedy.contains(want), "{missing:?} lacks {want}");
        }
    }
}
