//! `firedrill heal`: what a run left in force or behind is undone, out of its journal and by its tag.
//!
//! Faults of a lab live in the kernel objects of the lab and die with it, so a lab is healed by ending it.

use std::path::Path;
use std::process::ExitCode;

use firedrill_core::verdict::exit;
use firedrill_engine::folder;
use firedrill_engine::journal::{self, Found};
use firedrill_platforms::lab;
use firedrill_reports::console::Paint;

use crate::args::HealArgs;
use crate::failure::Failure;
use crate::output;
use crate::terminal::Terminal;

/// Heals. Exit code 0 when nothing is left of what was asked for, 5 otherwise.
pub(crate) fn heal(args: &HealArgs) -> Result<ExitCode, Failure> {
    let style = Terminal::stdout().style;
    let journals = journal::find(&firedrill_sys::dirs::state_dir())
        .map_err(|error| Failure::new(exit::DIRTY, "the journals cannot be read").because(&error))?;
    let wanted = args.run.as_deref().map(ids);
    let meant = |found: &&Found| wanted.as_ref().is_none_or(|ids| ids.contains(&run_id(found)));
    let mut left = false;
    let mut seen = 0_usize;
    for found in journals.iter().filter(meant) {
        seen += 1;
        let id = run_id(found);
        if found.live {
            let spared = if wanted.is_some() { "is still running: press Ctrl-C there" } else { "is alive, and spared" };
            output::print(&format!("{}  {id} {spared}\n", style.paint(Paint::Doubt, "live")));
            left |= wanted.is_some();
            continue;
        }
        left |= !heal_one(found, &id)?;
    }
    for line in lab::sweep() {
        seen += 1;
        output::print(&format!("{}\n", style.text(&line)));
    }
    if let Some(ids) = &wanted {
        left |= ids.iter().any(|id| !report_leftovers(id));
    }
    if seen == 0 && !left {
        output::print("nothing to heal\n");
    }
    Ok(ExitCode::from(if left { exit::DIRTY } else { exit::PASS }))
}

/// Whether nothing is left of the run.
fn heal_one(found: &Found, id: &str) -> Result<bool, Failure> {
    if lab::list().iter().any(|record| record.run_id == id) {
        lab::down(id)
            .map_err(|error| Failure::new(exit::DIRTY, format!("the lab of {id} cannot be ended")).because(&error))?;
    }
    lab::sweep();
    if !report_leftovers(id) {
        return Ok(false);
    }
    journal::discard(found)
        .map_err(|error| Failure::new(exit::DIRTY, "the journal cannot be removed").because(&error))?;
    let style = Terminal::stdout().style;
    let healed = style.paint(Paint::Good, "healed");
    let actions = match found.pending.len() {
        0 => "nothing was in force".to_owned(),
        1 => "1 action is undone".to_owned(),
        count => format!("{count} actions are undone"),
    };
    output::print(&format!("{healed}  {id}: {actions}, nothing is left\n"));
    for undo in &found.pending {
        output::print(&format!("        {}\n", style.text(&undo.action.to_string())));
    }
    Ok(true)
}

/// Prints what a run left on this machine; whether that is nothing.
fn report_leftovers(id: &str) -> bool {
    let style = Terminal::stdout().style;
    let left = lab::leftovers(id);
    for residue in &left {
        let dirty = style.paint(Paint::Bad, "left");
        let text = format!("{}; remove it with: {}", residue.what, residue.remedy);
        output::print(&format!("{dirty}  {}\n", style.text(&text)));
    }
    left.is_empty()
}

/// The short ids that a word on the command line means: those of a run's folder, or itself.
fn ids(run: &str) -> Vec<String> {
    let repeats = folder::repeats(Path::new(run)).unwrap_or_default();
    let of_folder: Vec<String> =
        repeats.iter().filter_map(|repeat| folder::manifest(repeat).ok()).map(|manifest| manifest.run_id).collect();
    if of_folder.is_empty() { vec![run.to_owned()] } else { of_folder }
}

/// The run a journal is of; its file has the same name.
fn run_id(found: &Found) -> String {
    let of_file = || found.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    found.header.as_ref().map_or_else(of_file, |header| header.run_id.clone())
}
