//! The log of accesses: rows in chains, one chain for each writer. Only ever added to; no row of it is
//! changed or removed.

use std::sync::PoisonError;

use actors::hash_chain::{Content, Head, Link, RowHash};
use actors::store::StoreError;
use entities::phi_access_log::{ActiveModel, Column, Entity, Model};
use neuros::time::Timestamp;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, SqlErr,
};
use tokio::sync::{Mutex, oneshot};

use super::failure::of_database;
use super::{Access, NO_ANSWER, Options, SqlStore, instant};
use crate::audit::ENDED;

/// The chain of this process: what it writes down that is no batch.
pub(super) struct OwnChain {
    writer: String,
    /// Few: each is a request or a command that is not answered before.
    waiting: std::sync::Mutex<Vec<Waiting>>,
    known: Mutex<Known>,
}

/// An access that is to be written down, and who waits for that.
struct Waiting {
    access: Access,
    told: oneshot::Sender<Result<(), StoreError>>,
}

/// The chain's end, as far as this process knows.
struct Known {
    head: Head,
    /// Nothing can have been added since: no insert was given up, and nobody else writes to the chain.
    is_certain: bool,
    /// Its last row is written: nothing may follow.
    has_ended: bool,
}

/// How often the end is looked for while others add to the same chain.
const ATTEMPTS_MAX: usize = 100;

/// Rows that one statement adds, at most: SQLite takes 32,766 parameters.
const ROWS_MAX: usize = 1_000;

impl OwnChain {
    pub(super) fn of(options: &Options) -> Self {
        let known = Known { head: Head::default(), is_certain: false, has_ended: false };
        let waiting = std::sync::Mutex::default();
        Self { writer: options.writer.clone(), waiting, known: Mutex::new(known) }
    }

    pub(super) fn writer(&self) -> &str {
        &self.writer
    }

    fn put(&self, waiting: Waiting) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    /// Those who have waited longest; nobody behind the end.
    fn take(&self) -> (Vec<Access>, Vec<oneshot::Sender<Result<(), StoreError>>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let end = waiting.iter().position(|it| it.access.access_type == ENDED);
        let count = end.map_or(waiting.len(), |end| end + 1).min(ROWS_MAX);
        waiting.drain(..count).map(|Waiting { access, told }| (access, told)).unzip()
    }
}

/// A row as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAccess {
    /// Numbers the table's rows; given by the database, so that no hash covers it.
    pub id: i64,
    /// What it says.
    pub access: Access,
    /// Whose chain it is in; `None` in none.
    pub writer: Option<String>,
    /// Its number there.
    pub sequence: Option<i64>,
    /// The hash of the row before it, as it is stored.
    pub previous_hash: Option<Vec<u8>>,
    /// Its own hash, as it is stored.
    pub hash: Option<Vec<u8>>,
}

/// Rows that are in no chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unchained {
    /// How many.
    pub rows: u64,
    /// The highest id among them.
    pub newest: Option<i64>,
    /// The lowest id of a row that is in a chain.
    pub first_chained: Option<i64>,
}

impl SqlStore {
    pub(super) async fn write_access(&self, access: &Access) -> Result<(), StoreError> {
        let (told, written) = oneshot::channel();
        self.own_chain.put(Waiting { access: access.clone(), told });
        let work = async |store: Self| {
            store.write_waiting().await;
            Ok(())
        };
        let written = match self.carry(work).await {
            // Whoever had the chain before us has written ours, or we have.
            Ok(()) => written.await.unwrap_or_else(|_| Err(StoreError::Away(NO_ANSWER.to_owned()))),
            Err(error) => Err(error),
        };
        if written.is_err() {
            self.audited.note_failure();
        }
        written
    }

    /// Writes whatever waits, as many rows at once as there are: a crowd does not wait for one commit each.
    async fn write_waiting(&self) {
        let mut known = self.own_chain.known.lock().await;
        loop {
            let (accesses, tellers) = self.own_chain.take();
            if accesses.is_empty() {
                return;
            }
            let written = self.append(&mut known, &accesses).await;
            for told in tellers {
                // Whoever has gone away was not shown anything.
                told.send(written.clone()).ok();
            }
        }
    }

    /// Adds rows behind the newest of our chain, all or none. Of two processes with one chain the database's
    /// key lets one pass, and the other looks again.
    ///
    /// An insert of which nobody knows what became of it leaves the end uncertain: it is looked for before
    /// anything follows. If the insert lands even later, the key refuses what would have its place.
    async fn append(&self, known: &mut Known, accesses: &[Access]) -> Result<(), StoreError> {
        let writer = &self.own_chain.writer;
        if known.has_ended {
            return Err(StoreError::Away("the service ends, and shows nothing more".to_owned()));
        }
        for _ in 0..ATTEMPTS_MAX {
            if !known.is_certain {
                let stored = head_of(&self.writer, writer).await?;
                // Fewer rows than there were: what is missing must stay to be seen.
                if stored.sequence >= known.head.sequence {
                    known.head = stored;
                }
            }
            known.is_certain = false;
            let mut head = known.head;
            let rows = accesses.iter().map(|access| {
                let link = head.follow(writer, &access.content());
                head = link.head();
                row_of(access, writer, link)
            });
            let rows: Vec<ActiveModel> = rows.collect();
            match Entity::insert_many(rows).exec_without_returning(&self.writer).await {
                Ok(_) => {
                    let has_ended = accesses.last().is_some_and(|it| it.access_type == ENDED);
                    *known = Known { head, is_certain: true, has_ended };
                    self.audited.note(writer, head, accesses.len());
                    return Ok(());
                }
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(of_database(&error)),
            }
        }
        Err(StoreError::Away(format!("others write to the chain {writer} all the time")))
    }

    /// The writers' chains after that of `after`, with their ends; at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn chains(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Head)>, StoreError> {
        let mut chains: Vec<(String, Head)> = Vec::new();
        while chains.len() < limit {
            // One step along the index for each: their rows are not read.
            let last = chains.last().map(|(writer, _)| writer.as_str()).or(after);
            let next = Entity::find().select_only().column(Column::Writer);
            let next = match last {
                Some(last) => next.filter(Column::Writer.gt(last)),
                None => next.filter(Column::Writer.is_not_null()),
            };
            let next: Option<String> = next
                .order_by_asc(Column::Writer)
                .limit(1)
                .into_tuple()
                .one(&self.reader)
                .await
                .map_err(|error| of_database(&error))?;
            let Some(writer) = next else { break };
            let head = head_of(&self.reader, &writer).await?;
            chains.push((writer, head));
        }
        Ok(chains)
    }

    /// Where a writer's chain ends.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn chain_head(&self, writer: &str) -> Result<Head, StoreError> {
        let writer = writer.to_owned();
        self.carry(|store| async move { head_of(&store.reader, &writer).await }).await
    }

    /// A chain's rows behind `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn chain_rows(
        &self,
        writer: &str,
        after: i64,
        limit: u64,
    ) -> Result<Vec<StoredAccess>, StoreError> {
        let rows = Entity::find()
            .filter(Column::Writer.eq(writer))
            .filter(Column::Sequence.gt(after))
            .order_by_asc(Column::Sequence)
            .limit(limit)
            .all(&self.reader)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(access).collect())
    }

    /// The rows that are in no chain behind the one with the id `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn unchained_rows(
        &self,
        after: i64,
        limit: u64,
    ) -> Result<Vec<StoredAccess>, StoreError> {
        let rows = Entity::find()
            .filter(is_unchained())
            .filter(Column::Id.gt(after))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.reader)
            .await;
        Ok(rows.map_err(|error| of_database(&error))?.into_iter().map(access).collect())
    }

    /// What is in no chain.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn unchained(&self) -> Result<Unchained, StoreError> {
        let rows = Entity::find().filter(is_unchained()).count(&self.reader).await;
        let newest = Entity::find().filter(is_unchained()).order_by_desc(Column::Id);
        let first = Entity::find().filter(is_unchained().not()).order_by_asc(Column::Id);
        let mut ids = [None; 2];
        for (id, query) in ids.iter_mut().zip([newest, first]) {
            let query = query.select_only().column(Column::Id).limit(1).into_tuple::<i64>();
            *id = query.one(&self.reader).await.map_err(|error| of_database(&error))?;
        }
        let [newest, first_chained] = ids;
        Ok(Unchained { rows: rows.map_err(|error| of_database(&error))?, newest, first_chained })
    }
}

/// Whether another row has the place.
fn is_taken(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

fn is_unchained() -> Condition {
    Condition::any().add(Column::Writer.is_null()).add(Column::Sequence.is_null())
}

/// Where a writer's chain ends, as it is stored. A row whose hash was taken away, or is of a release to come,
/// does not stop those behind it: they show that it is missing.
pub(super) async fn head_of(
    connection: &impl ConnectionTrait,
    writer: &str,
) -> Result<Head, StoreError> {
    let newest: Option<(i64, Option<Vec<u8>>)> = Entity::find()
        .select_only()
        .columns([Column::Sequence, Column::Hash])
        .filter(Column::Writer.eq(writer))
        .filter(Column::Sequence.is_not_null())
        .order_by_desc(Column::Sequence)
        .limit(1)
        .into_tuple()
        .one(connection)
        .await
        .map_err(|error| of_database(&error))?;
    let Some((sequence, hash)) = newest else { return Ok(Head::default()) };
    let hash = hash.as_deref().and_then(RowHash::from_bytes);
    if hash.is_none() {
        tracing::error!(writer, sequence, "the newest row of the log of accesses has no hash");
    }
    Ok(Head { sequence, hash })
}

impl Access {
    /// What the hash of its row covers.
    pub fn content(&self) -> Content<'_> {
        Content {
            user_id: self.user_id.as_deref(),
            accessor_id: &self.accessor_id,
            access_type: &self.access_type,
            table_name: &self.table_name,
            record_id: self.record_id.as_deref(),
            records: self.records,
            time_us: instant::micros(self.time),
        }
    }
}

fn row_of(access: &Access, writer: &str, link: Link) -> ActiveModel {
    ActiveModel {
        id: NotSet,
        user_id: Set(access.user_id.clone()),
        accessor_id: Set(access.accessor_id.clone()),
        access_type: Set(access.access_type.clone()),
        table_name: Set(access.table_name.clone()),
        record_id: Set(access.record_id.clone()),
        records: Set(access.records),
        access_time: Set(instant::of(access.time)),
        writer: Set(Some(writer.to_owned())),
        sequence: Set(Some(link.sequence)),
        previous_hash: Set(link.previous.map(RowHash::to_bytes)),
        hash: Set(Some(link.hash.to_bytes())),
    }
}

/// A row as it is.
pub(super) fn access(row: Model) -> StoredAccess {
    let time: Timestamp = instant::from(row.access_time);
    StoredAccess {
        id: row.id,
        access: Access {
            user_id: row.user_id,
            accessor_id: row.accessor_id,
            access_type: row.access_type,
            table_name: row.table_name,
            record_id: row.record_id,
            records: row.records,
            time,
        },
        writer: row.writer,
        sequence: row.sequence,
        previous_hash: row.previous_hash,
        hash: row.hash,
    }
}
