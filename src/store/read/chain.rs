//! One user's records: from the newest of the checkpoint each leads to the one before it; what is newer than
//! that is at the end of the home lane. Never by an index on users, which would cost every record.

use std::collections::BTreeMap;

use actors::home::home;
use actors::lane::{Lane, UserNumber};
use actors::rows::RecordPlace;
use actors::store::{StoreError, StoredRecord};
use chrono::{DateTime, Utc};
use entities::{event_records, lanes, routing, users};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryResult, QuerySelect, Statement,
};

use super::place;
use crate::store::failure::of_database;
use crate::store::{SqlStore, instant, postgres};

/// Back from record to record, down to a number. The user's number is asked for although the places say it:
/// compressed records are found by it.
const BACK: &str = "
    WITH RECURSIVE chain AS (
        SELECT r.time, r.lane, r.position, r.number, r.previous_time, r.previous_lane,
            r.previous_position
        FROM users u
        JOIN event_records r ON r.time = u.newest_time AND r.lane = u.newest_lane
            AND r.position = u.newest_position AND r.user_number = u.user_number
            AND r.number = u.record_number
        WHERE u.user_number = $1 AND r.number > $2
        UNION ALL
        SELECT r.time, r.lane, r.position, r.number, r.previous_time, r.previous_lane,
            r.previous_position
        FROM chain c
        JOIN event_records r ON r.time = c.previous_time AND r.lane = c.previous_lane
            AND r.position = c.previous_position AND r.user_number = $1
            AND r.number = c.number - 1
        WHERE r.number > $2)
    SELECT time, lane, position, number FROM chain";

impl SqlStore {
    pub(in crate::store) async fn read_places_of_user(
        &self,
        user: UserNumber,
        after: i64,
    ) -> Result<Vec<RecordPlace>, StoreError> {
        // In this order: what is not behind the checkpoint any more is in it when it is read.
        let Some((lane, checkpointed)) = self.home_of(user).await? else { return Ok(Vec::new()) };
        let values = [user.0.into(), after.into()];
        let back = Statement::from_sql_and_values(self.reader.get_database_backend(), BACK, values);
        let rows = self.reader.query_all_raw(back).await.map_err(|error| of_database(&error))?;
        let found = rows.iter().map(numbered).collect::<Result<Vec<_>, _>>();
        let mut places: BTreeMap<i64, RecordPlace> =
            found.map_err(|error| of_database(&error))?.into_iter().collect();
        use event_records::Column;
        let newer: Vec<(DateTime<Utc>, i32, i32, i64)> = event_records::Entity::find()
            .select_only()
            .columns([Column::Time, Column::Lane, Column::Position, Column::Number])
            .filter(Column::Lane.eq(lane.0))
            .filter(Column::Time.gt(checkpointed))
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::Number.gt(after))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        for (time, lane, position, number) in newer {
            places.extend(place(Some(time), Some(lane), Some(position)).map(|at| (number, at)));
        }
        Ok(places.into_values().collect())
    }

    /// A user's home, and up to when all its checkpoints are written.
    async fn home_of(&self, user: UserNumber) -> Result<Option<(Lane, DateTime<Utc>)>, StoreError> {
        let id = users::Entity::find_by_id(user.0)
            .select_only()
            .column(users::Column::UserId)
            .into_tuple::<String>()
            .one(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let routing = routing::Entity::find().one(&self.reader).await;
        let routing = routing.map_err(|error| of_database(&error))?;
        let Some((id, routing)) = id.zip(routing) else { return Ok(None) };
        let lane = home(&id, routing.partition_count);
        let checkpointed = lanes::Entity::find_by_id(lane.0)
            .select_only()
            .column(lanes::Column::Checkpointed)
            .into_tuple::<DateTime<Utc>>()
            .one(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        Ok(checkpointed.map(|checkpointed| (lane, checkpointed)))
    }

    pub(in crate::store) async fn read_records_at(
        &self,
        user: UserNumber,
        places: &[RecordPlace],
    ) -> Result<Vec<StoredRecord>, StoreError> {
        if let Some(pool) = self.pool() {
            return postgres::records::at(pool, user, places).await;
        }
        let mut records = Vec::with_capacity(places.len());
        for place in places {
            let key = (instant::of(place.stamp), place.lane.0, place.position);
            let query = event_records::Entity::find_by_id(key)
                .filter(event_records::Column::UserNumber.eq(user.0));
            records.extend(self.records(query).await?);
        }
        records.sort_unstable_by_key(|record| record.number);
        Ok(records)
    }
}

fn numbered(row: &QueryResult) -> Result<(i64, RecordPlace), sea_orm::DbErr> {
    let stamp = instant::from(row.try_get_by_index::<DateTime<Utc>>(0)?);
    let place = RecordPlace {
        stamp,
        lane: Lane(row.try_get_by_index(1)?),
        position: row.try_get_by_index(2)?,
    };
    Ok((row.try_get_by_index(3)?, place))
}
