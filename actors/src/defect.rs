//! Deliberate defects, one at a time: they show that the simulation notices what it is for. Only a build with
//! the feature `defects` has them; in any other, [`Defect::is_on`] is constantly false and they are not there.

/// A deliberate defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The store compares neither token nor batch nor positions.
    FenceRemoved,
    /// A claim does not wait for what its predecessor has in flight; likewise.
    ClaimWithoutWaiting,
    /// A producer's repeat is applied again.
    DedupeRemoved,
    /// A record is passed over.
    PositionPlusOne,
    /// Messages leave before the batch is committed.
    EffectsBeforeCommit,
    /// A decision depends on when it is made; the simulation's evaluation has it.
    WallClockInTheEngine,
    /// Rows come in any order, so that two transactions may lock each other out.
    UnsortedRows,
    /// Of the dead letters of a batch the last is not written.
    DeadLetterDropped,
    /// The cursor of a sink moves before the messages are safe there.
    CursorBeforeSend,
    /// A checkpoint is the state before the batch that it is numbered after.
    CheckpointOfTheWrongBatch,
    /// What a checkpoint holds is not asked for: records are applied to it that it has.
    CheckpointVersionUnchecked,
    /// The lane calls all checkpoints written, whatever they hold.
    CheckpointsCalledWritten,
    /// A forwarded record that comes again is applied again.
    ForwardedRepeatApplied,
    /// A forwarded record is applied though another must come before it.
    OutOfTurnApplied,
    /// A batch of a command does not count as one.
    CommandIsNoBatch,
    /// A release does not wait for the batches that are in flight.
    ReleaseMissesInFlight,
    /// That a user is in quarantine is not written to their row.
    QuarantineNotWritten,
    /// A user leaves memory with a step that is not committed.
    EvictionInFlight,
    /// A batch is committed before what it has forwarded is safe.
    ForwardedNotAwaited,
    /// Users find new homes as soon as lanes have read up to where they were to stop.
    ExpansionByPosition,
    /// The scrub looks at steps that are not committed.
    ScrubInFlight,
    /// Lanes stand where they were told to stop when whoever told them is long gone; the simulation's store
    /// has it.
    LeaseNeverEnds,
    /// What was forwarded before a topic was made anew is dropped, whatever of it counted.
    ClosedGenerationIgnored,
    /// A dead letter that is tried once more counts as if it had come today.
    RedrivenAsOfToday,
    /// A batch takes records without regard to their bytes.
    BytesUncounted,
    /// A dead letter's detail quotes what was sent.
    DetailQuotesTheRecord,
    /// Whoever does not own the lane moves cursors too; stores have it.
    CursorUnfenced,
    /// An owner's token is the lane's epoch and not random; the real store has it.
    TokenOfTheEpoch,
    /// The compare-and-set does not look at positions; the real store has it.
    PositionsUncompared,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::FenceRemoved,
        Self::ClaimWithoutWaiting,
        Self::DedupeRemoved,
        Self::PositionPlusOne,
        Self::EffectsBeforeCommit,
        Self::WallClockInTheEngine,
        Self::UnsortedRows,
        Self::DeadLetterDropped,
        Self::CursorBeforeSend,
        Self::CheckpointOfTheWrongBatch,
        Self::CheckpointVersionUnchecked,
        Self::CheckpointsCalledWritten,
        Self::ForwardedRepeatApplied,
        Self::OutOfTurnApplied,
        Self::CommandIsNoBatch,
        Self::ReleaseMissesInFlight,
        Self::QuarantineNotWritten,
        Self::EvictionInFlight,
        Self::ForwardedNotAwaited,
        Self::ExpansionByPosition,
        Self::ScrubInFlight,
        Self::LeaseNeverEnds,
        Self::ClosedGenerationIgnored,
        Self::RedrivenAsOfToday,
        Self::BytesUncounted,
        Self::DetailQuotesTheRecord,
        Self::CursorUnfenced,
        Self::TokenOfTheEpoch,
        Self::PositionsUncompared,
    ];

    /// Those that no store but the real one can have.
    pub const OF_THE_STORE: [Self; 2] = [Self::TokenOfTheEpoch, Self::PositionsUncompared];

    /// Whether it is on, in this thread or everywhere.
    #[cfg(feature = "defects")]
    pub fn is_on(self) -> bool {
        ON.get() == Some(self) || EVERYWHERE.get() == Some(&self)
    }

    /// Never.
    #[cfg(not(feature = "defects"))]
    #[inline(always)]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Switches one on, or all off, in this thread.
    #[cfg(feature = "defects")]
    pub fn switch(on: Option<Self>) {
        ON.set(on);
    }

    /// The one of this name.
    #[cfg(feature = "defects")]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|defect| format!("{defect:?}") == name)
    }

    /// Switches it on in all threads of the process, for good, unless another is.
    #[cfg(feature = "defects")]
    pub fn switch_everywhere(self) {
        EVERYWHERE.get_or_init(|| self);
    }
}

#[cfg(feature = "defects")]
static EVERYWHERE: std::sync::OnceLock<Defect> = std::sync::OnceLock::new();

#[cfg(feature = "defects")]
thread_local! {
    static ON: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}
