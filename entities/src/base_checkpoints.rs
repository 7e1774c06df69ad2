//! States kept for good, from which replay can begin.

use sea_orm::entity::prelude::*;

/// A state kept for good.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "base_checkpoints")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_number: i64,
    /// The newest record in it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub record_number: i64,
    /// The newest message up to there.
    pub message_number: i64,
    /// The engine that wrote it.
    pub engine: i16,
    /// The sealed state.
    pub body: Vec<u8>,
    /// The stamp of the batch of the newest record in it.
    pub created_at: DateTimeUtc,
    /// The lane of that record, where it is known.
    pub newest_lane: Option<i32>,
    /// Its place in that batch.
    pub newest_position: Option<i32>,
}

crate::plain!(Model);
