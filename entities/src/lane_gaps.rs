//! Stretches of the log that were skipped, each with its reason; only ever added to.

use sea_orm::entity::prelude::*;

/// A stretch of the log that was skipped.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lane_gaps")]
pub struct Model {
    /// Numbers the rows.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The lane.
    pub lane: i32,
    /// Which of its two topics.
    pub source: i16,
    /// The generation in which the records were lost.
    pub generation: i32,
    /// The first offset that was not read.
    pub from_offset: i64,
    /// Where reading goes on.
    pub to_offset: i64,
    /// Why.
    pub reason: String,
    /// When it was written down.
    pub recorded_at: DateTimeUtc,
}

crate::plain!(Model);
