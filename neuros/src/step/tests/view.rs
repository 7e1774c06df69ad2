//! What the rules can see: how long readings are fresh, and what follows from them.

use super::*;
use crate::explain::{Status, StressOrigin};
use crate::state::Indicator;

fn status(outcome: &Outcome, indicator: Indicator) -> Status {
    let view = &why(outcome).view;
    match indicator {
        Indicator::Hrv => view.hrv.status,
        Indicator::HeartRate => view.heart_rate.status,
        Indicator::Stress => view.stress.status,
        Indicator::Recovery => view.recovery.status,
        Indicator::OvernightHrv => view.overnight_hrv.status,
    }
}

#[test]
fn each_indicator_is_fresh_for_exactly_its_time() {
    for (message, indicator, fresh_for) in [
        (at(0).hrv(60.0), Indicator::Hrv, 15 * MINUTE),
        (at(0).heart_rate(60.0), Indicator::HeartRate, 15 * MINUTE),
        (at(0).stress(0.5), Indicator::Stress, 15 * MINUTE),
        (at(0).recovery(70.0), Indicator::Recovery, 36 * HOUR),
        (night(0).hrv(60.0), Indicator::OvernightHrv, 36 * HOUR),
    ] {
        let mut person = Person::new();
        person.sends(message);
        let [fresh, stale] = [fresh_for, fresh_for + MICROSECOND]
            .map(|time| status(&person.sends(at(time).with("strain", 5.0)), indicator));
        assert!(matches!(fresh, Status::Ok | Status::Calibrating), "{indicator:?}");
        assert_eq!(stale, Status::Stale, "{indicator:?}");
    }
}

#[test]
fn what_was_never_seen_is_missing() {
    let outcome = Person::new().sends(at(0).with("strain", 5.0));
    assert!(Indicator::ALL.iter().all(|&indicator| status(&outcome, indicator) == Status::Missing));
}

#[test]
fn a_stale_reading_fires_nothing() {
    let mut person = Person::new();
    assert_eq!(
        fired(&person.sends(at(0).recovery(30.0).stress(0.9))),
        "stress_critical recovery_low"
    );
    let strain = |time| at(time).with("strain", 5.0);
    let fresh = 15 * MINUTE;
    assert_eq!(fired(&person.sends(strain(fresh))), "stress_critical recovery_low");
    assert_eq!(fired(&person.sends(strain(fresh + MICROSECOND))), "recovery_low");
    assert_eq!(fired(&person.sends(strain(36 * HOUR))), "recovery_low");
    assert_eq!(fired(&person.sends(strain(36 * HOUR + MICROSECOND))), "");
}

#[test]
fn a_reading_that_came_late_grows_stale_by_its_own_time() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9).late_by(14 * MINUTE));
    assert_eq!(fired(&person.sends(at(15 * MINUTE).hrv(60.0))), "stress_critical");
    assert_eq!(fired(&person.sends(at(16 * MINUTE).hrv(60.0))), "");
}

#[test]
fn stress_is_derived_when_none_is_reported_freshly() {
    let mut person = Person::used_to(&[("hrv", 50.0), ("heart_rate", 60.0)]);
    let derived =
        |outcome: &Outcome| why(outcome).derived.stress.map(|found| (found.value, found.origin));
    let both = 1.0 - (1.0 - 0.8 * (20.0 / 60.0)) * (1.0 - 0.6 * (25.0 / 50.0));
    for (message, expected) in [
        (at(0).stress(0.1).hrv(40.0), (0.1, StressOrigin::Reported)),
        (at(15 * MINUTE).hrv(40.0), (0.1, StressOrigin::Reported)),
    ] {
        assert_eq!(derived(&person.sends(message)), Some(expected));
    }
    let mut person = Person::used_to(&[("hrv", 50.0), ("heart_rate", 60.0)]);
    let outcome = person.sends(at(0).hrv(40.0).heart_rate(85.0));
    assert_eq!(derived(&outcome), Some((both, StressOrigin::Derived)));
}

#[test]
fn a_missing_term_of_derived_stress_counts_as_nothing() {
    let derived = |usual: &[(&str, f64)], message| {
        let outcome = Person::used_to(usual).sends(message);
        why(&outcome).derived.stress.map(|stress| stress.value)
    };
    let of = |by_hrv: f64, by_heart_rate: f64| Some(1.0 - (1.0 - by_hrv) * (1.0 - by_heart_rate));
    assert_eq!(derived(&[("hrv", 50.0)], at(0).hrv(35.0)), of(0.8 * 0.5, 0.0));
    assert_eq!(derived(&[("hrv", 50.0)], at(0).hrv(5.0)), of(0.8, 0.0), "at most");
    assert_eq!(derived(&[("heart_rate", 60.0)], at(0).heart_rate(85.0)), of(0.0, 0.6 * 0.5));
    assert_eq!(derived(&[("heart_rate", 60.0)], at(0).heart_rate(125.0)), of(0.0, 0.6), "at most");
    assert_eq!(derived(&[("strain", 5.0)], at(0).hrv(5.0).heart_rate(125.0)), None);
}

#[test]
fn an_elevation_or_a_drop_is_never_negative() {
    let mut person = Person::used_to(&[("hrv", 50.0), ("heart_rate", 60.0)]);
    let outcome = person.sends(at(0).hrv(80.0).heart_rate(50.0));
    let derived = &why(&outcome).derived;
    assert_eq!([derived.drop, derived.drop_pct, derived.elevation], [Some(0.0); 3]);
    assert_eq!(derived.stress.map(|stress| stress.value), Some(0.0));
}

#[test]
fn without_a_calibrated_baseline_a_value_is_seen_and_nothing_follows_from_it() {
    let outcome = Person::new().sends(at(0).hrv(19.0).heart_rate(49.0));
    assert_eq!(status(&outcome, Indicator::Hrv), Status::Calibrating);
    let derived = &why(&outcome).derived;
    assert_eq!([derived.drop, derived.drop_pct, derived.elevation], [None; 3]);
    assert_eq!(fired(&outcome), "low_hrv_low_hr");
}
