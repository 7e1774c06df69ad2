//! More partitions: where lanes stop, what is still in the way, and the one transaction in which users find
//! new homes. Nothing here waits for lanes: whoever asks looks again.

use std::sync::Arc;

use actors::expansion::{self, Blocker, Standing};
use actors::lane::{Lane, Positions, Routing, Source, UserNumber};
use actors::rows::Sink;
use actors::store::StoreError;
use entities::{dead_letters, event_records, lane_commands, lanes, outbox, routing, users};
use neuros::time::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::failure::of_database;
use super::generation::{Adoption, close, lock_all};
use super::lease::{self, Lease};
use super::locks::Locks;
use super::read::{cursor, outbox_after, routing_of};
use super::{SqlStore, begin, progress, unbroken};

/// What became of an attempt to give users new homes.
#[derive(Clone, Debug)]
pub enum Expanded {
    /// They have them: everything is claimed anew.
    Done(Routing),
    /// Something is in the way. Nothing was changed.
    Blocked(Vec<Blocker>),
}

impl SqlStore {
    /// Tells lanes where to stop, while the lease lasts.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotYet`] when the lease is over; else when the store is away.
    pub async fn set_stops(
        &self,
        lease: Lease,
        stops: &[(Lane, Positions)],
    ) -> Result<(), StoreError> {
        let rows: Vec<lanes::ActiveModel> = stops
            .iter()
            .map(|(lane, stops)| lanes::ActiveModel {
                lane: Set(lane.0),
                events_stop: Set(Some(stops.events)),
                by_user_stop: Set(Some(stops.by_user)),
                ..Default::default()
            })
            .collect();
        self.conduct(lease, rows).await
    }

    /// Moves one stop of a lane: back to where there is nothing more to read, or on.
    ///
    /// # Errors
    ///
    /// As [`SqlStore::set_stops`].
    pub async fn stop_at(
        &self,
        lease: Lease,
        lane: Lane,
        source: Source,
        at: i64,
    ) -> Result<(), StoreError> {
        let mut row = lanes::ActiveModel { lane: Set(lane.0), ..Default::default() };
        match source {
            Source::Events => row.events_stop = Set(Some(at)),
            Source::ByUser => row.by_user_stop = Set(Some(at)),
        }
        self.conduct(lease, vec![row]).await
    }

    /// Writes stops under the lease.
    async fn conduct(&self, lease: Lease, rows: Vec<lanes::ActiveModel>) -> Result<(), StoreError> {
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locks = Locks::of(&transaction, postgres.as_deref()).await?;
            locks.behind_what_is_in_flight(lease::hold(&transaction, lease)).await?;
            let write = async {
                for row in rows {
                    row.update(&transaction).await.map_err(|error| of_database(&error))?;
                }
                Ok(())
            };
            locks.behind_what_is_in_flight(write).await?;
            transaction.commit().await.map_err(|error| of_database(&error))
        })
        .await
    }

    /// Nothing that `origin` has forwarded up to `last` will still come to `home`, which has read its log
    /// up to `at` and to the end: the mark goes there. Whoever has the lane claims it anew.
    ///
    /// # Errors
    ///
    /// As [`SqlStore::set_stops`].
    pub async fn settle(
        &self,
        lease: Lease,
        (origin, home): (Lane, Lane),
        (last, at): (i64, i64),
    ) -> Result<(), StoreError> {
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locks = Locks::of(&transaction, postgres.as_deref()).await?;
            locks.behind_what_is_in_flight(lease::hold(&transaction, lease)).await?;
            let row = lanes::Entity::find_by_id(home.0).lock_exclusive().one(&transaction);
            let row = async { row.await.map_err(|error| of_database(&error)) };
            let row = locks.behind_what_is_in_flight(row).await?;
            let Some(row) = row.filter(|row| row.by_user_position == at) else { return Ok(()) };
            let mut marks = progress::of_row(&row)?.marks;
            if !expansion::is_lost(marks.get(&origin.0).copied(), last) {
                return Ok(());
            }
            marks.insert(origin.0, last);
            let row = lanes::ActiveModel {
                lane: Set(home.0),
                marks: Set(progress::offsets_text(&marks)),
                fence_token: Set(progress::fresh_token().0),
                ..Default::default()
            };
            row.update(&transaction).await.map_err(|error| of_database(&error))?;
            transaction.commit().await.map_err(|error| of_database(&error))
        })
        .await
    }

    /// What is in the way at this moment.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn blockers(&self) -> Result<Vec<Blocker>, StoreError> {
        let rows = lanes::Entity::find().order_by_asc(lanes::Column::Lane).all(&self.reader).await;
        let rows = rows.map_err(|error| of_database(&error))?;
        let stored = routing::Entity::find().one(&self.reader).await;
        let stored = stored.map_err(|error| of_database(&error))?.ok_or_else(no_topics)?;
        let rows = in_use(&stored, rows);
        Ok(expansion::blockers(&standings(&self.reader, &self.sinks, &rows).await?))
    }

    /// Gives users new homes among the lanes there are and `added` (with where their logs begin), unless
    /// something is in the way. One transaction: whoever has a lane has it no more.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotYet`] when the lease is over; else when the store is away, or knows no topics.
    pub async fn expand(
        &self,
        lease: Lease,
        added: &[(Lane, Positions)],
        at: Timestamp,
    ) -> Result<Expanded, StoreError> {
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        let (added, sinks) = (added.to_vec(), Arc::clone(&self.sinks));
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locked = lock_all(&transaction, postgres.as_deref()).await?;
            let (stored, rows) = locked.ok_or_else(no_topics)?;
            lease::hold(&transaction, lease).await?;
            let kept = in_use(&stored, rows.clone());
            let blockers = expansion::blockers(&standings(&transaction, &sinks, &kept).await?);
            if !blockers.is_empty() {
                return Ok(Expanded::Blocked(blockers));
            }
            let next = next_of(&stored, &kept, &added, at)?;
            let routing = close(&transaction, &stored, &rows, &next).await?;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(Expanded::Done(routing))
        })
        .await
    }
}

/// The lanes of this generation; topics that were made anew with fewer partitions leave others behind.
fn in_use(stored: &routing::Model, rows: Vec<lanes::Model>) -> Vec<lanes::Model> {
    rows.into_iter().filter(|row| row.lane < stored.partition_count).collect()
}

pub(super) fn no_topics() -> StoreError {
    StoreError::Refused("the store knows no topics yet: start the service first".to_owned())
}

/// The next generation: every lane goes on where it is.
fn next_of(
    stored: &routing::Model,
    rows: &[lanes::Model],
    added: &[(Lane, Positions)],
    at: Timestamp,
) -> Result<Adoption, StoreError> {
    let kept = rows.iter().map(|row| {
        let progress = progress::of_row(row)?;
        Ok::<_, StoreError>((Lane(row.lane), progress.positions))
    });
    let mut positions = kept.collect::<Result<Vec<_>, _>>()?;
    positions.extend_from_slice(added);
    let count = i32::try_from(positions.len()).unwrap_or(i32::MAX);
    let routing = Routing { partition_count: count, ..routing_of(stored.clone()) };
    Ok(Adoption { routing, positions, reason: "partitions were added".to_owned(), at })
}

async fn standings(
    database: &impl ConnectionTrait,
    sinks: &[Sink],
    rows: &[lanes::Model],
) -> Result<Vec<Standing>, StoreError> {
    let mut standings = Vec::with_capacity(rows.len());
    for row in rows {
        let stops = row.events_stop.zip(row.by_user_stop);
        let commands = lane_commands::Entity::find()
            .filter(lane_commands::Column::Lane.eq(row.lane))
            .filter(lane_commands::Column::AppliedBatch.is_null())
            .count(database)
            .await;
        let letters = dead_letters::Entity::find()
            .filter(dead_letters::Column::Lane.eq(row.lane))
            .filter(dead_letters::Column::ReleasedAt.is_null())
            .filter(dead_letters::Column::UserNumber.is_not_null())
            .count(database)
            .await;
        let has_unwritten = has_unwritten(database, row).await?;
        let lagging = if has_unwritten { lagging(database, row).await? } else { Vec::new() };
        standings.push(Standing {
            lane: Lane(row.lane),
            progress: progress::of_row(row)?,
            stops: stops.map(|(events, by_user)| Positions { events, by_user }),
            behind: behind(database, sinks, Lane(row.lane)).await?,
            commands: commands.map_err(|error| of_database(&error))?,
            letters: letters.map_err(|error| of_database(&error))?,
            has_unwritten,
            lagging,
        });
    }
    Ok(standings)
}

/// Sinks that have not taken all of a lane's outbox.
async fn behind(
    database: &impl ConnectionTrait,
    sinks: &[Sink],
    lane: Lane,
) -> Result<Vec<Sink>, StoreError> {
    let mut behind = Vec::new();
    for &sink in sinks {
        let cursor = cursor(database, lane, sink).await?;
        let waiting = outbox_after(lane, sink, cursor)
            .select_only()
            .column(outbox::Column::Number)
            .into_tuple::<i64>()
            .one(database)
            .await;
        if waiting.map_err(|error| of_database(&error))?.is_some() {
            behind.push(sink);
        }
    }
    Ok(behind)
}

/// Users find a new home when the number of lanes changes, and a home restores only its own records: so
/// all states must be in checkpoints before.
pub(super) async fn has_unwritten(
    database: &impl ConnectionTrait,
    row: &lanes::Model,
) -> Result<bool, StoreError> {
    let newer = newer(row).select_only().column(event_records::Column::Position);
    let newer = newer.into_tuple::<i32>().one(database).await;
    Ok(newer.map_err(|error| of_database(&error))?.is_some())
}

/// Some of those whose newest records are in no checkpoint.
async fn lagging(
    database: &impl ConnectionTrait,
    row: &lanes::Model,
) -> Result<Vec<UserNumber>, StoreError> {
    let user = event_records::Column::UserNumber;
    let of_user =
        Expr::col((event_records::Entity, user)).equals((users::Entity, users::Column::UserNumber));
    let above = Expr::col((event_records::Entity, event_records::Column::Number))
        .gt(Expr::col((users::Entity, users::Column::RecordNumber)));
    let mut query = newer(row).filter(above).select_only().column(user).distinct();
    QuerySelect::query(&mut query).inner_join(users::Entity, of_user);
    let numbers = query.order_by_asc(user).limit(LAGGING_MAX).into_tuple::<i64>().all(database);
    let numbers = numbers.await.map_err(|error| of_database(&error))?;
    Ok(numbers.into_iter().map(UserNumber).collect())
}

/// Users who are named at once.
const LAGGING_MAX: u64 = 5;

/// The lane's records that may be in no checkpoint.
fn newer(row: &lanes::Model) -> Select<event_records::Entity> {
    event_records::Entity::find()
        .filter(event_records::Column::Lane.eq(row.lane))
        .filter(event_records::Column::Time.gt(row.checkpointed))
        .filter(event_records::Column::Time.lte(row.stamp))
}
