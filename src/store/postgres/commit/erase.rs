//! A user's row becomes a tombstone, or is none any more. Nothing here deletes what the user had.

use actors::rows::{Batch, Erasure};

use super::{Missing, Written};
use crate::store::instant;

/// One statement for each user, after all that the batch writes beside.
pub(super) fn statements(batch: &Batch) -> impl Iterator<Item = Written> {
    batch.erasures.iter().map(|row| {
        let statement = match row.change {
            Erasure::Begins { record_number, newest, key_number } => sqlx::query(ERASE)
                .bind(row.user.0)
                .bind(record_number)
                .bind(instant::of(batch.after.stamp))
                .bind(newest.map(|newest| instant::of(newest.stamp)))
                .bind(newest.map(|newest| newest.lane.0))
                .bind(newest.map(|newest| newest.position))
                .bind(i64::from(key_number)),
            Erasure::Ends => sqlx::query(READMIT).bind(row.user.0),
        };
        Written { statement, expected: vec![(1, Missing::Refused("users"))] }
    })
}

/// The row becomes a tombstone. Nothing of the lane's is in flight, so all of the user's messages are there to be
/// counted; those of an erasure before it may be gone.
const ERASE: &str =
    "WITH erased AS (UPDATE users SET erased_at = coalesce(erased_at, $3), checkpoint = NULL,
         quarantined_at = NULL, newest_time = $4, newest_lane = $5, newest_position = $6,
         record_number = $2, start_record_number = $2, message_number = last.n,
         start_message_number = last.n, start_seq = last.seq,
         start_key_number = $7
     FROM (SELECT greatest(message_number,
                  (SELECT max(n) FROM mode_transitions WHERE user_number = $1),
                  (SELECT max(n) FROM alert_changes WHERE user_number = $1)) AS n,
              greatest(start_seq,
                  (SELECT max(seq) FROM mode_transitions WHERE user_number = $1)) AS seq
          FROM users WHERE user_number = $1) AS last
     WHERE user_number = $1 RETURNING 1) SELECT count(*) FROM erased";

const READMIT: &str = "WITH readmitted AS (
         UPDATE users SET erased_at = NULL WHERE user_number = $1 RETURNING 1)
     SELECT count(*) FROM readmitted";
