//! From what is named on the command line to scenario files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Folders deeper than this are not looked into.
const DEEPEST: usize = 16;
/// A folder below a named one that is not looked into: it holds what tests need, broken scenarios among it.
const PASSED_OVER: &str = "tests";

/// The files meant by `paths`, in the order given; a folder means every scenario below it, in name order. Each file is
/// taken once.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !metadata.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut below = Vec::new();
        walk(path, 0, &mut below)?;
        if below.is_empty() {
            let help = "a scenario is a .toml file with a line `firedrill = 1`";
            return Err(Failure::usage(format!("no scenario below {}", path.display())).help(help));
        }
        found.extend(below);
    }
    let mut once: Vec<PathBuf> = Vec::new();
    for path in found {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    Ok(once)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth > DEEPEST {
        return Ok(());
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| unreadable(folder, &error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let hidden = entry.file_name().to_string_lossy().starts_with('.') || entry.file_name() == PASSED_OVER;
        let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
        if kind.is_dir() && !hidden {
            walk(&entry.path(), depth + 1, found)?;
        } else if !hidden && entry.path().extension().is_some_and(|extension| extension == "toml") {
            let bytes = fs::read(entry.path()).map_err(|error| unreadable(&entry.path(), &error))?;
            if is_scenario(&bytes) {
                found.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Whether a line says `firedrill =`. The file need not be right otherwise: a broken scenario is still one.
fn is_scenario(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).lines().any(|line| {
        let rest = line.trim_start().strip_prefix("firedrill");
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let near = neighbours(path);
    match (error.kind(), near.is_empty()) {
        (io::ErrorKind::NotFound, false) => failure.help(format!("there is: {}", near.join(", "))),
        (io::ErrorKind::NotFound, true) => {
            failure.help("name a scenario file or a folder of them; `firedrill run --help` shows how")
        }
        _ => failure,
    }
}

/// Files and folders beside a missing one that sound like it.
fn neighbours(path: &Path) -> Vec<String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(wanted) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut names: Vec<(usize, String)> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir() || entry.path().extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|entry| {
            let stem = entry.path().file_stem()?.to_string_lossy().into_owned();
            let near = stem.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
            let sounds = near >= 3 || stem.contains(&wanted) || wanted.contains(&stem);
            sounds.then(|| (near, entry.path().strip_prefix("./").unwrap_or(&entry.path()).display().to_string()))
        })
        .collect();
    names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Whether a scenario with these tags is meant: any of the wanted ones, or none wanted.
pub(crate) fn wanted(tags: &[String], wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|tag| tags.contains(tag))
}

/// No scenario has any of the tags; says which there are.
pub(crate) fn no_such_tag<'a>(wanted: &[String], tags: impl Iterator<Item = &'a String>) -> Failure {
    let mut known: Vec<&str> = tags.map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    let failure = Failure::usage(format!("no scenario has the tag {}", wanted.join(" or ")));
    if known.is_empty() {
        failure.help("none has any tag")
    } else {
        failure.help(format!("tags: {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.toml", "firedrill = 1");
        write("a/z.toml", "# story\nfiredrill=1\nbroken [");
        write("a/Cargo.toml", "[package]\nname = \"firedrill\"");
        write(".hidden/c.toml", "firedrill = 1");
        write("a/notes.txt", "firedrill = 1");
        write("a/tests/broken.toml", "firedrill = 1");
        root
    }

    fn names(root: &Path, found: &[PathBuf]) -> Vec<String> {
        found.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn folder_means_its_scenarios_in_name_order() {
        let root = tree();
        let found = find(&[root.path().to_owned()]).unwrap();
        assert_eq!(names(root.path(), &found), ["a/z.toml", "b.toml"]);
    }

    #[test]
    fn named_files_are_taken_whatever_is_in_them_and_once() {
        let root = tree();
        let file = root.path().join("a/Cargo.toml");
        let found = find(&[file.clone(), root.path().join("b.toml"), root.path().to_owned(), file]).unwrap();
        assert_eq!(names(root.path(), &found), ["a/Cargo.toml", "b.toml", "a/z.toml"]);
    }

    #[test]
    fn missing_files_and_empty_folders_say_what_there_is() {
        let root = tree();
        let missing = find(&[root.path().join("b.tml")]).unwrap_err();
        assert!(missing.help.unwrap().contains("b.toml"));
        fs::create_dir(root.path().join("empty")).unwrap();
        assert!(find(&[root.path().join("empty")]).unwrap_err().message.contains("no scenario below"));
    }

    #[test]
    fn any_wanted_tag_is_enough() {
        let tags = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(wanted(&tags(&["ci"]), &[]));
        assert!(wanted(&tags(&["ci"]), &tags(&["nightly", "ci"])));
        assert!(!wanted(&tags(&["ci"]), &tags(&["nightly"])));
        let failure = no_such_tag(&tags(&["x"]), tags(&["ci", "nightly", "ci"]).iter());
        assert_eq!(failure.help.unwrap(), "tags: ci, nightly");
    }
}
