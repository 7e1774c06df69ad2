//! Tickets for sockets: each is taken once, by whichever process is asked.

use actors::store::StoreError;
use entities::socket_tickets::{ActiveModel, Column, Entity};
use neuros::time::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement};

use super::failure::of_database;
use super::{SqlStore, instant};

impl SqlStore {
    /// Keeps a ticket, and forgets those that are good no more at `now`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn keep_ticket(
        &self,
        digest: &[u8],
        identity: Vec<u8>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let row = ActiveModel {
            digest: Set(digest.to_vec()),
            identity: Set(identity),
            expires_at: Set(instant::of(expires_at)),
        };
        let old = Entity::delete_many().filter(Column::ExpiresAt.lt(instant::of(now)));
        old.exec(&self.writer).await.map_err(|error| of_database(&error))?;
        let kept = Entity::insert(row).exec_without_returning(&self.writer).await;
        kept.map(|_| ()).map_err(|error| of_database(&error))
    }

    /// Takes a ticket that is still good at `now`; nobody gets it again.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn take_ticket(
        &self,
        digest: &[u8],
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "DELETE FROM socket_tickets WHERE digest = $1 AND expires_at > $2 \
                   RETURNING identity";
        let values = [digest.to_vec().into(), instant::of(now).into()];
        let backend = self.writer.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let row = self.writer.query_one_raw(statement).await;
        let row = row.map_err(|error| of_database(&error))?;
        row.map(|row| row.try_get_by_index(0)).transpose().map_err(|error| of_database(&error))
    }
}
