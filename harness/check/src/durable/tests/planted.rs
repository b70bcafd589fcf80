//! Violations: of each model every anomaly, and calls that show it.

use crate::durable::Model;

/// Of each model what can be wrong: the anomaly, and calls that show it and nothing else.
pub(super) const PLANTED: &[(Model, &str, &str)] = &[
    (Model::SetFull, "lost", "90 add 9001 => 9001; 91 read nil => []"),
    (Model::SetFull, "lost", "90 add 9001 ?; 91 read nil => [9001]; 91 read nil => []"),
    (Model::SetFull, "unexpected", "90 add 9001 !; 91 read nil => [9001]"),
    (Model::SetFull, "unexpected", "91 read nil => [9001]; 90 add 9001 => 9001"),
    (Model::SetFull, "duplicate", "90 add 9001 => 9001; 91 read nil => [9001 9001]"),
    (Model::Ledger, "lost", "90 add 9001 => 9001; 91 read nil => []"),
    (Model::Ledger, "unexpected", "91 read nil => [9001]"),
    (
        Model::Log,
        "lost",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 90 send [[:send 9 2]] => [[:send 9 [1 2]]]; 91 poll [[:poll]] => [[:poll {9 [[1 2]]}]]",
    ),
    (
        Model::Log,
        "duplicate",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 91 poll [[:poll]] => [[:poll {9 [[0 1] [1 1]]}]]",
    ),
    (
        Model::Log,
        "inconsistent-offsets",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 91 send [[:send 9 2]] => [[:send 9 [0 2]]]; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]",
    ),
    (
        Model::Log,
        "nonmonotonic-poll",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]",
    ),
    (
        Model::Log,
        "nonmonotonic-send",
        "90 send [[:send 9 1]] => [[:send 9 [1 1]]]; 90 send [[:send 9 2]] => [[:send 9 [0 2]]]; 91 poll [[:poll]] => [[:poll {}]]",
    ),
    (
        Model::Log,
        "poll-skip",
        "90 send [[:send 9 1] [:send 9 2] [:send 9 3]] => [[:send 9 [0 1]] [:send 9 [1 2]] [:send 9 [2 3]]]; 92 poll [[:poll]] => [[:poll {9 [[0 1] [1 2] [2 3]]}]]; 91 poll [[:poll]] => [[:poll {9 [[0 1] [2 3]]}]]",
    ),
    (Model::Log, "unexpected", "90 send [[:send 9 1]] !; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]"),
    (Model::TotalQueue, "lost", "90 enqueue 9001 => 9001; 91 drain nil => []"),
    (Model::TotalQueue, "duplicate", "90 enqueue 9001 => 9001; 91 dequeue nil => 9001; 92 dequeue nil => 9001"),
    (Model::TotalQueue, "unexpected", "91 dequeue nil => 9001"),
    (Model::BankSum, "wrong-total", "90 read nil => {0 10 1 10 2 10}; 91 read nil => {0 10 1 10 2 11}"),
    (Model::BankSum, "nil-balance", "90 read nil => {0 10 1 10 2 10}; 91 read nil => {0 nil 1 10 2 20}"),
    (
        Model::LongFork,
        "long-fork",
        "90 txn [[:w 9001 1]] ?; 91 txn [[:w 9002 1]] ?; 92 txn [[:r 9001 nil] [:r 9002 nil]] => [[:r 9001 1] [:r 9002 nil]]; 93 txn [[:r 9001 nil] [:r 9002 nil]] => [[:r 9001 nil] [:r 9002 1]]",
    ),
    (Model::LongFork, "unexpected", "92 txn [[:r 9001 nil]] => [[:r 9001 1]]"),
    (Model::UniqueIds, "duplicate", "90 generate nil => 9001; 91 generate nil => 9001"),
    (Model::CounterBounds, "out-of-bounds", "91 read nil => 100000"),
    (
        Model::Monotonic,
        "nonmonotonic-read",
        "90 write [9 9001] => [9 9001]; 90 write [9 9002] => [9 9002]; 91 read [9 nil] => [9 9002]; 91 read [9 nil] => [9 9001]",
    ),
    (Model::ReadYourWrites, "own-write-missing", "90 write [9 9001] => [9 9001]; 90 read [9 nil] => [9 nil]"),
    (Model::BoundedStaleness, "too-stale", "90 write [9 9001] => [9 9001]; 91 read [9 nil] => [9 nil]"),
    (Model::PrefixOfLog, "gap", "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 3]]"),
    (
        Model::PrefixOfLog,
        "reordered",
        "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 3 2]]",
    ),
    (
        Model::PrefixOfLog,
        "duplicate",
        "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 2 2]]",
    ),
    (
        Model::PrefixOfLog,
        "diverged",
        "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 9]]",
    ),
    (Model::PrefixOfLog, "diverged", "91 read [:n9 nil] => [:n9 [1 2]]; 90 read [:primary nil] => [:primary [1]]"),
    (
        Model::PrefixOfLog,
        "resurrected-key",
        "91 state [:n9 nil] => [:n9 {a 1 b 2}]; 90 read [:primary nil] => [:primary [[:put a 1] [:delete a] [:put b 2]]]",
    ),
    (
        Model::PrefixOfLog,
        "gap",
        "91 state [:n9 nil] => [:n9 {b 2}]; 90 read [:primary nil] => [:primary [[:put a 1] [:put b 2]]]",
    ),
];

/// The same for sets that only grow.
pub(super) const PLANTED_IN_SETS: &[(Model, &str, &str)] = &[
    (Model::Monotonic, "nonmonotonic-read", "90 add 9001 => 9001; 91 read nil => [9001]; 91 read nil => []"),
    (Model::Monotonic, "nonmonotonic-write", "90 add 9001 => 9001; 90 add 9002 => 9002; 91 read nil => [9002]"),
    (Model::ReadYourWrites, "own-write-missing", "90 add 9001 => 9001; 90 read nil => []"),
    (Model::BoundedStaleness, "too-stale", "90 add 9001 => 9001; 91 read nil => []"),
];
