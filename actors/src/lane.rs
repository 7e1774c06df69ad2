//! A lane and how far it has come: what one row of the table `lanes` holds, in memory. Only the
//! owner of the lane changes it, and only a committed batch makes a change true.

use std::collections::BTreeMap;
use std::fmt;

use neuros::Mode;
use neuros::time::Timestamp;

/// The unit of ownership: one partition of `biometric.events` together with the partition of the
/// same number of `biometric.events.by-user`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub i32);

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a lane's two partitions a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `biometric.events`: what producers write.
    Events,
    /// `biometric.events.by-user`: what other lanes have forwarded.
    ByUser,
}

impl Source {
    /// Both, in the order of their numbers in tables.
    pub const ALL: [Self; 2] = [Self::Events, Self::ByUser];

    /// Its number in tables, from 0.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::ByUser => "by_user",
        }
    }
}

/// Where one of a person's records comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provenance {
    /// A lane's topic, and the offset there.
    Log(Source, i64),
    /// The command of that number; 0 is time itself.
    Order(i64),
}

impl Provenance {
    /// What stands for orders in the column of sources.
    const ORDER: i16 = 2;

    /// The source's number in tables.
    pub fn number(self) -> i16 {
        match self {
            Self::Log(source, _) => source.number(),
            Self::Order(_) => Self::ORDER,
        }
    }

    /// The offset there, or the command's number.
    pub fn offset(self) -> i64 {
        match self {
            Self::Log(_, offset) | Self::Order(offset) => offset,
        }
    }

    /// What these stand for; `None` when there is no such source.
    pub fn of_numbers(number: i16, offset: i64) -> Option<Self> {
        if number == Self::ORDER {
            return Some(Self::Order(offset));
        }
        let mut sources = Source::ALL.into_iter();
        sources.find(|source| source.number() == number).map(|source| Self::Log(source, offset))
    }
}

/// One value for each of a lane's two sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSource<T> {
    /// Of `biometric.events`.
    pub events: T,
    /// Of `biometric.events.by-user`.
    pub by_user: T,
}

impl<T> PerSource<T> {
    /// The value of `source`.
    pub fn of(&self, source: Source) -> &T {
        match source {
            Source::Events => &self.events,
            Source::ByUser => &self.by_user,
        }
    }

    /// The value of `source`, to be changed.
    pub fn of_mut(&mut self, source: Source) -> &mut T {
        match source {
            Source::Events => &mut self.events,
            Source::ByUser => &mut self.by_user,
        }
    }
}

/// The offsets of the next records to read.
pub type Positions = PerSource<i64>;

/// What became of the records of one source; together they are all records read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Applied to their user's state and stored.
    pub new: i64,
    /// Already among the user's newest records.
    pub duplicate: i64,
    /// Kept as dead letters.
    pub dead_letter: i64,
    /// Sent on to their user's home lane.
    pub forwarded: i64,
    /// Forwarded records that must not be applied: repeats, of another generation, out of turn.
    pub skipped: i64,
}

impl Counts {
    /// All records read.
    pub fn read(&self) -> i64 {
        self.new + self.duplicate + self.dead_letter + self.forwarded + self.skipped
    }
}

impl Counts {
    /// What was added after `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            new: self.new - before.new,
            duplicate: self.duplicate - before.duplicate,
            dead_letter: self.dead_letter - before.dead_letter,
            forwarded: self.forwarded - before.forwarded,
            skipped: self.skipped - before.skipped,
        }
    }
}

/// How many users are in each mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeCounts([i64; 4]);

impl ModeCounts {
    /// Counts in the order reflex, guardian, pattern, hypothesis.
    pub fn new(counts: [i64; 4]) -> Self {
        Self(counts)
    }

    /// Each mode with its count, in the order in which they are stored.
    pub fn iter(&self) -> impl Iterator<Item = (Mode, i64)> {
        Self::ORDER.into_iter().zip(self.0)
    }

    /// A user came into being in a mode, or went from one to another.
    pub fn moved(&mut self, from: Option<Mode>, to: Mode) {
        if let Some(from) = from {
            *self.of_mut(from) -= 1;
        }
        *self.of_mut(to) += 1;
    }

    const ORDER: [Mode; 4] = [Mode::Reflex, Mode::Guardian, Mode::Pattern, Mode::Hypothesis];

    fn of_mut(&mut self, mode: Mode) -> &mut i64 {
        let [reflex, guardian, pattern, hypothesis] = &mut self.0;
        match mode {
            Mode::Reflex => reflex,
            Mode::Guardian => guardian,
            Mode::Pattern => pattern,
            Mode::Hypothesis => hypothesis,
        }
    }
}

/// How far a lane has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of its newest batch; 0 before the first.
    pub batch: i64,
    /// Where to read on.
    pub positions: Positions,
    /// Per origin partition the offset of its newest forwarded record that was applied here.
    pub marks: BTreeMap<i32, i64>,
    /// Per home lane the offset of the newest record that was forwarded to it.
    pub forwarded: BTreeMap<i32, i64>,
    /// What is left of the generation before, while there is one.
    pub closed: Option<ClosedGeneration>,
    /// The number of the newest outbox row.
    pub outbox: i64,
    /// How many user numbers this lane has given away.
    pub users: i64,
    /// Its users by mode.
    pub modes: ModeCounts,
    /// What became of all records.
    pub counts: PerSource<Counts>,
    /// When the newest batch was made; each batch's is later than the one's before, whatever the
    /// clock does.
    pub stamp: Timestamp,
    /// Every user's checkpoint holds all of their records with stamps up to here.
    pub checkpointed: Timestamp,
}

impl Progress {
    /// A lane that has read nothing yet and begins at `positions`.
    pub fn starting_at(positions: Positions) -> Self {
        let never = Timestamp::from_micros(0);
        Self {
            batch: 0,
            positions,
            marks: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            closed: None,
            outbox: 0,
            users: 0,
            modes: ModeCounts::default(),
            counts: PerSource::default(),
            stamp: never,
            checkpointed: never,
        }
    }

    /// After a gap in what was forwarded here nobody knows what should come next from any of
    /// `partition_count` origins: whatever comes is accepted, and the mark holds again from there.
    pub fn unsettle_marks(&mut self, partition_count: i32) {
        for origin in 0..partition_count {
            let mark = self.marks.entry(origin).or_insert(NOTHING);
            if *mark >= NOTHING {
                *mark = UNSETTLED - *mark;
            }
        }
    }

    /// The number for a user seen for the first time: unique over all lanes, without asking anybody.
    pub fn number_user(&mut self, lane: Lane) -> UserNumber {
        self.users += 1;
        UserNumber::of(self.users, lane)
    }
}

/// The mark before the first forwarded record.
pub const NOTHING: i64 = -1;

/// A mark `m` that is not settled is kept as this number less `m`.
const UNSETTLED: i64 = -3;

/// A mark as it is kept: the offset, and whether only its direct successor may follow.
pub fn settled(mark: i64) -> (i64, bool) {
    if mark < NOTHING { (UNSETTLED - mark, false) } else { (mark, true) }
}

/// A generation that has ended: what was forwarded in it and not yet applied is still applied, in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedGeneration {
    /// Its number.
    pub generation: i32,
    /// Per origin partition the offset of its newest forwarded record that was applied here.
    pub marks: BTreeMap<i32, i64>,
    /// Per origin partition the offset of the last record that was forwarded here.
    pub last: BTreeMap<i32, i64>,
}

/// Lanes, and so partitions, are fewer than two to this power.
pub const LANE_BITS: u32 = 14;

/// Stands for a user id in tables; never changes and is never given away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserNumber(pub i64);

impl UserNumber {
    /// The number of a lane's user number `count`, from 1.
    pub fn of(count: i64, lane: Lane) -> Self {
        Self(count << LANE_BITS | i64::from(lane.0))
    }
}

/// Proof of owning a lane: random, new with each claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceToken(pub uuid::Uuid);

/// How users map to lanes, as the one row of the table `routing` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Counts the incarnations of the topics.
    pub generation: i32,
    /// Partitions of `biometric.events`, and of `biometric.events.by-user`.
    pub partition_count: i32,
    /// The version of all that decides a home.
    pub version: i32,
    /// The largest message that is read, bytes; larger ones have no home.
    pub bytes_max: i64,
    /// Which cluster and topics the positions belong to; `None` when the log cannot say.
    pub log_id: Option<String>,
    /// More partitions are being added.
    pub expanding: bool,
}

/// The version of the rules by which this release finds a user's home.
pub const ROUTING_VERSION: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_keeps_its_offset_when_it_is_unsettled() {
        let mut progress = Progress::starting_at(Positions::default());
        progress.marks.insert(1, 40);
        progress.unsettle_marks(2);
        progress.unsettle_marks(2);
        assert_eq!(settled(progress.marks[&0]), (NOTHING, false));
        assert_eq!(settled(progress.marks[&1]), (40, false));
        assert_eq!(settled(40), (40, true));
    }

    #[test]
    fn users_of_different_lanes_never_get_one_number() {
        let mut numbers = std::collections::BTreeSet::new();
        for lane in 0..50 {
            let mut progress = Progress::starting_at(Positions::default());
            for _ in 0..50 {
                assert!(numbers.insert(progress.number_user(Lane(lane))));
            }
        }
    }
}
