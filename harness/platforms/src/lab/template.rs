//! Templates: the data of a cluster that was whole, copied when it is needed again. They are only a cache: whatever goes
//! wrong with one, a cold start is always possible.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use firedrill_core::system::LabRecipe;
use firedrill_core::time::Wall;
use firedrill_sys::identity::Identity;
use firedrill_sys::{copy, dirs, namespaces};

/// Raised when what is in a template changes its meaning.
const LAYOUT: u32 = 2;
/// Most templates kept.
const MOST: usize = 8;
/// What names begin with of templates that are being made or removed.
const UNBORN: &str = ".new-";

/// The place of one cluster's template.
#[derive(Clone, Debug)]
pub(super) struct Template {
    folder: PathBuf,
}

impl Template {
    /// The template of a recipe on this machine for this user. Other programs, another recipe: another template.
    pub(super) fn of(recipe: &LabRecipe) -> Self {
        let mut parts = vec![serde_json::to_string(recipe).unwrap_or_default()];
        for path in recipe.programs.iter().filter_map(|program| program.path.as_ref()) {
            let seen = fs::metadata(path).map(|metadata| (metadata.len(), metadata.mtime())).ok();
            parts.push(format!("{}:{seen:?}", path.display()));
        }
        parts.push(format!("{:?}:{LAYOUT}", namespaces::own_ids()));
        let key = firedrill_core::seed::fnv1a(parts.join("|").as_bytes());
        Self { folder: templates_dir().join(format!("{key:016x}")) }
    }

    /// Whether there is one.
    pub(super) fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    /// Copies the nodes' folders of the template into `lab_dir`, and marks it as used.
    pub(super) fn clone_to(&self, lab_dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            copy_tree(&entry.path(), &lab_dir.join(entry.file_name()))?;
        }
        let now = UNIX_EPOCH + std::time::Duration::from_nanos(Wall::now().unix_nanos);
        File::open(&self.folder)?.set_modified(now)
    }

    /// Makes the template from the nodes' folders, each with its node's name, at once for everybody who looks. Who comes
    /// second keeps the first one's.
    pub(super) fn save(&self, homes: &[(String, PathBuf)]) -> io::Result<()> {
        let unborn = self.unborn()?;
        let copied = fs::create_dir_all(&unborn)
            .and_then(|()| homes.iter().try_for_each(|(node, home)| copy_tree(home, &unborn.join(node))));
        let saved = copied.and_then(|()| match fs::rename(&unborn, &self.folder) {
            Err(_) if self.exists() => fs::remove_dir_all(&unborn),
            other => other,
        });
        if let Err(error) = saved {
            if unborn.exists() {
                fs::remove_dir_all(&unborn)?;
            }
            return Err(error);
        }
        remove_old()
    }

    /// Removes the template, if there is one.
    pub(super) fn discard(&self) -> io::Result<()> {
        let dying = self.unborn()?;
        match fs::rename(&self.folder, &dying) {
            Ok(()) => fs::remove_dir_all(dying),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn unborn(&self) -> io::Result<PathBuf> {
        let own = Identity::own().ok_or_else(|| io::Error::other("/proc does not show this process"))?;
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        // Unique in this process as well, where several runs may be at work.
        let moment = Wall::now().unix_nanos;
        Ok(templates_dir().join(format!("{UNBORN}{}-{}-{name}-{moment}", own.pid, own.start)))
    }
}

fn templates_dir() -> PathBuf {
    dirs::cache_dir().join("templates")
}

/// Removes what dead processes did not finish, and the longest unused templates beyond [`MOST`].
fn remove_old() -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(templates_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.strip_prefix(UNBORN) {
            Some(rest) => {
                let mut parts = rest.split('-').map(str::parse::<u64>);
                let (Some(Ok(pid)), Some(Ok(start))) = (parts.next(), parts.next()) else { continue };
                let alive = i32::try_from(pid).is_ok_and(|pid| Identity { pid, start }.is_alive());
                if !alive {
                    remove_if_there(&entry.path())?;
                }
            }
            None => kept.extend(entry.metadata().map(|metadata| (metadata.mtime(), entry.path()))),
        }
    }
    kept.sort();
    let surplus = kept.len().saturating_sub(MOST);
    kept.iter().take(surplus).try_for_each(|(_, path)| remove_if_there(path))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Copies what is in a folder into another that is there.
pub(super) fn copy_content(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies a folder with modes and, as root, owners. Sockets and pipes belong to processes and are left out.
pub(super) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        fs::create_dir(to)?;
        copy_content(from, to)?;
    } else if kind.is_file() {
        copy::sparse(from, to)?;
    } else if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        return Ok(());
    }
    if dirs::is_root() {
        lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    // After the change of owner, which clears some bits. A link has no mode of its own.
    if kind.is_symlink() { Ok(()) } else { fs::set_permissions(to, metadata.permissions()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_tree_is_copied_with_modes_and_links_but_without_sockets() {
        let work = tempfile::tempdir().unwrap();
        let (from, to) = (work.path().join("from"), work.path().join("to"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/file"), "data").unwrap();
        fs::set_permissions(from.join("deep/file"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(from.join("deep"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("deep/file", from.join("link")).unwrap();
        let _socket = UnixListener::bind(from.join("socket")).unwrap();
        copy_tree(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "data");
        assert_eq!(fs::metadata(to.join("deep/file")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(to.join("deep")).unwrap().mode() & 0o777, 0o700);
        assert!(!to.join("socket").exists());
    }
}
