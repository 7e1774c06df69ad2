//! Libraries quote what they were given in the texts of their errors. For each that is given health data: that it
//! does, and that the door behind which it is used does not. Databases have theirs in
//! `store/failures.rs`, and that and Redis's are met by `service/canary.rs`, too.

use std::collections::BTreeSet;

use actors::command::Order;
use actors::dead_letter;
use actors::phi::Phi;
use neuros::State;
use neuros::event::Record;
use neuros::time::Timestamp;
use neuros::wire::{Intake, Message, decode};

use crate::support::{run, stderr};

/// What is planted, as a text and as a number; no error text of ours may have it.
const TEXT: &str = "zebrafink";
const NUMBER: &str = "43.219871";

fn says_nothing(door: &str, said: &str) {
    for planted in [TEXT, NUMBER] {
        assert!(!said.contains(planted), "{door}: {said}");
    }
}

/// What a message is refused with: reason and detail, as headers, tables and commands show them.
fn refusal(value: &str) -> (&'static str, String) {
    let message = Message {
        value: value.as_bytes(),
        headers: std::iter::empty().collect(),
        record_time: Some(Timestamp::from_micros(1_740_988_800_000_000)),
    };
    match decode(&message, &Intake::default()) {
        Ok(_) => panic!("it is accepted: {value}"),
        Err(refused) => {
            let shown = format!("{} {refused:?}", refused.detail);
            (refused.reason.as_str(), shown)
        }
    }
}

#[test]
fn json_times_and_base64_that_cannot_be_read_are_refused_without_a_word_of_them() {
    let wrong = format!("\"{TEXT}\"");
    let quoted = serde_json::from_str::<f64>(&wrong).expect_err("it is no number").to_string();
    assert!(quoted.contains(TEXT), "serde_json quotes: {quoted}");
    let quoted = TEXT.parse::<jiff::civil::Date>().expect_err("it is no date").to_string();
    assert!(quoted.contains("got z"), "jiff quotes: {quoted}");
    let mut reasons = BTreeSet::new();
    for value in [
        format!("{TEXT} {NUMBER}"),
        format!("{{\"user_id\":\"{TEXT}\",\"metrics\":{{\"hrv\":{NUMBER}}}"),
        format!("{{\"user_id\":{NUMBER},\"timestamp\":1,\"metrics\":{{\"hrv\":{NUMBER}}}}}"),
        format!("{{\"user_id\":\"{TEXT}\",\"timestamp\":\"{TEXT}\",\"metrics\":{{\"hrv\":1}}}}"),
        format!("{{\"user_id\":\"{TEXT}\",\"timestamp\":\"2025-03-03T08:00:{NUMBER}{TEXT}\"}}"),
        format!("{{\"user_id\":\"{TEXT}\",\"timestamp\":9e99,\"metrics\":{{\"hrv\":{NUMBER}}}}}"),
        format!("{{\"user_id\":\"{TEXT}\\u0000\",\"timestamp\":1}}"),
        format!("{{\"user_id\":\"u\",\"device_id\":\"{TEXT}\\u0007\",\"timestamp\":1}}"),
        format!("{{\"specversion\":\"1.0\",\"data_base64\":\"{TEXT}!\"}}"),
        format!("{{\"user_id\":\"{TEXT}\",\"timestamp\":1,\"note\":{NUMBER},\"metrics\":{{}}}}"),
    ] {
        let (reason, said) = refusal(&value);
        says_nothing(reason, &said);
        reasons.insert(reason);
    }
    assert!(reasons.len() >= 5, "of many kinds: {reasons:?}");
}

#[test]
fn lines_that_are_no_records_are_named_by_their_number() {
    let lines = format!(
        "{{\"record_time_ms\":\"{TEXT}\",\"value\":{{\"user_id\":\"{TEXT}\",\"hrv\":{NUMBER}}}}}\n"
    );
    let output = run(&["replay"], &lines);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("line 1"), "{}", stderr(&output));
    says_nothing("replay", stderr(&output));
}

#[test]
fn what_is_opened_and_cannot_be_read_says_nothing_of_what_is_in_it() {
    // Postcard's errors are words without values; what is made of them stays so.
    let bytes = format!("\u{1}{TEXT}{NUMBER}").into_bytes();
    let state = State::from_checkpoint(&bytes).err().map(|error| format!("{error} {error:?}"));
    let record = Record::from_stored("u".into(), &bytes).err();
    let record = record.map(|error| format!("{error} {error:?}"));
    let order = neuros::alert::Stored::of_bytes(&[&[0x81][..], &bytes].concat()).err();
    for (door, said) in [("a state", state), ("a record", record), ("an order", order)] {
        says_nothing(door, &said.expect(door));
    }
    let phi = Phi::new(bytes);
    assert!(dead_letter::of_bytes(&phi).is_none());
    assert_eq!(Order::of_stored("alert", Some("u"), Some(&phi)), None);
}
