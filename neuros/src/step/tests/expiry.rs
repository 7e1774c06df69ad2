//! How a mode that nothing confirms ends, and what that leaves behind.

use super::*;
use crate::time::Micros;

const REFLEX_TTL: i64 = 6 * HOUR;
const OTHER_TTL: i64 = 12 * HOUR;

fn quiet(time: i64) -> Message {
    at(time).with("strain", 5.0)
}

#[test]
fn an_unconfirmed_mode_expires_after_its_time_to_live() {
    let cases = [
        (at(0).stress(0.9), REFLEX_TTL),
        (at(0).recovery(30.0), OTHER_TTL),
        (at(0).hrv(19.0).heart_rate(49.0), OTHER_TTL),
    ];
    for (enter, time_to_live) in cases {
        let mut person = Person::new();
        // What is known of recovery must be over by then.
        person.policy.fresh_for.overnight = Micros(HOUR);
        let entered = person.sends(enter).mode;
        let last = person.sends(quiet(time_to_live));
        assert_eq!((last.kind.as_str(), last.mode), ("unchanged", entered));
        let outcome = person.sends(quiet(time_to_live + MICROSECOND));
        assert_eq!(brief(&outcome), "switched pattern expired");
        assert_eq!((outcome.previous_mode, outcome.confidence), (entered, 0.5));
        assert!(person.state().entry_indicators.iter().next().is_none());
    }
}

#[test]
fn pattern_never_expires() {
    let mut person = Person::new();
    person.sends(quiet(0));
    assert_eq!(brief(&person.sends(quiet(365 * DAY))), "unchanged pattern");
}

#[test]
fn a_confirmation_puts_off_the_expiry() {
    let mut person = Person::new();
    person.sends_all([at(0).stress(0.9), at(HOUR).stress(0.9)]);
    assert_eq!(brief(&person.sends(quiet(REFLEX_TTL + HOUR))), "unchanged reflex");
    assert_eq!(
        brief(&person.sends(quiet(REFLEX_TTL + HOUR + MICROSECOND))),
        "switched pattern expired"
    );
}

#[test]
fn an_expiry_does_everything_a_switch_does_but_start_a_cooldown() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    let expired = REFLEX_TTL + MICROSECOND;
    person.sends(quiet(expired));
    let state = person.state();
    assert_eq!((state.mode, state.previous_mode), (Mode::Pattern, Some(Mode::Reflex)));
    assert_eq!([state.mode_since, state.last_confirmed, state.disturbed], [instant(expired); 3]);
    assert_eq!((state.last_switch, state.seq, state.history.len()), (Some(instant(0)), 2, 2));
    let outcome = person.sends(at(expired + SECOND).recovery(30.0));
    assert_eq!(
        (brief(&outcome).as_str(), outcome.confidence),
        ("switched guardian recovery_low", 0.7)
    );
}

#[test]
fn a_selected_candidate_goes_before_an_expiry_and_a_skipped_one_does_not() {
    for (least, expected) in
        [(0.5, "switched guardian recovery_low"), (0.8, "switched pattern expired")]
    {
        let mut person = Person::new();
        person.policy.selection.min_confidence = least;
        person.sends(at(0).stress(0.9));
        assert_eq!(brief(&person.sends(at(7 * HOUR).recovery(30.0))), expected);
    }
}
