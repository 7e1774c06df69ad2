//! Records by where they lie, in one question whatever their number.

use actors::lane::UserNumber;
use actors::rows::RecordPlace;
use actors::store::{StoreError, StoredRecord};
use sqlx::postgres::PgPool;

use crate::store::failure::of_driver;
use crate::store::instant;
use crate::store::read::{RecordColumns, record};

const AT: &str = "
    SELECT r.time, r.lane, r.position, r.user_number, r.number, r.source, r.log_offset, r.policy,
        r.engine, r.body
    FROM unnest($1::timestamptz[], $2::int[], $3::int[]) AS at(time, lane, position)
    JOIN event_records r ON r.time = at.time AND r.lane = at.lane AND r.position = at.position
        AND r.user_number = $4
    ORDER BY r.number";

/// The records of a user that lie there.
pub(in crate::store) async fn at(
    pool: &PgPool,
    user: UserNumber,
    places: &[RecordPlace],
) -> Result<Vec<StoredRecord>, StoreError> {
    let rows = sqlx::query_as::<_, RecordColumns>(AT)
        .bind(places.iter().map(|place| instant::of(place.stamp)).collect::<Vec<_>>())
        .bind(places.iter().map(|place| place.lane.0).collect::<Vec<_>>())
        .bind(places.iter().map(|place| place.position).collect::<Vec<_>>())
        .bind(user.0)
        .fetch_all(pool)
        .await;
    rows.map_err(|error| of_driver(&error))?.into_iter().map(record).collect()
}
