//! Records to render: the passing run of a killed primary, and ways for it to go wrong.

use std::collections::BTreeMap;

use firedrill_core::action::Deed;
use firedrill_core::check::Finding;
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Mechanism, Residue};
use firedrill_core::record::{
    CleanRecord, Distribution, Expectation, FaultRecord, LoadRecord, ObjectiveRecord, RUN_SCHEMA, Recovery, RunRecord,
    ScenarioRecord, Tally,
};
use firedrill_core::scenario::{Objective, ObjectiveMeasure, Statistic};
use firedrill_core::seed::Seed;
use firedrill_core::time::Wall;
use firedrill_core::verdict::Verdict;

pub(crate) fn run(repeat: u32) -> RunRecord {
    let fault = FaultRecord {
        id: "kill".to_owned(),
        kind: "process.kill".to_owned(),
        targets: vec![NodeName::new("n1")],
        words: "kill -9 every process of n1 and keep it down".to_owned(),
        onset: Some(10.012),
        healed: Some(30.012),
        finding: Finding::new("fault:kill", Verdict::Pass, "bit, was held 20.000 s and is gone"),
        recovery: Recovery {
            disrupted: true,
            phases: BTreeMap::from([
                (ObjectiveMeasure::Detected, Some(1.012)),
                (ObjectiveMeasure::Elected, Some(1.24)),
                (ObjectiveMeasure::Promoted, Some(1.801)),
                (ObjectiveMeasure::Fenced, Some(0.004)),
                (ObjectiveMeasure::Failover, Some(2.31 + f64::from(repeat))),
                (ObjectiveMeasure::Redundancy, None),
                (ObjectiveMeasure::Drained, Some(3.2)),
            ]),
            outage: Some(2.298),
            watched: 60.0,
            lost_writes: Some(0),
        },
    };
    RunRecord {
        repeat,
        seed: Seed(7).derive(repeat),
        folder: format!("{repeat}"),
        started: Wall { unix_nanos: 1_795_222_923_000_000_000 },
        seconds: 48.25,
        verdict: Verdict::Pass,
        run: Finding::new("run", Verdict::Pass, "started, steady, and loaded to the end"),
        faults: vec![fault],
        findings: vec![
            Finding::new("no-acked-loss", Verdict::Pass, "0 of 15,980 acknowledged writes are lost")
                .figure("acknowledged", 15_980.0)
                .figure("lost-acknowledged", 0.0),
            Finding::new("progress", Verdict::Pass, "at least 391/s after kill"),
            Finding::new("progress", Verdict::Pass, "at least 398/s before kill"),
        ],
        clean: CleanRecord { verdict: Verdict::Pass, residue: vec![], summary: "nothing was left behind".to_owned() },
        load: LoadRecord {
            router: Tally { invoked: 16_050, ok: 15_980, fail: 50, info: 20, shed: 3 },
            direct: Tally { invoked: 900, ok: 250, fail: 640, info: 10, shed: 0 },
            ok_per_second: 396.4,
            latency: [0.0021, 0.014, 2.31],
        },
        phases: vec![("storm".to_owned(), 8.0)],
        cluster: "n1 replica (epoch 2), n2 primary (epoch 2), n3 sync-standby (epoch 2)".to_owned(),
    }
}

pub(crate) fn passing() -> ScenarioRecord {
    ScenarioRecord {
        schema: RUN_SCHEMA,
        version: "0.1.0".to_owned(),
        id: "20261121-010203-primary-kill".to_owned(),
        file: "scenarios/postgres/primary-kill.toml".to_owned(),
        name: "A killed primary must not lose an acknowledged commit".to_owned(),
        tags: vec!["ci".to_owned()],
        guards: vec!["patroni#1".to_owned()],
        seed: Seed(7),
        repeat_command: "firedrill run scenarios/postgres/primary-kill.toml --seed 7".to_owned(),
        system: "patroni".to_owned(),
        platform: "lab".to_owned(),
        started: Wall { unix_nanos: 1_795_222_923_000_000_000 },
        seconds: 48.25,
        environment: BTreeMap::from([("kernel".to_owned(), "6.18.0".to_owned())]),
        mechanisms: vec![Mechanism::best(Deed::KillProcess, "signals from the agent")],
        verdict: Verdict::Pass,
        expectation: None,
        runs: vec![run(0)],
        objectives: vec![objective(Verdict::Pass, Some(2.31), 1)],
        distributions: vec![Distribution {
            fault: "kill".to_owned(),
            measure: ObjectiveMeasure::Failover,
            n: 1,
            never: 0,
            min: Some(2.31),
            p50: Some(2.31),
            p95: None,
            max: Some(2.31),
        }],
    }
}

fn objective(verdict: Verdict, reached: Option<f64>, n: usize) -> ObjectiveRecord {
    ObjectiveRecord {
        objective: Objective {
            measure: ObjectiveMeasure::Failover,
            statistic: Statistic::P50,
            at_most: 20.0,
            text: "20s".to_owned(),
        },
        verdict,
        reached,
        n,
        summary: "p50 of failover is 2.31s of at most 20s".to_owned(),
    }
}

pub(crate) fn lost() -> Finding {
    let mut finding = Finding::new("no-acked-loss", Verdict::Fail, "812 of 15,980 acknowledged writes are lost")
        .figure("acknowledged", 15_980.0)
        .figure("lost-acknowledged", 812.0)
        .figure("at", 12.5);
    for row in 0..9 {
        finding =
            finding.evidence(format!("row {row}: acknowledged by n1 on epoch 1 at 12.50{row}s, on no node at the end"));
    }
    finding
}

/// Three repeats, of which the second loses writes.
pub(crate) fn failing() -> ScenarioRecord {
    let mut record = passing();
    record.runs = vec![run(0), run(1), run(2)];
    record.runs[1].findings[0] = lost();
    record.runs[1].verdict = Verdict::Fail;
    record.verdict = Verdict::Fail;
    record.seconds = 144.75;
    record.objectives = vec![objective(Verdict::Slow, None, 3)];
    record.objectives[0].summary = "p50 of failover is beyond what was watched, of at most 20s".to_owned();
    record.distributions[0] = Distribution { n: 3, never: 2, p50: None, max: None, ..record.distributions[0].clone() };
    record
}

/// Something stays behind, with all that a server can say in it.
pub(crate) fn dirty() -> ScenarioRecord {
    let mut record = passing();
    record.verdict = Verdict::Dirty;
    record.runs[0].verdict = Verdict::Dirty;
    record.runs[0].clean = CleanRecord {
        verdict: Verdict::Dirty,
        residue: vec![Residue {
            what: "nft table fd-1a2b-3 in the switch".to_owned(),
            remedy: "firedrill heal 1a2b".to_owned(),
        }],
        summary: "1 thing was left behind".to_owned(),
    };
    record.runs[0].cluster = "n1 said \u{1b}[2J]]> \0 and \"<&>\"\u{9b}31m".to_owned();
    record
}

/// As [`failing`], with an expectation.
pub(crate) fn expecting(met: bool) -> ScenarioRecord {
    let mut record = if met { failing() } else { passing() };
    if met {
        record.objectives.clear();
    }
    record.verdict = if met { Verdict::Pass } else { Verdict::Fail };
    record.expectation = Some(Expectation {
        met,
        words: if met {
            "found FAIL of no-acked-loss, as it must".to_owned()
        } else {
            "no longer finds FAIL of no-acked-loss: it came to PASS".to_owned()
        },
        found: if met { Verdict::Fail } else { Verdict::Pass },
    });
    record
}
