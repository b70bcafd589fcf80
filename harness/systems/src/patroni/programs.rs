//! Where PostgreSQL, Patroni and etcd are installed on this machine. Looks at files and runs nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use firedrill_core::system::Program;

use super::options::POSTGRES_VERSIONS;
use crate::programs::{self, in_path, is_program};

/// What the recipe starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    /// The folder of `postgres`, `initdb`, `pg_basebackup`, `pg_rewind`.
    pub postgres_bin: Option<PathBuf>,
    /// The `patroni` daemon.
    pub patroni: Option<PathBuf>,
    /// The `etcd` server.
    pub etcd: Option<PathBuf>,
    /// The version of PostgreSQL that was asked for.
    pub asked: Option<u32>,
}

impl Programs {
    /// Looks in the usual places of Debian, the PostgreSQL project's RPMs, a source build, and PATH.
    pub fn find(asked: Option<u32>) -> Self {
        let path = programs::path();
        let postgres_bin = find_postgres(Path::new("/"), &path, asked);
        Self { postgres_bin, patroni: in_path(&path, "patroni"), etcd: in_path(&path, "etcd"), asked }
    }

    /// Whether the server found is of a later major version, as far as its folder tells.
    pub(super) fn newer_than(&self, version: u32) -> bool {
        let later = |part: &OsStr| {
            let number = part.to_str().map(|part| part.strip_prefix("pgsql-").unwrap_or(part));
            number.and_then(|number| number.parse::<u32>().ok()).is_some_and(|found| found > version)
        };
        self.postgres_bin.as_ref().is_some_and(|bin| bin.iter().any(later))
    }

    /// For preflight: what was found, and the package that has what was not.
    pub fn listed(&self) -> Vec<Program> {
        let (name, package) = match self.asked {
            Some(version) => (format!("PostgreSQL {version}"), format!("postgresql-{version}")),
            None => ("PostgreSQL".to_owned(), "postgresql".to_owned()),
        };
        let postgres = self.postgres_bin.as_ref().map(|bin| bin.join("postgres"));
        vec![
            Program { name, path: postgres, package },
            Program { name: "Patroni".to_owned(), path: self.patroni.clone(), package: "patroni".to_owned() },
            Program { name: "etcd".to_owned(), path: self.etcd.clone(), package: "etcd-server".to_owned() },
        ]
    }
}

/// The folder with PostgreSQL's server programs: the version asked for, or the newest.
fn find_postgres(root: &Path, path: &OsString, asked: Option<u32>) -> Option<PathBuf> {
    let mut found: BTreeMap<u32, PathBuf> = BTreeMap::new();
    for version in POSTGRES_VERSIONS {
        let debian = root.join(format!("usr/lib/postgresql/{version}/bin"));
        let rpm = root.join(format!("usr/pgsql-{version}/bin"));
        if let Some(bin) = [debian, rpm].into_iter().find(|bin| is_program(&bin.join("postgres"))) {
            found.insert(version, bin);
        }
    }
    if let Some(version) = asked {
        return found.remove(&version);
    }
    // A build from source or a program in PATH does not tell its version without being run; it is taken last.
    let newest = found.pop_last().map(|(_, bin)| bin);
    newest
        .or_else(|| Some(root.join("usr/local/pgsql/bin")).filter(|bin| is_program(&bin.join("postgres"))))
        .or_else(|| in_path(path, "postgres").and_then(|program| program.parent().map(Path::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn plant(root: &Path, folder: &str) {
        let bin = root.join(folder);
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("postgres"), "").unwrap();
        fs::set_permissions(bin.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_newest_is_taken_or_the_one_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let nowhere = OsString::new();
        let find = |asked| {
            find_postgres(root.path(), &nowhere, asked).map(|bin| bin.strip_prefix(root.path()).unwrap().to_owned())
        };
        assert_eq!(find(None), None);
        plant(root.path(), "usr/local/pgsql/bin");
        assert_eq!(find(None), Some(PathBuf::from("usr/local/pgsql/bin")));
        plant(root.path(), "usr/lib/postgresql/15/bin");
        plant(root.path(), "usr/pgsql-17/bin");
        plant(root.path(), "usr/lib/postgresql/9.6/bin");
        assert_eq!(find(None), Some(PathBuf::from("usr/pgsql-17/bin")));
        assert_eq!(find(Some(15)), Some(PathBuf::from("usr/lib/postgresql/15/bin")));
        assert_eq!(find(Some(16)), None);
        let programs = |bin: &str| Programs { postgres_bin: Some(bin.into()), patroni: None, etcd: None, asked: None };
        for (bin, newer) in [
            ("/usr/lib/postgresql/18/bin", true),
            ("/usr/pgsql-18/bin", true),
            ("/usr/lib/postgresql/17/bin", false),
            ("/usr/local/pgsql/bin", false),
        ] {
            assert_eq!(programs(bin).newer_than(17), newer, "{bin}");
        }
    }
}
