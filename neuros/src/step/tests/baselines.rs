//! What is usual: when a baseline is calibrated, what is added to it, and what it forgets.

use super::*;
use crate::baseline::Segment;
use crate::explain::{BaselineReport, Status};
use crate::signal::Signal;

fn segments(person: &Person, signal: Signal) -> &[Segment] {
    &person.state().baselines.of(signal).unwrap().0
}

/// Samples of all days of the only device that reported HRV.
fn samples(person: &Person) -> u32 {
    let [segment] = segments(person, Signal::Hrv) else {
        return 0;
    };
    segment.buckets.iter().map(|bucket| bucket.samples).sum()
}

/// Days from the start on which the only device that reported HRV has samples.
fn days(person: &Person) -> Vec<i32> {
    let buckets = &segments(person, Signal::Hrv)[0].buckets;
    buckets.iter().map(|bucket| bucket.day - instant(0).day()).collect()
}

fn devices(person: &Person) -> Vec<&str> {
    segments(person, Signal::Hrv).iter().map(|segment| segment.device_id.as_str()).collect()
}

/// The baseline that the held HRV is compared with.
fn hrv_baseline(outcome: &Outcome) -> BaselineReport {
    why(outcome).view.hrv.baseline.unwrap()
}

#[test]
fn nineteen_samples_do_not_calibrate_and_twenty_do() {
    for (count, expected) in [(19, ""), (20, "hrv_drop_ms hrv_drop_percentage")] {
        let mut person = Person::new();
        person.repeats(count, &[("hrv", 60.0)], -MINUTE);
        assert_eq!(fired(&person.sends(at(0).hrv(20.0))), expected);
    }
}

#[test]
fn three_days_do_not_calibrate_and_four_do() {
    for (first, expected) in [(3, ""), (4, "hrv_drop_ms hrv_drop_percentage")] {
        let mut person = Person::new();
        for days in (1..=first).rev() {
            person.sends(at(-days * DAY).hrv(60.0));
        }
        assert_eq!(fired(&person.sends(at(0).hrv(20.0))), expected);
    }
}

#[test]
fn the_day_of_the_reading_counts_among_the_four() {
    let mut person = Person::new();
    for time in [-3 * DAY, -2 * DAY, -DAY, -MINUTE] {
        person.sends(at(time).hrv(60.0));
    }
    assert!(hrv_baseline(&person.sends(at(0).hrv(60.0))).calibrated);
}

#[test]
fn an_overnight_hrv_is_calibrated_by_days_only() {
    for (nights, expected) in [(3, ""), (4, "overnight_hrv_low")] {
        let mut person = Person::new();
        for days in (1..=nights).rev() {
            let start = -days * DAY;
            let series = (0..25).fold(night(start).late_by(HOUR), |series, minutes| {
                series.point(start + minutes * MINUTE, "hrv", 60.0)
            });
            assert_eq!(person.sends_series(series).len(), 25);
        }
        assert_eq!(fired(&person.sends(night(0).hrv(20.0))), expected, "{nights} nights");
    }
}

#[test]
fn a_baseline_does_not_include_the_reading_itself() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    let first = hrv_baseline(&person.sends(at(0).hrv(50.0)));
    assert_eq!((first.mean, first.samples, first.days), (Some(60.0), 20, 1));
    let second = hrv_baseline(&person.sends(at(MINUTE).hrv(50.0)));
    assert_eq!((second.mean, second.samples), (Some((20.0 * 60.0 + 50.0) / 21.0), 21));
}

#[test]
fn a_baseline_is_the_one_held_when_the_reading_came() {
    let mut person = Person::new();
    person.repeats(19, &[("hrv", 60.0)], -MINUTE);
    person.sends(at(0).hrv(20.0));
    let outcome = person.sends(at(MINUTE).stress(0.1));
    assert_eq!(segments(&person, Signal::Hrv)[0].buckets[0].samples, 20);
    assert_eq!((fired(&outcome).as_str(), hrv_baseline(&outcome).samples), ("", 19));
}

#[test]
fn the_window_reaches_back_six_days_and_no_further() {
    for (days, expected) in [(6, Some(60.0)), (7, None)] {
        let mut person = Person::new();
        person.repeats(20, &[("hrv", 60.0)], -days * DAY);
        let baseline = hrv_baseline(&person.sends(at(0).hrv(20.0)));
        assert_eq!(baseline.mean, expected, "{days} days before");
        assert_eq!(baseline.calibrated, expected.is_some());
    }
}

#[test]
fn the_window_counts_utc_days_not_hours() {
    // The start is 8 hours into its day.
    for (time, expected) in [(-6 * DAY - 8 * HOUR, 1), (-6 * DAY - 8 * HOUR - MICROSECOND, 0)] {
        let mut person = Person::new();
        person.sends(at(time).hrv(60.0));
        assert_eq!(hrv_baseline(&person.sends(at(0).hrv(60.0))).samples, expected);
    }
}

#[test]
fn the_window_of_a_late_reading_ends_with_its_own_day() {
    // Its baseline shows in whether the reading marks its hour.
    for (usual_day, marks) in [(0, 0), (-DAY, 1)] {
        let mut person = Person::new();
        person.repeats(20, &[("hrv", 60.0)], usual_day - HOUR);
        person.sends(at(-DAY).hrv(20.0).late_by(DAY));
        assert_eq!(person.state().hard_hours.0.len(), marks);
    }
}

#[test]
fn readings_less_than_a_minute_apart_are_added_once_in_both_directions() {
    for (time, expected) in
        [(MINUTE - MICROSECOND, 1), (MINUTE, 2), (-MINUTE + MICROSECOND, 1), (-MINUTE, 2), (0, 1)]
    {
        let mut person = Person::new();
        person.sends(at(0).hrv(60.0));
        person.sends(at(time).on("watch").hrv(50.0).late_by(HOUR));
        assert_eq!(samples(&person), expected, "{time}");
    }
}

#[test]
fn spacing_counts_from_the_reading_that_was_added_last() {
    let mut person = Person::new();
    for time in [0, 59 * SECOND, MINUTE, 119 * SECOND] {
        person.sends(at(time).hrv(60.0));
    }
    assert_eq!(samples(&person), 2);
    // A late reading is the one added last, however old it is.
    person.sends(at(-HOUR).hrv(60.0).late_by(2 * HOUR));
    person.sends(at(119 * SECOND + MICROSECOND).hrv(60.0));
    assert_eq!(samples(&person), 4);
}

#[test]
fn a_reading_older_than_the_window_is_not_added() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    person.sends(at(-6 * DAY).hrv(60.0).late_by(7 * DAY));
    person.sends(at(-7 * DAY).hrv(60.0).late_by(8 * DAY));
    assert_eq!(days(&person), [-6, 0]);
}

#[test]
fn a_reading_that_is_too_old_to_be_added_does_not_count_for_spacing() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0));
    person.sends(at(-7 * DAY).hrv(60.0).late_by(8 * DAY));
    person.sends(at(MINUTE - MICROSECOND).hrv(60.0));
    assert_eq!(samples(&person), 1);
}

#[test]
fn days_that_leave_the_window_are_dropped() {
    let mut person = Person::new();
    for time in [-6 * DAY, -5 * DAY, 0, DAY] {
        person.sends(at(time).hrv(60.0));
    }
    assert_eq!(days(&person), [-5, 0, 1]);
}

#[test]
fn a_late_day_finds_its_place_among_the_others() {
    let mut person = Person::new();
    for time in [-3 * DAY, 0, -DAY] {
        person.sends(at(time).hrv(60.0).late_by(4 * DAY));
    }
    assert_eq!(days(&person), [-3, -1, 0]);
}

#[test]
fn a_new_device_starts_its_own_baseline() {
    let mut person = Person::used_to(&[("hrv", 60.0)]);
    let outcome = person.sends(at(0).on("ring").hrv(20.0));
    assert_eq!(
        (fired(&outcome).as_str(), why(&outcome).view.hrv.status),
        ("", Status::Calibrating)
    );
    assert_eq!(fired(&person.sends(at(MINUTE).hrv(20.0))), "hrv_drop_ms hrv_drop_percentage");
    assert_eq!(devices(&person), ["ring", "watch"]);
}

#[test]
fn each_signal_has_its_own_baselines() {
    let mut person = Person::new();
    person.sends(at(0).hrv(60.0).heart_rate(70.0));
    person.sends(night(0).on("ring").hrv(50.0).heart_rate(40.0));
    for (signal, device, sum) in [
        (Signal::Hrv, "watch", 60.0),
        (Signal::HeartRate, "watch", 70.0),
        (Signal::OvernightHrv, "ring", 50.0),
    ] {
        let [segment] = segments(&person, signal) else { panic!("one segment of {signal:?}") };
        assert_eq!((segment.device_id.as_str(), segment.buckets[0].sum), (device, sum));
    }
}

#[test]
fn a_ninth_device_replaces_the_one_added_to_longest_ago() {
    let mut person = Person::new();
    for (minutes, device) in (0..).zip(["c", "b", "a", "d", "e", "f", "g", "h", "c"]) {
        person.sends(at(minutes * MINUTE).on(device).hrv(60.0));
    }
    assert_eq!(devices(&person), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    person.sends(at(9 * MINUTE).on("i").hrv(60.0));
    assert_eq!(devices(&person), ["a", "c", "d", "e", "f", "g", "h", "i"]);
}

#[test]
fn of_devices_added_to_at_the_same_time_the_smaller_id_goes_first() {
    let mut person = Person::new();
    for device in ["h", "g", "f", "e", "d", "c", "B", "b"] {
        person.sends(at(0).on(device).hrv(60.0));
    }
    person.sends(at(MINUTE).on("A").hrv(60.0));
    assert_eq!(devices(&person), ["A", "b", "c", "d", "e", "f", "g", "h"]);
    person.sends(at(MINUTE).on("é").hrv(60.0));
    assert_eq!(devices(&person), ["A", "c", "d", "e", "f", "g", "h", "é"]);
}

#[test]
fn gated_hrv_and_heart_rate_are_not_added_and_overnight_hrv_is() {
    let mut person = Person::new();
    person.sends(workout(0).hrv(60.0).heart_rate(120.0));
    person.sends(at(30 * MINUTE).hrv(60.0).heart_rate(120.0));
    person.sends(at(10 * MINUTE).hrv(60.0).heart_rate(120.0).late_by(HOUR));
    person.sends(night(10 * MINUTE).hrv(60.0));
    let counts = [Signal::Hrv, Signal::HeartRate, Signal::OvernightHrv]
        .map(|signal| segments(&person, signal).len());
    assert_eq!(counts, [0, 0, 1]);
    person.sends(at(30 * MINUTE + MICROSECOND).hrv(60.0));
    assert_eq!(samples(&person), 1);
}

#[test]
fn backfill_is_added() {
    let mut person = Person::new();
    assert_eq!(
        brief(&person.sends(at(0).hrv(60.0).late_by(HOUR))),
        "not_evaluated pattern backfill"
    );
    assert_eq!(samples(&person), 1);
}

#[test]
fn an_excluded_reading_is_not_added() {
    let mut person = Person::new();
    person.sends(at(0).unsure("hrv", 60.0, 0.49).heart_rate(60.0));
    assert_eq!(samples(&person), 0);
}

#[test]
fn a_revision_is_not_added() {
    let mut person = Person::new();
    person.sends(at(0).stress(0.5));
    person.sends(at(0).hrv(60.0));
    assert_eq!(samples(&person), 0);
}
