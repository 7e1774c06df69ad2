//! The records that changed their users' states: the hot table, ordered by time of the batch.

use sea_orm::entity::prelude::*;

/// A record that has changed its user's state.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_records")]
pub struct Model {
    /// The stamp of its batch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub time: DateTimeUtc,
    /// The lane that applied it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lane: i32,
    /// Its place in the batch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// Whose.
    pub user_number: i64,
    /// Its number among the user's records.
    pub number: i64,
    /// Which of the lane's two topics.
    pub source: i16,
    /// The offset there.
    pub log_offset: i64,
    /// When it entered the log.
    pub record_time: DateTimeUtc,
    /// The policy that it was decided under.
    pub policy: i32,
    /// The engine that decided it.
    pub engine: i16,
    /// The device that measured.
    pub device_id: String,
    /// What the producer calls it.
    pub event_type: String,
    /// The sealed record.
    pub body: Vec<u8>,
    /// The key of the user's record before it.
    pub previous_time: Option<DateTimeUtc>,
    /// See `previous_time`.
    pub previous_lane: Option<i32>,
    /// See `previous_time`.
    pub previous_position: Option<i32>,
}

crate::plain!(Model);
