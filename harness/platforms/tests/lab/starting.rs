//! Starting a lab: what must be there, what is there then, templates, two at once.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Incident, Platform as _, StartError, Started, Vantage};
use firedrill_core::system::Program;
use firedrill_platforms::lab::{self, Lab};

use crate::rig::{
    PYTHON, block_on, by_hand, get, nothing_left, open, recipe, run_id, stop_and_find_nothing, until, whole,
};

pub(crate) fn preflight_finds_what_is_missing(work: &Path) {
    block_on(async {
        let run = run_id("pre");
        let deeds = [Deed::CutLinks, Deed::KillProcess, Deed::PauseProcess];
        let mechanisms = open(work, &run, recipe()).preflight(&deeds).await.unwrap();
        assert_eq!(mechanisms.iter().map(|mechanism| mechanism.deed).collect::<Vec<_>>(), deeds);
        let mut recipe = recipe();
        for name in ["etcd", "patroni"] {
            recipe.programs.push(Program { name: name.into(), path: None, package: format!("{name}-package") });
        }
        recipe.units[0].user = "no-such-user".into();
        let missing = open(work, &run, recipe).preflight(&deeds).await.unwrap_err();
        assert!(missing.iter().any(|missing| missing.what == "program etcd is not installed"), "{missing:?}");
        let install = "apt-get install etcd-package patroni-package";
        assert_eq!(missing.iter().filter(|missing| missing.remedy.ends_with(install)).count(), 2, "{missing:?}");
        if firedrill_sys::dirs::is_root() {
            assert!(missing.iter().any(|missing| missing.what.contains("no-such-user")), "{missing:?}");
        }
        nothing_left(&run);
    });
}

pub(crate) fn nodes_are_reached_and_have_their_own_home(work: &Path) {
    block_on(async {
        let run = run_id("reach");
        let lab = open(work, &run, recipe());
        assert_eq!(lab.start(false).await.unwrap(), Started::Cold);
        whole(&lab).await;
        assert_eq!(get(&lab, Vantage::Clients, "n2", "name").await.unwrap(), "home of n2");
        let log = fs::read_to_string(work.join(format!("run-{run}/nodes/n2/web.log"))).unwrap();
        assert!(log.contains("10.77.0.201") && log.contains("10.77.0.202"), "{log}");
        let mut dials = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let dialer = lab.dialer();
            dials.spawn(async move { dialer.dial(Vantage::Clients, &NodeName::new("n1"), 8000).await });
        }
        assert!(dials.join_all().await.iter().all(Result::is_ok));
        reach_by_hand(&lab);
        stop_and_find_nothing(&lab, &run).await;
        lab.stop().await.unwrap();
        let dialed = lab.dialer().dial(Vantage::Clients, &NodeName::new("n1"), 8000).await;
        assert!(dialed.is_err());
    });
}

/// Runs the commands that people are told.
#[expect(clippy::disallowed_methods, reason = "what a person would type")]
fn reach_by_hand(lab: &Lab) {
    let run = |prefix: &str, more: &[&str]| {
        let mut arguments = prefix.split(' ');
        let output = Command::new(arguments.next().unwrap()).args(arguments).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let places = lab.how_to_reach();
    let fetch = "import urllib.request; print(urllib.request.urlopen('http://10.77.0.2:8000/name').read().decode())";
    assert_eq!(run(&places[0].prefix, &[PYTHON, "-c", fetch]), "home of n2");
    assert_eq!(places[2].place, "on n2 (10.77.0.2)");
    assert_eq!(run(&places[2].prefix, &["cat", "/run/firedrill/home/www/name"]), "home of n2");
}

pub(crate) fn ends_are_reported_and_units_return_when_asked(work: &Path) {
    block_on(async {
        let run = run_id("ends");
        let lab = open(work, &run, recipe());
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let node = NodeName::new("n1");
        let kill = Action::Kill { node: node.clone(), process: None, signal: 9, stay_down: true };
        let undo = lab.prepare(&kill).await.unwrap();
        lab.apply(&undo, None).await.unwrap();
        let mut ended = Vec::new();
        for _ in 0..2 {
            match tokio::time::timeout(Duration::from_secs(10), lab.incident()).await.unwrap() {
                Incident::UnitExited { node: of, unit, status } => {
                    assert_eq!(of, node);
                    assert_eq!(status, "signal 9 (SIGKILL)");
                    ended.push(unit);
                }
                Incident::AgentDied { detail } => panic!("{detail}"),
            }
        }
        ended.sort();
        assert_eq!(ended, ["late", "web"]);
        assert!(get(&lab, Vantage::Control, "n1", "name").await.is_err());
        lab.revert(&undo).await.unwrap();
        whole(&lab).await;
        stop_and_find_nothing(&lab, &run).await;
    });
}

/// The first time its main thread ends before another one does, so that it is dead for everybody but its init; later it serves.
const DIES_SLOWLY: &str = "
import ctypes, os, threading, time
if os.path.exists('born'):
    os.execv('/usr/bin/python3', 'python3 -m http.server 8000 --directory www'.split())
def last():
    while not os.path.exists('end'): time.sleep(0.01)
    os._exit(0)
threading.Thread(target=last).start()
with open('pid', 'w') as file: file.write(str(os.getpid()))
os.rename('pid', 'born')
# exit(2), which ends the calling thread alone
ctypes.CDLL(None).syscall({'x86_64': 60}.get(os.uname().machine, 93), 0)
";

pub(crate) fn a_unit_that_is_asked_for_while_it_dies_comes_back(work: &Path) {
    block_on(async {
        let run = run_id("dying");
        let mut slow = recipe();
        let web = slow.units.iter_mut().find(|unit| unit.name == "web").unwrap();
        web.argv = [PYTHON, "-c", DIES_SLOWLY].map(Into::into).to_vec();
        let lab = open(work, &run, slow);
        lab.start(false).await.unwrap();
        let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
        let home = "/run/firedrill/nodes/n1/home";
        until("the end of its main thread", || async {
            let stat = by_hand(&record, &format!("sh -c 'cat /proc/$(cat {home}/born)/stat || true'"));
            if stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        })
        .await;
        let ensure = "import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"/run/firedrill/init.sock\"); \
                      s.sendall(b\"ensure n1\\n\"); print(s.recv(99).decode())";
        assert_eq!(by_hand(&record, &format!("{PYTHON} -c '{ensure}'")).trim(), "ok");
        by_hand(&record, &format!("touch {home}/end"));
        whole(&lab).await;
        stop_and_find_nothing(&lab, &run).await;
    });
}

pub(crate) fn a_failed_start_leaves_nothing(work: &Path) {
    block_on(async {
        let run = run_id("fail");
        let mut broken = recipe();
        broken.files[1].path = "../outside".into();
        let lab = open(work, &run, broken);
        let error = lab.start(false).await.unwrap_err();
        assert!(
            matches!(&error, StartError::Other { source: Some(source), .. } if source.to_string().contains("outside"))
        );
        nothing_left(&run);

        // A unit that cannot be started is an incident, which the engine makes the end of the start.
        let mut broken = recipe();
        broken.units[0].argv = vec!["/no/such/program".into()];
        let lab = open(work, &run, broken);
        lab.start(false).await.unwrap();
        let incident = tokio::time::timeout(Duration::from_secs(10), lab.incident()).await.unwrap();
        assert!(
            matches!(&incident, Incident::UnitExited { unit, status, .. }
            if unit == "web" && status.contains("/no/such/program")),
            "{incident:?}"
        );
        let lines = lab.last_log_lines(&NodeName::new("n1"), 3);
        assert!(lines.iter().any(|line| line.contains("/no/such/program")), "{lines:?}");
        stop_and_find_nothing(&lab, &run).await;

        // A start that is dropped half-way, as by Ctrl-C.
        let lab = open(work, &run, recipe());
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            // A start that is as fast as this must leave nothing either.
            started = lab.start(false) => drop(started.unwrap()),
        }
        stop_and_find_nothing(&lab, &run).await;
    });
}

pub(crate) fn a_template_is_cloned(work: &Path) {
    block_on(async {
        let run = run_id("tmpl");
        // A recipe of its own, so that its template is its own.
        let mut recipe = recipe();
        recipe.units[0].env.insert("RUN".to_owned(), run.clone());
        let lab = open(work, &run, recipe.clone());
        lab.discard_template().await;
        assert_eq!(lab.start(true).await.unwrap(), Started::Cold);
        whole(&lab).await;
        let home = firedrill_sys::dirs::state_dir().join("labs").join(&run).join("n1");
        fs::write(home.join("grown"), "later").unwrap();
        lab.save_template().await.unwrap();
        whole(&lab).await;
        let quiet = tokio::time::timeout(Duration::from_millis(200), lab.incident()).await;
        assert!(quiet.is_err(), "an end that was asked for is no incident: {quiet:?}");
        stop_and_find_nothing(&lab, &run).await;

        let second = open(work, &run, recipe);
        assert_eq!(second.start(true).await.unwrap(), Started::FromTemplate);
        whole(&second).await;
        assert_eq!(fs::read_to_string(home.join("grown")).unwrap(), "later");
        stop_and_find_nothing(&second, &run).await;
        second.discard_template().await;
        assert_eq!(second.start(true).await.unwrap(), Started::Cold);
        stop_and_find_nothing(&second, &run).await;
    });
}

pub(crate) fn two_labs_do_not_meet(work: &Path) {
    block_on(async {
        let (run_a, run_b) = (run_id("twoa"), run_id("twob"));
        let mut of_b = recipe();
        for file in &mut of_b.files {
            file.content = file.content.take().map(|content| format!("{content}, the other"));
        }
        let (a, b) = (open(work, &run_a, recipe()), open(work, &run_b, of_b));
        let (started_a, started_b) = tokio::join!(a.start(false), b.start(false));
        assert_eq!((started_a.unwrap(), started_b.unwrap()), (Started::Cold, Started::Cold));
        whole(&a).await;
        let body = until("an answer", || get(&b, Vantage::Clients, "n1", "name")).await;
        assert_eq!(body, "home of n1, the other");
        assert_eq!(lab::sweep(), Vec::<String>::new());
        let same = open(work, &run_a, recipe()).start(false).await;
        assert!(same.is_err(), "a second lab of the same id");
        whole(&a).await;
        stop_and_find_nothing(&a, &run_a).await;
        let body = get(&b, Vantage::Control, "n2", "name").await.unwrap();
        assert_eq!(body, "home of n2, the other");
        stop_and_find_nothing(&b, &run_b).await;
    });
}
