//! Generated logs: what several people's wearables send, ordinary, borderline and odd, in steps
//! that shrink.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::records::{Clock, Own, Sending, Sent, Shape};

/// 2025-03-03T08:00:00Z, a Monday, in ms.
const START: i64 = 1_740_988_800_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// `count` records `stride` apart, the first `advance` after the last one before; they take
    /// turns with what they say.
    Series { advance: i64, stride: i64, count: usize, turns: Vec<Sending> },
    /// An earlier record again, arriving later.
    Again { which: Index, later: i64 },
    /// An earlier record with another reading.
    Revised { which: Index, reading: Sent },
}

/// Any log.
pub(crate) fn sendings() -> impl Strategy<Value = Vec<Sending>> {
    vec(step(), 1..28).prop_map(|steps| play(&steps))
}

fn play(steps: &[Step]) -> Vec<Sending> {
    let mut log: Vec<Sending> = Vec::new();
    let mut now = START;
    for step in steps {
        match step {
            Step::Series { advance, stride, count, turns } => {
                now += advance;
                for turn in turns.iter().cycle().take(*count) {
                    log.push(Sending { time: now, ..turn.clone() });
                    now += stride;
                }
                now -= stride;
            }
            Step::Again { which, later } if !log.is_empty() => {
                let earlier = which.get(&log).clone();
                log.push(Sending { lag: earlier.lag.map(|lag| lag + later), ..earlier });
            }
            Step::Revised { which, reading } if !log.is_empty() => {
                let mut revised = which.get(&log).clone();
                revised.readings.insert(0, reading.clone());
                log.push(revised);
            }
            Step::Again { .. } | Step::Revised { .. } => {}
        }
    }
    log
}

fn step() -> impl Strategy<Value = Step> {
    let again = (any::<Index>(), select(&[0, 1, 40 * MINUTE][..]));
    let revised = (any::<Index>(), reading());
    let in_a_row =
        |(advance, moments): (_, Vec<_>)| series(advance, advance, moments.len(), moments);
    let single = |(advance, sending)| series(advance, 0, 1, vec![sending]);
    prop_oneof![
        6 => (advance(), sending()).prop_map(single),
        8 => (SECOND..=4 * MINUTE, vec(moment(), 1..5)).prop_map(in_a_row),
        7 => customary(),
        2 => again.prop_map(|(which, later)| Step::Again { which, later }),
        1 => revised.prop_map(|(which, reading)| Step::Revised { which, reading }),
    ]
}

fn series(advance: i64, stride: i64, count: usize, turns: Vec<Sending>) -> Step {
    Step::Series { advance, stride, count, turns }
}

/// Mostly on, sometimes not at all, back, or far ahead.
fn advance() -> impl Strategy<Value = i64> {
    prop_oneof![
        16 => SECOND..=10 * MINUTE,
        3 => select(&[0, MINUTE - 1, MINUTE, 5 * MINUTE - 1, 5 * MINUTE, 15 * MINUTE][..]),
        3 => select(&[HOUR, 7 * HOUR, 13 * HOUR, DAY, 7 * DAY][..]),
        1 => select(&[-1, -MINUTE, -HOUR, -DAY, -8 * DAY][..]),
        1 => select(&[40 * DAY, 400 * DAY, -20_000 * DAY, 2_000_000 * DAY][..]),
    ]
}

/// Whose, on which device: mostly the same, so that sequences tell something.
fn wearer() -> impl Strategy<Value = (u8, u8)> {
    (prop_oneof![4 => Just(0_u8), 1 => 1..3_u8], prop_oneof![5 => Just(0_u8), 1 => 1..12_u8])
}

/// A record in the first shape that arrives at once.
fn plain((user, device): (u8, u8), event_type: &'static str, readings: Vec<Sent>) -> Sending {
    Sending {
        user,
        device,
        event_type,
        shape: Shape::Metrics,
        time: START,
        clock: Clock::Utc,
        lag: Some(SECOND),
        readings,
    }
}

/// Several usable momentary readings at once, near what the rules ask for.
fn moment() -> impl Strategy<Value = Sending> {
    let hrv = select(&["60", "37", "34.9", "36", "41.9", "29", "19.5", "95", "47"][..]);
    let beats = select(&["62", "91", "81", "101", "75", "49", "104"][..]);
    let stress = select(&["0.3", "0.86", "0.71", "0.77", "0.6", "0.5"][..]);
    (wearer(), weighted(0.7, hrv), weighted(0.7, beats), weighted(0.4, stress)).prop_map(
        |(wearer, hrv, beats, stress)| {
            let readings = [("hrv", hrv), ("heart_rate", beats), ("stress_level", stress)];
            let given = |(metric, value): (_, Option<_>)| Some(Sent::plain(metric, value?));
            plain(wearer, "vitals", readings.into_iter().filter_map(given).collect())
        },
    )
}

/// Series that people really send, which calibrate baselines and sustain what must be sustained.
fn customary() -> impl Strategy<Value = Step> {
    (wearer(), advance(), 1..=4_usize, 0..10_u8).prop_map(|(wearer, advance, some, which)| {
        let say = |event_type, readings: &[(&'static str, &str)]| {
            let readings = readings.iter().map(|&(metric, value)| Sent::plain(metric, value));
            plain(wearer, event_type, readings.collect())
        };
        let beats = |beats| say("heart_rate", &[("heart_rate", beats)]);
        let usual = say("vitals", &[("hrv", "60"), ("heart_rate", "62")]);
        let calm = say("vitals", &[("hrv", "61"), ("heart_rate", "64"), ("stress_level", "0.2")]);
        let walking = say("steps", &[("steps_per_minute", "20"), ("heart_rate", "112")]);
        let hard_hour = say("vitals", &[("hrv", "38"), ("heart_rate", "70")]);
        let night = say("daily_sleep", &[("hrv", "64"), ("recovery_score", "71")]);
        let hard_night = say("sleep", &[("hrv", "35")]);
        let low = say("recovery", &[("recovery_score", "44")]);
        match which {
            0..=3 => series(advance, 61 * SECOND, 20 + some, vec![usual]),
            4 => series(advance, 2 * MINUTE, 5 + some, vec![beats("104"), beats("118")]),
            5 => series(advance, 30 * SECOND, 1 + some, vec![walking]),
            6 => {
                let turns = [night.clone(), night.clone(), night.clone(), night, hard_night];
                series(advance, DAY, 4 + some, turns.to_vec())
            }
            7 => series(advance, 7 * DAY, 2 + some, vec![low]),
            8 => series(advance, 8 * HOUR, 24 + some, vec![usual.clone(), usual, hard_hour]),
            _ => series(advance, 3 * MINUTE, 2 * some, vec![calm]),
        }
    })
}

pub(crate) fn sending() -> impl Strategy<Value = Sending> {
    let user = prop_oneof![4 => Just(0_u8), 2 => 1..3_u8];
    let device = prop_oneof![4 => Just(0_u8), 2 => 1..12_u8];
    let event_type = select(
        &[
            "heart_rate",
            "vitals",
            "stress",
            "sleep",
            "daily_readiness",
            "recovery",
            "workout",
            "exercise",
        ][..],
    );
    let shape = select(&[Shape::Metrics, Shape::List, Shape::List, Shape::Flat][..]);
    let clock = prop_oneof![
        3 => Just(Clock::Utc),
        1 => Just(Clock::Naive),
        2 => select(&[60, -300, 330, 840, -719][..]).prop_map(|minutes| Clock::Ahead { minutes }),
        1 => select(&[Clock::UnixSeconds, Clock::UnixMillis][..]),
    ];
    let lag = prop_oneof![
        6 => 0..=5 * SECOND,
        3 => select(&[15 * MINUTE, 15 * MINUTE + 1, HOUR, 36 * HOUR, 36 * HOUR + 1][..]),
        2 => select(&[-1, -4 * MINUTE, -5 * MINUTE, -5 * MINUTE - 1, -HOUR][..]),
    ];
    (user, device, event_type, shape, clock, weighted(0.95, lag), vec(reading(), 0..5)).prop_map(
        |(user, device, event_type, shape, clock, lag, readings)| Sending {
            user,
            device,
            event_type,
            shape,
            time: START,
            clock,
            lag,
            readings,
        },
    )
}

pub(crate) fn reading() -> impl Strategy<Value = Sent> {
    let own = prop_oneof![
        6 => Just(Own::OfRecord),
        2 => select(&[-1, -MINUTE, -20 * MINUTE, -2 * HOUR, -DAY, MINUTE, HOUR][..])
            .prop_map(Own::Later),
        1 => Just(Own::Unreadable),
    ];
    let confidence = weighted(
        0.3,
        select(
            &["1", "0.5", "0.75", "\"0.9\"", "null", "0.49", "0", "1.01", "-0.1", "true", "[]"][..],
        ),
    );
    let hrv = ["60", "35", "34.9", "42", "41.9", "37.4", "29", "19.5", "95", "300", "0.1"];
    let beats = ["62", "100", "100.5", "103", "81", "91", "90", "49", "20", "250"];
    let stress = ["0.3", "0.85", "0.86", "0.71", "0.77", "0.6", "0", "1"];
    let recovery = ["70", "40", "39.9", "49", "60", "10", "0", "100"];
    let metric_and_value = prop_oneof![
        6 => value_of("hrv", &hrv),
        6 => value_of("heart_rate", &beats),
        5 => value_of("stress_level", &stress),
        4 => value_of("recovery_score", &recovery),
        2 => value_of("steps_per_minute", &["0", "59", "60", "110"]),
        1 => value_of("duration_minutes", &["45", "0", "10.5", "1440"]),
        1 => value_of("blood_oxygen", &["97", "50"]),
        1 => value_of("glucose", &["5.1", "1e9", "-3"]),
    ];
    (metric_and_value, confidence, own).prop_map(|((metric, value), confidence, own)| Sent {
        metric,
        value,
        confidence,
        own,
    })
}

/// A usable value out of `values`, more rarely one around the first, or none.
fn value_of(
    metric: &'static str,
    values: &[&'static str],
) -> impl Strategy<Value = (&'static str, String)> + use<> {
    let unusable = ["-1", "1e10", "\"often\"", "true", "1e999", "[60]", "{}", "null", "\"\""];
    let values = select(values.to_vec());
    prop_oneof![
        8 => values.clone().prop_map(str::to_owned),
        4 => (40..80_u32).prop_map(|value| value.to_string()),
        1 => values.prop_map(|value| format!("\"{value}\"")),
        2 => select(unusable.to_vec()).prop_map(str::to_owned),
    ]
    .prop_map(move |value| (metric, value))
}

impl Sent {
    /// A reading of the record's time, its confidence unsaid.
    pub(crate) fn plain(metric: &'static str, value: &str) -> Self {
        Self { metric, value: value.to_owned(), confidence: None, own: Own::OfRecord }
    }
}
