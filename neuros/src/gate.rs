//! The activity gate: the time during which movement explains heart rate and HRV.

use crate::time::{Micros, Timestamp};

/// A closed interval of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Gate {
    pub(crate) fn opened(from: Timestamp, length: Micros) -> Self {
        Self { from, until: from + length }
    }

    pub(crate) fn contains(&self, time: Timestamp) -> bool {
        (self.from..=self.until).contains(&time)
    }

    /// The gate held after `new` has opened beside the one `held` before: a later one replaces it,
    /// one that ended before it is ignored, and two that meet become their union.
    pub(crate) fn joined(held: Option<Self>, new: Self) -> Self {
        match held {
            Some(held) if new.from <= held.until => {
                if new.until < held.from {
                    held
                } else {
                    Self { from: held.from.min(new.from), until: held.until.max(new.until) }
                }
            }
            Some(_) | None => new,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(from: i64, until: i64) -> Gate {
        Gate { from: Timestamp::from_micros(from), until: Timestamp::from_micros(until) }
    }

    #[test]
    fn a_gate_is_closed_at_both_ends() {
        let held = Gate::opened(Timestamp::from_micros(10), Micros(5));
        let inside = |time| held.contains(Timestamp::from_micros(time));
        assert_eq!([9, 10, 15, 16].map(inside), [false, true, true, false]);
    }

    #[test]
    fn a_new_interval_replaces_joins_or_is_ignored() {
        let held = Some(gate(10, 20));
        assert_eq!(Gate::joined(None, gate(1, 2)), gate(1, 2));
        assert_eq!(Gate::joined(held, gate(21, 30)), gate(21, 30), "begins after the end");
        assert_eq!(Gate::joined(held, gate(20, 30)), gate(10, 30), "touches the end");
        assert_eq!(Gate::joined(held, gate(5, 10)), gate(5, 20), "touches the start");
        assert_eq!(Gate::joined(held, gate(5, 9)), gate(10, 20), "ended before the start");
        assert_eq!(Gate::joined(held, gate(12, 15)), gate(10, 20), "lies inside");
    }
}
