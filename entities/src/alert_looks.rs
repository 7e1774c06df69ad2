//! When somebody must look at a user's alerts though nothing of theirs may come. One row a user, at most.

use sea_orm::entity::prelude::*;

/// When to look at a user's alerts.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_looks")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_number: i64,
    /// The lane that is to.
    pub lane: i32,
    /// When; absent when time alone changes nothing.
    pub due: Option<DateTimeUtc>,
}

crate::plain!(Model);
