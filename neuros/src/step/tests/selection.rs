//! Which candidate is selected, and what a switch and a hold leave behind.

use super::*;
use crate::candidate::Skip;
use crate::state::Indicator;

/// What is told at a time.
type Told = fn(i64) -> Message;

/// Enters hypothesis, which nothing stands below.
fn contradiction(time: i64) -> Message {
    at(time).hrv(19.0).heart_rate(49.0)
}

/// Ends what [`contradiction`] said.
fn contradiction_over(message: Message) -> Message {
    message.hrv(60.0).heart_rate(60.0)
}

fn quiet(time: i64) -> Message {
    at(time).with("strain", 5.0)
}

fn skips(outcome: &Outcome) -> Vec<(Mode, Option<f64>, Option<Skip>)> {
    let candidates = why(outcome).candidates.iter();
    candidates.map(|candidate| (candidate.mode, candidate.cooled, candidate.skipped)).collect()
}

fn entry_indicators(person: &Person) -> Vec<Indicator> {
    person.state().entry_indicators.iter().collect()
}

#[test]
fn a_switch_sets_everything_that_belongs_to_the_mode() {
    let mut person = Person::new();
    person.sends(at(-HOUR).stress(0.5));
    let outcome = person.sends(at(0).stress(0.9));
    assert_eq!(brief(&outcome), "switched reflex stress_critical");
    assert_eq!((outcome.previous_mode, outcome.confidence), (Mode::Pattern, 0.9));
    let state = person.state();
    assert_eq!((state.mode, state.previous_mode), (Mode::Reflex, Some(Mode::Pattern)));
    assert_eq!([state.mode_since, state.last_confirmed, state.disturbed], [instant(0); 3]);
    assert_eq!((state.last_switch, state.seq), (Some(instant(0)), 1));
    assert_eq!(entry_indicators(&person), [Indicator::Stress]);
    let decision = state.history[0];
    assert_eq!((decision.seq, decision.time), (1, instant(0)));
    assert_eq!((decision.previous_mode, decision.mode), (Mode::Pattern, Mode::Reflex));
    assert_eq!((decision.reason.as_str(), decision.confidence_permille), ("stress_critical", 900));
}

#[test]
fn a_held_mode_is_confirmed_with_its_new_confidence_and_keeps_everything_else() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    let outcome = person.sends(at(MINUTE).stress(0.95));
    assert_eq!(brief(&outcome), "held reflex stress_critical");
    assert_eq!((outcome.confidence, outcome.previous_mode), (0.95, Mode::Reflex));
    let state = person.state();
    assert_eq!((state.mode_since, state.last_switch), (instant(0), Some(instant(0))));
    assert_eq!((state.last_confirmed, state.disturbed), (instant(MINUTE), instant(MINUTE)));
    assert_eq!((state.seq, state.history.len(), state.previous_mode), (1, 1, Some(Mode::Pattern)));
}

#[test]
fn a_hold_by_other_rules_keeps_the_entry_indicators() {
    let mut person = Person::used_to(&[("hrv", 100.0)]);
    person.sends(at(0).stress(0.9));
    person.sends(at(MINUTE).stress(0.5).hrv(60.0));
    assert_eq!(entry_indicators(&person), [Indicator::Stress]);
}

#[test]
fn an_entry_keeps_the_indicators_of_all_fired_rules_of_its_mode_alone() {
    use Indicator::{HeartRate, Hrv, OvernightHrv, Recovery, Stress};
    let usual = [("hrv", 35.0), ("heart_rate", 60.0)];
    let cases: [(Message, &[Indicator]); 8] = [
        (at(0).hrv(20.0), &[Hrv]),
        (at(0).stress(0.9).hrv(20.0).recovery(30.0), &[Hrv, Stress]),
        (at(0).recovery(30.0).stress(0.75).hrv(35.0), &[Recovery]),
        (at(0).hrv(27.0).heart_rate(81.0), &[Hrv, HeartRate]),
        (at(0).hrv(27.0).stress(0.75).heart_rate(80.0), &[Hrv, Stress]),
        (at(0).heart_rate(81.0).stress(0.75).hrv(30.0), &[HeartRate, Stress]),
        (
            at(0).hrv(27.0).heart_rate(81.0).stress(0.75).recovery(30.0),
            &[Hrv, HeartRate, Stress, Recovery],
        ),
        (at(0).hrv(60.0).heart_rate(95.0), &[Hrv, HeartRate]),
    ];
    for (message, expected) in cases {
        let mut person = Person::used_to(&usual);
        assert_eq!(person.sends(message).kind.as_str(), "switched");
        assert_eq!(entry_indicators(&person), expected);
    }
    let mut person = Person::sleeping_with_hrv(60.0);
    person.sends(night(0).hrv(20.0));
    assert_eq!(entry_indicators(&person), [OvernightHrv]);
    let mut person = Person::new();
    person.sends(contradiction(0));
    assert_eq!(entry_indicators(&person), [Hrv, HeartRate]);
}

#[test]
fn a_sustained_heart_rate_is_the_indicator_of_its_rules() {
    for (usual, beats) in [(90.0, 101.0), (50.0, 99.0)] {
        let mut person = Person::used_to(&[("heart_rate", usual)]);
        person.sends(at(0).steps(0.0).heart_rate(beats));
        assert_eq!(brief(&person.sends(at(MINUTE).heart_rate(beats)))[..15], *"switched reflex");
        assert_eq!(entry_indicators(&person), [Indicator::HeartRate]);
    }
}

#[test]
fn candidates_are_taken_by_priority() {
    let usual = [("hrv", 60.0)];
    let all = at(0).hrv(95.0).heart_rate(95.0).recovery(30.0);
    let outcome = Person::used_to(&usual).sends(all.clone().stress(0.9));
    assert_eq!(brief(&outcome), "switched reflex stress_critical");
    assert_eq!(fired(&outcome), "stress_critical recovery_low high_hrv_high_hr");
    assert_eq!(
        skips(&outcome),
        [(Mode::Reflex, None, None), (Mode::Guardian, None, None), (Mode::Hypothesis, None, None)]
    );
    assert_eq!(brief(&Person::used_to(&usual).sends(all)), "switched guardian recovery_low");
}

#[test]
fn within_300_s_of_a_switch_candidates_for_other_modes_are_cooled() {
    for (time, confidence) in [(5 * MINUTE - MICROSECOND, 0.9 * 0.7), (5 * MINUTE, 0.9)] {
        let mut person = Person::new();
        person.sends(contradiction(0));
        let outcome = person.sends(contradiction_over(at(time).stress(0.9)));
        assert_eq!(brief(&outcome), "switched reflex stress_critical");
        assert_eq!((outcome.confidence, person.state().confidence), (confidence, confidence));
        assert_eq!(proposed(&outcome, Mode::Reflex), Some(0.9), "before the cooldown");
    }
}

#[test]
fn a_candidate_for_the_current_mode_is_not_cooled() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    let outcome = person.sends(at(SECOND).stress(0.9).recovery(10.0));
    assert_eq!(
        skips(&outcome),
        [(Mode::Reflex, None, None), (Mode::Guardian, Some(0.9 * 0.7), Some(Skip::StepDown))]
    );
    assert_eq!(outcome.confidence, 0.9);
}

#[test]
fn a_confidence_of_exactly_05_is_selected() {
    let mut person = Person::used_to(&[("hrv", 20.0)]);
    let outcome = person.sends(at(0).hrv(13.0));
    assert_eq!(
        (brief(&outcome).as_str(), outcome.confidence),
        ("switched reflex hrv_drop_percentage", 0.5)
    );
    for (least, expected) in [
        (0.9, "switched reflex stress_critical"),
        (0.9_f64.next_up(), "suppressed pattern stress_critical"),
    ] {
        let mut person = Person::new();
        person.policy.selection.min_confidence = least;
        assert_eq!(brief(&person.sends(at(0).stress(0.9))), expected);
    }
}

#[test]
fn a_cooled_confidence_below_05_suppresses() {
    let mut person = Person::new();
    person.sends(contradiction(0));
    let outcome = person.sends(contradiction_over(at(MINUTE).recovery(30.0)));
    assert_eq!(brief(&outcome), "suppressed hypothesis recovery_low");
    assert_eq!(skips(&outcome), [(Mode::Guardian, Some(0.7 * 0.7), Some(Skip::Confidence))]);
    assert_eq!((outcome.confidence, person.state().last_confirmed), (0.6, instant(0)));
    assert_eq!(person.state().disturbed, instant(MINUTE));
}

#[test]
fn the_cooled_confidence_is_the_one_that_must_reach_05() {
    // 0.714 and 0.715 before the cooldown, 0.4998 and 0.5005 after it.
    for (recovery, expected) in [(28.6, "suppressed hypothesis"), (28.5, "switched guardian")] {
        let mut person = Person::new();
        person.sends(contradiction(0));
        let outcome = person.sends(contradiction_over(at(MINUTE).recovery(recovery)));
        assert_eq!(brief(&outcome), format!("{expected} recovery_low"));
    }
}

#[test]
fn a_skipped_candidate_leaves_the_way_to_the_next() {
    let mut person = Person::new();
    person.sends(contradiction(0));
    let outcome = person.sends(at(MINUTE).recovery(30.0));
    assert_eq!(brief(&outcome), "held hypothesis low_hrv_low_hr");
    assert_eq!(fired(&outcome), "recovery_low low_hrv_low_hr");
}

#[test]
fn what_is_suppressed_is_told_by_the_first_candidate() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    let outcome = person.sends(contradiction(MINUTE).stress(0.5).recovery(30.0));
    assert_eq!(brief(&outcome), "suppressed reflex recovery_low");
    assert_eq!(fired(&outcome), "recovery_low low_hrv_low_hr");
}

#[test]
fn a_weaker_mode_waits_for_300_s_after_the_last_confirmation() {
    let mut person = Person::new();
    person.sends_all([at(0).stress(0.9), at(4 * MINUTE).stress(0.9)]);
    let outcome = person.sends(at(6 * MINUTE).stress(0.5).recovery(30.0));
    assert_eq!(brief(&outcome), "suppressed reflex recovery_low");
    assert_eq!(skips(&outcome), [(Mode::Guardian, None, Some(Skip::StepDown))]);
    let waited = 9 * MINUTE;
    assert_eq!(brief(&person.sends(quiet(waited - MICROSECOND))), "suppressed reflex recovery_low");
    assert_eq!(brief(&person.sends(quiet(waited))), "switched guardian recovery_low");
}

#[test]
fn only_a_mode_that_stands_below_the_current_one_has_to_wait() {
    // For a step down the cooldown alone would not do: nothing is cooled here.
    let candidates: [(Mode, Told); 3] = [
        (Mode::Reflex, |time| at(time).stress(0.9)),
        (Mode::Guardian, |time| at(time).recovery(30.0)),
        (Mode::Hypothesis, contradiction),
    ];
    for (current, enter) in candidates {
        for (other, ask) in candidates {
            let mut person = Person::new();
            person.policy.selection.factor = 1.0;
            person.sends(enter(0));
            let ended = contradiction_over(at(SECOND).stress(0.5).recovery(80.0));
            person.sends(ended);
            let outcome = person.sends(ask(MINUTE));
            let expected = match (current, other) {
                _ if current == other => "held",
                (Mode::Reflex, _) | (Mode::Guardian, Mode::Hypothesis) => "suppressed",
                _ => "switched",
            };
            assert_eq!(outcome.kind.as_str(), expected, "{current:?} to {other:?}");
        }
    }
}

#[test]
fn the_pattern_rules_step_down_from_reflex_and_guardian_and_not_from_hypothesis() {
    let enters: [(Told, &str); 3] = [
        (|time| at(time).stress(0.9), "suppressed reflex low_recovery_weekday"),
        (|time| at(time).recovery(39.0), "suppressed guardian low_recovery_weekday"),
        (contradiction, "switched pattern low_recovery_weekday"),
    ];
    for (enter, expected) in enters {
        let mut person = Person::new();
        person.policy.selection.factor = 1.0;
        person.sends_all([-14, -7].map(|days| at(days * DAY).recovery(45.0)));
        person.sends(enter(0));
        let monday = contradiction_over(at(MINUTE).stress(0.5).recovery(45.0));
        assert_eq!(brief(&person.sends(monday)), expected);
    }
}

#[test]
fn every_switch_is_numbered_and_the_newest_50_are_kept() {
    let mut person = Person::new();
    for round in 0..26 {
        person.sends_all([at(round * DAY).stress(0.9), quiet(round * DAY + 7 * HOUR)]);
    }
    let state = person.state();
    assert_eq!((state.seq, state.history.len()), (52, 50));
    let numbers = state.history().map(|decision| decision.seq);
    assert!(numbers.eq(3..=52));
    assert_eq!(state.history[49].reason.as_str(), "expired");
}

#[test]
fn nothing_but_a_switch_is_numbered() {
    let mut person = Person::new();
    person.sends_all([at(0).stress(0.9), at(1).stress(0.9), at(2).recovery(30.0), quiet(3)]);
    person.sends_all([quiet(3), at(-HOUR).hrv(60.0).late_by(HOUR)]);
    assert_eq!((person.state().seq, person.state().history.len()), (1, 1));
}

#[test]
fn only_switches_are_explained_unless_everything_is_asked_for() {
    let mut state = None;
    let mut outcomes = Vec::new();
    for message in [at(0).stress(0.5), at(1).stress(0.9), at(2).stress(0.9)] {
        let text = message.text();
        let sent = wire::Message { value: text.as_bytes(), ..Default::default() };
        let record = wire::decode(&sent, &Intake::default()).unwrap();
        let state = state.get_or_insert_with(|| State::born(&record));
        step(&Policy::default(), state, &record, Explain::Switches, &mut outcomes);
    }
    let explained = outcomes.iter().map(|outcome| outcome.explanation.is_some());
    assert!(explained.eq([false, true, false]));
}
