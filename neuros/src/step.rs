//! The engine: folds one record into a state. Reads no clock, does no I/O, draws no random number;
//! the same records in the same order give the same states and outcomes, byte for byte.

use crate::baseline::Baseline;
use crate::evaluate::{Evaluation, evaluate};
use crate::event::{Event, Record};
use crate::explain::Explanation;
use crate::gate::Gate;
use crate::incoming::{Incoming, Sensed};
use crate::outcome::{Kind, Outcome, Reason};
use crate::policy::Policy;
use crate::recent::Novelty;
use crate::rule::RuleSet;
use crate::signal::{PerSignal, Signal};
use crate::state::{Latest, Run, State};
use crate::time::Micros;

/// Which outcomes carry an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// Switches only: the ordinary event pays nothing for explanations.
    Switches,
    /// All outcomes.
    Everything,
}

/// Folds `record` into `state` and appends one outcome for each of its canonical events.
///
/// `state` is that of the record's user: [`State::born`] of the user's first record, afterwards
/// what the steps before have left.
pub fn step(
    policy: &Policy,
    state: &mut State,
    record: &Record<'_>,
    explain: Explain,
    outcomes: &mut Vec<Outcome>,
) {
    let novelty = state.recent.admit(record, policy.dedupe.remember);
    let overnight = policy.overnight.event_types.contains(&record.event_type);
    for event in record.events() {
        let incoming = Incoming::of(&event, record, overnight, novelty, state, policy);
        let taken = if novelty == Novelty::Duplicate {
            Taken::Duplicate
        } else {
            take(&incoming, record, state, policy)
        };
        outcomes.push(outcome(&taken, &incoming, &event, state, policy, explain));
    }
}

/// What became of an event.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one event")]
pub(crate) enum Taken {
    Duplicate,
    NotEvaluated(Reason),
    Evaluated(Evaluation),
}

/// Takes an event into the state, in the order that the specification gives.
fn take(incoming: &Incoming, record: &Record<'_>, state: &mut State, policy: &Policy) -> Taken {
    open_gates(incoming, record, state, policy);
    let day = incoming.time.day();
    let baseline = |signal| {
        let sensed = incoming.sensed.get(signal).is_some();
        let segments = state.baselines.of(signal).filter(|_| sensed)?;
        segments.baseline(&record.device_id, day, policy)
    };
    let held = PerSignal {
        hrv: baseline(Signal::Hrv),
        heart_rate: baseline(Signal::HeartRate),
        overnight_hrv: baseline(Signal::OvernightHrv),
        ..PerSignal::default()
    };
    let gated = state.gate.is_some_and(|gate| gate.contains(incoming.time));
    if incoming.novelty != Novelty::Revision {
        mark_patterns(incoming, held.hrv, gated, state, policy);
    }
    let taken = if incoming.any_live {
        hold_latest(incoming, &held, record, state);
        follow_runs(incoming, held.heart_rate, gated, state, policy);
        Taken::Evaluated(evaluate(incoming, state, policy))
    } else if incoming.any_usable {
        Taken::NotEvaluated(Reason::Backfill)
    } else {
        Taken::NotEvaluated(Reason::NoUsableReading)
    };
    if incoming.novelty != Novelty::Revision {
        feed_baselines(incoming, gated, &record.device_id, state, policy);
    }
    taken
}

/// An announced workout and live steps open the gate.
fn open_gates(incoming: &Incoming, record: &Record<'_>, state: &mut State, policy: &Policy) {
    let activity = &policy.activity;
    if activity.event_types.contains(&record.event_type) {
        let length = whole_micros(incoming.duration_minutes * 60_000_000.0);
        let gate = Gate::opened(incoming.time, Micros(length.0 + activity.hold.0));
        state.gate = Some(Gate::joined(state.gate, gate));
    }
    let steps = incoming.sensed.steps_per_minute;
    if steps.is_some_and(|steps| steps.live && steps.value >= activity.steps_per_minute) {
        let gate = Gate::opened(incoming.time, activity.steps_hold);
        state.gate = Some(Gate::joined(state.gate, gate));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a workout lasts at most 1,440 minutes")]
fn whole_micros(micros: f64) -> Micros {
    Micros(micros as i64)
}

/// Remembers hard hours and hard days, whether the readings are live or not.
fn mark_patterns(
    incoming: &Incoming,
    hrv_baseline: Option<Baseline>,
    gated: bool,
    state: &mut State,
    policy: &Policy,
) {
    let pattern = &policy.pattern;
    let (day, hour) = incoming.local_day_and_hour;
    let usual =
        hrv_baseline.filter(|baseline| baseline.is_calibrated(Signal::Hrv, &policy.baseline));
    if let (Some(hrv), Some(usual), false) = (incoming.sensed.hrv, usual, gated)
        && usual.mean - hrv.value > pattern.drop_ms
    {
        state.hard_hours.mark(day, hour, pattern.hour_days);
    }
    if incoming.sensed.recovery_score.is_some_and(|score| score.value < pattern.recovery) {
        state.hard_days.mark(day, pattern.weekdays);
    }
}

/// Live readings become the newest of their signals.
fn hold_latest(
    incoming: &Incoming,
    held: &PerSignal<Option<Baseline>>,
    record: &Record<'_>,
    state: &mut State,
) {
    for &signal in &Signal::ALL {
        let Some(Sensed { value, live: true }) = *incoming.sensed.get(signal) else {
            continue;
        };
        let (time, baseline) = (incoming.time, *held.get(signal));
        let latest = state.latest.get_mut(signal);
        match latest {
            Some(latest) if *latest.device_id == *record.device_id => {
                (latest.value, latest.time, latest.baseline) = (value, time, baseline);
            }
            _ => {
                let device_id = record.device_id.clone();
                *latest = Some(Latest { value, time, device_id, baseline });
            }
        }
    }
}

/// A live heart rate extends, starts or ends the two runs; backfill never touches them.
fn follow_runs(
    incoming: &Incoming,
    baseline: Option<Baseline>,
    gated: bool,
    state: &mut State,
    policy: &Policy,
) {
    let Some(Sensed { value, live: true }) = incoming.sensed.heart_rate else {
        return;
    };
    let usual =
        baseline.filter(|baseline| baseline.is_calibrated(Signal::HeartRate, &policy.baseline));
    let elevated = value > policy.reflex.heart_rate;
    let extreme = usual.is_some_and(|usual| value - usual.mean > policy.reflex.elevation);
    let follow = |run: Option<Run>, meets: bool| {
        let reach = policy.fresh_for.default;
        let since = run.filter(|run| incoming.time - run.last <= reach);
        let since = since.map_or(incoming.time, |run| run.since);
        (meets && !gated).then_some(Run { since, last: incoming.time })
    };
    state.elevated = follow(state.elevated, elevated);
    state.extreme = follow(state.extreme, extreme);
}

/// Adds what the event says of the three signals with a baseline.
fn feed_baselines(
    incoming: &Incoming,
    gated: bool,
    device_id: &str,
    state: &mut State,
    policy: &Policy,
) {
    let (sensed, time) = (&incoming.sensed, incoming.time);
    if let (Some(hrv), false) = (sensed.hrv, gated) {
        state.baselines.hrv.add(device_id, time, hrv.value, policy);
    }
    if let (Some(beats), false) = (sensed.heart_rate, gated) {
        state.baselines.heart_rate.add(device_id, time, beats.value, policy);
    }
    if let Some(hrv) = sensed.overnight_hrv {
        state.baselines.overnight_hrv.add(device_id, time, hrv.value, policy);
    }
}

fn outcome(
    taken: &Taken,
    incoming: &Incoming,
    event: &Event<'_>,
    state: &State,
    policy: &Policy,
    explain: Explain,
) -> Outcome {
    let (kind, reason) = match taken {
        Taken::Duplicate => (Kind::Duplicate, None),
        Taken::NotEvaluated(reason) => (Kind::NotEvaluated, Some(*reason)),
        Taken::Evaluated(evaluation) => (evaluation.verdict.kind, evaluation.verdict.reason),
    };
    let (mode_before, fired, borderline) = match taken {
        Taken::Evaluated(found) => (found.mode_before, found.fired, found.borderline),
        Taken::Duplicate | Taken::NotEvaluated(_) => (state.mode, RuleSet::default(), false),
    };
    let wanted = explain == Explain::Everything || kind == Kind::Switched;
    Outcome {
        time: incoming.time,
        kind,
        mode: state.mode,
        previous_mode: mode_before,
        reason,
        confidence: state.confidence,
        fired,
        borderline,
        explanation: wanted
            .then(|| Box::new(Explanation::of(taken, incoming, event, state, policy))),
    }
}

#[cfg(test)]
mod tests;
