//! What recurs: the hours and weekdays that pattern memory marks and counts.

use super::*;

/// A day on which 100 ms is usual and the HRV at eight, UTC, is `hrv`.
fn day(person: &mut Person, day: i64, hrv: f64) -> Outcome {
    person.repeats(20, &[("hrv", 100.0)], day * DAY - MINUTE);
    person.sends(at(day * DAY).hrv(hrv))
}

/// On how many of the last 30 days the hour of the event was hard.
fn hours(outcome: &Outcome) -> Option<f64> {
    report(outcome, Rule::RecurringStressHour).value
}

/// On how many of the last 8 same weekdays recovery was low.
fn weekdays(outcome: &Outcome) -> Option<f64> {
    report(outcome, Rule::LowRecoveryWeekday).value
}

/// After low recoveries on these days, each told at once.
fn weekdays_after(days: &[i64]) -> Option<f64> {
    weekdays(&Person::new().sends_all(days.iter().map(|days| at(days * DAY).recovery(45.0))))
}

#[test]
fn an_hour_is_marked_only_beyond_15_ms() {
    assert_eq!(hours(&day(&mut Person::new(), 0, 85.0)), Some(0.0));
    assert_eq!(hours(&day(&mut Person::new(), 0, 85.0_f64.next_down())), Some(1.0));
}

#[test]
fn an_hour_is_marked_only_against_a_calibrated_baseline() {
    for (count, marked) in [(19, 0.0), (20, 1.0)] {
        let mut person = Person::new();
        person.repeats(count, &[("hrv", 100.0)], -MINUTE);
        assert_eq!(hours(&person.sends(at(0).hrv(80.0))), Some(marked));
    }
}

#[test]
fn a_gated_reading_marks_no_hour() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    person.sends(at(0).hrv(80.0).steps(60.0));
    assert_eq!(hours(&person.sends(at(11 * MINUTE).hrv(100.0))), Some(0.0));
}

#[test]
fn a_backfilled_reading_marks_its_hour() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    person.sends(at(0).hrv(80.0).late_by(16 * MINUTE));
    assert_eq!(hours(&person.sends(at(16 * MINUTE).hrv(100.0))), Some(1.0));
}

#[test]
fn an_overnight_hrv_marks_no_hour() {
    let mut person = Person::sleeping_with_hrv(60.0);
    person.sends(night(0).hrv(40.0));
    assert!(person.state().hard_hours.0.is_empty());
}

#[test]
fn a_day_counts_once_however_often_its_hour_is_hard() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    assert_eq!(hours(&person.sends_all([at(0).hrv(80.0), at(MINUTE).hrv(80.0)])), Some(1.0));
}

#[test]
fn several_hours_of_a_day_may_be_hard() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    person.sends_all([at(0).hrv(80.0), at(HOUR).hrv(80.0)]);
    let next_day = [at(DAY).hrv(100.0), at(DAY + HOUR).hrv(100.0)];
    assert_eq!(next_day.map(|message| hours(&person.sends(message))), [Some(1.0); 2]);
}

#[test]
fn an_hour_is_recurring_from_the_fifth_hard_day_on() {
    let mut person = Person::new();
    for days in 0..4 {
        assert_eq!(fired(&day(&mut person, days, 80.0)), "");
    }
    let fifth = day(&mut person, 4, 80.0);
    assert_eq!(fired(&fifth), "recurring_stress_hour");
    assert_eq!(brief(&fifth), "unchanged pattern", "no candidate in mode pattern");
    // The next day is not hard itself; the hour after is another hour.
    assert_eq!(fired(&day(&mut person, 5, 100.0)), "recurring_stress_hour");
    assert_eq!(hours(&person.sends(at(5 * DAY + HOUR).hrv(100.0))), Some(0.0));
}

#[test]
fn hard_hours_count_over_30_days_today_included() {
    for (last, expected) in [(29, Some(5.0)), (30, Some(4.0))] {
        let mut person = Person::new();
        for days in 0..4 {
            day(&mut person, days, 80.0);
        }
        assert_eq!(hours(&day(&mut person, last, 80.0)), expected, "day {last}");
    }
}

#[test]
fn an_hour_is_local_to_the_event() {
    // 22:30 and 23:30 UTC are 23:30 and, on the next day, 00:30.
    let (usual, evening) = ([("hrv", 100.0)], 14 * HOUR + 30 * MINUTE);
    let mut person = Person::new();
    person.repeats(20, &usual, evening - MINUTE);
    person.sends(at(evening).hrv(80.0).ahead_of_utc_by(60));
    let midnight = person.sends(at(evening + HOUR).hrv(80.0).ahead_of_utc_by(60));
    assert_eq!(hours(&midnight), Some(1.0));
    let [before, after] = person.state().hard_hours.0.as_slice() else { panic!("two days") };
    assert_eq!((before.day, before.hours), (instant(0).day(), 1 << 23));
    assert_eq!((after.day, after.hours), (instant(0).day() + 1, 1 << 0));
    let elsewhere = person.sends(at(evening + HOUR).hrv(100.0).on("ring").ahead_of_utc_by(0));
    assert_eq!(hours(&elsewhere), Some(1.0), "23:30 UTC of the first day");
}

#[test]
fn later_days_do_not_count() {
    // Two o'clock in the morning of tomorrow in the east, then of today in the west.
    let mut person = Person::new();
    person.repeats(20, &[("hrv", 100.0)], 8 * HOUR - MINUTE);
    let east = person.sends(at(8 * HOUR).hrv(80.0).ahead_of_utc_by(10 * 60));
    let west = person.sends(at(8 * HOUR + MINUTE).hrv(100.0).ahead_of_utc_by(-14 * 60));
    assert_eq!((hours(&east), hours(&west)), (Some(1.0), Some(0.0)));
}

#[test]
fn an_hour_is_asked_for_only_by_a_live_hrv_that_is_in_view() {
    let mut person = Person::new();
    for days in 0..=4 {
        day(&mut person, days, 80.0);
    }
    let today = 4 * DAY;
    assert_eq!(fired(&person.sends(at(today + MINUTE).heart_rate(60.0))), "", "no HRV");
    assert_eq!(fired(&person.sends(night(today + MINUTE).hrv(60.0))), "", "HRV of a night");
    let older = at(today - MINUTE).hrv(80.0).on("ring").heart_rate(60.0);
    assert_eq!(fired(&person.sends(older)), "", "older than held");
    assert_eq!(fired(&person.sends(at(today + MINUTE).hrv(80.0))), "recurring_stress_hour");
    let moving = at(today + 2 * MINUTE).hrv(80.0).steps(60.0);
    assert_eq!(fired(&person.sends(moving)), "", "gated");
}

#[test]
fn a_recovery_below_50_marks_its_day_and_one_of_50_does_not() {
    for (recovery, expected) in [(50.0, Some(0.0)), (50.0_f64.next_down(), Some(1.0))] {
        assert_eq!(weekdays(&Person::new().sends(at(0).recovery(recovery))), expected);
    }
}

#[test]
fn a_weekday_is_low_from_the_third_mark_on() {
    let mut person = Person::new();
    let mondays = [0, 7, 14].map(|days| fired(&person.sends(at(days * DAY).recovery(45.0))));
    assert_eq!(mondays, ["", "", "low_recovery_weekday"]);
    assert_eq!(fired(&person.sends(at(15 * DAY).recovery(45.0))), "", "a Tuesday");
    assert_eq!(fired(&person.sends(at(21 * DAY).recovery(80.0))), "low_recovery_weekday");
    assert_eq!(fired(&person.sends(at(21 * DAY + MINUTE).stress(0.1))), "", "no recovery score");
}

#[test]
fn marks_count_over_8_weeks_today_included() {
    assert_eq!(weekdays_after(&[0, 42, 49]), Some(3.0));
    assert_eq!(weekdays_after(&[0, 49, 56]), Some(2.0));
    assert_eq!(weekdays_after(&[0, 48, 49]), Some(2.0), "a Sunday");
}

#[test]
fn a_day_counts_once_however_often_recovery_is_low() {
    let twice = [at(0).recovery(45.0), at(MINUTE).recovery(45.0)];
    assert_eq!(weekdays(&Person::new().sends_all(twice)), Some(1.0));
}

#[test]
fn overnight_and_backfilled_recoveries_mark_their_day() {
    let mut person = Person::new();
    person.sends(night(-14 * DAY).recovery(45.0));
    person.sends(at(-7 * DAY).recovery(45.0).late_by(37 * HOUR));
    assert_eq!(weekdays(&person.sends(at(0).recovery(80.0))), Some(2.0));
}

#[test]
fn a_gate_does_not_keep_a_low_recovery_from_marking_its_day() {
    assert_eq!(weekdays(&Person::new().sends(workout(0).recovery(45.0))), Some(1.0));
}

#[test]
fn a_weekday_is_local_to_the_event() {
    // Monday 08:00 UTC is Sunday 23:00 in the far west.
    let mut person = Person::new();
    let sunday = person.sends(at(0).recovery(45.0).ahead_of_utc_by(-9 * 60));
    let monday = person.sends(at(MINUTE).recovery(45.0));
    assert_eq!((weekdays(&sunday), weekdays(&monday)), (Some(1.0), Some(1.0)));
    assert_eq!(person.state().hard_days.0, [instant(0).day() - 1, instant(0).day()]);
}

#[test]
fn later_weekdays_do_not_count() {
    let mut person = Person::new();
    person.sends(at(7 * DAY).recovery(45.0).late_by(37 * HOUR));
    assert_eq!(weekdays(&person.sends(at(0).recovery(45.0))), Some(1.0));
}

#[test]
fn the_memory_keeps_30_days_of_hours_and_56_days() {
    let mut person = Person::new();
    for days in [0, 1, 30] {
        day(&mut person, days, 80.0);
    }
    let first = instant(0).day();
    let hours = person.state().hard_hours.0.iter().map(|hard| hard.day - first);
    assert_eq!(hours.collect::<Vec<_>>(), [1, 30]);

    let mut person = Person::new();
    let late = |days: i64| at(days * DAY).recovery(45.0).late_by(2 * DAY);
    person.sends_all([0, 1, 56].map(late));
    assert_eq!(person.state().hard_days.0, [first + 1, first + 56]);
    person.sends_all([-1, 2].map(late));
    assert_eq!(person.state().hard_days.0, [first + 1, first + 2, first + 56], "late marks");
}

#[test]
fn in_mode_pattern_the_pattern_rules_fire_and_are_no_candidates() {
    let mut person = Person::new();
    let mondays = [0, 7, 14].map(|days| at(days * DAY).recovery(45.0));
    let outcome = person.sends_all(mondays);
    assert_eq!(
        (brief(&outcome).as_str(), fired(&outcome).as_str()),
        ("unchanged pattern", "low_recovery_weekday")
    );
    assert_eq!(proposed(&outcome, Mode::Pattern), None);
}

/// A person in hypothesis for whom Monday is a day of low recovery.
fn with_hard_mondays() -> Person {
    let mut person = Person::new();
    person.sends_all([-14, -7].map(|days| at(days * DAY).recovery(45.0)));
    person.sends(at(-HOUR).hrv(19.0).heart_rate(49.0));
    person
}

#[test]
fn in_another_mode_they_speak_for_pattern_with_confidence_07() {
    let outcome = with_hard_mondays().sends(at(0).recovery(45.0));
    assert_eq!(brief(&outcome), "switched pattern low_recovery_weekday");
    assert_eq!((outcome.previous_mode, outcome.confidence), (Mode::Hypothesis, 0.7));
}

#[test]
fn a_borderline_evaluation_has_no_candidate_for_pattern() {
    let message = at(0).recovery(45.0).stress(0.8);
    let outcome = with_hard_mondays().sends(message.clone().heart_rate(91.0));
    assert!(outcome.borderline);
    assert_eq!(
        (brief(&outcome).as_str(), fired(&outcome).as_str()),
        ("unchanged hypothesis", "low_recovery_weekday")
    );
    assert_eq!(brief(&with_hard_mondays().sends(message)), "switched pattern low_recovery_weekday");
}
