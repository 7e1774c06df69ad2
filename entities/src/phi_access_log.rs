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
    /// Whose chain it is in; in none before there were chains.
    pub writer: Option<String>,
    /// Numbers the chain's rows, from 1.
    pub sequence: Option<i64>,
    /// The hash of the row before it; none for the first.
    pub previous_hash: Option<Vec<u8>>,
    /// The hash of all this but `id`, behind the version of how it is made.
    pub hash: Option<Vec<u8>>,
}

crate::plain!(Model);
