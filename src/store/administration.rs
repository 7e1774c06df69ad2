//! What operators, exports and the key ring ask of the store, as a port of its own. Never part of a
//! record's way.

use actors::lane::{Lane, Positions, Routing, UserNumber};
use actors::store::StoreError;
use async_trait::async_trait;
use entities::mode_transitions::Column;
use neuros::time::Timestamp;

use super::{Adoption, LaneRow, SqlStore, StoredAlert, StoredTransition, WrappedKey};

/// Someone read or changed health data.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose, when it was one person's.
    pub user_id: Option<String>,
    /// Who.
    pub accessor_id: String,
    /// What they did.
    pub access_type: String,
    /// To which table, mainly.
    pub table_name: String,
    /// To which part of it.
    pub record_id: Option<String>,
    /// To how many records.
    pub records: i64,
    /// When.
    pub time: Timestamp,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Users.
    pub users: u64,
    /// Stored records.
    pub records: u64,
    /// Mode changes.
    pub transitions: u64,
    /// Changes of alerts.
    pub alerts: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Outbox rows.
    pub outbox: u64,
}

/// What is asked beside a record's way. All of it fails when the store is away.
#[async_trait]
pub trait Administration: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The first start: writes `routing` and the lanes if there is no routing yet. Gives what the
    /// store says then, whoever wrote it.
    async fn begin(
        &self,
        routing: &Routing,
        lanes: &[(Lane, Positions)],
    ) -> Result<Routing, StoreError>;

    /// Begins a new generation: the one before is kept as closed, every lane gets a new token and new
    /// positions, and what is skipped is written down.
    async fn adopt(&self, adoption: &Adoption) -> Result<Routing, StoreError>;

    /// All keys of these users, by user and number. User number 0 is the service itself.
    async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, StoreError>;

    /// Keeps keys whose owner has none of that number yet; gives how many those were.
    async fn add_keys(&self, keys: &[WrappedKey]) -> Result<usize, StoreError>;

    /// The same; gives, in the order given, the keys that
    /// are kept under those owners and numbers, whoever made them.
    async fn keep_keys(&self, keys: &[WrappedKey]) -> Result<Vec<WrappedKey>, StoreError>;

    /// How many keys each key-encryption key wraps, by its name; those that are destroyed are wrapped by none.
    async fn wrappers(&self) -> Result<Vec<(String, i64)>, StoreError>;

    /// The keys behind `after`, by owner and number, at most `limit`; without those that `wrapper` wraps.
    async fn keys_after(
        &self,
        after: (UserNumber, i32),
        wrapper: Option<&str>,
        limit: u64,
    ) -> Result<Vec<WrappedKey>, StoreError>;

    /// Puts each second key, the same one wrapped anew, in the place of the first, if that is still there; gives
    /// how many those were.
    async fn rewrap_keys(&self, keys: &[(WrappedKey, WrappedKey)]) -> Result<usize, StoreError>;

    /// Writes an access down, in the chain of this process; it is committed when this returns. Nobody is shown
    /// what cannot be written down.
    async fn log_access(&self, access: &Access) -> Result<(), StoreError>;

    /// All lanes, by number.
    async fn lanes(&self) -> Result<Vec<LaneRow>, StoreError>;

    /// Mode changes of a user with message numbers above `after`, in order, at most `limit`.
    async fn transitions_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredTransition>, StoreError>;

    /// Mode changes of a user with a `seq` above `after`, in order, at most `limit`.
    async fn transitions_by_seq(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredTransition>, StoreError>;

    /// Alert changes of a user with message numbers above `after`, in order, at most `limit`.
    async fn alerts_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredAlert>, StoreError>;

    /// How many rows there are, counted one by one.
    async fn totals(&self) -> Result<Totals, StoreError>;
}

#[async_trait]
impl Administration for SqlStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.answers().await
    }

    async fn begin(
        &self,
        routing: &Routing,
        lanes: &[(Lane, Positions)],
    ) -> Result<Routing, StoreError> {
        self.begin_first(routing, lanes).await
    }

    async fn adopt(&self, adoption: &Adoption) -> Result<Routing, StoreError> {
        self.begin_next(adoption).await
    }

    async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, StoreError> {
        self.read_keys(users).await
    }

    async fn add_keys(&self, keys: &[WrappedKey]) -> Result<usize, StoreError> {
        self.write_new_keys(keys).await
    }

    async fn keep_keys(&self, keys: &[WrappedKey]) -> Result<Vec<WrappedKey>, StoreError> {
        self.write_keys(keys).await
    }

    async fn wrappers(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.read_wrappers().await
    }

    async fn keys_after(
        &self,
        after: (UserNumber, i32),
        wrapper: Option<&str>,
        limit: u64,
    ) -> Result<Vec<WrappedKey>, StoreError> {
        self.read_keys_after(after, wrapper, limit).await
    }

    async fn rewrap_keys(&self, keys: &[(WrappedKey, WrappedKey)]) -> Result<usize, StoreError> {
        self.write_rewrapped(keys).await
    }

    async fn log_access(&self, access: &Access) -> Result<(), StoreError> {
        self.write_access(access).await
    }

    async fn lanes(&self) -> Result<Vec<LaneRow>, StoreError> {
        self.read_lanes().await
    }

    async fn transitions_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredTransition>, StoreError> {
        self.read_transitions(user, Column::N, after, limit).await
    }

    async fn transitions_by_seq(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredTransition>, StoreError> {
        self.read_transitions(user, Column::Seq, after, limit).await
    }

    async fn alerts_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        self.read_alerts(user, after, limit).await
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.count_all().await
    }
}
