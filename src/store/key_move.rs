//! Data keys on their way from the database of the data to one of their own. A row is deleted only when the same row
//! is found where it was to go.

use actors::store::StoreError;
use entities::encryption_keys::{ActiveModel, Column, Entity, Model};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, Condition, EntityTrait, IntoActiveModel as _,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::SqlStore;
use super::failure::of_database;

/// Rows that are copied at once: they are found again by their names, and SQLite takes no longer question.
const PAGE: u64 = 200;

/// Stands where keys were: nobody who looks for them there may make others. It is nobody's key, and destroyed.
const MOVED: i64 = -1;

impl SqlStore {
    /// How many data keys there are here, destroyed ones too.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn count_keys(&self) -> Result<u64, StoreError> {
        let all = Entity::find().filter(Column::UserNumber.gte(0)).count(&self.writer).await;
        all.map_err(|error| of_database(&error))
    }

    /// Whether the keys that were here are in a key store of their own.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn keys_were_moved(&self) -> Result<bool, StoreError> {
        let mark = Entity::find().filter(Column::UserNumber.eq(MOVED)).one(&self.writer).await;
        Ok(mark.map_err(|error| of_database(&error))?.is_some())
    }

    /// Copies all keys to `target`, finds each of them there, and deletes them here; gives how many they were.
    /// It can be done again. Nobody may make keys meanwhile.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when `target` has another key in the place of one; else when a store is away.
    pub async fn move_keys(&self, target: &Self) -> Result<u64, StoreError> {
        let mut moved = 0;
        loop {
            let page = self.keys_page(PAGE).await?;
            if page.is_empty() {
                return Ok(moved);
            }
            target.copy_keys(&page).await?;
            if target.same_keys(&page).await? != page {
                return Err(StoreError::Refused(
                    "the key store has other keys in the place of some: it was used for another \
                     installation; name an empty one"
                        .to_owned(),
                ));
            }
            self.mark_moved().await?;
            for row in &page {
                Entity::delete_many()
                    .filter(is(row))
                    .exec(&self.writer)
                    .await
                    .map_err(|error| of_database(&error))?;
                moved += 1;
            }
        }
    }

    async fn mark_moved(&self) -> Result<(), StoreError> {
        let at = Set(Some(chrono::DateTime::UNIX_EPOCH));
        let mark = ActiveModel {
            key_id: Set(format!("{MOVED}.1")),
            user_number: Set(Some(MOVED)),
            key_number: Set(1),
            encrypted_key: Set(Vec::new()),
            wrapped_by: Set(String::new()),
            destroyed_at: at,
            ..Default::default()
        };
        let done = Entity::insert(mark)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&self.writer)
            .await;
        done.map(|_| ()).map_err(|error| of_database(&error))
    }

    async fn keys_page(&self, limit: u64) -> Result<Vec<Model>, StoreError> {
        let rows = Entity::find()
            .filter(Column::UserNumber.gte(0))
            .order_by_asc(Column::UserNumber)
            .order_by_asc(Column::KeyNumber)
            .limit(limit)
            .all(&self.writer)
            .await;
        rows.map_err(|error| of_database(&error))
    }

    async fn copy_keys(&self, rows: &[Model]) -> Result<(), StoreError> {
        let rows = rows.iter().cloned().map(|row| row.into_active_model().reset_all());
        let done = Entity::insert_many(rows)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&self.writer)
            .await;
        done.map(|_| ()).map_err(|error| of_database(&error))
    }

    /// What there is here of the owners and numbers of these rows.
    async fn same_keys(&self, rows: &[Model]) -> Result<Vec<Model>, StoreError> {
        let found = Entity::find()
            .filter(rows.iter().map(is).fold(Condition::any(), Condition::add))
            .order_by_asc(Column::UserNumber)
            .order_by_asc(Column::KeyNumber)
            .all(&self.writer)
            .await;
        found.map_err(|error| of_database(&error))
    }
}

fn is(row: &Model) -> Condition {
    Condition::all()
        .add(Column::UserNumber.eq(row.user_number))
        .add(Column::KeyNumber.eq(row.key_number))
}
