//! What a wearable said: records, their canonical events and readings; nothing is judged here but
//! whether a single reading can be used.

pub mod stored;

use std::borrow::Cow;

use smallvec::SmallVec;
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

use crate::redact::redacted_debug;
use crate::time::Timestamp;

/// One inbound message, decoded: some canonical events of one user and one device, in time order.
///
/// What each has are short texts as a rule, and they are in the record itself; those that few have are borrowed from the
/// message where they stand there without escapes.
#[derive(Clone, PartialEq)]
pub struct Record<'a> {
    /// Whose body this is about; 1..=255 bytes, no control characters.
    pub user_id: SmolStr,
    /// The device (or, failing that, its type or source) that measured.
    pub device_id: SmolStr,
    /// The producer's name for what this is: `heart_rate`, `sleep`, `workout` …
    pub event_type: SmolStr,
    /// The producer's session, when it names one of at most 255 bytes without control characters.
    pub session_id: Option<Cow<'a, str>>,
    /// The record's own time, as the device gave it.
    pub time: Timestamp,
    /// When the record entered the log; judges what is live.
    pub record_time: Timestamp,
    /// The canonical events, by time; each names its part of `readings`.
    pub(crate) events: SmallVec<[EventSpan; 1]>,
    /// All readings, by time, then metric; no metric twice at one time.
    pub(crate) readings: SmallVec<[Reading<'a>; 4]>,
}

/// Where one canonical event stands inside its record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EventSpan {
    /// The event's own time.
    pub(crate) time: Timestamp,
    /// Minutes that the wearer's clock is ahead of UTC, 0 when unknown.
    pub(crate) utc_offset_minutes: i16,
    /// The time came without an offset and was read in an assumed zone.
    pub(crate) tz_assumed: bool,
    /// One past its last reading; it begins where the event before it ends.
    pub(crate) readings_end: usize,
}

/// One canonical event: all readings of a record that share one time.
#[derive(Clone, Copy, PartialEq)]
pub struct Event<'r> {
    /// The event's own time, as the device gave it.
    pub time: Timestamp,
    /// Minutes that the wearer's clock is ahead of UTC, 0 when unknown.
    pub utc_offset_minutes: i16,
    /// The time came without an offset and was read in an assumed zone.
    pub tz_assumed: bool,
    /// The readings, by metric name; each metric at most once.
    pub readings: &'r [Reading<'r>],
}

/// One measured value.
#[derive(Clone, PartialEq)]
pub struct Reading<'a> {
    /// What was measured.
    pub metric: Metric<'a>,
    /// The value in the metric's unit; `None` when what was sent is no finite number.
    pub value: Option<f64>,
    /// How sure the device is, 1 when it does not say; `None` when what was sent is no finite number.
    pub confidence: Option<f64>,
}

/// A metric's name. The known ones have a unit and an accepted range.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric<'a> {
    /// Heart-rate variability, RMSSD, ms.
    Hrv,
    /// Heart rate, beats/min.
    HeartRate,
    /// Reported stress, 0..=1.
    StressLevel,
    /// Recovery, 0..=100.
    RecoveryScore,
    /// Steps per minute.
    StepsPerMinute,
    /// Length of a workout, minutes.
    DurationMinutes,
    /// Heart-rate variability, SDNN, ms; never mixed with RMSSD.
    HrvSdnn,
    /// Resting heart rate, beats/min.
    RestingHeartRate,
    /// Breaths per minute.
    RespiratoryRate,
    /// Blood oxygen saturation, percent.
    BloodOxygen,
    /// Body temperature, °C.
    BodyTemperature,
    /// Skin temperature against the wearer's usual, °C.
    SkinTemperatureDeviation,
    /// Readiness, 0..=100.
    ReadinessScore,
    /// Sleep quality, 0..=100.
    SleepScore,
    /// Strain, 0..=21.
    Strain,
    /// Any other name: 1..=64 bytes, no control characters.
    Other(Cow<'a, str>),
}

/// Why a reading is kept in the stored event and yet invisible to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The value is no finite number, or its timestamp could not be read.
    NotANumber,
    /// The value lies outside the metric's accepted range.
    OutOfRange,
    /// The confidence is no number in 0..=1.
    BadConfidence,
    /// The confidence is below the policy's `quality.min_confidence`.
    LowConfidence,
}

redacted_debug!(Record<'a>, Event<'a>, Reading<'a>, Metric<'a>);

impl<'a> Record<'a> {
    /// The canonical events in time order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        let mut start = 0;
        self.events.iter().map(move |span| {
            let readings = self.readings.get(start..span.readings_end).unwrap_or(&[]);
            start = span.readings_end;
            let EventSpan { time, utc_offset_minutes, tz_assumed, .. } = *span;
            Event { time, utc_offset_minutes, tz_assumed, readings }
        })
    }

    /// The time at which the engine sees the record's first event.
    pub(crate) fn first_event_time(&self) -> Timestamp {
        self.seen_at(self.events.first().map_or(self.time, |event| event.time))
    }

    /// The engine's time of an event whose own time is `own_time`: a device clock that runs ahead
    /// must not make other devices' readings look old.
    pub(crate) fn seen_at(&self, own_time: Timestamp) -> Timestamp {
        own_time.min(self.record_time)
    }

    /// The same record with all its text owned, so that it may outlive its message.
    pub fn into_owned<'o>(self) -> Record<'o> {
        Record {
            user_id: self.user_id,
            device_id: self.device_id,
            event_type: self.event_type,
            session_id: self.session_id.map(|text| Cow::Owned(text.into_owned())),
            time: self.time,
            record_time: self.record_time,
            events: self.events,
            readings: self.readings.into_iter().map(Reading::into_owned).collect(),
        }
    }
}

impl Reading<'_> {
    /// The value, when the engine may use it; otherwise the first reason why not.
    ///
    /// `confidence_min` is the policy's `quality.min_confidence`.
    pub fn usable(&self, confidence_min: f64) -> Result<f64, Exclusion> {
        let value = self.value.ok_or(Exclusion::NotANumber)?;
        if !self.metric.accepts(value) {
            return Err(Exclusion::OutOfRange);
        }
        match self.confidence {
            Some(confidence) if (0.0..=1.0).contains(&confidence) => {
                if confidence < confidence_min { Err(Exclusion::LowConfidence) } else { Ok(value) }
            }
            _ => Err(Exclusion::BadConfidence),
        }
    }

    fn into_owned<'o>(self) -> Reading<'o> {
        Reading { metric: self.metric.into_owned(), value: self.value, confidence: self.confidence }
    }
}

impl<'a> Metric<'a> {
    /// The metric of that name.
    pub(crate) fn named(name: Cow<'a, str>) -> Self {
        match name.as_ref() {
            "hrv" => Self::Hrv,
            "heart_rate" => Self::HeartRate,
            "stress_level" => Self::StressLevel,
            "recovery_score" => Self::RecoveryScore,
            "steps_per_minute" => Self::StepsPerMinute,
            "duration_minutes" => Self::DurationMinutes,
            "hrv_sdnn" => Self::HrvSdnn,
            "resting_heart_rate" => Self::RestingHeartRate,
            "respiratory_rate" => Self::RespiratoryRate,
            "blood_oxygen" => Self::BloodOxygen,
            "body_temperature" => Self::BodyTemperature,
            "skin_temperature_deviation" => Self::SkinTemperatureDeviation,
            "readiness_score" => Self::ReadinessScore,
            "sleep_score" => Self::SleepScore,
            "strain" => Self::Strain,
            _ => Self::Other(name),
        }
    }

    /// The known metric whose [`Metric::code`] that is.
    fn of_code(code: u8) -> Option<Self> {
        let known = match code {
            0 => Self::Hrv,
            1 => Self::HeartRate,
            2 => Self::StressLevel,
            3 => Self::RecoveryScore,
            4 => Self::StepsPerMinute,
            5 => Self::DurationMinutes,
            6 => Self::HrvSdnn,
            7 => Self::RestingHeartRate,
            8 => Self::RespiratoryRate,
            9 => Self::BloodOxygen,
            10 => Self::BodyTemperature,
            11 => Self::SkinTemperatureDeviation,
            12 => Self::ReadinessScore,
            13 => Self::SleepScore,
            14 => Self::Strain,
            _ => return None,
        };
        Some(known)
    }

    /// The name as producers write it.
    pub fn name(&self) -> &str {
        match self {
            Self::Hrv => "hrv",
            Self::HeartRate => "heart_rate",
            Self::StressLevel => "stress_level",
            Self::RecoveryScore => "recovery_score",
            Self::StepsPerMinute => "steps_per_minute",
            Self::DurationMinutes => "duration_minutes",
            Self::HrvSdnn => "hrv_sdnn",
            Self::RestingHeartRate => "resting_heart_rate",
            Self::RespiratoryRate => "respiratory_rate",
            Self::BloodOxygen => "blood_oxygen",
            Self::BodyTemperature => "body_temperature",
            Self::SkinTemperatureDeviation => "skin_temperature_deviation",
            Self::ReadinessScore => "readiness_score",
            Self::SleepScore => "sleep_score",
            Self::Strain => "strain",
            Self::Other(name) => name,
        }
    }

    /// A number for the metric that never changes: digests of records are kept for long.
    pub(crate) fn code(&self) -> u64 {
        match self {
            Self::Hrv => 0,
            Self::HeartRate => 1,
            Self::StressLevel => 2,
            Self::RecoveryScore => 3,
            Self::StepsPerMinute => 4,
            Self::DurationMinutes => 5,
            Self::HrvSdnn => 6,
            Self::RestingHeartRate => 7,
            Self::RespiratoryRate => 8,
            Self::BloodOxygen => 9,
            Self::BodyTemperature => 10,
            Self::SkinTemperatureDeviation => 11,
            Self::ReadinessScore => 12,
            Self::SleepScore => 13,
            Self::Strain => 14,
            Self::Other(name) => xxh3_64(name.as_bytes()) | 1 << 63,
        }
    }

    /// Whether a body can have this value (the accepted ranges of the specification's section 1).
    pub(crate) fn accepts(&self, value: f64) -> bool {
        match self {
            Self::Hrv => value > 0.0 && value <= 300.0,
            Self::HeartRate | Self::RestingHeartRate => (20.0..=250.0).contains(&value),
            Self::StressLevel => (0.0..=1.0).contains(&value),
            Self::RecoveryScore | Self::ReadinessScore | Self::SleepScore => {
                (0.0..=100.0).contains(&value)
            }
            Self::StepsPerMinute => (0.0..=400.0).contains(&value),
            Self::DurationMinutes => (0.0..=1440.0).contains(&value),
            Self::HrvSdnn => (0.0..=500.0).contains(&value),
            Self::RespiratoryRate => (4.0..=60.0).contains(&value),
            Self::BloodOxygen => (50.0..=100.0).contains(&value),
            Self::BodyTemperature => (30.0..=45.0).contains(&value),
            Self::SkinTemperatureDeviation => (-10.0..=10.0).contains(&value),
            Self::Strain => (0.0..=21.0).contains(&value),
            Self::Other(_) => value.abs() <= 1e9,
        }
    }

    fn into_owned<'o>(self) -> Metric<'o> {
        // Only names that are not known have text to be copied.
        let known = u8::try_from(self.code()).ok().and_then(Metric::of_code);
        known.unwrap_or_else(|| Metric::Other(Cow::Owned(self.name().to_owned())))
    }
}

impl Exclusion {
    /// The reason as metrics and explanations name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotANumber => "not_a_number",
            Self::OutOfRange => "out_of_range",
            Self::BadConfidence => "bad_confidence",
            Self::LowConfidence => "low_confidence",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(metric: &'static str, value: f64) -> Reading<'static> {
        Reading { metric: Metric::named(metric.into()), value: Some(value), confidence: Some(1.0) }
    }

    #[test]
    fn ranges_hold_on_both_sides_of_each_edge() {
        let edges = [
            ("hrv", f64::from_bits(1), 300.0),
            ("heart_rate", 20.0, 250.0),
            ("stress_level", 0.0, 1.0),
            ("recovery_score", 0.0, 100.0),
            ("steps_per_minute", 0.0, 400.0),
            ("duration_minutes", 0.0, 1440.0),
            ("hrv_sdnn", 0.0, 500.0),
            ("resting_heart_rate", 20.0, 250.0),
            ("respiratory_rate", 4.0, 60.0),
            ("blood_oxygen", 50.0, 100.0),
            ("body_temperature", 30.0, 45.0),
            ("skin_temperature_deviation", -10.0, 10.0),
            ("readiness_score", 0.0, 100.0),
            ("sleep_score", 0.0, 100.0),
            ("strain", 0.0, 21.0),
            ("glucose", -1e9, 1e9),
        ];
        for (metric, low, high) in edges {
            for inside in [low, high] {
                assert_eq!(reading(metric, inside).usable(0.5), Ok(inside), "{metric}");
            }
            for outside in [low.next_down(), high.next_up()] {
                let judged = reading(metric, outside).usable(0.5);
                assert_eq!(judged, Err(Exclusion::OutOfRange), "{metric} {outside}");
            }
        }
    }

    #[test]
    fn the_first_reason_that_applies_excludes() {
        let mut judged = reading("hrv", 400.0);
        judged.confidence = None;
        assert_eq!(judged.usable(0.5), Err(Exclusion::OutOfRange));
        judged.value = None;
        assert_eq!(judged.usable(0.5), Err(Exclusion::NotANumber));
        judged.value = Some(40.0);
        assert_eq!(judged.usable(0.5), Err(Exclusion::BadConfidence));
        judged.confidence = Some(1.0_f64.next_up());
        assert_eq!(judged.usable(0.5), Err(Exclusion::BadConfidence));
        judged.confidence = Some(0.5_f64.next_down());
        assert_eq!(judged.usable(0.5), Err(Exclusion::LowConfidence));
        judged.confidence = Some(0.5);
        assert_eq!(judged.usable(0.5), Ok(40.0));
    }

    #[test]
    fn a_name_survives_the_way_to_a_metric_and_back() {
        for name in ["hrv", "strain", "steps_per_minute", "glucose", "HRV"] {
            assert_eq!(Metric::named(name.into()).name(), name);
            assert_eq!(Metric::named(name.into()).into_owned().name(), name);
        }
    }
}
