//! Every register behaves as if each operation on it happened at one moment between its invocation and its completion
//! (Herlihy and Wing, TOPLAS 1990).

use std::sync::atomic::{AtomicU64, Ordering};

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::verdict::Verdict;

use crate::calls::number;
use crate::history::{Form, Packed, Value, from_calls};
use crate::linear::{self, Limits, Model, Stop};

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "linearizable",
    summary: "each operation on a register seems to happen at one moment between its invocation and its answer",
    example: "[[invariant]]\ncheck = \"linearizable\"\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

/// Looks at the limit before the search is given up: some minutes of one core. Counted and not timed, so that the same run
/// is always judged the same.
const LOOKS: u64 = 20_000_000;
/// Bytes the search may hold.
const MEMORY: usize = 1 << 30;

struct Linearizable;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every check's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(Linearizable))
}

impl Check for Linearizable {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let history = Packed::from(&from_calls(&run.calls, Form::Objects));
        let looks = AtomicU64::new(0);
        let exceeded = |_| (looks.fetch_add(1, Ordering::Relaxed) > LOOKS).then_some(Stop::Time);
        let limits = Limits { exceeded: &exceeded, memory: MEMORY };
        let finding = |verdict, summary: String| Finding::new(ENTRY.name, verdict, summary);
        let report = match linear::explain(&history, Model::CasRegister, &Value::Nil, &limits) {
            Ok(report) => report,
            Err(refusal) => return finding(Verdict::Invalid, format!("cannot tell: {refusal}")),
        };
        let counted = |finding: Finding| finding.figure("operations", number(report.calls));
        match &report.verdict {
            linear::Verdict::Valid => {
                let summary = format!("{} operations on {} registers are linearizable", report.calls, report.objects);
                counted(finding(Verdict::Pass, summary))
            }
            linear::Verdict::Violated(found) => {
                let text = linear::describe(&history, found);
                let first = text.lines().next().unwrap_or_default();
                let summary = format!("not linearizable: {first}");
                text.lines().skip(1).fold(counted(finding(Verdict::Fail, summary)), Finding::evidence)
            }
            linear::Verdict::Unknown { verified, of, .. } => {
                let summary = format!("cannot tell: the search was given up after {verified} of {of} operations");
                counted(finding(Verdict::Invalid, summary))
            }
            linear::Verdict::Nothing => finding(Verdict::Invalid, "cannot tell: no operation was made".to_owned()),
        }
    }
}
