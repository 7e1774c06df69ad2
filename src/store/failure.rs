//! What a database's error means for a lane. Texts name servers, tables, constraints and codes; never
//! a value, though the databases like to quote them.

use actors::store::{CommitError, StoreError};
use sea_orm::{DbErr, RuntimeErr};

/// What an error of sea-orm means.
pub(super) fn of_database(error: &DbErr) -> StoreError {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => of_driver(error),
        DbErr::ConnectionAcquire(_) => StoreError::Away(NO_CONNECTION.to_owned()),
        DbErr::Conn(_) => StoreError::Away("the connection is closed".to_owned()),
        // What is left is about types and missing rows, and quotes them.
        _ => StoreError::Refused("the store answered in a form that is not known".to_owned()),
    }
}

/// What an error of the driver means, met before COMMIT was sent.
pub(super) fn of_driver(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => of_answer(error.as_ref()),
        sqlx::Error::Io(error) => StoreError::Away(format!("the connection broke: {error}")),
        sqlx::Error::Tls(error) => StoreError::Away(format!("TLS: {error}")),
        sqlx::Error::PoolTimedOut => StoreError::Away(NO_CONNECTION.to_owned()),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Away("the connections are closed".to_owned())
        }
        sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => {
            StoreError::Away("the connection is out of step with the server".to_owned())
        }
        sqlx::Error::Configuration(_) => {
            StoreError::Refused("the store's URL or its TLS files cannot be read".to_owned())
        }
        // What is left is about types and columns, and quotes what did not fit.
        _ => StoreError::Refused("the store answered in a form that is not known".to_owned()),
    }
}

/// What a failure before COMMIT means for a batch: it is certainly not committed.
pub(super) fn before_commit(error: StoreError) -> CommitError {
    match error {
        StoreError::Away(problem) | StoreError::Denied(problem) => CommitError::Away(problem),
        refused => CommitError::Refused(refused.into_problem()),
    }
}

/// What a failure of COMMIT itself means. Only an answer that says "rolled back" is certain; a server
/// that ends its backends may do so after the commit, and a broken connection says nothing at all.
pub(super) fn of_commit(error: &sqlx::Error) -> CommitError {
    let answered = error.as_database_error().and_then(|error| error.code());
    let rolled_back = answered.is_some_and(|code| {
        let state = code.as_ref();
        // 40003 is "statement completion unknown"; 5 is SQLite's "busy", which leaves it open.
        state == "5" || state.starts_with("23") || (state.starts_with("40") && state != "40003")
    });
    match of_driver(error) {
        failure if rolled_back => before_commit(failure),
        failure => CommitError::Unknown(failure.into_problem()),
    }
}

/// [`of_commit`] for an error of sea-orm.
pub(super) fn of_orm_commit(error: &DbErr) -> CommitError {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => of_commit(error),
        error => CommitError::Unknown(of_database(error).into_problem()),
    }
}

const NO_CONNECTION: &str = "no connection could be had in time";

/// What an answer of the database means.
fn of_answer(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default();
    if code.len() == 5 { of_sqlstate(&code, error) } else { of_sqlite(&code) }
}

/// PostgreSQL: classes of appendix A of its manual.
fn of_sqlstate(state: &str, error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let place = match (error.table(), error.constraint()) {
        (Some(table), Some(constraint)) => format!(", table {table}, constraint {constraint}"),
        (Some(table), None) => format!(", table {table}"),
        (None, Some(constraint)) => format!(", constraint {constraint}"),
        (None, None) => String::new(),
    };
    // Of these classes the messages quote data, or may.
    let words = match state.get(..2).unwrap_or_default() {
        "22" => "a value does not fit",
        "23" => "a row breaks a constraint",
        "54" => "a limit of the server was exceeded",
        "P0" | "XX" => "the server failed inside",
        _ => error.message(),
    };
    let text = format!("{words} (SQLSTATE {state}{place})");
    match state.get(..2).unwrap_or_default() {
        // Granting a right helps, and nobody should have to restart for it.
        _ if state == "42501" => StoreError::Away(text),
        // Wrong name or password, or a database that is not there.
        "28" | "3D" => StoreError::Denied(text),
        "22" | "23" | "42" | "54" => StoreError::Refused(text),
        _ => StoreError::Away(text),
    }
}

/// SQLite: the low byte of an extended result code is the primary one.
fn of_sqlite(code: &str) -> StoreError {
    const CONSTRAINT: i32 = 19;
    const NEVER: [i32; 6] = [1, 11, 18, 20, 25, 26];
    let number: i32 = code.parse().unwrap_or_default();
    let primary = number & 0xff;
    if primary == CONSTRAINT {
        return StoreError::Refused(format!("a row breaks a constraint (SQLite code {code})"));
    }
    let text = format!("SQLite answered with code {code}");
    if NEVER.contains(&primary) { StoreError::Refused(text) } else { StoreError::Away(text) }
}
