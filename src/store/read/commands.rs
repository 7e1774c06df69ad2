//! What operators have asked of a lane, and the dead letters that they ask about. Never writes.

use std::collections::BTreeMap;

use actors::dead_letter::Letter;
use actors::lane::Lane;
use actors::store::{AskedLetters, StoreError, StoredCommand, StoredLetter};
use entities::{dead_letters, lane_commands};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

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
        asked: AskedLetters<'_>,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        use dead_letters::Column;
        let open = dead_letters::Entity::find().filter(Column::ReleasedAt.is_null());
        let query = match asked {
            // A lane's stamps order its letters; a user has one home at a time.
            AskedLetters::OfUser(user, limit) => open
                .filter(Column::UserNumber.eq(user.0))
                .order_by_asc(Column::FailedAt)
                .order_by_asc(Column::Lane)
                .order_by_asc(Column::Outbox)
                .limit(u64::try_from(limit).unwrap_or(u64::MAX)),
            AskedLetters::Named(names) => open.filter(named(names)),
        };
        let rows = query.all(&self.reader).await.map_err(|error| of_database(&error))?;
        let mut letters = rows.into_iter().map(letter).collect::<Result<Vec<_>, _>>()?;
        if let AskedLetters::Named(names) = asked {
            let places: BTreeMap<&Letter, usize> = names.iter().zip(0..).collect();
            letters.sort_unstable_by_key(|stored| places.get(&stored.letter).copied());
        }
        Ok(letters)
    }
}

/// The letters of these names.
pub(in crate::store) fn named<'l>(names: impl IntoIterator<Item = &'l Letter>) -> Condition {
    use dead_letters::Column;
    let mut lanes = BTreeMap::<i32, Vec<i64>>::new();
    for name in names {
        lanes.entry(name.lane.0).or_default().push(name.number);
    }
    let of_lane = |(lane, numbers): (i32, Vec<i64>)| {
        let lane = Condition::all().add(Column::Lane.eq(lane));
        lane.add(Column::Outbox.is_in(numbers))
    };
    lanes.into_iter().map(of_lane).fold(Condition::any(), Condition::add)
}

/// A row as the lanes know it.
pub(in crate::store) fn letter(row: dead_letters::Model) -> Result<StoredLetter, StoreError> {
    Ok(StoredLetter {
        letter: Letter { lane: Lane(row.lane), number: row.outbox },
        source: progress::source(row.source)?,
        offset: row.log_offset,
        record_time: row.record_time.map(instant::from),
        failed_at: instant::from(row.failed_at),
        reason: row.reason,
        body: row.body,
    })
}
