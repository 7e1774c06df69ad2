//! A store in memory that keeps the real one's rules: one transaction for a batch that begins with the
//! compare-and-set, claims that wait for what is in flight, cursors that only the owner moves. It can
//! fail, lose answers, stall, and be looked into; it never forgets what it has committed.

mod expand;
pub(crate) mod gaps;
mod locks;
mod look;
mod server;
pub(crate) mod tables;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use actors::capacity::RECORDS_PAGE;
use actors::lane::{FenceToken, Lane, Positions, Routing, UserNumber};
use actors::rows::{Batch, RecordPlace, Sink};
use actors::store::{
    Asked, AskedLetters, Begin, Claim, CommitError, NumberedPlace, Sources, Store, StoreError,
    StoredBase, StoredCommand, StoredLetter, StoredLook, StoredOutbox, StoredRecord, StoredUser,
    Tenure,
};
use async_trait::async_trait;
use neuros::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::chance::Chance;
use super::witness::{Happening, Witness};
use locks::Locks;
use server::Server;
use tables::{LaneRow, Tables, Written};

/// What a commit comes to instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// It fails before anything is written.
    Away,
    /// It is written, and nobody learns of it.
    Ghost,
    /// It is not written, and nobody learns of it.
    Lost,
    /// It holds the lane's row for so many milliseconds, then it is written.
    Stall(u64),
    /// Its answer is lost at once; it holds the row, and is written later or not at all.
    Late(u64, bool),
}

impl Fault {
    /// A commit has met with it.
    fn met(self) -> Happening {
        match self {
            Self::Away => Happening::FaultAway,
            Self::Ghost => Happening::FaultGhost,
            Self::Lost => Happening::FaultLost,
            Self::Stall(_) => Happening::FaultStall,
            Self::Late(..) => Happening::FaultLate,
        }
    }
}

/// What can be away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Part {
    Commits,
    Claims,
    Reads,
    Cursors,
}

impl Part {
    /// Somebody has asked for it in vain.
    fn met(self) -> Happening {
        match self {
            Self::Commits => Happening::StoreAwayForCommit,
            Self::Claims => Happening::StoreAwayForClaim,
            Self::Reads => Happening::StoreAwayForRead,
            Self::Cursors => Happening::StoreAwayForCursor,
        }
    }
}

/// How the store behaves.
#[derive(Default)]
struct Weather {
    /// Milliseconds that anything takes, at most.
    latency_max: u64,
    held: bool,
    away: BTreeMap<Part, Instant>,
    faults: VecDeque<(Option<Lane>, Fault)>,
    /// Claims whose answer will be lost.
    lost_claims: u64,
    /// Records that one answer gives, at most; 0 for as many as were asked for.
    page_max: usize,
    /// Processes that send nothing on connections which are in the middle of something.
    frozen: BTreeSet<usize>,
}

/// When alerts are looked at.
enum Ticks {
    Never,
    /// At any time: what is due by the newest record is due.
    AtAnyTime(Chance),
    /// When they are due; and what the store takes for now.
    ByTheClock(Option<Timestamp>),
}

pub(crate) struct MemoryStore {
    routing: Mutex<Routing>,
    lease: Mutex<expand::Lease>,
    tables: Mutex<Tables>,
    locks: Mutex<Locks>,
    weather: Mutex<Weather>,
    changed: Notify,
    chance: Chance,
    /// When alerts are looked at; never where there is none.
    ticks: Mutex<Ticks>,
    witness: Arc<dyn Witness>,
    /// Whose base comes, and whose records in it go, once bases have been read the next time.
    housekeeping: Mutex<Option<(String, StoredBase)>>,
}

impl MemoryStore {
    /// Alerts are looked at when they are due, and it is so late for the store.
    pub(crate) fn set_now(&self, now: Option<Timestamp>) {
        *self.ticks.lock().unwrap() = Ticks::ByTheClock(now);
    }

    fn now(&self) -> Option<Timestamp> {
        match *self.ticks.lock().unwrap() {
            Ticks::ByTheClock(now) => now,
            Ticks::AtAnyTime(_) | Ticks::Never => None,
        }
    }

    /// Time passes for alerts too: when is up to chance, of its own.
    pub(crate) fn ticking(self, seed: u64) -> Self {
        Self { ticks: Mutex::new(Ticks::AtAnyTime(Chance::of(seed ^ 0x70))), ..self }
    }

    pub(crate) fn new(routing: Routing, seed: u64, witness: Arc<dyn Witness>) -> Self {
        let mut tables = Tables::default();
        for lane in 0..routing.partition_count {
            tables.lanes.insert(Lane(lane), LaneRow::starting_at(Positions::default()));
        }
        Self {
            routing: Mutex::new(routing),
            lease: Mutex::default(),
            tables: Mutex::new(tables),
            locks: Mutex::default(),
            weather: Mutex::default(),
            changed: Notify::new(),
            chance: Chance::of(seed),
            ticks: Mutex::new(Ticks::Never),
            witness,
            housekeeping: Mutex::default(),
        }
    }

    pub(crate) fn fail_next(&self, fault: Fault) {
        self.weather.lock().unwrap().faults.push_back((None, fault));
    }

    /// The next commit of a lane comes to that.
    pub(crate) fn fail_next_of(&self, lane: Lane, fault: Fault) {
        self.weather.lock().unwrap().faults.push_back((Some(lane), fault));
    }

    pub(crate) fn lose_next_claim(&self) {
        self.weather.lock().unwrap().lost_claims += 1;
    }

    /// Commits wait while it is held.
    pub(crate) fn hold(&self, held: bool) {
        self.weather.lock().unwrap().held = held;
        self.changed.notify_waiters();
    }

    /// Everything takes up to so many milliseconds, and answers come in small pages.
    pub(crate) fn rough(&self, latency_max: u64) {
        let mut weather = self.weather.lock().unwrap();
        (weather.latency_max, weather.page_max) = (latency_max, 7);
    }

    fn page(&self, limit: i64) -> usize {
        let limit = usize::try_from(limit).unwrap();
        match self.weather.lock().unwrap().page_max {
            0 => limit,
            most => limit.min(most),
        }
    }

    pub(crate) fn away(&self, part: Part, time: Duration) {
        self.weather.lock().unwrap().away.insert(part, Instant::now() + time);
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        let mut weather = self.weather.lock().unwrap();
        weather.away.clear();
        weather.faults.clear();
        weather.lost_claims = 0;
        weather.frozen.clear();
        drop(weather);
        self.changed.notify_waiters();
    }

    /// The connections of a process stand still in the middle of what they do, or go on.
    pub(crate) fn freeze(&self, process: usize, frozen: bool) {
        let mut weather = self.weather.lock().unwrap();
        if frozen {
            weather.frozen.insert(process);
        } else {
            weather.frozen.remove(&process);
        }
        drop(weather);
        self.changed.notify_waiters();
    }

    /// The connections of a process break: some of what they did is undone, some lands later.
    pub(crate) fn disconnect(&self, process: usize) {
        self.freeze(process, false);
        self.locks.lock().unwrap().end_of(process, || self.chance.one_in(2));
        self.changed.notify_waiters();
    }

    /// The store as a process sees it.
    pub(crate) fn connect(self: &Arc<Self>, process: usize) -> Connection {
        Connection { server: Server { store: Arc::clone(self), process } }
    }
}

/// A process's way to the store.
pub(crate) struct Connection {
    server: Server,
}

/// Versions and texts of policies, by number.
static POLICIES: LazyLock<[(String, String); 3]> = LazyLock::new(|| {
    [0, 1, 2].map(crate::world::policy).map(|policy| (policy.version.clone(), policy.to_yaml()))
});

/// How long a process waits for an answer, as the real store's port does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

fn away() -> StoreError {
    StoreError::Away("told so".to_owned())
}

impl Connection {
    /// Does `work` on the server, to its end, whatever becomes of who asked.
    async fn carry<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let done = tokio::spawn(work);
        tokio::time::timeout(ANSWER_TIMEOUT, done).await.ok()?.ok()
    }

    /// Reads from the tables.
    async fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        self.server.pause().await;
        if self.server.is_away(Part::Reads) {
            return Err(away());
        }
        let answer = read(&self.server.store.tables.lock().unwrap());
        self.server.pause().await;
        Ok(answer)
    }
}

#[async_trait]
impl Store for Connection {
    async fn routing(&self) -> Result<Option<Routing>, StoreError> {
        Ok(Some(self.server.store.routing()))
    }

    async fn claim(&self, lane: Lane, _: &str, routing: &Routing) -> Result<Claim, StoreError> {
        self.carry(self.server.clone().claim(lane, routing.clone()))
            .await
            .unwrap_or_else(|| Err(away()))
    }

    async fn skip_gap(
        &self,
        lane: Lane,
        token: FenceToken,
        starts: Positions,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.server.store.skip_gap(lane, token, starts))
    }

    async fn tenure(&self, lane: Lane, token: FenceToken) -> Result<Option<Tenure>, StoreError> {
        let own = |row: &&LaneRow| row.token == Some(token);
        let is_expanding = self.server.store.is_expanding();
        let tenure = |row: &LaneRow| {
            let stops = row.stops.filter(|_| is_expanding);
            Tenure { events_stop: stops.map(|stops| stops.events) }
        };
        self.read(|tables| tables.lanes.get(&lane).filter(own).map(tenure)).await
    }

    async fn sources(&self, lane: Lane) -> Result<Sources, StoreError> {
        let now = self.server.store.now();
        self.read(|tables| {
            let sends = |(of, row): &(&Lane, &LaneRow)| {
                **of == lane || row.progress.forwarded.contains_key(&lane.0)
            };
            let sources = tables.lanes.iter().filter(sends);
            let positions = sources.map(|(of, row)| (*of, row.progress.positions)).collect();
            Sources { positions, now }
        })
        .await
    }

    async fn last_forwarded(&self, origin: Lane, home: Lane) -> Result<i64, StoreError> {
        let of = |tables: &Tables| tables.lanes[&origin].progress.forwarded.get(&home.0).copied();
        self.read(|tables| of(tables).unwrap_or(-1)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        let unknown = || Err(CommitError::Unknown("no answer".to_owned()));
        let (answer, answered) = tokio::sync::oneshot::channel();
        tokio::spawn(self.server.clone().commit(Written::of(batch), answer));
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(done)) => done,
            _ => unknown(),
        }
    }

    async fn records_of_lane(
        &self,
        lane: Lane,
        after: (Timestamp, i32),
        upto: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let limit = self.server.store.page(limit);
        let from = (lane, after.0, after.1.saturating_add(1));
        let page = self
            .read(|tables| {
                let to = (lane, upto, i32::MAX);
                let places = tables.places.range(from..=to);
                let newer = places.filter(|((_, stamp, place), _)| (*stamp, *place) > after);
                let records = newer.take(limit).map(|(_, key)| tables.records[key].clone());
                let records: Vec<StoredRecord> = records.collect();
                let lags = |record: &&StoredRecord| {
                    record.number > tables.users[&record.user].record_number
                };
                (records.iter().filter(lags).count(), records)
            })
            .await;
        let (lagging, records) = page?;
        if lagging > 0 {
            let text = format!("lane {lane}: {lagging} records above checkpoints");
            self.server.store.witness.happened(Happening::LaggingRestore, text);
        }
        Ok(records)
    }

    async fn places_back(
        &self,
        user: UserNumber,
        begin: Begin,
        after: i64,
    ) -> Result<Vec<NumberedPlace>, StoreError> {
        let upto = match begin {
            Begin::Newest { upto } => upto,
            Begin::At(first) => first.number,
        };
        let limit = self.server.store.page(i64::try_from(RECORDS_PAGE).unwrap());
        if upto <= after {
            return Ok(Vec::new());
        }
        let range = (user, after + 1)..=(user, upto);
        let numbered = |((_, number), record): (&(UserNumber, i64), &StoredRecord)| NumberedPlace {
            number: *number,
            place: record.place,
        };
        self.read(|tables| tables.records.range(range).rev().take(limit).map(numbered).collect())
            .await
    }

    async fn records_at(
        &self,
        user: UserNumber,
        places: &[RecordPlace],
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let of_user = (user, 0)..=(user, i64::MAX);
        self.read(|tables| {
            let records = tables.records.range(of_user).map(|(_, record)| record);
            records.filter(|record| places.contains(&record.place)).cloned().collect()
        })
        .await
    }

    async fn users(&self, asked: Asked<'_>) -> Result<Vec<StoredUser>, StoreError> {
        self.read(|tables| {
            let numbers: Vec<UserNumber> = match asked {
                Asked::Ids(ids) => {
                    ids.iter().filter_map(|id| tables.ids.get(*id).copied()).collect()
                }
                Asked::Numbers(numbers) => numbers.to_vec(),
            };
            numbers.iter().filter_map(|user| tables.users.get(user).cloned()).collect()
        })
        .await
    }

    async fn users_after(
        &self,
        after: UserNumber,
        limit: i64,
    ) -> Result<Vec<StoredUser>, StoreError> {
        let limit = self.server.store.page(limit);
        let after = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.read(|tables| {
            tables.users.range(after).take(limit).map(|(_, user)| user.clone()).collect()
        })
        .await
    }

    async fn bases(&self, user: UserNumber, upto: i64) -> Result<Vec<StoredBase>, StoreError> {
        let of_user = (user, 0)..=(user, upto);
        let store = &self.server.store;
        let bases = store.look(|tables| {
            tables.bases.range(of_user).rev().map(|(_, base)| base.clone()).collect()
        });
        store.housekeeping_comes_by();
        Ok(bases)
    }

    async fn quarantined(&self) -> Result<Vec<String>, StoreError> {
        self.read(|tables| {
            let quarantined = tables.users.values().filter(|user| user.quarantined);
            quarantined.map(|user| user.user_id.clone()).collect()
        })
        .await
    }

    async fn erased(&self) -> Result<Vec<String>, StoreError> {
        self.read(|tables| {
            let erased = tables.users.values().filter(|user| user.erased);
            erased.map(|user| user.user_id.clone()).collect()
        })
        .await
    }

    async fn commands(&self, lane: Lane, limit: i64) -> Result<Vec<StoredCommand>, StoreError> {
        let limit = self.server.store.page(limit);
        self.read(|tables| tables.commands_of(lane, limit)).await
    }

    async fn looks(
        &self,
        lane: Lane,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredLook>, StoreError> {
        let store = &self.server.store;
        let upto = match &*store.ticks.lock().unwrap() {
            Ticks::AtAnyTime(chance) if chance.one_in(8) => Timestamp::from_micros(i64::MAX),
            Ticks::ByTheClock(_) => now,
            Ticks::AtAnyTime(_) | Ticks::Never => return Ok(Vec::new()),
        };
        let limit = store.page(limit);
        let looks = self.read(|tables| tables.looks_of(lane, limit)).await?;
        Ok(looks.into_iter().filter(|look| look.due <= upto).collect())
    }

    async fn move_looks(&self, looks: &[(StoredLook, Lane)]) -> Result<(), StoreError> {
        let mut tables = self.server.store.tables.lock().unwrap();
        for (look, lane) in looks {
            if let Some(row) = tables.looks.get_mut(&look.user)
                && row.1 == look.due
            {
                row.0 = *lane;
            }
        }
        Ok(())
    }

    async fn letters(&self, asked: AskedLetters<'_>) -> Result<Vec<StoredLetter>, StoreError> {
        self.read(|tables| tables.letters_of(asked)).await
    }

    async fn keep_policy(&self, _: &str, _: &str) -> Result<i32, StoreError> {
        Ok(1)
    }

    async fn policy(&self, number: i32) -> Result<(String, String), StoreError> {
        Ok(POLICIES[usize::try_from(number).unwrap()].clone())
    }

    async fn outbox(
        &self,
        lane: Lane,
        sink: Sink,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredOutbox>, StoreError> {
        let limit = usize::try_from(limit).unwrap();
        let page = self.read(|tables| tables.page(lane, sink, after, limit)).await?;
        if !page.is_empty() {
            let text = format!("lane {lane}: {} rows for {}", page.len(), sink.as_str());
            self.server.store.witness.happened(Happening::CaughtUp, text);
        }
        Ok(page)
    }

    async fn cursor(&self, lane: Lane, sink: Sink) -> Result<i64, StoreError> {
        self.read(|tables| tables.cursors.get(&(lane, sink)).copied().unwrap_or(0)).await
    }

    async fn move_cursor(
        &self,
        lane: Lane,
        token: FenceToken,
        sink: Sink,
        to: i64,
    ) -> Result<bool, StoreError> {
        let moved = self.carry(self.server.clone().move_cursor(lane, token, sink, to)).await;
        moved.unwrap_or_else(|| Err(away()))
    }
}
