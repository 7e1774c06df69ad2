//! The fates of records: what must become of each that a batch has read, from the log and the marks alone.
//! It shares the decoder and the hash of homes with the lanes, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::home::home;
use actors::incoming::{Incoming, Origin};
use actors::intake::MISROUTED;
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

/// Offsets by a lane and another partition.
type Offsets = BTreeMap<(Lane, i32), i64>;

/// A generation that is over. By lane and origin the newest forwarded offset that was applied, and the last that
/// was forwarded.
struct Closed {
    generation: i32,
    marks: Offsets,
    last: Offsets,
}

fn of_lane(all: &Offsets, lane: Lane) -> BTreeMap<i32, i64> {
    let known = all.range((lane, i32::MIN)..=(lane, i32::MAX));
    known.map(|((_, other), offset)| (*other, *offset)).collect()
}

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
    /// The generation before.
    closed: Option<Closed>,
    /// Records of it that were applied since.
    pub late_arrivals: u64,
    /// Ids of those who were erased.
    pub erased: BTreeSet<String>,
}

impl Judge {
    pub(super) fn new(routing: Routing, forward_bytes_max: usize, log: Arc<MemoryLog>) -> Self {
        let (marks, forwarded) = (BTreeMap::new(), BTreeMap::new());
        let (arrived, left) = (BTreeSet::new(), BTreeSet::new());
        let (closed, late_arrivals) = (None, 0);
        Self {
            routing,
            forward_bytes_max,
            log,
            marks,
            forwarded,
            arrived,
            left,
            closed,
            late_arrivals,
            erased: BTreeSet::new(),
        }
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        (0..self.routing.partition_count).map(Lane)
    }

    /// The marks and last forwarded offsets that a batch writes are these.
    pub(super) fn check_marks(&self, lane: Lane, after: &Progress) -> Checked {
        if let Some(closed) = &self.closed {
            let kept = after.closed.clone().unwrap_or_default();
            let (marks, last) = (of_lane(&closed.marks, lane), of_lane(&closed.last, lane));
            ensure(kept.marks == marks && kept.last == last, || {
                format!("of the closed generation {kept:?}, due are {marks:?} up to {last:?}")
            })?;
        }
        let (marks, forwarded) = (of_lane(&self.marks, lane), of_lane(&self.forwarded, lane));
        ensure(after.marks == marks, || format!("marks {:?}, due are {marks:?}", after.marks))?;
        ensure(after.forwarded == forwarded, || {
            format!("last forwarded {:?}, due are {forwarded:?}", after.forwarded)
        })
    }

    /// A new generation begins, in which nothing is forwarded yet.
    pub(super) fn go_on(&mut self, routing: &Routing) {
        let forwarded = std::mem::take(&mut self.forwarded);
        let by_home = |((origin, home), last): ((Lane, i32), i64)| ((Lane(home), origin.0), last);
        self.closed = Some(Closed {
            generation: self.routing.generation,
            marks: std::mem::take(&mut self.marks),
            last: forwarded.into_iter().map(by_home).collect(),
        });
        self.routing = routing.clone();
    }

    /// The topic of events was made anew: what was forwarded and not committed will not be read again.
    pub(super) fn begin_anew(&mut self, routing: &Routing) {
        self.go_on(routing);
        self.arrived.retain(|place| self.left.contains(place));
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
            return self.fate_of(decoded, entry, (lane.0, entry.offset));
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
        let place = (lane, origin.partition);
        let is_over = origin.generation != self.routing.generation;
        let marks = match &self.closed {
            _ if !is_over => &self.marks,
            Some(closed)
                if origin.generation == closed.generation
                    && closed.last.get(&place).is_some_and(|last| origin.offset <= *last) =>
            {
                &closed.marks
            }
            _ => return Fate::Skip(Happening::OtherGeneration),
        };
        let mark = marks.get(&place).copied().unwrap_or(-1);
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
            return Fate::Skip(match is_over {
                true => Happening::OtherGeneration,
                false => Happening::OutOfTurn,
            });
        }
        match &mut self.closed {
            Some(closed) if is_over => {
                self.late_arrivals += 1;
                closed.marks.insert(place, origin.offset);
            }
            _ => _ = self.marks.insert(place, origin.offset),
        }
        // Only marks and positions keep it from being applied twice; a second time would show here.
        if !self.arrived.insert((origin.partition, origin.offset)) {
            return Fate::Skip(Happening::ForwardedRepeat);
        }
        self.fate_of(decoded, entry, (origin.partition, origin.offset))
    }

    /// What a dead letter is to a process that tries it once more; `None` when it is still refused there.
    pub(super) fn again(
        &self,
        lane: Lane,
        (source, offset): (Source, i64),
        reason: &str,
        wire: &Intake,
    ) -> Option<Fate> {
        let entry = self.log.entries(lane, source, offset, offset + 1).pop()?;
        let decoded = Self::decode(&entry, letter_time(&entry, source, reason), wire);
        decoded.is_ok().then(|| self.fate_of(decoded, &entry, (lane.0, offset)))
    }

    /// The fate of a record at its home.
    fn fate_of(&self, decoded: Decoded, entry: &Entry, origin: (i32, i64)) -> Fate {
        let user_id = match &decoded {
            Ok(record) => Some(&*record.user_id),
            Err((_, user_id)) => user_id.as_deref(),
        };
        if user_id.is_some_and(|user_id| self.erased.contains(user_id)) {
            return Fate::Skip(Happening::ErasedRefused);
        }
        match decoded {
            Ok(record) => {
                let content = entry.raw.value.clone().unwrap_or_default();
                Fate::Apply { record, content, origin }
            }
            Err((reason, _)) => Fate::Letter(reason),
        }
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

/// When a dead letter's record entered the log of events; of one that nobody has forwarded, that of by-user.
pub(super) fn letter_time(entry: &Entry, source: Source, reason: &str) -> Option<Timestamp> {
    if source == Source::Events || reason == MISROUTED {
        return entry.time;
    }
    let headers: Vec<(&str, Option<&[u8]>)> =
        entry.raw.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
    Origin::of_headers(&headers)?.time.map(Timestamp::from_millis)
}
