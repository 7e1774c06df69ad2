//! What holds of every outcome, and what may and may not cause one.

use std::collections::BTreeMap;

use neuros::event::Record;
use neuros::explain::{ReadingUse, RuleStatus};
use neuros::time::Timestamp;
use neuros::{Explain, Kind, Mode, Outcome, Reason, Rule, State, StateSummary};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::logs::sendings;
use super::records::{decoded, logged};
use super::settings::{LOGS, cases, under};
use super::world::World;

const REFLEX: [Rule; 5] = [
    Rule::HrvDropMs,
    Rule::HrvDropPercentage,
    Rule::HeartRateElevated,
    Rule::StressCritical,
    Rule::HeartRateExtreme,
];

type Checked = Result<(), TestCaseError>;

/// An outcome that no other can contradict.
fn is_sound(outcome: &Outcome) -> Checked {
    let Outcome { kind, mode, previous_mode, reason, confidence, fired, borderline, .. } = outcome;
    prop_assert!((0.0..=1.0).contains(confidence), "confidence {confidence}");
    prop_assert_eq!(mode != previous_mode, *kind == Kind::Switched);
    prop_assert!(!borderline || REFLEX.iter().all(|&rule| !fired.contains(rule)));
    if let Some(Reason::Rule(rule)) = reason {
        prop_assert!(fired.contains(*rule), "{rule:?} is the reason and has not fired");
    }
    match (kind, reason) {
        (Kind::Duplicate, None)
        | (Kind::NotEvaluated, Some(Reason::Backfill | Reason::NoUsableReading)) => {
            prop_assert!(fired.is_empty() && !borderline);
        }
        (Kind::Unchanged, None)
        | (Kind::Held | Kind::Suppressed | Kind::Switched, Some(Reason::Rule(_))) => {}
        (Kind::Switched | Kind::Suppressed, Some(Reason::ReturnToPattern)) => {
            prop_assert!(fired.is_empty());
        }
        (Kind::Switched, Some(Reason::Expired)) => {
            prop_assert_eq!((*mode, *confidence), (Mode::Pattern, 0.5));
        }
        _ => prop_assert!(false, "{kind:?} for {reason:?}"),
    }
    Ok(())
}

/// The outcomes of `record`, which led to `state`, fit it and each other.
fn fit(outcomes: &[Outcome], record: &Record<'_>, before: &State, state: &State) -> Checked {
    prop_assert_eq!(outcomes.len(), record.events().len());
    let (mut mode, mut confidence) = (before.mode(), before.confidence());
    let mut clock = before.clock();
    for (outcome, event) in outcomes.iter().zip(record.events()) {
        is_sound(outcome)?;
        prop_assert_eq!(outcome.time, event.time.min(record.record_time));
        prop_assert_eq!(outcome.previous_mode, mode);
        match outcome.kind {
            Kind::Duplicate | Kind::NotEvaluated => {
                prop_assert_eq!((outcome.mode, outcome.confidence), (mode, confidence));
            }
            _ => clock = clock.max(Some(outcome.time)),
        }
        (mode, confidence) = (outcome.mode, outcome.confidence);
    }
    prop_assert_eq!((state.mode(), state.confidence()), (mode, confidence));
    prop_assert_eq!(state.clock(), clock);
    let of_kind = |kind| outcomes.iter().filter(|outcome| outcome.kind == kind).count();
    prop_assert_eq!(state.seq() - before.seq(), of_kind(Kind::Switched) as u64);
    let duplicates = of_kind(Kind::Duplicate);
    prop_assert!(duplicates == 0 || duplicates == outcomes.len(), "a record repeats as a whole");
    Ok(())
}

/// All that an event without a live reading must leave alone.
fn without_baselines(state: &State) -> StateSummary<'_> {
    StateSummary { baselines: Vec::new(), ..state.summary("someone") }
}

/// What was done with the readings says the same as the kind.
fn is_caused_by_its_readings(outcome: &Outcome) -> Checked {
    let explanation = outcome.explanation.as_ref().unwrap();
    let readings = &explanation.readings;
    let any_live = readings.iter().any(|reading| reading.used == ReadingUse::Live);
    let is_excluded = |used| matches!(used, ReadingUse::Excluded(_));
    let all_excluded = readings.iter().all(|reading| is_excluded(reading.used));
    match (outcome.kind, outcome.reason) {
        (Kind::Duplicate, _) => {}
        (Kind::NotEvaluated, reason) => {
            prop_assert!(!any_live);
            prop_assert_eq!(reason == Some(Reason::NoUsableReading), all_excluded);
        }
        _ => prop_assert!(any_live),
    }
    let evaluated = !matches!(outcome.kind, Kind::NotEvaluated | Kind::Duplicate);
    let fired = explanation.rules.iter().any(|rule| rule.status == RuleStatus::Fired);
    prop_assert_eq!((explanation.rules.len(), !evaluated && fired), (12, false));
    let text = explanation.to_string();
    prop_assert!(!text.is_empty() && !text.contains("NaN") && !text.contains("inf"));
    Ok(())
}

proptest! {
    #![proptest_config(cases(LOGS))]

    #[test]
    fn every_outcome_is_sound_and_fits_its_record_and_state(
        sendings in sendings(),
        under in under(),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let mut world = World::new(&policy, Explain::Switches);
        for record in &decoded(&log) {
            let born = || State::born(record);
            let before = world.states.get(record.user_id.as_str()).cloned().unwrap_or_else(born);
            let outcomes = world.outcomes_of(record);
            let state = &world.states[record.user_id.as_str()];
            fit(&outcomes, record, &before, state)?;
            let remembered = u64::from(policy.history).min(state.seq());
            prop_assert_eq!(state.history().len() as u64, remembered);
            let numbers: Vec<_> = state.history().map(|decision| decision.seq).collect();
            let expected: Vec<_> = (state.seq() - remembered + 1..=state.seq()).collect();
            prop_assert_eq!(numbers, expected);
        }
    }

    #[test]
    fn only_a_live_reading_moves_mode_confidence_counter_or_clock(
        sendings in sendings(),
        under in under(),
    ) {
        let (log, policy) = (logged(&sendings), under.policy());
        let mut world = World::new(&policy, Explain::Everything);
        for record in &decoded(&log) {
            let born = || State::born(record);
            let before = world.states.get(record.user_id.as_str()).cloned().unwrap_or_else(born);
            let outcomes = world.outcomes_of(record);
            for outcome in &outcomes {
                is_caused_by_its_readings(outcome)?;
            }
            let mut kinds = outcomes.iter().map(|outcome| outcome.kind);
            if kinds.all(|kind| matches!(kind, Kind::NotEvaluated | Kind::Duplicate)) {
                let after = &world.states[record.user_id.as_str()];
                prop_assert!(without_baselines(&before) == without_baselines(after));
            }
        }
    }

    #[test]
    fn the_evaluation_time_never_runs_backwards(sendings in sendings(), under in under()) {
        let (log, policy) = (logged(&sendings), under.policy());
        let mut world = World::new(&policy, Explain::Everything);
        let mut clocks: BTreeMap<String, Timestamp> = BTreeMap::new();
        for record in &decoded(&log) {
            for outcome in world.outcomes_of(record) {
                let at = outcome.explanation.unwrap().evaluated_at;
                let held = clocks.get(record.user_id.as_str()).copied();
                prop_assert!(at >= held);
                clocks.extend(at.map(|at| (record.user_id.to_string(), at)));
            }
        }
    }
}
