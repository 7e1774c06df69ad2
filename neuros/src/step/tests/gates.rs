//! Movement explains heart rate and HRV: what opens the gate, how long it lasts, what it hides.

use super::*;
use crate::explain::Status;

/// The gate's ends in µs after the start.
fn gate(person: &Person) -> Option<(i64, i64)> {
    let since_start = |time: Timestamp| (time - instant(0)).0;
    person.state().gate.map(|gate| (since_start(gate.from), since_start(gate.until)))
}

/// The gate after these messages.
fn gate_after(messages: impl IntoIterator<Item = Message>) -> Option<(i64, i64)> {
    let mut person = Person::new();
    person.sends_all(messages);
    gate(&person)
}

fn heart_rate_status(outcome: &Outcome) -> Status {
    why(outcome).view.heart_rate.status
}

/// A workout that came too late to move the evaluation time.
fn late_workout(time: i64) -> Message {
    workout(time).on("phone").late_by(HOUR)
}

#[test]
fn a_workout_opens_the_gate_for_half_an_hour() {
    for event_type in ["workout", "exercise"] {
        let message = workout(0).of_type(event_type);
        assert_eq!(gate_after([message]), Some((0, 30 * MINUTE)));
    }
    assert_eq!(gate_after([workout(0).of_type("walk")]), None);
}

#[test]
fn a_workout_that_says_how_long_it_lasts_holds_the_gate_longer() {
    assert_eq!(gate_after([workout(0).lasting(45.0)]), Some((0, 75 * MINUTE)));
    assert_eq!(
        gate_after([workout(0).lasting(0.000_000_025)]),
        Some((0, 30 * MINUTE + 1)),
        "1.5 µs"
    );
    assert_eq!(gate_after([workout(0).lasting(1440.0)]), Some((0, 24 * HOUR + 30 * MINUTE)));
}

#[test]
fn a_duration_that_cannot_be_used_counts_as_none() {
    for message in [
        workout(0).lasting(1441.0),
        workout(0).unsure("duration_minutes", 45.0, 0.4),
        workout(0).unreadable("duration_minutes"),
    ] {
        assert_eq!(gate_after([message]), Some((0, 30 * MINUTE)));
    }
}

#[test]
fn a_workout_opens_the_gate_though_nothing_of_it_is_live_or_usable() {
    assert_eq!(gate_after([late_workout(0)]), Some((0, 30 * MINUTE)));
    assert_eq!(gate_after([at(0).of_type("workout").unreadable("strain")]), Some((0, 30 * MINUTE)));
}

#[test]
fn a_workout_that_claims_to_be_in_the_future_opens_the_gate_at_its_arrival() {
    assert_eq!(gate_after([workout(MINUTE).late_by(-MINUTE)]), Some((0, 30 * MINUTE)));
}

#[test]
fn a_duration_outside_a_workout_opens_nothing() {
    assert_eq!(gate_after([at(0).lasting(45.0)]), None);
}

#[test]
fn live_steps_of_at_least_60_open_the_gate_for_ten_minutes() {
    assert_eq!(gate_after([at(0).steps(60.0)]), Some((0, 10 * MINUTE)));
    assert_eq!(gate_after([at(0).steps(60.0_f64.next_down())]), None);
}

#[test]
fn steps_that_are_not_live_open_nothing() {
    assert_eq!(gate_after([at(0).steps(100.0).late_by(HOUR)]), None);
    assert_eq!(gate_after([at(0).steps(0.0), at(-MINUTE).steps(100.0)]), None, "older than held");
    assert_eq!(gate_after([night(0).steps(100.0)]), None, "of a night");
    assert_eq!(gate_after([at(0).unsure("steps_per_minute", 100.0, 0.4)]), None, "excluded");
}

#[test]
fn intervals_that_meet_become_their_union() {
    let half_hour = 30 * MINUTE;
    assert_eq!(gate_after([workout(0), workout(half_hour)]), Some((0, HOUR)));
    assert_eq!(gate_after([workout(0), late_workout(-half_hour)]), Some((-half_hour, half_hour)));
    assert_eq!(gate_after([workout(0), at(MINUTE).steps(60.0)]), Some((0, half_hour)), "inside");
    let both = workout(0).steps(60.0);
    assert_eq!(gate_after([both]), Some((0, half_hour)), "a workout with steps");
}

#[test]
fn a_later_interval_replaces_the_gate_and_an_earlier_one_is_ignored() {
    let half_hour = 30 * MINUTE;
    let later = half_hour + MICROSECOND;
    assert_eq!(gate_after([workout(0), workout(later)]), Some((later, later + half_hour)));
    assert_eq!(gate_after([workout(0), late_workout(-later)]), Some((0, half_hour)));
}

#[test]
fn the_gate_is_closed_at_both_ends() {
    for (time, expected) in [
        (-MICROSECOND, Status::Calibrating),
        (0, Status::Gated),
        (30 * MINUTE, Status::Gated),
        (30 * MINUTE + MICROSECOND, Status::Calibrating),
    ] {
        let mut person = Person::new();
        person.sends(late_workout(0));
        assert_eq!(heart_rate_status(&person.sends(at(time).heart_rate(60.0))), expected, "{time}");
    }
}

#[test]
fn a_reading_from_before_the_gate_is_gated_while_the_gate_lasts() {
    let mut person = Person::new();
    person.sends(at(-MINUTE).heart_rate(60.0));
    let outcome = person.sends(at(0).steps(60.0));
    assert_eq!(heart_rate_status(&outcome), Status::Gated);
    let after = at(10 * MINUTE + MICROSECOND).stress(0.5);
    assert_eq!(heart_rate_status(&person.sends(after)), Status::Calibrating);
}

#[test]
fn a_reading_from_within_the_gate_stays_gated_after_it() {
    let mut person = Person::new();
    person.sends_all([at(0).steps(60.0), at(10 * MINUTE).heart_rate(60.0)]);
    let [still, stale] = [25 * MINUTE, 25 * MINUTE + MICROSECOND]
        .map(|time| heart_rate_status(&person.sends(at(time).stress(0.5))));
    assert_eq!((still, stale), (Status::Gated, Status::Stale));
}

#[test]
fn the_gate_hides_hrv_and_heart_rate_from_rules_derived_stress_and_confidence() {
    let mut person = Person::used_to(&[("hrv", 100.0), ("heart_rate", 50.0)]);
    let outcome = person.sends(workout(0).hrv(19.0).heart_rate(150.0));
    assert_eq!((brief(&outcome).as_str(), fired(&outcome).as_str()), ("unchanged pattern", ""));
    let derived = &why(&outcome).derived;
    assert_eq!((derived.drop, derived.elevation), (None, None));
    assert!(derived.stress.is_none() && !outcome.borderline);
    let outcome = person.sends(at(MINUTE).hrv(19.0).heart_rate(150.0).stress(0.9).recovery(30.0));
    assert_eq!(fired(&outcome), "stress_critical recovery_low");
    assert_eq!(proposed(&outcome, Mode::Reflex), Some(0.9));
}

#[test]
fn the_gate_hides_neither_stress_nor_nights() {
    let mut person = Person::sleeping_with_hrv(60.0);
    person.sends(workout(0));
    let outcome = person.sends(night(MINUTE).hrv(20.0).recovery(30.0));
    assert_eq!(fired(&outcome), "recovery_low overnight_hrv_low");
    assert_eq!(
        fired(&person.sends(at(2 * MINUTE).stress(0.9))),
        "stress_critical recovery_low overnight_hrv_low"
    );
}

#[test]
fn the_event_that_opens_the_gate_is_gated_itself() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    assert_eq!(fired(&person.sends(at(0).steps(60.0).hrv(50.0))), "");
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    assert_eq!(
        fired(&person.sends(at(0).steps(59.0).hrv(50.0))),
        "hrv_drop_ms hrv_drop_percentage"
    );
}
