//! Places below a home, as parts of paths, and whether a target names them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::OWN_FILE;

/// The parts of a path that a target names; none of them is everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parts(Vec<OsString>);

impl Parts {
    /// Of a target's path.
    pub(crate) fn of(path: Option<&str>) -> Self {
        let parts = path.map(Path::new).into_iter().flat_map(Path::iter);
        Self(parts.filter(|part| *part != OsStr::new("/") && *part != OsStr::new(".")).map(OsStr::to_owned).collect())
    }

    /// Whether the file or folder at `place` is called so.
    pub(crate) fn end(&self, place: &[OsString]) -> bool {
        place.ends_with(&self.0)
    }

    /// Whether the file or folder at `place`, or a folder above it, is called so.
    pub(crate) fn cover(&self, place: &[OsString]) -> bool {
        self.0.is_empty() || place.windows(self.0.len()).any(|window| window == self.0)
    }
}

/// The name of one of our own files, by which a probe tries the disk.
pub(crate) fn own_name(place: &[OsString]) -> Option<&OsString> {
    place.last().filter(|name| name.as_encoded_bytes().starts_with(OWN_FILE.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_any_trailing_part_of_a_path_and_what_is_below_it() {
        let place = |text: &str| -> Vec<OsString> { Path::new(text).iter().map(OsStr::to_owned).collect() };
        for (path, at, want) in [
            (Some("pg_wal"), "postgres/data/pg_wal", true),
            (Some("pg_wal"), "postgres/data/pg_wal/archive_status/1.done", true),
            (Some("data/pg_wal"), "postgres/data/pg_wal/1", true),
            (Some("/data/pg_wal/"), "postgres/data/pg_wal/1", true),
            (Some("postgres/pg_wal"), "postgres/data/pg_wal/1", false),
            (Some("pg_wal"), "postgres/data/pg_wal2/1", false),
            (Some("pg_wal"), "", false),
            (None, "etcd/x", true),
            (None, "", true),
        ] {
            assert_eq!(Parts::of(path).cover(&place(at)), want, "{path:?} {at}");
        }
        assert!(own_name(&place("pg_wal/.fd-1-1")).is_some() && own_name(&place(".fd-1/file")).is_none());
    }
}
