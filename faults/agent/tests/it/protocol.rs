//! What the agent says to an owner that it cannot serve.

use std::time::Duration;

use firedrill_agent::protocol::{Answer, Ask, RefusalKind, VERSION};

use crate::agent::{Agent, LONG, refusal};
use crate::world::{cut, world};

#[test]
fn another_version_is_refused_in_words_whatever_else_its_hello_says() {
    let Some(world) = world() else { return };
    let mut agent = Agent::silent(&world);
    agent.say(r#"{"id":7,"ask":{"hello":{"version":99,"config":{"of":"the future"}}}}"#);
    let (id, answer) = agent.answer();
    let refused = refusal(answer);
    assert_eq!((id, refused.kind), (7, RefusalKind::Version));
    assert_eq!(refused.what, "the agent speaks version 1 of the protocol, its owner version 99: use one build");
    assert!(matches!(agent.ask(Ask::Hello { version: VERSION, config: world.config(LONG) }), Answer::Hello { .. }));
}

#[test]
fn malformed_lines_are_answered_and_survived() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let deep = "[".repeat(10_000);
    let long = "x".repeat(3 << 20);
    for line in ["", "hello", "{}", r#"{"id":3,"ask":"dance"}"#, r#"{"id":3,"ask":"ping","x":1}"#, "\0", &deep, &long] {
        agent.say(line);
        let kind = refusal(agent.answer().1).kind;
        assert_eq!(kind, RefusalKind::Malformed, "{line:.40}");
    }
    // What was too long for one line comes as several refusals; all of them precede the next answer.
    agent.say(r#"{"id":9,"ask":"ping"}"#);
    let id =
        (0..16).map(|_| agent.answer()).find(|(_, answer)| matches!(answer, Answer::Pong { .. })).map(|(id, _)| id);
    assert_eq!(id, Some(9));
}

#[test]
fn requests_out_of_order_are_refused() {
    let Some(world) = world() else { return };
    let mut agent = Agent::silent(&world);
    assert!(matches!(agent.ask(Ask::Ping), Answer::Pong { .. }));
    assert_eq!(refusal(agent.ask(Ask::Inventory)).kind, RefusalKind::Order);
    for spoil in [
        |config: &mut firedrill_agent::protocol::Config| config.lease_nanos = 0,
        |config: &mut firedrill_agent::protocol::Config| config.tag_prefix = "filter".to_owned(),
        |config: &mut firedrill_agent::protocol::Config| config.nodes[0].site.netns = "/nowhere".into(),
    ] {
        let mut config = world.config(LONG);
        spoil(&mut config);
        refusal(agent.ask(Ask::Hello { version: VERSION, config }));
    }
    let config = world.config(Duration::from_secs(60));
    let hello = Ask::Hello { version: VERSION, config };
    assert!(matches!(agent.ask(hello.clone()), Answer::Hello { .. }));
    assert_eq!(refusal(agent.ask(hello)).kind, RefusalKind::Order);
    let mut undo = agent.prepare(&cut(1, 2));
    undo.tag = "fd-another-run-1".to_owned();
    assert_eq!(refusal(agent.ask(Ask::Apply { undo, hold_nanos: None })).kind, RefusalKind::Order);
}
