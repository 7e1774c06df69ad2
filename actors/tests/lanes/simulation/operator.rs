//! The operator who adds partitions, or adopts a topic that was made anew: has lanes stop, looks what is in the way, tries, gives up when it takes
//! too long, dies in the middle of it and perhaps comes back. As `topics expand` does it, on the store and the
//! log in memory.

use std::sync::Arc;
use std::time::Duration;

use actors::expansion::{Blocker, stop_on};
use actors::lane::{Lane, Source};
use actors::store::StoreError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::group::Group;
use super::process::Ground;
use super::produce::METADATA_AGE;
use crate::world::witness::{Happening, Witness as _};

/// How long lanes stand still for it.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long they do for an operator who is gone.
const LEASE: Duration = Duration::from_secs(3);

/// The operator's process, to the store.
const PROCESS: usize = 1_000;

/// At one tick in so many the operator dies.
const DIES: u64 = 100;

/// Where the operator is.
pub(super) enum Operator {
    /// Has nothing to do, or is done.
    Idle,
    /// Has died, and another one comes, perhaps before the lease is over.
    Gone { lanes: i32, until: Instant },
    /// Waits until every producer knows of the new partitions.
    Waiting { lanes: i32, lease: u64, until: Instant },
    /// Waits for the lanes' rest, and tries.
    Moving { lanes: i32, lease: u64, until: Instant, attempt: Option<Attempt> },
    /// Adopts a topic, and tries again until it is done.
    Adopting { attempt: JoinHandle<Result<(), StoreError>> },
}

type Attempt = JoinHandle<Result<Vec<Blocker>, StoreError>>;

impl Operator {
    /// Adds partitions.
    pub(super) fn begin(group: &mut Group, lanes: i32) -> Self {
        let ground = &group.ground;
        // Smaller plans than were drawn may have two of them.
        let Some(lease) = ground.store.begin_expansion(LEASE) else { return Self::Idle };
        ground.log.grow(lanes);
        ground.auditor.happened(Happening::PartitionsAdded, format!("{lanes} in all"));
        group.grow(lanes);
        Self::waiting(lanes, lease)
    }

    /// Adopts the topic of events, which is made anew with other offsets than any before.
    pub(super) fn adopt(ground: &Ground) -> Self {
        let start = i64::from(ground.store.routing().generation) << 20;
        let (store, log) = (ground.store.connect(PROCESS), Arc::clone(&ground.log));
        let make_anew = move || log.make_anew(Source::Events, start);
        let attempt = tokio::task::spawn_local(async move { store.adopt(start, make_anew).await });
        Self::Adopting { attempt }
    }

    pub(super) fn is_adopting(&self) -> bool {
        matches!(self, Self::Adopting { .. })
    }

    fn waiting(lanes: i32, lease: u64) -> Self {
        Self::Waiting { lanes, lease, until: Instant::now() + Duration::from_millis(METADATA_AGE) }
    }

    /// What the operator does as time goes on.
    pub(super) fn tick(&mut self, ground: &Ground) {
        let now = Instant::now();
        match self {
            Self::Idle => return,
            Self::Adopting { attempt } => {
                if attempt.is_finished() {
                    let is_done =
                        ground.store.routing().generation > ground.rules.routing.generation;
                    *self = if is_done { Self::Idle } else { Self::adopt(ground) };
                }
                return;
            }
            Self::Gone { until, .. } if now < *until => return,
            Self::Gone { lanes, .. } => {
                // It may have landed what it had under way.
                if ground.store.routing().generation > ground.rules.routing.generation {
                    *self = Self::Idle;
                } else if let Some(lease) = ground.store.begin_expansion(LEASE) {
                    *self = Self::waiting(*lanes, lease);
                } else {
                    ground.auditor.happened(Happening::ExpansionRefused, String::new());
                    *self = Self::Gone { lanes: *lanes, until: now + LEASE / 2 };
                }
                return;
            }
            Self::Waiting { lease, lanes, .. } | Self::Moving { lease, lanes, .. } => {
                if ground.log.chance.one_in(DIES) {
                    ground.auditor.happened(Happening::OperatorDied, String::new());
                    let away = Duration::from_millis(ground.log.chance.below(6_000));
                    *self = match ground.log.chance.one_in(2) {
                        true => Self::Idle,
                        false => Self::Gone { lanes: *lanes, until: now + away },
                    };
                    return;
                }
                // An attempt that has succeeded has ended it.
                ground.store.renew_expansion(*lease, LEASE);
            }
        }
        self.conduct(ground, now);
    }

    fn conduct(&mut self, ground: &Ground, now: Instant) {
        match self {
            Self::Idle | Self::Gone { .. } | Self::Adopting { .. } => {}
            Self::Waiting { until, .. } if now < *until => {}
            Self::Waiting { lanes, lease, .. } => {
                for lane in lanes_of(ground) {
                    ground.store.set_stops(*lease, lane, ground.log.next_offsets(lane));
                }
                ground.auditor.happened(Happening::LanesStopped, String::new());
                let (lanes, lease, until) = (*lanes, *lease, now + PATIENCE);
                *self = Self::Moving { lanes, lease, until, attempt: None };
            }
            Self::Moving { lanes, lease, until, attempt } => {
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
                    ground.store.end_expansion(*lease);
                    ground.auditor.happened(Happening::ExpansionGivenUp, String::new());
                    *self = Self::Idle;
                    return;
                }
                let blockers = ground.store.blockers();
                move_stops(ground, *lease, &blockers);
                // Now and then without having looked: what counts is what is found under the locks.
                if blockers.is_empty() || ground.log.chance.one_in(16) {
                    *attempt = Some(try_to_move(ground, *lease, *lanes));
                }
            }
        }
    }
}

fn try_to_move(ground: &Ground, lease: u64, lanes: i32) -> Attempt {
    let store = ground.store.connect(PROCESS);
    let auditor = ground.auditor.clone();
    tokio::task::spawn_local(async move {
        let found = store.expand(lease, lanes).await;
        if let Ok(found) = &found
            && !found.is_empty()
        {
            auditor.happened(Happening::ExpansionBlocked, format!("{found:?}"));
        }
        found
    })
}

fn lanes_of(ground: &Ground) -> Vec<Lane> {
    ground.store.look(|tables| tables.lanes.keys().copied().collect())
}

/// Where the log ends in what is no record, the lane has read all there is; where it stands before what was
/// applied already, it has to read on.
fn move_stops(ground: &Ground, lease: u64, blockers: &[Blocker]) {
    let mut moved = Vec::new();
    for blocker in blockers {
        if let Blocker::Unread { lane, source, at, stop } = *blocker
            && ground.log.count(lane, source, at, stop) == 0
        {
            moved.push((lane, source, at));
        }
    }
    for (lane, stop) in stop_on(blockers) {
        ground.auditor.happened(Happening::StopMovedOn, format!("lane {lane} to {stop}"));
        moved.push((lane, Source::Events, stop));
    }
    for (lane, source, to) in moved {
        if let Some(mut stops) = ground.store.look(|tables| tables.lanes[&lane].stops) {
            *stops.of_mut(source) = to;
            ground.store.set_stops(lease, lane, stops);
        }
    }
}
