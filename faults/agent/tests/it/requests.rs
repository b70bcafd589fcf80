//! What comes to a disk through a real mount, by `/dev/fuse` or, where the kernel offers it, by `io_uring`: `ci/queues` has
//! it offer that.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use firedrill_agent::disk::control::{self, Order, Reply};
use firedrill_core::harm::{DiskHarm, DiskTarget};
use firedrill_sys::fuse_ring;

use crate::served::ServedDisk;

const WRITERS: u8 = 12;
const FILES: usize = 3000;
/// More than a server of a cluster has processes.
const STALLED: usize = 200;

/// The threads of a process, by name.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process that runs");
    tasks
        .map(|task| {
            fs::read_to_string(task.expect("a process that runs").path().join("comm"))
                .expect("a process that runs")
                .trim()
                .to_owned()
        })
        .collect()
}

#[test]
fn they_come_by_queues_where_the_kernel_offers_them() {
    let Some(disk) = ServedDisk::start() else { return };
    let offered = fuse_ring::is_on() == Some(true) && fuse_ring::is_permitted().is_ok();
    let expected = if offered { usize::from(fuse_ring::processors().unwrap()) } else { 0 };
    let queues = threads(disk.process()).iter().filter(|name| name.starts_with("queue-")).count();
    assert_eq!(queues, expected);
}

#[test]
fn what_many_write_and_sync_at_once_is_there_and_below() {
    let Some(disk) = ServedDisk::start() else { return };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let path = disk.at.join(format!("data/log-{writer}"));
            scope.spawn(move || {
                let mut file = File::create(path).unwrap();
                for turn in 0..200_u8 {
                    file.write_all(&vec![writer ^ turn; 1 + usize::from(turn) * 41]).unwrap();
                    if turn % 2 == 0 { file.sync_data().unwrap() } else { file.sync_all().unwrap() }
                }
            });
        }
    });
    for writer in 0..WRITERS {
        let name = format!("data/log-{writer}");
        let expected: Vec<u8> = (0..200_u8).flat_map(|turn| vec![writer ^ turn; 1 + usize::from(turn) * 41]).collect();
        assert!(fs::read(disk.at.join(&name)).unwrap() == expected, "{name}");
        assert!(fs::read(disk.raw.join(&name)).unwrap() == expected, "{name} below");
    }
}

#[test]
fn large_ones_come_whole_and_go_back_whole() {
    let Some(disk) = ServedDisk::start() else { return };
    let expected: Vec<u8> =
        (0..5_000_003_u32).map(|place| place.wrapping_mul(2_654_435_761).to_ne_bytes()[3]).collect();
    let path = disk.at.join("large");
    fs::write(&path, &expected).unwrap();
    assert!(fs::read(disk.raw.join("large")).unwrap() == expected);
    // What is read of a file that another opened anew may come from the disk, not from the kernel's memory.
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    file.write_at(b"changed", 4_999_999).unwrap();
    file.set_len(5_000_001).unwrap();
    file.seek(SeekFrom::Start(4_999_990)).unwrap();
    let mut end = Vec::new();
    file.read_to_end(&mut end).unwrap();
    assert_eq!(end, [&expected[4_999_990..4_999_999], b"ch"].concat());
    assert_eq!(fs::metadata(disk.raw.join("large")).unwrap().len(), 5_000_001);
}

#[test]
fn what_was_there_before_is_read_from_anywhere_on() {
    let Some(disk) = ServedDisk::start() else { return };
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    fs::write(disk.raw.join("below"), &bytes).unwrap();
    let file = File::open(disk.at.join("below")).unwrap();
    for from in (0..2_900_000_usize).step_by(77_777) {
        let mut piece = [0; 4099];
        file.read_exact_at(&mut piece, u64::try_from(from).unwrap()).unwrap();
        assert_eq!(piece[..], bytes[from..from + 4099]);
    }
}

#[test]
fn names_are_made_listed_changed_and_removed() {
    let Some(disk) = ServedDisk::start() else { return };
    let folder = disk.at.join("many");
    fs::create_dir(&folder).unwrap();
    let name = |number: usize| folder.join(format!("a-file-with-a-rather-long-name-{number:05}"));
    (0..FILES).for_each(|number| fs::write(name(number), number.to_string()).unwrap());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), FILES);
    fs::rename(name(1), name(2)).unwrap();
    assert_eq!(fs::read_to_string(name(2)).unwrap(), "1");
    fs::hard_link(name(2), name(1)).unwrap();
    assert_eq!(fs::metadata(disk.raw.join("many").join(name(1).file_name().unwrap())).unwrap().nlink(), 2);
    std::os::unix::fs::symlink("elsewhere", folder.join("link")).unwrap();
    assert_eq!(fs::read_link(folder.join("link")).unwrap(), Path::new("elsewhere"));
    assert_eq!(fs::read(folder.join("nobody")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(fs::remove_dir(&folder).unwrap_err().kind(), std::io::ErrorKind::DirectoryNotEmpty);
    File::open(&folder).unwrap().sync_all().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(!disk.raw.join("many").exists());
}

#[test]
fn many_that_stall_leave_the_others_alone_and_go_on_together() {
    let Some(disk) = ServedDisk::start() else { return };
    fs::create_dir(disk.at.join("stalled")).unwrap();
    let order = Order::Harm {
        tag: "fd-many-1".to_owned(),
        target: DiskTarget { path: Some("stalled".to_owned()), ..DiskTarget::default() },
        how: DiskHarm::Stall,
        seed: 1,
        deadline: None,
    };
    let open = |number: usize| File::create(disk.at.join(format!("stalled/{number}"))).unwrap();
    let files: Vec<File> = (0..STALLED).map(open).collect();
    let (kept, reply) = control::ask(&disk.socket, &order).unwrap();
    assert!(matches!(reply, Reply::InForce { .. }), "{reply:?}");
    let (done, all_done) = channel();
    for (number, file) in files.into_iter().enumerate() {
        let done = done.clone();
        thread::spawn(move || {
            file.write_all_at(number.to_string().as_bytes(), 0).unwrap();
            done.send(number).unwrap();
        });
    }
    // Those on every processor get their turns beside them.
    for number in 0..50 {
        fs::write(disk.at.join("data/other"), number.to_string()).unwrap();
        assert_eq!(fs::read_to_string(disk.raw.join("data/other")).unwrap(), number.to_string());
    }
    assert_eq!(all_done.try_recv(), Err(TryRecvError::Empty));
    drop(kept);
    let mut numbers: Vec<usize> = all_done.iter().take(STALLED).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..STALLED));
    assert_eq!(fs::read_to_string(disk.raw.join("stalled/7")).unwrap(), "7");
}
