//! Who did what to whose data; only ever added to.

use sea_orm::entity::prelude::*;

/// An access to health data.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "phi_access_log")]
pub struct Model {
    /// Numbers the rows.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Whose, when it was one person's.
    pub user_id: Option<String>,
    /// Who.
    pub accessor_id: String,
    /// What they did.
    pub access_type: String,
    /// To which table, mainly.
    pub table_name: String,
    /// To which part of it.
    pub record_id: Option<String>,
    /// To how many records.
    pub records: i64,
    /// When.
    pub access_time: DateTimeUtc,
}

crate::plain!(Model);
