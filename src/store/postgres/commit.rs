//! One batch, one transaction: the compare-and-set of the lane's row first, then everything else, each
//! table's rows in one command. Never commits a part, and never guesses what became of a COMMIT.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actors::rows::Batch;
use actors::store::CommitError;
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
use sqlx::query::Query;
use sqlx::{Postgres, Row};
use uuid::Uuid;

use super::copy;
use crate::store::failure::{before_commit, of_commit, of_driver};
use crate::store::{ANSWER_TIMEOUT, NO_ANSWER, progress};

mod erase;
mod lane;
mod rows;

/// A statement with its parameters in it.
pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// What it means when a statement touches fewer rows than it should.
#[derive(Clone, Copy)]
enum Missing {
    /// Somebody else has written a newer state: the lane is theirs.
    Fenced,
    /// A row that must be there is not.
    Refused(&'static str),
}

impl From<Missing> for CommitError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Fenced => Self::Fenced,
            Missing::Refused(table) => {
                Self::Refused(format!("table {table}: not every row was written"))
            }
        }
    }
}

/// Where the last commit of each lane left its row (`ctid`): a hint, which whoever goes by it compares with
/// all that the row must say.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<BTreeMap<i32, String>>>);

impl Places {
    fn take(&self, lane: i32) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&lane)
    }

    fn put(&self, lane: i32, place: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lane, place);
    }
}

/// A batch, all of it encoded before the transaction begins.
pub(super) struct Prepared {
    lane: i32,
    token: Uuid,
    /// At the place where the lane's last commit left its row, if that is known; and wherever it lies.
    at_its_place: Option<Statement>,
    compare_and_set: Statement,
    records: Vec<u8>,
    record_count: u64,
    statements: Vec<Written>,
}

/// A statement that gives a row of counts: of what each of its parts has touched.
pub(super) struct Written {
    statement: Statement,
    /// What the counts must be, and what it means when one is less.
    expected: Vec<(u64, Missing)>,
}

impl Prepared {
    /// Encodes a batch.
    pub(super) fn of(batch: &Batch, places: &Places) -> Result<Self, CommitError> {
        if !progress::follows(&batch.before, &batch.after, batch.outbox.len()) {
            return Err(CommitError::Refused(
                "the batch does not follow on the one before it".to_owned(),
            ));
        }
        Ok(Self {
            lane: batch.lane.0,
            token: batch.token.0,
            at_its_place: places
                .take(batch.lane.0)
                .map(|place| lane::compare_and_set_at(batch, place)),
            compare_and_set: lane::compare_and_set(batch),
            records: copy::encode(batch),
            record_count: count(batch.records.len()),
            statements: rows::statements(batch)
                .into_iter()
                .chain(erase::statements(batch))
                .collect(),
        })
    }
}

fn count(rows: usize) -> u64 {
    rows as u64
}

/// Writes a batch. A connection on which anything failed is closed, never used again.
pub(super) async fn run(
    pool: PgPool,
    places: Places,
    prepared: Prepared,
) -> Result<(), CommitError> {
    let mut connection = pool.acquire().await.map_err(|error| before_commit(of_driver(&error)))?;
    let lane = prepared.lane;
    // Whoever waits for the answer gives up as late; without this the connection would never come free.
    let done = tokio::time::timeout(ANSWER_TIMEOUT, transact(&mut connection, prepared)).await;
    match done.unwrap_or_else(|_| Err(CommitError::Unknown(NO_ANSWER.to_owned()))) {
        Ok(place) => {
            places.put(lane, place);
            Ok(())
        }
        Err(error) => {
            // Without its goodbye, which could wait for ever: the server rolls back when it notices.
            drop(connection.detach());
            Err(error)
        }
    }
}

/// Gives the place of the lane's row.
async fn transact(
    connection: &mut PgConnection,
    prepared: Prepared,
) -> Result<String, CommitError> {
    let broke = |error: sqlx::Error| before_commit(of_driver(&error));
    sqlx::raw_sql("BEGIN; SET LOCAL synchronous_commit = on")
        .execute(&mut *connection)
        .await
        .map_err(broke)?;
    let mut place = match prepared.at_its_place {
        Some(statement) => set(connection, statement).await.map_err(broke)?,
        None => None,
    };
    if place.is_none() {
        place = set(connection, prepared.compare_and_set).await.map_err(broke)?;
    }
    let Some(place) = place else {
        return Err(whose(connection, prepared.lane, prepared.token).await);
    };
    if !prepared.records.is_empty() {
        let copied = copy_in(connection, &prepared.records).await.map_err(broke)?;
        if copied != prepared.record_count {
            return Err(CommitError::Refused("not every record was stored".to_owned()));
        }
    }
    for Written { statement, expected } in prepared.statements {
        let touched = statement.fetch_one(&mut *connection).await.map_err(broke)?;
        for (place, (rows, missing)) in expected.into_iter().enumerate() {
            let touched: i64 = touched.try_get(place).map_err(broke)?;
            if u64::try_from(touched) != Ok(rows) {
                return Err(missing.into());
            }
        }
    }
    let committed = sqlx::raw_sql("COMMIT").execute(&mut *connection).await;
    committed.map(|_| place).map_err(|error| of_commit(&error))
}

/// Sets a lane's row; gives the place of its new version if there was one to set.
async fn set(
    connection: &mut PgConnection,
    statement: Statement,
) -> Result<Option<String>, sqlx::Error> {
    let rows = statement.fetch_all(connection).await?;
    rows.first().map(|row| row.try_get(0)).transpose()
}

/// In pieces, so that the server works while the rest is sent.
async fn copy_in(connection: &mut PgConnection, rows: &[u8]) -> Result<u64, sqlx::Error> {
    const PIECE: usize = 128 * 1024;
    let mut copy = connection.copy_in_raw(copy::COPY).await?;
    for piece in rows.chunks(PIECE) {
        copy.send(piece).await?;
    }
    copy.finish().await
}

/// The compare-and-set hit nothing: is the lane somebody else's, or elsewhere?
async fn whose(connection: &mut PgConnection, lane: i32, token: Uuid) -> CommitError {
    let row = sqlx::query("SELECT fence_token FROM lanes WHERE lane = $1").bind(lane);
    let stored = match row.fetch_optional(connection).await {
        Ok(row) => row.map(|row| row.try_get::<Uuid, _>(0)).transpose(),
        Err(error) => Err(error),
    };
    match stored {
        Ok(Some(stored)) if stored == token => CommitError::OutOfStep,
        Ok(_) => CommitError::Fenced,
        Err(error) => before_commit(of_driver(&error)),
    }
}
