//! What leaves for people: lanes, users, decisions and counts, a page at a time. Bodies stay sealed, and
//! nothing is written.

use actors::lane::{Lane, Progress, UserNumber};
use actors::store::{StoreError, StoredUser};
use entities::{
    alert_changes, dead_letters, event_records, lane_commands, lanes, mode_transitions, outbox,
    phi_access_log, users,
};
use neuros::time::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use super::accesses::access;
use super::failure::of_database;
use super::read::{page, user};
use super::{Access, SqlStore, Totals, instant, progress};

/// A lane as its row says.
#[derive(Clone, Debug)]
pub struct LaneRow {
    /// The lane.
    pub lane: Lane,
    /// Who claimed it last; empty before anybody did.
    pub owner: String,
    /// When.
    pub claimed_at: Option<Timestamp>,
    /// How often it has been claimed.
    pub epoch: i64,
    /// How far it has come.
    pub progress: Progress,
}

/// A mode change as the store knows it.
#[derive(Clone)]
pub struct StoredTransition {
    /// Numbers the user's mode changes.
    pub seq: i64,
    /// Numbers the user's outgoing messages.
    pub n: i64,
    /// The record that caused it.
    pub record_number: i64,
    /// The de-duplication key of the message.
    pub message_id: Uuid,
    /// The event's time.
    pub time: Timestamp,
    /// The stamp of its batch.
    pub recorded_at: Timestamp,
    /// The policy.
    pub policy: i32,
    /// The sealed message.
    pub body: Vec<u8>,
}

/// A change of an alert as the store knows it.
#[derive(Clone)]
pub struct StoredAlert {
    /// Numbers the user's outgoing messages.
    pub n: i64,
    /// The record that caused it.
    pub record_number: i64,
    /// Names the episode.
    pub alert_id: Uuid,
    /// The de-duplication key of the message.
    pub message_id: Uuid,
    /// `firing`, `acknowledged`, `resolved` or `expired`.
    pub status: String,
    /// When the episode began (event time).
    pub started_at: Timestamp,
    /// The time of the change (event time).
    pub updated_at: Timestamp,
    /// When it ended (event time).
    pub ended_at: Option<Timestamp>,
    /// The stamp of its batch.
    pub recorded_at: Timestamp,
    /// The sealed message.
    pub body: Vec<u8>,
}

/// Something that was asked about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedAbout {
    /// What.
    pub kind: String,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// What came of it; `None` while it is open.
    pub outcome: Option<String>,
}

impl SqlStore {
    pub(super) async fn answers(&self) -> Result<(), StoreError> {
        let question = Statement::from_string(self.reader.get_database_backend(), "SELECT 1");
        self.reader.query_one_raw(question).await.map_err(|error| of_database(&error))?;
        Ok(())
    }

    pub(super) async fn read_lanes(&self) -> Result<Vec<LaneRow>, StoreError> {
        let rows = lanes::Entity::find().order_by_asc(lanes::Column::Lane).all(&self.reader).await;
        let lane = |row: lanes::Model| {
            Ok(LaneRow {
                lane: Lane(row.lane),
                progress: progress::of_row(&row)?,
                owner: row.owner,
                claimed_at: row.claimed_at.map(instant::from),
                epoch: row.epoch,
            })
        };
        rows.map_err(|error| of_database(&error))?.into_iter().map(lane).collect()
    }

    pub(super) async fn read_users_after(
        &self,
        after: UserNumber,
        limit: i64,
    ) -> Result<Vec<StoredUser>, StoreError> {
        let rows = users::Entity::find()
            .filter(users::Column::UserNumber.gt(after.0))
            .order_by_asc(users::Column::UserNumber)
            .limit(page(limit))
            .all(&self.reader)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(user).collect())
    }

    /// In the order of one of the two numbers that each has.
    pub(super) async fn read_transitions(
        &self,
        user: UserNumber,
        number: mode_transitions::Column,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredTransition>, StoreError> {
        let rows = mode_transitions::Entity::find()
            .filter(mode_transitions::Column::UserNumber.eq(user.0))
            .filter(number.gt(after))
            .order_by_asc(number)
            .limit(page(limit))
            .all(&self.reader)
            .await;
        let transition = |row: mode_transitions::Model| StoredTransition {
            seq: row.seq,
            n: row.n,
            record_number: row.record_number,
            message_id: row.message_id,
            time: instant::from(row.time),
            recorded_at: instant::from(row.recorded_at),
            policy: row.policy,
            body: row.body,
        };
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(transition).collect())
    }

    pub(super) async fn read_alerts(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        let rows = alert_changes::Entity::find()
            .filter(alert_changes::Column::UserNumber.eq(user.0))
            .filter(alert_changes::Column::N.gt(after))
            .order_by_asc(alert_changes::Column::N)
            .limit(page(limit))
            .all(&self.reader)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(alert).collect())
    }

    pub(super) async fn count_all(&self) -> Result<Totals, StoreError> {
        Ok(Totals {
            users: self.count::<users::Entity>().await?,
            records: self.count::<event_records::Entity>().await?,
            transitions: self.count::<mode_transitions::Entity>().await?,
            alerts: self.count::<alert_changes::Entity>().await?,
            dead_letters: self.count::<dead_letters::Entity>().await?,
            outbox: self.count::<outbox::Entity>().await?,
        })
    }

    async fn count<E>(&self) -> Result<u64, StoreError>
    where
        E: EntityTrait,
        E::Model: Send + Sync,
    {
        E::find().count(&self.reader).await.map_err(|error| of_database(&error))
    }

    /// Accesses to a user's data, with their numbers: those behind `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn accesses_of(
        &self,
        user_id: &str,
        after: i64,
        limit: i64,
    ) -> Result<Vec<(i64, Access)>, StoreError> {
        use phi_access_log::Column;
        let rows = phi_access_log::Entity::find()
            .filter(Column::UserId.eq(user_id))
            .filter(Column::Id.gt(after))
            .order_by_asc(Column::Id)
            .limit(page(limit))
            .all(&self.reader)
            .await;
        let rows = rows.map_err(|error| of_database(&error))?.into_iter().map(access);
        Ok(rows.map(|row| (row.id, row.access)).collect())
    }

    /// What was asked about a user, in order.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn commands_about(&self, user_id: &str) -> Result<Vec<AskedAbout>, StoreError> {
        let rows = lane_commands::Entity::find()
            .filter(lane_commands::Column::UserId.eq(user_id))
            .order_by_asc(lane_commands::Column::Id)
            .all(&self.reader)
            .await;
        let asked = |row: lane_commands::Model| AskedAbout {
            kind: row.kind,
            requested_by: row.requested_by,
            requested_at: instant::from(row.requested_at),
            outcome: row.outcome,
        };
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(asked).collect())
    }

    /// How much that was asked about a user waits for the owner of the lane.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn waiting_about(&self, user_id: &str) -> Result<u64, StoreError> {
        let waiting = lane_commands::Entity::find()
            .filter(lane_commands::Column::UserId.eq(user_id))
            .filter(lane_commands::Column::AppliedBatch.is_null())
            .count(&self.reader)
            .await;
        waiting.map_err(|error| of_database(&error))
    }
}

/// A row as people are shown it.
pub(super) fn alert(row: alert_changes::Model) -> StoredAlert {
    StoredAlert {
        n: row.n,
        record_number: row.record_number,
        alert_id: row.alert_id,
        message_id: row.message_id,
        status: row.status,
        started_at: instant::from(row.started_at),
        updated_at: instant::from(row.updated_at),
        ended_at: row.ended_at.map(instant::from),
        recorded_at: instant::from(row.recorded_at),
        body: row.body,
    }
}
