//! A small lab: two nodes, each with a file server of Python's, and what is looked at of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, OpenRequest, Platform as _, Vantage};
use firedrill_core::seed::Seed;
use firedrill_core::system::{HomeFile, LabRecipe, Program, TemplateEnd, Unit};
use firedrill_core::time::Clock;
use firedrill_core::wait;
use firedrill_platforms::lab::{self, Lab};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Seen by nobody else's run on this machine.
pub(crate) fn run_id(name: &str) -> String {
    format!("t{}{name}", std::process::id())
}

/// The distribution's; one in somebody's home would be closed to the servers' user.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

pub(crate) fn nodes() -> Vec<NodeName> {
    NodeName::numbered(2)
}

/// On each node: `web`, a file server on port 8000, and `late`, which starts once that answers.
pub(crate) fn recipe() -> LabRecipe {
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

pub(crate) fn open(work: &Path, run: &str, recipe: LabRecipe) -> Lab {
    open_for(work, run, recipe, &[])
}

/// With what faults of these deeds need from the start.
pub(crate) fn open_for(work: &Path, run: &str, recipe: LabRecipe, deeds: &[Deed]) -> Lab {
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

/// Whether nodes can have volumes of their own here.
pub(crate) fn can_have_volumes() -> bool {
    firedrill_sys::dirs::is_root() && Path::new("/dev/loop-control").exists()
}

pub(crate) async fn until<T, F, Look>(what: &str, look: F) -> T
where
    F: FnMut() -> Look,
    Look: Future<Output = Result<T, String>>,
{
    let waited = wait::until(what, Clock::start(), Duration::from_secs(20), Duration::from_millis(20), look).await;
    waited.unwrap_or_else(|timed_out| panic!("{timed_out}"))
}

/// What the web server of `node` says to `GET /<path>`.
pub(crate) async fn get(lab: &Lab, from: Vantage, node: &str, path: &str) -> Result<String, String> {
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

pub(crate) async fn whole(lab: &Lab) {
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

pub(crate) async fn stop_and_find_nothing(lab: &Lab, run: &str) {
    lab.stop().await.unwrap();
    assert!(lab.inventory().await.unwrap().items.is_empty(), "{:?}", lab.inventory().await);
    nothing_left(run);
}

/// Looks on the host itself, not where the lab keeps its books.
pub(crate) fn nothing_left(run: &str) {
    assert_eq!(remains(run), Vec::<String>::new());
}

pub(crate) fn remains(run: &str) -> Vec<String> {
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

/// Does something by hand at a place of a lab.
#[expect(clippy::disallowed_methods, reason = "the system's own tools")]
pub(crate) fn by_hand(record: &lab::Record, command: &str) -> String {
    let init = record.init.unwrap().pid;
    let user = if firedrill_sys::dirs::is_root() { "" } else { "--user --preserve-credentials " };
    let line = format!("nsenter --target {init} {user}--pid --mount --net {command}");
    // An ordinary user's path may lack the folder that nft is in.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new("sh").args(["-c", &line]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a harness to be killed")]
pub(crate) fn in_process(verb: &str, work: &Path, run: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg(verb).arg(work).arg(run).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "running\n");
    child
}

/// In a process of its own: a harness that starts a lab and then waits to be killed.
pub(crate) fn hold(work: &Path, run: &str) -> ExitCode {
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

pub(crate) fn up(work: &Path, run: &str) -> ExitCode {
    block_on(async {
        let lab = open(work, run, recipe());
        lab.start(false).await.unwrap();
        whole(&lab).await;
        lab.detach().await.unwrap();
    });
    println!("running");
    ExitCode::SUCCESS
}
