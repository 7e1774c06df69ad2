//! The schema, one change a file, only ever added to: a change that was released is never edited.

use sea_orm_migration::prelude::*;

mod backend;
mod key_store;
mod m0001_lanes;
mod m0002_users;
mod m0003_records;
mod m0004_decisions;
mod m0005_outbox;
mod m0006_commands;
mod m0007_views;
mod m0008_hypertable;
mod m0009_released;
mod m0010_expansion;
mod m0011_chain;
mod m0012_lease;
mod m0013_indexes;
mod m0014_audit_chain;
mod m0015_erasure;
mod m0016_alert_looks;
mod m0017_indexes_for_people;
mod m0018_socket_tickets;
mod m0020_coach;
mod m0021_base_places;
mod m0022_room_for_checkpoints;

pub use key_store::KeyMigrator;
pub use sea_orm_migration::MigratorTrait;

/// All changes, in order.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_lanes::Migration),
            Box::new(m0002_users::Migration),
            Box::new(m0003_records::Migration),
            Box::new(m0004_decisions::Migration),
            Box::new(m0005_outbox::Migration),
            Box::new(m0006_commands::Migration),
            Box::new(m0007_views::Migration),
            Box::new(m0008_hypertable::Migration),
            Box::new(m0009_released::Migration),
            Box::new(m0010_expansion::Migration),
            Box::new(m0011_chain::Migration),
            Box::new(m0012_lease::Migration),
            Box::new(m0013_indexes::Migration),
            Box::new(m0014_audit_chain::Migration),
            Box::new(m0015_erasure::Migration),
            Box::new(m0016_alert_looks::Migration),
            Box::new(m0017_indexes_for_people::Migration),
            Box::new(m0018_socket_tickets::Migration),
            Box::new(m0020_coach::Migration),
            Box::new(m0021_base_places::Migration),
            Box::new(m0022_room_for_checkpoints::Migration),
        ]
    }
}
