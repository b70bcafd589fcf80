//! The options table `[cluster.redis-sentinel]`.

use std::time::Duration;

use firedrill_core::spec::Fields;

/// The options with their defaults filled in (redis.conf and sentinel.conf name them the same).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Options {
    pub(super) min_replicas_to_write: u32,
    pub(super) min_replicas_max_lag: Duration,
    pub(super) down_after: Duration,
    pub(super) failover_timeout: Duration,
    pub(super) appendfsync: &'static str,
}

/// Reads the table. `None` after noting a mistake.
pub(super) fn parse(fields: &mut Fields<'_, '_>, nodes: usize) -> Option<Options> {
    let before = fields.mistakes().count();
    let words = [("everysec", "everysec"), ("always", "always"), ("no", "no")];
    let options = Options {
        min_replicas_to_write: fields.or("min-replicas-to-write", 0),
        min_replicas_max_lag: fields.or("min-replicas-max-lag", Duration::from_secs(10)),
        down_after: fields.or("down-after", Duration::from_secs(1)),
        failover_timeout: fields.or("failover-timeout", Duration::from_secs(5)),
        appendfsync: fields.word("appendfsync", &words, "everysec"),
    };
    if usize::try_from(options.min_replicas_to_write).is_ok_and(|least| least >= nodes) {
        let help = format!("{nodes} nodes are one master and {} replicas", nodes.saturating_sub(1));
        fields.wrong("min-replicas-to-write", "it could never write", help);
    }
    if options.min_replicas_max_lag.as_secs() == 0 || options.min_replicas_max_lag.subsec_nanos() != 0 {
        let help = "write whole seconds, as \"10s\"".to_owned();
        fields.wrong("min-replicas-max-lag", "Redis reads it in whole seconds", help);
    }
    for (key, span) in [("down-after", options.down_after), ("failover-timeout", options.failover_timeout)] {
        if span.as_millis() == 0 {
            fields.wrong(key, "Sentinel counts in milliseconds", "write it as \"1s\"".to_owned());
        }
    }
    (fields.mistakes().count() == before).then_some(options)
}
