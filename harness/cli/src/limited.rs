//! What `--limit-time` and `--limit-memory` set, and files read within them: mapped where the kernel can, read where not.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firedrill_check::history::{self, Form, Format, Unloaded};
use firedrill_check::limits::{Stop, Watch};
use firedrill_core::time::{Clock, RunTime};
use firedrill_engine::folder::Opened;
use firedrill_sys::mapped::{self, Mapped, NoText, Text};

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_file;

/// The limits that were asked for, as this process keeps them.
pub(crate) struct Limited<'a> {
    args: &'a JudgeArgs,
    clock: Clock,
    end: Option<RunTime>,
    /// The file, while it is mapped.
    file: OnceLock<Arc<Mapped>>,
    /// As far as its beginning tells.
    format: OnceLock<Format>,
    /// When the memory was looked at last, in nanoseconds.
    looked: AtomicU64,
}

/// So often the memory is looked at, unless much more is about to be held; a question costs some ten microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The most that is added to the limit of time.
const GRACE: Duration = Duration::from_millis(500);

/// So many bytes of a pipe are read between two questions for a limit.
const PIECE: u64 = 16 << 20;

/// So many bytes of a mapped file may stay in memory after they were read. They come back from the page cache.
const STAY: u64 = 16 << 20;

/// So much of a file tells its format.
const BEGINNING: usize = 1 << 16;

impl<'a> Limited<'a> {
    /// The time begins now.
    pub(crate) fn new(args: &'a JudgeArgs) -> Self {
        let end = args.limit_time.map(|limit| RunTime::ZERO.plus(limit));
        let (file, format, looked) = (OnceLock::new(), OnceLock::new(), AtomicU64::new(0));
        Self { args, clock: Clock::start(), end, file, format, looked }
    }

    /// How long it has taken so far.
    pub(crate) fn took(&self) -> Duration {
        self.clock.now().since(RunTime::ZERO)
    }

    /// The limit that was reached, or would be if so many bytes more were held.
    pub(crate) fn exceeded(&self, more: usize) -> Option<Stop> {
        self.exceeded_after(Duration::ZERO, more)
    }

    /// How much longer than the limit of time it may take to say how far a history was verified.
    pub(crate) fn grace(&self) -> Duration {
        self.args.limit_time.map_or(Duration::ZERO, |limit| (limit / 10).min(GRACE))
    }

    /// [`Limited::exceeded`], when it may take so much longer.
    pub(crate) fn exceeded_after(&self, extra: Duration, more: usize) -> Option<Stop> {
        let now = self.clock.now();
        if self.end.is_some_and(|end| now >= end.plus(extra)) {
            return Some(Stop::Time);
        }
        let last = RunTime::from_nanos(self.looked.load(Ordering::Relaxed));
        if more == 0 && last != RunTime::ZERO && now.since(last) < LOOK_EVERY {
            return None;
        }
        self.looked.store(now.as_nanos(), Ordering::Relaxed);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(file) = self.file.get()
            && line_of(&status, "RssFile:").is_some_and(|held| held > STAY)
        {
            file.forget();
        }
        let held = own(&status)?;
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        (held.saturating_add(more) > self.args.limit_memory.0).then_some(Stop::Memory)
    }

    /// Bytes that may still be held.
    pub(crate) fn room(&self) -> usize {
        let held = fs::read_to_string("/proc/self/status").ok().and_then(|status| own(&status)).unwrap_or_default();
        usize::try_from(self.args.limit_memory.0.saturating_sub(held)).unwrap_or(usize::MAX)
    }

    /// How the file is written, as far as was seen.
    pub(crate) fn format(&self) -> Format {
        let unread = if self.args.run.is_dir() { Format::Recorded } else { Format::JepsenEdn };
        self.format.get().copied().unwrap_or(unread)
    }

    /// What is in the file, unless a limit is reached before that is known to be text.
    pub(crate) fn text(&self) -> Result<Result<Text, Stop>, Failure> {
        if self.args.run.is_dir() {
            let history = judge_file::recorded(self.args, Form::Transactions)?;
            return Ok(Ok(Text::Held(history::to_edn(&history))));
        }
        let unreadable = |error: &io::Error| judge_file::unreadable(self.args).because(error);
        let file = File::open(&self.args.run).map_err(|error| unreadable(&error))?;
        let file = match mapped::map(file).map_err(|error| unreadable(&error))? {
            Ok(mapped) => Arc::new(mapped),
            Err(file) => return self.read(file),
        };
        let file = Arc::clone(self.file.get_or_init(|| file));
        self.look_at(&file);
        let stop = OnceLock::new();
        let goes_on = || match self.exceeded(0) {
            None => true,
            Some(reached) => {
                stop.get_or_init(|| reached);
                false
            }
        };
        match Text::of(Arc::clone(&file), goes_on) {
            Ok(text) => Ok(Ok(text)),
            Err(NoText::NotUtf8) => Err(self.no_text(&file)),
            Err(NoText::Stopped) => Ok(Err(stop.get().copied().unwrap_or(Stop::Time))),
        }
    }

    /// A pipe, or what else cannot be mapped, in pieces, so that a limit ends it.
    fn read(&self, mut file: File) -> Result<Result<Text, Stop>, Failure> {
        let mut bytes = Vec::new();
        loop {
            let read = file.by_ref().take(PIECE).read_to_end(&mut bytes);
            if read.map_err(|error| judge_file::unreadable(self.args).because(&error))? == 0 {
                return match String::from_utf8(bytes) {
                    Ok(text) => Ok(Ok(Text::Held(text))),
                    Err(error) => Err(self.no_text(error.as_bytes())),
                };
            }
            self.look_at(&bytes);
            if let Some(stop) = self.exceeded(0) {
                return Ok(Err(stop));
            }
        }
    }

    fn look_at(&self, bytes: &[u8]) {
        let beginning = String::from_utf8_lossy(bytes.get(..BEGINNING).unwrap_or(bytes));
        if let Some(format) = history::format_of(&beginning) {
            self.format.get_or_init(|| format);
        }
    }

    /// Told by the importer, which knows the place.
    fn no_text(&self, bytes: &[u8]) -> Failure {
        let failure = judge_file::unreadable(self.args);
        match history::load(bytes) {
            Err(error) => failure.because(&error),
            Ok(_) => failure,
        }
    }

    /// The history in the file, unless a limit is reached before.
    pub(crate) fn load<T>(
        &self,
        load: impl Fn(&str, &mut Watch<'_>) -> Result<T, Unloaded>,
    ) -> Result<Result<T, Stop>, Failure> {
        let text = match self.text()? {
            Ok(text) => text,
            Err(stop) => return Ok(Err(stop)),
        };
        match load(&text, &mut Watch::new(&|more| self.exceeded(more))) {
            Ok(history) => Ok(Ok(history)),
            Err(Unloaded::Stopped(stop)) => Ok(Err(stop)),
            Err(Unloaded::Mistake(error)) => Err(judge_file::unreadable(self.args).because(&error)),
        }
    }

    /// Refuses what was made of a file that is not any more what it was. To be asked at the end, whatever came of it.
    pub(crate) fn unchanged(&self) -> Result<(), Failure> {
        let Some(file) = self.file.get() else { return Ok(()) };
        match file.is_unchanged() {
            Ok(true) => Ok(()),
            Ok(false) => {
                let failure = Failure::usage(format!("{} changed while it was judged", self.args.run.display()));
                Err(failure.help("judge a copy of it, or wait until nobody writes to it"))
            }
            Err(error) => Err(judge_file::unreadable(self.args).because(&error)),
        }
    }
}

/// A file of a run's folder. Its history only grows while the run goes on, so that it is read as far as it went.
pub(crate) fn opened(path: &Path) -> io::Result<Opened> {
    match mapped::map(File::open(path)?)? {
        Ok(mapped) => Ok(Box::new(mapped)),
        Err(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Box::new(bytes))
        }
    }
}

/// A limit, as `--json` has it.
pub(crate) fn limit_name(stop: Stop) -> &'static str {
    match stop {
        Stop::Time => "time",
        Stop::Memory => "memory",
    }
}

/// A limit in words.
pub(crate) fn limit(stop: Stop) -> &'static str {
    match stop {
        Stop::Time => "the limit of time",
        Stop::Memory => "the limit of memory",
    }
}

/// Bytes of this process that no file has (proc(5)): those of files the kernel may take back at any time.
fn own(status: &str) -> Option<u64> {
    line_of(status, "RssAnon:").or_else(|| line_of(status, "VmRSS:"))
}

fn line_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A line of this process's status, in bytes (proc(5)). Only measured with: what is unknown is left out.
pub(crate) fn memory_line(name: &str) -> Option<u64> {
    line_of(&fs::read_to_string("/proc/self/status").ok()?, name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::thread;

    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Verb};

    fn args(path: &Path, options: &[&str]) -> JudgeArgs {
        let words = ["firedrill", "judge", path.to_str().unwrap(), "--model", "register"];
        let Verb::Judge(args) = Cli::try_parse_from(words.iter().chain(options)).unwrap().verb else {
            panic!("another verb")
        };
        args
    }

    const LINE: &str = "{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":1}\n";

    #[test]
    fn files_are_mapped_and_pipes_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        fs::write(&file, LINE.repeat(9)).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let of_file = args(&file, &[]);
        let limited = Limited::new(&of_file);
        let text = limited.text().unwrap().unwrap();
        assert!(matches!(text, Text::Mapped(_)) && *text == *LINE.repeat(9));
        let of_pipe = args(&pipe, &[]);
        thread::scope(|scope| {
            scope.spawn(|| fs::write(&pipe, LINE.repeat(9)).unwrap());
            let text = Limited::new(&of_pipe).text().unwrap().unwrap();
            assert!(matches!(text, Text::Held(_)) && *text == *LINE.repeat(9));
        });
    }

    #[test]
    fn a_file_that_changes_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, LINE.repeat(100_000)).unwrap();
        let args = args(&file, &[]);
        let limited = Limited::new(&args);
        let text = limited.text().unwrap().unwrap();
        fs::OpenOptions::new().append(true).open(&file).unwrap().write_at(b"{", 0).unwrap();
        limited.unchanged().unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_len(1).unwrap();
        // Its end is gone, and reading it is no crash.
        let error = history::load_packed_text_within(&text, &mut Watch::unlimited()).unwrap_err();
        assert!(matches!(error, Unloaded::Mistake(_)), "{error:?}");
        let failure = limited.unchanged().unwrap_err();
        assert!(failure.message.ends_with("file changed while it was judged"), "{failure:?}");
    }

    #[test]
    fn a_limit_that_is_reached_while_a_file_is_read_tells_its_format() {
        let folder = tempfile::tempdir().unwrap();
        for (text, format) in [
            (LINE, Format::JepsenJson),
            ("{:process 0 :type :ok :f :read :value 1}", Format::JepsenEdn),
            ("{:process 0 :type :ok :f :get :key \"0\" :value \"\"}", Format::PorcupineKv),
            ("INFO  jepsen.util - 0\t:invoke\t:read\tnil\n", Format::PorcupineLog),
            ("r(15,0,0,0)\n", Format::Plume),
            ("r 1 1\n", Format::Awdit),
        ] {
            let file = folder.path().join("file");
            fs::write(&file, text).unwrap();
            for (option, limit, stop) in [("--limit-time", "0s", Stop::Time), ("--limit-memory", "1B", Stop::Memory)] {
                let args = args(&file, &[option, limit]);
                let limited = Limited::new(&args);
                assert_eq!(limited.load(history::load_text_within).unwrap().unwrap_err(), stop, "{format}");
                assert_eq!(limited.format(), format);
            }
        }
    }
}
