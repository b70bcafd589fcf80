//! A run on real servers in whose storm somebody leaves things behind, inside the lab and outside of it: it ends DIRTY, and
//! says for each by which command it is undone. Skipped loudly where the lab cannot run.

use std::fs;
use std::path::Path;

use firedrill_core::verdict::Verdict;

use crate::bench::{Bench, on_etcd};
use crate::command::{Ended, is_root, program};

const PAUSE: &str = r#"
id   = "pause"
kind = "process.pause"
on   = "n2"
at   = "1s"
for  = "3s"
"#;

/// What is left, what is then told, and the command that undoes it; `IN` is how the lab is entered, `RUN` its id.
const LEFT: [(&str, &str, &str); 5] = [
    (
        "IN nsenter --net=/run/firedrill/ns/n1 nft add table inet left",
        "nft table inet left of n1",
        "IN nsenter --net=/run/firedrill/ns/n1 nft delete table inet left",
    ),
    (
        "IN nsenter --net=/run/firedrill/ns/clients tc qdisc add dev eth0 root handle 7: pfifo",
        "queueing discipline root of eth0 of clients was handle 0: noqueue, is handle 7: pfifo",
        "IN nsenter --net=/run/firedrill/ns/clients tc qdisc del dev eth0 root",
    ),
    (
        "IN nsenter --mount=/run/firedrill/ns/n3.mounts mount -t tmpfs left /mnt",
        "mount /mnt of n3 (tmpfs left): rw",
        "IN nsenter --mount=/run/firedrill/ns/n3.mounts umount /mnt",
    ),
    (
        "IN ip link set vn3 txqueuelen 500",
        "link vn3 of the switch was up mtu 1500 master sw0 txqueuelen 1000 arp on, \
         is up mtu 1500 master sw0 txqueuelen 500 arp on",
        "IN ip link set dev vn3 up mtu 1500 master sw0 txqueuelen 1000 arp on",
    ),
    ("touch /tmp/fd-RUN-99", "file /tmp/fd-RUN-99", "rm -r /tmp/fd-RUN-99"),
];

#[test]
fn whatever_is_left_in_the_storm_makes_the_run_dirty() {
    let bench = Bench::new();
    let scenario = bench.write("left.toml", &on_etcd(PAUSE));
    if !bench.can_run(&scenario) {
        return;
    }
    let state = bench.state();
    let mut run = bench.start(&[&scenario]);
    run.read_until("pause: at onset: effect proven");
    let record = fs::read_dir(state.join("labs")).unwrap().next().unwrap().unwrap().path().join("lab.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let user = if is_root() { "" } else { "--user --preserve-credentials " };
    let inside = format!("nsenter --target {} {user}--pid --mount --net ", record["init"]["pid"]);
    let fill = |text: &str| text.replace("IN ", &inside).replace("RUN", record["run_id"].as_str().unwrap());
    for (script, _, _) in LEFT {
        let done = shell(&state, &fill(script));
        assert_eq!(done.code, 0, "{script}: {}", done.stderr);
    }
    let ended = run.end();
    let told = LEFT.map(|(_, what, remedy)| (fill(what), fill(remedy)));
    // What outlives the lab is undone before anything can fail.
    let outliving = told.iter().find(|(_, remedy)| remedy.starts_with("rm ")).unwrap();
    assert_eq!(shell(&state, &outliving.1).code, 0, "{}", outliving.1);
    assert_eq!(ended.code, 5, "{}{}", ended.stdout, ended.stderr);
    let record = bench.record();
    let junit = fs::read_to_string(bench.run_folder().join("junit.xml")).unwrap();
    let found = &record.runs[0].clean;
    assert_eq!((record.verdict, found.verdict), (Verdict::Dirty, Verdict::Dirty));
    let mut found: Vec<_> =
        found.residue.iter().map(|residue| (residue.what.clone(), residue.remedy.clone())).collect();
    let mut want = told.to_vec();
    found.sort();
    want.sort();
    assert_eq!(found, want);
    for (what, remedy) in told {
        let shown = format!("{what}\n");
        assert!(ended.stdout.contains(&shown), "no {what:?} in {}", ended.stdout);
        let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>().join(" ");
        assert!(words(&ended.stdout).contains(&words(&format!("remove it with: {remedy}"))), "{}", ended.stdout);
        assert!(junit.contains(&remedy), "no {remedy:?} in {junit}");
    }
}

fn shell(state: &Path, script: &str) -> Ended {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    Ended::of(program("sh", state).args(["-c", script]).env("PATH", path).output().unwrap())
}
