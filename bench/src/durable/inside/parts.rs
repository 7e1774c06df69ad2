//! Parts for lanes that do nothing: a store that forgets, a seal that leaves things open, a key for all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actors::hash_chain::Head;
use actors::lane::{FenceToken, Lane, ModeCounts, Positions, Progress, Routing, UserNumber};
use actors::log::{Outgoing, Publisher, Unpublished};
use actors::observe::{BatchReport, CommitFailure, Condition, Looked, Observer, Published};
use actors::phi::Phi;
use actors::rows::{Batch, RecordPlace, Sink};
use actors::seal::{DataKey, KeyRing, KeysAway, Place, Seal, Sealed, Unopened, UserTag};
use actors::store::{
    Asked, AskedLetters, Begin, Claim, CommitError, NumberedPlace, Sources, Store, StoreError,
    StoredBase, StoredCommand, StoredLetter, StoredLook, StoredOutbox, StoredRecord, StoredUser,
    Tenure,
};
use async_trait::async_trait;
use neuros::time::Timestamp;
use tokio::sync::oneshot;

use super::super::clock;
use super::Told;

/// Counts events, and times them from the first to the last.
#[derive(Default)]
pub(super) struct Counter {
    first: Option<(Instant, Duration, u64)>,
    last: Option<Instant>,
    count: u64,
}

impl Counter {
    pub(super) fn add(&mut self, events: u64) {
        self.count += events;
        let now = clock::now();
        self.last = Some(now);
        if self.first.is_none() {
            let used = clock::cpu(std::process::id()).unwrap_or_default();
            self.first = Some((now, used, self.count));
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn told(&self) -> anyhow::Result<Told> {
        let (Some((began, before, first)), Some(ended)) = (self.first, self.last) else {
            anyhow::bail!("there were no events");
        };
        let events = (self.count - first) as f64;
        let used = clock::cpu(std::process::id())?.saturating_sub(before);
        Ok(Told {
            rate: events / (ended - began).as_secs_f64(),
            micros: used.as_secs_f64() * 1e6 / events,
        })
    }
}

/// Watches batches go by, and says when there were enough events.
pub(super) struct Watcher {
    counter: Arc<Mutex<Counter>>,
    events: u64,
    enough: Mutex<Option<oneshot::Sender<()>>>,
}

impl Watcher {
    pub(super) fn new(
        counter: Arc<Mutex<Counter>>,
        events: u64,
        enough: oneshot::Sender<()>,
    ) -> Self {
        Self { counter, events, enough: Mutex::new(Some(enough)) }
    }
}

impl Observer for Watcher {
    fn committed(&self, report: &BatchReport) {
        let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        let read = report.counts.events.read() + report.counts.by_user.read();
        counter.add(read.unsigned_abs());
        if counter.count() >= self.events
            && let Some(enough) = self.enough.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // Whoever waited may have given up.
            enough.send(()).ok();
        }
    }

    fn lane(&self, _: Lane, _: Condition) {}
    fn claimed(&self, _: Lane, _: ModeCounts, _: Positions) {}
    fn commit_failed(&self, _: Lane, _: CommitFailure) {}
    fn rebuilt(&self, _: Lane, _: usize) {}
    fn live_users(&self, _: Lane, _: usize) {}
    fn published(&self, _: Lane, _: Sink, _: &Published) {}
    fn cached(&self, _: bool) {}
    fn quarantined(&self, _: Lane) {}
    fn scrubbed(&self, _: Lane, _: Looked) {}
}

/// The system's clock.
pub(super) struct SystemClock;

impl actors::clock::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(clock::micros())
    }
}

/// Seals nothing.
pub(super) struct Open;

impl Seal for Open {
    fn seal(&self, _: &DataKey, _: Place, plaintext: &Phi<Vec<u8>>) -> Sealed {
        Sealed(plaintext.expose().clone())
    }

    fn open(&self, _: &DataKey, _: Place, sealed: &[u8]) -> Result<Phi<Vec<u8>>, Unopened> {
        Ok(Phi::new(sealed.to_vec()))
    }
}

/// One key for all.
pub(super) struct OneKey;

#[async_trait]
impl KeyRing for OneKey {
    fn tag_of(&self, _: &str) -> UserTag {
        UserTag([0; 8])
    }

    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        Ok(users.iter().map(|_| Some(DataKey::new(&[0; 32], 1))).collect())
    }

    async fn service_key(&self) -> Result<DataKey, KeysAway> {
        Ok(DataKey::new(&[0; 32], 1))
    }

    async fn newest_number(&self, _: UserNumber) -> Result<Option<u32>, KeysAway> {
        Ok(Some(1))
    }

    async fn renew(&self, _: UserNumber) -> Result<(), KeysAway> {
        Err(KeysAway("there is one key for all".to_owned()))
    }

    async fn destroy(&self, _: UserNumber, _: u32) -> Result<(), KeysAway> {
        Err(KeysAway("there is one key for all".to_owned()))
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway> {
        Ok(Vec::new())
    }
}

/// Takes every message.
pub(super) struct Nowhere;

#[async_trait]
impl Publisher for Nowhere {
    fn bytes_max(&self, _: Sink) -> usize {
        1 << 20
    }

    async fn publish(&self, _: Sink, _: Vec<Outgoing>) -> Result<(), Unpublished> {
        Ok(())
    }
}

/// A store that takes every batch and remembers none.
pub(super) struct Forgetful;

#[async_trait]
impl Store for Forgetful {
    async fn routing(&self) -> Result<Option<Routing>, StoreError> {
        Ok(None)
    }

    async fn claim(&self, _: Lane, _: &str, _: &Routing) -> Result<Claim, StoreError> {
        Ok(Claim {
            token: FenceToken(uuid::Uuid::nil()),
            epoch: 1,
            progress: Progress::starting_at(Positions::default()),
            audited: Head::default(),
        })
    }

    async fn skip_gap(
        &self,
        _: Lane,
        _: FenceToken,
        _: Positions,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn tenure(&self, _: Lane, _: FenceToken) -> Result<Option<Tenure>, StoreError> {
        Ok(Some(Tenure::default()))
    }

    async fn last_forwarded(&self, _: Lane, _: Lane) -> Result<i64, StoreError> {
        Ok(-1)
    }

    async fn commit(&self, _: &Batch) -> Result<(), CommitError> {
        Ok(())
    }

    async fn sources(&self, _: Lane) -> Result<Sources, StoreError> {
        Ok(Sources::default())
    }

    async fn looks(&self, _: Lane, _: Timestamp, _: i64) -> Result<Vec<StoredLook>, StoreError> {
        Ok(Vec::new())
    }

    async fn move_looks(&self, _: &[(StoredLook, Lane)]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn records_of_lane(
        &self,
        _: Lane,
        _: (Timestamp, i32),
        _: Timestamp,
        _: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn places_back(
        &self,
        _: UserNumber,
        _: Begin,
        _: i64,
    ) -> Result<Vec<NumberedPlace>, StoreError> {
        Ok(Vec::new())
    }

    async fn records_at(
        &self,
        _: UserNumber,
        _: &[RecordPlace],
    ) -> Result<Vec<StoredRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn users(&self, _: Asked<'_>) -> Result<Vec<StoredUser>, StoreError> {
        Ok(Vec::new())
    }

    async fn users_after(&self, _: UserNumber, _: i64) -> Result<Vec<StoredUser>, StoreError> {
        Ok(Vec::new())
    }

    async fn bases(&self, _: UserNumber, _: i64) -> Result<Vec<StoredBase>, StoreError> {
        Ok(Vec::new())
    }

    async fn quarantined(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn erased(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn commands(&self, _: Lane, _: i64) -> Result<Vec<StoredCommand>, StoreError> {
        Ok(Vec::new())
    }

    async fn letters(&self, _: AskedLetters<'_>) -> Result<Vec<StoredLetter>, StoreError> {
        Ok(Vec::new())
    }

    async fn keep_policy(&self, _: &str, _: &str) -> Result<i32, StoreError> {
        Ok(1)
    }

    async fn policy(&self, _: i32) -> Result<(String, String), StoreError> {
        Err(StoreError::Refused("nothing is kept".to_owned()))
    }

    async fn outbox(
        &self,
        _: Lane,
        _: Sink,
        _: i64,
        _: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        Ok(Vec::new())
    }

    async fn cursor(&self, _: Lane, _: Sink) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn move_cursor(
        &self,
        _: Lane,
        _: FenceToken,
        _: Sink,
        _: i64,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }
}
