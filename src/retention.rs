//! Old records go once the state that they led to is kept as a base that opens. Never drops a record that no
//! such base holds, whoever deleted or spoilt what.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::lane::UserNumber;
use actors::places::checkpoint_place;
use actors::restore::{RestoreError, Restorer};
use actors::seal::{DataKey, KeyRing, Seal};
use actors::store::{Asked, Store as _, StoreError, StoredBase, StoredUser};
use neuros::ENGINE_VERSION;
use neuros::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::store::{NewBase, Span, SqlStore, Upto};

/// Records, and users of a chunk, that are looked at in one step.
const STEP: usize = 10_000;
/// Users whose checkpoints and bases are in memory at once.
const USERS_PAGE: usize = 1_000;
/// Users whose bases are remembered as good; beyond that they are opened again.
const KNOWN_MAX: usize = 200_000;

/// What came of a look at old records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Bases that were made.
    pub bases: usize,
    /// Records that were dropped one by one.
    pub records: u64,
    /// Chunks that were dropped whole.
    pub chunks: usize,
    /// Users whose records stay, for they have no base and none can be made.
    pub unheld: usize,
}

/// Drops old records.
pub struct Retention {
    store: Arc<SqlStore>,
    keys: Arc<dyn KeyRing>,
    seal: Arc<dyn Seal>,
    restorer: Restorer,
}

impl Retention {
    /// One for the records of `store`, whose keys `keys` gives.
    pub fn new(store: Arc<SqlStore>, keys: Arc<dyn KeyRing>, seal: Arc<dyn Seal>) -> Self {
        let restorer = Restorer::new(Arc::clone(&store) as _, Arc::clone(&seal), Arc::clone(&keys));
        Self { store, keys, seal, restorer }
    }

    /// Drops the records from before `horizon` that a base holds, and makes the bases that this takes; by
    /// chunks, where TimescaleDB has them and `by_chunk` says so, of those that have wholly passed it.
    ///
    /// # Errors
    ///
    /// When the store or the keys are away; what was dropped until then is.
    pub async fn drop_before(
        &self,
        horizon: Timestamp,
        by_chunk: bool,
        stop: &CancellationToken,
    ) -> Result<Gone, RestoreError> {
        let mut look =
            Look { of: self, horizon, stop, known: BTreeMap::new(), gone: Gone::default() };
        let chunks = if by_chunk { self.store.chunks(horizon).await? } else { None };
        let mut before = horizon;
        if let Some(chunks) = chunks {
            before = chunks.last().map_or(Timestamp::from_micros(0), |chunk| chunk.to);
            look.drop_chunks(&chunks).await?;
        }
        look.drop_records(before).await?;
        Ok(look.gone)
    }
}

/// One look at all old records.
struct Look<'r> {
    of: &'r Retention,
    horizon: Timestamp,
    stop: &'r CancellationToken,
    known: BTreeMap<UserNumber, Known>,
    gone: Gone,
}

/// What this look has found out about a user.
#[derive(Clone, Copy)]
struct Known {
    /// Up to where a base that opens holds their records.
    number: i64,
    /// There is no better one to be had.
    is_last: bool,
}

impl Look<'_> {
    /// Drops the chunks of which every record is held. What others hold besides is left to
    /// [`Look::drop_records`].
    async fn drop_chunks(&mut self, chunks: &[Span]) -> Result<(), RestoreError> {
        for chunk in chunks {
            let mut is_held = true;
            let mut users = Users::of(*chunk);
            while is_held && let Some(page) = users.next(&self.of.store).await? {
                self.hold(&page).await?;
                let number = |user| self.known.get(user).map_or(0, |known| known.number);
                is_held = page.iter().all(|wanted| number(&wanted.user) >= wanted.number);
            }
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if is_held {
                self.of.store.drop_chunk(*chunk).await?;
                self.gone.chunks += 1;
            }
        }
        Ok(())
    }

    /// Drops held records one by one, the oldest first. Each step goes on from where the one before it
    /// ended: one that began at the beginning would walk over all that those before have left in the index.
    async fn drop_records(&mut self, before: Timestamp) -> Result<(), RestoreError> {
        let store = &self.of.store;
        let mut from = Timestamp::from_micros(0);
        while from < before && !self.stop.is_cancelled() {
            let span = store.stretch(from, before, rows(STEP)).await?;
            let mut users = Users::of(span);
            while let Some(page) = users.next(store).await? {
                let held = self.hold(&page).await?;
                self.gone.records += store.drop_records(span, &held).await?;
            }
            from = span.to;
        }
        Ok(())
    }

    /// Up to where bases that open hold the records of `wanted`, after they were made where they did not
    /// hold enough; drops the bases before those.
    async fn hold(&mut self, wanted: &[Upto]) -> Result<Vec<Upto>, RestoreError> {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let is_unknown = |wanted: &&Upto| match self.known.get(&wanted.user) {
            Some(known) => known.number < wanted.number && !known.is_last,
            None => true,
        };
        let unknown: Vec<Upto> = wanted.iter().filter(is_unknown).copied().collect();
        for page in unknown.chunks(USERS_PAGE) {
            self.look_at(page).await?;
        }
        let held = wanted.iter().filter_map(|wanted| {
            let known = self.known.get(&wanted.user).filter(|known| known.number > 0)?;
            Some(Upto { user: wanted.user, number: known.number })
        });
        let held: Vec<Upto> = held.collect();
        self.of.store.drop_bases(&held, self.horizon).await?;
        Ok(held)
    }

    /// Opens the newest bases of users, and makes those that are wanted and not there or not good.
    async fn look_at(&mut self, wanted: &[Upto]) -> Result<(), RestoreError> {
        let Retention { store, keys, restorer, .. } = self.of;
        let numbers: BTreeMap<UserNumber, i64> =
            wanted.iter().map(|wanted| (wanted.user, wanted.number)).collect();
        let users: Vec<UserNumber> = numbers.keys().copied().collect();
        // In this order: no base is ahead of its user's row.
        let bases: BTreeMap<UserNumber, StoredBase> =
            store.newest_bases(&users).await?.into_iter().collect();
        let stored = store.users(Asked::Numbers(&users)).await?;
        let users: Vec<UserNumber> = stored.iter().map(|stored| stored.user).collect();
        let keys = keys.keys_of(&users).await?;
        let mut made = Vec::new();
        let mut found = Vec::with_capacity(stored.len());
        for (stored, key) in stored.iter().zip(&keys) {
            let user = stored.user;
            let Some(key) = key.as_ref().filter(|_| !stored.erased) else {
                // Nobody can open what was erased: all of it may go.
                found.push((user, Known { number: i64::MAX, is_last: true }));
                continue;
            };
            let mut number = 0;
            if let Some(base) = bases.get(&user) {
                match restorer.based(user, key, base).await? {
                    Ok(_) => number = base.record_number,
                    Err(problem) => {
                        let user = self.of.keys.tag_of(&stored.user_id);
                        tracing::warn!(%user, %problem, "a base does not open");
                    }
                }
            }
            let mut known = Known { number, is_last: false };
            if numbers.get(&user).is_some_and(|wanted| known.number < *wanted) {
                known.is_last = true;
                match self.make(stored, key).await {
                    Ok(Some(new)) if new.base.record_number > known.number => {
                        known.number = new.base.record_number;
                        made.push(new);
                    }
                    Ok(_) => {}
                    Err(RestoreError::Unreadable { problem, .. }) => {
                        let user = self.of.keys.tag_of(&stored.user_id);
                        tracing::warn!(%user, %problem, "no base can be made");
                        self.gone.unheld += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            found.push((user, known));
        }
        self.gone.bases += made.len();
        store.keep_bases(made).await?;
        self.known.extend(found);
        Ok(())
    }

    /// A base of what a user's row says, whether its checkpoint opens or has to be rebuilt.
    async fn make(
        &self,
        stored: &StoredUser,
        key: &DataKey,
    ) -> Result<Option<NewBase>, RestoreError> {
        let (person, _) = self.of.restorer.person(stored, key).await?;
        let Some(bytes) = person.to_checkpoint() else { return Ok(None) };
        let place = checkpoint_place(stored.user, person.record_number);
        let base = StoredBase {
            record_number: person.record_number,
            message_number: person.message_number,
            engine: ENGINE_VERSION.cast_signed(),
            body: self.of.seal.seal(key, place, &bytes).0,
        };
        let newest = person.newest.map_or(self.horizon, |place| place.stamp);
        Ok(Some(NewBase { user: stored.user, base, newest }))
    }
}

/// The users with records in a stretch, page by page.
struct Users {
    span: Span,
    after: Option<UserNumber>,
}

impl Users {
    fn of(span: Span) -> Self {
        Self { span, after: Some(UserNumber(i64::MIN)) }
    }

    async fn next(&mut self, store: &SqlStore) -> Result<Option<Vec<Upto>>, StoreError> {
        let Some(after) = self.after else { return Ok(None) };
        let page = store.users_with_records(self.span, after, rows(STEP)).await?;
        self.after = page.last().filter(|_| page.len() == STEP).map(|last| last.user);
        Ok((!page.is_empty()).then_some(page))
    }
}

fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
