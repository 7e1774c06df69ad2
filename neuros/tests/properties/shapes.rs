//! The three shapes say the same, and no order of keys says anything.

use std::collections::BTreeSet;

use neuros::event::Record;
use neuros::wire::{Intake, Message, decode};
use proptest::prelude::*;

use super::logs::{reading, sending};
use super::records::{Own, Sending, Shape, object};
use super::settings::cases;

/// Any record whose readings differ in metric and all are of the record's time.
fn of_one_time() -> impl Strategy<Value = Sending> {
    sending().prop_map(|mut sending| {
        let mut metrics = BTreeSet::new();
        sending.readings.retain(|sent| metrics.insert(sent.metric));
        for sent in &mut sending.readings {
            (sent.confidence, sent.own) = (None, Own::OfRecord);
        }
        sending
    })
}

/// Compares what two messages are decoded to.
fn are_equal(sending: &Sending, one: &str, other: &str) -> bool {
    let record_time = sending.logged().record_time;
    let read = |text: &str| -> Result<Record<'static>, _> {
        let message = Message { value: text.as_bytes(), record_time, ..Message::default() };
        match decode(&message, &Intake::default()) {
            Ok(record) => Ok(record.into_owned()),
            Err(rejection) => Err(rejection.into_owned()),
        }
    };
    read(one) == read(other)
}

proptest! {
    #![proptest_config(cases(768))]

    #[test]
    fn a_metrics_object_and_a_list_of_readings_give_one_record(sending in of_one_time()) {
        let [metrics, list] = [Shape::Metrics, Shape::List]
            .map(|shape| Sending { shape, ..sending.clone() }.logged().text);
        prop_assert!(are_equal(&sending, &metrics, &list), "{metrics}\n{list}");
    }

    #[test]
    fn a_flat_record_is_a_list_of_one(sending in sending(), mut reading in reading()) {
        reading.own = Own::OfRecord;
        let sending = Sending { readings: vec![reading], ..sending };
        let [flat, list] = [Shape::Flat, Shape::List]
            .map(|shape| Sending { shape, ..sending.clone() }.logged().text);
        prop_assert!(are_equal(&sending, &flat, &list), "{flat}\n{list}");
    }

    #[test]
    fn of_a_metric_given_twice_the_last_counts(mut sending in sending(), metrics in any::<bool>()) {
        sending.shape = if metrics { Shape::Metrics } else { Shape::List };
        // An entry without a value is skipped, a member without one still counts.
        sending.readings.retain(|sent| metrics || sent.value != "null");
        sending.readings.iter_mut().for_each(|sent| sent.own = Own::OfRecord);
        let mut once = sending.clone();
        let mut later = BTreeSet::new();
        once.readings.reverse();
        once.readings.retain(|sent| later.insert(sent.metric));
        let [twice, once] = [&sending, &once].map(|sending| sending.logged().text);
        prop_assert!(are_equal(&sending, &twice, &once), "{twice}\n{once}");
    }

    #[test]
    fn the_order_of_keys_says_nothing(
        (sending, members) in sending().prop_flat_map(|sending| {
            let members = Just(sending.members()).prop_shuffle();
            (Just(sending), members)
        }),
    ) {
        let shuffled = object(&members);
        prop_assert!(are_equal(&sending, &sending.logged().text, &shuffled), "{shuffled}");
    }

    #[test]
    fn the_order_of_different_metrics_says_nothing(
        (sending, metrics, entries) in of_one_time().prop_flat_map(|sending| {
            let metrics = Just(sending.metrics()).prop_shuffle();
            let entries = Just(sending.entries()).prop_shuffle();
            (Just(sending), metrics, entries)
        }),
    ) {
        let [plain, list] = [Shape::Metrics, Shape::List]
            .map(|shape| Sending { shape, ..sending.clone() }.logged().text);
        let mut members = Sending { shape: Shape::Metrics, ..sending.clone() }.members();
        members.last_mut().unwrap().1 = object(&metrics);
        prop_assert!(are_equal(&sending, &plain, &object(&members)));
        members.pop();
        members.push(("readings".to_owned(), format!("[{}]", entries.join(","))));
        prop_assert!(are_equal(&sending, &list, &object(&members)));
    }
}
