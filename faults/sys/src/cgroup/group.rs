//! One control group and what it counts and limits, by the names of both versions.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A control group, by its folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group(pub PathBuf);

/// Memory of a group, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// What it may use at most.
    pub limit: u64,
    /// What it uses and cannot give back.
    pub kept: u64,
}

impl Group {
    /// How often the kernel's killer has come to it.
    pub fn oom_kills(&self) -> io::Result<u64> {
        let text = self.read(&["memory.events", "memory.oom_control"])?;
        number(&text, "oom_kill").ok_or_else(|| self.lacks("a count of out-of-memory kills"))
    }

    /// How many processes and threads more it may have.
    pub fn free_pids(&self) -> io::Result<u64> {
        let most = self.read(&["pids.max"])?.trim().parse().unwrap_or(u64::MAX);
        let now: u64 = self.read(&["pids.current"])?.trim().parse().map_err(io::Error::other)?;
        Ok(most.saturating_sub(now))
    }

    /// How many processes and threads it may have; `None` without a limit.
    pub fn most_pids(&self) -> io::Result<Option<u64>> {
        Ok(self.read(&["pids.max"])?.trim().parse().ok())
    }

    /// Its memory.
    pub fn memory(&self) -> io::Result<Memory> {
        let limit = self.read(&["memory.max", "memory.limit_in_bytes"])?.trim().parse().unwrap_or(u64::MAX);
        let stat = self.read(&["memory.stat"])?;
        let of = |names: [&str; 2]| names.iter().find_map(|name| number(&stat, name)).unwrap_or(0);
        let kernel = self.read(&["memory.kmem.usage_in_bytes"]).ok().and_then(|text| text.trim().parse().ok());
        let kernel: u64 = kernel.or_else(|| number(&stat, "kernel")).unwrap_or(0);
        Ok(Memory { limit, kept: of(["total_rss", "anon"]) + of(["total_shmem", "shmem"]) + kernel })
    }

    /// Limits its memory to so many bytes, and keeps it out of swap, which is the host's.
    pub fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        self.write(&["memory.max", "memory.limit_in_bytes"], bytes)?;
        if self.0.join("memory.swap.max").exists() {
            return self.write(&["memory.swap.max"], 0);
        }
        if self.0.join("memory.swappiness").exists() { self.write(&["memory.swappiness"], 0) } else { Ok(()) }
    }

    /// Limits the number of its processes and threads.
    pub fn limit_pids(&self, most: u64) -> io::Result<()> {
        self.write(&["pids.max"], most)
    }

    /// Has it weigh as much as so many processes beside it.
    pub fn weigh(&self, processes: u64) -> io::Result<()> {
        if self.0.join("cpu.weight").exists() {
            return self.write(&["cpu.weight"], (100 * processes).min(10_000));
        }
        self.write(&["cpu.shares"], (1024 * processes).min(262_144))
    }

    /// Whether it has one of these files.
    pub fn has(&self, files: &[&str]) -> bool {
        files.iter().any(|file| self.0.join(file).exists())
    }

    fn read(&self, names: &[&str]) -> io::Result<String> {
        let found = names.iter().map(|name| self.0.join(name)).find(|path| path.exists());
        fs::read_to_string(found.ok_or_else(|| self.lacks(&names.join(" or ")))?)
    }

    fn write(&self, names: &[&str], value: u64) -> io::Result<()> {
        let found = names.iter().map(|name| self.0.join(name)).find(|path| path.exists());
        fs::write(found.ok_or_else(|| self.lacks(&names.join(" or ")))?, value.to_string())
    }

    fn lacks(&self, what: &str) -> io::Error {
        io::Error::other(format!("control group {} has no {what}", self.0.display()))
    }
}

/// What limits or freezes a group, in both versions. Counters are left out: they change by themselves.
const KNOBS: [&str; 20] = [
    "cgroup.freeze",
    "cpu.cfs_quota_us",
    "cpu.idle",
    "cpu.max",
    "cpu.shares",
    "cpu.weight",
    "cpuset.cpus",
    "freezer.state",
    "io.weight",
    "memory.high",
    "memory.limit_in_bytes",
    "memory.max",
    "memory.memsw.limit_in_bytes",
    "memory.min",
    "memory.oom_control",
    "memory.soft_limit_in_bytes",
    "memory.swap.max",
    "memory.swappiness",
    "pids.max",
    "cpu.cfs_period_us",
];
/// Those with a line for each device, and what a line says that limits nothing.
const BY_DEVICE: [(&str, &str); 5] = [
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("blkio.throttle.read_bps_device", "0"),
    ("blkio.throttle.write_bps_device", "0"),
    ("blkio.throttle.read_iops_device", "0"),
    ("blkio.throttle.write_iops_device", "0"),
];

/// A knob of a group and how it is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Knob {
    /// The file.
    pub path: PathBuf,
    /// The device, of a knob that has a line for each.
    pub device: Option<String>,
    /// What it says.
    pub value: String,
    /// What it would say without any limit, where that is known.
    pub open: Option<&'static str>,
}

impl Group {
    /// Its knobs as they are set.
    pub fn knobs(&self) -> Vec<Knob> {
        let read = |name: &str| Some((self.0.join(name), fs::read_to_string(self.0.join(name)).ok()?));
        let mut found = Vec::new();
        for (path, text) in KNOBS.iter().filter_map(|name| read(name)) {
            // Of `memory.oom_control` the first line can be set, and the others count.
            let line = text.lines().next().unwrap_or_default();
            let value = line.strip_prefix("oom_kill_disable ").unwrap_or(line).to_owned();
            found.push(Knob { path, device: None, value, open: None });
        }
        for ((path, text), open) in BY_DEVICE.iter().filter_map(|(name, open)| Some((read(name)?, open))) {
            for (device, value) in text.lines().filter_map(|line| line.split_once(' ')) {
                let (device, value) = (Some(device.to_owned()), value.to_owned());
                found.push(Knob { path: path.clone(), device, value, open: Some(open) });
            }
        }
        found
    }
}

/// The number on the line that begins with `name` and a blank.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let group = Group(folder.path().to_owned());
        (folder, group)
    }

    #[test]
    fn knobs_are_read_and_counters_are_not() {
        let (_folder, group) = group(&[
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n"),
            ("pids.max", "max\n"),
            ("pids.current", "40\n"),
            ("io.max", "8:0 rbps=1000 wbps=max riops=max wiops=max\n"),
        ]);
        let knobs = group.knobs();
        let found: Vec<_> = knobs.iter().map(|knob| (knob.device.as_deref(), knob.value.as_str())).collect();
        assert_eq!(found, [(None, "0"), (None, "max"), (Some("8:0"), "rbps=1000 wbps=max riops=max wiops=max")]);
    }

    #[test]
    fn both_versions_are_read() {
        let (_v1, v1) = group(&[
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            ("memory.limit_in_bytes", "1048576\n"),
            ("memory.stat", "cache 9\nrss 1\nshmem 1\ntotal_rss 100\ntotal_shmem 20\n"),
            ("memory.kmem.usage_in_bytes", "5\n"),
            ("pids.max", "100\n"),
            ("pids.current", "40\n"),
        ]);
        let (_v2, v2) = group(&[
            ("memory.events", "low 0\nhigh 0\nmax 1\noom 4\noom_kill 3\noom_group_kill 0\n"),
            ("memory.max", "1048576\n"),
            ("memory.stat", "anon 100\nfile 9\nkernel 5\nshmem 20\n"),
            ("pids.max", "max\n"),
            ("pids.current", "40\n"),
        ]);
        for group in [&v1, &v2] {
            assert_eq!(group.oom_kills().unwrap(), 3);
            assert_eq!(group.memory().unwrap(), Memory { limit: 1_048_576, kept: 125 });
        }
        assert_eq!((v1.free_pids().unwrap(), v1.most_pids().unwrap()), (60, Some(100)));
        assert_eq!(v2.most_pids().unwrap(), None);
        assert!(v1.weigh(3).is_err(), "it has no such file");
        v2.limit_memory(77).unwrap();
        assert_eq!(v2.memory().unwrap().limit, 77);
    }
}
