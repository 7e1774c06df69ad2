//! More partitions, as the real store does it: the routing compared by claims, where lanes stop, and the one
//! transaction with all their rows in which users find new homes.

use std::collections::BTreeMap;

use actors::expansion::{Blocker, blockers};
use actors::lane::{ClosedGeneration, Lane, Positions, Routing};
use actors::store::StoreError;

use super::locks::Use;
use super::server::Server;
use super::tables::{LaneRow, Tables};
use super::{Connection, MemoryStore};
use crate::world::witness::Happening;

impl MemoryStore {
    pub(crate) fn routing(&self) -> Routing {
        self.routing.lock().unwrap().clone()
    }

    /// Says that partitions are being added.
    pub(crate) fn begin_expansion(&self) {
        self.routing.lock().unwrap().expanding = true;
    }

    /// Tells a lane where to stop, or to read on.
    pub(crate) fn set_stops(&self, lane: Lane, stops: Option<Positions>) {
        self.tables.lock().unwrap().lanes.get_mut(&lane).unwrap().stops = stops;
    }

    pub(crate) fn blockers(&self) -> Vec<Blocker> {
        self.look(|tables| blockers(&tables.standings()))
    }
}

impl Connection {
    /// Gives users new homes among `lanes` lanes; gives what is in the way.
    pub(crate) fn expand(
        &self,
        lanes: i32,
    ) -> impl Future<Output = Result<Vec<Blocker>, StoreError>> + use<> {
        self.server.clone().expand(lanes)
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

    async fn expand(self, count: i32) -> Result<Vec<Blocker>, StoreError> {
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
        let done = locked.map(|()| self.flip(count));
        for (lane, transaction) in held {
            self.end(lane, transaction);
        }
        done
    }

    /// With all rows: what is in the way, or else the next generation.
    fn flip(&self, count: i32) -> Vec<Blocker> {
        let mut tables = self.store.tables.lock().unwrap();
        let found = blockers(&tables.standings());
        if !found.is_empty() {
            return found;
        }
        let mut routing = self.store.routing.lock().unwrap();
        let generation = routing.generation;
        let closed: BTreeMap<Lane, ClosedGeneration> = tables
            .lanes
            .keys()
            .map(|lane| (*lane, closed_of(&tables, generation, *lane)))
            .collect();
        for (lane, row) in &mut tables.lanes {
            row.token = Some(self.store.chance.token());
            row.stops = None;
            row.progress.closed = closed.get(lane).cloned();
            row.progress.marks.clear();
            row.progress.forwarded.clear();
        }
        for lane in (routing.partition_count..count).map(Lane) {
            tables.lanes.insert(lane, LaneRow::starting_at(Positions::default()));
        }
        *routing = Routing {
            generation: generation + 1,
            partition_count: count,
            expanding: false,
            ..routing.clone()
        };
        self.store.witness.expanded(&tables, &routing);
        Vec::new()
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
