//! Records that cannot be applied are kept as they came, and the lane goes on; records as large as they
//! may be are applied.

use std::process::Command;

use neuros::wire::Reason;

use super::check;
use super::dead_letters::published_by_origin;
use super::feed::{Event, MORNING};
use super::site::{Site, Stamps};
use crate::servers::{Outgoing, python};

/// The largest event, bytes.
const BYTES_MAX: usize = 1 << 20;

/// A record for each reason to refuse one.
pub(super) fn refused(reason: Reason) -> String {
    let event =
        |fields: &str| format!("{{\"device_id\":\"d\",{fields},\"metrics\":{{\"hrv\":45}}}}");
    let long = "x".repeat(256);
    match reason {
        Reason::TooLarge => padded(&Event::of("ada", 0, 0).value, BYTES_MAX + 1),
        Reason::NotJson => "{\"user_id\":\"ada\"".to_owned(),
        Reason::NotAnObject => "[1,2,3]".to_owned(),
        Reason::MissingUserId => event(&format!("\"timestamp\":{MORNING}")),
        Reason::BadUserId => event(&format!("\"user_id\":17,\"timestamp\":{MORNING}")),
        Reason::MissingTimestamp => event("\"user_id\":\"ada\""),
        Reason::BadTimestamp => event("\"user_id\":\"ada\",\"timestamp\":\"yesterday\""),
        Reason::BadDeviceId => format!(
            "{{\"user_id\":\"ada\",\"device_id\":\"{long}\",\"timestamp\":{MORNING},\
             \"metrics\":{{\"hrv\":45}}}}"
        ),
        Reason::BadEventType => {
            event(&format!("\"user_id\":\"ada\",\"event_type\":\"{long}\",\"timestamp\":{MORNING}"))
        }
        Reason::TimestampInFuture => {
            event(&format!("\"user_id\":\"ada\",\"timestamp\":{}", MORNING + 86_400))
        }
        Reason::NoReadings => {
            format!("{{\"user_id\":\"ada\",\"timestamp\":{MORNING},\"metrics\":{{}}}}")
        }
        Reason::TooManyReadings => {
            let reading = "{\"metric\":\"hrv\",\"value\":45}";
            let readings = vec![reading; 10_001].join(",");
            format!("{{\"user_id\":\"ada\",\"timestamp\":{MORNING},\"readings\":[{readings}]}}")
        }
    }
}

/// The same JSON object with a field that makes it exactly so long.
fn padded(value: &str, bytes: usize) -> String {
    let body = value.strip_suffix('}').expect("an object");
    let filler = bytes - body.len() - ",\"filler\":\"\"}".len();
    format!("{body},\"filler\":\"{}\"}}", "f".repeat(filler))
}

#[test]
fn a_record_that_is_refused_is_kept_as_it_came_with_the_reason() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    let values: Vec<String> = Reason::ALL.into_iter().map(refused).collect();
    let timestamp = Some((MORNING + 1) * 1_000);
    let outgoing = |value| Outgoing { value, timestamp, partition: Some(0), ..Outgoing::default() };
    let headers: &[(&str, Option<&[u8]>)] = &[
        ("note", Some(b"\xff\x00")),
        ("note", Some(b"")),
        ("note", None),
        ("dlq.reason", Some(b"mine")),
    ];
    let mut messages: Vec<Outgoing<'_>> = Vec::new();
    for value in &values {
        let key = Some(b"\xffkey".as_slice());
        messages.push(Outgoing { key, headers, ..outgoing(Some(value.as_bytes())) });
    }
    // No key and bytes that are no text; an empty value; none at all.
    messages.push(outgoing(Some(b"\xff\xfe")));
    messages.push(Outgoing { key: Some(b""), ..outgoing(Some(b"")) });
    messages.push(Outgoing { key: Some(b"ada"), ..outgoing(None) });
    let good = Event::of("ada", 1, 0);
    messages.push(Outgoing { partition: Some(0), ..good.keyed() });
    let places = site.kafka.produce(&site.topics.events, &messages);
    check::all(&site);
    let letters = published_by_origin(&site);
    assert_eq!(letters.len(), messages.len() - 1);
    for (place, reason) in places.iter().zip(Reason::ALL) {
        let letter = &letters[place];
        assert_eq!(letter.header("dlq.reason"), Some(reason.as_str()));
    }
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 1, "the lane has gone on");
    bridge.end();
}

/// Sends one record with a header whose name is no text, which clients allow only by force.
const NAMELESS_HEADER: &str = "import sys; from kafka import KafkaProducer\n\
    class Name(str):\n\
    \x20   def encode(self, *_): return b'\\xff\\xfe'\n\
    producer = KafkaProducer(bootstrap_servers=sys.argv[1])\n\
    headers = [('before', b'1'), (Name('x'), b'2'), ('after', b'3')]\n\
    producer.send(sys.argv[2], value=sys.argv[3].encode(), headers=headers, partition=0)\n\
    producer.flush(); producer.close()";

#[test]
fn a_header_whose_name_is_no_text_stops_nothing() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    let (address, topic) = (site.kafka.bootstrap(), site.topics.events.as_str());
    let good = Event::of("ada", 1, 0).value;
    for value in [good.as_str(), "no JSON"] {
        let output =
            Command::new(python()).args(["-c", NAMELESS_HEADER, &address, topic, value]).output();
        let output = output.expect("Python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let last = Event::of("ada", 1, 1);
    site.kafka.produce(topic, &[Outgoing { partition: Some(0), ..last.keyed() }]);
    site.wait_caught_up();
    // The topics are not compared: the tests' own client cannot read such a header either.
    check::tables(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 2);
    assert_eq!(site.sql("SELECT reason FROM dead_letters"), "not_json");
    bridge.end();
}

#[test]
fn records_as_large_as_they_may_be_are_forwarded_and_applied() {
    let Some(site) = Site::shared(Stamps::Producer) else { return };
    let bridge = site.start();
    // Sent to every partition, so that two of three go to another home.
    let events: Vec<Event> = (0..3).map(|number| Event::of("ada", 1, number)).collect();
    let values: Vec<String> = events.iter().map(|event| padded(&event.value, BYTES_MAX)).collect();
    let messages: Vec<Outgoing<'_>> = events
        .iter()
        .zip(&values)
        .zip(0..)
        .map(|((event, value), partition)| Outgoing {
            value: Some(value.as_bytes()),
            partition: Some(partition),
            headers: &[("note", Some(b"large"))],
            ..event.keyed()
        })
        .collect();
    site.kafka.produce(&site.topics.events, &messages);
    check::all(&site);
    assert_eq!(site.number("SELECT count(*) FROM event_records"), 3);
    assert_eq!(site.number("SELECT sum(events_forwarded) FROM lanes"), 2);
    bridge.end();
}
