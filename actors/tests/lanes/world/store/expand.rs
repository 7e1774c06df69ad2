//! Generations, as the real store does them: the routing compared by claims, where lanes stop, and the one
//! transaction with all their rows in which users find new homes, or a topic that was made anew is adopted.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::defect::Defect;
use actors::expansion::{Blocker, blockers};
use actors::lane::{ClosedGeneration, Lane, Positions, Routing, Source};
use actors::store::StoreError;
use tokio::time::Instant;

use super::locks::Use;
use super::server::Server;
use super::tables::{LaneRow, Tables};
use super::{Connection, MemoryStore};
use crate::world::witness::Happening;

/// Whose the expansion is, and until when.
#[derive(Default)]
pub(super) struct Lease {
    number: u64,
    until: Option<Instant>,
}

impl Lease {
    fn is_held(&self, number: u64) -> bool {
        self.number == number && self.until.is_some_and(|until| Instant::now() < until)
    }
}

impl MemoryStore {
    pub(crate) fn routing(&self) -> Routing {
        self.routing.lock().unwrap().clone()
    }

    /// Says that partitions are being added; `None` while somebody else does. Gives the lease.
    pub(crate) fn begin_expansion(&self, lasts: Duration) -> Option<u64> {
        let mut lease = self.lease.lock().unwrap();
        if lease.until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        (lease.number, lease.until) = (lease.number + 1, Some(Instant::now() + lasts));
        self.routing.lock().unwrap().expanding = true;
        for row in self.tables.lock().unwrap().lanes.values_mut() {
            row.stops = None;
        }
        Some(lease.number)
    }

    /// Has the lease last on; says whether it still does.
    pub(crate) fn renew_expansion(&self, number: u64, lasts: Duration) -> bool {
        let mut lease = self.lease.lock().unwrap();
        let holds = lease.is_held(number);
        if holds {
            lease.until = Some(Instant::now() + lasts);
        }
        holds
    }

    /// Gives the lease back.
    pub(crate) fn end_expansion(&self, number: u64) {
        let mut lease = self.lease.lock().unwrap();
        if lease.number == number {
            lease.until = None;
        }
    }

    /// Tells a lane where to stop, while the lease lasts.
    pub(crate) fn set_stops(&self, number: u64, lane: Lane, stops: Positions) {
        if self.lease.lock().unwrap().is_held(number) {
            self.tables.lock().unwrap().lanes.get_mut(&lane).unwrap().stops = Some(stops);
        }
    }

    /// Whether lanes stop where they were told to.
    pub(super) fn is_expanding(&self) -> bool {
        let until = self.lease.lock().unwrap().until;
        until.is_some_and(|until| Instant::now() < until || Defect::LeaseNeverEnds.is_on())
    }

    pub(crate) fn blockers(&self) -> Vec<Blocker> {
        self.look(|tables| blockers(&tables.standings()))
    }
}

impl Connection {
    /// Gives users new homes among `lanes` lanes; gives what is in the way.
    pub(crate) fn expand(
        &self,
        lease: u64,
        lanes: i32,
    ) -> impl Future<Output = Result<Vec<Blocker>, StoreError>> + use<> {
        self.server.clone().expand(lease, lanes)
    }

    /// Begins a generation with a topic of events that is made anew in the middle of it, and begins at `start`.
    pub(crate) fn adopt(
        &self,
        start: i64,
        make_anew: impl FnOnce(),
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.server.clone().adopt(start, make_anew)
    }
}

impl Server {
    /// Whether a process that knows `wanted` may have the lane.
    pub(super) fn agree(&self, lane: Lane, wanted: &Routing) -> Result<(), StoreError> {
        let stored = self.store.routing();
        if stored.generation != wanted.generation {
            self.happened(Happening::OutdatedClaim, lane, "");
            return Err(StoreError::Outdated("another generation".to_owned()));
        }
        if lane.0 >= stored.partition_count {
            self.happened(Happening::AddedLaneClaimed, lane, "");
            return Err(StoreError::NotYet("told so".to_owned()));
        }
        assert_eq!(stored.partition_count, wanted.partition_count);
        Ok(())
    }

    async fn expand(self, lease: u64, count: i32) -> Result<Vec<Blocker>, StoreError> {
        self.with_all(|| self.flip(lease, count)).await
    }

    async fn adopt(self, start: i64, make_anew: impl FnOnce()) -> Result<(), StoreError> {
        let adopt = || {
            let mut tables = self.store.tables.lock().unwrap();
            let lanes: Vec<Lane> = tables.lanes.keys().copied().collect();
            for lane in lanes {
                tables.skip(lane, Source::Events, start);
            }
            make_anew();
            let routing = self.begin_next(&mut tables);
            self.store.witness.adopted(&tables, &routing);
            Ok(())
        };
        self.with_all(adopt).await
    }

    /// Does something while nobody else has any lane's row.
    async fn with_all<T>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lanes: Vec<Lane> = self.store.look(|tables| tables.lanes.keys().copied().collect());
        let mut held = Vec::new();
        let mut locked = Ok(());
        for lane in lanes {
            let transaction = self.begin(lane, Use::Claim);
            held.push((lane, transaction));
            locked = self.wait_for(lane, transaction).await;
            if locked.is_err() {
                break;
            }
        }
        let done = locked.and_then(|()| work());
        for (lane, transaction) in held {
            self.end(lane, transaction);
        }
        done
    }

    /// With all rows: what is in the way, or else the next generation.
    fn flip(&self, number: u64, count: i32) -> Result<Vec<Blocker>, StoreError> {
        let mut lease = self.store.lease.lock().unwrap();
        if !lease.is_held(number) {
            return Err(StoreError::NotYet("the lease is over".to_owned()));
        }
        let mut tables = self.store.tables.lock().unwrap();
        let found = blockers(&tables.standings());
        if !found.is_empty() {
            return Ok(found);
        }
        lease.until = None;
        let routing = self.begin_next(&mut tables);
        for lane in (routing.partition_count..count).map(Lane) {
            tables.lanes.insert(lane, LaneRow::starting_at(Positions::default()));
        }
        let routing = Routing { partition_count: count, ..routing };
        *self.store.routing.lock().unwrap() = routing.clone();
        self.store.witness.expanded(&tables, &routing);
        Ok(Vec::new())
    }

    /// Ends the generation: new tokens, no marks; what is left of it is kept.
    fn begin_next(&self, tables: &mut Tables) -> Routing {
        let mut routing = self.store.routing.lock().unwrap();
        let generation = routing.generation;
        let closed: BTreeMap<Lane, ClosedGeneration> =
            tables.lanes.keys().map(|lane| (*lane, closed_of(tables, generation, *lane))).collect();
        for (lane, row) in &mut tables.lanes {
            row.token = Some(self.store.chance.token());
            row.stops = None;
            row.progress.closed = closed.get(lane).cloned();
            row.progress.marks.clear();
            row.progress.forwarded.clear();
        }
        *routing = Routing { generation: generation + 1, expanding: false, ..routing.clone() };
        routing.clone()
    }
}

/// What is left for a lane of the generation that ends.
fn closed_of(tables: &Tables, generation: i32, home: Lane) -> ClosedGeneration {
    let last = tables
        .lanes
        .iter()
        .filter_map(|(origin, row)| Some((origin.0, *row.progress.forwarded.get(&home.0)?)));
    let (last, marks) = (last.collect(), tables.lanes[&home].progress.marks.clone());
    ClosedGeneration { generation, marks, last }
}
