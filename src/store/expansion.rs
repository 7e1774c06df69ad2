//! More partitions: where lanes stop, what is still in the way, and the one transaction in which users find
//! new homes. Nothing here waits for lanes: whoever asks looks again.

use actors::expansion::{self, Blocker, Standing};
use actors::lane::{Lane, Positions, Routing, Source};
use actors::rows::Sink;
use actors::store::StoreError;
use entities::{dead_letters, event_records, lane_commands, lanes, outbox, relay_cursors, routing};
use neuros::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};

use super::failure::of_database;
use super::generation::{Adoption, close, lock_all};
use super::read::routing_of;
use super::{SqlStore, begin, now, progress, unbroken};

/// What became of an attempt to give users new homes.
#[derive(Clone, Debug)]
pub enum Expanded {
    /// They have them: everything is claimed anew.
    Done(Routing),
    /// Something is in the way. Nothing was changed.
    Blocked(Vec<Blocker>),
}

impl SqlStore {
    /// Says that partitions are being added: the lanes that there are go on, new ones wait.
    ///
    /// # Errors
    ///
    /// When the store is away, or knows no topics.
    pub async fn begin_expansion(&self) -> Result<Routing, StoreError> {
        routing::Entity::update_many()
            .col_expr(routing::Column::Expanding, Expr::value(true))
            .col_expr(routing::Column::UpdatedAt, Expr::cust(now(&self.writer)))
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        let stored = routing::Entity::find().one(&self.writer).await;
        let stored = stored.map_err(|error| of_database(&error))?;
        stored.map(routing_of).ok_or_else(no_topics)
    }

    /// Tells lanes where to stop, or with `None` that they are to read on.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn set_stops(&self, lanes: &[(Lane, Option<Positions>)]) -> Result<(), StoreError> {
        let (writer, lanes) = (self.writer.clone(), lanes.to_vec());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            for (lane, stops) in lanes {
                let row = lanes::ActiveModel {
                    lane: Set(lane.0),
                    events_stop: Set(stops.map(|stops| stops.events)),
                    by_user_stop: Set(stops.map(|stops| stops.by_user)),
                    ..Default::default()
                };
                row.update(&transaction).await.map_err(|error| of_database(&error))?;
            }
            transaction.commit().await.map_err(|error| of_database(&error))
        })
        .await
    }

    /// A lane has read one of its sources as far as there is anything: it is to stop there.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn stop_at(&self, lane: Lane, source: Source, at: i64) -> Result<(), StoreError> {
        let column = match source {
            Source::Events => lanes::Column::EventsStop,
            Source::ByUser => lanes::Column::ByUserStop,
        };
        lanes::Entity::update_many()
            .col_expr(column, Expr::value(at))
            .filter(lanes::Column::Lane.eq(lane.0))
            .filter(column.is_not_null())
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        Ok(())
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
        Ok(expansion::blockers(&standings(&self.reader, &rows).await?))
    }

    /// Gives users new homes among the lanes there are and `added` (with where their logs begin), unless
    /// something is in the way. One transaction: whoever has a lane has it no more.
    ///
    /// # Errors
    ///
    /// When the store is away, or knows no topics.
    pub async fn expand(
        &self,
        added: &[(Lane, Positions)],
        at: Timestamp,
    ) -> Result<Expanded, StoreError> {
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        let added = added.to_vec();
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locked = lock_all(&transaction, postgres.as_deref()).await?;
            let (stored, rows) = locked.ok_or_else(no_topics)?;
            let kept = in_use(&stored, rows.clone());
            let blockers = expansion::blockers(&standings(&transaction, &kept).await?);
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

fn no_topics() -> StoreError {
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
        standings.push(Standing {
            lane: Lane(row.lane),
            progress: progress::of_row(row)?,
            stops: stops.map(|(events, by_user)| Positions { events, by_user }),
            behind: behind(database, row.lane).await?,
            commands: commands.map_err(|error| of_database(&error))?,
            letters: letters.map_err(|error| of_database(&error))?,
            has_unwritten: has_unwritten(database, row).await?,
        });
    }
    Ok(standings)
}

/// Sinks that have not taken all of a lane's outbox.
async fn behind(database: &impl ConnectionTrait, lane: i32) -> Result<Vec<Sink>, StoreError> {
    let mut behind = Vec::new();
    for sink in Sink::ALL {
        let cursor = relay_cursors::Entity::find_by_id((lane, sink.number())).one(database).await;
        let cursor = cursor.map_err(|error| of_database(&error))?.map_or(0, |row| row.number);
        let waiting = outbox::Entity::find()
            .select_only()
            .column(outbox::Column::Number)
            .filter(outbox::Column::Lane.eq(lane))
            .filter(outbox::Column::Number.gt(cursor))
            .filter(outbox::Column::Sink.eq(sink.number()))
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
    let newer = event_records::Entity::find()
        .select_only()
        .column(event_records::Column::Position)
        .filter(event_records::Column::Lane.eq(row.lane))
        .filter(event_records::Column::Time.gt(row.checkpointed))
        .filter(event_records::Column::Time.lte(row.stamp))
        .into_tuple::<i32>()
        .one(database)
        .await;
    Ok(newer.map_err(|error| of_database(&error))?.is_some())
}
