//! The operator who adds partitions: has lanes stop, looks what is in the way, tries, and gives up when
//! it takes too long. As `topics expand` does it, on the store and the log in memory.

use std::time::Duration;

use actors::expansion::Blocker;
use actors::lane::Lane;
use actors::store::StoreError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::group::Group;
use super::process::Ground;
use super::produce::METADATA_AGE;
use crate::world::witness::{Happening, Witness as _};

/// How long lanes stand still for it.
const PATIENCE: Duration = Duration::from_secs(8);

/// The operator's process, to the store.
const PROCESS: usize = 1_000;

/// Where the operator is.
pub(super) enum Operator {
    /// Has nothing to do, or is done.
    Idle,
    /// Waits until every producer knows of the new partitions.
    Waiting { lanes: i32, until: Instant },
    /// Waits for the lanes' rest, and tries.
    Moving { lanes: i32, until: Instant, attempt: Option<Attempt> },
}

type Attempt = JoinHandle<Result<Vec<Blocker>, StoreError>>;

impl Operator {
    /// Adds partitions.
    pub(super) fn begin(group: &mut Group, lanes: i32) -> Self {
        let ground = &group.ground;
        ground.store.begin_expansion();
        ground.log.grow(lanes);
        ground.auditor.happened(Happening::PartitionsAdded, format!("{lanes} in all"));
        group.grow(lanes);
        Self::Waiting { lanes, until: Instant::now() + Duration::from_millis(METADATA_AGE) }
    }

    /// What the operator does as time goes on.
    pub(super) fn tick(&mut self, ground: &Ground) {
        let now = Instant::now();
        match self {
            Self::Idle => {}
            Self::Waiting { until, .. } if now < *until => {}
            Self::Waiting { lanes, .. } => {
                for lane in lanes_of(ground) {
                    ground.store.set_stops(lane, Some(ground.log.next_offsets(lane)));
                }
                ground.auditor.happened(Happening::LanesStopped, String::new());
                *self = Self::Moving { lanes: *lanes, until: now + PATIENCE, attempt: None };
            }
            Self::Moving { lanes, until, attempt } => {
                if let Some(running) = attempt {
                    if !running.is_finished() {
                        return;
                    }
                    *attempt = None;
                }
                let generation = ground.store.routing().generation;
                if generation > ground.rules.routing.generation {
                    *self = Self::Idle;
                    return;
                }
                if now >= *until {
                    for lane in lanes_of(ground) {
                        ground.store.set_stops(lane, None);
                    }
                    ground.auditor.happened(Happening::ExpansionGivenUp, String::new());
                    *self = Self::Idle;
                    return;
                }
                let blockers = ground.store.blockers();
                lower_stops(ground, &blockers);
                // Now and then without having looked: what counts is what is found under the locks.
                if blockers.is_empty() || ground.log.chance.one_in(16) {
                    let store = ground.store.connect(PROCESS);
                    let (auditor, lanes) = (ground.auditor.clone(), *lanes);
                    *attempt = Some(tokio::task::spawn_local(async move {
                        let found = store.expand(lanes).await;
                        if let Ok(found) = &found
                            && !found.is_empty()
                        {
                            auditor.happened(Happening::ExpansionBlocked, format!("{found:?}"));
                        }
                        found
                    }));
                }
            }
        }
    }
}

fn lanes_of(ground: &Ground) -> Vec<Lane> {
    ground.store.look(|tables| tables.lanes.keys().copied().collect())
}

/// Where the log ends in what is no record, the lane has read all there is.
fn lower_stops(ground: &Ground, blockers: &[Blocker]) {
    for blocker in blockers {
        if let Blocker::Unread { lane, source, at, stop } = *blocker
            && ground.log.count(lane, source, at, stop) == 0
            && let Some(mut stops) = ground.store.look(|tables| tables.lanes[&lane].stops)
        {
            *stops.of_mut(source) = at;
            ground.store.set_stops(lane, Some(stops));
        }
    }
}
