//! Where a generation of the topics begins: the first start, and every adoption after. Never silently:
//! what is skipped is written down.

use std::collections::BTreeMap;

use actors::lane::{ClosedGeneration, Lane, Positions, Progress, Routing};
use actors::store::StoreError;
use chrono::{DateTime, Utc};
use entities::{alert_looks, closed_generations, lane_gaps, lanes, routing};
use neuros::time::Timestamp;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::expansion::has_unwritten;
use super::failure::of_database;
use super::gaps::{never_applied, skipped};
use super::locks::Locks;
use super::postgres::Postgres;
use super::read::routing_of;
use super::{SqlStore, begin, instant, now, progress, unbroken};

/// The topics as they are from now on.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// How users map to lanes now. Its generation counts only when the store has none yet.
    pub routing: Routing,
    /// Where each lane begins.
    pub positions: Vec<(Lane, Positions)>,
    /// Why records are skipped, for people.
    pub reason: String,
    /// When it is done.
    pub at: Timestamp,
}

impl SqlStore {
    pub(super) async fn begin_first(
        &self,
        wanted: &Routing,
        positions: &[(Lane, Positions)],
    ) -> Result<Routing, StoreError> {
        covers(wanted, positions)?;
        let (writer, wanted, positions) = (self.writer.clone(), wanted.clone(), positions.to_vec());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            write_first(&transaction, &wanted, &positions).await?;
            let stored = routing::Entity::find().one(&transaction).await;
            let stored = stored.map_err(|error| of_database(&error))?;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            let gone = || StoreError::Away("the routing is being changed".to_owned());
            stored.map(routing_of).ok_or_else(gone)
        })
        .await
    }

    pub(super) async fn begin_next(&self, adoption: &Adoption) -> Result<Routing, StoreError> {
        covers(&adoption.routing, &adoption.positions)?;
        let (writer, postgres, adoption) =
            (self.writer.clone(), self.postgres.clone(), adoption.clone());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let Some((stored, rows)) = lock_all(&transaction, postgres.as_deref()).await? else {
                write_first(&transaction, &adoption.routing, &adoption.positions).await?;
                transaction.commit().await.map_err(|error| of_database(&error))?;
                return Ok(adoption.routing);
            };
            if stored.partition_count != adoption.routing.partition_count {
                all_checkpointed(&transaction, &rows).await?;
            }
            let routing = close(&transaction, &stored, &rows, &adoption).await?;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(routing)
        })
        .await
    }
}

/// What is not in checkpoints would be lost when users find other homes.
async fn all_checkpointed(
    transaction: &impl ConnectionTrait,
    rows: &[lanes::Model],
) -> Result<(), StoreError> {
    for row in rows {
        if has_unwritten(transaction, row).await? {
            return Err(StoreError::Refused(format!(
                "lane {} has records that are in no checkpoint yet, and its users would find another \
                 home; start the service on the topics as they were and end it in order first",
                row.lane
            )));
        }
    }
    Ok(())
}

/// Each lane must know where to begin.
fn covers(routing: &Routing, positions: &[(Lane, Positions)]) -> Result<(), StoreError> {
    let mut given: Vec<i32> = positions.iter().map(|(lane, _)| lane.0).collect();
    given.sort_unstable();
    if given.into_iter().eq(0..routing.partition_count) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "positions of exactly the lanes below {} are needed",
        routing.partition_count
    )))
}

/// Writes the routing and the lanes unless there is a routing; a second process waits for the first.
async fn write_first(
    transaction: &DatabaseTransaction,
    wanted: &Routing,
    positions: &[(Lane, Positions)],
) -> Result<(), StoreError> {
    let insert = routing::Entity::insert(routing_row(wanted))
        .on_conflict(OnConflict::column(routing::Column::Id).do_nothing().to_owned())
        .exec_without_returning(transaction);
    if insert.await.map_err(|error| of_database(&error))? == 0 {
        return Ok(());
    }
    let rows = positions.iter().map(|(lane, positions)| progress::new_row(*lane, *positions));
    lanes::Entity::insert_many(rows)
        .exec_without_returning(transaction)
        .await
        .map_err(|error| of_database(&error))?;
    Ok(())
}

fn routing_row(wanted: &Routing) -> routing::ActiveModel {
    routing::ActiveModel {
        id: Set(1),
        generation: Set(wanted.generation),
        partition_count: Set(wanted.partition_count),
        routing_version: Set(wanted.version),
        bytes_max: Set(wanted.bytes_max),
        log_id: Set(wanted.log_id.clone()),
        expanding: Set(wanted.expanding),
        updated_at: NotSet,
        expansion: Set(None),
        expansion_until: Set(None),
    }
}

/// Locks the routing, so that nothing can be claimed or asked for, and then all lanes, behind what is in
/// flight. `None` when there is no routing.
pub(super) async fn lock_all(
    transaction: &DatabaseTransaction,
    postgres: Option<&Postgres>,
) -> Result<Option<(routing::Model, Vec<lanes::Model>)>, StoreError> {
    let locks = Locks::of(transaction, postgres).await?;
    let stored = async {
        let stored = routing::Entity::find().lock_exclusive().one(transaction).await;
        stored.map_err(|error| of_database(&error))
    };
    let Some(stored) = locks.behind_what_is_in_flight(stored).await? else { return Ok(None) };
    let rows = locks.behind_what_is_in_flight(lock_lanes(transaction)).await?;
    Ok(Some((stored, rows)))
}

/// All lanes, locked in order: nothing that is in flight can commit any more.
async fn lock_lanes(transaction: &DatabaseTransaction) -> Result<Vec<lanes::Model>, StoreError> {
    let rows = lanes::Entity::find().order_by_asc(lanes::Column::Lane).lock_exclusive();
    rows.all(transaction).await.map_err(|error| of_database(&error))
}

/// Ends the stored generation and begins the next.
pub(super) async fn close(
    transaction: &DatabaseTransaction,
    stored: &routing::Model,
    rows: &[lanes::Model],
    adoption: &Adoption,
) -> Result<Routing, StoreError> {
    let at = instant::of(adoption.at);
    let mut lanes = BTreeMap::new();
    for row in rows {
        lanes.insert(Lane(row.lane), progress::of_row(row)?);
    }
    let mut next: BTreeMap<Lane, Positions> = adoption.positions.iter().copied().collect();
    let mut gaps = Vec::new();
    for (&lane, progress) in &lanes {
        let closed = closed_of(stored.generation, lane, &lanes);
        let positions = next.remove(&lane);
        gaps.extend(never_applied(lane, progress.closed.as_ref()));
        match positions {
            Some(positions) => gaps.extend(skipped(lane, stored.generation, progress, positions)),
            // Nobody will read this lane any more.
            None => gaps.extend(never_applied(lane, Some(&closed))),
        }
        keep(transaction, stored.generation, lane, progress, at).await?;
        restart(transaction, lane, positions.unwrap_or(progress.positions), &closed).await?;
    }
    // Lane 0 gives looks of lanes that are no more to those where their users live now.
    let count = i32::try_from(adoption.positions.len()).unwrap_or(i32::MAX);
    let moved = alert_looks::Entity::update_many()
        .col_expr(alert_looks::Column::Lane, Expr::value(0))
        .filter(alert_looks::Column::Lane.gte(count))
        .exec(transaction)
        .await;
    moved.map_err(|error| of_database(&error))?;
    for (lane, positions) in next {
        // Whatever is stored by now is not this lane's: a claim need not look for it.
        let row = lanes::ActiveModel {
            stamp: Set(at),
            checkpointed: Set(at),
            ..progress::new_row(lane, positions)
        };
        let insert = lanes::Entity::insert(row).exec_without_returning(transaction);
        insert.await.map_err(|error| of_database(&error))?;
    }
    for gap in gaps {
        let insert = lane_gaps::Entity::insert(gap.row(&adoption.reason, at));
        let done = insert.exec_without_returning(transaction).await;
        done.map_err(|error| of_database(&error))?;
    }
    let routing =
        Routing { generation: stored.generation + 1, expanding: false, ..adoption.routing.clone() };
    routing::Entity::update_many()
        .set(routing_row(&routing))
        .col_expr(routing::Column::UpdatedAt, Expr::cust(now(transaction)))
        .exec(transaction)
        .await
        .map_err(|error| of_database(&error))?;
    Ok(routing)
}

/// What is left for a lane of the generation that ends: per origin its mark, and the last offset that
/// was forwarded to it.
fn closed_of(generation: i32, home: Lane, lanes: &BTreeMap<Lane, Progress>) -> ClosedGeneration {
    let last = lanes
        .iter()
        .filter_map(|(origin, progress)| Some((origin.0, *progress.forwarded.get(&home.0)?)));
    ClosedGeneration {
        generation,
        marks: lanes.get(&home).map(|progress| progress.marks.clone()).unwrap_or_default(),
        last: last.collect(),
    }
}

/// Keeps where a lane stood, for good.
async fn keep(
    transaction: &DatabaseTransaction,
    generation: i32,
    lane: Lane,
    progress: &Progress,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = closed_generations::ActiveModel {
        generation: Set(generation),
        lane: Set(lane.0),
        events_position: Set(progress.positions.events),
        by_user_position: Set(progress.positions.by_user),
        marks: Set(progress::offsets_text(&progress.marks)),
        forwarded: Set(progress::offsets_text(&progress.forwarded)),
        closed_at: Set(at),
    };
    let insert = closed_generations::Entity::insert(row).exec_without_returning(transaction);
    insert.await.map(|_| ()).map_err(|error| of_database(&error))
}

/// A lane of the new generation: new token, new positions, no marks.
async fn restart(
    transaction: &impl ConnectionTrait,
    lane: Lane,
    positions: Positions,
    closed: &ClosedGeneration,
) -> Result<(), StoreError> {
    let nothing = progress::offsets_text(&BTreeMap::new());
    let row = lanes::ActiveModel {
        lane: Set(lane.0),
        events_position: Set(positions.events),
        by_user_position: Set(positions.by_user),
        fence_token: Set(progress::fresh_token().0),
        marks: Set(nothing.clone()),
        forwarded: Set(nothing),
        closed: Set(progress::closed_text(Some(closed))),
        events_stop: Set(None),
        by_user_stop: Set(None),
        ..Default::default()
    };
    row.update(transaction).await.map(|_| ()).map_err(|error| of_database(&error))
}
