//! The alerts that are open, for people who look after them. Never writes.

use actors::lane::UserNumber;
use actors::store::StoreError;
use entities::{alert_changes, users};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use std::collections::BTreeMap;
use uuid::Uuid;

use super::export::alert;
use super::failure::of_database;
use super::read::page;
use super::{SqlStore, StoredAlert};

/// The newest change of an alert that is open.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenAlert {
    /// Whose.
    pub user: UserNumber,
    /// The user's id.
    pub user_id: String,
    /// The number of the message.
    pub n: i64,
    /// The sealed message.
    pub body: Vec<u8>,
}

impl SqlStore {
    /// Alerts that fire or are acknowledged, behind `after` by user and message number, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn open_alerts(
        &self,
        (after, n): (UserNumber, i64),
        limit: i64,
    ) -> Result<Vec<OpenAlert>, StoreError> {
        use alert_changes::Column;
        let same = Condition::all().add(Column::UserNumber.eq(after.0)).add(Column::N.gt(n));
        let behind = Condition::any().add(Column::UserNumber.gt(after.0)).add(same);
        let rows = open(behind, limit).all(&self.reader).await;
        let rows = rows.map_err(|error| of_database(&error))?;
        let ids = users::Entity::find()
            .select_only()
            .columns([users::Column::UserNumber, users::Column::UserId])
            .filter(users::Column::UserNumber.is_in(rows.iter().map(|row| row.user_number)))
            .into_tuple::<(i64, String)>()
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let ids: BTreeMap<i64, String> = ids.into_iter().collect();
        let alert = |row: alert_changes::Model| OpenAlert {
            user: UserNumber(row.user_number),
            user_id: ids.get(&row.user_number).cloned().unwrap_or_default(),
            n: row.n,
            body: row.body,
        };
        Ok(rows.into_iter().map(alert).collect())
    }

    /// The same of one user, behind a message number.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn open_alerts_of_user(
        &self,
        user: UserNumber,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        use alert_changes::Column;
        let theirs = Condition::all().add(Column::UserNumber.eq(user.0)).add(Column::N.gt(after));
        let rows = open(theirs, limit).all(&self.reader).await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(alert).collect())
    }

    /// The number of the first message about a user's alert, by its name in the store; `None` when the user has none of
    /// that name.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn first_of_alert(
        &self,
        user: UserNumber,
        id: Uuid,
    ) -> Result<Option<i64>, StoreError> {
        use alert_changes::Column;
        let first = alert_changes::Entity::find()
            .select_only()
            .column(Column::N)
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::AlertId.eq(id))
            .order_by_asc(Column::N)
            .into_tuple::<i64>()
            .one(&self.reader)
            .await;
        first.map_err(|error| of_database(&error))
    }

    /// The newest change by message number `upto` of the alert that a user's message `first` began; `None` when there
    /// is no such message. Two looks by key, however many changes there are.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn newest_of_alert(
        &self,
        user: UserNumber,
        first: i64,
        upto: i64,
    ) -> Result<Option<StoredAlert>, StoreError> {
        use alert_changes::Column;
        let began = alert_changes::Entity::find_by_id((user.0, first)).one(&self.reader).await;
        let Some(began) = began.map_err(|error| of_database(&error))? else { return Ok(None) };
        let newest = alert_changes::Entity::find()
            .filter(Column::UserNumber.eq(user.0))
            .filter(Column::AlertId.eq(began.alert_id))
            .filter(Column::N.lte(upto))
            .order_by_desc(Column::N)
            .one(&self.reader)
            .await;
        Ok(newest.map_err(|error| of_database(&error))?.map(alert))
    }
}

/// The newest change of each alert of which that is open, of those that `which` says; by user and message number.
fn open(which: Condition, limit: i64) -> Select<alert_changes::Entity> {
    use alert_changes::Column;
    let later = Alias::new("later");
    let own = |column: Column| Expr::col((alert_changes::Entity, column));
    let its = |column: Column| Expr::col((later.clone(), column));
    let newer = Query::select()
        .expr(Expr::value(1))
        .from_as(alert_changes::Entity, later.clone())
        .and_where(its(Column::UserNumber).eq(own(Column::UserNumber)))
        .and_where(its(Column::AlertId).eq(own(Column::AlertId)))
        .and_where(its(Column::N).gt(own(Column::N)))
        .to_owned();
    alert_changes::Entity::find()
        .filter(which)
        .filter(Column::Status.is_in(["firing", "acknowledged"]))
        .filter(Expr::exists(newer).not())
        .order_by_asc(Column::UserNumber)
        .order_by_asc(Column::N)
        .limit(page(limit))
}
