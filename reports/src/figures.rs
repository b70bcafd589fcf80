//! Numbers as people read them.

use firedrill_core::scenario::ObjectiveMeasure;

/// A count with thousands apart: `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds as milliseconds, to the precision that was measured: `2310 ms`, `0.41 ms`.
pub(crate) fn millis(seconds: f64) -> String {
    let ms = seconds * 1000.0;
    if ms.abs() < 10.0 && ms != 0.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

/// A moment or a length in seconds, to the millisecond: `10.012 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    format!("{seconds:.3} s")
}

/// A figure of which only the value is known: whole numbers without decimals.
pub(crate) fn plain(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// A value of a measure with its unit.
pub(crate) fn measured(measure: ObjectiveMeasure, value: f64) -> String {
    match measure {
        ObjectiveMeasure::LostWrites => plain(value),
        ObjectiveMeasure::Detected
        | ObjectiveMeasure::Elected
        | ObjectiveMeasure::Promoted
        | ObjectiveMeasure::Fenced
        | ObjectiveMeasure::Failover
        | ObjectiveMeasure::Redundancy
        | ObjectiveMeasure::Drained => millis(value),
    }
}

/// The word of a measure on the final screen, where `failover` is spelt out.
pub(crate) const fn phase_word(measure: ObjectiveMeasure) -> &'static str {
    match measure {
        ObjectiveMeasure::Detected => "detected",
        ObjectiveMeasure::Elected => "elected",
        ObjectiveMeasure::Promoted => "promoted",
        ObjectiveMeasure::Fenced => "fenced",
        ObjectiveMeasure::Failover => "first ack",
        ObjectiveMeasure::Redundancy => "redundant",
        ObjectiveMeasure::Drained => "drained",
        ObjectiveMeasure::LostWrites => "lost writes",
    }
}

/// `1 run`, `5 runs`.
pub(crate) fn runs(n: usize) -> String {
    if n == 1 { "1 run".to_owned() } else { format!("{n} runs") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)].join(" "), "0 999 1,000 1,234,567");
        assert_eq!([millis(2.3104), millis(0.00041), millis(0.0)].join(", "), "2310 ms, 0.41 ms, 0 ms");
        assert_eq!([plain(3.0), plain(0.5)].join(" "), "3 0.500");
    }
}
