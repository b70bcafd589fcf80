//! `net.reorder`: some packets are held back, so that later ones overtake them.
//!
//! TCP takes it for loss and slows down.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.reorder",
    summary: "lets packets of the target's links overtake others",
    example: r#"
[[fault]]
kind = "net.reorder"
chance = "10%"
by     = "10ms"
on     = "primary"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let (chance, by) = (links::chance(fields), links::span(fields, "by", links::SHORTEST));
    let how = chance.zip(by).map(|(chance, by)| Impairment::Reorder { chance, by });
    links::impaired(fields, how)
}
