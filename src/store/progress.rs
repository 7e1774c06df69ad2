//! A lane's row and a lane's progress, one into the other; nothing else.

use std::collections::BTreeMap;

use actors::lane::{
    ClosedGeneration, Counts, FenceToken, Lane, ModeCounts, PerSource, Positions, Progress, Source,
};
use actors::store::StoreError;
use entities::lanes;
use sea_orm::ActiveValue::{NotSet, Set};
use serde::{Deserialize, Serialize};

use super::instant;

/// [`ClosedGeneration`] as it stands in its column.
#[derive(Serialize, Deserialize)]
struct Closed {
    generation: i32,
    marks: BTreeMap<i32, i64>,
    last: BTreeMap<i32, i64>,
}

/// Offsets by partition, as JSON.
pub(super) fn offsets_text(offsets: &BTreeMap<i32, i64>) -> String {
    // A map of numbers is always JSON.
    serde_json::to_string(offsets).unwrap_or_default()
}

/// What is left of a generation, as JSON.
pub(super) fn closed_text(closed: Option<&ClosedGeneration>) -> Option<String> {
    let closed = closed?;
    let (marks, last) = (closed.marks.clone(), closed.last.clone());
    serde_json::to_string(&Closed { generation: closed.generation, marks, last }).ok()
}

/// Reads a column of JSON.
pub(super) fn parsed<T: for<'de> Deserialize<'de>>(
    lane: i32,
    column: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| {
        StoreError::Refused(format!("lane {lane}: the column `{column}` of `lanes` is damaged"))
    })
}

/// The lane's progress as its row says.
pub(super) fn of_row(row: &lanes::Model) -> Result<Progress, StoreError> {
    let closed = row.closed.as_deref().map(|text| parsed::<Closed>(row.lane, "closed", text));
    let closed = closed.transpose()?.map(|closed| ClosedGeneration {
        generation: closed.generation,
        marks: closed.marks,
        last: closed.last,
    });
    Ok(Progress {
        batch: row.batch,
        positions: Positions { events: row.events_position, by_user: row.by_user_position },
        marks: parsed(row.lane, "marks", &row.marks)?,
        forwarded: parsed(row.lane, "forwarded", &row.forwarded)?,
        closed,
        outbox: row.outbox,
        users: row.users,
        modes: ModeCounts::new([row.reflex, row.guardian, row.pattern, row.hypothesis]),
        counts: PerSource {
            events: Counts {
                new: row.events_new,
                duplicate: row.events_duplicate,
                dead_letter: row.events_dead_letter,
                forwarded: row.events_forwarded,
                skipped: row.events_skipped,
            },
            by_user: Counts {
                new: row.by_user_new,
                duplicate: row.by_user_duplicate,
                dead_letter: row.by_user_dead_letter,
                forwarded: row.by_user_forwarded,
                skipped: row.by_user_skipped,
            },
        },
        stamp: instant::from(row.stamp),
        checkpointed: instant::from(row.checkpointed),
    })
}

/// Everything of the row that a batch writes; who owns the lane is left alone.
pub(super) fn to_row(progress: &Progress) -> lanes::ActiveModel {
    let PerSource { events, by_user } = &progress.counts;
    let [reflex, guardian, pattern, hypothesis] = modes(progress);
    lanes::ActiveModel {
        lane: NotSet,
        batch: Set(progress.batch),
        events_position: Set(progress.positions.events),
        by_user_position: Set(progress.positions.by_user),
        epoch: NotSet,
        fence_token: NotSet,
        owner: NotSet,
        claimed_at: NotSet,
        marks: Set(offsets_text(&progress.marks)),
        forwarded: Set(offsets_text(&progress.forwarded)),
        closed: Set(closed_text(progress.closed.as_ref())),
        outbox: Set(progress.outbox),
        users: Set(progress.users),
        reflex: Set(reflex),
        guardian: Set(guardian),
        pattern: Set(pattern),
        hypothesis: Set(hypothesis),
        events_new: Set(events.new),
        events_duplicate: Set(events.duplicate),
        events_dead_letter: Set(events.dead_letter),
        events_forwarded: Set(events.forwarded),
        events_skipped: Set(events.skipped),
        by_user_new: Set(by_user.new),
        by_user_duplicate: Set(by_user.duplicate),
        by_user_dead_letter: Set(by_user.dead_letter),
        by_user_forwarded: Set(by_user.forwarded),
        by_user_skipped: Set(by_user.skipped),
        stamp: Set(instant::of(progress.stamp)),
        checkpointed: Set(instant::of(progress.checkpointed)),
        events_stop: NotSet,
        by_user_stop: NotSet,
    }
}

/// The row of a lane that nobody has yet.
pub(super) fn new_row(lane: Lane, positions: Positions) -> lanes::ActiveModel {
    lanes::ActiveModel {
        lane: Set(lane.0),
        epoch: Set(0),
        fence_token: Set(fresh_token().0),
        owner: Set(String::new()),
        claimed_at: Set(None),
        ..to_row(&Progress::starting_at(positions))
    }
}

/// Users by mode, in the order of the columns.
pub(super) fn modes(progress: &Progress) -> [i64; 4] {
    let mut counts = [0; 4];
    for (place, (_, count)) in counts.iter_mut().zip(progress.modes.iter()) {
        *place = count;
    }
    counts
}

/// A token that nobody has.
pub(super) fn fresh_token() -> FenceToken {
    FenceToken(uuid::Uuid::new_v4())
}

/// The source of that number.
pub(super) fn source(number: i16) -> Result<Source, StoreError> {
    let found = Source::ALL.into_iter().find(|source| source.number() == number);
    found.ok_or_else(|| StoreError::Refused(format!("there is no source with the number {number}")))
}

/// Whether a batch follows on what the lane was, as far as its row can say.
pub(super) fn follows(before: &Progress, after: &Progress, outbox_rows: usize) -> bool {
    let outbox_rows = i64::try_from(outbox_rows).unwrap_or(i64::MAX);
    after.batch == before.batch + 1
        && after.stamp > before.stamp
        && after.outbox == before.outbox.saturating_add(outbox_rows)
        && after.positions.events >= before.positions.events
        && after.positions.by_user >= before.positions.by_user
}
