//! The ends that a lab can come to, and what is left then: nothing.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firedrill_core::platform::Platform as _;
use firedrill_platforms::lab::{self, Purpose};

use crate::rig::{block_on, in_process, nothing_left, open, recipe, remains, run_id, until};

pub(crate) fn kill_9_of_the_harness_ends_the_lab(work: &Path) {
    let run = run_id("kill");
    let mut harness = in_process("hold", work, &run);
    assert!(!remains(&run).is_empty(), "the lab must be there before it can go");
    harness.kill().unwrap();
    harness.wait().unwrap();
    block_on(until("the end of everything", || async {
        let left = remains(&run);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    }));
}

pub(crate) fn kill_9_of_the_holder_leaves_what_sweep_removes(work: &Path) {
    let run = run_id("hold");
    let mut harness = in_process("hold", work, &run);
    let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
    assert_eq!(lab::sweep(), Vec::<String>::new(), "a live lab is spared");
    record.holder.unwrap().kill().unwrap();
    harness.kill().unwrap();
    harness.wait().unwrap();
    assert!(record.init.unwrap().wait_gone(Duration::from_secs(20)).unwrap(), "init ends with the holder");
    assert!(!remains(&run).is_empty());
    assert!(!lab::leftovers(&run).is_empty());
    let said = lab::sweep();
    assert!(said.iter().any(|line| line.contains(&run)), "{said:?}");
    nothing_left(&run);
}

pub(crate) fn up_lives_on_until_down(work: &Path) {
    let run = run_id("up");
    assert!(in_process("up", work, &run).wait().unwrap().success());
    assert_eq!(lab::sweep(), Vec::<String>::new());
    let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
    assert_eq!(record.purpose, Purpose::Up);
    assert!(record.reach[0].prefix.contains("nsenter"), "{record:?}");
    assert!(record.init.unwrap().is_alive());
    lab::down(&run).unwrap();
    nothing_left(&run);
    assert!(lab::down(&run).is_err(), "there is no such lab any more");
}

pub(crate) fn an_unwound_panic_ends_the_lab(work: &Path) {
    let run = run_id("panic");
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        block_on(async {
            let lab = Arc::new(open(work, &run, recipe()));
            lab.start(false).await.unwrap();
            std::panic::resume_unwind(Box::new("a bug"));
        });
    }));
    assert!(panicked.is_err());
    block_on(until("the end of everything", || async {
        // The holder remains as this process's unreaped child, whose command line is empty.
        let left = remains(&run);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    }));
}
