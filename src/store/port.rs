//! [`Store`], the lanes' port, joined from its parts. Never more than a line of each.
//!
//! Lanes live on threads that compute; connections live on the runtime that opened the store. So every
//! question is carried over to that runtime, and a lane that is busy delays no other lane's answer.

use std::future::Future;

use actors::dead_letter::Letter;
use actors::hash_chain::writer_of;
use actors::lane::{FenceToken, Lane, Positions, Routing, UserNumber};
use actors::rows::{Batch, RecordPlace, Sink};
use actors::store::{
    Asked, AskedLetters, Begin, Claim, CommitError, NumberedPlace, Sources, Store, StoreError,
    StoredBase, StoredCommand, StoredLetter, StoredLook, StoredOutbox, StoredRecord, StoredUser,
    Tenure,
};
use async_trait::async_trait;
use neuros::time::Timestamp;

use super::{ANSWER_TIMEOUT, NO_ANSWER, SqlStore, sqlite};

/// What is asked for, without borrowing it.
enum Owned {
    Ids(Vec<String>),
    Numbers(Vec<UserNumber>),
}

/// The same of dead letters.
enum OwnedLetters {
    OfUser(UserNumber, usize),
    Named(Vec<Letter>),
}

impl SqlStore {
    /// Does `work` on the store's own runtime, to its end.
    pub(super) async fn carry<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let store = self.clone();
        let mut done = self.runtime.spawn(async move { work(store).await });
        // A server that is gone without a word would be waited for for ever.
        match tokio::time::timeout(ANSWER_TIMEOUT, &mut done).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(StoreError::Away("the process is going down".to_owned())),
            Err(_) => {
                // A transaction is in a task of its own, and goes on.
                done.abort();
                Err(StoreError::Away(NO_ANSWER.to_owned()))
            }
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn routing(&self) -> Result<Option<Routing>, StoreError> {
        self.carry(|store| async move { store.read_routing().await }).await
    }

    async fn claim(&self, lane: Lane, owner: &str, routing: &Routing) -> Result<Claim, StoreError> {
        let (owner, routing) = (owner.to_owned(), routing.clone());
        let claimed = self
            .carry(move |store| async move { store.claim_lane(lane, &owner, &routing).await })
            .await?;
        self.audited.found(&writer_of(lane), claimed.audited);
        Ok(claimed)
    }

    async fn skip_gap(
        &self,
        lane: Lane,
        token: FenceToken,
        starts: Positions,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.carry(move |store| async move { store.skip_lane_gap(lane, token, starts, at).await })
            .await
    }

    async fn tenure(&self, lane: Lane, token: FenceToken) -> Result<Option<Tenure>, StoreError> {
        self.carry(move |store| async move { store.read_tenure(lane, token).await }).await
    }

    async fn sources(&self, lane: Lane) -> Result<Sources, StoreError> {
        self.carry(move |store| async move { store.read_sources(lane).await }).await
    }

    async fn last_forwarded(&self, origin: Lane, home: Lane) -> Result<i64, StoreError> {
        self.carry(move |store| async move { store.read_last_forwarded(origin, home).await }).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        let committed = async {
            match &self.postgres {
                Some(postgres) => postgres.commit(batch, &self.runtime).await,
                None => sqlite::commit(&self.writer, batch, &self.runtime).await,
            }
        };
        // The transaction itself goes on; the next claim waits for it, or ends it.
        let committed = tokio::time::timeout(ANSWER_TIMEOUT, committed).await;
        committed.unwrap_or_else(|_| Err(CommitError::Unknown(NO_ANSWER.to_owned())))?;
        self.audited.note(&batch.audit.writer, batch.audit.link.head(), 1);
        Ok(())
    }

    async fn records_of_lane(
        &self,
        lane: Lane,
        after: (Timestamp, i32),
        upto: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        self.carry(move |store| async move {
            store.read_records_of_lane(lane, after, upto, limit).await
        })
        .await
    }

    async fn places_back(
        &self,
        user: UserNumber,
        begin: Begin,
        after: i64,
    ) -> Result<Vec<NumberedPlace>, StoreError> {
        self.carry(move |store| async move { store.read_places_back(user, begin, after).await })
            .await
    }

    async fn records_at(
        &self,
        user: UserNumber,
        places: &[RecordPlace],
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let places = places.to_vec();
        self.carry(move |store| async move { store.read_records_at(user, &places).await }).await
    }

    async fn users(&self, asked: Asked<'_>) -> Result<Vec<StoredUser>, StoreError> {
        let asked = match asked {
            Asked::Ids(ids) => Owned::Ids(ids.iter().map(|id| (*id).to_owned()).collect()),
            Asked::Numbers(numbers) => Owned::Numbers(numbers.to_vec()),
        };
        self.carry(move |store| async move {
            match &asked {
                Owned::Ids(ids) => {
                    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                    store.read_users(Asked::Ids(&ids)).await
                }
                Owned::Numbers(numbers) => store.read_users(Asked::Numbers(numbers)).await,
            }
        })
        .await
    }

    async fn users_after(
        &self,
        after: UserNumber,
        limit: i64,
    ) -> Result<Vec<StoredUser>, StoreError> {
        self.carry(move |store| async move { store.read_users_after(after, limit).await }).await
    }

    async fn bases(&self, user: UserNumber, upto: i64) -> Result<Vec<StoredBase>, StoreError> {
        self.carry(move |store| async move { store.read_bases(user, upto).await }).await
    }

    async fn quarantined(&self) -> Result<Vec<String>, StoreError> {
        self.carry(|store| async move { store.read_quarantined().await }).await
    }

    async fn erased(&self) -> Result<Vec<String>, StoreError> {
        self.carry(|store| async move { store.read_erased().await }).await
    }

    async fn commands(&self, lane: Lane, limit: i64) -> Result<Vec<StoredCommand>, StoreError> {
        self.carry(move |store| async move { store.read_commands(lane, limit).await }).await
    }

    async fn looks(
        &self,
        lane: Lane,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredLook>, StoreError> {
        self.carry(move |store| async move { store.read_looks(lane, now, limit).await }).await
    }

    async fn move_looks(&self, looks: &[(StoredLook, Lane)]) -> Result<(), StoreError> {
        let looks = looks.to_vec();
        self.carry(move |store| async move { store.write_moved_looks(&looks).await }).await
    }

    async fn letters(&self, asked: AskedLetters<'_>) -> Result<Vec<StoredLetter>, StoreError> {
        let asked = match asked {
            AskedLetters::OfUser(user, limit) => OwnedLetters::OfUser(user, limit),
            AskedLetters::Named(names) => OwnedLetters::Named(names.to_vec()),
        };
        self.carry(move |store| async move {
            let asked = match &asked {
                OwnedLetters::OfUser(user, limit) => AskedLetters::OfUser(*user, *limit),
                OwnedLetters::Named(names) => AskedLetters::Named(names),
            };
            store.read_letters(asked).await
        })
        .await
    }

    async fn keep_policy(&self, version: &str, text: &str) -> Result<i32, StoreError> {
        let (version, text) = (version.to_owned(), text.to_owned());
        self.carry(move |store| async move { store.write_policy(&version, &text).await }).await
    }

    async fn policy(&self, number: i32) -> Result<(String, String), StoreError> {
        self.carry(move |store| async move { store.read_policy(number).await }).await
    }

    async fn outbox(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        self.carry(move |store| async move { store.read_outbox(lane, sink, after, limit).await })
            .await
    }

    async fn cursor(&self, lane: Lane, sink: Sink) -> Result<i64, StoreError> {
        self.carry(move |store| async move { store.read_cursor(lane, sink).await }).await
    }

    async fn move_cursor(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError> {
        self.carry(move |store| async move { store.write_cursor(lane, token, sink, to).await })
            .await
    }
}
