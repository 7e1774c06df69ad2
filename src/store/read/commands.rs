//! What operators have asked of a lane, and the dead letters that they ask about. Never writes.

use actors::lane::Lane;
use actors::store::{AskedLetters, StoreError, StoredCommand, StoredLetter};
use entities::{dead_letters, lane_commands};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::page;
use crate::store::failure::of_database;
use crate::store::{SqlStore, instant, progress};

impl SqlStore {
    pub(in crate::store) async fn read_commands(
        &self,
        lane: Lane,
        limit: i64,
    ) -> Result<Vec<StoredCommand>, StoreError> {
        let rows = lane_commands::Entity::find()
            .filter(lane_commands::Column::Lane.eq(lane.0))
            .filter(lane_commands::Column::AppliedBatch.is_null())
            .order_by_asc(lane_commands::Column::Id)
            .limit(page(limit))
            .all(&self.reader)
            .await;
        let rows = rows.map_err(|error| of_database(&error))?;
        let command = |row: lane_commands::Model| StoredCommand {
            id: row.id,
            kind: row.kind,
            user_id: row.user_id,
            requested_at: instant::from(row.requested_at),
            body: row.body,
        };
        Ok(rows.into_iter().map(command).collect())
    }

    pub(in crate::store) async fn read_letters(
        &self,
        lane: Lane,
        asked: AskedLetters<'_>,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        use dead_letters::Column;
        let open = dead_letters::Entity::find()
            .filter(Column::Lane.eq(lane.0))
            .filter(Column::ReleasedAt.is_null())
            .order_by_asc(Column::Outbox);
        let query = match asked {
            AskedLetters::OfUser(user, limit) => {
                let limit = u64::try_from(limit).unwrap_or(u64::MAX);
                open.filter(Column::UserNumber.eq(user.0)).limit(limit)
            }
            AskedLetters::Numbered(numbers) => {
                open.filter(Column::Outbox.is_in(numbers.iter().copied()))
            }
        };
        let rows = query.all(&self.reader).await.map_err(|error| of_database(&error))?;
        rows.into_iter().map(letter).collect()
    }
}

/// A row as the lanes know it.
pub(in crate::store) fn letter(row: dead_letters::Model) -> Result<StoredLetter, StoreError> {
    Ok(StoredLetter {
        outbox: row.outbox,
        source: progress::source(row.source)?,
        offset: row.log_offset,
        record_time: row.record_time.map(instant::from),
        reason: row.reason,
        body: row.body,
    })
}
