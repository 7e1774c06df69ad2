//! Tickets by which browsers open sockets, known by their digests.

use sea_orm::entity::prelude::*;

/// A ticket that was not used yet.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "socket_tickets")]
pub struct Model {
    /// SHA-256 of the ticket.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: Vec<u8>,
    /// For whom it is, sealed.
    pub identity: Vec<u8>,
    /// Until when it is good.
    pub expires_at: DateTimeUtc,
}

crate::plain!(Model);
