//! How users map to lanes: the one row that a claim compares and never writes.

use sea_orm::entity::prelude::*;

/// How users map to lanes.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "routing")]
pub struct Model {
    /// Always 1: there is one row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i16,
    /// Counts the incarnations of the topics.
    pub generation: i32,
    /// Partitions of `biometric.events`, and of `biometric.events.by-user`.
    pub partition_count: i32,
    /// The version of all that decides a home.
    pub routing_version: i32,
    /// The largest message that is read, bytes.
    pub bytes_max: i64,
    /// Which cluster and topics the positions belong to, when the log can say.
    pub log_id: Option<String>,
    /// More partitions are being added.
    pub expanding: bool,
    /// When the row was written last.
    pub updated_at: DateTimeUtc,
    /// Proof of conducting the expansion that is under way: random, new with each.
    pub expansion: Option<Uuid>,
    /// Until when, by the database's clock, it counts, unless it is renewed.
    pub expansion_until: Option<DateTimeUtc>,
}

crate::plain!(Model);
