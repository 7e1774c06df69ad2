//! Which readings count as the present, and what becomes of the others.

use super::*;

const BACKFILL: &str = "not_evaluated pattern backfill";
const UNUSABLE: &str = "not_evaluated pattern no_usable_reading";
const UNCHANGED: &str = "unchanged pattern";

/// What becomes of the first message that a person sends.
fn first(message: Message) -> String {
    brief(&Person::new().sends(message))
}

#[test]
fn a_reading_is_live_for_exactly_15_minutes() {
    for (metric, value) in [
        ("hrv", 60.0),
        ("heart_rate", 60.0),
        ("stress_level", 0.5),
        ("steps_per_minute", 0.0),
        ("strain", 5.0),
    ] {
        let message = at(0).with(metric, value);
        assert_eq!(first(message.clone().late_by(15 * MINUTE)), UNCHANGED, "{metric}");
        assert_eq!(first(message.late_by(15 * MINUTE + MILLISECOND)), BACKFILL, "{metric}");
    }
}

#[test]
fn an_overnight_event_is_live_for_exactly_36_hours() {
    for event_type in ["sleep", "daily_sleep", "readiness", "daily_readiness", "recovery"] {
        let message = at(0).of_type(event_type).hrv(60.0);
        assert_eq!(first(message.clone().late_by(36 * HOUR)), UNCHANGED, "{event_type}");
        assert_eq!(first(message.late_by(36 * HOUR + MILLISECOND)), BACKFILL, "{event_type}");
    }
}

#[test]
fn a_recovery_score_is_live_for_exactly_36_hours_in_any_event() {
    for message in [at(0).recovery(70.0), night(0).recovery(70.0)] {
        assert_eq!(first(message.clone().late_by(36 * HOUR)), UNCHANGED);
        assert_eq!(first(message.late_by(36 * HOUR + MILLISECOND)), BACKFILL);
    }
}

#[test]
fn a_live_recovery_score_does_not_make_its_neighbours_live() {
    let mut person = Person::new();
    person.sends(at(0).recovery(70.0).hrv(60.0).late_by(HOUR));
    assert!(person.state().latest.hrv.is_none());
    assert!(person.state().latest.recovery_score.is_some());
}

#[test]
fn a_reading_as_old_as_the_held_one_is_live_and_an_older_one_is_not() {
    for (time, expected) in [(0, UNCHANGED), (-MICROSECOND, BACKFILL)] {
        let mut person = Person::new();
        person.sends(at(0).stress(0.5));
        let outcome = person.sends(at(time).on("ring").stress(0.6));
        assert_eq!(brief(&outcome), expected);
        let held = person.state().latest.stress_level.as_ref().unwrap();
        let replaced = expected == UNCHANGED;
        assert_eq!(
            (held.value, held.device_id.as_str()),
            if replaced { (0.6, "ring") } else { (0.5, "watch") }
        );
    }
}

#[test]
fn a_held_reading_makes_only_its_own_signal_older() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    assert_eq!(
        brief(&person.sends(at(-MINUTE).hrv(60.0).stress(0.9))),
        "switched reflex stress_critical"
    );
    let held = person.state().latest.hrv.as_ref().unwrap();
    assert_eq!(held.time, instant(0));
}

#[test]
fn one_live_reading_makes_an_event_evaluated_wherever_it_stands() {
    for held in [at(0).hrv(60.0), at(0).stress(0.5)] {
        let mut person = Person::new();
        person.sends(held);
        let outcome = person.sends(at(-MINUTE).hrv(60.0).stress(0.5));
        assert_eq!(brief(&outcome), UNCHANGED);
    }
}

#[test]
fn momentary_and_overnight_hrv_are_two_signals() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    assert_eq!(brief(&person.sends(night(-HOUR).hrv(60.0).late_by(2 * HOUR))), UNCHANGED);
    assert_eq!(person.state().latest.overnight_hrv.as_ref().unwrap().time, instant(-HOUR));
}

#[test]
fn points_of_a_series_inside_an_overnight_event_are_never_live() {
    let message = night(0).late_by(MINUTE);
    let message = message.recovery(70.0).point(-HOUR, "recovery_score", 10.0);
    let message = message.point(MICROSECOND, "recovery_score", 20.0).point(-HOUR, "strain", 5.0);
    let outcomes = Person::new().sends_series(message);
    let outcomes: Vec<String> = outcomes.iter().map(brief).collect();
    assert_eq!(outcomes, [BACKFILL, UNCHANGED, BACKFILL]);
}

#[test]
fn points_of_a_series_inside_any_other_event_are_live_by_age() {
    let message = at(0).stress(0.5).point(-15 * MINUTE, "stress_level", 0.5);
    let message = message.point(-15 * MINUTE - MICROSECOND, "stress_level", 0.5);
    let outcomes = Person::new().sends_series(message.point(-36 * HOUR, "recovery_score", 50.0));
    let outcomes: Vec<String> = outcomes.iter().map(brief).collect();
    assert_eq!(outcomes, [UNCHANGED, BACKFILL, UNCHANGED, UNCHANGED]);
}

#[test]
fn the_record_s_own_time_decides_what_is_a_point_of_a_series_not_the_time_of_arrival() {
    // The clock of the device runs ahead: both times are later than the arrival.
    let message = night(MINUTE).late_by(-MINUTE).recovery(30.0).point(2 * MINUTE, "hrv", 50.0);
    let outcomes = Person::new().sends_series(message);
    assert_eq!(brief(&outcomes[0]), "switched guardian recovery_low");
    assert_eq!(brief(&outcomes[1]), "not_evaluated guardian backfill");
}

#[test]
fn a_reading_that_is_no_signal_is_live_by_age_alone() {
    let mut person = Person::new();
    person.sends(at(0).with("strain", 5.0).stress(0.5));
    assert_eq!(brief(&person.sends(at(-MINUTE).with("strain", 5.0))), UNCHANGED);
    assert_eq!(first(night(0).heart_rate(60.0).late_by(36 * HOUR)), UNCHANGED, "none at night");
    assert_eq!(first(at(0).with("duration_minutes", 5.0)), UNCHANGED);
}

#[test]
fn of_overnight_events_only_hrv_and_recovery_are_signals() {
    let mut person = Person::new();
    person.sends(night(0).heart_rate(150.0).stress(0.9).steps(100.0).hrv(50.0).recovery(70.0));
    let latest = &person.state().latest;
    let held = [&latest.hrv, &latest.heart_rate, &latest.stress_level, &latest.steps_per_minute];
    assert!(held.iter().all(|latest| latest.is_none()));
    assert!(latest.recovery_score.is_some() && latest.overnight_hrv.is_some());
}

#[test]
fn sdnn_is_not_hrv() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    assert_eq!(brief(&person.sends(at(0).with("hrv_sdnn", 10.0))), UNCHANGED);
    assert_eq!(person.state().latest.hrv.as_ref().unwrap().value, 60.0);
}

#[test]
fn an_event_whose_readings_are_all_excluded_has_no_usable_reading() {
    assert_eq!(first(at(0).unreadable("hrv")), UNUSABLE);
    assert_eq!(first(at(0).hrv(301.0).unsure("stress_level", 0.9, 0.4)), UNUSABLE);
    assert_eq!(first(at(0).unreadable("hrv").stress(0.5).late_by(HOUR)), BACKFILL);
    assert_eq!(first(at(0).unreadable("hrv").stress(0.5)), UNCHANGED);
}

#[test]
fn excluded_readings_are_invisible() {
    let mut person = Person::new();
    let message = at(0).unsure("stress_level", 0.9, 0.5_f64.next_down()).recovery(101.0);
    assert_eq!(brief(&person.sends(message.heart_rate(60.0))), UNCHANGED);
    let latest = &person.state().latest;
    assert!(latest.stress_level.is_none() && latest.recovery_score.is_none());
    assert_eq!(first(at(0).unsure("stress_level", 0.9, 0.5)), "switched reflex stress_critical");
}

#[test]
fn backfill_changes_no_mode_no_view_and_no_clock() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.5));
    person.sends(at(MINUTE).hrv(60.0).stress(0.9).recovery(70.0).late_by(37 * HOUR));
    let state = person.state();
    assert_eq!((state.mode, state.clock), (Mode::Pattern, Some(instant(0))));
    assert!(state.latest.hrv.is_none() && state.latest.recovery_score.is_none());
    assert_eq!(state.latest.stress_level.as_ref().unwrap().value, 0.5);
}

#[test]
fn an_event_is_never_later_than_its_arrival() {
    let mut person = Person::new();
    let outcome = person.sends(at(4 * MINUTE).stress(0.5).late_by(-4 * MINUTE));
    assert_eq!((outcome.time, person.state().clock), (instant(0), Some(instant(0))));
    assert_eq!(person.state().mode_since, instant(0));
    assert_eq!(
        brief(&person.sends(at(0).on("ring").stress(0.9))),
        "switched reflex stress_critical"
    );
}

#[test]
fn the_clock_never_runs_backwards() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    let outcome = person.sends(at(-5 * MINUTE).stress(0.9).late_by(5 * MINUTE));
    assert_eq!(
        (outcome.time, why(&outcome).evaluated_at),
        (instant(-5 * MINUTE), Some(instant(0)))
    );
    assert_eq!(why(&outcome).view.stress.age_seconds, Some(300.0));
    let state = person.state();
    assert_eq!([state.mode_since, state.last_confirmed, state.disturbed], [instant(0); 3]);
    assert_eq!((state.clock, state.last_switch), (Some(instant(0)), Some(instant(0))));
}

#[test]
fn a_new_user_starts_in_pattern_at_the_first_event_even_if_it_is_not_evaluated() {
    let series = at(0).heart_rate(60.0).point(-2 * HOUR, "heart_rate", 60.0);
    for (message, since) in
        [(at(0).unreadable("hrv"), 0), (at(0).hrv(60.0), 0), (series, -2 * HOUR)]
    {
        let mut person = Person::new();
        person.sends_series(message);
        let state = person.state();
        assert_eq!((state.mode, state.confidence, state.seq), (Mode::Pattern, 0.5, 0));
        assert_eq!((state.mode_since, state.last_confirmed), (instant(since), instant(since)));
        assert_eq!((state.previous_mode, state.last_switch, state.history.len()), (None, None, 0));
    }
    let mut person = Person::new();
    person.sends(at(0).unreadable("hrv"));
    assert_eq!((person.state().disturbed, person.state().clock), (instant(0), None));
}
