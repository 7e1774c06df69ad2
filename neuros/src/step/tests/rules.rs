//! The rules, on both sides of each of their thresholds.

use super::*;

/// What fires when a person used to `usual` sends `message`.
fn fires(usual: &[(&str, f64)], message: Message) -> String {
    fired(&Person::used_to(usual).sends(message))
}

/// What fires when `message` is the first that a person sends.
fn fires_at_once(message: Message) -> String {
    fired(&Person::new().sends(message))
}

/// What fires on a night after four nights with an HRV of `usual`.
fn fires_after_nights(usual: f64, hrv: f64) -> String {
    fired(&Person::sleeping_with_hrv(usual).sends(night(0).hrv(hrv)))
}

/// What fires when `heart_rate` has lasted for a minute, with steps known.
fn fires_after_a_minute(usual: f64, heart_rate: f64) -> String {
    let mut person = Person::used_to(&[("heart_rate", usual)]);
    // Too close to the usual readings to be added to the baseline.
    let first = -MICROSECOND;
    person.sends(at(first).steps(0.0).heart_rate(heart_rate));
    fired(&person.sends(at(first + MINUTE).heart_rate(heart_rate)))
}

#[test]
fn an_hrv_drop_fires_only_beyond_25_ms() {
    assert_eq!(fires(&[("hrv", 100.0)], at(0).hrv(75.0)), "");
    assert_eq!(fires(&[("hrv", 100.0)], at(0).hrv(75.0_f64.next_down())), "hrv_drop_ms");
}

#[test]
fn an_hrv_drop_fires_only_beyond_30_percent() {
    assert_eq!(fires(&[("hrv", 50.0)], at(0).hrv(35.0)), "");
    assert_eq!(fires(&[("hrv", 50.0)], at(0).hrv(35.0_f64.next_down())), "hrv_drop_percentage");
}

#[test]
fn an_hrv_above_its_baseline_is_no_drop() {
    let outcome = Person::used_to(&[("hrv", 50.0)]).sends(at(0).hrv(60.0));
    let derived = &why(&outcome).derived;
    assert_eq!((derived.drop, derived.drop_pct), (Some(0.0), Some(0.0)));
}

#[test]
fn a_heart_rate_is_elevated_only_beyond_100() {
    assert_eq!(fires_after_a_minute(90.0, 100.0), "");
    assert_eq!(fires_after_a_minute(90.0, 100.0_f64.next_up()), "heart_rate_elevated");
}

#[test]
fn an_elevated_heart_rate_needs_no_baseline() {
    let mut person = Person::new();
    let outcome =
        person.sends_all([at(0).steps(0.0).heart_rate(101.0), at(MINUTE).heart_rate(101.0)]);
    assert_eq!(fired(&outcome), "heart_rate_elevated");
}

#[test]
fn a_heart_rate_is_extreme_only_beyond_40_above_its_baseline() {
    assert_eq!(fires_after_a_minute(50.0, 90.0), "");
    assert_eq!(fires_after_a_minute(50.0, 90.0_f64.next_up()), "heart_rate_extreme");
}

#[test]
fn a_heart_rate_is_not_extreme_without_a_baseline() {
    let mut person = Person::new();
    person.repeats(19, &[("heart_rate", 50.0)], -MINUTE);
    let minute = [at(0).steps(0.0).heart_rate(99.0), at(MINUTE).heart_rate(99.0)];
    assert_eq!(fired(&person.sends_all(minute)), "");
}

#[test]
fn stress_is_critical_only_beyond_085() {
    assert_eq!(fires_at_once(at(0).stress(0.85)), "");
    assert_eq!(fires_at_once(at(0).stress(0.85_f64.next_up())), "stress_critical");
}

#[test]
fn derived_stress_is_critical_too() {
    // By 60 % HRV alone derived stress is 0.8; 5 beats more make it 0.812, and 30 make it 0.872.
    let usual = [("hrv", 20.0), ("heart_rate", 60.0)];
    assert_eq!(fires(&usual, at(0).hrv(8.0).heart_rate(65.0)), "hrv_drop_percentage");
    let outcome = fires(&usual, at(0).hrv(8.0).heart_rate(90.0));
    assert_eq!(outcome, "hrv_drop_percentage stress_critical depletion");
}

#[test]
fn reported_stress_goes_before_derived_stress() {
    let usual = [("hrv", 20.0), ("heart_rate", 60.0)];
    let message = at(0).hrv(8.0).heart_rate(70.0).stress(0.1);
    assert_eq!(fires(&usual, message), "hrv_drop_percentage");
}

#[test]
fn recovery_is_low_only_below_40() {
    assert_eq!(fires_at_once(at(0).recovery(40.0)), "");
    assert_eq!(fires_at_once(at(0).recovery(40.0_f64.next_down())), "recovery_low");
}

#[test]
fn an_overnight_hrv_is_low_only_beyond_25_ms_or_30_percent() {
    assert_eq!(fires_after_nights(100.0, 75.0), "");
    assert_eq!(fires_after_nights(100.0, 75.0_f64.next_down()), "overnight_hrv_low");
    assert_eq!(fires_after_nights(50.0, 35.0), "");
    assert_eq!(fires_after_nights(50.0, 35.0_f64.next_down()), "overnight_hrv_low");
}

#[test]
fn an_overnight_hrv_is_no_momentary_hrv() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    let outcome = person.sends(night(0).hrv(20.0).heart_rate(30.0));
    assert_eq!(fired(&outcome), "");
    assert_eq!(why(&outcome).view.hrv.value, Some(100.0));
}

/// HRV 27 is 8 ms or 23 % below 35, heart rate 81 is 11 above 70.
const BEFORE_DEPLETION: [(&str, f64); 2] = [("hrv", 35.0), ("heart_rate", 70.0)];

#[test]
fn any_two_signs_or_all_three_make_a_depletion() {
    let (low, high) = (|to: Message| to.hrv(27.0), |to: Message| to.heart_rate(81.0));
    let stressed = |to: Message| to.stress(0.75);
    let now = || at(0);
    for one in [low(now()), high(now()), stressed(now())] {
        assert_eq!(fires(&BEFORE_DEPLETION, one), "");
    }
    let two = [low(high(now())), low(stressed(now())), high(stressed(now()))];
    for several in two.into_iter().chain([low(high(stressed(now())))]) {
        assert_eq!(fires(&BEFORE_DEPLETION, several), "depletion");
    }
}

#[test]
fn each_sign_of_depletion_holds_only_beyond_its_thresholds() {
    let cases = [
        ("hrv below 30", 40.0, 70.0, at(0).stress(0.75), "hrv", 30.0, 30.0_f64.next_down()),
        ("hrv down 20 %", 35.0, 70.0, at(0).stress(0.75), "hrv", 28.0, 28.0_f64.next_down()),
        ("above 80", 60.0, 60.0, at(0).stress(0.75), "heart_rate", 80.0, 80.0_f64.next_up()),
        ("10 higher", 60.0, 72.0, at(0).stress(0.75), "heart_rate", 82.0, 82.0_f64.next_up()),
        ("stress 0.7", 35.0, 70.0, at(0).hrv(27.0), "stress_level", 0.7, 0.7_f64.next_up()),
    ];
    for (sign, hrv, heart_rate, other, metric, outside, inside) in cases {
        let usual = [("hrv", hrv), ("heart_rate", heart_rate)];
        assert_eq!(fires(&usual, other.clone().with(metric, outside)), "", "{sign}");
        assert_eq!(fires(&usual, other.with(metric, inside)), "depletion", "{sign}");
    }
}

#[test]
fn derived_stress_is_no_sign_of_depletion() {
    let usual = [("hrv", 100.0), ("heart_rate", 40.0)];
    let outcome = Person::used_to(&usual).sends(at(0).hrv(70.0).heart_rate(90.0));
    assert_eq!(why(&outcome).derived.stress.map(|stress| stress.value), Some(0.76));
    assert_eq!(fired(&outcome), "hrv_drop_ms");
}

#[test]
fn high_hrv_with_high_heart_rate_fires_only_beyond_both_thresholds() {
    let (usual, rule) = ([("hrv", 60.0)], "high_hrv_high_hr");
    let (high, fast) = (90.0_f64, 90.0_f64);
    assert_eq!(fires(&usual, at(0).hrv(high.next_up()).heart_rate(fast.next_up())), rule);
    assert_eq!(fires(&usual, at(0).hrv(high).heart_rate(fast.next_up())), "");
    assert_eq!(fires(&usual, at(0).hrv(high.next_up()).heart_rate(fast)), "");
}

#[test]
fn no_hrv_is_high_without_a_baseline() {
    assert_eq!(fires_at_once(at(0).hrv(300.0).heart_rate(99.0)), "");
}

#[test]
fn low_hrv_with_low_heart_rate_fires_only_below_both_thresholds() {
    let (low, slow) = (20.0_f64, 50.0_f64);
    let both = at(0).hrv(low.next_down()).heart_rate(slow.next_down());
    assert_eq!(fires_at_once(both), "low_hrv_low_hr");
    assert_eq!(fires_at_once(at(0).hrv(low).heart_rate(slow.next_down())), "");
    assert_eq!(fires_at_once(at(0).hrv(low.next_down()).heart_rate(slow)), "");
}

#[test]
fn fired_rules_are_listed_in_the_order_of_the_table() {
    let mut person = Person::sleeping_with_hrv(60.0);
    person.repeats(20, &[("hrv", 60.0), ("heart_rate", 60.0)], -MINUTE);
    person.sends(night(0).recovery(30.0).hrv(20.0));
    person.sends(at(0).steps(0.0).heart_rate(110.0));
    let outcome = person.sends(at(MINUTE).heart_rate(110.0).hrv(20.0).stress(0.9));
    assert_eq!(
        fired(&outcome),
        "hrv_drop_ms hrv_drop_percentage heart_rate_elevated stress_critical heart_rate_extreme \
         recovery_low overnight_hrv_low depletion"
    );
    assert_eq!(brief(&outcome), "switched reflex hrv_drop_ms");
}
