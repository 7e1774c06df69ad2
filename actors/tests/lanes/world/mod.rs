//! A small world for lanes: a log and a store in memory, a clock that is set by hand, keys that hide
//! nothing. Everything outside can be told to fail; the lanes are the real ones.

pub(crate) mod chance;
mod log;
mod senders;
pub(crate) mod store;
pub(crate) mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::cache::NoCache;
use actors::clock::Clock;
use actors::lane::{
    Lane, ModeCounts, PerSource, Positions, ROUTING_VERSION, Routing, Source, UserNumber,
};
use actors::observe::{BatchReport, CommitFailure, Condition, Looked, Observer, Published};
use actors::person::Person;
use actors::phi::Phi;
use actors::ports::{BASE_EVERY, BatchRules, BelowStart, CheckpointRules, Ports, Rules, UserRules};
use actors::rows::Sink;
use actors::seal::{DataKey, KeyRing, KeysAway, Place, Seal, Sealed, Unopened, UserTag};
use actors::trace::Untraced;
use async_trait::async_trait;
use neuros::Policy;
use neuros::time::Timestamp;
use neuros::wire::Intake;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use log::{Entry, MemoryLog, SharedLog};
pub(crate) use senders::Senders;
pub(crate) use store::{Fault, MemoryStore};
use witness::Nobody;

/// Seals by writing key and place in front, and every byte as what it is not: whatever is opened elsewhere, or
/// with another key, or was never sealed is found.
pub(crate) struct PlainSeal;

fn label(key: &DataKey, place: Place) -> String {
    let Place { table, column, user, record } = place;
    let number = key.number();
    format!("{number}.{}/{table}/{column}/{user}/{record}|", u32::from_le_bytes(first(key)))
}

fn first(key: &DataKey) -> [u8; 4] {
    let [a, b, c, d, ..] = *key.expose();
    [a, b, c, d]
}

impl Seal for PlainSeal {
    fn seal(&self, key: &DataKey, place: Place, plaintext: &Phi<Vec<u8>>) -> Sealed {
        let mut sealed = label(key, place).into_bytes();
        sealed.extend(plaintext.expose().iter().map(|byte| !byte));
        Sealed(sealed)
    }

    fn open(&self, key: &DataKey, place: Place, sealed: &[u8]) -> Result<Phi<Vec<u8>>, Unopened> {
        let number = sealed.split(|byte| *byte == b'.').next();
        let number = number.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let number = number.ok_or(Unopened::Damaged)?;
        let key = key.numbered(number).ok_or(Unopened::OtherKey(number))?;
        let label = label(key, place);
        let body = sealed.strip_prefix(label.as_bytes()).ok_or(Unopened::NotAuthentic)?;
        Ok(Phi::new(body.iter().map(|byte| !byte).collect()))
    }
}

pub(crate) fn sealed_by(user: UserNumber, place: Place, plaintext: &[u8]) -> Vec<u8> {
    let plaintext = Phi::new(plaintext.to_vec());
    PlainSeal.seal(&key(u32::try_from(user.0).unwrap()), place, &plaintext).0
}

pub(crate) fn opened(user: UserNumber, place: Place, sealed: &[u8]) -> Vec<u8> {
    PlainSeal.open(&all_keys_of(user), place, sealed).unwrap().into_inner()
}

/// As the service's own key seals it.
pub(crate) fn sealed_by_service(place: Place, plaintext: &Phi<Vec<u8>>) -> Vec<u8> {
    PlainSeal.seal(&key(0), place, plaintext).0
}

pub(crate) fn opened_by_service(place: Place, sealed: &[u8]) -> Phi<Vec<u8>> {
    PlainSeal.open(&all_keys_of(UserNumber(0)), place, sealed).unwrap()
}

/// Keys that a user can have had, at most.
const KEYS_MAX: u32 = 40;

/// The keys of all processes: everybody's first, unless it was rotated or destroyed.
#[derive(Default)]
pub(crate) struct PlainKeys {
    /// The newest number of whoever has not the first, and up to which number they are destroyed.
    changed: Mutex<BTreeMap<UserNumber, (u32, u32)>>,
    /// Whose keys do not unwrap.
    damaged: Mutex<BTreeSet<UserNumber>>,
}

impl PlainKeys {
    /// Makes a user's next key, as an operator does.
    pub(crate) fn rotate(&self, user: UserNumber) {
        self.changed.lock().unwrap().entry(user).or_insert((1, 0)).0 += 1;
    }

    /// Somebody damages what is stored of a user's keys.
    pub(crate) fn damage(&self, user: UserNumber) {
        self.damaged.lock().unwrap().insert(user);
    }

    fn of(&self, user: UserNumber) -> Option<DataKey> {
        let changed = self.changed.lock().unwrap();
        let (newest, destroyed) = changed.get(&user).copied().unwrap_or((1, 0));
        (newest > destroyed).then(|| keys_after(user, destroyed, newest))
    }
}

#[async_trait]
impl KeyRing for PlainKeys {
    fn tag_of(&self, _: &str) -> UserTag {
        UserTag([0; 8])
    }

    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        let damaged = self.damaged.lock().unwrap();
        match users.iter().any(|user| damaged.contains(user)) {
            true => Err(KeysAway("a key does not unwrap".to_owned())),
            false => Ok(users.iter().map(|user| self.of(*user)).collect()),
        }
    }

    async fn service_key(&self) -> Result<DataKey, KeysAway> {
        Ok(self.of(UserNumber(0)).unwrap())
    }

    async fn newest_number(&self, user: UserNumber) -> Result<Option<u32>, KeysAway> {
        let changed = self.changed.lock().unwrap();
        let (newest, destroyed) = changed.get(&user).copied().unwrap_or((1, 0));
        Ok((newest > destroyed).then_some(newest))
    }

    async fn renew(&self, user: UserNumber) -> Result<(), KeysAway> {
        self.rotate(user);
        Ok(())
    }

    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), KeysAway> {
        let mut changed = self.changed.lock().unwrap();
        let destroyed = &mut changed.entry(user).or_insert((1, 0)).1;
        *destroyed = upto.max(*destroyed);
        Ok(())
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway> {
        let changed = self.changed.lock().unwrap();
        let gone = changed.iter().filter(|(_, (newest, destroyed))| newest <= destroyed);
        Ok(gone.map(|(user, _)| *user).collect())
    }
}

/// The key numbered like its user; 0 is the service's own.
pub(crate) fn key(seed: u32) -> DataKey {
    numbered(seed, 1, Vec::new())
}

fn numbered(seed: u32, number: u32, older: Vec<DataKey>) -> DataKey {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    DataKey::with_older(&bytes, number, older)
}

/// All keys that a user can have had.
pub(crate) fn all_keys_of(user: UserNumber) -> DataKey {
    keys_after(user, 0, KEYS_MAX)
}

fn keys_after(user: UserNumber, destroyed: u32, newest: u32) -> DataKey {
    let seed = u32::try_from(user.0).unwrap();
    let older = (destroyed + 1..newest).map(|number| numbered(seed, number, Vec::new())).collect();
    numbered(seed, newest, older)
}

/// The policies that the store has: the built-in one, and one that is sooner alarmed.
pub(crate) fn policy(number: i32) -> Policy {
    let mut policy = Policy::default();
    if number > 1 {
        policy.version = format!("stricter-{number}");
        policy.reflex.stress = 0.15;
        policy.guardian.recovery = 70.0;
        policy.selection.cooldown = neuros::time::Micros::from_minutes(1);
    }
    policy
}

/// A clock that stands still unless it is told otherwise.
#[derive(Default)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Remembers what lanes told.
#[derive(Default)]
pub(crate) struct Told {
    pub conditions: Mutex<Vec<(Lane, Condition)>>,
    pub failures: Mutex<Vec<CommitFailure>>,
    pub rebuilt: Mutex<usize>,
    pub live: Mutex<usize>,
    /// New records of committed batches.
    pub applied: Mutex<i64>,
    /// Events that could have changed a mode.
    pub evaluations: Mutex<u64>,
    pub looks: Mutex<Vec<Looked>>,
    /// Records of users who were erased.
    pub refused: Mutex<i64>,
    /// Messages that were passed over.
    pub unopened: Mutex<u64>,
}

impl Observer for Told {
    fn lane(&self, lane: Lane, condition: Condition) {
        self.conditions.lock().unwrap().push((lane, condition));
    }
    fn claimed(&self, _: Lane, _: ModeCounts, _: Positions) {}
    fn committed(&self, report: &BatchReport) {
        *self.applied.lock().unwrap() += report.counts.events.new + report.counts.by_user.new;
        *self.evaluations.lock().unwrap() += report.evaluations;
        *self.refused.lock().unwrap() += report.refused.events + report.refused.by_user;
    }
    fn commit_failed(&self, _: Lane, kind: CommitFailure) {
        self.failures.lock().unwrap().push(kind);
    }
    fn rebuilt(&self, _: Lane, users: usize) {
        *self.rebuilt.lock().unwrap() += users;
    }
    fn live_users(&self, _: Lane, users: usize) {
        *self.live.lock().unwrap() = users;
    }
    fn published(&self, _: Lane, _: Sink, published: &Published) {
        *self.unopened.lock().unwrap() += published.unopened;
    }
    fn cached(&self, _: bool) {}
    fn quarantined(&self, _: Lane) {}
    fn scrubbed(&self, _: Lane, looked: Looked) {
        self.looks.lock().unwrap().push(looked);
    }
}

/// The world.
pub(crate) struct World {
    pub log: Arc<MemoryLog>,
    pub senders: Arc<Senders>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<HandClock>,
    pub told: Arc<Told>,
    pub keys: Arc<PlainKeys>,
    pub rules: Rules,
}

impl World {
    /// A world of `lanes` lanes.
    pub(crate) fn new(lanes: i32) -> Self {
        let routing = Routing {
            generation: 1,
            partition_count: lanes,
            version: ROUTING_VERSION,
            bytes_max: 1 << 20,
            log_id: None,
            expanding: false,
        };
        let store = Arc::new(MemoryStore::new(routing.clone(), 0, Arc::new(Nobody)));
        let rules = Rules {
            owner: "test".to_owned(),
            routing,
            wire: Intake::default(),
            policy: Arc::new(Policy::default()),
            policy_number: 1,
            evaluate: Person::apply,
            batch: BatchRules { records_max: 64, pipelined_from: 1, ..BatchRules::default() },
            checkpoint: CheckpointRules {
                every_records: 3,
                every: Duration::from_secs(5),
                base_every: BASE_EVERY,
                scrub_every: Duration::ZERO,
            },
            users: UserRules::default(),
            quarantines_per_minute: 10,
            below_start: BelowStart::Stop,
            drain: Duration::from_secs(1),
            cache: false,
            sinks: Sink::ALL.to_vec(),
            topics: PerSource { events: "events".to_owned(), by_user: "by-user".to_owned() },
        };
        let log = Arc::new(MemoryLog::new(lanes, 0, Arc::new(Nobody)));
        Self {
            senders: Arc::new(Senders::new(Arc::clone(&log), 0)),
            log,
            store,
            clock: Arc::default(),
            told: Arc::default(),
            keys: Arc::default(),
            rules,
        }
    }

    fn ports(&self) -> Ports {
        // Nobody listens: a fatal error shows as a halted lane.
        let (fatal, _) = mpsc::channel(1);
        Ports {
            log: Arc::new(SharedLog(Arc::clone(&self.log))),
            forwarder: Arc::clone(&self.senders) as _,
            publisher: Arc::clone(&self.senders) as _,
            store: Arc::new(self.store.connect(0)),
            cache: Arc::new(NoCache),
            seal: Arc::new(PlainSeal),
            keys: Arc::clone(&self.keys) as _,
            clock: Arc::clone(&self.clock) as _,
            observer: Arc::clone(&self.told) as _,
            tracer: Arc::new(Untraced),
            fatal,
            relays: TaskTracker::new(),
        }
    }

    /// The process ends and another begins: with producers that have sent nothing yet.
    pub(crate) fn restart(&mut self) {
        self.senders.die(0);
        self.senders = Arc::new(Senders::new(Arc::clone(&self.log), 1));
    }

    /// The topic of events is made anew with its next offsets at `start`, and adopted; a process begins that
    /// knows it.
    pub(crate) async fn adopt(&mut self, start: i64) {
        let log = Arc::clone(&self.log);
        let make_anew = move || log.make_anew(Source::Events, start);
        self.store.connect(0).adopt(start, make_anew).await.unwrap();
        self.rules.routing = self.store.routing();
        self.restart();
    }

    /// Starts an owner of `lane` that lives until the token is cancelled.
    pub(crate) fn own(&self, lane: i32) -> Owner {
        let stop = CancellationToken::new();
        let (ports, rules) = (self.ports(), Arc::new(self.rules.clone()));
        let task = actix::spawn(actors::own(Lane(lane), ports, rules, stop.clone()));
        Owner { stop, task }
    }

    /// Waits, in virtual time, until `reached`.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if reached(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}; {:?}", self.told.conditions.lock().unwrap());
    }

    /// Waits until a lane stands still; gives what it says of that.
    pub(crate) async fn halted(&self, lane: i32) -> String {
        let problem = |world: &Self| {
            let conditions = world.told.conditions.lock().unwrap();
            conditions.iter().find_map(|(of, condition)| match condition {
                Condition::Halted { problem } if *of == Lane(lane) => Some(problem.clone()),
                _ => None,
            })
        };
        self.until("the lane stands still", |world| problem(world).is_some()).await;
        problem(self).unwrap()
    }

    /// Waits until everything in the log is committed.
    pub(crate) async fn all_committed(&self) {
        self.until("everything is committed", |world| {
            world.log.ends().iter().all(|(lane, ends)| world.store.positions(*lane) == *ends)
        })
        .await;
    }
}

/// An owner of a lane.
pub(crate) struct Owner {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Owner {
    pub(crate) async fn leave(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Runs a test on one thread with virtual time, which begins at a whole millisecond.
pub(crate) fn run<T, F: Future<Output = T>>(test: impl FnOnce() -> F) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async { test().await })
}
