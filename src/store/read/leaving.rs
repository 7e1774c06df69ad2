//! What leaves for subscribers: each lane's committed outbox row by row, whatever sink a row is for, so that a
//! hole is seen. Bodies stay sealed.

use std::collections::BTreeMap;

use actors::lane::{Lane, UserNumber};
use actors::store::StoreError;
use entities::{lanes, outbox, users};
use neuros::time::Timestamp;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait as _};

use super::page;
use crate::store::failure::of_database;
use crate::store::{SqlStore, instant};

/// A row of the outbox.
#[derive(Clone)]
pub struct LeavingRow {
    /// Its number in the lane's outbox.
    pub number: i64,
    /// The stamp of its batch.
    pub recorded_at: Timestamp,
    /// The message in it; `None` for a dead letter.
    pub message: Option<LeavingMessage>,
}

/// A message of a user, sealed.
#[derive(Clone)]
pub struct LeavingMessage {
    /// Whose.
    pub user: UserNumber,
    /// The user's id.
    pub user_id: String,
    /// Its number among the user's.
    pub n: i64,
    /// The sealed message.
    pub body: Vec<u8>,
}

impl SqlStore {
    /// The newest committed number of each lane's outbox, all of one moment.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn heads(&self) -> Result<BTreeMap<Lane, i64>, StoreError> {
        let heads: Vec<(i32, i64)> = lanes::Entity::find()
            .select_only()
            .columns([lanes::Column::Lane, lanes::Column::Outbox])
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        Ok(heads.into_iter().map(|(lane, head)| (Lane(lane), head)).collect())
    }

    /// Rows of a lane's outbox with numbers above `after` and up to `upto`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn leaving(
        &self,
        lane: Lane,
        after: i64,
        upto: i64,
        limit: i64,
    ) -> Result<Vec<LeavingRow>, StoreError> {
        use outbox::Column;
        let between = |after: i64, upto: i64| {
            outbox::Entity::find()
                .filter(Column::Lane.eq(lane.0))
                .filter(Column::Number.gt(after))
                .filter(Column::Number.lte(upto))
        };
        let rows = between(after, upto).order_by_asc(Column::Number).limit(page(limit));
        let rows = rows.all(&self.reader).await.map_err(|error| of_database(&error))?;
        let Some(last) = rows.last() else { return Ok(Vec::new()) };
        let theirs = between(after, last.number).select_only().column(Column::UserNumber);
        let ids: Vec<(i64, String)> = users::Entity::find()
            .select_only()
            .columns([users::Column::UserNumber, users::Column::UserId])
            .filter(users::Column::UserNumber.in_subquery(theirs.into_query()))
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let ids: BTreeMap<i64, String> = ids.into_iter().collect();
        let message = |row: &mut outbox::Model| {
            let (user, n, body) = (row.user_number?, row.n?, row.body.take()?);
            let user_id = ids.get(&user)?.clone();
            Some(LeavingMessage { user: UserNumber(user), user_id, n, body })
        };
        let leaving = |mut row: outbox::Model| LeavingRow {
            number: row.number,
            recorded_at: instant::from(row.recorded_at),
            message: message(&mut row),
        };
        Ok(rows.into_iter().map(leaving).collect())
    }
}
