//! How sure each candidate is, and when an evaluation is borderline.

use super::*;

/// A heart rate that is extreme for a person used to 50 and adds no part to reflex's confidence.
/// Both readings come too early to change the baseline.
fn extreme(person: &mut Person, message: Message) -> Outcome {
    person.sends(at(-MICROSECOND).steps(0.0).heart_rate(91.0));
    person.sends(Message { time: MINUTE - MICROSECOND, ..message }.heart_rate(91.0))
}

/// The confidence of reflex when heart rate is extreme and `message` says the rest.
fn reflex_beside_extreme(usual_hrv: f64, message: Message) -> Option<f64> {
    let mut person = Person::used_to(&[("heart_rate", 50.0), ("hrv", usual_hrv)]);
    proposed(&extreme(&mut person, message), Mode::Reflex)
}

/// The confidence of `mode` when a person used to `usual` sends `message`.
fn sure(mode: Mode, usual: &[(&str, f64)], message: Message) -> Option<f64> {
    proposed(&Person::used_to(usual).sends(message), mode)
}

#[test]
fn reflex_without_any_part_has_confidence_05() {
    assert_eq!(reflex_beside_extreme(60.0, at(MINUTE).hrv(60.0)), Some(0.5));
}

#[test]
fn a_drop_adds_to_reflex_beyond_20_ms() {
    let low = 80.0_f64.next_down();
    assert_eq!(reflex_beside_extreme(100.0, at(MINUTE).hrv(80.0)), Some(0.5));
    assert_eq!(reflex_beside_extreme(100.0, at(MINUTE).hrv(low)), Some((100.0 - low) / 30.0));
}

#[test]
fn a_drop_adds_to_reflex_beyond_30_percent() {
    let low = 42.0_f64.next_down();
    assert_eq!(reflex_beside_extreme(60.0, at(MINUTE).hrv(42.0)), Some(0.5));
    assert_eq!(reflex_beside_extreme(60.0, at(MINUTE).hrv(low)), Some((60.0 - low) / 30.0));
}

#[test]
fn a_drop_of_30_ms_makes_reflex_certain_and_more_does_not_exceed_it() {
    for (hrv, confidence) in [(74.0, 26.0 / 30.0), (70.0, 1.0), (40.0, 1.0)] {
        assert_eq!(sure(Mode::Reflex, &[("hrv", 100.0)], at(0).hrv(hrv)), Some(confidence));
    }
}

#[test]
fn a_small_drop_in_ms_leaves_reflex_at_05() {
    assert_eq!(sure(Mode::Reflex, &[("hrv", 20.0)], at(0).hrv(13.0)), Some(0.5));
}

#[test]
fn an_elevated_heart_rate_adds_a_thirtieth_a_beat_above_90() {
    for (beats, confidence) in
        [(101.0, 0.5), (105.0, 0.5), (111.0, 0.7), (120.0, 1.0), (150.0, 1.0)]
    {
        let mut person = Person::new();
        let minute = [at(0).steps(0.0).heart_rate(beats), at(MINUTE).heart_rate(beats)];
        assert_eq!(proposed(&person.sends_all(minute), Mode::Reflex), Some(confidence), "{beats}");
    }
}

#[test]
fn a_heart_rate_that_is_not_sustained_adds_nothing() {
    let outcome = Person::new().sends(at(0).heart_rate(150.0).stress(0.9));
    assert_eq!(proposed(&outcome, Mode::Reflex), Some(0.9));
}

#[test]
fn stress_adds_itself_to_reflex_beyond_07() {
    assert_eq!(reflex_beside_extreme(60.0, at(MINUTE).stress(0.7)), Some(0.5));
    let above = 0.7_f64.next_up();
    assert_eq!(reflex_beside_extreme(60.0, at(MINUTE).stress(above)), Some(above));
}

#[test]
fn derived_stress_adds_itself_to_reflex_too() {
    let usual = [("hrv", 20.0), ("heart_rate", 40.0)];
    let outcome = Person::used_to(&usual).sends(at(0).hrv(13.0).heart_rate(90.0));
    let derived = why(&outcome).derived.stress.map(|stress| stress.value);
    assert_eq!(derived, Some(1.0 - (1.0 - 0.8 * (35.0 / 60.0)) * (1.0 - 0.6)));
    assert_eq!(proposed(&outcome, Mode::Reflex), derived);
}

#[test]
fn reflex_takes_the_largest_of_its_parts() {
    for (stress, beats, hrv, confidence) in
        [(0.9, 111.0, 75.0, 0.9), (0.9, 119.0, 75.0, 29.0 / 30.0), (0.9, 111.0, 71.0, 29.0 / 30.0)]
    {
        let mut person = Person::used_to(&[("hrv", 100.0)]);
        person.sends(at(0).steps(0.0).heart_rate(beats));
        let outcome = person.sends(at(MINUTE).heart_rate(beats).hrv(hrv).stress(stress));
        assert_eq!(proposed(&outcome, Mode::Reflex), Some(confidence));
    }
}

#[test]
fn low_recovery_is_as_sure_as_recovery_lacks_to_100() {
    for (recovery, confidence) in [(0.0, 1.0), (25.0, 0.75), (30.0, 0.7)] {
        let outcome = Person::new().sends(at(0).recovery(recovery));
        assert_eq!(proposed(&outcome, Mode::Guardian), Some(confidence));
    }
}

#[test]
fn a_low_overnight_hrv_is_as_sure_as_a_thirtieth_a_ms_between_05_and_1() {
    for (usual, hrv, confidence) in
        [(30.0, 20.0, 0.5), (60.0, 41.0, 19.0 / 30.0), (100.0, 70.0, 1.0), (100.0, 50.0, 1.0)]
    {
        let outcome = Person::sleeping_with_hrv(usual).sends(night(0).hrv(hrv));
        assert_eq!(proposed(&outcome, Mode::Guardian), Some(confidence));
    }
}

/// HRV 27 and heart rate 81 are two signs of depletion.
const BEFORE_DEPLETION: [(&str, f64); 2] = [("hrv", 35.0), ("heart_rate", 70.0)];

#[test]
fn depletion_grows_with_its_signs_and_with_reported_stress() {
    let two = || at(0).hrv(27.0).heart_rate(81.0);
    for (message, confidence) in [
        (two(), 0.5),
        (two().stress(0.7), 0.5),
        (at(0).hrv(27.0).stress(0.85), 0.5 + 0.2 * (0.85 - 0.7) / 0.3),
        (two().stress(0.8), 0.7 + 0.2 * (0.8 - 0.7) / 0.3),
        (two().stress(1.0), 0.9),
    ] {
        assert_eq!(sure(Mode::Guardian, &BEFORE_DEPLETION, message), Some(confidence));
    }
}

#[test]
fn derived_stress_adds_nothing_to_depletion() {
    let usual = [("hrv", 20.0), ("heart_rate", 60.0)];
    assert_eq!(sure(Mode::Guardian, &usual, at(0).hrv(8.0).heart_rate(110.0)), Some(0.5));
}

#[test]
fn depletion_is_never_surer_than_its_greatest_confidence() {
    let mut person = Person::used_to(&BEFORE_DEPLETION);
    person.policy.guardian.max = 0.75;
    let outcome = person.sends(at(0).hrv(27.0).heart_rate(81.0).stress(0.84));
    assert_eq!(proposed(&outcome, Mode::Guardian), Some(0.75));
}

#[test]
fn guardian_takes_the_largest_of_its_parts_that_fired() {
    let confidence = |recovery, overnight_hrv, hrv| {
        let mut person = Person::sleeping_with_hrv(100.0);
        person.repeats(20, &[("hrv", 35.0)], -MINUTE);
        let night_hrv = night(0).hrv(overnight_hrv).recovery(recovery);
        person.sends(night_hrv);
        proposed(&person.sends(at(0).hrv(hrv).stress(0.8)), Mode::Guardian)
    };
    let depletion = 0.5 + 0.2 * (0.8 - 0.7) / 0.3;
    assert_eq!(confidence(30.0, 74.0, 27.0), Some(26.0 / 30.0));
    assert_eq!(confidence(5.0, 74.0, 27.0), Some(0.95));
    assert_eq!(confidence(41.0, 90.0, 27.0), Some(depletion), "a recovery of 41 did not fire");
    assert_eq!(confidence(39.0, 76.0, 35.0), Some(0.61), "a drop of 24 ms did not fire");
    assert_eq!(confidence(40.0, 74.0, 35.0), Some(26.0 / 30.0), "a recovery of 40 did not fire");
}

#[test]
fn hypothesis_has_confidence_06() {
    let outcome = Person::new().sends(at(0).hrv(19.0).heart_rate(49.0));
    assert_eq!(proposed(&outcome, Mode::Hypothesis), Some(0.6));
    let high = sure(Mode::Hypothesis, &[("hrv", 60.0)], at(0).hrv(91.0).heart_rate(91.0));
    assert_eq!(high, Some(0.6));
}

#[test]
fn two_of_three_close_indicators_are_borderline() {
    let borderline = |message| Person::used_to(&[("hrv", 100.0)]).sends(message).borderline;
    let [drop, beats, stress] = [77.5_f64.next_down(), 90.0_f64.next_up(), 0.765_f64.next_up()];
    for (message, expected) in [
        (at(0).hrv(drop), false),
        (at(0).heart_rate(beats), false),
        (at(0).stress(stress), false),
        (at(0).hrv(drop).heart_rate(beats), true),
        (at(0).hrv(drop).stress(stress), true),
        (at(0).heart_rate(beats).stress(stress), true),
        (at(0).hrv(drop).heart_rate(beats).stress(stress), true),
        (at(0).hrv(77.5).heart_rate(beats), false),
        (at(0).hrv(drop).heart_rate(90.0), false),
        (at(0).heart_rate(beats).stress(0.765), false),
    ] {
        assert_eq!(borderline(message.clone()), expected, "{:?}", message.readings);
    }
}

#[test]
fn derived_stress_counts_for_borderline() {
    let usual = [("hrv", 60.0), ("heart_rate", 41.0)];
    let outcome = Person::used_to(&usual).sends(at(0).hrv(42.0).heart_rate(91.0));
    assert_eq!(why(&outcome).derived.stress.map(|stress| stress.value), Some(0.76));
    assert!(!outcome.borderline);
    let usual = [("hrv", 20.0), ("heart_rate", 60.0)];
    let outcome = Person::used_to(&usual).sends(at(0).hrv(14.0).heart_rate(110.0));
    assert!(!outcome.borderline, "0.76 again");
    let mut person = Person::used_to(&usual);
    person.policy.reflex.drop_pct = 50.0;
    assert!(person.sends(at(0).hrv(13.0).heart_rate(110.0)).borderline, "0.787");
}

#[test]
fn nothing_is_borderline_when_a_rule_of_reflex_fired() {
    let outcome = Person::new().sends(at(0).heart_rate(95.0).stress(0.9));
    assert!(!outcome.borderline);
    assert!(Person::new().sends(at(0).heart_rate(95.0).stress(0.85)).borderline);
}

#[test]
fn a_fired_rule_of_guardian_does_not_keep_an_evaluation_from_being_borderline() {
    let outcome = Person::new().sends(at(0).heart_rate(95.0).stress(0.8).recovery(10.0));
    assert_eq!(
        (brief(&outcome).as_str(), outcome.borderline),
        ("switched guardian recovery_low", true)
    );
}
