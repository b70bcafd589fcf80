//! What is left behind, and what is then told of it.

/// Something to be left behind: how, and what is then told of it, `*` being whatever is not known before.
pub(super) struct Plant {
    /// A script, run on the host; words in capitals are replaced, see [`super::Site::fill`].
    pub(super) script: &'static str,
    /// What differs, and the command that undoes it: the first of what is told.
    pub(super) told: (&'static str, &'static str),
    /// Whether only root can leave it.
    pub(super) root: bool,
}

pub(super) const fn plant(script: &'static str, what: &'static str, remedy: &'static str) -> Plant {
    Plant { script, told: (what, remedy), root: false }
}

const fn of_root(script: &'static str, what: &'static str, remedy: &'static str) -> Plant {
    Plant { root: true, ..plant(script, what, remedy) }
}

/// One for each kind of thing, inside the lab and beside it.
pub(super) const PLANTS: &[Plant] = &[
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
    of_root(
        "MOUNTS-N1 mount -o remount,ro /tmp",
        "mount /tmp of n1 (tmpfs firedrill) was rw, is ro",
        "MOUNTS-N1 mount -o remount,rw /tmp",
    ),
    of_root(
        "IN fsfreeze --freeze /run/firedrill/nodes/n1/home",
        "frozen volume /run/firedrill/nodes/n1/home of n1",
        "IN fsfreeze --unfreeze /run/firedrill/nodes/n1/home",
    ),
    of_root("losetup --find LAB/n1.img", "loop device with LAB/n1.img once more", "losetup --detach /dev/loop*"),
    of_root("ip netns add fd-RUN-97", "network namespace /run/netns/fd-RUN-97", "ip netns del fd-RUN-97"),
    of_root("nft add table inet fd-RUN-98", "nft table inet fd-RUN-98 of the host", "nft delete table inet fd-RUN-98"),
    of_root("mount -t tmpfs left LAB/journals", "mount LAB/journals of the host", "umount LAB/journals"),
    of_root("mkdir GROUP/left", "control group GROUP/left", "rmdir GROUP/left"),
];

/// How a group's knobs are turned, in both versions: the file, and what is written into it.
pub(super) const KNOBS: &[(&str, &str)] = &[
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
