//! Clocks that can be changed: a library that the servers load before their own reads an offset from a file each time they
//! look at the wall clock. It has to be there when they start, so a script takes the place of the program, in the node's own
//! mounts, and starts it with that library. Only the program itself: what starts it keeps a true clock and its own libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use firedrill_agent::deeds::clock::{NO_OFFSET, OFFSET};
use firedrill_core::cluster::ProcessName;
use firedrill_core::platform::Missing;
use firedrill_core::system::LabRecipe;
use firedrill_sys::{dirs, mounts};
use serde::{Deserialize, Serialize};

use super::doing;
use super::init::open_path;
use super::wire::LAB_RUN;

/// The library's file, for programs with several threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Where distributions keep libraries; in Debian's there is a folder for each architecture.
const LIBRARIES: [&str; 4] = ["/usr/local/lib", "/usr/lib64", "/usr/lib", "/lib"];
/// Where a node has its programs as they were.
const PROGRAMS: &str = "/run/firedrill-programs";
/// Where a node has the offsets of its clocks.
const OFFSETS: &str = "/run/firedrill-clock";

/// The clocks of a lab that can be changed.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Clocks {
    /// The library.
    library: PathBuf,
    /// The program file of each process.
    programs: BTreeMap<ProcessName, PathBuf>,
}

/// Those that are needed of those that the recipe has; `None` when that is nothing, or there is no library.
pub(super) fn needed(recipe: &LabRecipe, needs: &BTreeSet<Option<ProcessName>>) -> Option<Clocks> {
    let wanted = |process: &ProcessName| needs.contains(&None) || needs.contains(&Some(process.clone()));
    let programs: BTreeMap<ProcessName, PathBuf> =
        recipe.clocks.iter().filter(|(process, _)| wanted(process)).map(|(a, b)| (a.clone(), b.clone())).collect();
    (!programs.is_empty()).then(|| library().ok().map(|library| Clocks { library, programs })).flatten()
}

/// The library, or what to do to have it.
pub(super) fn library() -> Result<PathBuf, Missing> {
    let folders = LIBRARIES.iter().flat_map(|folder| {
        let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut below: Vec<PathBuf> = below.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")).collect();
        below.sort();
        std::iter::once(PathBuf::from(folder)).chain(below)
    });
    let found = folders.map(|folder| folder.join(LIBRARY)).find(|path| path.is_file());
    let sudo = if dirs::is_root() { "" } else { "sudo " };
    let what = "library libfaketime, by which clocks are changed, is not installed";
    found.ok_or_else(|| Missing::new(what, format!("{sudo}apt-get install libfaketime")))
}

/// The folder of a node's clocks, as init and the agent see it.
pub(super) fn folder(node: &str) -> PathBuf {
    Path::new(LAB_RUN).join("clock").join(node)
}

/// Makes the folder of a node's clocks, all of them true.
pub(super) fn make(clocks: &Clocks, node: &str) -> io::Result<()> {
    for process in clocks.programs.keys() {
        let folder = folder(node).join(&process.0);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(NO_OFFSET), "+0\n")?;
    }
    Ok(())
}

/// What must be opened before a node's `/run` is covered.
pub(super) struct Opened {
    offsets: File,
    programs: Vec<(ProcessName, PathBuf, File)>,
}

impl Clocks {
    /// Whether all of them are among those.
    pub(super) fn are_of(&self, those: Option<&Self>) -> bool {
        let is_there = |(process, path): (&ProcessName, &PathBuf)| {
            those.is_some_and(|those| those.programs.get(process) == Some(path))
        };
        self.programs.iter().all(is_there)
    }

    /// Opens a node's clocks and the programs.
    pub(super) fn open(&self, node: &str) -> io::Result<Opened> {
        let open = |(process, path): (&ProcessName, &PathBuf)| {
            let file = File::open(path).map_err(doing(&path.display()))?;
            Ok((process.clone(), path.clone(), file))
        };
        let programs = self.programs.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Opened { offsets: File::open(folder(node))?, programs })
    }

    /// Puts the scripts in the programs' place, in the node's own mounts.
    pub(super) fn put(&self, opened: &Opened) -> io::Result<()> {
        fs::create_dir_all(OFFSETS)?;
        mounts::bind(&open_path(&opened.offsets), Path::new(OFFSETS)).map_err(doing("show the clocks' offsets"))?;
        fs::create_dir_all(PROGRAMS)?;
        for (process, path, file) in &opened.programs {
            let original = Path::new(PROGRAMS).join(path.file_name().unwrap_or_default());
            File::create(&original)?;
            mounts::bind(&open_path(file), &original).map_err(doing(&original.display()))?;
            let script = Path::new(PROGRAMS).join(format!("{process}.sh"));
            fs::write(&script, self.script(process, &original))?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
            mounts::bind(&script, path).map_err(doing(&path.display()))?;
        }
        Ok(())
    }

    /// Reads the offset anew each time, from the process's own file, and leaves all other clocks true.
    fn script(&self, process: &ProcessName, original: &Path) -> String {
        let home = Path::new(OFFSETS).join(&process.0);
        format!(
            "#!/bin/sh\n\
             # The library looks into its home directory when the file of the offset is not there.\n\
             export HOME={home}\n\
             export FAKETIME_TIMESTAMP_FILE={home}/{OFFSET}\n\
             export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1\n\
             export LD_PRELOAD={library}\n\
             exec {original} \"$@\"\n",
            home = home.display(),
            library = self.library.display(),
            original = original.display(),
        )
    }
}
