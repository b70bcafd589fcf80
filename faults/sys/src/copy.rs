//! Copying files without their holes: servers preallocate logs (etcd 64 MB a node) that are mostly empty.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Copies what a file holds to a new file, leaving holes and unwritten space as holes, with its permission bits. The
/// data is copied by the kernel, which shares blocks where the file system can (`copy_file_range`).
pub fn sparse(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create_new(to)?;
    let metadata = source.metadata()?;
    let mut at = 0;
    while let Some((start, end)) = next_data(&source, at, metadata.len())? {
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        io::copy(&mut (&source).take(end - start), &mut target)?;
        at = end;
    }
    target.set_len(metadata.len())?;
    target.set_permissions(std::fs::Permissions::from_mode(metadata.permissions().mode()))
}

/// Where data begins and ends, at or after `at`; `None` when only a hole is left. See lseek(2).
fn next_data(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let seek = |at: u64, whence| lseek(file, i64::try_from(at).unwrap_or(i64::MAX), whence);
    let start = match seek(at, Whence::SeekData) {
        Ok(start) => u64::try_from(start).map_err(io::Error::other)?,
        Err(Errno::ENXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::EINVAL) => return Ok(Some((at, length))),
        Err(errno) => return Err(errno.into()),
    };
    let end = u64::try_from(seek(start, Whence::SeekHole)?).map_err(io::Error::other)?.min(length);
    // A file that shrinks under our eyes ends here.
    Ok((end > start).then_some((start, end)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn holes_stay_holes_and_data_stays_data() {
        let work = tempfile::tempdir().unwrap();
        let (from, to) = (work.path().join("from"), work.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", (32 << 20) + 17).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
        sparse(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        let metadata = fs::metadata(&to).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o640);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    }

    #[test]
    fn empty_and_dense_files_are_copied() {
        let work = tempfile::tempdir().unwrap();
        for content in [vec![], vec![7; 100_000]] {
            let (from, to) = (work.path().join("from"), work.path().join(format!("to{}", content.len())));
            fs::write(&from, &content).unwrap();
            sparse(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), content);
        }
    }
}
