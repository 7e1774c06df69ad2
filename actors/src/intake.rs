//! What is to be done with a record of a lane: applied, forwarded, kept as a dead letter or skipped.
//! Pure: it knows how far the lane has come and moves that on; nothing is sent or written here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::wire::{self, Headers, Intake as Wire, Message, Reason, Rejection};

use crate::defect::Defect;
use crate::home::home;
use crate::incoming::{Incoming, Origin, Raw};
use crate::lane::{Lane, NOTHING, Progress, Routing, Source, settled};
use crate::phi::Phi;

/// Judges the records of one lane, in order.
pub struct Intake {
    lane: Lane,
    routing: Routing,
    wire: Wire,
    forward_bytes_max: usize,
}

/// What is to be done with a record.
pub enum Verdict {
    /// It is its user's next record.
    Apply(Application),
    /// It must be sent to its user's home lane.
    Forward(Box<Forward>),
    /// It cannot be applied; what became of it is kept.
    DeadLetter(Box<DeadLetter>),
    /// It must not be applied, and there is nothing to keep.
    Skip(Skip),
}

/// A record to be applied.
pub struct Application {
    /// What it says; moved often and large.
    pub record: Box<Record<'static>>,
    /// The trace that it belongs to.
    pub traceparent: Option<Box<str>>,
}

/// A record to be sent on.
pub struct Forward {
    /// Where to.
    pub home: Lane,
    /// The record as it came.
    pub raw: Phi<Raw>,
    /// Where it came from.
    pub origin: Origin,
}

/// A record to be kept as it came.
pub struct DeadLetter {
    /// Why, machine-readable.
    pub reason: &'static str,
    /// Why, for people; quotes nothing of the record.
    pub detail: String,
    /// The record as it came.
    pub raw: Phi<Raw>,
    /// When it entered the log.
    pub record_time: Option<Timestamp>,
    /// Whose it is, when that much can be read.
    pub user_id: Option<String>,
}

/// Why a forwarded record is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It was forwarded under another generation.
    OtherGeneration,
    /// It was applied already.
    Repeat,
    /// Another one must come before it; it will come again.
    OutOfTurn {
        /// The partition that it came from.
        origin: i32,
        /// The offset there of the record that must come before it.
        previous: i64,
    },
}

/// A forwarded record whose user lives elsewhere, or that says not where it came from.
pub const MISROUTED: &str = "misrouted";
/// A record that does not fit into the topic that it should be sent on through.
pub const TOO_LARGE: &str = "too_large";
/// A record of a user in quarantine.
pub const QUARANTINED: &str = "quarantined";

impl Intake {
    /// Judges for `lane`; `wire` is how messages are read, and larger records than
    /// `forward_bytes_max` cannot be sent on.
    pub fn new(lane: Lane, routing: Routing, wire: Wire, forward_bytes_max: usize) -> Self {
        Self { lane, routing, wire, forward_bytes_max }
    }

    /// Whose records it judges.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Judges a record and moves `progress` past it. Positions only grow.
    pub fn judge(&self, incoming: &Incoming<'_>, progress: &mut Progress) -> Verdict {
        let passed = if Defect::PositionPlusOne.is_on() { 2 } else { 1 };
        *progress.positions.of_mut(incoming.source) = incoming.offset + passed;
        let verdict = match incoming.source {
            Source::Events => self.judge_event(incoming, progress),
            Source::ByUser => self.judge_forwarded(incoming, progress),
        };
        let counts = progress.counts.of_mut(incoming.source);
        match &verdict {
            // Whether it is new or a duplicate only its user can tell.
            Verdict::Apply(_) => {}
            Verdict::Forward(_) => counts.forwarded += 1,
            Verdict::DeadLetter(_) => counts.dead_letter += 1,
            Verdict::Skip(_) => counts.skipped += 1,
        }
        verdict
    }

    fn judge_event(&self, incoming: &Incoming<'_>, progress: &mut Progress) -> Verdict {
        let decoded = self.decode(incoming, incoming.record_time);
        let home = self.home_of(&decoded).unwrap_or(self.lane);
        if home == self.lane {
            return decoded.map_or_else(Verdict::from, Verdict::Apply);
        }
        // Whatever else is wrong with it, its home decides. An owner who kept it here, under settings that
        // its successor after a crash has no more, would have sent on what comes behind it; then it would
        // come to its home late, and be taken for a repeat.
        if incoming.bytes() + Origin::HEADER_BYTES_MAX > self.forward_bytes_max {
            let detail = "with its headers too large to be sent on to its user's home lane";
            return dead_letter(incoming, incoming.record_time, TOO_LARGE, detail);
        }
        let previous = progress.forwarded.insert(home.0, incoming.offset).unwrap_or(NOTHING);
        let origin = Origin {
            generation: self.routing.generation,
            partition: self.lane.0,
            offset: incoming.offset,
            previous,
            time: incoming.record_time.map(|time| time.as_micros().div_euclid(1_000)),
        };
        Verdict::Forward(Box::new(Forward { home, raw: Phi::new(incoming.to_raw()), origin }))
    }

    /// In this order: generation, repeat, home, turn.
    fn judge_forwarded(&self, incoming: &Incoming<'_>, progress: &mut Progress) -> Verdict {
        let Some(origin) = Origin::of_headers(incoming.headers) else {
            return misrouted(incoming, "it does not say where it was forwarded from");
        };
        let Some(marks) = self.marks(&origin, progress) else {
            return Verdict::Skip(Skip::OtherGeneration);
        };
        let (mark, is_settled) = settled(marks.get(&origin.partition).copied().unwrap_or(NOTHING));
        if origin.offset <= mark && !Defect::ForwardedRepeatApplied.is_on() {
            return Verdict::Skip(Skip::Repeat);
        }
        if !(0..self.routing.partition_count).contains(&origin.partition) {
            return misrouted(incoming, "the partition that it was forwarded from does not exist");
        }
        let record_time = origin.time.map(Timestamp::from_millis);
        let decoded = self.decode(incoming, record_time);
        // Above the mark something is missing. Below it the origin has gone back to before a record that
        // was applied here and has decided otherwise about that one: nothing is missing.
        let in_turn = origin.previous <= mark || !is_settled || Defect::OutOfTurnApplied.is_on();
        let lives_here = self.home_of(&decoded).is_none_or(|home| home == self.lane);
        let verdict = match decoded {
            _ if !lives_here => misrouted(incoming, "its user's home is another lane"),
            _ if !in_turn && origin.generation != self.routing.generation => {
                return Verdict::Skip(Skip::OtherGeneration);
            }
            _ if !in_turn => {
                let Origin { partition, previous, .. } = origin;
                return Verdict::Skip(Skip::OutOfTurn { origin: partition, previous });
            }
            Ok(application) => Verdict::Apply(application),
            Err(refused) => refused.into(),
        };
        if in_turn && let Some(marks) = self.marks(&origin, progress) {
            marks.insert(origin.partition, origin.offset);
        }
        verdict
    }

    /// The marks that count for a forwarded record; `None` when its generation is over.
    fn marks<'p>(
        &self,
        origin: &Origin,
        progress: &'p mut Progress,
    ) -> Option<&'p mut std::collections::BTreeMap<i32, i64>> {
        if origin.generation == self.routing.generation {
            return Some(&mut progress.marks);
        }
        let closed =
            progress.closed.as_mut().filter(|_| !Defect::ClosedGenerationIgnored.is_on())?;
        let last = closed.last.get(&origin.partition).copied().unwrap_or(NOTHING);
        let counts = origin.generation == closed.generation && origin.offset <= last;
        counts.then_some(&mut closed.marks)
    }

    /// The home of whoever a message is about, when that much can be read.
    fn home_of(&self, decoded: &Result<Application, Refused>) -> Option<Lane> {
        let user_id = match decoded {
            Ok(application) => &*application.record.user_id,
            Err(refused) => refused.user_id.as_deref()?,
        };
        Some(home(user_id, self.routing.partition_count))
    }

    fn decode(
        &self,
        incoming: &Incoming<'_>,
        record_time: Option<Timestamp>,
    ) -> Result<Application, Refused> {
        let headers = incoming.headers.iter();
        let headers: Headers<'_> =
            headers.map(|(name, value)| (*name, value.unwrap_or_default())).collect();
        let value = incoming.value.unwrap_or_default();
        let message = Message { value, headers, record_time };
        let Some(decoded) = application(&message, &self.wire) else {
            let detail = "decoding it has failed by a fault of the program";
            let letter = Box::new(letter(incoming, record_time, Reason::NotJson.as_str(), detail));
            return Err(Refused { letter, user_id: None });
        };
        decoded.map_err(|rejection| {
            let (reason, mut detail) = (rejection.reason.as_str(), rejection.detail);
            if Defect::DetailQuotesTheRecord.is_on() {
                detail = String::from_utf8_lossy(value).into_owned().into();
            }
            let user_id = rejection.user_id.map(|user_id| user_id.into_owned());
            let letter = Box::new(letter(incoming, record_time, reason, detail));
            Refused { letter, user_id }
        })
    }
}

/// What a record that became a dead letter says now; `None` when it still is none.
pub fn read_again(
    raw: &Phi<Raw>,
    record_time: Option<Timestamp>,
    wire: &Wire,
) -> Option<Application> {
    application(&message(raw, record_time), wire)?.ok()
}

/// Whose a record that became a dead letter is, when that much can be read.
pub fn user_of(raw: &Phi<Raw>, record_time: Option<Timestamp>, wire: &Wire) -> Option<String> {
    match application(&message(raw, record_time), wire)? {
        Ok(application) => Some(application.record.user_id.to_string()),
        Err(rejection) => rejection.user_id.map(|user_id| user_id.into_owned()),
    }
}

fn message(raw: &Phi<Raw>, record_time: Option<Timestamp>) -> Message<'_> {
    let raw = raw.expose();
    let headers = raw.headers.iter();
    let headers: Headers<'_> = headers
        .map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
        .collect();
    Message { value: raw.value.as_deref().unwrap_or_default(), headers, record_time }
}

/// What a message says. Nothing that a producer sends may stop a lane, not even by a fault of ours: `None`
/// when decoding it panics.
fn application<'m>(
    message: &Message<'m>,
    wire: &Wire,
) -> Option<Result<Application, Rejection<'m>>> {
    // Boxed where it is made: a record is large, and moves no more.
    let decode = || wire::decode(message, wire).map(|record| Box::new(record.into_owned()));
    let decoded = catch_unwind(AssertUnwindSafe(decode)).ok()?;
    Some(decoded.map(|record| Application {
        record,
        traceparent: message.headers.traceparent().map(Box::from),
    }))
}

/// A record that is none, and whose it would be, when that much could be read.
struct Refused {
    letter: Box<DeadLetter>,
    user_id: Option<String>,
}

impl From<Refused> for Verdict {
    fn from(Refused { letter, user_id }: Refused) -> Self {
        Self::DeadLetter(Box::new(DeadLetter { user_id, ..*letter }))
    }
}

/// The verdict [`Verdict::DeadLetter`] on `incoming`.
fn dead_letter(
    incoming: &Incoming<'_>,
    record_time: Option<Timestamp>,
    reason: &'static str,
    detail: impl Into<String>,
) -> Verdict {
    Verdict::DeadLetter(Box::new(letter(incoming, record_time, reason, detail)))
}

/// A dead letter of `incoming`; what forwarding added to its headers is taken off again.
pub fn letter(
    incoming: &Incoming<'_>,
    record_time: Option<Timestamp>,
    reason: &'static str,
    detail: impl Into<String>,
) -> DeadLetter {
    let mut raw = incoming.to_raw();
    if incoming.source == Source::ByUser {
        strip_origin(&mut raw);
    }
    let raw = Phi::new(raw);
    DeadLetter { reason, detail: detail.into(), raw, record_time, user_id: None }
}

fn misrouted(incoming: &Incoming<'_>, detail: &str) -> Verdict {
    dead_letter(incoming, incoming.record_time, MISROUTED, detail)
}

/// Forwarding appends its headers, so they are the last five; a producer's own stay.
fn strip_origin(raw: &mut Raw) {
    let added = raw.headers.iter().rev().take(5).take_while(|(name, _)| Origin::owns(name));
    let kept = raw.headers.len() - added.count();
    raw.headers.truncate(kept);
}
