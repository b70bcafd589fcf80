//! The options table `[cluster.patroni]`: what of Patroni's own settings a scenario may choose.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_core::spec::{Fields, FromValue};
use firedrill_core::units::{Bytes, human};
use toml::de::DeValue;

use super::recipe::Place;
use super::transactions::{Isolation, LEVELS, WRITES, Writes};

/// Whether a commit waits for a standby.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SynchronousMode {
    /// Asynchronous: a failover may lose acknowledged writes, by design.
    Off,
    /// Synchronous while a standby is there; without one Patroni lets the primary go on alone.
    On,
    /// Synchronous always: without a standby, commits wait.
    Strict,
}

/// The options with their defaults filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Defaults to strict: the mode that promises to lose nothing. On a single node, where strict could never commit,
    /// the default is off.
    pub synchronous_mode: SynchronousMode,
    /// How long the leader key lives without a refresh.
    pub ttl: Duration,
    /// How often each Patroni looks.
    pub loop_wait: Duration,
    /// How long Patroni retries the store and PostgreSQL before it gives up and, as a primary, steps down.
    pub retry_timeout: Duration,
    /// A replica further behind than this is not promoted (asynchronous mode).
    pub maximum_lag_on_failover: Bytes,
    /// The major version asked for; `None` takes the newest installed.
    pub postgres_version: Option<u32>,
    /// Whether PostgreSQL puts a checksum on every page, and refuses to read one that is wrong.
    pub data_checksums: bool,
    /// What transactions ask for.
    pub isolation: Isolation,
    /// How their steps are made.
    pub writes: Writes,
    /// Whether servers find each other by name, asking a name server each time, and not by address.
    pub names: bool,
    /// PostgreSQL parameters, passed through, as `postgresql.conf` writes them.
    pub parameters: BTreeMap<String, String>,
}

impl Options {
    /// How the others find a node.
    pub(super) fn host(&self, place: &Place) -> String {
        if self.names { place.node.to_string() } else { place.address.to_string() }
    }
}

const MODES: [(&str, SynchronousMode); 3] =
    [("off", SynchronousMode::Off), ("on", SynchronousMode::On), ("strict", SynchronousMode::Strict)];

/// Patroni's own defaults (`patroni/config.py`): ttl 30, `loop_wait` 10, `retry_timeout` 10.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
const DEFAULT_STEP: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// The major versions of PostgreSQL that are looked for.
pub(super) const POSTGRES_VERSIONS: std::ops::RangeInclusive<u32> = 13..=18;

/// Reads the table for so many nodes. `None` after noting a mistake.
pub(super) fn parse(fields: &mut Fields<'_, '_>, nodes: usize) -> Option<Options> {
    let before = fields.mistakes().count();
    let asked = fields.optional_word("synchronous-mode", &MODES);
    if asked == Some(SynchronousMode::Strict) && nodes < 2 {
        let help = "use `synchronous-mode = \"off\"`, or at least `nodes = 2`".to_owned();
        fields.wrong("synchronous-mode", "a single node in strict mode can never commit", help);
    }
    let alone = if nodes < 2 { SynchronousMode::Off } else { SynchronousMode::Strict };
    let (ttl, loop_wait, retry_timeout) = timers(fields);
    let maximum_lag_on_failover = fields.or("maximum-lag-on-failover", Bytes(1 << 20));
    let postgres_version = fields.optional::<u32>("postgres-version");
    if postgres_version.is_some_and(|version| !POSTGRES_VERSIONS.contains(&version)) {
        let (first, last) = (POSTGRES_VERSIONS.start(), POSTGRES_VERSIONS.end());
        let help = format!("`postgres-version` is a major version from {first} to {last}");
        fields.wrong("postgres-version", "this version of PostgreSQL is not supported", help);
    }
    let data_checksums = fields.or("data-checksums", true);
    let isolation = fields.word("isolation", &LEVELS, Isolation::Serializable);
    let writes = fields.word("writes", &WRITES, Writes::Atomic);
    let names = fields.or("names", false);
    let table = fields.table("parameters", "[cluster.patroni.parameters]");
    let parameters = table.map(parameters).unwrap_or_default();
    let synchronous_mode = asked.unwrap_or(alone);
    let read = Options {
        synchronous_mode,
        ttl,
        loop_wait,
        retry_timeout,
        maximum_lag_on_failover,
        postgres_version,
        data_checksums,
        isolation,
        writes,
        names,
        parameters,
    };
    (fields.mistakes().count() == before).then_some(read)
}

/// ttl, loop-wait and retry-timeout. What is not given follows from what is, so that `ttl = "20s"` alone is enough:
/// a third of ttl each, in whole seconds, at most Patroni's default of 10 s.
fn timers(fields: &mut Fields<'_, '_>) -> (Duration, Duration, Duration) {
    let ttl = whole_seconds(fields, "ttl");
    let loop_wait = whole_seconds(fields, "loop-wait");
    let retry = whole_seconds(fields, "retry-timeout");
    let budget = ttl.unwrap_or(DEFAULT_TTL);
    let (loop_given, retry_given) = (loop_wait.is_some(), retry.is_some());
    let (loop_wait, retry) = match (loop_wait, retry) {
        (Some(loop_wait), Some(retry)) => (loop_wait, retry),
        (Some(loop_wait), None) => (loop_wait, step(budget.saturating_sub(loop_wait) / 2)),
        (None, Some(retry)) => (step(budget.saturating_sub(retry * 2)), retry),
        (None, None) => (step(budget / 3), step(budget / 3)),
    };
    let least = loop_wait.saturating_add(retry.saturating_mul(2));
    if budget < least {
        let key = if ttl.is_some() || !(loop_given || retry_given) {
            "ttl"
        } else if loop_given {
            "loop-wait"
        } else {
            "retry-timeout"
        };
        let (have, need) = (human(budget), human(least));
        let sum = format!("{} + 2 × {}", human(loop_wait), human(retry));
        let help = format!("set `ttl` to at least {need}, or lower `loop-wait` or `retry-timeout`");
        fields.wrong(key, format!("Patroni needs ttl ≥ loop-wait + 2 × retry-timeout, and {have} < {sum}"), help);
    }
    (budget, loop_wait, retry)
}

fn step(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs()).clamp(SECOND, DEFAULT_STEP)
}

fn whole_seconds(fields: &mut Fields<'_, '_>, key: &str) -> Option<Duration> {
    let span = fields.optional::<Duration>(key)?;
    if span.is_zero() || span.subsec_nanos() != 0 || span > Duration::from_secs(3600) {
        let help = format!("`{key}` takes whole seconds from 1s to 1h, as \"10s\"");
        fields.wrong(key, format!("Patroni reads `{key}` in whole seconds"), help);
        return None;
    }
    Some(span)
}

/// A PostgreSQL parameter's value, as text.
struct Setting(String);

impl FromValue for Setting {
    const EXPECTS: &'static str = "a text, a whole number, or true or false";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        if let Some(text) = value.as_str() {
            return Ok(Self(text.to_owned()));
        }
        if let Some(yes) = value.as_bool() {
            return Ok(Self(if yes { "on" } else { "off" }.to_owned()));
        }
        let number = value.as_integer().filter(|number| number.radix() == 10).ok_or_else(String::new)?;
        Ok(Self(number.as_str().replace('_', "")))
    }
}

/// Parameters that a scenario may not set, and who does.
const OWNED: [(&[&str], &str); 4] = [
    (
        &["listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions"],
        "firedrill gives each node its address, port and socket",
    ),
    (
        &["data_directory", "config_file", "hba_file", "ident_file", "external_pid_file"],
        "firedrill places the files of each node",
    ),
    (
        &[
            "cluster_name",
            "hot_standby",
            "wal_log_hints",
            "synchronous_standby_names",
            "primary_conninfo",
            "primary_slot_name",
            "promote_trigger_file",
            "recovery_target",
            "recovery_target_lsn",
            "recovery_target_name",
            "recovery_target_time",
            "recovery_target_timeline",
            "recovery_target_xid",
        ],
        "Patroni sets it by itself",
    ),
    (
        &["log_destination", "logging_collector", "log_line_prefix", "log_timezone", "lc_messages"],
        "the log of each node goes to the run's folder in one known form",
    ),
];

fn parameters(mut fields: Fields<'_, '_>) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for key in fields.untaken() {
        let name = key.value;
        let owner = OWNED.iter().find(|(names, _)| names.contains(&name.to_ascii_lowercase().as_str()));
        let value = fields.optional::<Setting>(&name);
        if let Some((_, reason)) = owner {
            let help = format!("remove it: {reason}");
            fields.mistakes().note(key.span, format!("`{name}` is not for a scenario to set"), "not here", help);
        } else if !is_parameter_name(&name) {
            let help =
                "a parameter is written as in postgresql.conf: lower-case letters, digits, `_` and `.`".to_owned();
            fields.mistakes().note(key.span, format!("`{name}` is not a name of a PostgreSQL parameter"), "here", help);
        } else if let Some(Setting(value)) = value {
            read.insert(name, value);
        }
    }
    read
}

fn is_parameter_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use firedrill_core::spec::Mistakes;
    use toml::de::DeTable;

    use super::*;

    fn read(text: &str, nodes: usize) -> Result<Options, Vec<(String, String)>> {
        let table = DeTable::parse(text).unwrap();
        let mistakes = Mistakes::default();
        let mut fields = Fields::new(table.get_ref(), 0..text.len(), "[cluster.patroni]", &mistakes);
        let options = parse(&mut fields, nodes);
        fields.finish();
        let said = mistakes.into_sorted().into_iter().map(|mistake| (text[mistake.span].to_owned(), mistake.message));
        let said: Vec<(String, String)> = said.collect();
        assert!(options.is_some() || !said.is_empty(), "nothing read and nothing said");
        if said.is_empty() { Ok(options.unwrap()) } else { Err(said) }
    }

    fn timers(text: &str) -> (u64, u64, u64) {
        let options = read(text, 3).unwrap();
        (options.ttl.as_secs(), options.loop_wait.as_secs(), options.retry_timeout.as_secs())
    }

    #[test]
    fn the_defaults_are_patronis_own_and_the_safest_mode() {
        assert_eq!(timers(""), (30, 10, 10));
        assert_eq!(read("", 3).unwrap().synchronous_mode, SynchronousMode::Strict);
        assert_eq!(read("", 1).unwrap().synchronous_mode, SynchronousMode::Off);
        assert!(read("", 3).unwrap().data_checksums);
        assert!(!read("data-checksums = false", 3).unwrap().data_checksums);
    }

    #[test]
    fn what_is_not_given_fits_what_is() {
        assert_eq!(timers(r#"ttl = "20s""#), (20, 6, 6));
        assert_eq!(timers("ttl = '5s'\nloop-wait = '1s'"), (5, 1, 2));
        assert_eq!(timers("ttl = '20s'\nretry-timeout = '5s'"), (20, 10, 5));
        assert_eq!(timers("ttl = '1m'"), (60, 10, 10));
    }

    #[test]
    fn parameters_are_passed_through() {
        let text = "[parameters]\nwork_mem = '8MB'\nmax_connections = 1_00\njit = false\n'pg_stat_statements.max' = 5";
        let parameters = read(text, 3).unwrap().parameters;
        let pairs: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [("jit", "off"), ("max_connections", "100"), ("pg_stat_statements.max", "5"), ("work_mem", "8MB")]
        );
    }

    #[test]
    fn every_mistake_is_noted_at_its_place() {
        for (text, nodes, place, part) in [
            ("ttl = '2s'", 3, "'2s'", "ttl ≥ loop-wait + 2 × retry-timeout, and 2s < 1s + 2 × 1s"),
            ("ttl = '20s'\nloop-wait = '10s'\nretry-timeout = '10s'", 3, "'20s'", "20s < 10s + 2 × 10s"),
            ("loop-wait = '29s'", 3, "'29s'", "30s < 29s + 2 × 1s"),
            ("ttl = '1500ms'", 3, "'1500ms'", "whole seconds"),
            ("loop-wait = 10", 3, "10", "must be a duration"),
            ("synchronous-mode = 'strickt'", 3, "'strickt'", "is not a value"),
            ("synchronous-mode = 'strict'", 1, "'strict'", "never commit"),
            ("postgres-version = 12", 3, "12", "not supported"),
            ("tll = '30s'", 3, "tll", "no key `tll`"),
            ("[parameters]\nport = 5433", 3, "port", "not for a scenario"),
            ("[parameters]\nsynchronous_standby_names = '*'", 3, "synchronous_standby_names", "not for a scenario"),
            ("[parameters]\n'a b' = 1", 3, "'a b'", "not a name"),
            ("[parameters]\nwork_mem = ['8MB']", 3, "['8MB']", "must be a text"),
        ] {
            let said = read(text, nodes).unwrap_err();
            let found = said.iter().any(|(at, message)| at == place && message.contains(part));
            assert!(found && said.len() == 1, "{text}: {said:?}");
        }
    }
}
