//! How long a heart rate must be high: runs, and what extends, breaks or leaves them alone.

use super::*;

/// Two elevated readings `apart`, with steps known or not.
fn fires_after(apart: i64, steps_known: bool) -> bool {
    let mut person = Person::new();
    if steps_known {
        person.sends(at(0).steps(0.0));
    }
    let outcome = person.sends_all([at(0).heart_rate(101.0), at(apart).heart_rate(101.0)]);
    outcome.fired.contains(Rule::HeartRateElevated)
}

/// What fires after a person used to a heart rate of 60 with steps known sends `messages`.
fn fires(messages: impl IntoIterator<Item = Message>) -> String {
    let mut person = Person::used_to(&[("heart_rate", 60.0)]);
    person.sends(at(0).steps(0.0));
    fired(&person.sends_all(messages))
}

/// Elevated and, for a person used to 60, extreme.
fn high(time: i64) -> Message {
    at(time).heart_rate(110.0)
}

const BOTH: &str = "heart_rate_elevated heart_rate_extreme";

#[test]
fn with_known_steps_a_minute_sustains() {
    assert!(!fires_after(MINUTE - MICROSECOND, true));
    assert!(fires_after(MINUTE, true));
}

#[test]
fn without_steps_ten_minutes_sustain() {
    assert!(!fires_after(10 * MINUTE - MICROSECOND, false));
    assert!(fires_after(10 * MINUTE, false));
}

#[test]
fn an_extreme_heart_rate_is_sustained_like_an_elevated_one() {
    assert_eq!(fires([high(0), high(MINUTE - MICROSECOND)]), "");
    assert_eq!(fires([high(0), high(MINUTE)]), BOTH);
    let mut person = Person::used_to(&[("heart_rate", 50.0)]);
    let unknown = person.sends_all([at(0).heart_rate(95.0), at(9 * MINUTE).heart_rate(95.0)]);
    assert_eq!(fired(&unknown), "");
    assert_eq!(fired(&person.sends(at(10 * MINUTE).heart_rate(95.0))), "heart_rate_extreme");
}

#[test]
fn steps_are_known_for_exactly_15_minutes() {
    let fires_with_steps_before = |age| {
        let mut person = Person::new();
        person.sends(at(MINUTE - age).steps(0.0));
        fired(&person.sends_all([high(0), high(MINUTE)]))
    };
    assert_eq!(fires_with_steps_before(15 * MINUTE), "heart_rate_elevated");
    assert_eq!(fires_with_steps_before(15 * MINUTE + MICROSECOND), "");
}

#[test]
fn one_reading_sustains_nothing_however_long_it_is_held() {
    assert_eq!(fires([high(0), at(14 * MINUTE).steps(0.0)]), "");
}

#[test]
fn a_normal_reading_breaks_a_run() {
    assert_eq!(fires([high(0), at(30 * SECOND).heart_rate(100.0), high(MINUTE)]), "");
    assert_eq!(fires([high(0), at(SECOND).heart_rate(70.0), high(MINUTE), high(2 * MINUTE)]), BOTH);
}

#[test]
fn a_reading_that_is_elevated_and_not_extreme_breaks_the_extreme_run_alone() {
    let mut person = Person::used_to(&[("heart_rate", 70.0)]);
    person.sends(at(0).steps(0.0));
    let [high, less] = [115.0, 105.0].map(|value| move |time| at(time).heart_rate(value));
    let outcome = person.sends_all([high(0), less(30 * SECOND), high(MINUTE)]);
    assert_eq!(fired(&outcome), "heart_rate_elevated");
}

#[test]
fn a_gated_reading_breaks_a_run() {
    // The gate opens long enough before the last reading to be over by then.
    let moving = at(30 * SECOND).steps(60.0).heart_rate(101.0);
    let after = 10 * MINUTE + 31 * SECOND;
    assert_eq!(fires([high(0), moving, high(after)]), "");
    assert_eq!(fires([high(0), at(30 * SECOND).steps(0.0), high(after)]), BOTH);
}

#[test]
fn a_gap_of_exactly_15_minutes_extends_a_run_and_a_longer_one_does_not() {
    assert!(fires_after(15 * MINUTE, false));
    assert!(!fires_after(15 * MINUTE + MICROSECOND, false));
}

#[test]
fn after_a_gap_the_run_starts_anew_at_the_reading() {
    let again = 16 * MINUTE;
    let outcome = |last| fires([high(0), at(again).steps(0.0), high(again), high(last)]);
    assert_eq!(outcome(again + MINUTE - MICROSECOND), "");
    assert_eq!(outcome(again + MINUTE), BOTH);
}

#[test]
fn backfill_neither_extends_nor_breaks_nor_starts_a_run() {
    let late = |message: Message| message.late_by(16 * MINUTE);
    assert_eq!(fires([high(0), late(high(MINUTE))]), "", "extends");
    assert_eq!(fires([high(0), late(at(MINUTE / 2).heart_rate(60.0)), high(MINUTE)]), BOTH);
    assert_eq!(fires([late(high(0)), high(MINUTE)]), "", "starts");
}

#[test]
fn a_heart_rate_older_than_the_held_one_leaves_runs_alone_whatever_else_is_live() {
    let older = at(-SECOND).heart_rate(60.0).stress(0.1);
    assert_eq!(fires([high(0), older, high(MINUTE)]), BOTH);
}

#[test]
fn events_without_a_heart_rate_leave_runs_alone() {
    assert_eq!(fires([high(0), at(SECOND).stress(0.1), night(SECOND).heart_rate(50.0)]), "");
    assert_eq!(fires([high(0), night(SECOND).heart_rate(50.0), high(MINUTE)]), BOTH);
}

#[test]
fn a_stale_heart_rate_does_not_fire_though_its_run_was_long() {
    assert_eq!(fires([high(0), high(MINUTE), at(16 * MINUTE).steps(0.0)]), BOTH);
    let later = 16 * MINUTE + MICROSECOND;
    assert_eq!(fires([high(0), high(MINUTE), at(later).steps(0.0)]), "");
}

#[test]
fn a_run_of_several_devices_is_one_run() {
    let outcome =
        Person::new().sends_all([high(0).steps(0.0), high(30 * SECOND).on("ring"), high(MINUTE)]);
    assert_eq!(fired(&outcome), "heart_rate_elevated");
}
