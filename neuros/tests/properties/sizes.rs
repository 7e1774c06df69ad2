//! A state stays small, whatever is sent: an ordinary one, one that is full, and a hostile one.

use neuros::time::Timestamp;
use neuros::{Explain, Outcome, Policy, Rule, Signal, State, step};

use super::records::Logged;
use super::settings::Draws;
use super::world::World;

const KIB: usize = 1_024;
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// 2025-03-03T00:00:00Z, in ms.
const START: i64 = 1_740_960_000_000;

/// One person, whose states are measured as they grow.
struct Person<'p> {
    world: World<'p>,
    outcomes: Vec<Outcome>,
    bytes_max: usize,
}

impl<'p> Person<'p> {
    fn new(policy: &'p Policy) -> Self {
        Self { world: World::new(policy, Explain::Switches), outcomes: Vec::new(), bytes_max: 0 }
    }

    /// Takes `text` as it arrives at `record_time` ms.
    fn takes(&mut self, text: String, record_time: i64) {
        let record_time = Some(Timestamp::from_millis(record_time));
        let logged = Logged { text, record_time };
        let record = logged.decoded().map_err(|rejection| rejection.reason).unwrap();
        self.outcomes.clear();
        self.world.step(&record, &mut self.outcomes);
    }

    /// Takes metrics measured at `time` that arrive `lag` later, both in ms.
    fn sends(&mut self, device: &str, event_type: &str, time: i64, lag: i64, metrics: &str) {
        self.takes(message(device, event_type, time, metrics), time + lag);
    }

    fn state(&self) -> &State {
        &self.world.states["u"]
    }

    /// On how many days this hour was hard, and in how many weeks this weekday, were both hard now.
    fn remembers(&self, device: &str, time: i64) -> [Option<f64>; 2] {
        let metrics = r#""hrv":10,"recovery_score":45"#;
        let logged = Logged {
            text: message(device, "vitals", time, metrics),
            record_time: Some(Timestamp::from_millis(time)),
        };
        let (mut state, mut outcomes) = (self.state().clone(), Vec::new());
        let record = logged.decoded().map_err(|rejection| rejection.reason).unwrap();
        step(self.world.policy, &mut state, &record, Explain::Everything, &mut outcomes);
        let rules = &outcomes[0].explanation.as_ref().unwrap().rules;
        [Rule::RecurringStressHour, Rule::LowRecoveryWeekday]
            .map(|id| rules.iter().find(|rule| rule.id == id).unwrap().value)
    }

    /// The size of the state, which is measured.
    fn bytes(&mut self) -> usize {
        let bytes = self.state().to_checkpoint().len();
        self.bytes_max = self.bytes_max.max(bytes);
        bytes
    }
}

fn message(device: &str, event_type: &str, time: i64, metrics: &str) -> String {
    format!(
        r#"{{"user_id":"u","device_id":"{device}","event_type":"{event_type}","timestamp":{time},"metrics":{{{metrics}}}}}"#
    )
}

/// The three signals with a baseline: a hundred that sets their devices apart, the type of their
/// events, and the metric.
const WITH_BASELINE: [(usize, &str, &str); 3] =
    [(100, "hrv", "hrv"), (200, "heart_rate", "heart_rate"), (300, "sleep", "hrv")];

/// Fills everything that a state can hold: 64 identities, 30 days with 24 hard hours, 56 hard days,
/// 50 decisions, the newest reading of each signal, and for each of three signals 8 devices with 7
/// days of many samples. `device` names devices; those without a baseline have numbers below 100.
fn fill(person: &mut Person<'_>, device: impl Fn(usize) -> String) {
    // Half of the readings are far below what is usual, at every hour.
    for day in 0..56 {
        person.sends(&device(0), "recovery", START + day * DAY, 0, r#""recovery_score":45"#);
        for half_hour in (0..48).filter(|_| day >= 26) {
            let (time, low) = (START + day * DAY + half_hour * 30 * MINUTE, half_hour % 2 == 1);
            let hrv = if low { r#""hrv":10"# } else { r#""hrv":250"# };
            person.sends(&device(100), "vitals", time, 0, hrv);
        }
    }
    person.sends(&device(1), "sleep", START + 49 * DAY, 0, r#""hrv":70.1"#);
    // So late that none of it is the newest of its signal.
    for (hundred, event_type, metric) in WITH_BASELINE {
        for (number, day) in (0..8).flat_map(|number| (50..57).map(move |day| (number, day))) {
            let midnight = START + day * DAY;
            let series = (0..560).map(|place| {
                let time = midnight + place * 2 * MINUTE;
                format!(r#"{{"metric":"{metric}","value":61.7,"timestamp":{time}}}"#)
            });
            let series = series.collect::<Vec<_>>().join(",");
            let device = device(hundred + number);
            let text = format!(
                r#"{{"user_id":"u","device_id":"{device}","event_type":"{event_type}","timestamp":{midnight},"readings":[{series}]}}"#
            );
            person.takes(text, midnight + 3 * DAY);
        }
    }
    let switches = START + 56 * DAY;
    for number in 0..60 {
        let stress = if number % 2 == 0 { "0.95" } else { "0.1" };
        let metrics = format!(r#""stress_level":{stress},"recovery_score":4.5"#);
        person.sends(&device(2), "vitals", switches + number * 20 * MINUTE, 0, &metrics);
    }
    assert_eq!(
        person.remembers(&device(100), switches + 21 * 60 * MINUTE),
        [Some(30.0), Some(8.0)]
    );
    // In a workout nothing enters a baseline.
    let workout = switches + 2 * DAY;
    person.sends(&device(3), "workout", workout, 0, r#""duration_minutes":1440"#);
    let newest = ["hrv", "heart_rate", "steps_per_minute", "recovery_score"];
    for (number, metric) in (4..).zip(newest) {
        let metrics = format!(r#""{metric}":50.1"#);
        person.sends(&device(number), "vitals", workout + 40 * MINUTE, 0, &metrics);
    }
}

/// Whether everything that can be seen from outside is full.
fn is_full(state: &State) -> bool {
    let summary = state.summary("u");
    let segments = |signal| summary.baselines.iter().filter(move |of| of.signal == signal);
    [Signal::Hrv, Signal::HeartRate, Signal::OvernightHrv]
        .into_iter()
        .all(|signal| segments(signal).count() == 8 && segments(signal).all(|of| of.days == 7))
        && state.history().len() == 50
}

#[test]
fn a_full_state_with_short_device_ids_has_at_most_4_kib() {
    let policy = Policy::default();
    let mut person = Person::new(&policy);
    let shared = |number: usize| format!("wearable-{}", number % 100);
    fill(&mut person, shared);
    // Since the newest switch a year has passed without another.
    let year_later = START + 420 * DAY;
    person.sends("wearable-8", "vitals", year_later, 0, r#""stress_level":0.123"#);
    let bytes = person.bytes();
    println!("full, with short device ids: {bytes} bytes");
    assert!(is_full(person.state()));
    assert!(bytes <= 4 * KIB, "{bytes} bytes");
}

#[test]
fn the_largest_state_with_the_longest_device_ids_has_at_most_12_kib() {
    let policy = Policy::default();
    let mut person = Person::new(&policy);
    fill(&mut person, |number| format!("{number:0>255}"));
    // The newest switch lies as far as can be from all else.
    let last = 253_402_300_799_000;
    person.sends(&format!("{:0>255}", 8), "vitals", last, 0, r#""stress_level":0.95"#);
    let newest = person.state().history().last().unwrap();
    assert_eq!(newest.time, Timestamp::from_millis(last));
    assert!(is_full(person.state()));
    println!("full, with the longest device ids: {} bytes", person.bytes());

    // And it stays so, whatever comes.
    let mut draws = Draws(9);
    for number in 0..4_000_usize {
        let (text, record_time) = hostile(number, &mut draws);
        person.takes(text, record_time);
        if number % 8 == 0 {
            person.bytes();
        }
    }
    println!("hostile: at most {} bytes", person.bytes_max);
    assert!(person.bytes_max <= 12 * KIB, "{} bytes", person.bytes_max);
}

/// A record of a fresh device and event type, with fresh metrics beside known ones, at any time.
fn hostile(number: usize, draws: &mut Draws) -> (String, i64) {
    let time = match draws.below(4) {
        0 => i64::try_from(draws.below(253_402_300_799_000)).unwrap(),
        1 => START + i64::try_from(draws.below(60)).unwrap() * DAY,
        _ => START + i64::try_from(number).unwrap() * 61_000,
    };
    let lag = draws.pick(&[0, 0, 0, 20 * MINUTE, 3 * DAY]);
    let known = ["hrv", "heart_rate", "stress_level", "recovery_score", "steps_per_minute"];
    let values = ["0.93", "31", "103", "61.7", "299.99"];
    let mut readings = Vec::new();
    for metric in known {
        if draws.below(3) > 0 {
            readings.push((metric.to_owned(), draws.pick(&values)));
        }
    }
    let fresh = (0..12).map(|place| (format!("m-{number}-{place:0>50}"), "123456789.125"));
    readings.extend(fresh);
    let own = time - draws.pick(&[0, 0, MINUTE, DAY]).min(time);
    let list = readings.iter().map(|(metric, value)| {
        format!(r#"{{"metric":"{metric}","value":{value},"timestamp":"{}"}}"#, written(own))
    });
    let event_type = match draws.below(3) {
        0 => draws.pick(&["sleep", "recovery", "workout"]).to_owned(),
        _ => format!("{number:->255}"),
    };
    let device = format!("{number:0>255}");
    let list = list.collect::<Vec<_>>().join(",");
    let text = format!(
        r#"{{"user_id":"u","device_id":"{device}","event_type":"{event_type}","timestamp":"{}","readings":[{list}]}}"#,
        written(time)
    );
    (text, time + lag)
}

fn written(ms: i64) -> String {
    Timestamp::from_millis(ms).to_string()
}

#[test]
fn the_recorded_people_have_states_of_about_1_kib() {
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden/people.ndjson");
    let log = std::fs::read_to_string(log).unwrap();
    let policy = Policy::default();
    let mut world = World::new(&policy, Explain::Switches);
    let mut outcomes = Vec::new();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let record_time = line["record_time_ms"].as_i64().map(Timestamp::from_millis);
        let logged = Logged { text: line["value"].to_string(), record_time };
        if let Ok(record) = logged.decoded() {
            outcomes.clear();
            world.step(&record, &mut outcomes);
        }
    }
    let sizes: Vec<_> = world.checkpoints().into_values().map(|bytes| bytes.len()).collect();
    let (mean, max) = (sizes.iter().sum::<usize>() / sizes.len(), sizes.iter().max().unwrap());
    println!("{} people: {mean} bytes in the mean, {max} at most", sizes.len());
    assert!(mean <= KIB + KIB / 2, "{mean} bytes");
}
