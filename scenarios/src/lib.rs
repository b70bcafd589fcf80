//! The scenario language: one TOML file to a [`Scenario`], strict, with every mistake of the file reported at once.
//!
//! It knows no concrete fault, system, platform, workload or check: those come in [`Registries`], and each reads its own
//! keys. What can be known before anything runs is checked here, so that nothing is touched for a scenario that cannot
//! work: chains of `after`, faults longer than the run, deeds the platform never offers, more impaired than allowed.

use std::ops::Range;

use firedrill_core::check::CheckEntry;
use firedrill_core::fault::FaultEntry;
use firedrill_core::platform::PlatformEntry;
use firedrill_core::scenario::Scenario;
use firedrill_core::seed::Seed;
use firedrill_core::spec::{Fields, Mistake, Mistakes};
use firedrill_core::system::SystemEntry;
use firedrill_core::workload::WorkloadEntry;
use toml::de::DeTable;

mod cluster;
mod condition;
mod cross;
mod fault;
mod goals;
mod load;
mod place;
mod safety;
mod volumes;

/// The version of the language that this crate reads: `firedrill = 1`.
pub const LANGUAGE: u64 = 1;

/// What scenarios may name.
#[derive(Clone, Copy)]
pub struct Registries {
    /// Faults, by kind.
    pub faults: &'static [FaultEntry],
    /// Systems, by name.
    pub systems: &'static [SystemEntry],
    /// Platforms, by name.
    pub platforms: &'static [PlatformEntry],
    /// Workloads, by kind.
    pub workloads: &'static [WorkloadEntry],
    /// Checks, by name.
    pub checks: &'static [CheckEntry],
}

/// What the command line says instead of the file.
#[derive(Clone, Default, Debug)]
pub struct Overrides {
    /// `--on`: the platform.
    pub platform: Option<String>,
    /// `--seed`.
    pub seed: Option<Seed>,
    /// `--repeat`.
    pub repeat: Option<u32>,
}

/// Reads a scenario. `file_name` is only remembered. `Err` is every mistake of the file, in its order, never none.
pub fn load(file_name: &str, text: &str, registries: &Registries) -> Result<Scenario, Vec<Mistake>> {
    load_with(file_name, text, registries, &Overrides::default())
}

/// As [`load`], with what the command line says instead of the file.
pub fn load_with(
    file_name: &str,
    text: &str,
    registries: &Registries,
    overrides: &Overrides,
) -> Result<Scenario, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let help = "https://toml.io shows the syntax of TOML".to_owned();
        mistakes.note(span, format!("not TOML: {}", error.message()), "here", help);
    }
    let scenario = if mistakes.count() == 0 {
        let context = Context { file_name, text, registries, overrides, mistakes: &mistakes };
        context.scenario(Fields::new(table.get_ref(), context.first_word(), "the file", &mistakes))
    } else {
        None // What could be read beside broken syntax would only give mistakes that are not there.
    };
    let count = mistakes.count();
    match scenario {
        Some(scenario) if count == 0 => Ok(scenario),
        _ => Err(mistakes.into_sorted()),
    }
}

/// What reading a file needs everywhere.
#[derive(Clone, Copy)]
struct Context<'a> {
    file_name: &'a str,
    text: &'a str,
    registries: &'a Registries,
    overrides: &'a Overrides,
    mistakes: &'a Mistakes,
}

impl Context<'_> {
    /// The place for what concerns the whole file.
    fn first_word(&self) -> Range<usize> {
        let start = if self.text.trim().is_empty() { 0 } else { self.text.len() - self.text.trim_start().len() };
        let end = self.text[start..].find(char::is_whitespace).map_or(self.text.len(), |length| start + length);
        start..end
    }

    fn scenario(&self, mut root: Fields<'_, '_>) -> Option<Scenario> {
        if !self.version(&mut root) {
            return None;
        }
        let name = root.required_placed::<String>("name");
        if let Some(name) = name.as_ref().filter(|name| name.value.trim().is_empty()) {
            self.note(name.span.clone(), "`name` is empty", "say in a sentence what must hold");
        }
        let guards = root.list::<String>("guards").into_iter().map(|guard| guard.value).collect();
        let tags = root.list::<String>("tags").into_iter().map(|tag| tag.value).collect();
        let seed = root.optional::<u64>("seed").map(Seed);

        let cluster = cluster::read(self, &mut root);
        let load = load::read(self, &mut root);
        let steady = load::steady(self, &mut root, cluster.nodes.len());
        let faults = fault::read(self, &mut root);
        let safety = safety::read(self, &mut root, cluster.nodes.len());
        let ids: Vec<&str> = faults.iter().map(|fault| fault.id.value.as_str()).collect();
        let before_goals = self.mistakes.count();
        let invariants = goals::invariants(self, &mut root, load.entry, &ids);
        let objectives = goals::objectives(self, &mut root, !faults.is_empty());
        if invariants.read.is_empty() && objectives.bounds.is_empty() && self.mistakes.count() == before_goals {
            let help = "add an [[invariant]] or a bound under [objectives]: nothing checked is never a pass";
            self.note(root.span(), "the file checks nothing", help);
        }
        let expect = goals::expect(self, &mut root, &invariants);
        root.finish();

        cross::check(self, &cluster, &load, &faults, &safety);

        Some(Scenario {
            file: self.file_name.to_owned(),
            text: self.text.to_owned(),
            name: name?.value,
            guards,
            tags,
            seed: self.overrides.seed.or(seed),
            cluster: cluster.finish()?,
            load: load.finish()?,
            steady,
            faults: faults.into_iter().map(fault::Draft::finish).collect::<Option<Vec<_>>>()?,
            invariants: invariants.read,
            objectives,
            safety: safety.finish(),
            expect,
        })
    }

    /// Whether the file is of the language's version; another one is not read any further.
    fn version(&self, root: &mut Fields<'_, '_>) -> bool {
        if !root.has("firedrill") {
            root.raw("firedrill");
            let help = "write `firedrill = 1`, the version of the language, as the first line";
            self.note(root.span(), "the file does not say its version", help);
            return true;
        }
        match root.placed::<u64>("firedrill") {
            Some(version) if version.value != LANGUAGE => {
                let help = "write `firedrill = 1`, or use the firedrill that the file was written for";
                let message = format!("this firedrill reads version {LANGUAGE}, not version {}", version.value);
                self.note(version.span, message, help);
                false
            }
            Some(_) | None => true,
        }
    }

    /// Notes a mistake.
    fn note(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.note(span, message, "here", help.into());
    }

    /// Notes a word that no entry bears, with "did you mean".
    fn unknown(&self, span: Range<usize>, message: impl Into<String>, word: &str, known: &[&str]) {
        self.mistakes.note(span, message, "not known", firedrill_core::spec::suggest(word, known));
    }

    /// What a plug-in read; if it read nothing and said nothing, that is said here.
    fn plugged<T>(
        &self,
        fields: &mut Fields<'_, '_>,
        read: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let before = self.mistakes.count();
        let value = read(fields);
        if value.is_none() && self.mistakes.count() == before {
            self.note(fields.span(), format!("{} could not be read", fields.title()), "see `firedrill list`");
        }
        value
    }
}
