//! The fields of an inbound object, gathered in one pass whatever their order; nothing is judged
//! before all of it has been seen, since of a key given twice the last counts.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::json::{Entries, Malformed, Number, Scanner, Text, Value};
use super::timestamp::Stamp;
use crate::event::Metric;

const METRIC_NAME_BYTES_MAX: usize = 64;

/// What an inbound object says, field by field.
#[derive(Debug, Default)]
pub(super) struct Payload<'a> {
    pub(super) user_id: Field<'a>,
    pub(super) device_id: Field<'a>,
    pub(super) device_type: Field<'a>,
    pub(super) event_type: Field<'a>,
    pub(super) session_id: Field<'a>,
    pub(super) timestamp: Field<'a>,
    /// `metrics`, when it is an object.
    pub(super) metrics: Option<Entered<'a>>,
    /// `readings`, when it is a list.
    pub(super) readings: Option<Entered<'a>>,
    pub(super) metric_type: Field<'a>,
    pub(super) value: Field<'a>,
    pub(super) confidence: Field<'a>,
    pub(super) envelope: Envelope<'a>,
}

/// The CloudEvents attributes of an object, which count only when it proves to be an envelope.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) has_spec_version: bool,
    pub(super) time: Field<'a>,
    pub(super) source: Field<'a>,
    /// The member `data` as it was written, and what it is.
    pub(super) data: Option<(&'a str, Field<'a>)>,
    pub(super) data_base64: Field<'a>,
}

/// A field's value, as far as the wire format tells values apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EnteredReading<'a> {
    pub(super) metric: Metric<'a>,
    pub(super) value: Given,
    pub(super) confidence: Given,
    pub(super) stamp: EnteredStamp,
}

/// A quantity as given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Given {
    Absent,
    /// Something, but no finite number.
    NotANumber,
    Number(f64),
}

/// The time of one reading as given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum EnteredStamp {
    /// None of its own: the record's.
    OfRecord,
    Own(Stamp),
    Unreadable,
}

impl<'a> Payload<'a> {
    /// Reads the members of the object that `scanner` has just opened.
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, Malformed> {
        let mut payload = Self::default();
        let mut entries = Entries::default();
        while let Some(key) = scanner.next_key(&mut entries)? {
            payload.read_member(&key.unescaped(), scanner)?;
        }
        Ok(payload)
    }

    fn read_member(&mut self, key: &str, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        let field = match key {
            "user_id" => &mut self.user_id,
            "device_id" => &mut self.device_id,
            "device_type" => &mut self.device_type,
            "event_type" => &mut self.event_type,
            "session_id" => &mut self.session_id,
            "timestamp" => &mut self.timestamp,
            "metric_type" => &mut self.metric_type,
            "value" => &mut self.value,
            "confidence" => &mut self.confidence,
            "time" => &mut self.envelope.time,
            "source" => &mut self.envelope.source,
            "data_base64" => &mut self.envelope.data_base64,
            "metrics" => {
                self.metrics = read_metrics(scanner)?;
                return Ok(());
            }
            "readings" => {
                self.readings = read_readings(scanner)?;
                return Ok(());
            }
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
    /// list, a flat metric. `None` when none fits.
    pub(super) fn take_readings(&mut self) -> Option<Entered<'a>> {
        if let Some(metrics) = self.metrics.take() {
            return Some(last_of_each_metric(metrics));
        }
        self.readings.take().or_else(|| {
            let metric = metric_named(self.flat_metric_type()?)?;
            let value = self.value.given();
            let reading = EnteredReading {
                metric,
                value,
                confidence: self.confidence.given(),
                stamp: EnteredStamp::OfRecord,
            };
            Some(if value == Given::Absent { Entered::new() } else { Entered::from_iter([reading]) })
        })
    }

    /// The `metric_type` of a flat event; `None` when the object has another shape.
    pub(super) fn flat_metric_type(&self) -> Option<Cow<'a, str>> {
        let flat = self.metrics.is_none() && self.readings.is_none();
        if flat { self.metric_type.non_empty_text() } else { None }
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

/// E1: reads `metrics`; `None` when it is no object.
fn read_metrics<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Entered<'a>>, Malformed> {
    let value = scanner.open()?;
    if value != Value::Object {
        scanner.close(&value)?;
        return Ok(None);
    }
    let mut metrics = Entered::new();
    let mut entries = Entries::default();
    while let Some(key) = scanner.next_key(&mut entries)? {
        let value = Field::read(scanner)?.given();
        if let Some(metric) = metric_named(key.unescaped()) {
            metrics.push(EnteredReading {
                metric,
                value,
                confidence: Given::Absent,
                stamp: EnteredStamp::OfRecord,
            });
        }
    }
    Ok(Some(metrics))
}

/// Of each metric the last entry, unless that one is `null`.
fn last_of_each_metric(mut metrics: Entered<'_>) -> Entered<'_> {
    keep_last_of_equals(&mut metrics, |entry, other| entry.metric.cmp(&other.metric));
    metrics.retain(|entry| entry.value != Given::Absent);
    metrics
}

/// Sorts `entries` and keeps, of those that compare equal, the one that was given last.
pub(super) fn keep_last_of_equals<T>(
    entries: &mut SmallVec<[T; 4]>,
    order: impl Fn(&T, &T) -> std::cmp::Ordering,
) {
    entries.sort_by(&order);
    entries.dedup_by(|later, kept| {
        let equal = order(later, kept).is_eq();
        if equal {
            std::mem::swap(later, kept);
        }
        equal
    });
}

/// E2: reads `readings`; `None` when it is no list.
fn read_readings<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Entered<'a>>, Malformed> {
    let value = scanner.open()?;
    if value != Value::Array {
        scanner.close(&value)?;
        return Ok(None);
    }
    let mut readings = Entered::new();
    let mut entries = Entries::default();
    while scanner.next_element(&mut entries)? {
        match scanner.open()? {
            Value::Object => readings.extend(read_entry(scanner)?),
            other => scanner.close(&other)?,
        }
    }
    Ok(Some(readings))
}

/// Reads one object of `readings`; `None` for one that is skipped or dropped.
fn read_entry<'a>(scanner: &mut Scanner<'a>) -> Result<Option<EnteredReading<'a>>, Malformed> {
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
    let Some(metric) = metric.non_empty_text().and_then(metric_named) else { return Ok(None) };
    let stamp = match timestamp.stamp() {
        None => EnteredStamp::OfRecord,
        Some(None) => EnteredStamp::Unreadable,
        Some(Some(stamp)) => EnteredStamp::Own(stamp),
    };
    Ok(Some(EnteredReading { metric, value: value.given(), confidence: confidence.given(), stamp }))
}
