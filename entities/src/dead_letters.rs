//! Records that could not be applied, whole and sealed.

use sea_orm::entity::prelude::*;

/// A record that could not be applied.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_letters")]
pub struct Model {
    /// The lane that read it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lane: i32,
    /// Its number in the lane's outbox.
    #[sea_orm(primary_key, auto_increment = false)]
    pub outbox: i64,
    /// Which of the lane's two topics.
    pub source: i16,
    /// The offset there.
    pub log_offset: i64,
    /// When it entered the log.
    pub record_time: Option<DateTimeUtc>,
    /// Why, machine-readable.
    pub reason: String,
    /// Why, for people; quotes nothing of the record.
    pub detail: String,
    /// Whose, when it is kept for the user's release from quarantine.
    pub user_number: Option<i64>,
    /// The stamp of its batch.
    pub failed_at: DateTimeUtc,
    /// When it left the list.
    pub released_at: Option<DateTimeUtc>,
    /// The sealed record as it came.
    pub body: Vec<u8>,
    /// What became of it then: `applied`, `duplicate` or `discarded`.
    pub fate: Option<String>,
}

crate::plain!(Model);
