//! Who watches the world: is told what happened outside the lanes, and can neither change nor delay it.

use actors::lane::{FenceToken, Lane, Positions, Routing};
use actors::log::Outgoing;
use actors::rows::Sink;

use super::store::tables::{Tables, Written};

/// Names everything that can happen, once.
macro_rules! happenings {
    ($($name:ident),+ $(,)?) => {
        /// Things that happen, by the names under which they are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Happening {
            $($name),+
        }

        impl Happening {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

happenings! {
    Claimed,
    ClaimWaited,
    BackendEnded,
    ClaimAnswerLost,
    Committed,
    FaultAway,
    FaultGhost,
    FaultLost,
    FaultStall,
    FaultLate,
    StoreAwayForCommit,
    StoreAwayForClaim,
    StoreAwayForRead,
    StoreAwayForCursor,
    KeysAway,
    LogAway,
    QueueFull,
    AnswerLost,
    GhostLanded,
    GhostVanished,
    Fenced,
    FencedCursor,
    OutOfStep,
    Refused,
    LaggingRestore,
    CheckpointRebuilt,
    Evicted,
    Forwarded,
    ForwardedRepeat,
    OutOfTurn,
    OtherGeneration,
    DeliveryError,
    Published,
    PublishedAgain,
    PublishFailed,
    SinkDown,
    SinkBack,
    CaughtUp,
    Cached,
    Quarantined,
    CheckpointDeleted,
    CheckpointDamaged,
    Assigned,
    Killed,
    ClockSetForward,
    ClockSetBack,
    Mended,
    AskedForRelease,
    AskedForRebuild,
    AskedForAlert,
    AskedForRedrive,
    AskedForDiscard,
    Died,
    Froze,
    Thawed,
    Handover,
    Revoked,
    Truncated,
    PartitionsAdded,
    LanesStopped,
    ExpansionBlocked,
    Expanded,
    ExpansionGivenUp,
    OperatorDied,
    ExpansionRefused,
    StopMovedOn,
    AddedLaneClaimed,
    OutdatedClaim,
    Scrubbed,
    ScrubbedUnreadable,
    Adopted,
}

/// Watches; the store calls it in the middle of its transactions, so it must not ask the store.
pub(crate) trait Witness: Send + Sync {
    /// Something happened; the text says where.
    fn happened(&self, _what: Happening, _text: String) {}
    /// A claim was committed.
    fn claimed(&self, _lane: Lane, _token: FenceToken) {}
    /// A batch of a process is about to be written; the tables are as they were before it.
    fn writes(&self, _tables: &Tables, _written: &Written, _process: usize) {}
    /// Users have found new homes; the tables are as they are from now on.
    fn expanded(&self, _tables: &Tables, _routing: &Routing) {}
    /// A topic was made anew, and a generation begins with it; the tables are as they are from now on.
    fn adopted(&self, _tables: &Tables, _routing: &Routing) {}
    /// A cursor was moved.
    fn moved(&self, _lane: Lane, _token: FenceToken, _sink: Sink, _to: i64) {}
    /// A reader has given everything up to there.
    fn read(&self, _lane: Lane, _at: Positions) {}
    /// A message reached its topic.
    fn published(&self, _sink: Sink, _outgoing: &Outgoing) {}
    /// Something that must never happen.
    fn violated(&self, _problem: String) {}
}

/// Does not look.
pub(crate) struct Nobody;

impl Witness for Nobody {}
