//! The tables, one entity a file: what a row holds, and nothing that is done with it.

pub mod alert_changes;
pub mod alert_looks;
pub mod base_checkpoints;
pub mod closed_generations;
pub mod coach_messages;
pub mod dead_letters;
pub mod encryption_keys;
pub mod event_records;
pub mod lane_commands;
pub mod lane_gaps;
pub mod lanes;
pub mod mode_transitions;
pub mod outbox;
pub mod phi_access_log;
pub mod policies;
pub mod relay_cursors;
pub mod routing;
pub mod socket_tickets;
pub mod users;

/// What each entity needs beside its columns: no relations, no behaviour, and a `Debug` that shows
/// nothing of the row, for a row says whose it is.
macro_rules! plain {
    ($model:ident) => {
        impl std::fmt::Debug for $model {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($model)).finish_non_exhaustive()
            }
        }

        /// Joins are written where they are needed.
        #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    };
}
pub(crate) use plain;
