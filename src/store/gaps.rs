//! Stretches of the log that are skipped: written down with their reasons, shown, and a lane moved past one.
//! Never silently.

use actors::lane::{
    ClosedGeneration, FenceToken, Lane, NOTHING, Positions, Progress, Source, settled,
};
use actors::store::StoreError;
use chrono::{DateTime, Utc};
use entities::{lane_gaps, lanes, routing};
use neuros::time::Timestamp;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::failure::of_database;
use super::{SqlStore, begin, instant, progress, unbroken};

/// A stretch of the log that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGap {
    /// The lane.
    pub lane: Lane,
    /// Which of its two topics.
    pub source: Source,
    /// The generation in which the records were lost.
    pub generation: i32,
    /// The first offset that was not read.
    pub from: i64,
    /// Where reading goes on.
    pub to: i64,
    /// Why.
    pub reason: String,
    /// When it was written down.
    pub recorded_at: Timestamp,
}

impl SqlStore {
    /// Moves a lane up to where its log begins and records what is skipped, if `token` still holds: so
    /// the lane is not another's, and its log not that of another generation. Says whether it does.
    pub(super) async fn skip_lane_gap(
        &self,
        lane: Lane,
        token: FenceToken,
        starts: Positions,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let writer = self.writer.clone();
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let row = lanes::Entity::find_by_id(lane.0)
                .filter(lanes::Column::FenceToken.eq(token.0))
                .lock_exclusive()
                .one(&transaction)
                .await;
            let Some(row) = row.map_err(|error| of_database(&error))? else { return Ok(false) };
            let generation = routing::Entity::find().one(&transaction).await;
            let generation = generation.map_err(|error| of_database(&error))?;
            let (generation, count) =
                generation.map_or((1, 0), |routing| (routing.generation, routing.partition_count));
            let mut kept = progress::of_row(&row)?;
            let stored = kept.positions;
            if stored.by_user < starts.by_user {
                kept.unsettle_marks(count);
            }
            let mut moved = stored;
            for source in Source::ALL {
                let (from, to) = (*stored.of(source), *starts.of(source));
                if from < to {
                    *moved.of_mut(source) = to;
                    let gap = Gap { lane, source, origin: None, generation, from, to };
                    let row = gap.row(BELOW_START, instant::of(at));
                    let insert = lane_gaps::Entity::insert(row);
                    let insert = insert.exec_without_returning(&transaction).await;
                    insert.map_err(|error| of_database(&error))?;
                }
            }
            let row = lanes::ActiveModel {
                lane: Set(lane.0),
                events_position: Set(moved.events),
                by_user_position: Set(moved.by_user),
                fence_token: Set(progress::fresh_token().0),
                marks: Set(progress::offsets_text(&kept.marks)),
                ..Default::default()
            };
            row.update(&transaction).await.map_err(|error| of_database(&error))?;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(true)
        })
        .await
    }

    /// All gaps, in the order in which they were written down.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn gaps(&self) -> Result<Vec<StoredGap>, StoreError> {
        let rows = lane_gaps::Entity::find().order_by_asc(lane_gaps::Column::Id);
        let gap = |row: lane_gaps::Model| {
            Ok(StoredGap {
                lane: Lane(row.lane),
                source: progress::source(row.source)?,
                generation: row.generation,
                from: row.from_offset,
                to: row.to_offset,
                reason: row.reason,
                recorded_at: instant::from(row.recorded_at),
            })
        };
        let rows = rows.all(&self.reader).await.map_err(|error| of_database(&error))?;
        rows.into_iter().map(gap).collect()
    }
}

/// Why a gap is there that retention has made.
const BELOW_START: &str = "retention has removed records before they were applied";

/// A stretch that is skipped.
pub(super) struct Gap {
    lane: Lane,
    source: Source,
    generation: i32,
    from: i64,
    to: i64,
    /// Of forwarded records: where they came in; offsets are those there.
    origin: Option<i32>,
}

impl Gap {
    pub(super) fn row(self, reason: &str, at: DateTime<Utc>) -> lane_gaps::ActiveModel {
        let reason = match self.origin {
            None => reason.to_owned(),
            Some(origin) => format!("{reason} (forwarded from partition {origin}, not applied)"),
        };
        lane_gaps::ActiveModel {
            id: NotSet,
            lane: Set(self.lane.0),
            source: Set(self.source.number()),
            generation: Set(self.generation),
            from_offset: Set(self.from),
            to_offset: Set(self.to),
            reason: Set(reason),
            recorded_at: Set(at),
        }
    }
}

/// Both sources of a lane: from where it would have read on, to where it does. The new log's offsets
/// may well be smaller.
pub(super) fn skipped(
    lane: Lane,
    generation: i32,
    progress: &Progress,
    next: Positions,
) -> Vec<Gap> {
    let gap = |source: Source| Gap {
        lane,
        source,
        generation,
        from: *progress.positions.of(source),
        to: *next.of(source),
        origin: None,
    };
    Source::ALL.into_iter().map(gap).filter(|gap| gap.from != gap.to).collect()
}

/// Forwarded records of a generation that nobody will apply any more.
pub(super) fn never_applied(lane: Lane, closed: Option<&ClosedGeneration>) -> Vec<Gap> {
    let Some(closed) = closed else { return Vec::new() };
    let gap = |(&origin, &last): (&i32, &i64)| {
        let mark = closed.marks.get(&origin).copied().unwrap_or(NOTHING);
        let (mark, _) = settled(mark);
        (mark < last).then_some(Gap {
            lane,
            source: Source::ByUser,
            generation: closed.generation,
            from: mark + 1,
            to: last + 1,
            origin: Some(origin),
        })
    };
    closed.last.iter().filter_map(gap).collect()
}
