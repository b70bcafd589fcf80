//! `firedrill heal`: what a run left in force or behind is undone, out of its journals, those of its agents, and by its tag.
//!
//! Faults of a run's lab live in the kernel objects of that lab and die with it, so it is healed by ending it. A cluster
//! that lives on without a harness is healed inside, and goes on. Each step is tried, whatever became of the others.

use std::path::Path;
use std::process::ExitCode;

use firedrill_core::platform::Residue;
use firedrill_core::verdict::exit;
use firedrill_engine::folder;
use firedrill_engine::journal::{self, Found};
use firedrill_platforms::lab;
use firedrill_platforms::lab::heal::{TAG, Told};
use firedrill_reports::console::Paint;

use crate::args::HealArgs;
use crate::output;
use crate::terminal::Terminal;

/// Heals. Exit code 0 when nothing is left of what was asked for, 5 otherwise.
pub(crate) fn heal(args: &HealArgs) -> ExitCode {
    let wanted = args.run.as_deref().map(ids);
    let mut healing = Healing { left: false, seen: 0 };
    let journals = match journal::find(&firedrill_sys::dirs::state_dir()) {
        Ok(journals) => journals,
        Err(error) => {
            healing.residue(&because("the journals cannot be read", &error));
            Vec::new()
        }
    };
    let (visitors, own): (Vec<Found>, Vec<Found>) = journals.into_iter().partition(is_visitor);
    healing.journals(&own, wanted.as_deref());
    let tags = match &wanted {
        Some(ids) => ids.iter().map(|id| format!("{TAG}{id}-")).collect(),
        None => vec![TAG.to_owned()],
    };
    // Whoever waits for a frozen volume of a lab that is gone ends once that is thawed.
    healing.swept();
    for tag in &tags {
        healing.agents("this host", lab::heal::heal_host(tag));
        for id in lab::heal::left_running() {
            let told = lab::heal::heal_lab(&id, tag);
            if told.is_ok() || lab::heal::left_running().contains(&id) {
                healing.agents(&format!("the cluster {id}"), told);
            }
        }
    }
    // What runs did to clusters that are not their own is undone by now; if it is not, their journals stay.
    healing.journals(&visitors, wanted.as_deref());
    healing.labs(wanted.as_deref());
    if healing.seen == 0 && !healing.left {
        output::print("nothing to heal\n");
    }
    ExitCode::from(if healing.left { exit::DIRTY } else { exit::PASS })
}

/// Heals after every run that is gone, as `heal --all` would, but only if there is one; says nothing otherwise. What could not
/// be undone is said, and stays in its journal.
pub(crate) fn after_the_dead() {
    let dead = |found: &Found| !found.live;
    let journals = journal::find(&firedrill_sys::dirs::state_dir());
    if lab::any_dead() || journals.is_ok_and(|journals| journals.iter().any(dead)) {
        heal(&HealArgs { run: None, all: true });
    }
}

/// Whether the cluster of that journal's run was not its own.
fn is_visitor(found: &Found) -> bool {
    found.header.as_ref().is_some_and(|header| header.against.is_some())
}

/// What the program does as [`lab::heal::INSIDE`]: heals inside a lab, and says what was done, one JSON line each.
pub(crate) fn inside() -> ExitCode {
    match lab::heal::print_inside() {
        Ok(told) => {
            for line in told.iter().filter_map(|told| serde_json::to_string(told).ok()) {
                output::print(&format!("{line}\n"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::error(&error.to_string());
            ExitCode::from(exit::DIRTY)
        }
    }
}

/// What has come of it so far.
struct Healing {
    /// Whether anything is left.
    left: bool,
    /// How many things there were to say.
    seen: usize,
}

impl Healing {
    fn say(&mut self, paint: Paint, word: &str, text: &str) {
        self.seen += 1;
        let style = Terminal::stdout().style;
        output::print(&format!("{}  {}\n", style.paint(paint, word), style.text(text)));
    }

    fn residue(&mut self, residue: &Residue) {
        self.left = true;
        self.say(Paint::Bad, "left", &format!("{}; remove it with: {}", residue.what, residue.remedy));
    }

    /// By the harness's own journals. The lab of a run that is gone is ended.
    fn journals(&mut self, journals: &[Found], wanted: Option<&[String]>) {
        let meant = |found: &&Found| wanted.is_none_or(|ids| ids.contains(&run_id(found)));
        for found in journals.iter().filter(meant) {
            let id = run_id(found);
            if found.live {
                let spared =
                    if wanted.is_some() { "is still running: press Ctrl-C there" } else { "is alive, and spared" };
                self.say(Paint::Doubt, "live", &format!("{id} {spared}"));
                self.left |= wanted.is_some();
                continue;
            }
            self.run(found, &id);
        }
    }

    fn run(&mut self, found: &Found, id: &str) {
        if is_visitor(found) && self.left {
            return;
        }
        if lab::list().iter().any(|record| record.run_id == id && record.purpose == lab::Purpose::Run)
            && let Err(error) = lab::down(id)
        {
            self.residue(&because(&format!("the lab of {id} cannot be ended"), &error));
        }
        self.swept();
        let left = lab::leftovers(id);
        for residue in &left {
            self.residue(residue);
        }
        if !left.is_empty() {
            return;
        }
        if let Err(error) = journal::discard(found) {
            self.residue(&because("the journal cannot be removed", &error));
            return;
        }
        let actions = match found.pending.len() {
            0 => "nothing was in force".to_owned(),
            1 => "1 action is undone".to_owned(),
            count => format!("{count} actions are undone"),
        };
        self.say(Paint::Good, "healed", &format!("{id}: {actions}, nothing is left"));
        for undo in &found.pending {
            output::print(&format!("        {}\n", Terminal::stdout().style.text(&undo.action.to_string())));
        }
    }

    /// By what agents that are gone left, as those who healed after them tell.
    fn agents(&mut self, place: &str, told: std::io::Result<Vec<Told>>) {
        let told = match told {
            Ok(told) => told,
            Err(error) => return self.residue(&because(&format!("{place} cannot be healed"), &error)),
        };
        for told in told {
            match told {
                Told::Undone { tag, action } => {
                    self.say(Paint::Good, "healed", &format!("{action} ({tag}), left by an agent on {place}"));
                }
                Told::Removed { what } => self.say(Paint::Good, "removed", &format!("{what} on {place}")),
                Told::Left { what, why, remedy } => {
                    self.residue(&Residue { what: format!("{what} on {place}: {why}"), remedy });
                }
                Told::Live { tag } => self.say(Paint::Doubt, "live", &format!("an agent ({tag}) is alive, and spared")),
            }
        }
    }

    /// By what labs that are gone left on this host.
    fn labs(&mut self, wanted: Option<&[String]>) {
        self.swept();
        let strays: Vec<_> = match wanted {
            Some(ids) => ids.iter().map(|id| lab::stray::remove(Some(id))).collect(),
            None => vec![lab::stray::remove(None)],
        };
        for (gone, left) in strays {
            for what in &gone {
                self.say(Paint::Good, "removed", what);
            }
            for residue in &left {
                self.residue(residue);
            }
        }
        let running = lab::heal::left_running();
        for id in wanted.unwrap_or_default().iter().filter(|id| !running.contains(id)) {
            for residue in lab::leftovers(id) {
                self.residue(&residue);
            }
        }
    }

    fn swept(&mut self) {
        for line in lab::sweep() {
            self.seen += 1;
            output::print(&format!("{}\n", Terminal::stdout().style.text(&line)));
        }
    }
}

fn because(what: &str, error: &dyn std::error::Error) -> Residue {
    Residue { what: format!("{what}: {error}"), remedy: "firedrill heal --all".to_owned() }
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
