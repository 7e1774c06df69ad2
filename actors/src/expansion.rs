//! More partitions: what must be true before users may find new homes. The same question for every store;
//! it reads nothing itself.

use std::fmt;

use crate::defect::Defect;
use crate::lane::{Lane, NOTHING, Positions, Progress, Source, UserNumber, settled};
use crate::rows::Sink;

/// How far a lane of the generation that ends has come.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The lane.
    pub lane: Lane,
    /// As it is committed.
    pub progress: Progress,
    /// Up to where it must have read both of its sources; `None` before that was noted.
    pub stops: Option<Positions>,
    /// Sinks that have not taken all of the lane's outbox.
    pub behind: Vec<Sink>,
    /// Commands that are not carried out.
    pub commands: u64,
    /// Dead letters that wait for their user's release.
    pub letters: u64,
    /// Whether it has records that may be in no checkpoint.
    pub has_unwritten: bool,
    /// Some of those whose records they are.
    pub lagging: Vec<UserNumber>,
}

/// Why users may not find new homes yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// The lane has not been told where to stop.
    NoStop(Lane),
    /// The lane must read on.
    Unread {
        /// The lane.
        lane: Lane,
        /// Of its two sources.
        source: Source,
        /// The next offset that it reads.
        at: i64,
        /// Up to where it must.
        stop: i64,
    },
    /// What one lane has forwarded, another has not applied.
    Forwarded {
        /// Where the records came in.
        origin: Lane,
        /// Where they must be applied.
        home: Lane,
        /// The newest offset that was applied; -1 for none.
        mark: i64,
        /// The newest that was forwarded.
        last: i64,
    },
    /// A home has applied what its origin has forwarded and not committed: the origin reads it again,
    /// and users must not have new homes by then. It has to read on, past it.
    Ahead {
        /// Where the records came in.
        origin: Lane,
        /// Where they were applied.
        home: Lane,
        /// The newest offset that was applied.
        mark: i64,
        /// The next offset that the origin reads.
        at: i64,
    },
    /// As [`Blocker::Forwarded`], and retention has taken some of it before it was applied: when the home
    /// has read all there is, the rest is lost.
    Lost {
        /// Where the records came in.
        origin: Lane,
        /// Where they should have been applied.
        home: Lane,
        /// The newest offset that was forwarded.
        last: i64,
        /// The next offset of `biometric.events.by-user` that the home reads.
        at: i64,
    },
    /// States of the lane's users, of these among others, are not in checkpoints.
    Unwritten(Lane, Vec<UserNumber>),
    /// Messages of the lane have not left.
    Unpublished(Lane, Sink),
    /// Commands of the lane are open.
    Commands(Lane, u64),
    /// Records that the lane has read wait for their user's release.
    Letters(Lane, u64),
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStop(lane) => write!(f, "lane {lane} is not told where to stop"),
            Self::Unread { lane, source, at, stop } => {
                let source = source.as_str();
                write!(f, "lane {lane} has read {source} up to {at}, not to {stop}")
            }
            Self::Forwarded { origin, home, mark, last } => write!(
                f,
                "lane {home} has applied up to {mark} of what lane {origin} forwarded up to {last}"
            ),
            Self::Ahead { origin, home, mark, at } => write!(
                f,
                "lane {home} has applied up to {mark} of what lane {origin} forwarded and did not commit, \
                 which reads on from {at}"
            ),
            Self::Lost { origin, home, last, at } => write!(
                f,
                "retention has taken some of what lane {origin} forwarded up to {last} to lane {home}, \
                 which reads on from {at}"
            ),
            Self::Unwritten(lane, _) => {
                write!(f, "lane {lane} has states that are in no checkpoint")
            }
            Self::Unpublished(lane, sink) => {
                write!(f, "lane {lane} has messages that {} has not taken", sink.as_str())
            }
            Self::Commands(lane, count) => write!(f, "lane {lane} has {count} open commands"),
            Self::Letters(lane, count) => write!(
                f,
                "lane {lane} has {count} records of users in quarantine: release the users, or discard \
                 the records"
            ),
        }
    }
}

/// All that is still in the way. By marks and not by positions: that a lane has read up to somewhere does
/// not say that nobody forwards to it any more.
pub fn blockers(standings: &[Standing]) -> Vec<Blocker> {
    let mut found = Vec::new();
    for standing in standings {
        let lane = standing.lane;
        match standing.stops {
            Some(stops) => found.extend(unread(standing, stops)),
            None => found.push(Blocker::NoStop(lane)),
        }
        if !Defect::ExpansionByPosition.is_on() {
            found.extend(on_the_way(standing, standings));
        }
        if standing.has_unwritten {
            found.push(Blocker::Unwritten(lane, standing.lagging.clone()));
        }
        found.extend(standing.behind.iter().map(|sink| Blocker::Unpublished(lane, *sink)));
        if standing.commands > 0 {
            found.push(Blocker::Commands(lane, standing.commands));
        }
        if standing.letters > 0 {
            found.push(Blocker::Letters(lane, standing.letters));
        }
    }
    found
}

/// Where a lane has to read on to because of what is [`Blocker::Ahead`]: it has come to its stop, and would
/// stand there for ever.
pub fn stop_on(blockers: &[Blocker]) -> impl Iterator<Item = (Lane, i64)> {
    blockers.iter().filter_map(|blocker| {
        let Blocker::Ahead { origin, mark, .. } = *blocker else { return None };
        let reads = |other: &Blocker| {
            matches!(other, Blocker::Unread { lane, source: Source::Events, .. } if *lane == origin)
        };
        (!blockers.iter().any(reads)).then_some((origin, mark + 1))
    })
}

fn unread(standing: &Standing, stops: Positions) -> impl Iterator<Item = Blocker> {
    let (lane, positions) = (standing.lane, standing.progress.positions);
    Source::ALL.into_iter().filter_map(move |source| {
        let (at, stop) = (*positions.of(source), *stops.of(source));
        (at < stop).then_some(Blocker::Unread { lane, source, at, stop })
    })
}

/// Between `origin` and its homes: what is forwarded and not applied, or applied and to be read again.
fn on_the_way(origin: &Standing, all: &[Standing]) -> impl Iterator<Item = Blocker> {
    all.iter().filter_map(|home| {
        let last = origin.progress.forwarded.get(&home.lane.0).copied().unwrap_or(NOTHING);
        let kept = home.progress.marks.get(&origin.lane.0).copied();
        let (mark, _) = settled(kept.unwrap_or(NOTHING));
        let (reads_at, at) = (origin.progress.positions.events, home.progress.positions.by_user);
        let (origin, home) = (origin.lane, home.lane);
        if mark >= reads_at {
            return Some(Blocker::Ahead { origin, home, mark, at: reads_at });
        }
        if is_lost(kept, last) {
            return Some(Blocker::Lost { origin, home, last, at });
        }
        (mark < last).then_some(Blocker::Forwarded { origin, home, mark, last })
    })
}

/// Whether a mark may never come to `last`: retention has passed the home, and what was forwarded last may
/// have been among what it took.
pub fn is_lost(mark: Option<i64>, last: i64) -> bool {
    let (mark, is_settled) = settled(mark.unwrap_or(NOTHING));
    mark < last && !is_settled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(lane: i32) -> Standing {
        let at = Positions { events: 9, by_user: 4 };
        Standing {
            lane: Lane(lane),
            progress: Progress::starting_at(at),
            stops: Some(at),
            behind: Vec::new(),
            commands: 0,
            letters: 0,
            has_unwritten: false,
            lagging: Vec::new(),
        }
    }

    #[test]
    fn lanes_that_have_done_everything_block_nothing() {
        let mut lanes = [standing(0), standing(1)];
        lanes[0].progress.forwarded.insert(1, 7);
        lanes[1].progress.marks.insert(0, 7);
        assert_eq!(blockers(&lanes), []);
    }

    #[test]
    fn what_is_forwarded_and_not_applied_blocks_whatever_the_positions_are() {
        let mut lanes = [standing(0), standing(1)];
        lanes[0].progress.forwarded.insert(1, 7);
        lanes[1].progress.marks.insert(0, 3);
        let (origin, home) = (Lane(0), Lane(1));
        assert_eq!(blockers(&lanes), [Blocker::Forwarded { origin, home, mark: 3, last: 7 }]);
    }

    #[test]
    fn what_is_applied_and_will_be_read_again_blocks() {
        let mut lanes = [standing(0), standing(1)];
        lanes[1].progress.marks.insert(0, 9);
        let (origin, home) = (Lane(0), Lane(1));
        let found = blockers(&lanes);
        assert_eq!(found, [Blocker::Ahead { origin, home, mark: 9, at: 9 }]);
        assert_eq!(stop_on(&found).collect::<Vec<_>>(), [(origin, 10)]);
        // Before it has come to its stop it may get there by itself.
        lanes[0].stops = Some(Positions { events: 12, by_user: 4 });
        assert_eq!(stop_on(&blockers(&lanes)).count(), 0);
        // Once it is read, whatever its origin made of it, it does not come again.
        lanes[0].progress.positions.events = 12;
        assert_eq!(blockers(&lanes), []);
    }

    #[test]
    fn what_retention_took_before_it_was_applied_is_told_apart() {
        let mut lanes = [standing(0), standing(1)];
        lanes[0].progress.forwarded.insert(1, 7);
        lanes[1].progress.marks.insert(0, 3);
        lanes[1].progress.unsettle_marks(2);
        let (origin, home) = (Lane(0), Lane(1));
        assert_eq!(blockers(&lanes), [Blocker::Lost { origin, home, last: 7, at: 4 }]);
        lanes[0].progress.forwarded.insert(1, 3);
        assert_eq!(blockers(&lanes), []);
    }

    #[test]
    fn each_thing_that_is_left_to_do_is_said() {
        let mut lane = standing(2);
        lane.stops = Some(Positions { events: 10, by_user: 4 });
        lane.behind = vec![Sink::Alerts];
        (lane.commands, lane.letters, lane.has_unwritten) = (1, 2, true);
        let said: Vec<String> = blockers(&[lane]).iter().map(Blocker::to_string).collect();
        assert_eq!(
            said,
            [
                "lane 2 has read events up to 9, not to 10",
                "lane 2 has states that are in no checkpoint",
                "lane 2 has messages that alerts has not taken",
                "lane 2 has 1 open commands",
                "lane 2 has 2 records of users in quarantine: release the users, or discard the records",
            ]
        );
        let untold = Standing { stops: None, ..standing(0) };
        assert_eq!(blockers(&[untold]), [Blocker::NoStop(Lane(0))]);
    }
}
