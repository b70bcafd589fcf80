//! `[safety]`: how much may be broken at once, when to stop, and how long an agent holds on without us.

use std::ops::Range;
use std::time::Duration;

use firedrill_core::scenario::Safety;
use firedrill_core::select::minority_of;
use firedrill_core::spec::Fields;

use crate::{Context, condition};

const DEFAULT_LEASE: Duration = Duration::from_secs(10);
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// `[safety]`, and where it says `max-impaired`.
pub(crate) struct Draft {
    pub(crate) safety: Safety,
    pub(crate) max_place: Option<Range<usize>>,
}

impl Draft {
    pub(crate) fn finish(self) -> Safety {
        self.safety
    }
}

pub(crate) fn read(context: &Context<'_>, root: &mut Fields<'_, '_>, nodes: usize) -> Draft {
    // The largest minority, so that a quorum is left unless the file asks for more.
    let default = u32::try_from(minority_of(nodes).max(1)).unwrap_or(u32::MAX);
    let safety = Safety { max_impaired: default, halt_if: Vec::new(), lease: DEFAULT_LEASE, only_if: Vec::new() };
    let mut draft = Draft { safety, max_place: None };
    let Some(mut fields) = root.table("safety", "[safety]") else { return draft };
    if let Some(max) = fields.placed::<u32>("max-impaired") {
        if max.value == 0 {
            let help = "write at least 1, or leave the faults out for a baseline";
            context.note(max.span.clone(), "`max-impaired` of 0 allows no fault at all", help);
        } else {
            draft.safety.max_impaired = max.value;
        }
        draft.max_place = Some(max.span);
    }
    let halt_if = fields.list::<String>("halt-if");
    draft.safety.halt_if = halt_if.iter().filter_map(|written| condition::read(context, written)).collect();
    if let Some(lease) = fields.placed::<Duration>("lease").and_then(|lease| context.within_a_day("lease", lease)) {
        if lease.value < SHORTEST_LEASE {
            let message = "a lease shorter than 1s would run out by itself on a busy machine";
            context.note(lease.span, message, "write at least \"1s\"");
        } else {
            draft.safety.lease = lease.value;
        }
    }
    draft.safety.only_if = fields.list::<String>("only-if").into_iter().map(|written| written.value).collect();
    fields.finish();
    draft
}
