//! Whether what is stored of users is another than before, without reading it.

use actors::store::StoreError;
use chrono::{DateTime, Utc};
use entities::users::{Column, Entity};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::store::SqlStore;
use crate::store::failure::of_database;

/// What tells one state of a user's row from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMark {
    /// The user's id.
    pub user_id: String,
    /// Nothing of the user is evaluated.
    pub quarantined: bool,
    /// The newest record in the checkpoint.
    record_number: i64,
    /// When that was written.
    checkpointed_at: DateTime<Utc>,
}

impl UserMark {
    /// Whether both are of a row with the same checkpoint.
    pub fn is_of_same_state(&self, other: &Self) -> bool {
        (self.record_number, self.checkpointed_at) == (other.record_number, other.checkpointed_at)
    }
}

impl SqlStore {
    /// The marks of those of these users who are known and were not erased; at most some thousands are asked for.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn marks(&self, user_ids: &[&str]) -> Result<Vec<UserMark>, StoreError> {
        type Columns = (String, i64, DateTime<Utc>, Option<DateTime<Utc>>);
        let rows = Entity::find()
            .filter(Column::UserId.is_in(user_ids.iter().copied()))
            .filter(Column::ErasedAt.is_null())
            .select_only()
            .columns([Column::UserId, Column::RecordNumber, Column::CheckpointedAt])
            .column(Column::QuarantinedAt)
            .into_tuple::<Columns>()
            .all(&self.reader)
            .await;
        let rows = rows.map_err(|error| of_database(&error))?;
        let mark = |(user_id, record_number, checkpointed_at, quarantined_at): Columns| UserMark {
            user_id,
            quarantined: quarantined_at.is_some(),
            record_number,
            checkpointed_at,
        };
        Ok(rows.into_iter().map(mark).collect())
    }
}
