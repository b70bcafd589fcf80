//! The lab on this machine, with a small server of Python's as the system. A program of its own, without libtest,
//! because the lab starts its own program again.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test, though not libtest's")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use firedrill_core::action::{Action, Deed, Endpoint, Link, Presence};
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Incident, OpenRequest, Platform as _, StartError, Started, Vantage};
use firedrill_core::seed::Seed;
use firedrill_core::system::{HomeFile, LabRecipe, Program, TemplateEnd, Unit};
use firedrill_core::time::Clock;
use firedrill_core::wait;
use firedrill_platforms::lab::{self, Lab, Purpose};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[path = "lab/names.rs"]
mod names;

/// Seen by nobody else's run on this machine.
fn run_id(name: &str) -> String {
    format!("t{}{name}", std::process::id())
}

/// The distribution's; one in somebody's home would be closed to the servers' user.
const PYTHON: &str = "/usr/bin/python3";

/// A case and its name.
type Case = (&'static str, fn(&Path));

const CASES: &[Case] = &[
    ("preflight_finds_what_is_missing", preflight_finds_what_is_missing),
    ("nodes_are_reached_and_have_their_own_home", nodes_are_reached_and_have_their_own_home),
    ("nodes_with_names_ask_the_labs_name_server", names::nodes_with_names_ask_the_labs_name_server),
    ("ends_are_reported_and_units_return_when_asked", ends_are_reported_and_units_return_when_asked),
    ("a_cut_bites_and_heals", a_cut_bites_and_heals),
    ("a_failed_start_leaves_nothing", a_failed_start_leaves_nothing),
    ("a_template_is_cloned", a_template_is_cloned),
    ("two_labs_do_not_meet", two_labs_do_not_meet),
    ("kill_9_of_the_harness_ends_the_lab", kill_9_of_the_harness_ends_the_lab),
    ("kill_9_of_the_holder_leaves_what_sweep_removes", kill_9_of_the_holder_leaves_what_sweep_removes),
    ("up_lives_on_until_down", up_lives_on_until_down),
    ("what_is_left_in_a_lab_that_lives_on_is_healed_inside", what_is_left_in_a_lab_that_lives_on_is_healed_inside),
    ("what_bears_the_mark_of_no_lab_is_removed", what_bears_the_mark_of_no_lab_is_removed),
    (
        "power_is_back_before_servers_start_although_the_agent_died",
        power_is_back_before_servers_start_although_the_agent_died,
    ),
    ("an_unwound_panic_ends_the_lab", an_unwound_panic_ends_the_lab),
    ("an_ordinary_user_can_do_all_this", an_ordinary_user_can_do_all_this),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let first = arguments.get(1).map(|argument| argument.to_string_lossy().into_owned()).unwrap_or_default();
    match (first.as_str(), arguments.get(2), arguments.get(3)) {
        (lab::init::ARGUMENT, _, _) => lab::init::main(),
        (lab::heal::INSIDE, _, _) => heal_inside(),
        ("power", Some(work), Some(run)) => power(Path::new(work), &run.to_string_lossy()),
        ("hold", Some(work), Some(run)) => hold(Path::new(work), &run.to_string_lossy()),
        ("up", Some(work), Some(run)) => up(Path::new(work), &run.to_string_lossy()),
        ("--list", _, _) => ExitCode::SUCCESS,
        _ => run_cases(&first),
    }
}

fn run_cases(filter: &str) -> ExitCode {
    let filter = if filter.starts_with("--") { "" } else { filter };
    if !Path::new(PYTHON).exists() {
        eprintln!("SKIPPED: lab: {PYTHON} is not installed");
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(filter)) {
        let work = tempfile::tempdir().expect("a folder");
        let fine = std::panic::catch_unwind(AssertUnwindSafe(|| case(work.path()))).is_ok();
        (passed, failed) = if fine { (passed + 1, failed) } else { (passed, failed + 1) };
        println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn nodes() -> Vec<NodeName> {
    NodeName::numbered(2)
}

/// On each node: `web`, a file server on port 8000, and `late`, which starts once that answers.
fn recipe() -> LabRecipe {
    let mut recipe = LabRecipe {
        programs: vec![Program { name: "python3".into(), path: Some(PYTHON.into()), package: "python3".into() }],
        units: Vec::new(),
        files: Vec::new(),
        clocks: BTreeMap::new(),
        names: false,
    };
    let late = "import socket, time; socket.create_connection(('127.0.0.1', 8000)); print('late on', socket.gethostname(), flush=True); time.sleep(600)";
    for node in nodes() {
        let unit = |name: &str, argv: &[&str], needs_port| Unit {
            node: node.clone(),
            name: name.into(),
            argv: std::iter::once(PYTHON).chain(argv.iter().copied()).map(Into::into).collect(),
            env: BTreeMap::from([("PYTHONUNBUFFERED".to_owned(), "1".to_owned())]),
            user: "nobody".into(),
            needs_port,
            for_template: TemplateEnd::default(),
        };
        recipe.units.push(unit("web", &["-m", "http.server", "8000", "--directory", "www"], None));
        recipe.units.push(unit("late", &["-c", late], Some(8000)));
        let file = |path: &str, content: Option<String>, mode| HomeFile {
            node: node.clone(),
            path: path.into(),
            content,
            mode,
            user: "nobody".into(),
        };
        recipe.files.push(file("www", None, 0o755));
        recipe.files.push(file("www/name", Some(format!("home of {node}")), 0o644));
    }
    recipe
}

fn open(work: &Path, run: &str, recipe: LabRecipe) -> Lab {
    open_for(work, run, recipe, &[])
}

/// With what faults of these deeds need from the start.
fn open_for(work: &Path, run: &str, recipe: LabRecipe, deeds: &[Deed]) -> Lab {
    let mut needs = firedrill_core::fault::Needs::default();
    needs.deeds.extend(deeds);
    let run_dir = work.join(format!("run-{run}"));
    fs::create_dir_all(&run_dir).unwrap();
    let request = OpenRequest {
        run_id: run.to_owned(),
        nodes: nodes(),
        lab: Some(recipe),
        sim: None,
        needs,
        run_dir,
        lease: Duration::from_secs(5),
        seed: Seed(1),
        clock: Clock::start(),
        against: None,
    };
    Lab::open(request).unwrap()
}

async fn until<T, F, Look>(what: &str, look: F) -> T
where
    F: FnMut() -> Look,
    Look: Future<Output = Result<T, String>>,
{
    let waited = wait::until(what, Clock::start(), Duration::from_secs(20), Duration::from_millis(20), look).await;
    waited.unwrap_or_else(|timed_out| panic!("{timed_out}"))
}

/// What the web server of `node` says to `GET /<path>`.
async fn get(lab: &Lab, from: Vantage, node: &str, path: &str) -> Result<String, String> {
    let asked = async {
        let mut stream: BoxStream = lab.dialer().dial(from, &NodeName::new(node), 8000).await?;
        stream.write_all(format!("GET /{path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).ok_or(answer)
}

async fn whole(lab: &Lab) {
    for node in ["n1", "n2"] {
        let body = until("an answer", || get(lab, Vantage::Control, node, "name")).await;
        assert_eq!(body, format!("home of {node}"));
        until("the late unit", || async {
            let lines = lab.last_log_lines(&NodeName::new(node), 5);
            let found = lines.iter().any(|line| *line == format!("late: late on {node}"));
            if found { Ok(()) } else { Err(format!("{lines:?}")) }
        })
        .await;
    }
}

async fn stop_and_find_nothing(lab: &Lab, run: &str) {
    lab.stop().await.unwrap();
    assert!(lab.inventory().await.unwrap().items.is_empty(), "{:?}", lab.inventory().await);
    nothing_left(run);
}

/// Looks on the host itself, not where the lab keeps its books.
fn nothing_left(run: &str) {
    assert_eq!(remains(run), Vec::<String>::new());
}

fn remains(run: &str) -> Vec<String> {
    let mut found = Vec::new();
    let state = firedrill_sys::dirs::state_dir().join("labs").join(run);
    if state.exists() {
        found.push(state.display().to_string());
    }
    for root in firedrill_sys::cgroup::roots() {
        let groups = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        let of_run = |group: &Path| group.file_name().is_some_and(|name| name.to_string_lossy().ends_with(run));
        found.extend(groups.filter(|group| of_run(group)).map(|group| group.display().to_string()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(run)).map(|line| format!("mount {line}")));
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(run) && command.contains(lab::init::ARGUMENT) {
            found.push(format!("process {} {command}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

fn preflight_finds_what_is_missing(work: &Path) {
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

fn nodes_are_reached_and_have_their_own_home(work: &Path) {
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

fn ends_are_reported_and_units_return_when_asked(work: &Path) {
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

fn a_cut_bites_and_heals(work: &Path) {
    block_on(async {
        let run = run_id("cut");
        let lab = open(work, &run, recipe());
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let before = lab.inventory().await.unwrap();
        let link = |from, to| Link { from, to };
        let n1 = Endpoint::Node(NodeName::new("n1"));
        let cut =
            Action::Cut { links: vec![link(Endpoint::Clients, n1.clone()), link(n1, Endpoint::Clients)], port: None };
        let undo = lab.prepare(&cut).await.unwrap();
        lab.apply(&undo, None).await.unwrap();
        assert_eq!(lab.probe(&undo).await.presence, Presence::Full);
        assert_eq!(get(&lab, Vantage::Clients, "n1", "name").await, Err("no answer".to_owned()));
        assert_eq!(get(&lab, Vantage::Control, "n1", "name").await.unwrap(), "home of n1");
        assert!(!lab.residue(&before, &lab.inventory().await.unwrap()).is_empty());
        lab.revert(&undo).await.unwrap();
        assert_eq!(lab.probe(&undo).await.presence, Presence::Absent);
        assert_eq!(get(&lab, Vantage::Clients, "n1", "name").await.unwrap(), "home of n1");
        assert_eq!(lab.inventory().await.unwrap(), before);
        stop_and_find_nothing(&lab, &run).await;
    });
}

fn a_failed_start_leaves_nothing(work: &Path) {
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

fn a_template_is_cloned(work: &Path) {
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

fn two_labs_do_not_meet(work: &Path) {
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

/// In a process of its own: a harness that starts a lab and then waits to be killed.
fn hold(work: &Path, run: &str) -> ExitCode {
    block_on(async {
        let lab = open(work, run, recipe());
        lab.start(false).await.unwrap();
        whole(&lab).await;
        println!("running");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

#[expect(clippy::disallowed_methods, reason = "a harness to be killed")]
fn in_process(verb: &str, work: &Path, run: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg(verb).arg(work).arg(run).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "running\n");
    child
}

fn kill_9_of_the_harness_ends_the_lab(work: &Path) {
    let run = run_id("kill");
    let mut harness = in_process("hold", work, &run);
    assert!(!remains(&run).is_empty(), "the lab must be there before it can go");
    harness.kill().unwrap();
    harness.wait().unwrap();
    block_on(until("the end of everything", || async {
        let left = remains(&run);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    }));
}

fn kill_9_of_the_holder_leaves_what_sweep_removes(work: &Path) {
    let run = run_id("hold");
    let mut harness = in_process("hold", work, &run);
    let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
    assert_eq!(lab::sweep(), Vec::<String>::new(), "a live lab is spared");
    record.holder.unwrap().kill().unwrap();
    harness.kill().unwrap();
    harness.wait().unwrap();
    assert!(record.init.unwrap().wait_gone(Duration::from_secs(20)).unwrap(), "init ends with the holder");
    assert!(!remains(&run).is_empty());
    assert!(!lab::leftovers(&run).is_empty());
    let said = lab::sweep();
    assert!(said.iter().any(|line| line.contains(&run)), "{said:?}");
    nothing_left(&run);
}

fn up(work: &Path, run: &str) -> ExitCode {
    block_on(async {
        let lab = open(work, run, recipe());
        lab.start(false).await.unwrap();
        whole(&lab).await;
        lab.detach().await.unwrap();
    });
    println!("running");
    ExitCode::SUCCESS
}

fn up_lives_on_until_down(work: &Path) {
    let run = run_id("up");
    assert!(in_process("up", work, &run).wait().unwrap().success());
    assert_eq!(lab::sweep(), Vec::<String>::new());
    let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
    assert_eq!(record.purpose, Purpose::Up);
    assert!(record.reach[0].prefix.contains("nsenter"), "{record:?}");
    assert!(record.init.unwrap().is_alive());
    lab::down(&run).unwrap();
    nothing_left(&run);
    assert!(lab::down(&run).is_err(), "there is no such lab any more");
}

/// As the command does.
fn heal_inside() -> ExitCode {
    for told in lab::heal::print_inside().unwrap() {
        println!("{}", serde_json::to_string(&told).unwrap());
    }
    ExitCode::SUCCESS
}

/// Does something by hand at a place of a lab.
#[expect(clippy::disallowed_methods, reason = "the system's own tools")]
fn by_hand(record: &lab::Record, command: &str) -> String {
    let init = record.init.unwrap().pid;
    let user = if firedrill_sys::dirs::is_root() { "" } else { "--user --preserve-credentials " };
    let line = format!("nsenter --target {init} {user}--pid --mount --net {command}");
    // An ordinary user's path may lack the folder that nft is in.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new("sh").args(["-c", &line]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn what_is_left_in_a_lab_that_lives_on_is_healed_inside(work: &Path) {
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
fn what_bears_the_mark_of_no_lab_is_removed(_work: &Path) {
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
fn power_is_back_before_servers_start_although_the_agent_died(work: &Path) {
    if !firedrill_sys::dirs::is_root() || !Path::new("/dev/loop-control").exists() {
        return eprintln!("SKIPPED: a node can lose its power only where root has loop devices");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("power").arg(work).arg(run_id("power")).env("FIREDRILL_FAILPOINT", "power-after-loss,guard");
    assert!(command.status().unwrap().success());
}

fn power(work: &Path, run: &str) -> ExitCode {
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

fn an_unwound_panic_ends_the_lab(work: &Path) {
    let run = run_id("panic");
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        block_on(async {
            let lab = Arc::new(open(work, &run, recipe()));
            lab.start(false).await.unwrap();
            std::panic::resume_unwind(Box::new("a bug"));
        });
    }));
    assert!(panicked.is_err());
    block_on(until("the end of everything", || async {
        // The holder remains as this process's unreaped child, whose command line is empty.
        let left = remains(&run);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    }));
}

/// As root: runs all the other cases again as an ordinary user of this machine.
#[expect(clippy::disallowed_methods, reason = "becomes another user")]
fn an_ordinary_user_can_do_all_this(work: &Path) {
    if !firedrill_sys::dirs::is_root() {
        return;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ordinary = users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2).map(|field| field.parse::<u32>().ok());
        let (uid, gid) = (fields.next()??, fields.next()??);
        (1000..60_000).contains(&uid).then_some((uid, gid))
    });
    let Some((uid, gid)) = ordinary else {
        eprintln!("SKIPPED: lab as an ordinary user: there is none in /etc/passwd");
        return;
    };
    // Where cargo builds may be closed to other users.
    let program = copy_for_all(&std::env::current_exe().unwrap(), work);
    let agent = std::env::current_exe()
        .unwrap()
        .ancestors()
        .skip(1)
        .take(2)
        .map(|at| at.join("firedrill-agent"))
        .find(|path| path.exists());
    let agent = copy_for_all(&agent.unwrap(), work);
    std::os::unix::fs::chown(work, Some(uid), Some(gid)).unwrap();
    let output = Command::new("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()])
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", work)
        .env("TMPDIR", work)
        .env("FIREDRILL_AGENT", agent)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.starts_with("test ")) {
        println!("  as user {uid}: {line}");
    }
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn copy_for_all(from: &Path, work: &Path) -> PathBuf {
    let to = work.join(from.file_name().unwrap());
    fs::copy(from, &to).unwrap();
    to
}
