//! What faults could leave behind where the agent is: taken before a storm and after it, and compared. Looks, and changes
//! nothing. The commands are those that a person would type where the agent is, as root. Left out is whatever changes by
//! itself: counters, process ids of servers, neighbours that the kernel has learnt.

mod files;
mod mounts;
mod networks;
mod processes;

use std::path::Path;

use firedrill_core::platform::Inventory;

use crate::protocol::Refusal;
use crate::world::World;

/// Stands where only our own program can make it so again.
const HEAL: &str = "firedrill heal --all";

/// Takes it.
pub fn take(world: &World) -> Result<Inventory, Refusal> {
    let mut inventory = Inventory::default();
    networks::note(world, &mut inventory)?;
    mounts::note(world, &mut inventory)?;
    processes::note(world, &mut inventory)?;
    files::note(world, &mut inventory)?;
    Ok(inventory)
}

/// A command line that has a shell run a script.
fn shell(script: &str) -> String {
    format!("sh -c {}", quoted(script))
}

/// One word for a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as a word for a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+=,%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { quoted(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell_stay_one_word() {
        assert_eq!(shell("echo 'a b'"), r"sh -c 'echo '\''a b'\'''");
        assert_eq!([word(Path::new("/a/b-1")), word(Path::new("/a b"))], ["/a/b-1", "'/a b'"]);
    }
}
