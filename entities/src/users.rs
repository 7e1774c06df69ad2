//! Each user with their newest checkpoint; the number stands for the id everywhere else.

use sea_orm::entity::prelude::*;

/// A user.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// Stands for the user id in all other tables.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_number: i64,
    /// The id that producers use.
    #[sea_orm(unique)]
    pub user_id: String,
    /// The newest record in the checkpoint.
    pub record_number: i64,
    /// The newest outgoing message up to there.
    pub message_number: i64,
    /// The sealed state; absent once somebody deleted it.
    pub checkpoint: Option<Vec<u8>>,
    /// The format of the state.
    pub checkpoint_version: i16,
    /// The stamp of the batch that wrote it.
    pub checkpointed_at: DateTimeUtc,
    /// Since when nothing of this user is evaluated.
    pub quarantined_at: Option<DateTimeUtc>,
    /// The stamp of the batch that saw the user first.
    pub created_at: DateTimeUtc,
    /// The key of the newest record in the checkpoint.
    pub newest_time: Option<DateTimeUtc>,
    /// See `newest_time`.
    pub newest_lane: Option<i32>,
    /// See `newest_time`.
    pub newest_position: Option<i32>,
    /// Since when nothing of this user is accepted.
    pub erased_at: Option<DateTimeUtc>,
    /// The newest record from before an erasure: the user's own come behind it.
    pub start_record_number: i64,
    /// The same of messages.
    pub start_message_number: i64,
    /// The same of mode changes.
    pub start_seq: i64,
    /// The same of keys: what goes with an erasure are those up to it.
    pub start_key_number: i64,
}

crate::plain!(Model);
