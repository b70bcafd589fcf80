//! Money is neither made nor lost: whoever reads all balances in one transaction reads the same sum, and nobody sees a
//! balance below zero.

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::history::{Answer, Call, Op, Outcome, Reply, Step};
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::verdict::Verdict;

use crate::calls::number;

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "bank",
    summary: "every read of all accounts finds the same sum",
    example: "[[invariant]]\ncheck = \"bank\"\ntotal = 800     # accounts times balance\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

struct Bank {
    total: u64,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(Bank { total: fields.required("total")? }))
}

impl Check for Bank {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let mut reads = 0_usize;
        let mut wrong = Vec::new();
        for (call, sum) in run.calls.iter().filter_map(|call| Some((call, sum(call)?))) {
            reads += 1;
            if sum != u128::from(self.total) {
                wrong.push(format!(
                    "process {} read {sum} of {} in all: {}",
                    call.process.0,
                    self.total,
                    balances(call)
                ));
            }
        }
        let (verdict, summary) = match (reads, wrong.len()) {
            (0, _) => (Verdict::Invalid, "cannot tell: nobody read all accounts".to_owned()),
            (reads, 0) => (Verdict::Pass, format!("{reads} reads of all accounts found {} each", self.total)),
            (reads, count) => {
                (Verdict::Fail, format!("{count} of {reads} reads of all accounts did not find {}", self.total))
            }
        };
        let finding = Finding::new(ENTRY.name, verdict, summary);
        let finding = finding.figure("reads", number(reads)).figure("wrong", number(wrong.len()));
        wrong.into_iter().fold(finding, Finding::evidence)
    }
}

fn answers(call: &Call) -> Option<&[Answer]> {
    let (Op::Txn(steps), Some((_, Outcome::Ok(Reply::Answers(answers))))) = (&call.op, &call.completed) else {
        return None;
    };
    steps.iter().all(|step| matches!(step, Step::Balance { .. })).then_some(answers)
}

fn sum(call: &Call) -> Option<u128> {
    let held = |answer: &Answer| if let Answer::Value(Some(held)) = answer { u128::from(*held) } else { 0 };
    Some(answers(call)?.iter().map(held).sum())
}

fn balances(call: &Call) -> String {
    let word = |answer: &Answer| match answer {
        Answer::Value(Some(held)) => held.to_string(),
        Answer::Value(None) | Answer::Done | Answer::Refused | Answer::List(_) => "nothing".to_owned(),
    };
    answers(call).unwrap_or_default().iter().map(word).collect::<Vec<_>>().join(", ")
}
