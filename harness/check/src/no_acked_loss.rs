//! Every write that was acknowledged is there at the end, and nothing else is.

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::time::RunTime;
use firedrill_core::verdict::Verdict;

use crate::calls::number;
use crate::losses::{Losses, losses};

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "no-acked-loss",
    summary: "every acknowledged write is there at the end, and nothing that was reported failed",
    example: "[[invariant]]\ncheck = \"no-acked-loss\"\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

/// Lines of evidence of each kind.
const EXAMPLES: usize = 10;

struct NoAckedLoss;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every check's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(NoAckedLoss))
}

impl Check for NoAckedLoss {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let found = losses(run);
        let (verdict, summary) = verdict(&found);
        let mut finding = Finding::new(ENTRY.name, verdict, summary)
            .figure("acknowledged", number(found.acknowledged))
            .figure("in-doubt", number(found.in_doubt))
            .figure("phantom", number(found.phantoms.len()));
        if found.decided.is_ok() {
            finding = finding
                .figure("lost-acknowledged", number(found.lost.len()))
                .figure("in-doubt-present", number(found.in_doubt_present))
                .figure("on-some-nodes-only", number(found.on_some_nodes));
            for (fault, lost) in &found.by_fault {
                finding = finding.figure(&format!("lost:{fault}"), number(*lost));
            }
            if found.unattributed > 0 {
                finding = finding.figure("lost:unattributed", number(found.unattributed));
            }
        }
        if let Some(first) = found.lost.iter().map(|lost| lost.acked).min() {
            finding = finding.figure("at", first.since(RunTime::ZERO).as_secs_f64());
        }
        for lost in found.lost.iter().take(EXAMPLES) {
            finding = finding.evidence(lost.to_string());
        }
        for phantom in found.phantoms.iter().take(EXAMPLES) {
            let nodes: Vec<&str> = phantom.nodes.iter().map(firedrill_core::cluster::NodeName::as_str).collect();
            let told = match &phantom.reported {
                Some(why) => format!("was reported failed ({why})"),
                None => "was never inserted by anyone".to_owned(),
            };
            finding = finding.evidence(format!("row {} {told}, yet is on {}", phantom.row, nodes.join(", ")));
        }
        finding
    }
}

fn verdict(found: &Losses) -> (Verdict, String) {
    let (acknowledged, lost, phantoms) = (found.acknowledged, found.lost.len(), found.phantoms.len());
    if lost > 0 || phantoms > 0 {
        let mut parts = Vec::new();
        if lost > 0 {
            let mut by: Vec<String> = found.by_fault.iter().map(|(fault, lost)| format!("{lost} by {fault}")).collect();
            if found.unattributed > 0 {
                by.push(format!("{} by no known fault", found.unattributed));
            }
            parts.push(format!("{lost} of {acknowledged} acknowledged writes are lost ({})", by.join(", ")));
        }
        if phantoms > 0 {
            parts.push(format!("{phantoms} rows are there that must not be"));
        }
        return (Verdict::Fail, parts.join("; "));
    }
    if acknowledged == 0 {
        return (Verdict::Invalid, "nothing was acknowledged, so nothing could be lost".to_owned());
    }
    if let Err(why) = &found.decided {
        return (Verdict::Invalid, format!("cannot tell what was lost: {why}"));
    }
    let mut parts = vec![format!("all {acknowledged} acknowledged writes are there")];
    if found.in_doubt > 0 {
        let (present, in_doubt) = (found.in_doubt_present, found.in_doubt);
        parts.push(format!("of {in_doubt} in doubt, {present} happened"));
    }
    if found.on_some_nodes > 0 {
        parts.push(format!("{} are missing on some nodes (see replicas-converge)", found.on_some_nodes));
    }
    (Verdict::Pass, parts.join("; "))
}
