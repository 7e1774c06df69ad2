//! Users by the thousand, in one question whatever their number. Never asks for one user at a time.

use actors::lane::UserNumber;
use actors::store::{Asked, Start, StoreError, StoredUser};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};

use crate::store::failure::of_driver;
use crate::store::read::place;

const BY_ID: &str = "
    SELECT user_number, user_id, record_number, message_number, checkpoint,
           quarantined_at IS NOT NULL, newest_time, newest_lane, newest_position,
           erased_at IS NOT NULL, start_record_number, start_message_number, start_seq,
           start_key_number
    FROM users WHERE user_id = ANY ($1)";

const BY_NUMBER: &str = "
    SELECT user_number, user_id, record_number, message_number, checkpoint,
           quarantined_at IS NOT NULL, newest_time, newest_lane, newest_position,
           erased_at IS NOT NULL, start_record_number, start_message_number, start_seq,
           start_key_number
    FROM users WHERE user_number = ANY ($1)";

/// The users that are known, of those asked for.
pub(in crate::store) async fn find(
    pool: &PgPool,
    asked: Asked<'_>,
) -> Result<Vec<StoredUser>, StoreError> {
    let query = match asked {
        Asked::Ids(ids) => sqlx::query(BY_ID).bind(ids.to_vec()),
        Asked::Numbers(numbers) => {
            let numbers: Vec<i64> = numbers.iter().map(|user| user.0).collect();
            sqlx::query(BY_NUMBER).bind(numbers)
        }
    };
    let rows = query.fetch_all(pool).await.map_err(|error| of_driver(&error))?;
    rows.iter().map(user).collect::<Result<_, _>>().map_err(|error| of_driver(&error))
}

fn user(row: &PgRow) -> Result<StoredUser, sqlx::Error> {
    Ok(StoredUser {
        user: UserNumber(row.try_get(0)?),
        user_id: row.try_get(1)?,
        record_number: row.try_get(2)?,
        message_number: row.try_get(3)?,
        checkpoint: row.try_get(4)?,
        quarantined: row.try_get(5)?,
        newest: place(row.try_get(6)?, row.try_get(7)?, row.try_get(8)?),
        erased: row.try_get(9)?,
        start: Start {
            record_number: row.try_get(10)?,
            message_number: row.try_get(11)?,
            seq: row.try_get(12)?,
        },
        start_key_number: u32::try_from(row.try_get::<i64, _>(13)?).unwrap_or_default(),
    })
}
