//! What is shown for the story of a killed primary.

use std::path::PathBuf;
use std::time::Duration;

use expect_test::expect_file;
use firedrill_core::action::{Action, Effect, Presence};
use firedrill_core::cluster::NodeName;
use firedrill_core::event::{Event, Moment, Phase, Stamped};
use firedrill_core::seed::Seed;
use firedrill_core::time::{RunTime, Wall};
use firedrill_engine::observe::{Progress, Tick};
use firedrill_reports::console::Style;

use super::Painter;
use super::live::Live;
use super::plain::Plain;
use crate::terminal::Terminal;

fn event(millis: u64, event: Event) -> Progress {
    Progress::Event(Stamped { at: RunTime::from_millis(millis), event })
}

fn tick(millis: u64, primary: Option<&str>, active: &[&str]) -> Progress {
    let at = RunTime::from_millis(millis);
    let start = RunTime::from_millis(10_000);
    Progress::Tick(Tick {
        at,
        phase: Phase::Storm,
        ok_per_second: if primary.is_some() { 398.0 } else { 0.0 },
        bad_per_second: 2.0,
        primary: primary.map(ToOwned::to_owned),
        cluster: "n1 primary (epoch 1), n2 sync-standby (epoch 1)".to_owned(),
        active: active.iter().map(|id| (*id).to_owned()).collect(),
        storm: Some((start, start.plus(Duration::from_secs(60)))),
    })
}

fn story() -> Vec<Progress> {
    let effect = Effect { presence: Presence::Full, evidence: "12 of 12 processes are gone".to_owned() };
    let action = Action::Kill { node: NodeName::new("n1"), process: None, signal: 9, stay_down: true };
    vec![
        Progress::Started {
            name: "A killed primary".to_owned(),
            repeat: (0, 2),
            seed: Seed(7),
            repeat_command: "firedrill run a.toml --seed 7".to_owned(),
            folder: PathBuf::from("runs/x/1"),
        },
        event(0, Event::Phase { phase: Phase::Storm, wall: Wall { unix_nanos: 0 } }),
        tick(10_000, Some("n1"), &[]),
        event(
            20_000,
            Event::FaultOnset {
                fault: "kill".to_owned(),
                kind: "process.kill".to_owned(),
                targets: vec![NodeName::new("n1")],
                words: "kill everything of \u{1b}[2Jn1".to_owned(),
            },
        ),
        event(
            20_001,
            Event::StepApplied {
                fault: "kill".to_owned(),
                step: 0,
                action,
                hold_nanos: Some(20_000_000_000),
                from: RunTime::from_millis(20_001),
            },
        ),
        event(20_010, Event::StepProof { fault: "kill".to_owned(), step: 0, moment: Moment::Onset, effect }),
        event(21_000, Event::Leader { holder: None, revision: None }),
        tick(23_000, None, &["kill"]),
        event(40_000, Event::FaultHealed { fault: "kill".to_owned() }),
        tick(41_000, Some("n2"), &[]),
        event(60_000, Event::Swept { residue: vec![] }),
    ]
}

fn all(painter: &mut dyn Painter) -> String {
    let mut out: String = story().iter().map(|progress| painter.paint(progress)).collect();
    out.push_str(&painter.finish());
    out
}

#[test]
fn plain_lines_have_no_control_characters() {
    let shown = all(&mut Plain::new(Style::PLAIN));
    expect_file!["../../tests/it/snapshots/progress-plain.txt"].assert_eq(&shown);
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
    assert!(shown.starts_with("seed 7 · firedrill "));
}

/// What a terminal of many lines shows in the end: only the two movements the block uses are understood.
fn emulate(written: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
            let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            match sequence.as_bytes()[end] {
                b'A' => {
                    let up: usize = sequence[..end].parse().unwrap();
                    lines.truncate(lines.len() - up);
                }
                b'J' => lines.last_mut().unwrap().clear(),
                other => panic!("unexpected sequence {other}"),
            }
            rest = &sequence[end + 1..];
            continue;
        }
        match c {
            '\n' => lines.push(String::new()),
            '\r' => {}
            _ => lines.last_mut().unwrap().push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    lines.join("\n")
}

#[test]
fn live_block_is_redrawn_in_place_and_taken_away() {
    let terminal = Terminal { style: Style::PLAIN, live: true, width: 70 };
    let mut live = Live::new(terminal);
    let until = story().len() - 3;
    let written: String = story().iter().take(until).map(|progress| live.paint(progress)).collect();
    expect_file!["../../tests/it/snapshots/progress-live.txt"].assert_eq(&emulate(&written));
    let mut whole = Live::new(terminal);
    let shown = emulate(&all(&mut whole));
    let plain = all(&mut Plain::new(Style::PLAIN));
    let permanent: Vec<&str> = plain.lines().filter(|line| !line.contains("ok/s")).collect();
    assert_eq!(shown.lines().collect::<Vec<_>>(), permanent);
}

#[test]
fn block_fits_narrow_terminals() {
    let terminal = Terminal { style: Style { colour: false, unicode: false }, live: true, width: 20 };
    let mut live = Live::new(terminal);
    let block = live.paint(&tick(23_000, None, &["kill"]));
    assert!(block.lines().all(|line| line.len() < 20) && block.is_ascii(), "{block}");
}
