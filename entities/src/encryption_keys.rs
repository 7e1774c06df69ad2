//! Data keys, wrapped by a key that is not in this database.

use sea_orm::entity::prelude::*;

/// A wrapped data key.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "encryption_keys")]
pub struct Model {
    /// Names the key: its owner's number and its own. On PostgreSQL those two are the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    /// Whose; 0 for the service's own. Never absent.
    pub user_number: Option<i64>,
    /// Numbers its owner's keys, from 1.
    pub key_number: i32,
    /// The key, wrapped; empty once it is destroyed.
    pub encrypted_key: Vec<u8>,
    /// Names the key that wraps it.
    pub wrapped_by: String,
    /// When it was made.
    pub created_at: DateTimeUtc,
    /// Since when it seals nothing new.
    pub retired_at: Option<DateTimeUtc>,
    /// Since when it opens nothing, for ever.
    pub destroyed_at: Option<DateTimeUtc>,
    /// How much its owner's keys before it had sealed, at most.
    pub sealed_before: i64,
}

crate::plain!(Model);
