//! Facts about the engine. Each is told by a person whose devices send messages: JSON text that is
//! decoded and stepped as in service.

mod baselines;
mod calm;
mod confidence;
mod expiry;
mod explanations;
mod gates;
mod live;
mod margins;
mod patterns;
mod repeats;
mod rules;
mod runs;
mod selection;
mod sentences;
mod view;

use crate::explain::{Explanation, RuleReport, RuleStatus};
use crate::mode::Mode;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::rule::Rule;
use crate::state::State;
use crate::step::{Explain, step};
use crate::time::Timestamp;
use crate::wire::{self, Intake};

const MICROSECOND: i64 = 1;
const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// 2025-03-03T08:00:00Z, a Monday: all times of these tests are told from here.
const START: i64 = 1_740_988_800_000_000;

/// The instant `time` microseconds after the start.
fn instant(time: i64) -> Timestamp {
    Timestamp::from_micros(START + time)
}

/// A message on its way.
#[derive(Clone)]
struct Message {
    event_type: &'static str,
    device: String,
    time: i64,
    arrival: i64,
    utc_offset_minutes: i64,
    readings: Vec<String>,
}

/// A message of that time without readings, which arrives with the next whole millisecond.
fn at(time: i64) -> Message {
    Message {
        event_type: "readings",
        device: "watch".into(),
        time,
        arrival: -(-time).div_euclid(MILLISECOND) * MILLISECOND,
        utc_offset_minutes: 0,
        readings: Vec::new(),
    }
}

/// A message that sums up a night.
fn night(time: i64) -> Message {
    at(time).of_type("sleep")
}

/// A message that announces a workout and does not say how long it lasts.
fn workout(time: i64) -> Message {
    at(time).of_type("workout").with("strain", 10.0)
}

impl Message {
    fn of_type(self, event_type: &'static str) -> Self {
        Self { event_type, ..self }
    }

    fn on(self, device: &str) -> Self {
        Self { device: device.into(), ..self }
    }

    fn late_by(self, delay: i64) -> Self {
        Self { arrival: self.time + delay, ..self }
    }

    fn ahead_of_utc_by(self, minutes: i64) -> Self {
        Self { utc_offset_minutes: minutes, ..self }
    }

    fn with(self, metric: &str, value: f64) -> Self {
        self.entry(&format!(r#""metric":"{metric}","value":{value}"#))
    }

    fn unsure(self, metric: &str, value: f64, confidence: f64) -> Self {
        self.entry(&format!(r#""metric":"{metric}","value":{value},"confidence":{confidence}"#))
    }

    fn unreadable(self, metric: &str) -> Self {
        self.entry(&format!(r#""metric":"{metric}","value":true"#))
    }

    /// A reading with a time of its own.
    fn point(self, time: i64, metric: &str, value: f64) -> Self {
        let stamp = self.stamp(time);
        self.entry(&format!(r#""metric":"{metric}","value":{value},"timestamp":"{stamp}""#))
    }

    fn hrv(self, value: f64) -> Self {
        self.with("hrv", value)
    }

    fn heart_rate(self, value: f64) -> Self {
        self.with("heart_rate", value)
    }

    fn stress(self, value: f64) -> Self {
        self.with("stress_level", value)
    }

    fn recovery(self, value: f64) -> Self {
        self.with("recovery_score", value)
    }

    fn steps(self, value: f64) -> Self {
        self.with("steps_per_minute", value)
    }

    fn lasting(self, minutes: f64) -> Self {
        self.with("duration_minutes", minutes)
    }

    fn entry(mut self, fields: &str) -> Self {
        self.readings.push(format!("{{{fields}}}"));
        self
    }

    fn stamp(&self, time: i64) -> String {
        let offset = self.utc_offset_minutes;
        let local = instant(time + offset * MINUTE).to_string();
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
        format!("{}{sign}{hours:02}:{minutes:02}", local.trim_end_matches('Z'))
    }

    fn text(&self) -> String {
        format!(
            r#"{{"user_id":"u","device_id":"{}","event_type":"{}","timestamp":"{}","readings":[{}]}}"#,
            self.device,
            self.event_type,
            self.stamp(self.time),
            self.readings.join(",")
        )
    }
}

/// A person and what the engine keeps of them.
struct Person {
    policy: Policy,
    state: Option<State>,
}

impl Person {
    fn new() -> Self {
        Self { policy: Policy::default(), state: None }
    }

    /// A person for whom these readings are usual: twenty of them, up to a minute before the start.
    fn used_to(usual: &[(&str, f64)]) -> Self {
        let mut person = Self::new();
        person.repeats(20, usual, -MINUTE);
        person
    }

    /// A person whose last four nights had this HRV.
    fn sleeping_with_hrv(hrv: f64) -> Self {
        let mut person = Self::new();
        for days in (1..=4).rev() {
            person.sends(night(-days * DAY).hrv(hrv));
        }
        person
    }

    /// The same readings `count` times, a minute apart, the last at `last`.
    fn repeats(&mut self, count: i64, readings: &[(&str, f64)], last: i64) {
        for minutes in (0..count).rev() {
            let message = at(last - minutes * MINUTE);
            let add =
                |message: Message, &(metric, value): &(&str, f64)| message.with(metric, value);
            self.sends(readings.iter().fold(message, add));
        }
    }

    /// Sends a message of one canonical event.
    fn sends(&mut self, message: Message) -> Outcome {
        let mut outcomes = self.sends_series(message);
        assert_eq!(outcomes.len(), 1, "one canonical event");
        outcomes.pop().unwrap()
    }

    /// Sends messages of one canonical event and keeps the outcome of the last.
    fn sends_all(&mut self, messages: impl IntoIterator<Item = Message>) -> Outcome {
        messages.into_iter().map(|message| self.sends(message)).last().unwrap()
    }

    /// Sends a message of any number of canonical events.
    fn sends_series(&mut self, message: Message) -> Vec<Outcome> {
        let text = message.text();
        let record_time = Some(instant(message.arrival));
        let sent = wire::Message { value: text.as_bytes(), record_time, ..Default::default() };
        let record = wire::decode(&sent, &Intake::default()).unwrap();
        let state = self.state.get_or_insert_with(|| State::born(&record));
        let mut outcomes = Vec::new();
        step(&self.policy, state, &record, Explain::Everything, &mut outcomes);
        outcomes.iter().for_each(assert_margins_tell_what_fired);
        outcomes
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }
}

/// In every scenario: exactly the rules that fired are reported so and have a negative margin.
fn assert_margins_tell_what_fired(outcome: &Outcome) {
    for report in &why(outcome).rules {
        let fired = outcome.fired.contains(report.id);
        assert_eq!(report.status == RuleStatus::Fired, fired, "{:?}", report.id);
        assert_eq!(report.margin.is_some_and(|margin| margin < 0.0), fired, "{:?}", report.id);
    }
}

/// Kind, mode afterwards and reason.
fn brief(outcome: &Outcome) -> String {
    let (kind, mode) = (outcome.kind.as_str(), outcome.mode.as_str());
    match outcome.reason {
        Some(reason) => format!("{kind} {mode} {}", reason.as_str()),
        None => format!("{kind} {mode}"),
    }
}

/// The ids of the fired rules, in the order in which the outcome lists them.
fn fired(outcome: &Outcome) -> String {
    outcome.fired.iter().map(Rule::as_str).collect::<Vec<_>>().join(" ")
}

fn why(outcome: &Outcome) -> &Explanation {
    outcome.explanation.as_ref().unwrap()
}

fn report(outcome: &Outcome, rule: Rule) -> &RuleReport {
    why(outcome).rules.iter().find(|report| report.id == rule).unwrap()
}

/// The confidence of the candidate for `mode` before any cooldown; `None` when there is none.
fn proposed(outcome: &Outcome, mode: Mode) -> Option<f64> {
    let candidates = &why(outcome).candidates;
    candidates.iter().find(|candidate| candidate.mode == mode).map(|found| found.confidence)
}
