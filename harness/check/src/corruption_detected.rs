//! Damage was found out: by a look through the data while it was there or at the end, or by a server that refused to hand
//! out a damaged page. The counterpart of `no-corruption`, for scenarios that plant damage.

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::event::Event;
use firedrill_core::history::Outcome;
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::verdict::Verdict;

use crate::calls::number;

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "corruption-detected",
    summary: "damage of the data was found out, by checksums, amcheck, or a server that refused a damaged page",
    example: "[[invariant]]\ncheck = \"corruption-detected\"\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

/// SQLSTATEs of damage: `data_corrupted` and `index_corrupted`. Reasons of outcomes begin with the code.
const CODES: [&str; 2] = ["XX001", "XX002"];

struct CorruptionDetected;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every check's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(CorruptionDetected))
}

impl Check for CorruptionDetected {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn needs_audit(&self) -> bool {
        true
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let mut found = Vec::new();
        let mut looked = false;
        for stamped in &run.events {
            let Event::Audited { node, audit } = &stamped.event else { continue };
            looked |= audit.failure.is_none();
            found.extend(audit.damage.iter().map(|what| format!("{node} at {}: {what}", stamped.at)));
        }
        let refused = |why: &str| CODES.iter().any(|code| why.starts_with(code));
        for call in &run.calls {
            if let Some((at, Outcome::Fail(why) | Outcome::Info(why))) = &call.completed
                && refused(why)
            {
                found.push(format!("`{}` at {at}: {why}", call.op));
            }
        }
        for read in &run.finals {
            if let Err(why) = &read.rows
                && refused(why)
            {
                found.push(format!("the final read of {}: {why}", read.node));
            }
        }
        let finding = |verdict, words: String| Finding::new(ENTRY.name, verdict, words);
        match found.first() {
            Some(first) => {
                let words = format!("damage was found {} times, first: {first}", found.len());
                let finding = finding(Verdict::Pass, words).figure("found", number(found.len()));
                found.into_iter().fold(finding, Finding::evidence)
            }
            None if looked => finding(Verdict::Fail, "nobody found any damage".to_owned()).figure("found", 0.0),
            None => finding(Verdict::Invalid, "cannot tell: the data of no node was looked through".to_owned()),
        }
    }
}
