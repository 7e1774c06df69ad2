//! Data keys as they are kept: wrapped. Never a key in the clear.

use std::collections::BTreeMap;

use actors::lane::UserNumber;
use actors::store::StoreError;
use entities::encryption_keys::{self, Column, Entity};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, TransactionTrait,
};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::SqlStore;
use super::failure::{of_database, of_driver};

/// SQLite takes at most 32,766 parameters, PostgreSQL twice as many.
const USERS_MAX: usize = 30_000;
const KEYS_MAX: usize = 4_000;

/// A data key, wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Whose; number 0 is the service itself.
    pub user: UserNumber,
    /// Numbers its owner's keys, from 1.
    pub number: i32,
    /// The key, wrapped; empty when it is destroyed.
    pub encrypted_key: Vec<u8>,
    /// Names the key that wraps it.
    pub wrapped_by: String,
}

impl WrappedKey {
    /// Its name in the table, which nobody else's key can have.
    pub(super) fn key_id(&self) -> String {
        format!("{}.{}", self.user.0, self.number)
    }
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrappedKey").field("wrapped_by", &self.wrapped_by).finish_non_exhaustive()
    }
}

impl SqlStore {
    pub(super) async fn read_keys(
        &self,
        users: &[UserNumber],
    ) -> Result<Vec<WrappedKey>, StoreError> {
        if let Some(pool) = self.pool() {
            return of_users(pool, users).await;
        }
        let mut found = Vec::new();
        for users in users.chunks(USERS_MAX) {
            let rows = Entity::find()
                .filter(Column::UserNumber.is_in(users.iter().map(|user| user.0)))
                .order_by_asc(Column::UserNumber)
                .order_by_asc(Column::KeyNumber)
                .all(&self.writer)
                .await;
            found.extend(rows.map_err(|error| of_database(&error))?.into_iter().map(key));
        }
        Ok(found)
    }

    /// Keeps those whose owner has no key of that number yet; gives how many those were.
    pub(super) async fn write_new_keys(&self, keys: &[WrappedKey]) -> Result<usize, StoreError> {
        let mut rows: Vec<&WrappedKey> = keys.iter().collect();
        // In one order, whoever writes: two writers never wait for each other in a ring.
        rows.sort_unstable_by_key(|key| (key.user, key.number));
        if let Some(pool) = self.pool() {
            return add_all(pool, &rows).await;
        }
        let mut added = 0;
        for rows in rows.chunks(KEYS_MAX) {
            added += Entity::insert_many(rows.iter().map(|key| row(key)))
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .exec_without_returning(&self.writer)
                .await
                .map_err(|error| of_database(&error))?;
        }
        Ok(count(added))
    }

    /// How many keys each key-encryption key wraps, by its name.
    pub(super) async fn read_wrappers(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = Entity::find()
            .filter(Column::DestroyedAt.is_null())
            .select_only()
            .column(Column::WrappedBy)
            .column_as(Column::KeyId.count(), "keys")
            .group_by(Column::WrappedBy)
            .order_by_asc(Column::WrappedBy)
            .into_tuple()
            .all(&self.writer)
            .await;
        rows.map_err(|error| of_database(&error))
    }

    /// The keys behind `after`, by owner and number; without those that `wrapper` wraps, or are destroyed.
    pub(super) async fn read_keys_after(
        &self,
        after: (UserNumber, i32),
        wrapper: Option<&str>,
        limit: u64,
    ) -> Result<Vec<WrappedKey>, StoreError> {
        let (UserNumber(user), number) = after;
        let same_owner =
            Condition::all().add(Column::UserNumber.eq(user)).add(Column::KeyNumber.gt(number));
        let later = Condition::any().add(Column::UserNumber.gt(user)).add(same_owner);
        // The first part says no more, but an index answers it.
        let mut behind = Condition::all().add(Column::UserNumber.gte(user)).add(later);
        if let Some(wrapper) = wrapper {
            behind = behind.add(Column::WrappedBy.ne(wrapper));
        }
        let rows = Entity::find()
            .filter(behind)
            .filter(Column::DestroyedAt.is_null())
            .order_by_asc(Column::UserNumber)
            .order_by_asc(Column::KeyNumber)
            .limit(limit)
            .all(&self.writer)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(key).collect())
    }

    /// Puts each second key, the same one wrapped anew, in the place of the first, if that is still there; gives
    /// how many those were.
    pub(super) async fn write_rewrapped(
        &self,
        keys: &[(WrappedKey, WrappedKey)],
    ) -> Result<usize, StoreError> {
        if let Some(pool) = self.pool() {
            return replace_all(pool, keys).await;
        }
        let (mut replaced, transaction) = (0, self.writer.begin().await);
        let transaction = transaction.map_err(|error| of_database(&error))?;
        for (before, after) in keys {
            let done = Entity::update_many()
                .col_expr(Column::EncryptedKey, after.encrypted_key.clone().into())
                .col_expr(Column::WrappedBy, after.wrapped_by.clone().into())
                .filter(Column::KeyId.eq(before.key_id()))
                .filter(Column::EncryptedKey.eq(before.encrypted_key.clone()))
                .exec(&transaction)
                .await;
            replaced += done.map_err(|error| of_database(&error))?.rows_affected;
        }
        transaction.commit().await.map_err(|error| of_database(&error))?;
        Ok(count(replaced))
    }

    pub(super) async fn write_keys(
        &self,
        keys: &[WrappedKey],
    ) -> Result<Vec<WrappedKey>, StoreError> {
        self.write_new_keys(keys).await?;
        let users: Vec<UserNumber> = keys.iter().map(|key| key.user).collect();
        let kept = self.read_keys(&users).await?;
        let kept: BTreeMap<(UserNumber, i32), WrappedKey> =
            kept.into_iter().map(|key| ((key.user, key.number), key)).collect();
        let kept = keys.iter().map(|key| {
            let kept = kept.get(&(key.user, key.number)).cloned();
            kept.ok_or_else(|| StoreError::Refused("a key's name is another key's".to_owned()))
        });
        kept.collect()
    }
}

/// Many keys, in one statement whatever their number: new users come by the thousand. As a rule nobody has
/// any of them, and a plain command costs half of one that looks first.
async fn add_all(pool: &PgPool, rows: &[&WrappedKey]) -> Result<usize, StoreError> {
    const ADD: &str = "
        INSERT INTO encryption_keys (key_id, user_number, key_number, encrypted_key, wrapped_by)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::int[], $4::bytea[], $5::text[])";
    let add = async |conflicts: &str| {
        sqlx::query(AssertSqlSafe(format!("{ADD} {conflicts}")))
            .bind(rows.iter().map(|key| key.key_id()).collect::<Vec<_>>())
            .bind(rows.iter().map(|key| key.user.0).collect::<Vec<_>>())
            .bind(rows.iter().map(|key| key.number).collect::<Vec<_>>())
            .bind(rows.iter().map(|key| key.encrypted_key.as_slice()).collect::<Vec<_>>())
            .bind(rows.iter().map(|key| key.wrapped_by.as_str()).collect::<Vec<_>>())
            .execute(pool)
            .await
    };
    let added = match add("").await {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            add("ON CONFLICT DO NOTHING").await
        }
        added => added,
    };
    added.map(|done| count(done.rows_affected())).map_err(|error| of_driver(&error))
}

async fn replace_all(
    pool: &PgPool,
    keys: &[(WrappedKey, WrappedKey)],
) -> Result<usize, StoreError> {
    const REPLACE: &str = "
        UPDATE encryption_keys SET encrypted_key = new.encrypted_key, wrapped_by = new.wrapped_by
        FROM unnest($1::bigint[], $2::int[], $3::bytea[], $4::bytea[], $5::text[])
            AS new(user_number, key_number, before, encrypted_key, wrapped_by)
        WHERE encryption_keys.user_number = new.user_number
            AND encryption_keys.key_number = new.key_number
            AND encryption_keys.encrypted_key = new.before";
    let replaced = sqlx::query(REPLACE)
        .bind(keys.iter().map(|(before, _)| before.user.0).collect::<Vec<_>>())
        .bind(keys.iter().map(|(before, _)| before.number).collect::<Vec<_>>())
        .bind(keys.iter().map(|(before, _)| before.encrypted_key.as_slice()).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, after)| after.encrypted_key.as_slice()).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, after)| after.wrapped_by.as_str()).collect::<Vec<_>>())
        .execute(pool)
        .await;
    replaced.map(|done| count(done.rows_affected())).map_err(|error| of_driver(&error))
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// The keys of many users, in one question whatever their number.
async fn of_users(pool: &PgPool, users: &[UserNumber]) -> Result<Vec<WrappedKey>, StoreError> {
    const OF_USERS: &str = "
        SELECT user_number, key_number, encrypted_key, wrapped_by FROM encryption_keys
        WHERE user_number = ANY ($1) ORDER BY user_number, key_number";
    let users: Vec<i64> = users.iter().map(|user| user.0).collect();
    let rows = sqlx::query(OF_USERS).bind(users).fetch_all(pool).await;
    let rows = rows.map_err(|error| of_driver(&error))?;
    let key = |row: &PgRow| {
        Ok(WrappedKey {
            user: UserNumber(row.try_get(0)?),
            number: row.try_get(1)?,
            encrypted_key: row.try_get(2)?,
            wrapped_by: row.try_get(3)?,
        })
    };
    rows.iter().map(key).collect::<Result<_, _>>().map_err(|error: sqlx::Error| of_driver(&error))
}

fn row(key: &WrappedKey) -> encryption_keys::ActiveModel {
    encryption_keys::ActiveModel {
        key_id: Set(key.key_id()),
        user_number: Set(Some(key.user.0)),
        key_number: Set(key.number),
        encrypted_key: Set(key.encrypted_key.clone()),
        wrapped_by: Set(key.wrapped_by.clone()),
        created_at: NotSet,
        retired_at: NotSet,
        destroyed_at: NotSet,
        sealed_before: NotSet,
    }
}

fn key(row: encryption_keys::Model) -> WrappedKey {
    WrappedKey {
        user: UserNumber(row.user_number.unwrap_or_default()),
        number: row.key_number,
        encrypted_key: row.encrypted_key,
        wrapped_by: row.wrapped_by,
    }
}
