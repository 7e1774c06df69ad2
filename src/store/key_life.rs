//! The life of data keys: rotated, retired, destroyed, and how much each has sealed at most. Never a key in the
//! clear.

use std::collections::BTreeMap;

use actors::lane::UserNumber;
use actors::store::StoreError;
use entities::encryption_keys::{Column, Entity};
use entities::users;
use neuros::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Statement, TransactionTrait, Value,
};

use super::failure::of_database;
use super::{SqlStore, WrappedKey, instant, now};

/// What may be known of a key: nothing that opens anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFact {
    /// Its number among its owner's keys.
    pub number: i32,
    /// Names the key that wraps it; empty when it is destroyed.
    pub wrapped_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it seals nothing new.
    pub retired_at: Option<Timestamp>,
    /// Since when it opens nothing.
    pub destroyed_at: Option<Timestamp>,
}

/// How much a key has sealed, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Whose key.
    pub user: UserNumber,
    /// How much all keys of the user have sealed.
    pub sealed: i64,
}

impl SqlStore {
    /// Keeps keys, sorted, that are their owner's first or follow on one that is not destroyed; gives how many
    /// those were. Whoever destroys that one meanwhile is waited for.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn add_next_keys(&self, keys: &[WrappedKey]) -> Result<usize, StoreError> {
        let backend = self.writer.get_database_backend();
        let sql = match backend {
            DbBackend::Sqlite => ADD_NEXT_SQLITE,
            _ => ADD_NEXT_POSTGRES,
        };
        let transaction = self.writer.begin().await.map_err(|error| of_database(&error))?;
        let mut added = 0;
        for key in keys {
            let values: [Value; 5] = [
                key.key_id().into(),
                key.user.0.into(),
                key.number.into(),
                key.encrypted_key.clone().into(),
                key.wrapped_by.clone().into(),
            ];
            let statement = Statement::from_sql_and_values(backend, sql, values);
            let done = transaction.execute_raw(statement).await;
            added += done.map_err(|error| of_database(&error))?.rows_affected();
        }
        transaction.commit().await.map_err(|error| of_database(&error))?;
        Ok(usize::try_from(added).unwrap_or(usize::MAX))
    }

    /// Destroys a user's keys with numbers up to `upto`; their rows stay and say so.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn destroy_keys(&self, user: UserNumber, upto: i32) -> Result<u64, StoreError> {
        let at = Expr::cust(now(&self.writer));
        let done = Entity::update_many()
            .col_expr(Column::EncryptedKey, Expr::value(Vec::<u8>::new()))
            .col_expr(Column::WrappedBy, Expr::value(""))
            .col_expr(Column::DestroyedAt, at)
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::KeyNumber.lte(upto))
            .filter(Column::DestroyedAt.is_null())
            .exec(&self.writer)
            .await;
        done.map(|done| done.rows_affected).map_err(|error| of_database(&error))
    }

    /// Everybody whose keys are destroyed and who has no other, by number.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn keyless_users(&self) -> Result<Vec<UserNumber>, StoreError> {
        let rows = self.key_rows(KEYLESS, Vec::new()).await?;
        rows.iter().map(|row| Ok(UserNumber(column(row, 0)?))).collect()
    }

    /// The number of the newest key of users behind `after`, in order, at most `limit`; only of those whose key
    /// was made before `made_before`. The service's own is not among them.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn newest_keys(
        &self,
        after: UserNumber,
        made_before: Timestamp,
        limit: i64,
    ) -> Result<Vec<(UserNumber, i32)>, StoreError> {
        let values = vec![after.0.into(), instant::of(made_before).into(), limit.into()];
        let rows = self.key_rows(NEWEST, values).await?;
        rows.iter().map(|row| Ok((UserNumber(column(row, 0)?), column(row, 1)?))).collect()
    }

    /// Says of the newest key of each owner how much the keys before it have sealed.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn note_sealed_before(&self, sealed: &[(UserNumber, i64)]) -> Result<(), StoreError> {
        let pairs = sealed.iter().map(|(user, sealed)| format!("[{},{sealed}]", user.0));
        let pairs = format!("[{}]", pairs.collect::<Vec<_>>().join(","));
        let backend = self.writer.get_database_backend();
        let noted = match backend {
            DbBackend::Sqlite => NOTED_SQLITE,
            _ => NOTED_POSTGRES,
        };
        let sql = format!("{NOTE} FROM ({noted}) AS noted {NOTE_WHERE}");
        let statement = Statement::from_sql_and_values(backend, sql, [pairs.into()]);
        let done = self.writer.execute_raw(statement).await;
        done.map(|_| ()).map_err(|error| of_database(&error))
    }

    /// How much the keys before the newest have sealed, of owners behind `after` up to `upto`; of whoever has had
    /// one key only nothing is said.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn sealed_before(
        &self,
        after: UserNumber,
        upto: UserNumber,
    ) -> Result<BTreeMap<UserNumber, i64>, StoreError> {
        let rows = self.key_rows(SEALED_BEFORE, vec![after.0.into(), upto.0.into()]).await?;
        rows.iter().map(|row| Ok((UserNumber(column(row, 0)?), column(row, 1)?))).collect()
    }

    /// Says of every key with a newer one beside it that it seals nothing new; gives how many those were.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn retire_older_keys(&self) -> Result<u64, StoreError> {
        let (backend, now) = (self.writer.get_database_backend(), now(&self.writer));
        let sql = format!(
            "UPDATE encryption_keys SET retired_at = {now}
             WHERE retired_at IS NULL AND key_number < (
                 SELECT max(newer.key_number) FROM encryption_keys newer
                 WHERE newer.user_number = encryption_keys.user_number)"
        );
        let done = self.writer.execute_raw(Statement::from_string(backend, sql)).await;
        done.map(|done| done.rows_affected()).map_err(|error| of_database(&error))
    }

    /// What may be known of a user's keys, by number.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn key_facts(&self, user: UserNumber) -> Result<Vec<KeyFact>, StoreError> {
        let rows = Entity::find()
            .filter(Column::UserNumber.eq(user.0))
            .order_by_asc(Column::KeyNumber)
            .all(&self.writer)
            .await;
        let fact = |row: entities::encryption_keys::Model| KeyFact {
            number: row.key_number,
            wrapped_by: row.wrapped_by,
            created_at: instant::from(row.created_at),
            retired_at: row.retired_at.map(instant::from),
            destroyed_at: row.destroyed_at.map(instant::from),
        };
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(fact).collect())
    }

    /// The next `limit` users behind `after`, by number, and how much they have sealed at most, with all their keys.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn sealed_behind(
        &self,
        after: UserNumber,
        limit: i64,
    ) -> Result<Vec<KeyUse>, StoreError> {
        let rows = self.key_rows(SEALED_BEHIND, vec![after.0.into(), limit.into()]).await?;
        let used = |row: &QueryResult| {
            Ok(KeyUse { user: UserNumber(column(row, 0)?), sealed: column(row, 1)? })
        };
        rows.iter().map(used).collect()
    }

    /// How much these users have sealed at most, with all their keys.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn sealed_by(
        &self,
        users: &[UserNumber],
    ) -> Result<Vec<(UserNumber, i64)>, StoreError> {
        use users::Column;
        let rows = users::Entity::find()
            .select_only()
            .columns([Column::UserNumber, Column::RecordNumber, Column::MessageNumber])
            .filter(Column::UserNumber.is_in(users.iter().map(|user| user.0)))
            .into_tuple::<(i64, i64, i64)>()
            .all(&self.writer)
            .await;
        let rows = rows.map_err(|error| of_database(&error))?;
        let sealed = |(user, records, messages)| (UserNumber(user), 6 * records + 6 * messages);
        Ok(rows.into_iter().map(sealed).collect())
    }

    /// How much the service's own keys have sealed at most: dead letters and commands.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn sealed_by_service(&self) -> Result<i64, StoreError> {
        let rows = self.key_rows(SEALED_BY_SERVICE, Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| column(row, 0))
    }

    async fn key_rows(
        &self,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let backend = self.writer.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.writer.query_all_raw(statement).await.map_err(|error| of_database(&error))
    }
}

fn column<T: sea_orm::TryGetable>(row: &QueryResult, place: usize) -> Result<T, StoreError> {
    row.try_get_by_index(place).map_err(|error| of_database(&error))
}

/// The lock makes whoever destroys the key before wait, or is waited for and then seen.
const ADD_NEXT_POSTGRES: &str = "
    WITH before AS (SELECT 1 FROM encryption_keys
        WHERE user_number = $2 AND key_number = $3 - 1 AND destroyed_at IS NULL FOR SHARE)
    INSERT INTO encryption_keys (key_id, user_number, key_number, encrypted_key, wrapped_by)
    SELECT $1, $2, $3, $4, $5 WHERE $3 = 1 OR EXISTS (SELECT 1 FROM before)
    ON CONFLICT DO NOTHING";

/// One writes at a time.
const ADD_NEXT_SQLITE: &str = "
    INSERT INTO encryption_keys (key_id, user_number, key_number, encrypted_key, wrapped_by)
    SELECT $1, $2, $3, $4, $5 WHERE $3 = 1 OR EXISTS (SELECT 1 FROM encryption_keys
        WHERE user_number = $2 AND key_number = $3 - 1 AND destroyed_at IS NULL)
    ON CONFLICT DO NOTHING";

const KEYLESS: &str = "
    SELECT DISTINCT user_number FROM encryption_keys k WHERE destroyed_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM encryption_keys live
            WHERE live.user_number = k.user_number AND live.destroyed_at IS NULL)
    ORDER BY user_number";

const NEWEST: &str = "
    SELECT user_number, key_number FROM encryption_keys k
    WHERE user_number > $1 AND user_number <> 0 AND created_at < $2 AND destroyed_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM encryption_keys newer
            WHERE newer.user_number = k.user_number AND newer.key_number > k.key_number)
    ORDER BY user_number LIMIT $3";

/// A record is sealed once, its state as a checkpoint at most once, and as a base at most once; a message in
/// the outbox, in its own table, and once more where the coach has something to say. Twice that, for what a crash or a fence had sealed in vain. Checkpoints lag
/// behind by a few records, which is of no weight against the limit.
///
/// All of a page, and not only those who have sealed most: to find none of them would take reading all users at once.
const SEALED_BEHIND: &str = "
    SELECT user_number, 6 * record_number + 6 * message_number FROM users
    WHERE user_number > $1 ORDER BY user_number LIMIT $2";

const SEALED_BEFORE: &str = "
    SELECT user_number, max(sealed_before) FROM encryption_keys
    WHERE user_number > $1 AND user_number <= $2 AND sealed_before > 0 GROUP BY user_number";

const NOTE: &str = "UPDATE encryption_keys SET sealed_before = noted.sealed";

const NOTED_POSTGRES: &str = "
    SELECT (pair ->> 0)::bigint AS user_number, (pair ->> 1)::bigint AS sealed
    FROM json_array_elements($1::json) AS pair";

const NOTED_SQLITE: &str = "
    SELECT json_extract(value, '$[0]') AS user_number, json_extract(value, '$[1]') AS sealed
    FROM json_each($1)";

const NOTE_WHERE: &str = "WHERE encryption_keys.user_number = noted.user_number
    AND encryption_keys.key_number = (SELECT max(newest.key_number) FROM encryption_keys newest
        WHERE newest.user_number = noted.user_number)";

/// Counts that no housekeeping takes down; twice, as above.
const SEALED_BY_SERVICE: &str = "
    SELECT CAST(2 * (coalesce(sum(events_dead_letter + by_user_dead_letter), 0)
        + (SELECT coalesce(max(id), 0) FROM lane_commands)) AS bigint) FROM lanes";
