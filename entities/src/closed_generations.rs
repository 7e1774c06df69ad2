//! Where each lane stood when a generation ended; only ever added to.

use sea_orm::entity::prelude::*;

/// A lane of a generation that has ended.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "closed_generations")]
pub struct Model {
    /// The generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation: i32,
    /// The lane.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lane: i32,
    /// The next offset that would have been read of `biometric.events`.
    pub events_position: i64,
    /// The next offset that would have been read of `biometric.events.by-user`.
    pub by_user_position: i64,
    /// The marks as they stood, JSON.
    pub marks: String,
    /// What was forwarded last to each home, JSON.
    pub forwarded: String,
    /// When the generation ended.
    pub closed_at: DateTimeUtc,
}

crate::plain!(Model);
