//! Any bytes are one message: a record that keeps its promises, or a rejection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use neuros::time::Timestamp;
use neuros::wire::{Headers, Intake, Message, decode};

fuzz_target!(|input: (&[u8], Option<i64>, bool, &[u8], &[u8])| {
    let (value, record_time, is_cloud_event, time, source) = input;
    let headers: [(&str, &[u8]); 3] =
        [("ce_time", time), ("ce_source", source), ("ce_specversion", b"1.0")];
    let count = if is_cloud_event { 3 } else { 2 };
    let message = Message {
        value,
        headers: headers.into_iter().take(count).collect::<Headers>(),
        record_time: record_time.map(Timestamp::from_millis),
    };
    let Ok(record) = decode(&message, &Intake::default()) else { return };
    let mut before = None;
    assert!(record.events().len() > 0);
    for event in record.events() {
        assert!(before < Some(event.time));
        before = Some(event.time);
        assert!(!event.readings.is_empty());
        assert!(event.readings.is_sorted_by(|one, next| one.metric < next.metric));
        for reading in event.readings {
            assert!(reading.value.is_none_or(f64::is_finite));
            assert!(reading.confidence.is_none_or(f64::is_finite));
        }
    }
});
