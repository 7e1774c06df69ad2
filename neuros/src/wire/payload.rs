//! The fields of an inbound object, gathered in one pass whatever their order; nothing is judged
//! before all of it has been seen, since of a key given twice the last counts.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use smallvec::SmallVec;

use super::json::{Entries, Malformed, Scanner, Text, Value};
use super::number::Number;
use super::timestamp::{Resolved, Stamp};
use crate::event::{Metric, Reading};

const METRIC_NAME_BYTES_MAX: usize = 64;

/// What an inbound object says, field by field.
#[derive(Default)]
pub(super) struct Payload<'a> {
    pub(super) user_id: Field<'a>,
    pub(super) device_id: Field<'a>,
    pub(super) device_type: Field<'a>,
    pub(super) event_type: Field<'a>,
    pub(super) session_id: Field<'a>,
    pub(super) timestamp: Field<'a>,
    /// `metrics` is an object, `readings` is a list.
    pub(super) has_metrics: bool,
    pub(super) has_readings: bool,
    metrics: Entered<'a>,
    readings: Entered<'a>,
    pub(super) metric_type: Field<'a>,
    pub(super) value: Field<'a>,
    pub(super) confidence: Field<'a>,
    pub(super) envelope: Envelope<'a>,
}

/// The CloudEvents attributes of an object, which count only when it proves to be an envelope.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    pub(super) has_spec_version: bool,
    pub(super) time: Field<'a>,
    pub(super) source: Field<'a>,
    /// The member `data` as it was written, and what it is.
    pub(super) data: Option<(&'a str, Field<'a>)>,
    pub(super) data_base64: Field<'a>,
}

/// A field's value, as far as the wire format tells values apart.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Field<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    Text(Text<'a>),
    Number(Number<'a>),
    /// A boolean, an object or an array.
    Other,
}

/// Readings in the order in which they were given.
pub(super) type Entered<'a> = SmallVec<[EnteredReading<'a>; 4]>;

/// A reading as given: kept, though perhaps excluded later.
#[derive(Clone, PartialEq)]
pub(super) struct EnteredReading<'a> {
    pub(super) metric: Metric<'a>,
    pub(super) value: Given,
    pub(super) confidence: Given,
    pub(super) stamp: EnteredStamp,
}

/// A quantity as given.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Given {
    Absent,
    /// Something, but no finite number.
    NotANumber,
    Number(f64),
}

/// The time of one reading.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum EnteredStamp {
    /// None of its own: the record's.
    OfRecord,
    /// As given.
    Own(Stamp),
    /// As given, with its place in time.
    Placed(Resolved),
    /// Given, but of no accepted form: the record's, and the reading has no value.
    Unreadable,
}

impl<'a> Payload<'a> {
    /// Reads the members of the object that `scanner` has just opened.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        let mut entries = Entries::default();
        while let Some(key) = scanner.next_key(&mut entries)? {
            self.read_member(key, scanner)?;
        }
        Ok(())
    }

    fn read_member(&mut self, key: Text<'a>, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        let field = match key.unescaped().as_ref() {
            "user_id" => &mut self.user_id,
            "device_id" => &mut self.device_id,
            "event_type" => &mut self.event_type,
            "timestamp" => &mut self.timestamp,
            "metrics" => {
                self.metrics.clear();
                self.has_metrics = read_metrics(scanner, &mut self.metrics)?;
                return Ok(());
            }
            "readings" => {
                self.readings.clear();
                self.has_readings = read_readings(scanner, &mut self.readings)?;
                return Ok(());
            }
            "device_type" => &mut self.device_type,
            "metric_type" => &mut self.metric_type,
            "value" => &mut self.value,
            "confidence" => &mut self.confidence,
            "session_id" => &mut self.session_id,
            "time" => &mut self.envelope.time,
            "source" => &mut self.envelope.source,
            "data_base64" => &mut self.envelope.data_base64,
            "data" => {
                let start = scanner.start_of_value();
                let field = Field::read(scanner)?;
                self.envelope.data = Some((scanner.read_since(start), field));
                return Ok(());
            }
            "specversion" => {
                self.envelope.has_spec_version = true;
                return scanner.skip();
            }
            _ => return scanner.skip(),
        };
        *field = Field::read(scanner)?;
        Ok(())
    }

    /// The readings, by the first of the three shapes that fits: a metrics object, a readings
    /// list, a flat metric; none when none fits.
    fn readings(&mut self) -> &mut Entered<'a> {
        if self.has_metrics {
            keep_last_of_equals(&mut self.metrics, |entry, other| entry.metric.cmp(&other.metric));
            self.metrics.retain(|entry| entry.value != Given::Absent);
            return &mut self.metrics;
        }
        if !self.has_readings
            && let Some(metric) = self.flat_metric_type().and_then(metric_named)
            && let value @ (Given::Number(_) | Given::NotANumber) = self.value.given()
        {
            let (confidence, stamp) = (self.confidence.given(), EnteredStamp::OfRecord);
            self.readings.push(EnteredReading { metric, value, confidence, stamp });
        }
        &mut self.readings
    }

    /// The readings, each with its place in time.
    pub(super) fn placed_readings(&mut self, zone: &TimeZone) -> &mut Entered<'a> {
        let readings = self.readings();
        for reading in readings.iter_mut() {
            if let EnteredStamp::Own(stamp) = reading.stamp {
                let place = stamp.resolve(zone);
                reading.stamp = place.map_or(EnteredStamp::Unreadable, EnteredStamp::Placed);
            }
        }
        readings
    }

    /// The `metric_type` of a flat event; `None` when the object has another shape.
    pub(super) fn flat_metric_type(&self) -> Option<Cow<'a, str>> {
        let flat = !self.has_metrics && !self.has_readings;
        if flat { self.metric_type.non_empty_text() } else { None }
    }
}

impl<'a> EnteredReading<'a> {
    /// Where the reading lies in time, in a record that lies at `of_record`.
    pub(super) fn at(&self, of_record: Resolved) -> Resolved {
        match self.stamp {
            EnteredStamp::Placed(place) => place,
            EnteredStamp::OfRecord | EnteredStamp::Own(_) | EnteredStamp::Unreadable => of_record,
        }
    }

    /// The reading as the engine knows it.
    pub(super) fn into_reading(self) -> Reading<'a> {
        let value = match self.value {
            Given::Number(value) if self.stamp != EnteredStamp::Unreadable => Some(value),
            Given::Number(_) | Given::NotANumber | Given::Absent => None,
        };
        let confidence = match self.confidence {
            Given::Number(confidence) => Some(confidence),
            Given::NotANumber => None,
            Given::Absent => Some(1.0),
        };
        Reading { metric: self.metric, value, confidence }
    }
}

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, Malformed> {
        Ok(match scanner.open()? {
            Value::Null => Self::Absent,
            Value::Text(text) => Self::Text(text),
            Value::Number(number) => Self::Number(number),
            Value::Bool => Self::Other,
            container @ (Value::Object | Value::Array) => {
                scanner.close(&container)?;
                Self::Other
            }
        })
    }

    /// The text, where an empty one or another value counts as absent.
    pub(super) fn non_empty_text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.unescaped()).filter(|text| !text.is_empty()),
            Self::Absent | Self::Number(_) | Self::Other => None,
        }
    }

    /// The quantity: a number, or a string in JSON's number grammar.
    #[inline]
    fn given(&self) -> Given {
        let number = match self {
            Self::Absent => return Given::Absent,
            Self::Number(number) => number.finite(),
            Self::Text(text) => Number::parse(&text.unescaped()).and_then(Number::finite),
            Self::Other => None,
        };
        number.map_or(Given::NotANumber, Given::Number)
    }

    /// The stamp; `None` when the field is absent, `Some(None)` when it has no accepted form.
    #[expect(clippy::option_option, reason = "absent and unreadable have different consequences")]
    pub(super) fn stamp(&self) -> Option<Option<Stamp>> {
        match self {
            Self::Absent => None,
            Self::Text(text) => Some(Stamp::from_text(&text.unescaped())),
            Self::Number(number) => Some(Stamp::from_number(*number)),
            Self::Other => Some(None),
        }
    }
}

/// The metric of that name; `None` for a name that drops its reading.
fn metric_named(name: Cow<'_, str>) -> Option<Metric<'_>> {
    let metric = Metric::named(name);
    if let Metric::Other(name) = &metric {
        let fits = !name.is_empty() && name.len() <= METRIC_NAME_BYTES_MAX;
        if !fits || super::holds_control_characters(name) {
            return None;
        }
    }
    Some(metric)
}

/// E1: reads `metrics` into the empty `metrics`; says whether it is an object.
fn read_metrics<'a>(
    scanner: &mut Scanner<'a>,
    metrics: &mut Entered<'a>,
) -> Result<bool, Malformed> {
    let value = scanner.open()?;
    if value != Value::Object {
        scanner.close(&value)?;
        return Ok(false);
    }
    let mut entries = Entries::default();
    while let Some(key) = scanner.next_key(&mut entries)? {
        let value = Field::read(scanner)?.given();
        if let Some(metric) = metric_named(key.unescaped()) {
            let (confidence, stamp) = (Given::Absent, EnteredStamp::OfRecord);
            metrics.push(EnteredReading { metric, value, confidence, stamp });
        }
    }
    Ok(true)
}

/// Sorts `entries` and keeps, of those that compare equal, the one that was given last.
pub(super) fn keep_last_of_equals<T>(
    entries: &mut SmallVec<[T; 4]>,
    order: impl Fn(&T, &T) -> std::cmp::Ordering,
) {
    if entries.is_sorted_by(|entry, next| order(entry, next).is_lt()) {
        return;
    }
    entries.sort_by(&order);
    entries.dedup_by(|later, kept| {
        let equal = order(later, kept).is_eq();
        if equal {
            std::mem::swap(later, kept);
        }
        equal
    });
}

/// E2: reads `readings` into the empty `readings`; says whether it is a list.
fn read_readings<'a>(
    scanner: &mut Scanner<'a>,
    readings: &mut Entered<'a>,
) -> Result<bool, Malformed> {
    let value = scanner.open()?;
    if value != Value::Array {
        scanner.close(&value)?;
        return Ok(false);
    }
    let (mut entries, mut newest) = (Entries::default(), None);
    while scanner.next_element(&mut entries)? {
        match scanner.open()? {
            Value::Object => readings.extend(read_entry(scanner, &mut newest)?),
            other => scanner.close(&other)?,
        }
    }
    Ok(true)
}

/// A timestamp, and what it was read as.
type ReadStamp<'a> = (Field<'a>, EnteredStamp);

/// Reads one object of `readings`; `None` for one that is skipped or dropped. Most have the timestamp of the one
/// before, which need not be read twice: `newest`.
fn read_entry<'a>(
    scanner: &mut Scanner<'a>,
    newest: &mut Option<ReadStamp<'a>>,
) -> Result<Option<EnteredReading<'a>>, Malformed> {
    let (mut metric, mut value) = (Field::Absent, Field::Absent);
    let (mut confidence, mut timestamp) = (Field::Absent, Field::Absent);
    let mut entries = Entries::default();
    while let Some(key) = scanner.next_key(&mut entries)? {
        let field = match key.unescaped().as_ref() {
            "metric" => &mut metric,
            "value" => &mut value,
            "confidence" => &mut confidence,
            "timestamp" => &mut timestamp,
            _ => {
                scanner.skip()?;
                continue;
            }
        };
        *field = Field::read(scanner)?;
    }
    if value == Field::Absent {
        return Ok(None);
    }
    let Some(metric) = metric.non_empty_text().and_then(metric_named) else {
        return Ok(None);
    };
    let known = newest.filter(|(written, _)| *written == timestamp);
    let (_, stamp) = *newest.insert(known.unwrap_or_else(|| {
        let stamp = match timestamp.stamp() {
            None => EnteredStamp::OfRecord,
            Some(None) => EnteredStamp::Unreadable,
            Some(Some(stamp)) => EnteredStamp::Own(stamp),
        };
        (timestamp, stamp)
    }));
    Ok(Some(EnteredReading { metric, value: value.given(), confidence: confidence.given(), stamp }))
}
