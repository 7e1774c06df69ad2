//! The lease of whoever adds partitions: lanes stop where its holder says, until it runs out. By the
//! database's clock alone; never waits for anybody else's.

use std::time::Duration;

use actors::store::StoreError;
use entities::{lanes, routing};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait,
    QueryFilter, QuerySelect,
};
use uuid::Uuid;

use super::failure::of_database;
use super::locks::Locks;
use super::{SqlStore, begin, now, unbroken};

/// The right to add partitions, for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(Uuid);

impl SqlStore {
    /// Says that partitions are being added to those of `generation`: the lanes that there are go on, new
    /// ones wait. Whoever did it before and was cut off has no say any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotYet`] while somebody else has the lease; [`StoreError::Outdated`] when the
    /// generation is over; else when the store is away.
    pub async fn begin_expansion(
        &self,
        generation: i32,
        lasts: Duration,
    ) -> Result<Lease, StoreError> {
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locks = Locks::of(&transaction, postgres.as_deref()).await?;
            let lease = Lease(Uuid::new_v4());
            let has_ended = Condition::any()
                .add(routing::Column::ExpansionUntil.is_null())
                .add(Expr::col(routing::Column::ExpansionUntil).lte(clock(&transaction)));
            let taken = routing::Entity::update_many()
                .col_expr(routing::Column::Expanding, Expr::value(true))
                .col_expr(routing::Column::Expansion, Expr::value(lease.0))
                .col_expr(routing::Column::ExpansionUntil, clock_in(&transaction, lasts))
                .col_expr(routing::Column::UpdatedAt, Expr::cust(now(&transaction)))
                .filter(routing::Column::Generation.eq(generation))
                .filter(has_ended)
                .exec(&transaction);
            let taken = async { taken.await.map_err(|error| of_database(&error)) };
            let taken = locks.behind_what_is_in_flight(taken).await?;
            if taken.rows_affected == 0 {
                return Err(why_not(&transaction, generation).await?);
            }
            // Stops from before were noted when there were other partitions.
            let clear = lanes::Entity::update_many()
                .col_expr(lanes::Column::EventsStop, Expr::value(None::<i64>))
                .col_expr(lanes::Column::ByUserStop, Expr::value(None::<i64>))
                .exec(&transaction);
            let clear = async { clear.await.map_err(|error| of_database(&error)) };
            locks.behind_what_is_in_flight(clear).await?;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(lease)
        })
        .await
    }

    /// Has the lease last so long from now on.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotYet`] when it is over; else when the store is away.
    pub async fn renew_expansion(&self, lease: Lease, lasts: Duration) -> Result<(), StoreError> {
        let renewed = routing::Entity::update_many()
            .col_expr(routing::Column::ExpansionUntil, clock_in(&self.writer, lasts))
            .filter(holds(&self.writer, lease))
            .exec(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        if renewed.rows_affected == 1 { Ok(()) } else { Err(over()) }
    }

    /// Gives the lease back: the lanes read on, and somebody else may begin.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn end_expansion(&self, lease: Lease) -> Result<(), StoreError> {
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locks = Locks::of(&transaction, postgres.as_deref()).await?;
            let end = routing::Entity::update_many()
                .col_expr(routing::Column::Expansion, Expr::value(None::<Uuid>))
                .col_expr(routing::Column::ExpansionUntil, Expr::cust("NULL"))
                .filter(routing::Column::Expansion.eq(lease.0))
                .exec(&transaction);
            // An attempt of our own that was not answered may still hold it.
            let end = async { end.await.map_err(|error| of_database(&error)) };
            locks.behind_what_is_in_flight(end).await?;
            transaction.commit().await.map_err(|error| of_database(&error))
        })
        .await
    }
}

/// Has the lease hold until the transaction ends; whoever wants to take it waits.
pub(super) async fn hold(
    transaction: &DatabaseTransaction,
    lease: Lease,
) -> Result<(), StoreError> {
    let held = routing::Entity::find().filter(holds(transaction, lease)).lock_shared();
    let held = held.one(transaction).await.map_err(|error| of_database(&error))?;
    held.map(|_| ()).ok_or_else(over)
}

/// Where the lane of a row stops, as an expression: where it was told to, while a lease lasts.
pub(super) fn events_stop(connection: &impl ConnectionTrait) -> Expr {
    let lasts = format!("(SELECT expansion_until FROM routing) > {}", now_of(connection));
    Expr::cust(format!("CASE WHEN {lasts} THEN events_stop END"))
}

fn holds(connection: &impl ConnectionTrait, lease: Lease) -> Condition {
    Condition::all()
        .add(routing::Column::Expansion.eq(lease.0))
        .add(Expr::col(routing::Column::ExpansionUntil).gt(clock(connection)))
}

/// What to say to whoever wants the lease and does not get it.
async fn why_not(
    transaction: &DatabaseTransaction,
    generation: i32,
) -> Result<StoreError, StoreError> {
    let stored = routing::Entity::find().one(transaction).await;
    let stored = stored.map_err(|error| of_database(&error))?;
    Ok(match stored {
        None => super::expansion::no_topics(),
        Some(stored) if stored.generation != generation => {
            StoreError::Outdated("users have found new homes meanwhile: look again".to_owned())
        }
        Some(stored) => {
            let until = stored.expansion_until.unwrap_or_default();
            let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            StoreError::NotYet(format!(
                "another `topics expand` is under way, until {until} unless it goes on longer: wait for \
                 it, or end it, and try again"
            ))
        }
    })
}

fn over() -> StoreError {
    StoreError::NotYet(
        "the lease of this expansion is over: the store was away for too long, or somebody else has \
         begun"
            .to_owned(),
    )
}

/// The database's clock at this moment, even late in a transaction.
fn now_of(connection: &impl ConnectionTrait) -> &'static str {
    match connection.get_database_backend() {
        DbBackend::Postgres => "clock_timestamp()",
        _ => now(connection),
    }
}

fn clock(connection: &impl ConnectionTrait) -> Expr {
    Expr::cust(now_of(connection))
}

/// The same, so much later.
fn clock_in(connection: &impl ConnectionTrait, later: Duration) -> Expr {
    let (seconds, millis) = (later.as_secs(), later.subsec_millis());
    Expr::cust(match connection.get_database_backend() {
        DbBackend::Postgres => {
            format!("clock_timestamp() + interval '{seconds}.{millis:03} seconds'")
        }
        _ => format!(
            "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '+{seconds}.{millis:03} seconds')"
        ),
    })
}
