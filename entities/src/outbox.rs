//! What must leave, numbered for each lane without gaps.

use sea_orm::entity::prelude::*;

/// Something that must leave.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    /// The lane.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lane: i32,
    /// Numbers the lane's outbox.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// Where to.
    pub sink: i16,
    /// Whose; absent for a dead letter.
    pub user_number: Option<i64>,
    /// The user's message number.
    pub n: Option<i64>,
    /// The sealed message; absent for a dead letter.
    pub body: Option<Vec<u8>>,
    /// The stamp of its batch.
    pub recorded_at: DateTimeUtc,
}

crate::plain!(Model);
