//! [`Store`], the lanes' port, joined from its parts. Never more than a line of each.

use actors::lane::{FenceToken, Lane, Routing, UserNumber};
use actors::rows::{Batch, Sink};
use actors::store::{
    Asked, Claim, CommitError, Store, StoreError, StoredBase, StoredOutbox, StoredRecord,
    StoredUser,
};
use async_trait::async_trait;
use neuros::time::Timestamp;

use super::{SqlStore, sqlite};

#[async_trait]
impl Store for SqlStore {
    async fn routing(&self) -> Result<Option<Routing>, StoreError> {
        self.read_routing().await
    }

    async fn claim(&self, lane: Lane, owner: &str, routing: &Routing) -> Result<Claim, StoreError> {
        self.claim_lane(lane, owner, routing).await
    }

    async fn holds(&self, lane: Lane, token: FenceToken) -> Result<bool, StoreError> {
        self.read_holds(lane, token).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        match &self.postgres {
            Some(postgres) => postgres.commit(batch).await,
            None => sqlite::commit(&self.writer, batch).await,
        }
    }

    async fn records_of_lane(
        &self,
        lane: Lane,
        after: (Timestamp, i32),
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        self.read_records_of_lane(lane, after, limit).await
    }

    async fn records_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        self.read_records_of_user(user, after, limit).await
    }

    async fn users(&self, asked: Asked<'_>) -> Result<Vec<StoredUser>, StoreError> {
        self.read_users(asked).await
    }

    async fn base(&self, user: UserNumber) -> Result<Option<StoredBase>, StoreError> {
        self.read_base(user).await
    }

    async fn quarantined(&self) -> Result<Vec<String>, StoreError> {
        self.read_quarantined().await
    }

    async fn keep_policy(&self, version: &str, text: &str) -> Result<i32, StoreError> {
        self.write_policy(version, text).await
    }

    async fn policy(&self, number: i32) -> Result<(String, String), StoreError> {
        self.read_policy(number).await
    }

    async fn outbox(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        self.read_outbox(lane, sink, after, limit).await
    }

    async fn cursor(&self, lane: Lane, sink: Sink) -> Result<i64, StoreError> {
        self.read_cursor(lane, sink).await
    }

    async fn move_cursor(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError> {
        self.write_cursor(lane, token, sink, to).await
    }
}
