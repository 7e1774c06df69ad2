//! The fates of records: what must become of each that a batch has read, from the log and the marks alone.
//! It shares the decoder and the hash of homes with the lanes, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::home::home;
use actors::incoming::{Incoming, Origin};
use actors::lane::{Lane, Progress, Routing, Source};
use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::wire::{self, Headers, Intake, Message};

use crate::world::store::tables::Written;
use crate::world::witness::Happening;
use crate::world::{Entry, MemoryLog};

/// What must become of a record.
#[derive(Clone)]
pub(super) enum Fate {
    Apply { record: Box<Record<'static>>, content: Vec<u8>, origin: (i32, i64) },
    Forward(Lane),
    Letter(&'static str),
    Skip(Happening),
}

/// A record, or the reason why it is none and whose it would be.
type Decoded = Result<Box<Record<'static>>, (&'static str, Option<String>)>;

pub(super) type Checked = Result<(), String>;

pub(super) fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(problem()) }
}

/// An offset of forwarded records, by lane and the other partition.
type Offsets = BTreeMap<(Lane, i32), i64>;

/// Judges the records of all lanes.
pub(super) struct Judge {
    pub routing: Routing,
    pub forward_bytes_max: usize,
    pub log: Arc<MemoryLog>,
    /// By lane and origin partition the newest forwarded offset that was applied.
    marks: Offsets,
    /// By lane and home the last offset that was forwarded.
    forwarded: Offsets,
    /// Origin partition and offset of everything that was applied at its home after forwarding.
    arrived: BTreeSet<(i32, i64)>,
    /// The same of everything that was forwarded.
    left: BTreeSet<(i32, i64)>,
    /// The generation before, and by lane and origin the last offset that was forwarded in it.
    closed: Option<(i32, Offsets)>,
}

impl Judge {
    pub(super) fn new(routing: Routing, forward_bytes_max: usize, log: Arc<MemoryLog>) -> Self {
        let (marks, forwarded) = (BTreeMap::new(), BTreeMap::new());
        let (arrived, left) = (BTreeSet::new(), BTreeSet::new());
        Self { routing, forward_bytes_max, log, marks, forwarded, arrived, left, closed: None }
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        (0..self.routing.partition_count).map(Lane)
    }

    /// The marks and last forwarded offsets that a batch writes are these.
    pub(super) fn check_marks(&self, lane: Lane, after: &Progress) -> Checked {
        let of_lane = |all: &Offsets| -> BTreeMap<i32, i64> {
            let known = all.range((lane, i32::MIN)..=(lane, i32::MAX));
            known.map(|((_, other), offset)| (*other, *offset)).collect()
        };
        let (marks, forwarded) = (of_lane(&self.marks), of_lane(&self.forwarded));
        ensure(after.marks == marks, || format!("marks {:?}, due are {marks:?}", after.marks))?;
        ensure(after.forwarded == forwarded, || {
            format!("last forwarded {:?}, due are {forwarded:?}", after.forwarded)
        })
    }

    /// A new generation begins, in which nothing is forwarded yet.
    pub(super) fn go_on(&mut self, routing: &Routing) {
        let forwarded = std::mem::take(&mut self.forwarded);
        let by_home = |((origin, home), last): ((Lane, i32), i64)| ((Lane(home), origin.0), last);
        self.closed = Some((self.routing.generation, forwarded.into_iter().map(by_home).collect()));
        self.marks.clear();
        self.routing = routing.clone();
    }

    /// What was forwarded and has not been applied at its home, or was applied without being forwarded.
    pub(super) fn adrift(&self) -> Vec<(i32, i64)> {
        self.left.symmetric_difference(&self.arrived).copied().collect()
    }

    /// What a record is, without its lane's marks.
    fn decode(entry: &Entry, time: Option<Timestamp>, wire: &Intake) -> Decoded {
        let raw = &entry.raw;
        let headers = raw.headers.iter();
        let headers: Headers<'_> = headers
            .map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
            .collect();
        let value = raw.value.as_deref().unwrap_or_default();
        let message = Message { value, headers, record_time: time };
        wire::decode(&message, wire)
            .map(|record| Box::new(record.into_owned()))
            .map_err(|no| (no.reason.as_str(), no.user_id.map(|user_id| user_id.into_owned())))
    }

    fn fate_of_event(&self, lane: Lane, entry: &Entry, wire: &Intake) -> Fate {
        let decoded = Self::decode(entry, entry.time, wire);
        let home = self.home_of(&decoded).unwrap_or(lane);
        if home == lane {
            return fate_of(decoded, entry, (lane.0, entry.offset));
        }
        let headers: Vec<(&str, Option<&[u8]>)> =
            entry.raw.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        let incoming = Incoming {
            source: Source::Events,
            offset: entry.offset,
            record_time: entry.time,
            key: entry.raw.key.as_deref(),
            value: entry.raw.value.as_deref(),
            headers: &headers,
        };
        if incoming.bytes() + Origin::HEADER_BYTES_MAX > self.forward_bytes_max {
            return Fate::Letter("too_large");
        }
        Fate::Forward(home)
    }

    /// Generation, repeat, home, turn; moves the mark.
    fn fate_of_forwarded(&mut self, lane: Lane, entry: &Entry, wire: &Intake) -> Fate {
        let headers: Vec<(&str, Option<&[u8]>)> =
            entry.raw.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        let Some(origin) = Origin::of_headers(&headers) else { return Fate::Letter("misrouted") };
        if origin.generation != self.routing.generation {
            // All that counted in a generation was applied before it ended.
            let place = (lane, origin.partition);
            let counted = self.closed.as_ref().is_some_and(|(generation, last)| {
                origin.generation == *generation
                    && last.get(&place).is_some_and(|last| origin.offset <= *last)
            });
            return Fate::Skip(match counted {
                true => Happening::ForwardedRepeat,
                false => Happening::OtherGeneration,
            });
        }
        let mark = self.marks.get(&(lane, origin.partition)).copied().unwrap_or(-1);
        if origin.offset <= mark {
            return Fate::Skip(Happening::ForwardedRepeat);
        }
        if !(0..self.routing.partition_count).contains(&origin.partition) {
            return Fate::Letter("misrouted");
        }
        let time = origin.time.map(Timestamp::from_millis);
        let decoded = Self::decode(entry, time, wire);
        if self.home_of(&decoded).is_some_and(|home| home != lane) {
            return Fate::Letter("misrouted");
        }
        if origin.previous > mark {
            return Fate::Skip(Happening::OutOfTurn);
        }
        self.marks.insert((lane, origin.partition), origin.offset);
        // Only marks and positions keep it from being applied twice; a second time would show here.
        if !self.arrived.insert((origin.partition, origin.offset)) {
            return Fate::Skip(Happening::ForwardedRepeat);
        }
        fate_of(decoded, entry, (origin.partition, origin.offset))
    }

    fn home_of(&self, decoded: &Decoded) -> Option<Lane> {
        let user_id = match decoded {
            Ok(record) => &*record.user_id,
            Err((_, user_id)) => user_id.as_deref()?,
        };
        Some(home(user_id, self.routing.partition_count))
    }

    /// The fates of the records that a batch says it has read; I1: exactly those.
    pub(super) fn fates(
        &mut self,
        written: &Written,
        wire: &Intake,
    ) -> Result<BTreeMap<(Source, i64), Fate>, String> {
        let lane = written.lane;
        let mut fates = BTreeMap::new();
        for source in Source::ALL {
            let from = *written.before.positions.of(source);
            let to = *written.after.positions.of(source);
            let entries = self.log.entries(lane, source, from, to);
            let due = entries.last().map_or(from, |entry| entry.offset + 1);
            ensure(to == due, || format!("I1: {source:?} goes from {from} to {to}, not to {due}"))?;
            for entry in entries {
                let fate = match source {
                    Source::Events => self.fate_of_event(lane, &entry, wire),
                    Source::ByUser => self.fate_of_forwarded(lane, &entry, wire),
                };
                if let Fate::Forward(home) = fate {
                    self.left.insert((lane.0, entry.offset));
                    self.forwarded.insert((lane, home.0), entry.offset);
                    // Section 8: the batch commits only after its records are safe.
                    ensure(self.log.has_landed(lane.0, entry.offset, home), || {
                        format!(
                            "{lane}/{} was committed before it was safe at {home}",
                            entry.offset
                        )
                    })?;
                }
                fates.insert((source, entry.offset), fate);
            }
        }
        Ok(fates)
    }
}

/// The fate of a record at its home.
fn fate_of(decoded: Decoded, entry: &Entry, origin: (i32, i64)) -> Fate {
    match decoded {
        Ok(record) => {
            let content = entry.raw.value.clone().unwrap_or_default();
            Fate::Apply { record, content, origin }
        }
        Err((reason, _)) => Fate::Letter(reason),
    }
}
