//! How a transaction that needs the routing or rows of lanes waits for them: behind what is in flight, and not for
//! ever. Never decides what is done with them.

use std::future::Future;

use actors::store::StoreError;
use sea_orm::DatabaseTransaction;

use super::postgres::Postgres;

/// A transaction that will lock the routing or rows of lanes. On SQLite it has the file's one write lock already.
pub(super) struct Locks<'t> {
    transaction: &'t DatabaseTransaction,
    /// PostgreSQL, and the number of the transaction's backend there.
    backend: Option<(&'t Postgres, i32)>,
}

impl<'t> Locks<'t> {
    /// Limits how long the transaction waits for any lock from now on.
    pub(super) async fn of(
        transaction: &'t DatabaseTransaction,
        postgres: Option<&'t Postgres>,
    ) -> Result<Self, StoreError> {
        let backend = match postgres {
            Some(postgres) => Some((postgres, postgres.wait_for_locks(transaction).await?)),
            None => None,
        };
        Ok(Self { transaction, backend })
    }

    /// Waits for `work`, which locks the routing or rows of lanes; those of our own backends that hold them for too
    /// long are ended.
    pub(super) async fn behind_what_is_in_flight<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some((postgres, backend)) = self.backend else { return work.await };
        postgres.let_wait_longer(self.transaction).await?;
        postgres.ending_blockers_of(backend, work).await
    }
}
