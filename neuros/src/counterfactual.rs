//! What would have led to another mode: the smallest change of one reading of a record's last evaluated event, all
//! else as it was. Found by trying; nothing is guessed from the rules, and nothing is decided here.

use serde::Serialize;

use crate::event::{Metric, Record};
use crate::mode::Mode;
use crate::outcome::{Kind, Outcome, Reason};
use crate::policy::Policy;
use crate::redact::redacted_debug;
use crate::state::State;
use crate::step::{Explain, step};

/// A change of one reading that would have led to another mode.
#[derive(Clone, PartialEq, Serialize)]
pub struct Change {
    /// Which of the record's events the reading is of, from 0.
    pub event: usize,
    /// What was measured.
    pub metric: String,
    /// The value that was measured.
    pub from: f64,
    /// The value that would have led to another mode.
    pub to: f64,
    /// The mode that it would have led to.
    pub mode: Mode,
    /// Why.
    pub reason: Option<Reason>,
}

redacted_debug!(Change);

/// The values that are tried of a metric: those from `first` to `last` over `per`.
struct Steps {
    first: i32,
    last: i32,
    per: f64,
}

impl Steps {
    /// Of metrics that can change a mode; all that a body can have, in steps that people would call small.
    fn of(metric: &Metric<'_>) -> Option<Self> {
        let (first, last, per) = match metric {
            Metric::Hrv => (1, 3_000, 10.0),
            Metric::HeartRate => (200, 2_500, 10.0),
            Metric::StressLevel => (0, 1_000, 1_000.0),
            Metric::RecoveryScore => (0, 1_000, 10.0),
            Metric::StepsPerMinute => (0, 400, 1.0),
            Metric::DurationMinutes => (0, 1_440, 1.0),
            _ => return None,
        };
        Some(Self { first, last, per })
    }

    /// All of them but `value`, those that are nearest to it first; each with its distance as a share of all.
    fn around(&self, value: f64) -> impl Iterator<Item = (f64, f64)> {
        let (first, per) = (self.first, self.per);
        let span = f64::from(self.last - first) / per;
        let at = move |place: i32| f64::from(place) / per;
        // Where `value` would stand; it lies within the accepted range.
        let below = (first..=self.last).rev().map(at).skip_while(move |other| *other >= value);
        let above = (first..=self.last).map(at).skip_while(move |other| *other <= value);
        let (mut below, mut above) = (below.peekable(), above.peekable());
        std::iter::from_fn(move || {
            let down = below.peek().map(|other| value - other);
            let up = above.peek().map(|other| other - value);
            let is_down = match (down, up) {
                (Some(down), Some(up)) => down <= up,
                (down, _) => down.is_some(),
            };
            let other = if is_down { below.next() } else { above.next() };
            other.map(|other| (other, (other - value).abs() / span))
        })
    }
}

/// The smallest change of one usable reading of `record`'s last evaluated event that would have led from `before` to
/// another mode than it did; `None` when there is none, or no event was evaluated. `before` is `None` of a person
/// whose first record it is.
///
/// HRV, heart rate and recovery are tried in steps of 0.1, stress in steps of 0.001, steps and minutes in whole ones,
/// over all that a body can have. Changes are as small as their share of that; of two equally small ones the one
/// downwards counts, and that of the first metric by name.
pub fn counterfactual(
    policy: &Policy,
    before: Option<&State>,
    record: &Record<'_>,
) -> Option<Change> {
    let outcomes = outcomes(policy, before, record);
    let is_evaluated =
        |outcome: &Outcome| !matches!(outcome.kind, Kind::Duplicate | Kind::NotEvaluated);
    let event = outcomes.iter().rposition(is_evaluated)?;
    let actual = outcomes.get(event)?.mode;
    let readings = record.events().nth(event)?.readings;
    let mut nearest: Option<(f64, Change)> = None;
    for reading in readings {
        let Ok(from) = reading.usable(policy.quality.min_confidence) else { continue };
        let Some(steps) = Steps::of(&reading.metric) else { continue };
        let mut change = Change {
            event,
            metric: reading.metric.name().to_owned(),
            from,
            to: from,
            mode: actual,
            reason: None,
        };
        for (to, share) in steps.around(from) {
            if nearest.as_ref().is_some_and(|(least, _)| *least <= share) {
                break;
            }
            change.to = to;
            let outcomes = self::outcomes(policy, before, &change.applied_to(record));
            let outcome = outcomes.get(event).filter(|outcome| outcome.mode != actual);
            if let Some(outcome) = outcome {
                (change.mode, change.reason) = (outcome.mode, outcome.reason);
                nearest = Some((share, change));
                break;
            }
        }
    }
    nearest.map(|(_, change)| change)
}

impl Change {
    /// The record as it would have been.
    pub fn applied_to<'r>(&self, record: &Record<'r>) -> Record<'r> {
        let mut changed = record.clone();
        let ends = |place: usize| record.events.get(place).map(|event| event.readings_end);
        let start = self.event.checked_sub(1).and_then(ends).unwrap_or(0);
        let end = ends(self.event).unwrap_or(start);
        let readings = changed.readings.get_mut(start..end).unwrap_or_default();
        let same = readings.iter_mut().find(|reading| reading.metric.name() == self.metric);
        if let Some(reading) = same {
            reading.value = Some(self.to);
        }
        changed
    }
}

/// What becomes of a record's events.
fn outcomes(policy: &Policy, before: Option<&State>, record: &Record<'_>) -> Vec<Outcome> {
    let mut state = before.map_or_else(|| State::born(record), State::clone);
    let mut outcomes = Vec::new();
    step(policy, &mut state, record, Explain::Switches, &mut outcomes);
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_tried_from_the_nearest_on_and_none_twice() {
        let steps = Steps { first: 0, last: 4, per: 1.0 };
        let tried = |value| steps.around(value).map(|(other, _)| other).collect::<Vec<_>>();
        assert_eq!(tried(2.0), [1.0, 3.0, 0.0, 4.0]);
        assert_eq!(tried(0.0), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(tried(3.5), [3.0, 4.0, 2.0, 1.0, 0.0]);
        assert_eq!(steps.around(0.0).last(), Some((4.0, 1.0)));
    }

    #[test]
    fn all_that_is_tried_is_what_a_body_can_have() {
        for metric in [
            Metric::Hrv,
            Metric::HeartRate,
            Metric::StressLevel,
            Metric::RecoveryScore,
            Metric::StepsPerMinute,
            Metric::DurationMinutes,
        ] {
            let steps = Steps::of(&metric).expect("it can change a mode");
            let (low, high) =
                (f64::from(steps.first) / steps.per, f64::from(steps.last) / steps.per);
            assert!(metric.accepts(low) && metric.accepts(high), "{}", metric.name());
            assert!(!metric.accepts(low - 1.0 / steps.per), "{}", metric.name());
            assert!(!metric.accepts(high + 1.0 / steps.per), "{}", metric.name());
        }
    }
}
