//! All that a lane needs from outside, in one bundle, and what it is told by configuration.

use std::sync::Arc;
use std::time::Duration;

use neuros::Policy;
use neuros::wire;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::capacity::BATCHES_IN_FLIGHT;
use crate::clock::Clock;
use crate::lane::{PerSource, Routing};
use crate::log::{Forwarder, Log, Publisher};
use crate::observe::Observer;
use crate::person::Evaluate;
use crate::restore::Restorer;
use crate::rows::Sink;
use crate::seal::{KeyRing, Seal};
use crate::store::Store;
use crate::trace::Tracer;

/// The outside, as lanes see it.
#[derive(Clone)]
pub struct Ports {
    /// Where records come from.
    pub log: Arc<dyn Log>,
    /// How they get to their home.
    pub forwarder: Arc<dyn Forwarder>,
    /// Where committed messages go.
    pub publisher: Arc<dyn Publisher>,
    /// What must survive.
    pub store: Arc<dyn Store>,
    /// What may be forgotten.
    pub cache: Arc<dyn Cache>,
    /// Seals and opens.
    pub seal: Arc<dyn Seal>,
    /// Gives keys.
    pub keys: Arc<dyn KeyRing>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Which records are followed.
    pub tracer: Arc<dyn Tracer>,
    /// Where to say that the process must end, and why.
    pub fatal: mpsc::Sender<String>,
    /// The relays that run, those of lanes that have ended too: until each has stored how far its sink has come.
    pub relays: TaskTracker,
}

impl Ports {
    /// What makes states from what is stored.
    pub(crate) fn restorer(&self) -> Restorer {
        let (store, seal) = (Arc::clone(&self.store), Arc::clone(&self.seal));
        Restorer::new(store, seal, Arc::clone(&self.keys))
    }
}

/// What lanes are told.
#[derive(Clone)]
pub struct Rules {
    /// This process, in claims and audit rows.
    pub owner: String,
    /// How users map to lanes.
    pub routing: Routing,
    /// How messages are read.
    pub wire: wire::Intake,
    /// The policy in force, and its number in the store.
    pub policy: Arc<Policy>,
    /// See `policy`.
    pub policy_number: i32,
    /// How a record is applied: [`crate::person::Person::apply`].
    pub evaluate: Evaluate,
    /// Limits of a batch.
    pub batch: BatchRules,
    /// When checkpoints are written.
    pub checkpoint: CheckpointRules,
    /// Users in memory, per lane.
    pub users: UserRules,
    /// Panics of users' evaluations in a minute that stop the lane instead.
    pub quarantines_per_minute: usize,
    /// What a lane does whose position retention has passed.
    pub below_start: BelowStart,
    /// How long batches in flight may take when the lane is taken away.
    pub drain: Duration,
    /// Hand states to the cache.
    pub cache: bool,
    /// Who takes what is committed.
    pub sinks: Vec<Sink>,
    /// The names of the lane's two topics, for people who read dead letters.
    pub topics: PerSource<String>,
}

/// Limits of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchRules {
    /// Records, at most.
    pub records_max: usize,
    /// Bytes of the records' values, at most (one record may exceed it).
    pub bytes_max: usize,
    /// How long to wait for more; zero takes what is there.
    pub linger: Duration,
    /// Batches between ingest and commit.
    pub in_flight_max: usize,
    /// From so many records on a batch is worked on while others are in flight. A smaller one waits until there is no
    /// other, and is filled meanwhile: so behind a commit that takes long there is one batch, not several that each
    /// take a commit more.
    pub pipelined_from: usize,
}

impl Default for BatchRules {
    fn default() -> Self {
        Self {
            records_max: 16_384,
            bytes_max: 8 << 20,
            linger: Duration::ZERO,
            in_flight_max: BATCHES_IN_FLIGHT,
            pipelined_from: 1_024,
        }
    }
}

/// When a user's checkpoint is written.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointRules {
    /// After so many records.
    pub every_records: u32,
    /// After this time, at the latest.
    pub every: Duration,
    /// After so many records the state is kept for good as well.
    pub base_every: u32,
    /// So often, over all lanes, one user is compared with their stored records; zero for never.
    pub scrub_every: Duration,
}

/// Whoever looks back begins at the base before: so nobody applies many more records than these again, however far
/// back they look.
pub const BASE_EVERY: u32 = 1_000;

impl Default for CheckpointRules {
    fn default() -> Self {
        Self {
            every_records: 64,
            every: Duration::from_secs(5),
            base_every: BASE_EVERY,
            scrub_every: Duration::from_secs(10),
        }
    }
}

/// How long users stay in memory.
#[derive(Clone, Copy, Debug)]
pub struct UserRules {
    /// Users in memory, at most, per lane.
    pub live_max: usize,
    /// Users who sent nothing for this long leave it.
    pub idle_after: Duration,
}

impl Default for UserRules {
    fn default() -> Self {
        Self { live_max: 100_000, idle_after: Duration::from_mins(10) }
    }
}

/// What a lane does whose position retention has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BelowStart {
    /// It stops, and says so.
    Stop,
    /// It goes on from the earliest record and records the gap.
    Earliest,
}
