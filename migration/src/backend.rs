//! Where the databases differ: what only one of them is told, and how each says "now". Never decides
//! what a table holds.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

/// Whether the database is PostgreSQL.
pub(crate) fn is_postgres(manager: &SchemaManager<'_>) -> bool {
    manager.get_database_backend() == DbBackend::Postgres
}

/// Runs statements, on PostgreSQL only.
pub(crate) async fn on_postgres(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    if is_postgres(manager) {
        manager.get_connection().execute_unprepared(sql).await?;
    }
    Ok(())
}

/// The database's clock, as a default for what people write by hand. SQLite keeps times as text, all
/// of one form, so that they sort.
pub(crate) fn now(manager: &SchemaManager<'_>) -> Expr {
    if is_postgres(manager) {
        Expr::cust("now()")
    } else {
        Expr::cust("(strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'))")
    }
}
