//! One batch, one transaction: the compare-and-set of the lane's row first, then everything else, each
//! table's rows in one command. Never commits a part, and never guesses what became of a COMMIT.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actors::rows::Batch;
use actors::store::CommitError;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};
use uuid::Uuid;

use super::copy;
use crate::store::failure::{before_commit, of_commit, of_driver};
use crate::store::{ANSWER_TIMEOUT, NO_ANSWER, progress};

mod connections;
mod erase;
mod lane;
mod rows;
mod statement;

pub(super) use connections::Connections;

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
    pub(super) fn take(&self, lane: i32) -> Option<String> {
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
    /// Whether the lane's row is looked for only where the lane's last commit has left it.
    at_its_place: bool,
    /// Sets the lane's row.
    first: Written,
    records: Vec<u8>,
    record_count: u64,
    statements: Vec<Written>,
}

/// A statement that gives a row of counts: of what each of its parts has touched. The first one's come behind the
/// place of the lane's row.
pub(super) struct Written {
    statement: Statement,
    /// What the counts must be, and what it means when one is less.
    expected: Vec<(u64, Missing)>,
}

impl Prepared {
    /// Encodes a batch.
    pub(super) fn of(batch: &Batch, place: Option<String>) -> Result<Self, CommitError> {
        if !progress::follows(&batch.before, &batch.after, batch.outbox.len()) {
            return Err(CommitError::Refused(
                "the batch does not follow on the one before it".to_owned(),
            ));
        }
        let at_its_place = place.is_some();
        let (first, mut statements) = rows::statements(batch, place);
        statements.extend(erase::statements(batch));
        Ok(Self {
            lane: batch.lane.0,
            token: batch.token.0,
            at_its_place,
            first,
            records: copy::encode(batch),
            record_count: count(batch.records.len()),
            statements,
        })
    }
}

fn count(rows: usize) -> u64 {
    rows as u64
}

/// What became of a batch, if nothing failed.
pub(super) enum Done {
    /// It is committed.
    Committed,
    /// Nothing was done: the lane's row is not where the lane's last commit had left it.
    Elsewhere,
}

/// Writes a batch. A connection on which anything failed is closed, never used again.
pub(super) async fn run(
    connections: Connections,
    places: Places,
    prepared: Prepared,
) -> Result<Done, CommitError> {
    let mut kept = connections.get().await.map_err(|error| before_commit(of_driver(&error)))?;
    let lane = prepared.lane;
    // Whoever waits for the answer gives up as late; without this the connection would never come free.
    let done = tokio::time::timeout(ANSWER_TIMEOUT, transact(kept.connection(), prepared)).await;
    match done.unwrap_or_else(|_| Err(CommitError::Unknown(NO_ANSWER.to_owned()))) {
        Ok(place) => {
            connections.keep(kept);
            let Some(place) = place else { return Ok(Done::Elsewhere) };
            places.put(lane, place);
            Ok(Done::Committed)
        }
        Err(error) => {
            kept.end();
            Err(error)
        }
    }
}

/// Gives the place of the lane's row; none when that is not where it was.
async fn transact(
    connection: &mut PgConnection,
    prepared: Prepared,
) -> Result<Option<String>, CommitError> {
    let broke = |error: sqlx::Error| before_commit(of_driver(&error));
    sqlx::raw_sql("BEGIN; SET LOCAL synchronous_commit = on")
        .execute(&mut *connection)
        .await
        .map_err(broke)?;
    let Written { statement, expected } = prepared.first;
    let set = statement.fetch_one(&mut *connection).await.map_err(broke)?;
    let place: Option<String> = set.try_get(0).map_err(broke)?;
    if place.is_none() && prepared.at_its_place {
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.map_err(broke)?;
        return Ok(None);
    }
    if place.is_none() {
        return Err(whose(connection, prepared.lane, prepared.token).await);
    }
    compare(&set, 1, &expected)?;
    if !prepared.records.is_empty() {
        let copied = copy_in(connection, &prepared.records).await.map_err(broke)?;
        if copied != prepared.record_count {
            return Err(CommitError::Refused("not every record was stored".to_owned()));
        }
    }
    for Written { statement, expected } in prepared.statements {
        let touched = statement.fetch_one(&mut *connection).await.map_err(broke)?;
        compare(&touched, 0, &expected)?;
    }
    let committed = sqlx::raw_sql("COMMIT").execute(&mut *connection).await;
    committed.map(|_| place).map_err(|error| of_commit(&error))
}

/// Compares the counts of a statement, which begin with column `first`.
fn compare(touched: &PgRow, first: usize, expected: &[(u64, Missing)]) -> Result<(), CommitError> {
    for (column, (rows, missing)) in (first..).zip(expected) {
        let touched: i64 =
            touched.try_get(column).map_err(|error| before_commit(of_driver(&error)))?;
        if u64::try_from(touched) != Ok(*rows) {
            return Err((*missing).into());
        }
    }
    Ok(())
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
