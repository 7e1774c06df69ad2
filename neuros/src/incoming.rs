//! A canonical event as the engine sees it: its time, and what of it can be used and is live.

use crate::event::{Event, Metric, Record};
use crate::policy::Policy;
use crate::recent::Novelty;
use crate::signal::{PerSignal, Signal};
use crate::state::State;
use crate::time::{Day, Micros, Timestamp};

/// A canonical event as the engine sees it.
pub(crate) struct Incoming {
    /// Not later than the record's arrival.
    pub(crate) time: Timestamp,
    /// The same on the wearer's clock.
    pub(crate) local_day_and_hour: (Day, u8),
    /// On arrival.
    pub(crate) age: Micros,
    pub(crate) overnight: bool,
    pub(crate) novelty: Novelty,
    /// The age up to which readings are young enough; `None` when none is, whatever its age.
    pub(crate) live_for: Option<Micros>,
    /// The usable readings of signals.
    pub(crate) sensed: PerSignal<Option<Sensed>>,
    /// Of a workout, 0 when it does not say.
    pub(crate) duration_minutes: f64,
    pub(crate) any_usable: bool,
    pub(crate) any_live: bool,
}

/// A usable reading of a signal.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Sensed {
    pub(crate) value: f64,
    pub(crate) live: bool,
}

impl Incoming {
    pub(crate) fn of(
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
            local_day_and_hour: time.local_day_and_hour(event.utc_offset_minutes),
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
            let live = young_for(signal, live_for, policy).is_some_and(|limit| age <= limit)
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

/// The age up to which a reading is young enough, in an event whose readings are so up to
/// `live_for`; a recovery score sums up a night in any event.
pub(crate) fn young_for(
    signal: Option<Signal>,
    live_for: Option<Micros>,
    policy: &Policy,
) -> Option<Micros> {
    match signal {
        Some(Signal::RecoveryScore) => live_for.and(Some(policy.live_for.overnight)),
        _ => live_for,
    }
}

impl State {
    /// Whether a reading of `signal` later than `time` is held.
    pub(crate) fn holds_newer(&self, signal: Signal, time: Timestamp) -> bool {
        self.latest.get(signal).as_ref().is_some_and(|latest| latest.time > time)
    }
}
