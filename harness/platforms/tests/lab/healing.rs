//! What is left in a lab, or of one, and is healed.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use firedrill_core::action::{Action, Deed};
use firedrill_core::platform::{Platform as _, Vantage};
use firedrill_platforms::lab;

use crate::rig::{
    block_on, by_hand, can_have_volumes, get, in_process, nodes, nothing_left, open_for, recipe, run_id,
    stop_and_find_nothing, until, whole,
};

/// As the command does.
pub(crate) fn heal_inside() -> ExitCode {
    for told in lab::heal::print_inside().unwrap() {
        println!("{}", serde_json::to_string(&told).unwrap());
    }
    ExitCode::SUCCESS
}

pub(crate) fn what_is_left_in_a_lab_that_lives_on_is_healed_inside(work: &Path) {
    use firedrill_agent::journal::{Entry, Journal};
    let run = run_id("left");
    assert!(in_process("up", work, &run).wait().unwrap().success());
    let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
    let tag = format!("fd-{run}-");
    // As an agent leaves it that dies together with its guard: a journal, a stopped server, and a table without owner.
    by_hand(&record, &format!("nft add table bridge {tag}2"));
    let web = by_hand(&record, "pgrep --oldest --full http.server");
    let pid: i32 = web.trim().parse().unwrap();
    let stat = by_hand(&record, &format!("cat /proc/{pid}/stat"));
    by_hand(&record, &format!("kill -STOP {pid}"));
    let since = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let process = firedrill_core::action::ProcessRef { pid, start: since, name: "python3".to_owned() };
    let action = Action::Pause { node: nodes()[0].clone(), process: None };
    let mut undo = firedrill_core::action::Undo::new(format!("{tag}1"), action);
    undo.processes.push(process);
    let journals = lab::heal::journals_of(&run);
    let site = firedrill_agent::protocol::Site {
        netns: "/run/firedrill/ns/n1".into(),
        link: "vn1".to_owned(),
        address: std::net::Ipv4Addr::LOCALHOST,
        reach: firedrill_agent::protocol::Reach::Switch,
    };
    let node = firedrill_agent::protocol::NodeSite {
        name: nodes()[0].clone(),
        site,
        ground: firedrill_agent::protocol::Ground::default(),
    };
    let config = firedrill_agent::protocol::Config {
        tag_prefix: tag.clone(),
        lease_nanos: 1,
        nodes: vec![node],
        clients: None,
        starter: None,
        resolver: None,
        journal: None,
    };
    let mut journal = Journal::create(&journals, &config).unwrap();
    journal.write(&Entry::Intent { undo }).unwrap();
    journal.close().unwrap();
    // Written outside of the lab: the numbers in it are to be read inside.
    let file = fs::read_dir(&journals).unwrap().next().unwrap().unwrap().path();
    let own = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned();
    let there = |kind: &str| by_hand(&record, &format!("readlink /proc/1/ns/{kind}")).trim().to_owned();
    relabel(&file, &[(own("pid"), there("pid")), (own("net"), there("net"))]);
    let told = lab::heal::heal_lab(&run, &tag).unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|told| !matches!(told, lab::heal::Told::Left { .. })), "{told:?}");
    assert!(by_hand(&record, &format!("cat /proc/{pid}/stat")).contains(") S "), "it goes on");
    assert_eq!(by_hand(&record, "nft list tables"), "");
    assert_eq!(fs::read_dir(&journals).unwrap().count(), 0);
    assert_eq!(lab::heal::heal_lab(&run, &tag).unwrap(), []);
    assert!(record.init.unwrap().is_alive(), "the lab lives on");
    lab::down(&run).unwrap();
    nothing_left(&run);
}

/// Leaves a control group, a mount and a loop device as labs have them, and finds each.
#[expect(clippy::disallowed_methods, reason = "the system's own tools")]
pub(crate) fn what_bears_the_mark_of_no_lab_is_removed(_work: &Path) {
    if !firedrill_sys::dirs::is_root() {
        return eprintln!("SKIPPED: only root can leave such things behind");
    }
    let run = run_id("stray");
    let folder = firedrill_sys::dirs::state_dir().join("labs").join(&run);
    fs::create_dir_all(folder.join("at")).unwrap();
    let tool = |line: &str| {
        let line = line.replace("FOLDER", folder.to_str().unwrap());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    };
    tool("mount -t tmpfs stray FOLDER/at && truncate -s 1M FOLDER/image && losetup --find FOLDER/image");
    let mut planted = 2;
    for root in firedrill_sys::cgroup::roots() {
        fs::create_dir_all(root.join(lab::stray::group_name(&run)).join("n1")).unwrap();
        planted += 1;
    }
    // Of another installation, or of nobody that we know.
    let others: Vec<_> =
        firedrill_sys::cgroup::roots().iter().map(|root| root.join(format!("firedrill-{run}"))).collect();
    for group in &others {
        fs::create_dir(group).unwrap();
    }
    let (gone, left) = lab::stray::remove(Some("nobody"));
    assert!(gone.is_empty() && left.is_empty(), "{gone:?} {left:?}");
    let (gone, left) = lab::stray::remove(Some(&run));
    assert_eq!((gone.len(), left.len()), (planted, 0), "{gone:?} {left:?}");
    assert_eq!(lab::stray::remove(Some(&run)).0.len(), 0);
    for group in &others {
        fs::remove_dir(group).unwrap();
    }
    assert_eq!(fs::read_dir(folder.join("at")).unwrap().count(), 0);
    fs::remove_dir_all(&folder).unwrap();
    nothing_left(&run);
}

/// The agent and its guard die together when the volume is cut off from its device, and before it is mounted anew.
#[expect(clippy::disallowed_methods, reason = "this very program, with a failpoint")]
pub(crate) fn power_is_back_before_servers_start_although_the_agent_died(work: &Path) {
    if !can_have_volumes() {
        return eprintln!("SKIPPED: a node can lose its power only where root has loop devices");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("power").arg(work).arg(run_id("power")).env("FIREDRILL_FAILPOINT", "power-after-loss,guard");
    assert!(command.status().unwrap().success());
}

pub(crate) fn power(work: &Path, run: &str) -> ExitCode {
    block_on(async {
        let lab = open_for(work, run, recipe(), &[Deed::LosePower]);
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let undo = lab.prepare(&Action::LosePower { nodes: vec![nodes()[0].clone()] }).await.unwrap();
        let applied = lab.apply(&undo, None).await;
        assert!(applied.is_err(), "the agent has died: {applied:?}");
        // The old server may still answer, without its files.
        until("what was on the volume", || async {
            let body = get(&lab, Vantage::Control, "n1", "name").await?;
            let healed = fs::read_dir(lab::heal::journals_of(run)).unwrap().count() == 0;
            if healed && body == "home of n1" { Ok(()) } else { Err(body) }
        })
        .await;
        let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
        let home = by_hand(&record, "sh -c 'ls -d /run/firedrill/nodes/n1/*'");
        by_hand(&record, &format!("sh -c 'echo x > {0}/tried && sync {0}/tried'", home.trim()));
        stop_and_find_nothing(&lab, run).await;
    });
    ExitCode::SUCCESS
}

/// Replaces words in a journal's header, whose checksum follows.
fn relabel(file: &Path, words: &[(String, String)]) {
    let bytes = fs::read(file).unwrap();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let header = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let json = words.iter().fold(header[9..].to_owned(), |json, (from, to)| json.replace(from, to));
    let sum = firedrill_core::codec::crc32(json.as_bytes());
    let written = [format!("{sum:08x} {json}").as_bytes(), &bytes[end..]].concat();
    fs::write(file, written).unwrap();
}
