//! What the lanes read: routing, records, users, bases, policies. Never writes, but for a policy that is
//! new.

use actors::lane::{FenceToken, Lane, Provenance, Routing, UserNumber};
use actors::rows::RecordPlace;
use actors::store::{Asked, Start, StoreError, StoredBase, StoredRecord, StoredUser, Tenure};
use chrono::{DateTime, Utc};
use entities::{base_checkpoints, event_records, lanes, policies, routing, users};
use neuros::time::Timestamp;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use super::failure::of_database;
use super::{SqlStore, instant, lease, postgres, progress};

mod chain;
mod commands;
mod leaving;
mod looks;
mod marks;
mod outbox;

pub(super) use commands::named;
pub use leaving::{LeavingMessage, LeavingRow};
pub use marks::UserMark;
pub(super) use outbox::{cursor, outbox_after};

/// SQLite takes at most 32,766 parameters.
const IDS_MAX: usize = 30_000;

/// The columns of a [`StoredRecord`].
pub(super) type RecordColumns = (DateTime<Utc>, i32, i32, i64, i64, i16, i64, i32, i16, Vec<u8>);

/// Their names.
const RECORD_COLUMNS: [event_records::Column; 10] = {
    use event_records::Column;
    [
        Column::Time,
        Column::Lane,
        Column::Position,
        Column::UserNumber,
        Column::Number,
        Column::Source,
        Column::LogOffset,
        Column::Policy,
        Column::Engine,
        Column::Body,
    ]
};

impl SqlStore {
    pub(super) async fn read_routing(&self) -> Result<Option<Routing>, StoreError> {
        let row = routing::Entity::find().one(&self.reader).await;
        Ok(row.map_err(|error| of_database(&error))?.map(routing_of))
    }

    pub(super) async fn read_tenure(
        &self,
        lane: Lane,
        token: FenceToken,
    ) -> Result<Option<Tenure>, StoreError> {
        let found = lanes::Entity::find()
            .select_only()
            .column_as(lease::events_stop(&self.reader), "events_stop")
            .filter(lanes::Column::Lane.eq(lane.0))
            .filter(lanes::Column::FenceToken.eq(token.0))
            .into_tuple::<Option<i64>>()
            .one(&self.reader)
            .await;
        let found = found.map_err(|error| of_database(&error))?;
        Ok(found.map(|events_stop| Tenure { events_stop }))
    }

    pub(super) async fn read_last_forwarded(
        &self,
        origin: Lane,
        home: Lane,
    ) -> Result<i64, StoreError> {
        let row = lanes::Entity::find_by_id(origin.0).one(&self.reader).await;
        let Some(row) = row.map_err(|error| of_database(&error))? else { return Ok(-1) };
        Ok(progress::of_row(&row)?.forwarded.get(&home.0).copied().unwrap_or(-1))
    }

    pub(super) async fn read_records_of_lane(
        &self,
        lane: Lane,
        after: (Timestamp, i32),
        upto: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        use event_records::Column;
        let (time, position) = (instant::of(after.0), after.1);
        // Said twice: the first part is what an index, and the choice of chunks, can use.
        let later = Condition::any().add(Column::Time.gt(time)).add(Column::Position.gt(position));
        let query = event_records::Entity::find()
            .filter(Column::Lane.eq(lane.0))
            .filter(Column::Time.between(time, instant::of(upto)))
            .filter(later)
            .order_by_asc(Column::Time)
            .order_by_asc(Column::Position)
            .limit(page(limit));
        self.records(query).await
    }

    async fn records(
        &self,
        query: Select<event_records::Entity>,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let rows = query.select_only().columns(RECORD_COLUMNS).into_tuple::<RecordColumns>();
        let rows = rows.all(&self.reader).await;
        rows.map_err(|error| of_database(&error))?.into_iter().map(record).collect()
    }

    pub(super) async fn read_users(&self, asked: Asked<'_>) -> Result<Vec<StoredUser>, StoreError> {
        if let Some(pool) = self.pool() {
            return postgres::users::find(pool, asked).await;
        }
        let mut found = Vec::new();
        let questions: Vec<Condition> = match asked {
            Asked::Ids(ids) => {
                let question = |ids: &[&str]| users::Column::UserId.is_in(ids.iter().copied());
                ids.chunks(IDS_MAX).map(|ids| Condition::all().add(question(ids))).collect()
            }
            Asked::Numbers(numbers) => {
                let question = |numbers: &[UserNumber]| {
                    users::Column::UserNumber.is_in(numbers.iter().map(|user| user.0))
                };
                let questions = numbers.chunks(IDS_MAX).map(question);
                questions.map(|question| Condition::all().add(question)).collect()
            }
        };
        for question in questions {
            let rows = users::Entity::find().filter(question).all(&self.reader).await;
            found.extend(rows.map_err(|error| of_database(&error))?.into_iter().map(user));
        }
        Ok(found)
    }

    pub(super) async fn read_bases(
        &self,
        user: UserNumber,
        upto: i64,
    ) -> Result<Vec<StoredBase>, StoreError> {
        // One that does not open is passed over for the one before it; more than a few, and all may be spoilt.
        const FEW: u64 = 8;
        let rows = base_checkpoints::Entity::find()
            .filter(base_checkpoints::Column::UserNumber.eq(user.0))
            .filter(base_checkpoints::Column::RecordNumber.lte(upto))
            .order_by_desc(base_checkpoints::Column::RecordNumber)
            .limit(FEW)
            .all(&self.reader)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(base).collect())
    }

    pub(super) async fn read_quarantined(&self) -> Result<Vec<String>, StoreError> {
        self.user_ids_with(users::Column::QuarantinedAt).await
    }

    pub(super) async fn read_erased(&self) -> Result<Vec<String>, StoreError> {
        self.user_ids_with(users::Column::ErasedAt).await
    }

    async fn user_ids_with(&self, column: users::Column) -> Result<Vec<String>, StoreError> {
        let ids = users::Entity::find()
            .filter(column.is_not_null())
            .select_only()
            .column(users::Column::UserId)
            .order_by_asc(users::Column::UserId)
            .into_tuple()
            .all(&self.reader)
            .await;
        ids.map_err(|error| of_database(&error))
    }

    pub(super) async fn write_policy(&self, version: &str, text: &str) -> Result<i32, StoreError> {
        if let Some(known) = self.number_of_policy(version, text).await? {
            return Ok(known);
        }
        let row = policies::ActiveModel {
            policy: NotSet,
            version: Set(version.to_owned()),
            text: Set(text.to_owned()),
            first_used_at: NotSet,
        };
        policies::Entity::insert(row)
            .on_conflict(OnConflict::column(policies::Column::Version).do_nothing().to_owned())
            .exec_without_returning(&self.writer)
            .await
            .map_err(|error| of_database(&error))?;
        let kept = self.number_of_policy(version, text).await?;
        kept.ok_or_else(|| StoreError::Away("a policy that was kept is not there yet".to_owned()))
    }

    async fn number_of_policy(&self, version: &str, text: &str) -> Result<Option<i32>, StoreError> {
        let kept = policies::Entity::find().filter(policies::Column::Version.eq(version));
        let kept = kept.one(&self.writer).await.map_err(|error| of_database(&error))?;
        let Some(kept) = kept else { return Ok(None) };
        if kept.text != text {
            // Records name the version that decided them: two texts under one name could not be told
            // apart, and replay would not come out the same.
            return Err(StoreError::Refused(format!(
                "policy {version:?} is kept already, with another content; give this one another \
                 `version`, or none"
            )));
        }
        Ok(Some(kept.policy))
    }

    pub(super) async fn read_policy(&self, number: i32) -> Result<(String, String), StoreError> {
        let row = policies::Entity::find_by_id(number).one(&self.reader).await;
        let row = row.map_err(|error| of_database(&error))?;
        let row = row.map(|row| (row.version, row.text));
        row.ok_or_else(|| StoreError::Refused(format!("there is no policy number {number}")))
    }
}

/// A limit as the databases take it.
pub(super) fn page(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(0)
}

/// The routing as its row says.
pub(super) fn routing_of(row: routing::Model) -> Routing {
    Routing {
        generation: row.generation,
        partition_count: row.partition_count,
        version: row.routing_version,
        bytes_max: row.bytes_max,
        log_id: row.log_id,
        expanding: row.expanding,
    }
}

/// A user as the row says.
pub(super) fn user(row: users::Model) -> StoredUser {
    StoredUser {
        user: UserNumber(row.user_number),
        user_id: row.user_id,
        record_number: row.record_number,
        newest: place(row.newest_time, row.newest_lane, row.newest_position),
        message_number: row.message_number,
        checkpoint: row.checkpoint,
        quarantined: row.quarantined_at.is_some(),
        erased: row.erased_at.is_some(),
        start: Start {
            record_number: row.start_record_number,
            message_number: row.start_message_number,
            seq: row.start_seq,
        },
        start_key_number: u32::try_from(row.start_key_number).unwrap_or_default(),
    }
}

/// A base as its row says.
pub(super) fn base(row: base_checkpoints::Model) -> StoredBase {
    StoredBase {
        record_number: row.record_number,
        message_number: row.message_number,
        engine: row.engine,
        newest: place(Some(row.created_at), row.newest_lane, row.newest_position),
        body: row.body,
    }
}

/// A place as three columns say, which are all there or none.
pub(super) fn place(
    time: Option<DateTime<Utc>>,
    lane: Option<i32>,
    position: Option<i32>,
) -> Option<RecordPlace> {
    Some(RecordPlace { stamp: instant::from(time?), lane: Lane(lane?), position: position? })
}

/// A record as its columns say.
pub(super) fn record(columns: RecordColumns) -> Result<StoredRecord, StoreError> {
    let (time, lane, position, user, number, source, offset, policy, engine, body) = columns;
    Ok(StoredRecord {
        place: RecordPlace { stamp: instant::from(time), lane: Lane(lane), position },
        user: UserNumber(user),
        number,
        provenance: Provenance::of_numbers(source, offset).ok_or_else(|| {
            StoreError::Refused(format!("a stored record has source {source}, which is unknown"))
        })?,
        policy,
        engine,
        body,
    })
}
