//! Whose alerts a lane must look at. Writes nothing but which lane that is.

use std::collections::BTreeMap;

use actors::lane::{Lane, UserNumber};
use actors::store::{Sources, StoreError, StoredLook};
use chrono::{DateTime, Utc};
use entities::{alert_looks, lanes, users};
use neuros::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::page;
use crate::store::failure::{of_database, of_driver};
use crate::store::{SqlStore, instant, progress};

impl SqlStore {
    pub(in crate::store) async fn read_looks(
        &self,
        lane: Lane,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredLook>, StoreError> {
        use alert_looks::Column;
        let due = alert_looks::Entity::find()
            .filter(Column::Lane.eq(lane.0))
            .filter(Column::Due.lte(instant::of(now)))
            .order_by_asc(Column::Due)
            .limit(page(limit))
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let ids = users::Entity::find()
            .select_only()
            .columns([users::Column::UserNumber, users::Column::UserId])
            .filter(users::Column::UserNumber.is_in(due.iter().map(|row| row.user_number)))
            .into_tuple::<(i64, String)>()
            .all(&self.reader)
            .await
            .map_err(|error| of_database(&error))?;
        let mut ids: BTreeMap<i64, String> = ids.into_iter().collect();
        let look = |row: alert_looks::Model| {
            let user_id = ids.remove(&row.user_number)?;
            Some(StoredLook {
                user: UserNumber(row.user_number),
                user_id,
                due: instant::from(row.due?),
            })
        };
        Ok(due.into_iter().filter_map(look).collect())
    }

    pub(in crate::store) async fn read_sources(&self, lane: Lane) -> Result<Sources, StoreError> {
        let rows = lanes::Entity::find().order_by_asc(lanes::Column::Lane).all(&self.reader).await;
        let mut positions = Vec::new();
        for row in rows.map_err(|error| of_database(&error))? {
            let progress = progress::of_row(&row)?;
            if row.lane == lane.0 || progress.forwarded.contains_key(&lane.0) {
                positions.push((Lane(row.lane), progress.positions));
            }
        }
        let now = match self.pool() {
            Some(pool) => {
                let now = sqlx::query_scalar::<_, DateTime<Utc>>("SELECT now()");
                Some(instant::from(now.fetch_one(pool).await.map_err(|error| of_driver(&error))?))
            }
            None => None,
        };
        Ok(Sources { positions, now })
    }

    pub(in crate::store) async fn write_moved_looks(
        &self,
        looks: &[(StoredLook, Lane)],
    ) -> Result<(), StoreError> {
        use alert_looks::Column;
        for (look, lane) in looks {
            let moved = alert_looks::Entity::update_many()
                .col_expr(Column::Lane, Expr::value(lane.0))
                .filter(Column::UserNumber.eq(look.user.0))
                .filter(Column::Due.eq(instant::of(look.due)))
                .exec(&self.writer)
                .await;
            moved.map_err(|error| of_database(&error))?;
        }
        Ok(())
    }
}
