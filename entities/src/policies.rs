//! Every policy that ever decided something, with its text, for ever.

use sea_orm::entity::prelude::*;

/// A policy.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "policies")]
pub struct Model {
    /// Stands for it in other tables.
    #[sea_orm(primary_key)]
    pub policy: i32,
    /// Its version, a digest of its values.
    pub version: String,
    /// All of it.
    pub text: String,
    /// When it was first used.
    pub first_used_at: DateTimeUtc,
}

crate::plain!(Model);
