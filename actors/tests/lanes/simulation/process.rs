//! Processes: each with its own tasks, that can stand still, end from one moment to the next, or be asked to
//! leave lanes. The lanes in them are the real ones.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actors::clock::Clock;
use actors::lane::{Lane, UserNumber};
use actors::ports::{Ports, Rules};
use actors::seal::{DataKey, KeyRing, KeysAway, UserTag};
use actors::trace::Untraced;
use async_trait::async_trait;
use neuros::time::{Micros, Timestamp};
use neuros::wire::Intake;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auditor::{Auditor, Ear};
use super::leaks;
use super::produce::{BYTES_MAX, FORWARD_BYTES_MAX, LETTER_BYTES_MAX, MORNING, PACE};
use crate::world::witness::{Happening, Witness as _};
use crate::world::{MemoryLog, MemoryStore, PlainKeys, PlainSeal, Senders, SharedLog, policy};

/// How a process reads messages. While a release is rolled out, some have the new policy and some the old
/// one, which trusts clocks further: they decide otherwise about what is early.
pub(super) fn wire_of(process: usize) -> Intake {
    let minutes = if process.is_multiple_of(2) { 2 } else { 5 };
    Intake { bytes_max: BYTES_MAX, future_max: Micros::from_minutes(minutes), ..Intake::default() }
}

/// The time of the log, that of a process's clock when it is right.
pub(super) fn time_at(began: Instant) -> Timestamp {
    let micros = i64::try_from(began.elapsed().as_micros()).unwrap();
    Timestamp::from_micros(MORNING * 1_000_000 + micros * PACE)
}

/// A process's clock, which may be set.
pub(super) struct SkewedClock {
    began: Instant,
    skew: AtomicI64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let time = time_at(self.began).as_micros() + self.skew.load(Ordering::Relaxed);
        Timestamp::from_micros(time)
    }
}

/// Keys that may be away.
pub(super) struct AwayKeys {
    until: std::sync::Mutex<Option<Instant>>,
    auditor: Arc<Auditor>,
    keys: Arc<PlainKeys>,
}

impl AwayKeys {
    fn check(&self) -> Result<(), KeysAway> {
        if self.until.lock().unwrap().is_none_or(|until| Instant::now() >= until) {
            return Ok(());
        }
        self.auditor.happened(Happening::KeysAway, String::new());
        Err(KeysAway("told so".to_owned()))
    }
}

#[async_trait]
impl KeyRing for AwayKeys {
    fn tag_of(&self, _: &str) -> UserTag {
        UserTag([0; 8])
    }

    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        self.check()?;
        self.keys.keys_of(users).await
    }

    async fn service_key(&self) -> Result<DataKey, KeysAway> {
        self.check()?;
        self.keys.service_key().await
    }

    async fn newest_number(&self, user: UserNumber) -> Result<Option<u32>, KeysAway> {
        self.check()?;
        self.keys.newest_number(user).await
    }

    async fn renew(&self, user: UserNumber) -> Result<(), KeysAway> {
        self.check()?;
        self.keys.renew(user).await
    }

    async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), KeysAway> {
        self.check()?;
        self.keys.destroy(user, upto).await
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway> {
        self.check()?;
        self.keys.destroyed().await
    }
}

/// The tasks of a process: polled unless it stands still.
struct Body {
    tasks: Rc<RefCell<Option<LocalSet>>>,
    frozen: Rc<Cell<bool>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Future for Body {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.waker.borrow_mut() = Some(context.waker().clone());
        if self.frozen.get() {
            return Poll::Pending;
        }
        let mut tasks = self.tasks.borrow_mut();
        let Some(tasks) = &mut *tasks else { return Poll::Ready(()) };
        // Without tasks it waits for some.
        let _idle = Pin::new(tasks).poll(context);
        Poll::Pending
    }
}

/// A lane that a process believes to be its own.
struct Owned {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// A process.
pub(super) struct Process {
    pub number: usize,
    tasks: Rc<RefCell<Option<LocalSet>>>,
    frozen: Rc<Cell<bool>>,
    waker: Rc<RefCell<Option<Waker>>>,
    ports: Ports,
    rules: Arc<Rules>,
    pub senders: Arc<Senders>,
    pub clock: Arc<SkewedClock>,
    pub keys: Arc<AwayKeys>,
    pub may_halt: Arc<AtomicBool>,
    fatal: mpsc::Receiver<String>,
    lanes: BTreeMap<Lane, Owned>,
}

/// What processes have in common.
pub(super) struct Ground {
    pub began: Instant,
    pub log: Arc<MemoryLog>,
    pub store: Arc<MemoryStore>,
    pub auditor: Arc<Auditor>,
    pub rules: Rules,
    pub keys: Arc<PlainKeys>,
}

/// What a process is told: it knows the routing as it is now.
fn rules_of(ground: &Ground, number: usize) -> Rules {
    let policy_number = if number.is_multiple_of(2) { 2 } else { 1 };
    Rules {
        routing: ground.store.routing(),
        owner: format!("process-{number}"),
        wire: wire_of(number),
        policy_number,
        policy: Arc::new(policy(policy_number)),
        ..ground.rules.clone()
    }
}

impl Process {
    pub(super) fn start(ground: &Ground, number: usize) -> Self {
        let rules = rules_of(ground, number);
        let ear = Arc::new(Ear::new(Arc::clone(&ground.auditor), number, &rules));
        let may_halt = Arc::clone(&ear.may_halt);
        let mut senders = Senders::new(Arc::clone(&ground.log), number);
        senders.forward_bytes_max = FORWARD_BYTES_MAX;
        senders.letter_bytes_max = LETTER_BYTES_MAX;
        let senders = Arc::new(senders);
        let clock = Arc::new(SkewedClock { began: ground.began, skew: AtomicI64::new(0) });
        let (until, auditor) = (std::sync::Mutex::default(), Arc::clone(&ground.auditor));
        let keys = Arc::clone(&ground.keys);
        let keys = Arc::new(AwayKeys { until, auditor, keys });
        let (say, fatal) = mpsc::channel(1);
        let ports = Ports {
            log: Arc::new(SharedLog(Arc::clone(&ground.log))),
            forwarder: Arc::clone(&senders) as _,
            publisher: Arc::clone(&senders) as _,
            store: Arc::new(ground.store.connect(number)),
            cache: Arc::clone(&ear) as _,
            seal: Arc::new(PlainSeal),
            keys: Arc::clone(&keys) as _,
            clock: Arc::clone(&clock) as _,
            observer: ear,
            tracer: Arc::new(Untraced),
            fatal: say,
            relays: TaskTracker::new(),
        };
        let tasks = Rc::new(RefCell::new(Some(LocalSet::new())));
        let (frozen, waker) = (Rc::<Cell<bool>>::default(), Rc::<RefCell<_>>::default());
        let body =
            Body { tasks: Rc::clone(&tasks), frozen: Rc::clone(&frozen), waker: Rc::clone(&waker) };
        tokio::task::spawn_local(body);
        Self {
            number,
            tasks,
            frozen,
            waker,
            ports,
            rules: Arc::new(rules),
            senders,
            clock,
            keys,
            may_halt,
            fatal,
            lanes: BTreeMap::new(),
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn lanes(&self) -> Vec<Lane> {
        self.lanes.keys().copied().collect()
    }

    pub(super) fn owns(&self, lane: Lane) -> bool {
        self.lanes.contains_key(&lane)
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.get()
    }

    /// Begins to own a lane.
    pub(super) fn assigned(&mut self, lane: Lane) {
        let tasks = self.tasks.borrow();
        let Some(tasks) = &*tasks else { return };
        let stop = CancellationToken::new();
        let (ports, rules) = (self.ports.clone(), Arc::clone(&self.rules));
        let task = tasks.spawn_local(actors::own(lane, ports, rules, stop.clone()));
        self.lanes.insert(lane, Owned { stop, task });
    }

    /// Is asked to leave a lane; it does so in its own time.
    pub(super) fn revoked(&mut self, lane: Lane) {
        if let Some(owned) = self.lanes.remove(&lane) {
            owned.stop.cancel();
        }
    }

    pub(super) fn freeze(&self, landing: usize) {
        self.frozen.set(true);
        self.senders.freeze(landing);
    }

    pub(super) fn thaw(&self) {
        self.frozen.set(false);
        self.senders.thaw();
        self.wake();
    }

    /// Ends from one moment to the next.
    pub(super) fn die(&mut self, landing: usize) {
        self.senders.die(landing);
        self.lanes.clear();
        self.frozen.set(false);
        // With all its tasks, wherever they are.
        drop(self.tasks.borrow_mut().take());
        self.wake();
    }

    /// Whether a lane of its has come to an end by itself, which is a fault of the program.
    pub(super) fn has_failed(&self) -> bool {
        !self.is_frozen() && self.lanes.values().any(|owned| owned.task.is_finished())
    }

    /// Whether it has said that it must end.
    pub(super) fn must_end(&mut self) -> bool {
        let said = if self.is_frozen() { None } else { self.fatal.try_recv().ok() };
        let said = said.inspect(|problem| leaks::look("a last word", problem.as_bytes()));
        said.is_some()
    }

    pub(super) fn set_clock(&self, micros: i64) {
        self.clock.skew.store(micros, Ordering::Relaxed);
    }

    pub(super) fn lose_keys(&self, time: Duration) {
        *self.keys.until.lock().unwrap() = Some(Instant::now() + time);
    }
}
