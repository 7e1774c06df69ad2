//! Each mode change with its explanation, numbered without gaps for each user.

use sea_orm::entity::prelude::*;

/// A mode change.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mode_transitions")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_number: i64,
    /// Numbers the user's mode changes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// Numbers the user's outgoing messages.
    pub n: i64,
    /// The record that caused it.
    pub record_number: i64,
    /// The de-duplication key of the message.
    pub message_id: Uuid,
    /// The event's time.
    pub time: DateTimeUtc,
    /// The stamp of its batch.
    pub recorded_at: DateTimeUtc,
    /// The policy.
    pub policy: i32,
    /// The sealed message.
    pub body: Vec<u8>,
}

crate::plain!(Model);
