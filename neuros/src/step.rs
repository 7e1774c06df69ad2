//! The engine: folds one record into a state. Reads no clock, does no I/O, draws no random number;
//! the same records in the same order give the same states and outcomes, byte for byte.

use crate::baseline::Baseline;
use crate::candidate::{self, Candidate, Candidates};
use crate::condition::{self, Legs};
use crate::event::{Event, Metric, Record};
use crate::explain::Explanation;
use crate::gate::Gate;
use crate::mode::Mode;
use crate::outcome::{Kind, Outcome, Reason};
use crate::policy::Policy;
use crate::recent::Novelty;
use crate::rule::RuleSet;
use crate::signal::{PerSignal, Signal};
use crate::state::{Decision, Indicators, Latest, Run, State};
use crate::time::{Micros, Timestamp};
use crate::view::{Evidence, View};

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
        outcomes.push(outcome(taken, &incoming, &event, state, policy, explain));
    }
}

/// A canonical event as the engine sees it.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Not later than the record's arrival.
    pub(crate) time: Timestamp,
    pub(crate) utc_offset_minutes: i16,
    /// On arrival.
    pub(crate) age: Micros,
    pub(crate) overnight: bool,
    pub(crate) novelty: Novelty,
    /// The age up to which readings are young enough; `None` when none is, whatever its age.
    pub(crate) live_for: Option<Micros>,
    /// The usable readings of signals.
    pub(crate) sensed: PerSignal<Option<Sensed>>,
    duration_minutes: f64,
    any_usable: bool,
    any_live: bool,
}

/// A usable reading of a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sensed {
    pub(crate) value: f64,
    pub(crate) live: bool,
}

/// What became of an event.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one event")]
pub(crate) enum Taken {
    Duplicate,
    NotEvaluated(Reason),
    Evaluated(Evaluation),
}

/// All that an evaluation looked at and found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evaluation {
    pub(crate) t: Timestamp,
    pub(crate) mode_before: Mode,
    pub(crate) last_switch_before: Option<Timestamp>,
    pub(crate) last_confirmed_before: Timestamp,
    pub(crate) disturbed_before: Timestamp,
    pub(crate) entry_indicators_before: Indicators,
    pub(crate) view: View,
    pub(crate) evidence: Evidence,
    pub(crate) fired: RuleSet,
    pub(crate) borderline: bool,
    pub(crate) calm: bool,
    pub(crate) candidates: Candidates,
    pub(crate) verdict: Verdict,
}

/// What follows from an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    pub(crate) reason: Option<Reason>,
}

impl Incoming {
    fn of(
        event: &Event<'_>,
        record: &Record<'_>,
        overnight: bool,
        novelty: Novelty,
        state: &State,
        policy: &Policy,
    ) -> Self {
        let time = record.seen_at(event.time);
        let age = record.record_time - time;
        let live_for = live_for(overnight, event, record, policy);
        let mut incoming = Self {
            time,
            utc_offset_minutes: event.utc_offset_minutes,
            age,
            overnight,
            novelty,
            live_for,
            sensed: PerSignal::default(),
            duration_minutes: 0.0,
            any_usable: false,
            any_live: false,
        };
        for reading in event.readings {
            let Ok(value) = reading.usable(policy.quality.min_confidence) else {
                continue;
            };
            let signal = signal_of(&reading.metric, overnight);
            let live = is_young(signal, age, live_for, policy)
                && signal.is_none_or(|signal| !state.holds_newer(signal, time));
            if let Some(signal) = signal {
                *incoming.sensed.get_mut(signal) = Some(Sensed { value, live });
            }
            if reading.metric == Metric::DurationMinutes {
                incoming.duration_minutes = value;
            }
            incoming.any_usable = true;
            incoming.any_live |= live;
        }
        incoming
    }
}

/// The signal that a reading of `metric` belongs to, if any: of a night only two count.
pub(crate) fn signal_of(metric: &Metric<'_>, overnight: bool) -> Option<Signal> {
    match (metric, overnight) {
        (Metric::Hrv, true) => Some(Signal::OvernightHrv),
        (Metric::RecoveryScore, _) => Some(Signal::RecoveryScore),
        (_, true) => None,
        (Metric::Hrv, false) => Some(Signal::Hrv),
        (Metric::HeartRate, false) => Some(Signal::HeartRate),
        (Metric::StressLevel, false) => Some(Signal::StressLevel),
        (Metric::StepsPerMinute, false) => Some(Signal::StepsPerMinute),
        (_, false) => None,
    }
}

/// How old readings of the event may be; points of a series inside an overnight event are never
/// young enough.
fn live_for(
    overnight: bool,
    event: &Event<'_>,
    record: &Record<'_>,
    policy: &Policy,
) -> Option<Micros> {
    match overnight {
        true => (event.time == record.time).then_some(policy.live_for.overnight),
        false => Some(policy.live_for.default),
    }
}

/// Whether a reading of this age may be live; a recovery score sums up a night in any event.
pub(crate) fn is_young(
    signal: Option<Signal>,
    age: Micros,
    live_for: Option<Micros>,
    policy: &Policy,
) -> bool {
    live_for.is_some_and(|live_for| match signal {
        Some(Signal::RecoveryScore) => age <= policy.live_for.overnight,
        _ => age <= live_for,
    })
}

impl State {
    /// Whether a reading of `signal` later than `time` is held.
    pub(crate) fn holds_newer(&self, signal: Signal, time: Timestamp) -> bool {
        self.latest.get(signal).as_ref().is_some_and(|latest| latest.time > time)
    }
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
    let (day, hour) = incoming.time.local_day_and_hour(incoming.utc_offset_minutes);
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
                let device_id = record.device_id.as_ref().into();
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

/// Looks at the state as the event has left it, decides, and carries the decision out.
fn evaluate(incoming: &Incoming, state: &mut State, policy: &Policy) -> Evaluation {
    let t = state.clock.map_or(incoming.time, |clock| clock.max(incoming.time));
    state.clock = Some(t);
    let view = View::at(t, state, policy);
    let mut evidence = Evidence::of(&view, t, state, policy);
    recall_patterns(&mut evidence, incoming, state, policy);
    let fired = condition::fired(&evidence, policy);
    let borderline = candidate::is_borderline(fired, &evidence, policy);
    let [reflex, guardian, pattern, hypothesis] =
        candidate::proposed(fired, &evidence, borderline, state.mode, policy);
    let proposed = [reflex, guardian, pattern, hypothesis];
    let calm =
        proposed.iter().all(Option::is_none) && candidate::is_calm(&evidence, &view, state, policy);
    let mut evaluation = Evaluation {
        t,
        mode_before: state.mode,
        last_switch_before: state.last_switch,
        last_confirmed_before: state.last_confirmed,
        disturbed_before: state.disturbed,
        entry_indicators_before: state.entry_indicators,
        view,
        evidence,
        fired,
        borderline,
        calm,
        candidates: [reflex, guardian, pattern, hypothesis, None],
        verdict: Verdict { kind: Kind::Unchanged, reason: None },
    };
    if !calm {
        state.disturbed = t;
    }
    let [.., back] = &mut evaluation.candidates;
    *back = candidate::return_to_pattern(calm, t, state, policy);
    let selected = candidate::select(&mut evaluation.candidates, t, state, policy);
    evaluation.verdict = decide(selected, &evaluation, state, policy);
    evaluation
}

/// What only the event itself can ask of the pattern memory: about its own hour and weekday.
fn recall_patterns(evidence: &mut Evidence, incoming: &Incoming, state: &State, policy: &Policy) {
    let pattern = &policy.pattern;
    let (today, hour) = incoming.time.local_day_and_hour(incoming.utc_offset_minutes);
    let live = |sensed: Option<Sensed>| sensed.is_some_and(|sensed| sensed.live);
    if live(incoming.sensed.hrv) && evidence.hrv.is_some() {
        evidence.hard_hours = Some(state.hard_hours.count(today, hour, pattern.hour_days));
    }
    if live(incoming.sensed.recovery_score) {
        evidence.hard_weekdays = Some(state.hard_days.count(today, pattern.weekdays));
    }
}

/// Carries out what was selected, or the expiry of the mode when nothing was.
fn decide(
    selected: Option<Candidate>,
    evaluation: &Evaluation,
    state: &mut State,
    policy: &Policy,
) -> Verdict {
    let t = evaluation.t;
    if let Some(candidate) = selected {
        let reason = candidate.reason();
        let kind = if candidate.mode == state.mode {
            state.last_confirmed = t;
            state.confidence = candidate.weight();
            Kind::Held
        } else {
            let legs = Legs::of(&evaluation.evidence, policy);
            let indicators = candidate.indicators(legs);
            switch(state, candidate.mode, candidate.weight(), reason, indicators, t, policy);
            state.last_switch = Some(t);
            Kind::Switched
        };
        return Verdict { kind, reason: Some(reason) };
    }
    let unconfirmed = t - state.last_confirmed;
    if policy.mode_ttl(state.mode).is_some_and(|ttl| unconfirmed > ttl) {
        switch(state, Mode::Pattern, 0.5, Reason::Expired, Indicators::default(), t, policy);
        return Verdict { kind: Kind::Switched, reason: Some(Reason::Expired) };
    }
    match evaluation.candidates.iter().flatten().next() {
        Some(first) => Verdict { kind: Kind::Suppressed, reason: Some(first.reason()) },
        None => Verdict { kind: Kind::Unchanged, reason: None },
    }
}

/// Changes the mode and remembers that it did.
fn switch(
    state: &mut State,
    mode: Mode,
    confidence: f64,
    reason: Reason,
    entry_indicators: Indicators,
    t: Timestamp,
    policy: &Policy,
) {
    let previous_mode = state.mode;
    state.mode = mode;
    state.previous_mode = Some(previous_mode);
    state.confidence = confidence;
    state.entry_indicators = entry_indicators;
    (state.mode_since, state.last_confirmed, state.disturbed) = (t, t, t);
    state.seq += 1;
    let decision = Decision {
        seq: state.seq,
        time: t,
        previous_mode,
        mode,
        reason,
        confidence_permille: permille(confidence),
    };
    state.history.push_back(decision);
    while state.history.len() > usize::try_from(policy.history).unwrap_or(usize::MAX) {
        state.history.pop_front();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a confidence lies in 0..=1"
)]
fn permille(confidence: f64) -> u16 {
    (confidence * 1_000.0).round() as u16
}

fn outcome(
    taken: Taken,
    incoming: &Incoming,
    event: &Event<'_>,
    state: &State,
    policy: &Policy,
    explain: Explain,
) -> Outcome {
    let (kind, reason) = match &taken {
        Taken::Duplicate => (Kind::Duplicate, None),
        Taken::NotEvaluated(reason) => (Kind::NotEvaluated, Some(*reason)),
        Taken::Evaluated(evaluation) => (evaluation.verdict.kind, evaluation.verdict.reason),
    };
    let (mode_before, fired, borderline) = match &taken {
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
            .then(|| Box::new(Explanation::of(&taken, incoming, event, state, policy))),
    }
}
