//! What the coach says of each mode change, and what asking for it has cost.

use sea_orm::entity::prelude::*;

/// The coach's message of a mode change, or that somebody was asked for one.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "coach_messages")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_number: i64,
    /// The mode change, by its number among the user's outgoing messages.
    #[sea_orm(primary_key, auto_increment = false)]
    pub n: i64,
    /// Calls that were permitted for it.
    pub calls: i32,
    /// When the newest of them was.
    pub called_at: Option<DateTimeUtc>,
    /// When the message was written.
    pub written_at: Option<DateTimeUtc>,
    /// The sealed message; none while it is asked for.
    pub body: Option<Vec<u8>>,
}

crate::plain!(Model);
