//! Readings that are kept but not used are invisible to the engine.

use std::collections::BTreeSet;

use neuros::event::Record;
use neuros::{Explain, Policy};
use proptest::prelude::*;
use proptest::sample::select;

use super::logs::sendings;
use super::records::{Own, Sending, Sent, Shape, decoded, logged};
use super::settings::{LOGS, cases};
use super::world::{World, unexplained};

/// A reading that every policy excludes; `in_any_shape` when its value alone sees to that.
#[derive(Clone, Debug)]
struct Excluded {
    reading: Sent,
    in_any_shape: bool,
    first: bool,
}

fn excluded() -> impl Strategy<Value = Excluded> {
    let metrics = ["hrv", "heart_rate", "stress_level", "recovery_score", "steps_per_minute"];
    let others = ["duration_minutes", "sleep_score", "glucose"];
    let metric = prop_oneof![4 => select(metrics.to_vec()), 1 => select(others.to_vec())];
    let excluded = prop_oneof![
        select(&["-1e10", "1e10", "1e999", "true", "\"much\"", "\" 1\"", "[]"][..])
            .prop_map(|value| (value, None, Own::OfRecord)),
        select(&["0.49", "1.01", "-1", "false", "\"\"", "1e999"][..]).prop_map(|confidence| (
            "0.9",
            Some(confidence),
            Own::OfRecord
        )),
        Just(("0.9", None, Own::Unreadable)),
    ];
    (metric, excluded, any::<bool>()).prop_map(|(metric, (value, confidence, own), first)| {
        let in_any_shape = confidence.is_none() && own == Own::OfRecord;
        let reading = Sent { metric, value: value.to_owned(), confidence, own };
        Excluded { reading, in_any_shape, first }
    })
}

impl Excluded {
    /// Whether the reading would join an event of `record` without replacing a reading.
    fn can_join(&self, sending: &Sending, record: &Record<'_>) -> bool {
        let written = match sending.shape {
            Shape::Metrics => self.in_any_shape,
            Shape::List => true,
            Shape::Flat => false,
        };
        let given = sending.readings.iter().any(|sent| sent.metric == self.reading.metric);
        written && !given && record.events().any(|event| event.time == record.time)
    }

    /// The log with the reading wherever it can join; repeats stay repeats and revisions stay
    /// revisions, since of one identity all records get it or none.
    fn added_to(&self, sendings: &[Sending]) -> (Vec<Sending>, usize) {
        let log = logged(sendings);
        let records: Vec<_> = log.iter().map(|message| message.decoded().ok()).collect();
        let identity = |record: &Record<'_>| {
            let text = [&record.user_id, &record.device_id, &record.event_type];
            (text.map(|text| text.to_string()), record.time)
        };
        let mut barred = BTreeSet::new();
        for (sending, record) in sendings.iter().zip(&records) {
            let record = record.as_ref().filter(|record| !self.can_join(sending, record));
            barred.extend(record.map(identity));
        }
        let mut added = sendings.to_vec();
        let mut count = 0;
        for (sending, record) in added.iter_mut().zip(&records) {
            if record.as_ref().is_some_and(|record| !barred.contains(&identity(record))) {
                let place = if self.first { 0 } else { sending.readings.len() };
                sending.readings.insert(place, self.reading.clone());
                count += 1;
            }
        }
        (added, count)
    }
}

proptest! {
    #![proptest_config(cases(LOGS))]

    #[test]
    fn an_excluded_reading_more_changes_no_outcome_and_no_state(
        sendings in sendings(),
        excluded in excluded(),
    ) {
        let policy = Policy::default();
        let (added, count) = excluded.added_to(&sendings);
        prop_assume!(count > 0);
        let (log, added_log) = (logged(&sendings), logged(&added));
        let (mut plain, mut more) =
            (World::new(&policy, Explain::Switches), World::new(&policy, Explain::Switches));
        let outcomes = plain.play(&decoded(&log));
        let outcomes_more = more.play(&decoded(&added_log));
        prop_assert_eq!(outcomes.len(), outcomes_more.len());
        for (outcome, other) in outcomes.iter().zip(&outcomes_more) {
            prop_assert!(unexplained(outcome) == unexplained(other));
        }
        prop_assert_eq!(plain.states.len(), more.states.len());
        for (state, other) in plain.states.values().zip(more.states.values()) {
            prop_assert!(state.summary("someone") == other.summary("someone"));
            prop_assert!(state.history().eq(other.history()));
            prop_assert_eq!(state.to_checkpoint().len(), other.to_checkpoint().len());
        }
    }
}
