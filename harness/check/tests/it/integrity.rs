//! no-corruption and corruption-detected.

use firedrill_core::event::{Event, Phase};
use firedrill_core::history::Outcome;
use firedrill_core::system::Audit;
use firedrill_core::time::Wall;
use firedrill_core::verdict::Verdict;

use crate::build::{Build, ask, node};

fn sound() -> Audit {
    Audit { looked_at: "12 pages and their checksums".to_owned(), ..Audit::default() }
}

fn damaged() -> Audit {
    Audit { damage: vec!["page 1 of ledger does not match its checksum".to_owned()], ..sound() }
}

fn failed() -> Audit {
    Audit { failure: Some("PostgreSQL of n2: connection refused\npatroni: PANIC".to_owned()), ..Audit::default() }
}

/// Three nodes audited at the end, after a wait that ended well or not.
fn run(met: bool, second: Audit) -> Build {
    let mut build = Build::new();
    build.event(5000, Event::Settled { met, seen: String::new() });
    build.event(5001, Event::Phase { phase: Phase::FinalReads, wall: Wall { unix_nanos: 2 } });
    for (name, audit) in [("n1", sound()), ("n2", second), ("n3", sound())] {
        build.event(5002, Event::Audited { node: node(name), audit });
    }
    build
}

#[test]
fn damage_at_the_end_is_a_violation_and_what_was_not_looked_at_proves_nothing() {
    for (met, second, want, words) in [
        (true, sound(), Verdict::Pass, "nothing is damaged on 3 nodes"),
        (true, damaged(), Verdict::Fail, "n2: page 1 of ledger"),
        (false, damaged(), Verdict::Fail, "n2: page 1 of ledger"),
        (true, failed(), Verdict::Invalid, "n2 was not looked through"),
        (false, failed(), Verdict::Fail, "the data of n2 cannot be read: PostgreSQL of n2: connection refused"),
    ] {
        let finding = ask("no-corruption", &run(met, second).run);
        assert_eq!(finding.verdict, want, "{finding:?}");
        assert!(finding.summary.contains(words), "{}", finding.summary);
    }
    let nobody = ask("no-corruption", &Build::new().run);
    assert_eq!(nobody.verdict, Verdict::Invalid);
    let mut one = Build::new();
    one.event(5001, Event::Phase { phase: Phase::FinalReads, wall: Wall { unix_nanos: 2 } });
    one.event(5002, Event::Audited { node: node("n1"), audit: sound() });
    assert_eq!(ask("no-corruption", &one.run).verdict, Verdict::Invalid);
}

#[test]
fn damage_that_was_healed_before_the_end_is_no_violation_but_was_detected() {
    let mut build = run(true, sound());
    build.run.events.insert(
        0,
        firedrill_core::event::Stamped {
            at: crate::build::ms(2000),
            event: Event::Audited { node: node("n2"), audit: damaged() },
        },
    );
    assert_eq!(ask("no-corruption", &build.run).verdict, Verdict::Pass);
    assert_eq!(ask("corruption-detected", &build.run).verdict, Verdict::Pass);
}

#[test]
fn damage_is_detected_by_a_look_or_by_a_server_that_refuses() {
    assert_eq!(ask("corruption-detected", &run(true, sound()).run).verdict, Verdict::Fail);
    assert_eq!(ask("corruption-detected", &run(true, damaged()).run).verdict, Verdict::Pass);
    assert_eq!(ask("corruption-detected", &Build::new().run).verdict, Verdict::Invalid);
    let mut build = run(true, sound());
    build.ack(1, 1100, 1200, "n1", 1).completed =
        Some((crate::build::ms(1200), Outcome::info("XX001 invalid page in block 0 of relation base/5/16384")));
    assert_eq!(ask("corruption-detected", &build.run).verdict, Verdict::Pass);
}
