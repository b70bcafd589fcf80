//! The client against a peer in memory, on virtual time.

#![expect(clippy::disallowed_methods, reason = "peers end with their test's runtime")]

use firedrill_agent::protocol::{By, Held};
use firedrill_core::cluster::NodeName;
use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;

/// `CLOCK_BOOTTIME` of the peer at the start of the run.
const BOOT: u64 = 5_000_000_000_000;

/// The other side: reads requests, and is told what to answer.
struct Peer {
    read: BufReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
    clock: Clock,
}

impl Peer {
    async fn request(&mut self) -> Option<Request> {
        let line = next_line(&mut self.read).await.expect("readable")?;
        Some(serde_json::from_str(&line).expect("a request"))
    }

    async fn say(&mut self, line: &Line) {
        let line = format!("{}\n", serde_json::to_string(line).expect("a line"));
        // A client that was dropped meanwhile does not read.
        drop(self.write.write_all(line.as_bytes()).await);
    }

    fn boottime(&self) -> u64 {
        BOOT + self.clock.now().as_nanos()
    }

    /// Answers hello and the time; everything else by `answer`. Ends when that is `None`, or with the connection.
    async fn serve(mut self, mut answer: impl FnMut(&Ask) -> Option<Answer>) -> Vec<Ask> {
        let mut asked = Vec::new();
        while let Some(Request { id, ask }) = self.request().await {
            let boottime = self.boottime();
            let answer = match &ask {
                Ask::Hello { .. } => Some(Answer::Hello { version: VERSION, cut_by: "nothing".to_owned() }),
                Ask::Ping => Some(Answer::Pong { boottime }),
                Ask::Renew => Some(Answer::Renewed { boottime }),
                Ask::Prepare { .. }
                | Ask::Apply { .. }
                | Ask::Revert { .. }
                | Ask::Probe { .. }
                | Ask::Inventory
                | Ask::Bye => answer(&ask),
            };
            asked.push(ask);
            let Some(answer) = answer else { break };
            self.say(&Line::Answer { id, answer }).await;
        }
        asked
    }
}

fn pair() -> (Peer, DuplexStream, Clock) {
    let (ours, theirs) = duplex(MAX_LINE);
    let (read, write) = split(theirs);
    let clock = Clock::start();
    (Peer { read: BufReader::new(read), write, clock }, ours, clock)
}

fn config() -> Config {
    Config {
        tag_prefix: "fd-test-".to_owned(),
        lease_nanos: 3_000_000_000,
        nodes: Vec::new(),
        clients: None,
        starter: None,
        resolver: None,
        journal: None,
    }
}

async fn connect(stream: DuplexStream, clock: Clock) -> Result<AgentClient, DeedError> {
    let (read, write) = split(stream);
    AgentClient::connect(read, write, config(), clock).await
}

fn action() -> Action {
    Action::Pause { node: NodeName::new("n1"), process: None }
}

fn undo(tag: String) -> Undo {
    Undo::new(tag, action())
}

#[tokio::test(start_paused = true)]
async fn answers_come_as_core_types_in_the_time_of_the_run() {
    let (peer, stream, clock) = pair();
    let from = BOOT + 7_000_000;
    let serving = tokio::spawn(peer.serve(move |ask| match ask {
        Ask::Prepare { tag, .. } => Some(Answer::Prepared(undo(tag.clone()))),
        Ask::Apply { .. } => Some(Answer::Applied { from }),
        Ask::Revert { .. } => {
            Some(Answer::Reverted { held: Some(Held { from, to: from + 9_000_000 }), by: By::Deadline })
        }
        Ask::Inventory => Some(Answer::Inventory(Inventory::default())),
        Ask::Hello { .. } | Ask::Ping | Ask::Renew | Ask::Probe { .. } | Ask::Bye => None,
    }));
    let client = connect(stream, clock).await.expect("connected");
    assert_eq!(client.cut_by(), "nothing");
    let first = client.prepare(&action()).await.expect("prepared");
    let second = client.prepare(&action()).await.expect("prepared");
    assert_eq!((first.tag.as_str(), second.tag.as_str()), ("fd-test-1", "fd-test-2"));
    let applied = client.apply(&first, Some(Duration::from_secs(1))).await.expect("applied");
    assert_eq!(applied, Applied { from: RunTime::from_millis(7), error: Duration::ZERO });
    let reverted = client.revert(&first).await.expect("reverted");
    let held = Some((RunTime::from_millis(7), RunTime::from_millis(16)));
    assert_eq!(reverted, Reverted { held, by: "deadline".to_owned() });
    assert_eq!(client.inventory().await.expect("listed"), Inventory::default());
    drop(client);
    let asked = serving.await.expect("the peer");
    assert!(asked.contains(&Ask::Apply { undo: first, hold_nanos: Some(1_000_000_000) }));
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_three_times_in_its_length() {
    let (peer, stream, clock) = pair();
    let serving = tokio::spawn(peer.serve(|_| None));
    let client = connect(stream, clock).await.expect("connected");
    clock.sleep(Duration::from_millis(10_500)).await;
    drop(client);
    let asked = serving.await.expect("the peer");
    assert_eq!(asked.iter().filter(|ask| **ask == Ask::Renew).count(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_an_error_in_time() {
    let (mut peer, stream, clock) = pair();
    let reading = tokio::spawn(async move { while peer.request().await.is_some() {} });
    let error = connect(stream, clock).await.err().expect("refused");
    assert_eq!(error.to_string(), "the agent does not answer: no answer within 5s");
    assert_eq!(clock.now(), RunTime::from_millis(5000));
    reading.await.expect("the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn the_death_of_the_agent_reaches_everybody() {
    let (peer, stream, clock) = pair();
    let serving = tokio::spawn(peer.serve(|_| None));
    let client = connect(stream, clock).await.expect("connected");
    // The peer ends at the first request it has no answer for.
    let error = client.inventory().await.expect_err("no answer");
    assert_eq!(error.to_string(), "the agent does not answer: it ended");
    assert_eq!(client.died().await, "it ended");
    assert_eq!(client.prepare(&action()).await.expect_err("no agent").to_string(), error.to_string());
    assert_eq!(client.probe(&undo("fd-test-1".to_owned())).await.presence, Presence::Unknown);
    client.bye().await.expect("fine when it is gone");
    serving.await.expect("the peer");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_a_death() {
    let (mut peer, stream, clock) = pair();
    let garbling = tokio::spawn(async move {
        peer.request().await.expect("a hello");
        peer.write.write_all(b"Segmentation fault\n").await.expect("written");
        // Kept open: it is the garbage that ends it.
        peer.read.read_to_end(&mut Vec::new()).await
    });
    let error = connect(stream, clock).await.err().expect("refused");
    assert!(error.to_string().starts_with("the agent does not answer: it said something unreadable"), "{error}");
    garbling.await.expect("the peer").expect("closed");
}

#[tokio::test(start_paused = true)]
async fn refusals_keep_their_sort_and_number() {
    let (peer, stream, clock) = pair();
    let serving = tokio::spawn(peer.serve(|ask| {
        let kind = if matches!(ask, Ask::Prepare { .. }) {
            RefusalKind::NoTarget
        } else if matches!(ask, Ask::Apply { .. }) {
            RefusalKind::System
        } else {
            RefusalKind::Order
        };
        Some(Answer::Refused(Refusal { kind, what: "it".to_owned(), errno: Some(1) }))
    }));
    let client = connect(stream, clock).await.expect("connected");
    let it = undo("fd-test-1".to_owned());
    assert!(matches!(client.prepare(&action()).await, Err(DeedError::NoTarget(what)) if what == "it"));
    let error = client.apply(&it, None).await.expect_err("refused");
    assert!(matches!(&error, DeedError::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied));
    assert!(matches!(client.revert(&it).await, Err(DeedError::Agent(_))));
    drop(client);
    serving.await.expect("the peer");
}

#[tokio::test(start_paused = true)]
async fn notices_are_kept_until_taken() {
    let (mut peer, stream, clock) = pair();
    let notice = |number: u64| Notice::Reverted {
        tag: format!("fd-test-{number}"),
        by: By::Lease,
        held: Held { from: number, to: number },
        failure: None,
    };
    for number in 0..2000 {
        peer.say(&Line::Notice(notice(number))).await;
    }
    let serving = tokio::spawn(peer.serve(|_| None));
    let client = connect(stream, clock).await.expect("connected");
    let notices = client.take_notices();
    assert_eq!((notices.len(), notices.last()), (NOTICES, Some(&notice(1999))));
    assert!(client.take_notices().is_empty());
    drop(client);
    serving.await.expect("the peer");
}

#[test]
fn offsets_improve_and_follow_a_suspend() {
    let at = RunTime::from_millis;
    let rough = Offset::measured(BOOT, at(10), at(30));
    assert_eq!((rough.run_time(BOOT), rough.error), (at(20), Duration::from_millis(10)));
    let close = Offset::measured(BOOT, at(18), at(20));
    assert!(rough.gives_way_to(close) && !close.gives_way_to(rough));
    // The machine slept: the agent's clock went on, the run's did not.
    let slept = Offset::measured(BOOT + 60_000_000_000, at(40), at(50));
    assert!(close.gives_way_to(slept));
    assert_eq!(close.run_time(0), RunTime::ZERO);
}
