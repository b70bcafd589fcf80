//! Help, listings and refusals, by snapshot.

use std::fs;

use expect_test::expect_file;

use crate::command::{firedrill, firedrill_in};

#[test]
fn help_shows_verbs_and_exit_codes() {
    let help = firedrill(&["--help"]);
    assert_eq!(help.code, 0);
    expect_file!["snapshots/help.txt"].assert_eq(&help.stdout);
    for verb in ["run", "plan", "validate", "list", "doctor", "judge", "report", "heal", "up", "down"] {
        let help = firedrill(&[verb, "--help"]);
        assert_eq!((help.code, help.stdout.contains("Usage: firedrill")), (0, true), "{verb}");
    }
    expect_file!["snapshots/help-run.txt"].assert_eq(&firedrill(&["run", "--help"]).stdout);
}

#[test]
fn usage_errors_exit_with_2() {
    for args in [&["runn"][..], &["run"][..], &["run", "x.toml", "--seed", "seven"][..], &["heal"][..], &[][..]] {
        assert_eq!(firedrill(args).code, 2, "{args:?}");
    }
}

#[test]
fn listing_names_everything_with_its_summary() {
    let list = firedrill(&["list"]);
    assert_eq!(list.code, 0);
    expect_file!["snapshots/list.txt"].assert_eq(&list.stdout);
    let fault = firedrill(&["list", "faults", "net.partition"]);
    expect_file!["snapshots/list-fault.txt"].assert_eq(&fault.stdout);
    let json: serde_json::Value = serde_json::from_str(&firedrill(&["list", "--json"]).stdout).unwrap();
    let names: Vec<&str> = json.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    for name in ["net.partition", "patroni", "lab", "ledger", "no-acked-loss", "junit"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let fault = firedrill(&["list", "faults", "net.partitoin"]);
    assert_eq!(fault.code, 2);
    assert_eq!(fault.stderr, "error: no fault is called `net.partitoin`\n  help: did you mean `net.partition`?\n");
    let platform = firedrill(&["validate", "scenarios/smoke", "--on", "lba"]);
    assert_eq!((platform.code, platform.stderr.contains("did you mean `lab`?")), (2, true));
    let reporter = firedrill(&["report", "nowhere", "--format", "junti"]);
    assert_eq!((reporter.code, reporter.stderr.contains("did you mean `junit`?")), (2, true));
}

#[test]
fn doctor_answers_for_every_fault_and_exits_accordingly() {
    let state = tempfile::tempdir().unwrap();
    let doctor = |args: &[&str]| firedrill_in(state.path(), &[&["doctor"], args].concat());
    let simulated = doctor(&["--platform", "sim", "node.crash", "process"]);
    assert_eq!((simulated.stderr.as_str(), simulated.stdout.contains("node.crash")), ("", true));
    for args in [&["--platform", "sim"][..], &["--platform", "lab"], &[]] {
        let ended = doctor(&[args, &["--json"]].concat());
        let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let found = found.as_array().unwrap();
        let kinds: Vec<&str> = found.iter().map(|each| each["fault"].as_str().unwrap()).collect();
        let all: Vec<&str> = firedrill_faults::FAULTS.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, all, "{args:?}");
        let cannot = found.iter().filter(|each| each["status"] == "cannot");
        let why = cannot.clone().all(|each| !each["missing"][0]["remedy"].as_str().unwrap().is_empty());
        assert!(why, "{}", ended.stdout);
        assert_eq!(ended.code, i32::from(cannot.count() > 0), "{}", ended.stdout);
    }
    let unknown = doctor(&["node.crahs"]);
    assert_eq!((unknown.code, unknown.stderr.contains("did you mean `node.crash`?")), (2, true));
    assert_eq!(doctor(&["--platform", "lba"]).code, 2);
}

const TYPOS: &str = "\
firedrill = 1
name = \"A scenario with typos\"

[cluster]
system   = \"simm\"
platform = \"sim\"
nods     = 3

[workload]
kind = \"ledger\"
rate = \"100\"

[[fault]]
id   = \"kill\"
kind = \"process.kil\"
on   = \"primray\"
at   = \"5s\"

[[invariant]]
check = \"no-acked-loss\"
";

#[test]
fn every_typo_is_shown_at_once_and_nothing_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("typos.toml");
    fs::write(&file, TYPOS).unwrap();
    let name = file.to_str().unwrap();
    for verb in ["validate", "plan", "run"] {
        let ended = firedrill(&[verb, name]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{verb}");
        let shown = ended.stderr.replace(name, "typos.toml");
        if verb == "validate" {
            expect_file!["snapshots/typos.txt"].assert_eq(&shown);
        } else {
            assert!(shown.ends_with("nothing was touched\n"), "{shown}");
        }
    }
}

/// One of each kind that the issue of this tool's first step names, in one file.
const MISTAKES: &str = "\
firedrill = 1
name = \"A scenario with every kind of mistake\"
colour = \"red\"

[cluster]
system   = \"sim\"
platform = \"sim\"
nodes    = 0

[workload]
kind     = \"ledger\"
rate     = \"100/s\"
duration = \"20s\"
timeout  = \"2 parsecs\"

[[fault]]
id   = \"long\"
kind = \"process.kill\"
on   = \"primary\"
at   = \"5s\"
for  = \"1m\"

[[fault]]
id   = \"whom\"
kind = \"process.pause\"
on   = \"secondary\"
at   = \"5s\"
for  = \"1s\"

[[fault]]
id    = \"orphan\"
kind  = \"process.pause\"
on    = \"primary\"
after = \"lnog.healed\"
for   = \"1s\"

[[fault]]
id    = \"hen\"
kind  = \"process.pause\"
on    = \"primary\"
after = \"egg.healed + 1s\"
for   = \"1s\"

[[fault]]
id    = \"egg\"
kind  = \"process.pause\"
on    = \"primary\"
after = \"hen + 1s\"
for   = \"1s\"

[[invariant]]
check = \"no-acked-loss\"
";

#[test]
fn every_kind_of_mistake_is_shown_at_once_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, out, junit) = (path("mistakes.toml"), path("runs"), path("all.xml"));
    fs::write(&file, MISTAKES).unwrap();
    let ended =
        firedrill_in(&folder.path().join("state"), &["run", &file, "--out", &out, "--junit", &junit, "--on", "sim"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    expect_file!["snapshots/mistakes.txt"].assert_eq(&ended.stderr.replace(&file, "mistakes.toml"));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mistakes.toml"]);
}

#[test]
fn files_and_tags_that_are_not_there_say_what_is() {
    let missing = firedrill(&["run", "scenarios/smoke/helthy.toml"]);
    assert_eq!(missing.code, 2);
    let tag = firedrill(&["validate", "scenarios/smoke", "--tag", "nothing-has-this"]);
    assert_eq!((tag.code, tag.stderr.contains("tags: ")), (2, true), "{}", tag.stderr);
    let near = firedrill(&["validate", "scenarios/smoke/healthy.tom"]);
    assert!(near.stderr.contains("there is: scenarios/smoke/healthy.toml"), "{}", near.stderr);
}

#[test]
fn shipped_scenarios_are_valid() {
    let all = firedrill(&["validate", "scenarios"]);
    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    assert!(all.stdout.lines().all(|line| line.starts_with("OK  ")) && all.stdout.lines().count() > 10);
}

#[test]
fn names_are_answered_wrongly_only_where_somebody_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let check = |system: &str, names: &str, of: &str| {
        let path = folder.path().join("dns.toml");
        let fault = "kind = 'net.dns'\nanswer = 'nobody'\non = 'n1'\nat = '1s'\nfor = '5s'";
        let load = "[workload]\nkind = 'ledger'\n[[invariant]]\ncheck = 'single-writer'";
        let cluster = format!("[cluster]\nsystem = '{system}'\n[cluster.{system}]\n{names}");
        let text = format!("firedrill = 1\nname = 'x'\n{cluster}\n{load}\n[[fault]]\n{fault}\nnames = ['{of}']\n");
        fs::write(&path, text).unwrap();
        firedrill(&["validate", path.to_str().unwrap()])
    };
    for (system, names, of, want) in [
        ("patroni", "names = true", "n3", None),
        ("etcd", "names = true", "n3", None),
        ("patroni", "", "n3", Some("write `names = true` under [cluster.patroni]")),
        ("etcd", "names = false", "n3", Some("write `names = true` under [cluster.etcd]")),
        ("redis-sentinel", "", "n3", Some("leave the fault out, or use a system")),
        ("patroni", "names = true", "n4", Some("there is no node `n4` whose name could be asked for")),
    ] {
        let ended = check(system, names, of);
        assert_eq!(ended.code, if want.is_some() { 2 } else { 0 }, "{}{}", ended.stdout, ended.stderr);
        // Long lines are wrapped.
        let words: Vec<&str> = ended.stderr.split_whitespace().filter(|word| *word != "│").collect();
        assert!(words.join(" ").contains(want.unwrap_or_default()), "{}", ended.stderr);
    }
}
