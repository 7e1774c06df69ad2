//! Where what is sealed lies, which is what it is bound to: table, column, user and record. Never what it says.

use crate::lane::UserNumber;
use crate::seal::Place;

/// The tables whose sealed bodies are bound to them.
pub(crate) const TRANSITIONS: &str = "mode_transitions";
pub(crate) const OUTBOX: &str = "outbox";
pub(crate) const ALERTS: &str = "alert_changes";

/// Where a record's body lies.
pub fn record_place(user: UserNumber, number: i64) -> Place {
    Place { table: "event_records", column: "body", user: user.0, record: number }
}

/// Where a checkpoint lies.
pub fn checkpoint_place(user: UserNumber, record_number: i64) -> Place {
    Place { table: "users", column: "checkpoint", user: user.0, record: record_number }
}

/// Where a message waits in the outbox.
pub fn outbox_place(user: UserNumber, n: i64) -> Place {
    Place { table: OUTBOX, column: "body", user: user.0, record: n }
}

/// Where a mode change with its explanation lies.
pub fn transition_place(user: UserNumber, n: i64) -> Place {
    Place { table: TRANSITIONS, column: "body", user: user.0, record: n }
}

/// Where a change of an alert lies.
pub fn alert_place(user: UserNumber, n: i64) -> Place {
    Place { table: ALERTS, column: "body", user: user.0, record: n }
}
