//! Records that come again, unchanged or revised.

use super::*;
use crate::signal::Signal;

/// Whether `again` is a duplicate after `message`.
fn repeats(message: Message, again: Message) -> bool {
    let mut person = Person::new();
    person.sends_series(message);
    let outcomes = person.sends_series(again);
    let kinds: Vec<&str> = outcomes.iter().map(|outcome| outcome.kind.as_str()).collect();
    let duplicates = kinds.iter().filter(|kind| **kind == "duplicate").count();
    assert!(duplicates == 0 || duplicates == kinds.len(), "all events of a record or none");
    duplicates > 0
}

/// A one-off message that the person's other messages do not resemble.
fn numbered(number: i64) -> Message {
    at(number * SECOND).with("glucose", 5.0)
}

#[test]
fn the_same_record_again_changes_nothing() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9).hrv(60.0).recovery(30.0));
    let before = person.state().clone();
    let outcome = person.sends(at(0).stress(0.9).hrv(60.0).recovery(30.0).late_by(HOUR));
    assert_eq!((brief(&outcome).as_str(), fired(&outcome).as_str()), ("duplicate reflex", ""));
    assert_eq!((outcome.previous_mode, outcome.confidence), (Mode::Reflex, 0.9));
    assert!(*person.state() == before);
}

#[test]
fn a_duplicate_workout_does_not_open_the_gate_again() {
    let mut person = Person::new();
    person.sends_all([workout(0), workout(2 * HOUR), workout(0)]);
    assert_eq!(person.state().gate.unwrap().from, instant(2 * HOUR));
}

#[test]
fn every_event_of_a_repeated_record_is_a_duplicate() {
    let series = || at(0).hrv(60.0).point(-MINUTE, "hrv", 60.0).point(-HOUR, "hrv", 60.0);
    assert!(repeats(series(), series()));
}

#[test]
fn device_event_type_and_time_make_the_identity_of_a_record() {
    let message = || at(0).hrv(60.0);
    for other in [message().on("ring"), message().of_type("spot"), at(MICROSECOND).hrv(60.0)] {
        let mut person = Person::new();
        person.sends(message());
        person.sends(other);
        assert_eq!(person.state().recent.identities.len(), 2);
    }
}

#[test]
fn content_is_times_metrics_values_and_confidences() {
    let message = || at(0).hrv(60.0).unsure("stress_level", 0.5, 0.9);
    for (other, what) in [
        (at(0).hrv(61.0).unsure("stress_level", 0.5, 0.9), "a value"),
        (at(0).hrv(60.0).unsure("stress_level", 0.5, 0.8), "a confidence"),
        (at(0).with("hrv_sdnn", 60.0).unsure("stress_level", 0.5, 0.9), "a metric"),
        (at(0).hrv(60.0), "a reading less"),
        (message().with("glucose", 5.0), "a reading more"),
        (at(0).point(-MICROSECOND, "hrv", 60.0).unsure("stress_level", 0.5, 0.9), "a time"),
    ] {
        assert!(!repeats(message(), other), "{what}");
    }
    assert!(!repeats(at(0).with("a", 5.0), at(0).with("b", 5.0)), "an unknown metric's name");
    assert!(!repeats(at(0).hrv(60.0), at(0).unreadable("hrv")), "whether there is a value");
}

#[test]
fn nothing_else_is_content() {
    let message = || at(0).hrv(60.0).stress(0.5).unreadable("strain");
    for (other, what) in [
        (at(0).unreadable("strain").stress(0.5).hrv(60.0), "the order of readings"),
        (message().late_by(HOUR), "the arrival"),
        (message().ahead_of_utc_by(60), "the offset of the clock"),
        (at(0).unsure("hrv", 60.0, 1.0).stress(0.5).unreadable("strain"), "a confidence of 1"),
        (at(0).hrv(1.0).hrv(60.0).stress(0.5).unreadable("strain"), "what was overridden"),
        (
            at(0).hrv(60.0).stress(0.5).entry(r#""metric":"strain","value":[7]"#),
            "what is no number",
        ),
    ] {
        assert!(repeats(message(), other), "{what}");
    }
}

#[test]
fn a_value_that_cannot_be_used_is_content_all_the_same() {
    assert!(repeats(at(0).hrv(400.0), at(0).hrv(400.0)));
    assert!(!repeats(at(0).hrv(400.0), at(0).hrv(500.0)));
    let unsure = |confidence: &str| {
        at(0).entry(&format!(r#""metric":"hrv","value":60,"confidence":{confidence}"#))
    };
    assert!(repeats(unsure("true"), unsure("[]")));
    assert!(!repeats(unsure("true"), unsure("2")));
}

#[test]
fn times_beyond_the_arrival_are_content_as_they_were_given() {
    let ahead = |time| at(MINUTE).late_by(-MINUTE).point(time, "hrv", 60.0);
    assert!(!repeats(ahead(2 * MINUTE), ahead(3 * MINUTE)));
}

#[test]
fn a_revision_is_evaluated() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.5));
    assert_eq!(brief(&person.sends(at(0).stress(0.9))), "switched reflex stress_critical");
    assert_eq!(person.state().latest.stress_level.as_ref().unwrap().value, 0.9);
}

#[test]
fn a_revision_moves_runs_and_opens_the_gate() {
    let mut person = Person::new();
    person.sends_all([at(0).heart_rate(101.0), at(10 * MINUTE).heart_rate(60.0)]);
    let outcome = person.sends(at(10 * MINUTE).heart_rate(101.0));
    assert_eq!(fired(&outcome), "", "the first version broke the run");
    assert_eq!(person.state().elevated.unwrap().since, instant(10 * MINUTE));
    person.sends(at(10 * MINUTE).heart_rate(101.0).steps(60.0));
    assert_eq!(person.state().gate.unwrap().from, instant(10 * MINUTE));
    assert!(person.state().elevated.is_none());
}

#[test]
fn a_revision_feeds_neither_baselines_nor_pattern_memory() {
    let mut person = Person::used_to(&[("hrv", 100.0), ("heart_rate", 60.0)]);
    person.sends(at(0).with("strain", 5.0));
    person.sends(night(0).with("strain", 5.0));
    let before = person.state().clone();
    let outcome = person.sends(at(0).hrv(80.0).heart_rate(70.0).recovery(45.0));
    assert_eq!(report(&outcome, Rule::RecurringStressHour).value, Some(0.0));
    person.sends(night(0).hrv(50.0).recovery(45.0));
    let state = person.state();
    assert!(state.baselines == before.baselines);
    assert!(state.baselines.of(Signal::OvernightHrv).unwrap().0.is_empty());
    assert_eq!((state.hard_hours.0.len(), state.hard_days.0.len()), (0, 0));
}

#[test]
fn the_newest_version_is_the_one_remembered() {
    let mut person = Person::new();
    let kinds = [0.5, 0.6, 0.6, 0.5]
        .map(|stress| person.sends(at(0).stress(stress)).kind.as_str().to_owned());
    assert_eq!(kinds, ["unchanged", "unchanged", "duplicate", "unchanged"]);
}

#[test]
fn sixty_four_records_are_remembered_and_the_oldest_is_forgotten_first() {
    let mut person = Person::new();
    person.sends_all((0..64).map(numbered));
    assert_eq!(brief(&person.sends(numbered(0))), "duplicate pattern");
    person.sends(numbered(64));
    assert_eq!(brief(&person.sends(numbered(1))), "duplicate pattern");
    assert_eq!(brief(&person.sends(numbered(0))), "unchanged pattern", "forgotten");
    assert_eq!(brief(&person.sends(numbered(1))), "unchanged pattern", "forgotten in turn");
    assert_eq!(person.state().recent.identities.len(), 64);
}

#[test]
fn a_revision_keeps_its_place_in_the_queue() {
    let mut person = Person::new();
    person.sends_all((0..64).map(numbered));
    person.sends(numbered(0).stress(0.5));
    assert_eq!(brief(&person.sends(numbered(0).stress(0.5))), "duplicate pattern");
    person.sends(numbered(64));
    // Forgotten, and so a new record that feeds baselines, not a second revision.
    person.sends(numbered(0).hrv(60.0));
    assert_eq!(person.state().baselines.hrv.0.len(), 1);
}

#[test]
fn a_duplicate_keeps_its_place_in_the_queue() {
    let mut person = Person::new();
    person.sends_all((0..64).map(numbered));
    person.sends_all([numbered(0), numbered(64)]);
    person.sends(numbered(0).hrv(60.0));
    assert_eq!(person.state().baselines.hrv.0.len(), 1);
}

#[test]
fn records_are_recognised_in_whatever_order_they_come_again() {
    let mut person = Person::new();
    person.sends_all([at(0).stress(0.5), at(-DAY).hrv(60.0).late_by(DAY)]);
    assert_eq!(brief(&person.sends(at(-DAY).hrv(60.0).late_by(DAY))), "duplicate pattern");
    assert_eq!(brief(&person.sends(at(0).stress(0.5))), "duplicate pattern");
}
