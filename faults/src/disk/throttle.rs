//! `disk.throttle`: reading and writing together go no faster than a rate, as where a cloud's volume has spent its credit.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;
use firedrill_core::spec::Fields;
use firedrill_core::units::Bytes;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.throttle",
    summary: "reading and writing go no faster than a rate",
    example: r#"
[[fault]]
kind = "disk.throttle"
on   = "primary"
rate = "1MiB/s"
path = "pg_wal"      # default: all files of the node
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let rate = fields.required::<String>("rate");
    let bytes = rate.as_ref().and_then(|rate| rate.strip_suffix("/s")?.trim().parse::<Bytes>().ok());
    let bytes = bytes.map(|bytes| bytes.0).filter(|bytes| *bytes > 0);
    if let (Some(rate), None) = (&rate, bytes) {
        let help = "write bytes a second, more than none, as `rate = \"1MiB/s\"`";
        fields.wrong("rate", format!("`{rate}` is no rate of a disk"), help.to_owned());
    }
    let how = DiskHarm::Throttle { bytes_per_second: bytes.unwrap_or(1) };
    super::held(fields, how).filter(|_| bytes.is_some())
}
