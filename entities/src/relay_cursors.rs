//! How far each sink has taken each lane's outbox.

use sea_orm::entity::prelude::*;

/// How far a sink has taken a lane's outbox.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "relay_cursors")]
pub struct Model {
    /// The lane.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lane: i32,
    /// The sink.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sink: i16,
    /// Everything up to this number is safe there.
    pub number: i64,
}

crate::plain!(Model);
