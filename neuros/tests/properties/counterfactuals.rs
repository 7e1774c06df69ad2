//! What would have led to another mode does, and no smaller change of a reading would have.

use neuros::event::Record;
use neuros::{Explain, Kind, Mode, Policy, State, counterfactual, step};
use proptest::prelude::*;

use super::logs::sendings;
use super::records::{decoded, logged};
use super::settings::{Draws, cases, under};
use super::world::World;

/// The mode after an event of a record.
fn mode_after(
    policy: &Policy,
    before: Option<&State>,
    record: &Record<'_>,
    event: usize,
) -> Option<Mode> {
    let mut state = before.cloned().unwrap_or_else(|| State::born(record));
    let mut outcomes = Vec::new();
    step(policy, &mut state, record, Explain::Switches, &mut outcomes);
    outcomes.get(event).map(|outcome| outcome.mode)
}

/// How much of the values that a body can have lies in one unit.
fn share(metric: &str) -> f64 {
    1.0 / match metric {
        "hrv" => 299.9,
        "heart_rate" => 230.0,
        "stress_level" => 1.0,
        "recovery_score" => 100.0,
        "steps_per_minute" => 400.0,
        _ => 1_440.0,
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn the_smallest_change_leads_to_another_mode_and_smaller_ones_do_not(
        sendings in sendings(),
        under in under(),
        seed in any::<u64>(),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let mut world = World::new(&policy, Explain::Switches);
        let mut draws = Draws(seed);
        for record in decoded(&log).iter().take(40) {
            let before = world.states.get(record.user_id.as_str()).cloned();
            let outcomes = world.outcomes_of(record);
            let looked = draws.below(8) == 0;
            if !looked {
                continue;
            }
            let evaluated = outcomes
                .iter()
                .rposition(|outcome| !matches!(outcome.kind, Kind::Duplicate | Kind::NotEvaluated));
            let found = counterfactual(&policy, before.as_ref(), record);
            let Some(event) = evaluated else {
                prop_assert!(found.is_none());
                continue;
            };
            let actual = outcomes[event].mode;
            if let Some(change) = &found {
                prop_assert_eq!(change.event, event);
                let changed = change.applied_to(record);
                let mode = mode_after(&policy, before.as_ref(), &changed, event);
                prop_assert_eq!(mode, Some(change.mode));
                prop_assert!(change.mode != actual);
            }
            // A few of all smaller changes.
            let least = found.as_ref().map_or(f64::INFINITY, |change| {
                (change.to - change.from).abs() * share(&change.metric)
            });
            let readings = record.events().nth(event).unwrap().readings;
            for reading in readings {
                let name = reading.metric.name();
                let (low, high, per) = match name {
                    "hrv" => (1_usize, 3_000, 10.0),
                    "heart_rate" => (200, 2_500, 10.0),
                    "stress_level" => (0, 1_000, 1_000.0),
                    "recovery_score" => (0, 1_000, 10.0),
                    _ => continue,
                };
                let Ok(from) = reading.usable(policy.quality.min_confidence) else { continue };
                for _ in 0..20 {
                    let place = low + draws.below(high - low + 1);
                    let to = f64::from(u32::try_from(place).unwrap()) / per;
                    if to == from || (to - from).abs() * share(name) >= least * 0.999_999 {
                        continue;
                    }
                    let change = neuros::Counterfactual {
                        event, metric: name.to_owned(), from, to, mode: actual, reason: None,
                    };
                    let changed = change.applied_to(record);
                    let mode = mode_after(&policy, before.as_ref(), &changed, event);
                    prop_assert_eq!(mode, Some(actual), "{} {} is smaller", name, to);
                }
            }
        }
    }
}
