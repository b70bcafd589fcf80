//! No anomaly that a consistency model forbids can be inferred from what transactions read (Kingsbury and Alvaro, Elle,
//! VLDB 2020; the names of models are Adya's, see [`crate::txn::Consistency`]).

use firedrill_core::check::{Check, CheckEntry, Finding, Question, anomaly_figure};
use firedrill_core::history::{Op, Step};
use firedrill_core::record::Recorded;
use firedrill_core::spec::{Fields, suggest};
use firedrill_core::verdict::Verdict;

use crate::calls::number;
use crate::history::{Form, from_calls};
use crate::limits::Watch;
use crate::txn::{self, Anomaly, Consistency, Model, Options};

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "isolation",
    summary: "transactions show no anomaly that the level forbids (serializable, snapshot-isolation, read-committed…)",
    example: "[[invariant]]\ncheck = \"isolation\"\nlevel = \"serializable\"\n",
    takes_when: false,
    anomalies: || Anomaly::all().map(Anomaly::name).collect(),
    parse,
};

struct Isolation {
    level: Consistency,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    let name = fields.required::<String>("level")?;
    let Some(level) = Consistency::named(&name) else {
        let known: Vec<&str> = Consistency::ALL.iter().map(|level| level.name()).collect();
        let help = suggest(&name, &known).map_or_else(
            || "as \"strict-serializable\", \"serializable\", \"snapshot-isolation\", \"read-committed\"".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        fields.wrong("level", format!("no consistency model is called `{name}`"), help);
        return None;
    };
    Some(Box::new(Isolation { level }))
}

impl Check for Isolation {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let history = from_calls(&run.calls, Form::Transactions);
        let lists = run.calls.iter().any(|call| {
            matches!(&call.op, Op::Txn(steps) if steps.iter().any(|step| matches!(step, Step::Append { .. } | Step::List { .. })))
        });
        let model = if lists { Model::ListAppend } else { Model::RwRegister };
        // A single statement that writes after the same transaction read the key replaces what it read.
        let options = Options { consistency: vec![self.level], wfr_keys: true, ..Options::default() };
        let judged = match txn::judge_loaded(&history, model, &options, &mut Watch::unlimited()) {
            Ok(judged) => judged,
            Err(error) => return Finding::new(ENTRY.name, Verdict::Invalid, format!("cannot tell: {error}")),
        };
        let report = &judged.report;
        let (count, level) = (report.transactions, self.level.name());
        let names: Vec<&str> = report.anomalies.iter().map(|anomaly| anomaly.name()).collect();
        let (verdict, summary) = match report.verdict {
            txn::Verdict::Valid => (Verdict::Pass, format!("{count} transactions show nothing that {level} forbids")),
            txn::Verdict::Violated => {
                (Verdict::Fail, format!("{count} transactions are not {level}: {}", names.join(", ")))
            }
            txn::Verdict::Unknown => {
                (Verdict::Invalid, "cannot tell: no order of transactions can be inferred".to_owned())
            }
        };
        let mut finding = Finding::new(ENTRY.name, verdict, summary).figure("transactions", number(count));
        for name in names {
            finding = finding.figure(&anomaly_figure(name), 1.0);
        }
        for line in judged.words().lines() {
            finding = finding.evidence(line);
        }
        finding
    }
}
