//! What explanations say as data: the view, readings, candidates, the selection.

use super::margins::known;
use super::*;
use crate::candidate::Skip;
use crate::explain::{ReadingUse, Status};

#[test]
fn the_view_tells_value_age_device_and_baseline() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    person.sends(night(-HOUR).on("ring").hrv(50.0).recovery(80.0).late_by(HOUR));
    let outcome = person.sends(at(90 * SECOND).stress(0.5));
    let view = &why(&outcome).view;
    assert_eq!((view.hrv.status, view.hrv.value), (Status::Calibrating, Some(60.0)));
    assert_eq!((view.hrv.age_seconds, view.hrv.device_id.as_deref()), (Some(150.0), Some("watch")));
    let baseline = view.hrv.baseline.unwrap();
    assert_eq!(
        (baseline.mean, baseline.samples, baseline.samples_needed),
        (Some(60.0), 19, Some(20))
    );
    assert_eq!((baseline.days, baseline.days_needed, baseline.calibrated), (1, 4, false));
    let night = view.overnight_hrv.baseline.unwrap();
    assert_eq!((night.mean, night.samples_needed, night.days), (None, None, 0));
    assert_eq!(view.overnight_hrv.device_id.as_deref(), Some("ring"));
    assert_eq!((view.recovery.status, view.recovery.value), (Status::Ok, Some(80.0)));
    assert!(view.recovery.baseline.is_none() && view.stress.baseline.is_none());
    assert_eq!((view.stress.age_seconds, view.heart_rate.value), (Some(0.0), None));
    assert!(view.heart_rate.age_seconds.is_none() && view.heart_rate.device_id.is_none());
}

#[test]
fn a_stale_or_gated_indicator_shows_its_value_all_the_same() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    let outcome = person.sends(workout(20 * MINUTE).heart_rate(150.0));
    let view = &why(&outcome).view;
    assert_eq!((view.hrv.status, view.hrv.value), (Status::Stale, Some(60.0)));
    assert_eq!((view.heart_rate.status, view.heart_rate.value), (Status::Gated, Some(150.0)));
    let gate = why(&outcome).gate.unwrap();
    assert_eq!((gate.from, gate.until), (instant(20 * MINUTE), instant(50 * MINUTE)));
}

#[test]
fn activity_is_known_while_steps_are_fresh() {
    let mut person = Person::new();
    let known = |outcome: &Outcome| why(outcome).activity_known;
    assert!(!known(&person.sends(at(0).stress(0.5))));
    assert!(known(&person.sends(at(MINUTE).steps(0.0))));
    assert!(known(&person.sends(at(16 * MINUTE).stress(0.5))));
    assert!(!known(&person.sends(at(16 * MINUTE + MICROSECOND).stress(0.5))));
}

#[test]
fn excluded_readings_are_listed_with_their_reasons() {
    let message = at(0).unreadable("hrv").heart_rate(251.0).unsure("stress_level", 0.9, 1.5);
    let outcome = Person::new().sends(message.unsure("recovery_score", 30.0, 0.4).steps(0.0));
    let excluded = why(&outcome).excluded.iter();
    let told = excluded.map(|reading| (reading.metric.as_str(), reading.reason.as_str()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("hrv", "not_a_number"),
            ("heart_rate", "out_of_range"),
            ("stress_level", "bad_confidence"),
            ("recovery_score", "low_confidence"),
        ]
    );
    assert_eq!(brief(&outcome), "unchanged pattern");
}

#[test]
fn every_reading_tells_how_it_was_used() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    let message = at(-MINUTE).hrv(60.0).stress(0.5).recovery(101.0).late_by(15 * MINUTE);
    let uses =
        |outcome: &Outcome| why(outcome).readings.iter().map(|read| read.used).collect::<Vec<_>>();
    let outcome = person.sends(message);
    let excluded = crate::event::Exclusion::OutOfRange;
    assert_eq!(
        uses(&outcome),
        [ReadingUse::OlderThanHeld, ReadingUse::Live, ReadingUse::Excluded(excluded)]
    );
    let late = person.sends(at(MINUTE).hrv(60.0).recovery(70.0).late_by(HOUR));
    assert_eq!(uses(&late), [ReadingUse::TooOld, ReadingUse::Live]);
    let limits = why(&late).readings.iter().map(|reading| reading.live_for_seconds);
    assert_eq!(limits.collect::<Vec<_>>(), [Some(900.0), Some(129_600.0)]);
    let other = person.sends(at(-MINUTE).with("strain", 5.0));
    assert_eq!(uses(&other), [ReadingUse::Live]);
    let series = person.sends_series(night(0).hrv(60.0).point(-HOUR, "hrv", 60.0));
    assert_eq!(
        [uses(&series[0]), uses(&series[1])],
        [[ReadingUse::InsideNight], [ReadingUse::Live]]
    );
}

#[test]
fn candidates_are_listed_with_what_became_of_them() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    person.sends(at(0).stress(0.9));
    let outcome = person.sends(at(MINUTE).stress(0.9).recovery(10.0).hrv(95.0).heart_rate(95.0));
    let candidates = why(&outcome).candidates.iter();
    let told = candidates.map(|told| (told.mode, told.confidence, told.cooled, told.skipped));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (Mode::Reflex, 0.9, None, None),
            (Mode::Guardian, 0.9, Some(0.9 * 0.7), Some(Skip::StepDown)),
            (Mode::Hypothesis, 0.6, Some(0.6 * 0.7), Some(Skip::Confidence)),
        ]
    );
    let rules = why(&outcome).candidates[1].rules;
    assert!(rules.iter().eq([Rule::RecoveryLow]));
}

#[test]
fn the_selection_tells_until_when_what_holds() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    let outcome = person.sends(at(MINUTE).stress(0.95));
    let selection = &why(&outcome).selection;
    assert_eq!(
        (selection.kind.as_str(), selection.mode, selection.confidence),
        ("held", Mode::Reflex, 0.95)
    );
    assert_eq!(selection.confirmed_at, instant(0));
    assert_eq!(selection.cooldown_until, Some(instant(5 * MINUTE)));
    assert_eq!(selection.step_down_until, Some(instant(5 * MINUTE)));
    assert_eq!(selection.expires_at, Some(instant(6 * HOUR + MINUTE)));
    let outcome = person.sends(at(6 * MINUTE).stress(0.5));
    assert_eq!(brief(&outcome), "switched pattern return_to_pattern");
    let selection = &why(&outcome).selection;
    assert_eq!((selection.cooldown_until, selection.step_down_until), (None, None));
    assert_eq!(selection.expires_at, None, "pattern lasts for ever");
}

#[test]
fn an_evaluation_tells_its_mode_before_its_time_and_its_policy() {
    let mut person = Person::new();
    let outcome = person.sends(at(0).stress(0.9));
    let explanation = why(&outcome);
    assert_eq!(
        (explanation.mode_before, explanation.evaluated_at),
        (Mode::Pattern, Some(instant(0)))
    );
    assert_eq!(explanation.policy_version, Policy::default().version);
    assert_eq!((explanation.calm, explanation.calm_since), (false, None));
    let outcome = person.sends(at(2 * MINUTE).stress(0.5));
    assert_eq!((why(&outcome).calm, why(&outcome).calm_since), (true, Some(instant(0))));
}

#[test]
fn an_event_that_is_not_evaluated_says_why_and_judges_no_rule() {
    let outcome = Person::new().sends(at(0).hrv(60.0).late_by(HOUR));
    let explanation = why(&outcome);
    assert_eq!(explanation.selection.reason.map(|reason| reason.as_str()), Some("backfill"));
    let judged = |explanation: &Explanation| {
        let fired = |rule: &RuleReport| rule.status == RuleStatus::Fired || rule.margin.is_some();
        explanation.rules.iter().any(fired)
    };
    assert_eq!((explanation.rules.len(), judged(explanation)), (12, false));
    assert_eq!((explanation.candidates.len(), explanation.evaluated_at), (0, None));
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    let duplicate = person.sends(at(0).stress(0.9));
    assert_eq!((why(&duplicate).rules.len(), judged(why(&duplicate))), (12, false));
    assert_eq!(why(&duplicate).selection.kind.as_str(), "duplicate");
    assert_eq!(why(&duplicate).evaluated_at, Some(instant(0)));
}

#[test]
fn an_explanation_has_the_fields_of_the_specification() {
    let outcome = known().sends(at(0).stress(0.9).steps(60.0));
    let data = serde_json::to_value(why(&outcome)).unwrap();
    for pointer in [
        "/policy_version",
        "/evaluated_at",
        "/mode_before",
        "/view/overnight_hrv/baseline/samples_needed",
        "/view/hrv/status",
        "/view/heart_rate/age_seconds",
        "/view/stress/value",
        "/view/recovery/device_id",
        "/derived/drop",
        "/derived/drop_pct",
        "/derived/elevation",
        "/derived/overnight_drop",
        "/derived/overnight_drop_pct",
        "/derived/stress/origin",
        "/gate/from",
        "/gate/until",
        "/activity_known",
        "/rules/11/margin",
        "/candidates/0/skipped",
        "/calm",
        "/calm_since",
        "/borderline",
        "/excluded",
        "/selection/reason",
    ] {
        assert!(data.pointer(pointer).is_some(), "{pointer}");
    }
    assert_eq!(data["view"]["hrv"]["status"], "gated");
    assert_eq!(data["rules"][3]["id"], "stress_critical");
    assert_eq!(data["rules"][3]["status"], "fired");
    assert_eq!(data["candidates"][0]["rules"][0], "stress_critical");
    assert_eq!(data["derived"]["stress"]["origin"], "reported");
    assert_eq!(data["evaluated_at"], "2025-03-03T08:00:00.000000Z");
}
