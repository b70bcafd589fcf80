//! What clients did and what they were told. Three answers, never two.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster::{Epoch, NodeName, Position};
use crate::time::RunTime;

/// A logical process: one operation in flight, retired after an unknown outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// By which way a client reaches the cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// As applications do: every host in turn, the one that takes writes.
    Router,
    /// One node, whatever it is.
    Direct(NodeName),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router => f.write_str("router"),
            Self::Direct(node) => write!(f, "direct:{node}"),
        }
    }
}

/// An operation, in words no system owns. A client says which it can perform.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// Makes the empty ledger. Safe to repeat.
    CreateLedger,
    /// Adds one row that nobody else adds.
    Insert {
        /// The row, unique in the run.
        row: u64,
    },
    /// Reads every row of the ledger.
    Scan,
    /// Makes the empty store for transactions, with so many accounts of so much each. Safe to repeat.
    CreateStore {
        /// How many accounts, numbered from 0.
        accounts: u64,
        /// What each holds at first.
        balance: u64,
    },
    /// Performs these steps in order, all of them or none.
    Txn(Arc<[Step]>),
}

/// One step of a transaction. What is written to a key is never written to it again, but for [`Step::Compare`] and
/// [`Step::Transfer`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Adds a value to the end of a key's list.
    Append {
        /// The key.
        key: u64,
        /// The value.
        value: u64,
    },
    /// Reads a key's list.
    List {
        /// The key.
        key: u64,
    },
    /// Writes a key's register.
    Write {
        /// The key.
        key: u64,
        /// The value.
        value: u64,
    },
    /// Reads a key's register.
    Read {
        /// The key.
        key: u64,
    },
    /// Writes `to` if the register holds `from`.
    Compare {
        /// The key.
        key: u64,
        /// What it must hold.
        from: u64,
        /// What it is to hold.
        to: u64,
    },
    /// Moves money from one account to another, if the first has so much.
    Transfer {
        /// Whose balance becomes less.
        from: u64,
        /// Whose becomes more.
        to: u64,
        /// By so much.
        amount: u64,
    },
    /// Reads the balance of an account.
    Balance {
        /// The account.
        account: u64,
    },
}

impl Step {
    /// Whether it may change something.
    pub const fn writes(self) -> bool {
        match self {
            Self::Append { .. } | Self::Write { .. } | Self::Compare { .. } | Self::Transfer { .. } => true,
            Self::List { .. } | Self::Read { .. } | Self::Balance { .. } => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { key, value } => write!(f, "append {value} to {key}"),
            Self::List { key } => write!(f, "list {key}"),
            Self::Write { key, value } => write!(f, "write {value} to {key}"),
            Self::Read { key } => write!(f, "read {key}"),
            Self::Compare { key, from, to } => write!(f, "set {key} from {from} to {to}"),
            Self::Transfer { from, to, amount } => write!(f, "transfer {amount} from {from} to {to}"),
            Self::Balance { account } => write!(f, "balance of {account}"),
        }
    }
}

/// The kinds of operation, by which a system says what its clients can perform.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// [`Step::Transfer`] and [`Step::Balance`], several in one transaction.
    Bank,
    /// [`Op::CreateLedger`], [`Op::Insert`] and [`Op::Scan`].
    Ledger,
    /// [`Step::Append`] and [`Step::List`], several in one transaction.
    Lists,
    /// [`Step::Write`], [`Step::Read`] and [`Step::Compare`], one in a transaction.
    Register,
    /// [`Step::Write`] and [`Step::Read`], several in one transaction.
    Registers,
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bank => "bank",
            Self::Ledger => "ledger",
            Self::Lists => "lists",
            Self::Register => "register",
            Self::Registers => "registers",
        })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLedger => f.write_str("create ledger"),
            Self::Insert { row } => write!(f, "insert {row}"),
            Self::Scan => f.write_str("scan"),
            Self::CreateStore { .. } => f.write_str("create store"),
            Self::Txn(steps) => f.write_str(&steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// What an operation returned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Nothing but that it is done.
    Done,
    /// The rows read, in ascending order.
    Rows(Vec<u64>),
    /// What each step of a transaction returned.
    Answers(Vec<Answer>),
}

/// What a step returned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing but that it is done.
    Done,
    /// It found another value, or too little money, and changed nothing.
    Refused,
    /// What the register or the account holds; `None` if nothing was ever written.
    Value(Option<u64>),
    /// What the list holds, in its order.
    List(Vec<u64>),
}

/// What the client learnt. An error is *fail* only when the operation certainly did not happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Acknowledged.
    Ok(Reply),
    /// Certainly did not happen.
    Fail(Arc<str>),
    /// Unknown: it may have happened, or may yet.
    Info(Arc<str>),
}

impl Outcome {
    /// A failure with its reason.
    pub fn fail(why: impl AsRef<str>) -> Self {
        Self::Fail(Arc::from(why.as_ref()))
    }

    /// An unknown outcome with its reason.
    pub fn info(why: impl AsRef<str>) -> Self {
        Self::Info(Arc::from(why.as_ref()))
    }

    /// Whether it was acknowledged.
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }
}

/// The reason of a call that was never made because the bounded queue of due operations was full.
pub const SHED: &str = "shed: the queue of due operations was full";

/// One operation of one process, from due to done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Who.
    pub process: ProcessId,
    /// What.
    pub op: Op,
    /// When it was to begin (open loop); latency counts from here.
    pub due: RunTime,
    /// When it did begin.
    pub invoked: RunTime,
    /// When and how it ended; `None` if the run ended first.
    pub completed: Option<(RunTime, Outcome)>,
    /// By which way.
    pub route: Route,
    /// The node that answered.
    pub served_by: Option<NodeName>,
    /// The epoch that node was on when it answered.
    pub epoch: Option<Epoch>,
    /// A lower bound of where the write is in the log of that epoch, as the server said.
    pub receipt: Option<Position>,
}

impl Call {
    /// When it was acknowledged.
    pub fn acked(&self) -> Option<RunTime> {
        match &self.completed {
            Some((at, Outcome::Ok(_))) => Some(*at),
            Some((_, Outcome::Fail(_) | Outcome::Info(_))) | None => None,
        }
    }

    /// Whether it was shed, that is never made.
    pub fn is_shed(&self) -> bool {
        matches!(&self.completed, Some((_, Outcome::Fail(why))) if &**why == SHED)
    }
}

/// What one node holds after everything was healed and settled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FinalRead {
    /// Which node.
    pub node: NodeName,
    /// When it was read.
    pub at: RunTime,
    /// The epoch it was on.
    pub epoch: Option<Epoch>,
    /// How far it had replayed.
    pub position: Option<Position>,
    /// Every row in ascending order, or why it could not be read.
    pub rows: Result<Vec<u64>, String>,
}

impl FinalRead {
    /// A digest of the rows (FNV-1a over little-endian u64), to compare nodes.
    pub fn digest(&self) -> Option<u64> {
        let rows = self.rows.as_ref().ok()?;
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
        Some(crate::seed::fnv1a(&bytes))
    }
}

/// The log of the system went over to a new epoch at a point: everything beyond it on the old epoch is dropped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochSwitch {
    /// The old epoch.
    pub from: Epoch,
    /// The new epoch.
    pub to: Epoch,
    /// The last position they share.
    pub fork: Position,
}
