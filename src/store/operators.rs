//! What operators see and ask for: dead letters, users in quarantine, gaps, and commands to the lanes.
//! Nothing here changes what a lane owns; a command is a row that the lane's owner carries out.

use actors::command::{self, Order};
use actors::lane::{Lane, Source};
use actors::seal::{DataKey, Seal};
use actors::store::StoreError;
use entities::{dead_letters, lane_commands, routing, users};
use neuros::time::Timestamp;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
};

use super::failure::of_database;
use super::locks::Locks;
use super::read::{named, page};
use super::{SqlStore, begin, instant, progress, unbroken};

/// Which dead letters; by default all that are on the list.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// Of this lane only.
    pub lane: Option<i32>,
    /// With this reason only.
    pub reason: Option<String>,
    /// Of this user in quarantine only.
    pub user_id: Option<String>,
    /// That failed at or after this time only.
    pub since: Option<Timestamp>,
    /// Those that have left the list too.
    pub with_released: bool,
}

/// A dead letter, without the record itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterEntry {
    /// The lane that read it.
    pub lane: Lane,
    /// Its number in the lane's outbox.
    pub number: i64,
    /// Which of the lane's two topics.
    pub source: Source,
    /// The offset there.
    pub offset: i64,
    /// When it entered the log.
    pub record_time: Option<Timestamp>,
    /// When it failed.
    pub failed_at: Timestamp,
    /// Why, machine-readable.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
    /// Of a user in quarantine: who.
    pub user_id: Option<String>,
    /// When it left the list, and what became of it.
    pub released: Option<(Timestamp, String)>,
}

/// A user in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedUser {
    /// Who.
    pub user_id: String,
    /// Since when.
    pub since: Timestamp,
    /// Records that wait for the release.
    pub waiting: u64,
}

#[derive(FromQueryResult)]
struct LetterColumns {
    lane: i32,
    outbox: i64,
    source: i16,
    log_offset: i64,
    record_time: Option<chrono::DateTime<chrono::Utc>>,
    failed_at: chrono::DateTime<chrono::Utc>,
    reason: String,
    detail: String,
    user_id: Option<String>,
    released_at: Option<chrono::DateTime<chrono::Utc>>,
    fate: Option<String>,
}

impl SqlStore {
    /// Dead letters behind `after` (lane and number), in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn letters_after(
        &self,
        filter: &LetterFilter,
        after: (Lane, i64),
        limit: i64,
    ) -> Result<Vec<LetterEntry>, StoreError> {
        use dead_letters::Column;
        let later = Condition::any()
            .add(Column::Lane.gt(after.0.0))
            .add(Condition::all().add(Column::Lane.eq(after.0.0)).add(Column::Outbox.gt(after.1)));
        let rows = filtered(filter)
            .filter(later)
            .select_only()
            .columns([
                Column::Lane,
                Column::Outbox,
                Column::Source,
                Column::LogOffset,
                Column::RecordTime,
                Column::FailedAt,
                Column::Reason,
                Column::Detail,
                Column::ReleasedAt,
                Column::Fate,
            ])
            .column(users::Column::UserId)
            .order_by_asc(Column::Lane)
            .order_by_asc(Column::Outbox)
            .limit(page(limit))
            .into_model::<LetterColumns>()
            .all(&self.reader)
            .await;
        rows.map_err(|error| of_database(&error))?.into_iter().map(entry).collect()
    }

    /// Users in quarantine, by id.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn quarantined_users(&self) -> Result<Vec<QuarantinedUser>, StoreError> {
        let rows = users::Entity::find()
            .filter(users::Column::QuarantinedAt.is_not_null())
            .order_by_asc(users::Column::UserId)
            .all(&self.reader)
            .await;
        let mut found = Vec::new();
        for row in rows.map_err(|error| of_database(&error))? {
            let waiting = dead_letters::Entity::find()
                .filter(dead_letters::Column::UserNumber.eq(row.user_number))
                .filter(dead_letters::Column::ReleasedAt.is_null())
                .count(&self.reader)
                .await
                .map_err(|error| of_database(&error))?;
            let since = row.quarantined_at.unwrap_or(row.created_at);
            found.push(QuarantinedUser {
                user_id: row.user_id,
                since: instant::from(since),
                waiting,
            });
        }
        Ok(found)
    }

    /// How many of the dead letters that an order is about are still on the list.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn on_the_list(&self, order: &Order) -> Result<u64, StoreError> {
        use dead_letters::Column;
        let open = dead_letters::Entity::find().filter(Column::ReleasedAt.is_null());
        let open = match order {
            Order::Rebuild { .. }
            | Order::Rekey { .. }
            | Order::Erase { .. }
            | Order::Readmit { .. }
            | Order::Alert { .. }
            | Order::Tick { .. } => return Ok(0),
            Order::Release { user_id } => {
                let user = users::Entity::find().filter(users::Column::UserId.eq(user_id));
                let user = user.one(&self.reader).await.map_err(|error| of_database(&error))?;
                let Some(user) = user else { return Ok(0) };
                open.filter(Column::UserNumber.eq(user.user_number))
            }
            Order::Redrive(letters) | Order::Discard(letters) => {
                open.filter(named(letters.names.iter()))
            }
        };
        open.count(&self.reader).await.map_err(|error| of_database(&error))
    }

    /// Asks the lane's owner for something; gives the command's number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Outdated`] when `generation`, under which the lane was chosen, is over; else when the
    /// store is away.
    pub async fn ask(
        &self,
        (lane, generation): (Lane, i32),
        order: &Order,
        (seal, service_key): (&dyn Seal, &DataKey),
        requested_by: &str,
        requested_at: Timestamp,
    ) -> Result<i64, StoreError> {
        let place = command::place(lane, requested_at);
        let body = order.to_bytes().map(|body| seal.seal(service_key, place, &body).0);
        let row = lane_commands::ActiveModel {
            id: NotSet,
            lane: Set(lane.0),
            kind: Set(order.kind().to_owned()),
            user_id: Set(order.user_id().map(str::to_owned)),
            body: Set(body),
            requested_by: Set(requested_by.to_owned()),
            requested_at: Set(instant::of(requested_at)),
            applied_batch: Set(None),
            record_number: Set(None),
            outcome: Set(None),
        };
        let (writer, postgres) = (self.writer.clone(), self.postgres.clone());
        unbroken(async move {
            let transaction = begin(&writer).await?;
            let locks = Locks::of(&transaction, postgres.as_deref()).await?;
            // Shared, as a claim has it: while users find new homes nobody is asked for anything.
            let stored = async {
                let stored = routing::Entity::find().lock_shared().one(&transaction).await;
                stored.map_err(|error| of_database(&error))
            };
            let stored = locks.behind_what_is_in_flight(stored).await?;
            if stored.is_none_or(|stored| stored.generation != generation) {
                return Err(StoreError::Outdated(
                    "users have found new homes meanwhile: ask again".to_owned(),
                ));
            }
            let made = lane_commands::Entity::insert(row).exec(&transaction).await;
            let id = made.map_err(|error| of_database(&error))?.last_insert_id;
            transaction.commit().await.map_err(|error| of_database(&error))?;
            Ok(id)
        })
        .await
    }

    /// What came of a command; `None` while it is open.
    ///
    /// # Errors
    ///
    /// When the store is away, or has no such command.
    pub async fn outcome(&self, id: i64) -> Result<Option<String>, StoreError> {
        let row = lane_commands::Entity::find_by_id(id).one(&self.reader).await;
        let row = row.map_err(|error| of_database(&error))?;
        let row = row.ok_or_else(|| StoreError::Refused(format!("there is no command {id}")))?;
        Ok(row.applied_batch.map(|_| row.outcome.unwrap_or_default()))
    }
}

fn filtered(filter: &LetterFilter) -> Select<dead_letters::Entity> {
    use dead_letters::Column;
    let of_user = Expr::col((dead_letters::Entity, Column::UserNumber))
        .equals((users::Entity, users::Column::UserNumber));
    let mut all = Condition::all();
    if let Some(lane) = filter.lane {
        all = all.add(Column::Lane.eq(lane));
    }
    if let Some(reason) = &filter.reason {
        all = all.add(Column::Reason.eq(reason.as_str()));
    }
    if let Some(user_id) = &filter.user_id {
        all = all.add(users::Column::UserId.eq(user_id.as_str()));
    }
    if let Some(since) = filter.since {
        all = all.add(Column::FailedAt.gte(instant::of(since)));
    }
    if !filter.with_released {
        all = all.add(Column::ReleasedAt.is_null());
    }
    let mut query = dead_letters::Entity::find().filter(all);
    QuerySelect::query(&mut query).left_join(users::Entity, of_user);
    query
}

fn entry(row: LetterColumns) -> Result<LetterEntry, StoreError> {
    Ok(LetterEntry {
        lane: Lane(row.lane),
        number: row.outbox,
        source: progress::source(row.source)?,
        offset: row.log_offset,
        record_time: row.record_time.map(instant::from),
        failed_at: instant::from(row.failed_at),
        reason: row.reason,
        detail: row.detail,
        user_id: row.user_id,
        released: row.released_at.map(|at| (instant::from(at), row.fate.unwrap_or_default())),
    })
}
