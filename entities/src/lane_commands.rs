//! What operators and users asked for; each lane's owner applies them in order.

use sea_orm::entity::prelude::*;

/// Something that was asked for.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lane_commands")]
pub struct Model {
    /// Numbers the rows: the order.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The lane that applies it.
    pub lane: i32,
    /// What to do.
    pub kind: String,
    /// To whom.
    pub user_id: Option<String>,
    /// The sealed particulars.
    pub body: Option<Vec<u8>>,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTimeUtc,
    /// The batch that applied it.
    pub applied_batch: Option<i64>,
    /// The user's newest record number with it, when it is about one user.
    pub record_number: Option<i64>,
    /// What came of it.
    pub outcome: Option<String>,
}

crate::plain!(Model);
