//! What explanations say of each rule: how it was judged, and how far it was from firing.

use super::*;

/// Status, value, threshold and margin of `rule`.
type Judged = (RuleStatus, Option<f64>, Option<f64>, Option<f64>);

fn judged(outcome: &Outcome, rule: Rule) -> Judged {
    let report = report(outcome, rule);
    (report.status, report.value, report.threshold, report.margin)
}

fn fired_by(value: f64, threshold: f64, margin: f64) -> Judged {
    (RuleStatus::Fired, Some(value), Some(threshold), Some(margin))
}

fn missed_by(value: f64, threshold: f64, margin: f64) -> Judged {
    (RuleStatus::NotFired, Some(value), Some(threshold), Some(margin))
}

fn hidden(status: RuleStatus, threshold: f64) -> Judged {
    (status, None, Some(threshold), None)
}

/// A person of whom every baseline is calibrated, and all of whose indicators are known.
pub(super) fn known() -> Person {
    let mut person = Person::sleeping_with_hrv(60.0);
    person.repeats(20, &[("hrv", 60.0), ("heart_rate", 60.0)], -2 * MINUTE);
    person.sends(night(-MINUTE).hrv(57.0).recovery(70.0));
    person
}

#[test]
fn a_rule_that_did_not_fire_says_how_far_it_was_from_firing() {
    let outcome = known().sends(at(0).hrv(54.0).heart_rate(65.0).stress(0.5));
    for (rule, expected) in [
        (Rule::HrvDropMs, missed_by(6.0, 25.0, 19.0)),
        (Rule::HrvDropPercentage, missed_by(10.0, 30.0, 20.0)),
        (Rule::HeartRateElevated, missed_by(65.0, 100.0, 35.0)),
        (Rule::StressCritical, missed_by(0.5, 0.85, 0.85 - 0.5)),
        (Rule::HeartRateExtreme, missed_by(5.0, 40.0, 35.0)),
        (Rule::RecoveryLow, missed_by(70.0, 40.0, 30.0)),
        // Nearer than 22 of 25 ms.
        (Rule::OvernightHrvLow, missed_by(5.0, 30.0, 25.0)),
        (Rule::Depletion, missed_by(0.0, 2.0, 2.0)),
        (Rule::RecurringStressHour, missed_by(0.0, 5.0, 5.0)),
        (Rule::LowRecoveryWeekday, hidden(RuleStatus::Missing, 3.0)),
        (Rule::HighHrvHighHr, missed_by(54.0, 90.0, 36.0)),
        (Rule::LowHrvLowHr, missed_by(54.0, 20.0, 34.0)),
    ] {
        assert_eq!(judged(&outcome, rule), expected, "{rule:?}");
    }
}

#[test]
fn a_rule_that_fired_has_a_negative_margin() {
    let mut person = known();
    person.sends(night(0).on("ring").recovery(30.0));
    person.sends(night(0).hrv(30.0));
    person.sends(at(0).steps(0.0).heart_rate(110.0));
    let outcome = person.sends(at(MINUTE).hrv(15.0).heart_rate(110.0).stress(0.9));
    for (rule, expected) in [
        (Rule::HrvDropMs, fired_by(45.0, 25.0, -20.0)),
        (Rule::HrvDropPercentage, fired_by(75.0, 30.0, -45.0)),
        (Rule::HeartRateElevated, fired_by(110.0, 100.0, -10.0)),
        (Rule::RecoveryLow, fired_by(30.0, 40.0, -10.0)),
        (Rule::Depletion, fired_by(3.0, 2.0, -2.0)),
    ] {
        assert_eq!(judged(&outcome, rule), expected, "{rule:?}");
    }
    assert_eq!(report(&outcome, Rule::OvernightHrvLow).threshold, Some(30.0), "49 % of 59.4 ms");
}

#[test]
fn of_two_comparisons_the_first_that_fails_decides() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    let outcome = person.sends(at(0).steps(0.0).heart_rate(101.0).hrv(91.0));
    assert_eq!(judged(&outcome, Rule::HeartRateElevated), missed_by(0.0, 60.0, 60.0), "seconds");
    assert_eq!(judged(&outcome, Rule::HighHrvHighHr), fired_by(91.0, 90.0, -1.0));
    let outcome = person.sends(at(45 * SECOND).heart_rate(101.0));
    assert_eq!(judged(&outcome, Rule::HeartRateElevated), missed_by(45.0, 60.0, 15.0));
    let outcome = person.sends(at(46 * SECOND).heart_rate(85.0));
    assert_eq!(judged(&outcome, Rule::HighHrvHighHr), missed_by(85.0, 90.0, 5.0));
}

#[test]
fn of_alternatives_that_are_equally_close_the_first_decides() {
    let outcome = Person::sleeping_with_hrv(60.0).sends(night(0).hrv(60.0));
    assert_eq!(judged(&outcome, Rule::OvernightHrvLow), missed_by(0.0, 25.0, 25.0));
}

#[test]
fn a_count_that_just_suffices_has_the_margin_of_one() {
    let mut person = Person::new();
    let outcome = person.sends_all([0, 7, 14].map(|days| at(days * DAY).recovery(45.0)));
    assert_eq!(judged(&outcome, Rule::LowRecoveryWeekday), fired_by(3.0, 3.0, -1.0));
}

#[test]
fn a_rule_whose_inputs_are_hidden_names_the_first_in_the_order_of_the_view() {
    use RuleStatus::{Calibrating, Gated, Missing, NotFired, Stale};
    let hrv = || Person::used_to(&[("hrv", 60.0)]);
    let both = || Person::used_to(&[("hrv", 60.0), ("heart_rate", 60.0)]);
    let later = 20 * MINUTE;
    for (mut person, message, rule, expected) in [
        (Person::new(), at(0).recovery(70.0), Rule::Depletion, Missing),
        (Person::new(), at(0).stress(0.5), Rule::HrvDropMs, Missing),
        (Person::new(), at(0).hrv(60.0), Rule::HrvDropMs, Calibrating),
        (Person::new(), at(0).hrv(60.0), Rule::RecurringStressHour, NotFired),
        (Person::new(), at(0).hrv(60.0), Rule::LowHrvLowHr, Missing),
        (Person::new(), at(0).heart_rate(60.0).hrv(60.0), Rule::LowHrvLowHr, NotFired),
        (Person::new(), at(0).heart_rate(60.0).hrv(60.0), Rule::HighHrvHighHr, Calibrating),
        (Person::new(), at(0).heart_rate(60.0), Rule::HeartRateElevated, NotFired),
        (Person::new(), at(0).heart_rate(60.0), Rule::HeartRateExtreme, Calibrating),
        (Person::new(), night(0).hrv(60.0), Rule::OvernightHrvLow, Calibrating),
        (hrv(), at(later).heart_rate(60.0), Rule::StressCritical, Stale),
        (hrv(), at(later).stress(0.5), Rule::StressCritical, NotFired),
        (hrv(), at(later).heart_rate(60.0), Rule::LowHrvLowHr, Stale),
        (hrv(), at(0).hrv(60.0), Rule::StressCritical, NotFired),
        (hrv(), at(0).hrv(60.0), Rule::Depletion, Missing),
        (hrv(), at(0).hrv(60.0).heart_rate(60.0), Rule::Depletion, Calibrating),
        (both(), at(0).hrv(60.0).heart_rate(60.0), Rule::Depletion, Missing),
        (both(), at(0).hrv(60.0).heart_rate(60.0).stress(0.5), Rule::Depletion, NotFired),
        (both(), at(0).hrv(60.0).steps(60.0), Rule::HrvDropPercentage, Gated),
        (both(), at(later).heart_rate(60.0).steps(60.0), Rule::LowHrvLowHr, Stale),
        (hrv(), at(0).hrv(60.0).steps(60.0), Rule::HighHrvHighHr, Gated),
        (hrv(), at(0).recovery(70.0), Rule::RecurringStressHour, Missing),
        (hrv(), at(0).recovery(70.0), Rule::LowRecoveryWeekday, NotFired),
    ] {
        let outcome = person.sends(message.clone());
        assert_eq!(report(&outcome, rule).status, expected, "{rule:?} {:?}", message.readings);
    }
}

#[test]
fn what_needs_an_unknown_baseline_has_no_threshold() {
    let outcome = Person::new().sends(at(0).hrv(60.0).heart_rate(95.0));
    let expected = (RuleStatus::Calibrating, Some(60.0), None, None);
    assert_eq!(judged(&outcome, Rule::HighHrvHighHr), expected);
}

#[test]
fn depletion_tells_all_that_it_compares() {
    let outcome = Person::used_to(&[("hrv", 35.0), ("heart_rate", 70.0)])
        .sends(at(0).hrv(28.0).heart_rate(85.0).stress(0.75));
    let conditions = report(&outcome, Rule::Depletion).conditions.iter();
    let told = conditions.map(|part| (part.quantity, part.value.unwrap(), part.holds));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("signs_of_depletion", 2.0, true),
            ("hrv", 28.0, true),
            ("hrv_drop_pct", 20.0, false),
            ("heart_rate", 85.0, true),
            ("heart_rate_elevation", 15.0, true),
            ("stress", 0.75, true),
        ]
    );
}
