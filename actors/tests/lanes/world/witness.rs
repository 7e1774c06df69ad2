//! Who watches the world: is told what happened outside the lanes, and can neither change nor delay it.

use actors::lane::{FenceToken, Lane, Positions, Routing};
use actors::log::Outgoing;
use actors::rows::Sink;

use super::store::tables::{Tables, Written};

/// Things that happen, by the names under which they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    Claimed,
    ClaimWaited,
    BackendEnded,
    ClaimAnswerLost,
    Committed,
    CommitAway,
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
    CaughtUp,
    Cached,
    Quarantined,
    CheckpointDeleted,
    CheckpointDamaged,
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
}

impl Happening {
    pub(crate) const ALL: [Self; 47] = [
        Self::Claimed,
        Self::ClaimWaited,
        Self::BackendEnded,
        Self::ClaimAnswerLost,
        Self::Committed,
        Self::CommitAway,
        Self::AnswerLost,
        Self::GhostLanded,
        Self::GhostVanished,
        Self::Fenced,
        Self::FencedCursor,
        Self::OutOfStep,
        Self::Refused,
        Self::LaggingRestore,
        Self::CheckpointRebuilt,
        Self::Evicted,
        Self::Forwarded,
        Self::ForwardedRepeat,
        Self::OutOfTurn,
        Self::OtherGeneration,
        Self::DeliveryError,
        Self::Published,
        Self::PublishedAgain,
        Self::PublishFailed,
        Self::CaughtUp,
        Self::Cached,
        Self::Quarantined,
        Self::CheckpointDeleted,
        Self::CheckpointDamaged,
        Self::Died,
        Self::Froze,
        Self::Thawed,
        Self::Handover,
        Self::Revoked,
        Self::Truncated,
        Self::PartitionsAdded,
        Self::LanesStopped,
        Self::ExpansionBlocked,
        Self::Expanded,
        Self::ExpansionGivenUp,
        Self::OperatorDied,
        Self::ExpansionRefused,
        Self::StopMovedOn,
        Self::AddedLaneClaimed,
        Self::OutdatedClaim,
        Self::Scrubbed,
        Self::ScrubbedUnreadable,
    ];
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
