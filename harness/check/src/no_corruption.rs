//! In the end the data of every node can be read, and nothing of it is damaged.

use std::collections::BTreeMap;

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::cluster::NodeName;
use firedrill_core::event::{Event, Phase};
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::system::Audit;
use firedrill_core::verdict::Verdict;

use crate::calls::number;

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "no-corruption",
    summary: "in the end the data of every node can be read, and no page, table or index of it is damaged",
    example: "[[invariant]]\ncheck = \"no-corruption\"\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

struct NoCorruption;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every check's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(NoCorruption))
}

impl Check for NoCorruption {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn needs_audit(&self) -> bool {
        true
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let audits = last_audits(run);
        let finding = |verdict, words: String| Finding::new(ENTRY.name, verdict, words);
        let damage: Vec<String> = audits
            .iter()
            .flat_map(|(node, audit)| audit.damage.iter().map(move |what| format!("{node}: {what}")))
            .collect();
        if let Some(first) = damage.first() {
            let words = format!("{} places of the data are damaged: {first}", damage.len());
            let finding = finding(Verdict::Fail, words).figure("damaged", number(damage.len()));
            return damage.into_iter().fold(finding, Finding::evidence);
        }
        let failures: Vec<(&NodeName, &str)> =
            audits.iter().filter_map(|(node, audit)| Some((*node, audit.failure.as_deref()?))).collect();
        if let Some((node, why)) = failures.first() {
            let headline = why.lines().next().unwrap_or_default();
            // A cluster that had all the time to come back and has not: its data is as good as gone. In one that is
            // whole a look that failed is the harness's trouble.
            let (verdict, words) = if settled(run) == Some(false) {
                (Verdict::Fail, format!("the data of {node} cannot be read: {headline}"))
            } else {
                (Verdict::Invalid, format!("cannot tell: the data of {node} was not looked through: {headline}"))
            };
            let lines = failures.iter().flat_map(|(_, why)| why.lines());
            return lines.fold(finding(verdict, words), Finding::evidence);
        }
        if let Some(node) = run.nodes.iter().find(|node| !audits.contains_key(node)) {
            return finding(Verdict::Invalid, format!("cannot tell: nobody looked through the data of {node}"));
        }
        let Some(audit) = audits.values().next() else {
            return finding(Verdict::Invalid, "cannot tell: nobody looked through any data".to_owned());
        };
        let words = format!("nothing is damaged on {} nodes: {} each", audits.len(), audit.looked_at);
        audits
            .iter()
            .fold(finding(Verdict::Pass, words), |finding, (node, audit)| {
                finding.evidence(format!("{node}: {}", audit.looked_at))
            })
            .figure("damaged", 0.0)
    }
}

/// The last audit of each node, of those in the final reads.
fn last_audits(run: &Recorded) -> BTreeMap<&NodeName, &Audit> {
    let Some(end) = run.phase_start(Phase::FinalReads) else { return BTreeMap::new() };
    let after = run.events.iter().filter(|stamped| stamped.at >= end);
    let audited = after.filter_map(|stamped| {
        let Event::Audited { node, audit } = &stamped.event else { return None };
        Some((node, audit))
    });
    audited.collect()
}

fn settled(run: &Recorded) -> Option<bool> {
    run.events.iter().rev().find_map(|stamped| {
        let Event::Settled { met, .. } = stamped.event else { return None };
        Some(met)
    })
}
