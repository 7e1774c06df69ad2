//! What the lanes tell whoever watches: numbers and conditions, never whose and never what.

use std::time::Duration;

use neuros::alert::Held;
use neuros::time::Timestamp;
use tokio::sync::mpsc;

use crate::inquiry::Inquiry;
use crate::lane::{Counts, Lane, ModeCounts, PerSource, Positions};
use crate::rows::Sink;

/// Watches lanes; must not block.
pub trait Observer: Send + Sync {
    /// A lane's condition changed.
    fn lane(&self, lane: Lane, condition: Condition);
    /// A lane was claimed, with so many users by mode, and reads on there.
    fn claimed(&self, lane: Lane, modes: ModeCounts, positions: Positions);
    /// A batch was committed.
    fn committed(&self, report: &BatchReport);
    /// A batch could not be committed yet.
    fn commit_failed(&self, lane: Lane, kind: CommitFailure);
    /// States were rebuilt from stored records because their checkpoint was missing or unreadable.
    fn rebuilt(&self, lane: Lane, users: usize);
    /// Users that the lane holds in memory.
    fn live_users(&self, lane: Lane, users: usize);
    /// Messages left, or did not.
    fn published(&self, lane: Lane, sink: Sink, report: &Published);
    /// The cache took states, or did not.
    fn cached(&self, available: bool);
    /// A user's evaluation panicked; the user is in quarantine.
    fn quarantined(&self, lane: Lane);
    /// A user was compared with what their stored records make of them.
    fn scrubbed(&self, lane: Lane, looked: Looked);
    /// A lane runs, and may be asked, until it ends.
    fn may_be_asked(&self, _: Lane, _: mpsc::Sender<Inquiry>) {}
}

/// What a look at a user has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The state is what the records make of it.
    Agrees,
    /// What is in memory is another: an alarm.
    MemoryDiffers,
    /// What is in the checkpoint is another: an alarm.
    CheckpointDiffers,
    /// The checkpoint does not open.
    CheckpointUnreadable,
    /// The records cannot be replayed, by this release or at all: nobody knows.
    Unreplayable,
}

/// What a lane is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Taking the lane.
    Claiming,
    /// Loading what checkpoints do not hold yet.
    Restoring,
    /// Reading, deciding, committing.
    Running,
    /// Wants to go on, and cannot until something comes back.
    Waiting {
        /// Which part is away: `postgres`, `kafka` or `keys`.
        part: &'static str,
        /// What it said.
        problem: String,
    },
    /// Not in use yet: more partitions are being added, and this is one of them.
    Added,
    /// Does not go on without an operator.
    Halted {
        /// Why, and the cure.
        problem: String,
    },
    /// Somebody else's.
    Left,
}

impl Condition {
    /// Every name that [`Condition::as_str`] gives but that of a lane which is not ours.
    pub const NAMES: [&'static str; 6] =
        ["claiming", "restoring", "running", "waiting", "added", "halted"];

    /// Its name in answers and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Restoring => "restoring",
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Added => "added",
            Self::Halted { .. } => "halted",
            Self::Left => "left",
        }
    }
}

/// A committed batch, in numbers.
#[derive(Clone, Debug)]
pub struct BatchReport {
    /// Whose.
    pub lane: Lane,
    /// What became of its records.
    pub counts: PerSource<Counts>,
    /// Of those skipped: records of users who were erased.
    pub refused: PerSource<i64>,
    /// Events that were evaluated: that could have changed a mode.
    pub evaluations: u64,
    /// Mode changes.
    pub transitions: u64,
    /// Changes of alerts, by where the alert stands then.
    pub alerts: Vec<(&'static str, u64)>,
    /// What was held back of alerts, by the place of its reason in [`Held::ALL`].
    pub held: [u32; Held::ALL.len()],
    /// Dead letters by reason.
    pub dead_letters: Vec<(&'static str, u64)>,
    /// Dead letters that left the list, by what became of them.
    pub released: Vec<(&'static str, u64)>,
    /// Commands carried out.
    pub commands: u64,
    /// Where to read on.
    pub positions: Positions,
    /// Users by mode.
    pub modes: ModeCounts,
    /// From the begin of the transaction to its end.
    pub commit_time: Duration,
    /// From the entry of the batch's oldest new record into the log to the commit; `None` without one.
    pub event_age: Option<Duration>,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Batches of the lane that wait for their commit.
    pub queued: usize,
}

/// How a commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFailure {
    /// Somebody else owns the lane.
    Fenced,
    /// The store was away; it is tried again.
    Away,
    /// Nobody knows the outcome; the lane is claimed anew.
    Unknown,
    /// The store said no: an alarm.
    Refused,
}

/// What became of an attempt to publish.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Messages that are safe at the sink.
    pub messages: u64,
    /// Messages that open no more and were passed over: their user was erased.
    pub unopened: u64,
    /// Why the rest is not.
    pub problem: Option<String>,
    /// Rows that wait.
    pub waiting: i64,
    /// Since when the oldest of them is committed, as far as it is known.
    pub waiting_since: Option<Timestamp>,
}
