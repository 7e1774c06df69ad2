//! The names that runbooks, dashboards and people use, as views over the tables. Never the only way to
//! what the service itself needs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::ConnectionTrait;

use crate::backend::is_postgres;

/// The change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for view in VIEWS {
            connection.execute_unprepared(view).await?;
        }
        let forget = if is_postgres(manager) { FORGET_ON_POSTGRES } else { FORGET_ON_SQLITE };
        connection.execute_unprepared(forget).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for view in [
            "biometric_alerts",
            "cognitive_mode_transitions",
            "biometric_events",
            "neuros_checkpoints",
        ] {
            connection.execute_unprepared(&format!("DROP VIEW {view}")).await?;
        }
        if is_postgres(manager) {
            connection.execute_unprepared("DROP FUNCTION forget_checkpoint()").await?;
        }
        Ok(())
    }
}

/// Outer joins, for a database drops them from a query that asks for nothing of the user, such as a
/// count. The newest change of an alert is found by its index, also when one user is asked for.
const VIEWS: [&str; 4] = [
    "CREATE VIEW biometric_events AS
     SELECT e.time, u.user_id, e.device_id, e.event_type,
            CAST(e.user_number AS text) || ':' || CAST(e.number AS text) AS id,
            e.user_number, e.number AS record_number, e.lane, e.source, e.log_offset, e.record_time,
            p.version AS policy_version, e.engine
     FROM event_records e
     LEFT JOIN users u ON u.user_number = e.user_number
     LEFT JOIN policies p ON p.policy = e.policy",
    "CREATE VIEW neuros_checkpoints AS
     SELECT user_id AS thread_id, checkpoint_version AS version, record_number, message_number,
            checkpointed_at AS created_at
     FROM users
     WHERE checkpoint IS NOT NULL",
    "CREATE VIEW cognitive_mode_transitions AS
     SELECT u.user_id, t.seq, t.n, t.message_id, t.time AS transition_time, t.recorded_at,
            t.record_number, p.version AS policy_version
     FROM mode_transitions t
     LEFT JOIN users u ON u.user_number = t.user_number
     LEFT JOIN policies p ON p.policy = t.policy",
    "CREATE VIEW biometric_alerts AS
     SELECT u.user_id, a.alert_id AS id, a.n, a.message_id, a.status, a.started_at, a.updated_at,
            a.ended_at, a.recorded_at, a.record_number
     FROM alert_changes a
     LEFT JOIN users u ON u.user_number = a.user_number
     WHERE NOT EXISTS (
         SELECT 1 FROM alert_changes later
         WHERE later.user_number = a.user_number AND later.alert_id = a.alert_id AND later.n > a.n)",
];

/// Runbooks delete checkpoints as a cure. The user stays known, and the state is rebuilt from stored
/// records.
const FORGET_ON_POSTGRES: &str = "
    CREATE FUNCTION forget_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE users SET checkpoint = NULL WHERE user_id = OLD.thread_id;
        RETURN OLD;
    END
    $$;
    CREATE TRIGGER neuros_checkpoints_delete INSTEAD OF DELETE ON neuros_checkpoints
    FOR EACH ROW EXECUTE FUNCTION forget_checkpoint()";

const FORGET_ON_SQLITE: &str = "
    CREATE TRIGGER neuros_checkpoints_delete INSTEAD OF DELETE ON neuros_checkpoints
    BEGIN
        UPDATE users SET checkpoint = NULL WHERE user_id = OLD.thread_id;
    END";
