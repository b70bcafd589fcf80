//! The nodes' folders on the host, and the logs in the run's folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Component, Path};

use firedrill_core::cluster::NodeName;
use firedrill_core::system::{HomeFile, LabRecipe};
use firedrill_sys::accounts::{self, Account};
use firedrill_sys::dirs;

use super::doing;

/// How much of the end of a log is read for its last lines, in bytes.
const LOG_TAIL: u64 = 64 * 1024;

/// The users that the recipe names.
pub(super) fn accounts(recipe: &LabRecipe) -> io::Result<BTreeMap<String, Account>> {
    let of_units = recipe.units.iter().map(|unit| &unit.user);
    let of_files = recipe.files.iter().map(|file| &file.user);
    let mut found = BTreeMap::new();
    for user in of_units.chain(of_files) {
        let account = accounts::find(user)?.ok_or_else(|| io::Error::other(format!("user {user} does not exist")))?;
        found.insert(user.clone(), account);
    }
    Ok(found)
}

/// Writes the recipe's files into the nodes' folders, for a cold start.
pub(super) fn write(recipe: &LabRecipe, nodes: &[NodeName], lab_dir: &Path) -> io::Result<()> {
    for node in nodes {
        let home = lab_dir.join(node.as_str());
        fs::create_dir(&home)?;
        // Like /tmp: several users of one node share it. The lab's folder around it is closed to all of them.
        fs::set_permissions(&home, fs::Permissions::from_mode(0o1777))?;
    }
    let accounts = if dirs::is_root() { accounts(recipe)? } else { BTreeMap::new() };
    for file in &recipe.files {
        let home = lab_dir.join(file.node.as_str());
        write_one(file, &home, accounts.get(&file.user)).map_err(doing(&file.path))?;
    }
    Ok(())
}

fn write_one(file: &HomeFile, home: &Path, owner: Option<&Account>) -> io::Result<()> {
    let relative = Path::new(&file.path);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::other("not a path below the node's home"));
    }
    let path = home.join(relative);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match &file.content {
        Some(content) => fs::write(&path, content)?,
        None => fs::create_dir_all(&path)?,
    }
    if let Some(owner) = owner {
        chown(&path, Some(owner.uid), Some(owner.gid))?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
}

/// Removes the nodes' folders again.
pub(super) fn clear(lab_dir: &Path, nodes: &[NodeName]) -> io::Result<()> {
    for node in nodes {
        match fs::remove_dir_all(lab_dir.join(node.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// The last lines of every log in a node's folder, each under its file's name. A log that cannot be read says why.
pub(super) fn last_log_lines(folder: &Path, lines: usize) -> Vec<String> {
    let mut logs: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let mut words = Vec::new();
    for log in logs {
        let name = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match tail(&log) {
            Ok(text) => {
                let all: Vec<&str> = text.lines().collect();
                let last = &all[all.len().saturating_sub(lines)..];
                words.extend(last.iter().map(|line| format!("{name}: {line}")));
            }
            Err(error) => words.push(format!("{name}: its log cannot be read: {error}")),
        }
    }
    words
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
