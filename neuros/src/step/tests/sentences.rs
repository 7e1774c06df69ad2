//! What explanations say to people.

use super::*;

fn sentences(outcome: &Outcome) -> String {
    why(outcome).to_string()
}

/// What a person is told whose first message is this.
fn first(message: Message) -> String {
    sentences(&Person::new().sends(message))
}

#[test]
fn a_switch_tells_what_was_seen() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    let outcome = person.sends(at(0).hrv(30.0).unsure("stress_level", 0.9, 0.3).recovery(101.0));
    assert_eq!(
        sentences(&outcome),
        "Switched from pattern to reflex: HRV 30 ms is 30 ms below the usual 60 (50 %), more than \
         25 ms or 30 %. Excluded: stress level (low confidence), recovery score (out of range)."
    );
}

#[test]
fn a_held_mode_tells_what_still_speaks_for_it() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9).steps(0.0).heart_rate(110.0));
    assert_eq!(
        sentences(&person.sends(at(90 * SECOND).heart_rate(112.0))),
        "Stayed in reflex: heart rate is 112 beats/min, above 100 for 90 s; reported stress is \
         0.9, more than 0.85."
    );
}

#[test]
fn a_suppressed_candidate_tells_that_it_is_too_weak_so_soon() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    assert_eq!(
        sentences(&person.sends(at(MINUTE).stress(0.5).recovery(30.0))),
        "Stayed in reflex: guardian (recovery is 30, less than 40) is too weak: confidence 0.49, \
         0.5 is needed, and until 2025-03-03 08:05 UTC other modes are held back."
    );
}

#[test]
fn a_suppressed_candidate_tells_how_long_it_has_to_wait() {
    let mut person = Person::new();
    person.sends_all([at(0).stress(0.9), at(4 * MINUTE).stress(0.9)]);
    assert_eq!(
        sentences(&person.sends(at(6 * MINUTE).stress(0.5).recovery(30.0))),
        "Stayed in reflex: guardian (recovery is 30, less than 40) has to wait until 2025-03-03 \
         08:09 UTC, being weaker than the current mode."
    );
}

#[test]
fn in_pattern_the_rule_that_came_closest_tells_what_it_needs() {
    let mut person = Person::used_to(&[("hrv", 60.0), ("heart_rate", 60.0)]);
    assert_eq!(
        sentences(&person.sends(at(0).hrv(45.0).heart_rate(65.0))),
        "Stayed in pattern: HRV 45 ms is 15 ms below the usual 60 (25 %); reflex needs more than \
         25 ms or 30 %."
    );
    assert_eq!(
        first(at(0).heart_rate(70.0)),
        "Stayed in pattern: heart rate is 70 beats/min; reflex needs more than 100 for 10 min. \
         Not fully judged: heart rate (its usual value is calibrating, 0/20 samples or 0/4 days)."
    );
    assert_eq!(
        first(at(0).recovery(45.0)),
        "Stayed in pattern: recovery is 45; guardian needs less than 40."
    );
}

#[test]
fn when_nothing_can_be_judged_that_is_told() {
    assert_eq!(
        first(at(0).with("strain", 5.0)),
        "Stayed in pattern: nothing that could change it can be judged yet."
    );
}

#[test]
fn a_late_event_tells_how_late_it_was() {
    assert_eq!(
        first(at(0).hrv(60.0).late_by(HOUR)),
        "Stayed in pattern: HRV arrived 60 min late, and only 15 min may pass for it to count as \
         the present."
    );
    let mut person = Person::new();
    person.sends(at(0).heart_rate(60.0));
    assert_eq!(
        sentences(&person.sends(at(-MINUTE).heart_rate(60.0))),
        "Stayed in pattern: a newer heart rate is already held."
    );
    let night = Person::new().sends_series(night(0).recovery(70.0).point(-HOUR, "hrv", 60.0));
    assert_eq!(
        sentences(&night[0]),
        "Stayed in pattern: HRV is a point of a series inside a night, which tells of the past."
    );
}

#[test]
fn an_event_without_a_usable_reading_and_a_repeated_one_say_so() {
    let mut person = Person::new();
    let told = [0, 0].map(|time| sentences(&person.sends(at(time).unreadable("hrv"))));
    assert_eq!(
        told,
        [
            "Stayed in pattern: not one reading of this event can be used. Excluded: HRV (not a \
             number).",
            "Stayed in pattern: this record has been applied before. Excluded: HRV (not a number).",
        ]
    );
}

#[test]
fn an_expiry_tells_since_when_nothing_confirmed_the_mode() {
    let mut person = Person::new();
    person.sends_all([at(0).stress(0.9), at(2 * MINUTE).stress(0.9)]);
    assert_eq!(
        sentences(&person.sends(at(7 * HOUR).with("strain", 5.0))),
        "Returned to pattern from reflex: nothing has confirmed it since 2025-03-03 08:02 UTC."
    );
}

#[test]
fn calm_tells_when_pattern_follows_and_a_return_that_it_did() {
    let mut person = Person::new();
    person.sends_all([at(0).recovery(30.0), at(2 * MINUTE).recovery(30.0)]);
    assert_eq!(
        sentences(&person.sends(at(3 * MINUTE).recovery(70.0))),
        "Stayed in guardian: nothing speaks for another mode. Nothing out of the ordinary since \
         2025-03-03 08:02 UTC; if it stays so, pattern follows from 2025-03-03 08:07 UTC on."
    );
    assert_eq!(
        sentences(&person.sends(at(7 * MINUTE).recovery(70.0))),
        "Returned to pattern from guardian: nothing out of the ordinary since 2025-03-03 08:02 UTC."
    );
}

#[test]
fn what_is_missing_for_calm_is_named() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.9));
    assert_eq!(
        sentences(&person.sends(at(20 * MINUTE).heart_rate(95.0).recovery(70.0))),
        "Stayed in reflex: nothing speaks for another mode. Not calm yet: heart rate is 95 \
         (normal is at most 90), stress is not known. Unconfirmed, reflex ends after 2025-03-03 \
         14:00 UTC. Not fully judged: heart rate (its usual value is calibrating, 0/20 samples or \
         0/4 days), stress (last seen 20 min ago)."
    );
}

#[test]
fn movement_is_named_with_its_end() {
    assert_eq!(
        first(workout(0).heart_rate(150.0)),
        "Stayed in pattern: nothing that could change it can be judged yet. Movement explains \
         heart rate and HRV until 2025-03-03 08:30 UTC."
    );
}

#[test]
fn every_rule_of_a_switch_has_its_sentence() {
    let headline =
        |person: &mut Person, messages: Vec<Message>| why(&person.sends_all(messages)).headline();
    let nights = headline(&mut Person::sleeping_with_hrv(60.0), vec![night(0).hrv(30.0)]);
    assert_eq!(
        nights,
        "Switched from pattern to guardian: overnight HRV 30 ms is 30 ms below the usual 60 (50 \
         %), more than 25 ms or 30 %."
    );
    let beats = |time: i64| at(time).heart_rate(91.0);
    let extreme = vec![beats(-MICROSECOND).steps(0.0), beats(MINUTE - MICROSECOND)];
    assert_eq!(
        headline(&mut Person::used_to(&[("heart_rate", 50.0)]), extreme),
        "Switched from pattern to reflex: heart rate 91 beats/min is 41 above the usual 50, by \
         more than 40 for 60 s."
    );
    let mut person = Person::used_to(&[("hrv", 20.0), ("heart_rate", 60.0)]);
    assert_eq!(
        headline(&mut person, vec![at(0).hrv(8.0).heart_rate(110.0)]),
        "Switched from pattern to reflex: HRV 8 ms is 12 ms below the usual 20 (60 %), more than \
         25 ms or 30 %; stress, derived from HRV and heart rate, is 0.92, more than 0.85."
    );
    let mut person = Person::used_to(&[("hrv", 35.0), ("heart_rate", 60.0)]);
    assert_eq!(
        headline(&mut person, vec![at(0).hrv(27.0).heart_rate(85.0)]),
        "Switched from pattern to guardian: 2 of 3 signs of depletion hold (HRV 27 ms, heart rate \
         85 beats/min)."
    );
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    assert_eq!(
        headline(&mut person, vec![at(0).hrv(95.0).heart_rate(95.0)]),
        "Switched from pattern to hypothesis: HRV 95 ms and heart rate 95 beats/min are both high."
    );
    let mondays = [-14, -7].map(|days| at(days * DAY).recovery(45.0));
    let low = at(-HOUR).hrv(19.0).heart_rate(49.0);
    let mut person = Person::new();
    assert_eq!(
        headline(&mut person, [mondays.to_vec(), vec![low]].concat()),
        "Switched from pattern to hypothesis: HRV 19 ms and heart rate 49 beats/min are both low."
    );
    assert_eq!(
        headline(&mut person, vec![at(0).recovery(45.0)]),
        "Switched from hypothesis to pattern: recovery was low on 3 recent days of this weekday."
    );
}

#[test]
fn a_heart_rate_that_is_not_high_for_long_enough_tells_how_long_it_has_been() {
    let mut person = Person::new();
    person.sends(at(0).heart_rate(110.0).recovery(95.0));
    assert_eq!(
        why(&person.sends(at(7 * MINUTE).heart_rate(111.0))).headline(),
        "Stayed in pattern: heart rate is 111 beats/min, above 100 for 7 min; reflex needs 10 min."
    );
}

#[test]
fn numbers_show_on_which_side_of_their_limit_they_lie() {
    assert_eq!(
        first(at(0).stress(0.85_f64.next_up())),
        "Switched from pattern to reflex: reported stress is 0.8500000000000001, more than 0.85."
    );
    assert_eq!(
        first(at(0).recovery(39.96)),
        "Switched from pattern to guardian: recovery is 39.96, less than 40."
    );
    assert_eq!(
        first(at(0).hrv(60.0).late_by(15 * MINUTE + SECOND)),
        "Stayed in pattern: HRV arrived 901 s late, and only 15 min may pass for it to count as \
         the present."
    );
}

#[test]
fn movement_that_has_ended_is_told_as_past() {
    let mut person = Person::new();
    person.sends_all([workout(0), at(29 * MINUTE).heart_rate(150.0)]);
    assert!(
        sentences(&person.sends(at(31 * MINUTE).stress(0.1)))
            .contains("Movement until 2025-03-03 08:30 UTC explains heart rate and HRV.")
    );
}

#[test]
fn what_was_sent_and_is_not_the_present_is_named() {
    let mut person = Person::new();
    person.sends(at(0).heart_rate(60.0));
    assert!(
        sentences(&person.sends(at(-MINUTE).heart_rate(70.0).recovery(70.0)))
            .ends_with("Not the present: heart rate (a newer one is held).")
    );
}

#[test]
fn long_lists_are_cut_and_unknown_names_are_quoted() {
    let many = (0..9).fold(at(0), |message, number| message.unreadable(&format!("m. {number}")));
    assert_eq!(
        first(many),
        "Stayed in pattern: not one reading of this event can be used. Excluded: \"m. 0\" (not a \
         number), \"m. 1\" (not a number), \"m. 2\" (not a number), \"m. 3\" (not a number), \
         \"m. 4\" (not a number) and 4 more."
    );
}
