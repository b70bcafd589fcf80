//! A node's home is on one thing: on a volume of its own, or on a disk that can be harmed.

use firedrill_core::action::Deed;
use firedrill_core::harm::FileSystem;

use crate::Context;
use crate::fault::Draft;

/// Notes what cannot be had together.
pub(crate) fn check(context: &Context<'_>, faults: &[Draft]) {
    let harms = |draft: &&Draft| draft.entry.is_some_and(|entry| entry.deeds.contains(&Deed::HarmDisk));
    let harmed = faults.iter().find(harms);
    let mut first: Option<(&Draft, FileSystem)> = None;
    for draft in faults {
        let (Some(entry), Some(fault)) = (draft.entry, &draft.fault) else { continue };
        let asked = fault.needs().volumes.into_iter().next();
        if let Some(harmed) = harmed.filter(|_| entry.deeds.contains(&Deed::FreezeDisk) || asked.is_some()) {
            let (id, other) = (&draft.id.value, &harmed.id.value);
            let message = format!("`{id}` needs a volume of the node's own, and `{other}` has a disk in its place");
            let help = "put them into two scenarios; `disk.stall` with `ops = [\"write\", \"fsync\"]` is near to a freeze, and a disk loses its power without a `file-system`";
            context.note(draft.kind_place.clone(), message, help);
        }
        match (first, asked) {
            (Some((before, one)), Some(other)) if one != other => {
                let message = format!("`{}` asks for {other}, and `{}` for {one}", draft.id.value, before.id.value);
                context.note(draft.kind_place.clone(), message, "all volumes of a scenario have one file system");
            }
            (None, Some(asked)) => first = Some((draft, asked)),
            (_, _) => {}
        }
    }
}
