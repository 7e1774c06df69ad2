//! When an evaluation is calm, and how calm leads back to pattern.

use super::*;

/// Whether an evaluation is calm for a person used to `usual`, in mode pattern, who has sent
/// nothing else.
fn calm(usual: &[(&str, f64)], message: Message) -> bool {
    let mut person = if usual.is_empty() { Person::new() } else { Person::used_to(usual) };
    why(&person.sends(message)).calm
}

/// Enters guardian by low recovery at the start.
fn in_guardian() -> Person {
    let mut person = Person::new();
    person.sends(at(0).recovery(30.0));
    person
}

/// Enters reflex by stress at the start.
fn in_reflex() -> Person {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    person
}

const RETURNED: &str = "switched pattern return_to_pattern";

#[test]
fn each_indicator_is_normal_up_to_its_threshold() {
    for (usual, message, beyond) in [
        (&[][..], at(0).heart_rate(90.0), at(0).heart_rate(90.0_f64.next_up())),
        (&[], at(0).stress(0.6), at(0).stress(0.6_f64.next_up())),
        (&[], at(0).recovery(60.0), at(0).recovery(60.0_f64.next_down())),
        (&[("hrv", 100.0)], at(0).hrv(85.0), at(0).hrv(85.0_f64.next_down())),
        (&[("hrv", 60.0)], at(0).hrv(48.0), at(0).hrv(48.0_f64.next_down())),
    ] {
        assert!(calm(usual, message.clone()), "{:?}", message.readings);
        assert!(!calm(usual, beyond.clone()), "{:?}", beyond.readings);
    }
}

#[test]
fn an_overnight_hrv_is_normal_up_to_15_ms_and_20_percent() {
    for (usual, hrv) in [(100.0, 85.0_f64), (60.0, 48.0)] {
        let is_calm = |hrv| why(&Person::sleeping_with_hrv(usual).sends(night(0).hrv(hrv))).calm;
        assert!(is_calm(hrv) && !is_calm(hrv.next_down()));
    }
}

#[test]
fn derived_stress_is_judged_like_reported_stress() {
    // Derived stress is 0.6; with heart rate normal, half of what is known would not do.
    let person = || Person::used_to(&[("heart_rate", 40.0)]);
    assert!(why(&person().sends(at(0).heart_rate(90.0))).calm);
    let mut person = person();
    person.policy.return_to_pattern.stress = 0.6_f64.next_down();
    assert!(!why(&person.sends(at(0).heart_rate(90.0))).calm);
}

#[test]
fn a_heart_rate_is_known_without_a_baseline_and_an_hrv_is_not() {
    let normal = |outcome: &Outcome| {
        let view = &why(outcome).view;
        [view.hrv.normal, view.heart_rate.normal, view.overnight_hrv.normal, view.stress.normal]
    };
    let outcome = Person::new().sends(at(0).hrv(60.0).heart_rate(60.0));
    assert_eq!(normal(&outcome), [None, Some(true), None, None]);
    let outcome = Person::new().sends(night(0).hrv(60.0));
    assert_eq!(normal(&outcome), [None; 4]);
}

#[test]
fn an_evaluation_of_which_nothing_is_known_is_calm_when_nothing_was_on_entry() {
    assert!(calm(&[], at(0).with("strain", 5.0)));
    assert!(!why(&in_guardian().sends(at(37 * HOUR).with("strain", 5.0))).calm);
}

#[test]
fn an_evaluation_with_another_candidate_is_not_calm() {
    let mut person = Person::new();
    let outcome = person.sends(at(0).hrv(19.0).heart_rate(49.0).stress(0.1).recovery(90.0));
    assert!(!why(&outcome).calm);
}

#[test]
fn four_of_five_known_indicators_suffice_and_three_of_four_do_not() {
    for (recovery, expected) in [(true, true), (false, false)] {
        let mut person = Person::sleeping_with_hrv(60.0);
        person.repeats(21, &[("hrv", 60.0), ("heart_rate", 60.0)], -MINUTE);
        person.sends(night(0).hrv(60.0));
        let message = at(0).stress(0.65);
        let message = if recovery { message.recovery(80.0) } else { message };
        assert_eq!(why(&person.sends(message)).calm, expected);
    }
}

#[test]
fn every_entry_indicator_must_be_normal_whatever_the_share() {
    let mut person = Person::sleeping_with_hrv(60.0);
    person.repeats(21, &[("hrv", 60.0), ("heart_rate", 60.0)], -MINUTE);
    person.sends(night(0).hrv(60.0).recovery(80.0));
    person.sends(at(0).stress(0.9));
    assert!(!why(&person.sends(at(MINUTE).stress(0.65))).calm, "4 of 5, but not stress");
    let outcome = person.sends(at(2 * MINUTE).stress(0.5).heart_rate(95.0));
    assert!(why(&outcome).calm, "4 of 5, stress among them");
}

#[test]
fn the_mode_returns_to_pattern_after_exactly_300_s_of_calm() {
    let mut person = in_guardian();
    let calm = |time| at(time).recovery(80.0);
    assert_eq!(brief(&person.sends(calm(SECOND))), "unchanged guardian");
    assert_eq!(brief(&person.sends(calm(5 * MINUTE - MICROSECOND))), "unchanged guardian");
    let outcome = person.sends(calm(5 * MINUTE));
    assert_eq!((brief(&outcome).as_str(), fired(&outcome).as_str()), (RETURNED, ""));
    assert_eq!((outcome.previous_mode, outcome.confidence), (Mode::Guardian, 0.8));
    let state = person.state();
    assert_eq!((state.last_switch, state.seq), (Some(instant(5 * MINUTE)), 2));
    assert_eq!([state.mode_since, state.last_confirmed, state.disturbed], [instant(5 * MINUTE); 3]);
    assert!(state.entry_indicators.iter().next().is_none());
}

#[test]
fn calm_counts_from_the_entry_into_the_mode() {
    let mut person = in_guardian();
    assert_eq!(brief(&person.sends(at(5 * MINUTE).recovery(80.0))), RETURNED);
}

#[test]
fn in_mode_pattern_there_is_no_return() {
    let mut person = Person::new();
    assert_eq!(
        brief(&person.sends_all([at(0).stress(0.1), at(HOUR).stress(0.1)])),
        "unchanged pattern"
    );
    assert!(why(&person.sends(at(2 * HOUR).stress(0.1))).candidates.is_empty());
}

#[test]
fn what_is_not_normal_begins_the_wait_anew() {
    let mut person = in_guardian();
    person.sends_all([at(MINUTE).recovery(80.0), at(2 * MINUTE).recovery(59.0)]);
    assert_eq!(person.state().disturbed, instant(2 * MINUTE));
    let calm = |time| at(time).recovery(80.0);
    assert_eq!(brief(&person.sends(calm(7 * MINUTE - MICROSECOND))), "unchanged guardian");
    assert_eq!(brief(&person.sends(calm(7 * MINUTE))), RETURNED);
}

#[test]
fn a_hold_begins_the_wait_anew() {
    let mut person = in_guardian();
    person.sends_all([at(2 * MINUTE).recovery(30.0), at(3 * MINUTE).recovery(80.0)]);
    assert_eq!(
        brief(&person.sends(at(7 * MINUTE - MICROSECOND).recovery(80.0))),
        "unchanged guardian"
    );
    assert_eq!(brief(&person.sends(at(7 * MINUTE).recovery(80.0))), RETURNED);
}

#[test]
fn an_entry_indicator_that_is_no_longer_known_breaks_calm() {
    let mut person = in_reflex();
    person.sends(at(SECOND).stress(0.5));
    let stale = 15 * MINUTE + 2 * SECOND;
    assert_eq!(brief(&person.sends(at(stale).heart_rate(60.0))), "unchanged reflex");
    assert_eq!(person.state().disturbed, instant(stale));
    assert_eq!(brief(&person.sends(at(stale + MINUTE).stress(0.5))), "unchanged reflex");
    assert_eq!(brief(&person.sends(at(stale + 5 * MINUTE).stress(0.5))), RETURNED);
}

#[test]
fn a_gated_entry_indicator_breaks_calm() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    person.sends_all([at(0).hrv(60.0), at(MINUTE).hrv(100.0)]);
    assert!(why(&person.sends(at(2 * MINUTE).hrv(100.0))).calm);
    assert!(!why(&person.sends(at(3 * MINUTE).hrv(100.0).steps(60.0))).calm);
}

#[test]
fn an_event_that_is_not_evaluated_does_not_break_calm() {
    let mut person = in_guardian();
    person.sends(at(MINUTE).recovery(80.0));
    person.sends_all([
        at(2 * MINUTE).heart_rate(150.0).late_by(HOUR),
        at(2 * MINUTE).unreadable("hrv"),
    ]);
    assert_eq!(brief(&person.sends(at(5 * MINUTE).recovery(80.0))), RETURNED);
}

#[test]
fn a_return_is_not_held_back_as_a_step_down_but_cooled() {
    let mut person = in_reflex();
    person.policy.return_to_pattern.after_calm = crate::time::Micros(MINUTE);
    let outcome = person.sends(at(MINUTE).stress(0.5));
    assert_eq!((brief(&outcome).as_str(), outcome.confidence), (RETURNED, 0.8 * 0.7));
}

#[test]
fn a_return_goes_before_an_expiry() {
    let mut person = in_reflex();
    assert_eq!(brief(&person.sends(at(7 * HOUR).stress(0.5))), RETURNED);
}

#[test]
fn a_return_starts_a_cooldown() {
    let mut person = in_guardian();
    person.sends(at(5 * MINUTE).recovery(80.0));
    let outcome = person.sends(at(6 * MINUTE).recovery(30.0));
    assert_eq!(brief(&outcome), "suppressed pattern recovery_low");
    let outcome = person.sends(at(10 * MINUTE).with("strain", 5.0));
    assert_eq!(brief(&outcome), "switched guardian recovery_low");
}
