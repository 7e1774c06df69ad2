//! Each change of each alert; the newest of an alert is what it is now.

use sea_orm::entity::prelude::*;

/// A change of an alert.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_changes")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_number: i64,
    /// Numbers the user's outgoing messages.
    #[sea_orm(primary_key, auto_increment = false)]
    pub n: i64,
    /// The record that caused it.
    pub record_number: i64,
    /// Names the episode: the id of the first message about it.
    pub alert_id: Uuid,
    /// The de-duplication key of the message.
    pub message_id: Uuid,
    /// `firing`, `acknowledged`, `resolved` or `expired`.
    pub status: String,
    /// When the episode began (event time).
    pub started_at: DateTimeUtc,
    /// The time of the change (event time).
    pub updated_at: DateTimeUtc,
    /// When it ended (event time).
    pub ended_at: Option<DateTimeUtc>,
    /// The stamp of its batch.
    pub recorded_at: DateTimeUtc,
    /// The sealed message.
    pub body: Vec<u8>,
}

crate::plain!(Model);
