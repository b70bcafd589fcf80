//! The options table `[cluster.etcd]`.

use std::time::Duration;

use firedrill_core::spec::Fields;
use firedrill_core::units::human;

/// How reads are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reads {
    /// By the leader's word of what is committed (etcd's default).
    Linearizable,
    /// By the member that is asked, from what it has.
    Serializable,
}

/// The options with their defaults filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Options {
    pub(super) reads: Reads,
    pub(super) heartbeat: Duration,
    pub(super) election_timeout: Duration,
    /// Whether members find each other by name, asking a name server each time, and not by address.
    pub(super) names: bool,
}

/// Reads the table. `None` after noting a mistake.
pub(super) fn parse(fields: &mut Fields<'_, '_>) -> Option<Options> {
    let before = fields.mistakes().count();
    let words = [("linearizable", Reads::Linearizable), ("serializable", Reads::Serializable)];
    let reads = fields.word("reads", &words, Reads::Linearizable);
    let heartbeat = fields.or("heartbeat-interval", Duration::from_millis(100));
    let election_timeout = fields.or("election-timeout", Duration::from_secs(1));
    let names = fields.or("names", false);
    let millis = |span: Duration| span.as_millis() > 0 && span.subsec_nanos().is_multiple_of(1_000_000);
    if !millis(heartbeat) {
        let help = "write it in whole milliseconds, as \"100ms\"".to_owned();
        fields.wrong("heartbeat-interval", "etcd counts in milliseconds", help);
    }
    // embed/config.go: five heartbeats at least, fifty seconds at most.
    if !millis(election_timeout) || election_timeout < heartbeat * 5 || election_timeout > Duration::from_secs(50) {
        let help = format!("write at least five heartbeats ({}) and at most 50s", human(heartbeat * 5));
        fields.wrong("election-timeout", "etcd does not take this election timeout", help);
    }
    (fields.mistakes().count() == before).then_some(Options { reads, heartbeat, election_timeout, names })
}
