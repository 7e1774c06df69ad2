//! One user's records: from the newest of the checkpoint each leads to the one before it; what is newer than
//! that is at the end of the home lane. Never by an index on users, which would cost every record.

use actors::capacity::RECORDS_PAGE;
use actors::home::home;
use actors::lane::UserNumber;
use actors::rows::RecordPlace;
use actors::store::{Begin, NumberedPlace, StoreError, StoredRecord};
use chrono::{DateTime, Utc};
use entities::base_checkpoints::Column;
use entities::{base_checkpoints, event_records, lanes, routing, users};
use neuros::time::Timestamp;
use sea_orm::sea_query::SimpleExpr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
};

use super::place;
use crate::store::failure::of_database;
use crate::store::{SqlStore, instant, postgres};

/// Back from a record to those before it, down to a number. The user's number is asked for although the places
/// say it: compressed records are found by it.
const BACK: &str = "
    WITH RECURSIVE chain AS (
        SELECT r.time, r.lane, r.position, r.number, r.previous_time, r.previous_lane,
            r.previous_position
        FROM event_records r
        WHERE r.time = $3 AND r.lane = $4 AND r.position = $5 AND r.user_number = $1
            AND r.number = $6 AND r.number > $2
        UNION ALL
        SELECT r.time, r.lane, r.position, r.number, r.previous_time, r.previous_lane,
            r.previous_position
        FROM chain c
        JOIN event_records r ON r.time = c.previous_time AND r.lane = c.previous_lane
            AND r.position = c.previous_position AND r.user_number = $1
            AND r.number = c.number - 1
        WHERE r.number > $2)
    SELECT time, lane, position, number FROM chain WHERE number <= $7 ORDER BY number DESC";

/// A record's key and number.
type PlaceColumns = (DateTime<Utc>, i32, i32, i64);

impl SqlStore {
    pub(in crate::store) async fn read_places_back(
        &self,
        user: UserNumber,
        begin: Begin,
        after: i64,
    ) -> Result<Vec<NumberedPlace>, StoreError> {
        let (first, upto) = match begin {
            Begin::At(first) => (Some(first), first.number),
            Begin::Newest { upto } => (self.nearest_behind(user, upto).await?, upto),
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        // Down to a number and not to a count: so the database never goes further than it is asked to.
        let upto = upto.min(first.number);
        let above = after.max(upto.saturating_sub(PAGE));
        let RecordPlace { stamp, lane, position } = first.place;
        let values = [
            user.0.into(),
            above.into(),
            instant::of(stamp).into(),
            lane.0.into(),
            position.into(),
            first.number.into(),
            upto.into(),
        ];
        let back = Statement::from_sql_and_values(self.reader.get_database_backend(), BACK, values);
        let rows = self.reader.query_all_raw(back).await.map_err(|error| of_database(&error))?;
        let columns = |row: &sea_orm::QueryResult| -> Result<PlaceColumns, sea_orm::DbErr> {
            let key = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            Ok((key.0, key.1, row.try_get_by_index(2)?, row.try_get_by_index(3)?))
        };
        let found = rows.iter().map(|row| columns(row).map(numbered)).collect::<Result<_, _>>();
        found.map_err(|error| of_database(&error))
    }

    /// The record at or behind that number from which the way back to it begins: the newest of the first base from there
    /// on, or of all.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn nearest_behind(
        &self,
        user: UserNumber,
        number: i64,
    ) -> Result<Option<NumberedPlace>, StoreError> {
        let is_behind = Column::RecordNumber.gte(number);
        match self.first_base(user, is_behind).await? {
            Some(based) => Ok(Some(based)),
            None => self.newest_of(user).await,
        }
    }

    /// The newest record of a user's first base that was stored after a time.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn based_after(
        &self,
        user: UserNumber,
        time: Timestamp,
    ) -> Result<Option<NumberedPlace>, StoreError> {
        self.first_base(user, Column::CreatedAt.gt(instant::of(time))).await
    }

    /// The number of a user's first base behind a record.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn first_base_behind(
        &self,
        user: UserNumber,
        after: i64,
    ) -> Result<Option<i64>, StoreError> {
        let found = base_checkpoints::Entity::find()
            .select_only()
            .column(Column::RecordNumber)
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::RecordNumber.gt(after))
            .order_by_asc(Column::RecordNumber)
            .into_tuple()
            .one(&self.reader)
            .await;
        found.map_err(|error| of_database(&error))
    }

    /// The newest record of the first base of a user that is so, and says where it lies.
    async fn first_base(
        &self,
        user: UserNumber,
        is_so: SimpleExpr,
    ) -> Result<Option<NumberedPlace>, StoreError> {
        let found = base_checkpoints::Entity::find()
            .select_only()
            .columns([Column::CreatedAt, Column::NewestLane])
            .columns([Column::NewestPosition, Column::RecordNumber])
            .filter(Column::UserNumber.eq(user.0))
            .filter(is_so)
            .filter(Column::NewestLane.is_not_null())
            .filter(Column::NewestPosition.is_not_null())
            .order_by_asc(Column::RecordNumber)
            .into_tuple::<PlaceColumns>()
            .one(&self.reader)
            .await;
        Ok(found.map_err(|error| of_database(&error))?.map(numbered))
    }

    /// The newest of a user's records: in front of the home lane's checkpoints, or else in the user's own.
    async fn newest_of(&self, user: UserNumber) -> Result<Option<NumberedPlace>, StoreError> {
        // In this order: what is not behind the checkpoint any more is in it when it is read.
        if let Some(row) = self.home_of(user).await?
            && let Some(newest) = self.newest_in_front(user, &row).await?
        {
            return Ok(Some(newest));
        }
        let row = users::Entity::find_by_id(user.0).one(&self.reader).await;
        let Some(row) = row.map_err(|error| of_database(&error))? else { return Ok(None) };
        let place = place(row.newest_time, row.newest_lane, row.newest_position);
        Ok(place.map(|place| NumberedPlace { number: row.record_number, place }))
    }

    /// Both ends of the range are said: whatever other lanes have written since this one stood still lies in
    /// the same index.
    async fn newest_in_front(
        &self,
        user: UserNumber,
        row: &lanes::Model,
    ) -> Result<Option<NumberedPlace>, StoreError> {
        use event_records::Column;
        let newest = event_records::Entity::find()
            .select_only()
            .columns([Column::Time, Column::Lane, Column::Position, Column::Number])
            .filter(Column::Lane.eq(row.lane))
            .filter(Column::Time.gt(row.checkpointed))
            .filter(Column::Time.lte(row.stamp))
            .filter(Column::UserNumber.eq(user.0))
            .order_by_desc(Column::Time)
            .order_by_desc(Column::Position)
            .into_tuple::<PlaceColumns>()
            .one(&self.reader)
            .await;
        Ok(newest.map_err(|error| of_database(&error))?.map(numbered))
    }

    /// The row of a user's home lane.
    async fn home_of(&self, user: UserNumber) -> Result<Option<lanes::Model>, StoreError> {
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
        let row = lanes::Entity::find_by_id(lane.0).one(&self.reader).await;
        row.map_err(|error| of_database(&error))
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

/// As many as are read at once, as a difference of numbers.
const PAGE: i64 = RECORDS_PAGE.cast_signed() as i64;

fn numbered((time, lane, position, number): PlaceColumns) -> NumberedPlace {
    let (stamp, lane) = (instant::from(time), actors::lane::Lane(lane));
    NumberedPlace { number, place: RecordPlace { stamp, lane, position } }
}
