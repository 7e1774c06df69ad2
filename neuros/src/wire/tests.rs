//! The wire format, sentence by sentence: what is accepted, how it is read, what is rejected and why.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use jiff::tz::TimeZone;

use super::*;

/// 2025-03-03T08:00:00Z.
const EIGHT: i64 = 1_740_988_800_000_000;

fn at_arrival<'a>(text: &'a str, headers: &[(&'a str, &'a str)]) -> Message<'a> {
    Message {
        value: text.as_bytes(),
        headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(),
        record_time: Some(Timestamp::from_micros(EIGHT + 1_000_000)),
    }
}

fn read(text: &str) -> Record<'static> {
    read_with(text, &[])
}

fn read_with(text: &str, headers: &[(&str, &str)]) -> Record<'static> {
    let message = at_arrival(text, headers);
    match decode(&message, &Intake::default()) {
        Ok(record) => record.into_owned(),
        Err(rejection) => panic!("{text} is rejected: {}", rejection.reason),
    }
}

fn reason(text: &str) -> Option<&'static str> {
    let message = at_arrival(text, &[]);
    decode(&message, &Intake::default()).err().map(|rejection| rejection.reason.as_str())
}

/// Each event as `µs after eight, UTC offset: metric value confidence; …`.
fn events(record: &Record<'_>) -> Vec<String> {
    let number = |given: Option<f64>| given.map_or("none".to_owned(), |number| number.to_string());
    let event = |event: crate::event::Event<'_>| {
        let readings = event.readings.iter().map(|reading| {
            let (value, confidence) = (number(reading.value), number(reading.confidence));
            format!("{} {value} {confidence}", reading.metric.name())
        });
        let readings = readings.collect::<Vec<_>>().join("; ");
        let assumed = if event.tz_assumed { "?" } else { "" };
        format!(
            "{}, {}{assumed}: {readings}",
            event.time.as_micros() - EIGHT,
            event.utc_offset_minutes
        )
    };
    record.events().map(event).collect()
}

/// An E1 message of user `u` at eight with these further members.
fn e1(members: &str) -> String {
    format!(r#"{{"user_id":"u","timestamp":"2025-03-03T08:00:00Z",{members}}}"#)
}

fn e2(readings: &str) -> String {
    e1(&format!(r#""readings":[{readings}]"#))
}

#[test]
fn the_three_shapes_of_the_specification_are_read() {
    let e1 = read(
        r#"{"user_id":"test_user_123","device_id":"oura_ring_456","event_type":"heart_rate","timestamp":"2025-01-20T12:00:00.123456","metrics":{"hrv":45,"heart_rate":72,"stress_level":0.7}}"#,
    );
    assert_eq!((&*e1.user_id, &*e1.device_id), ("test_user_123", "oura_ring_456"));
    assert_eq!((&*e1.event_type, e1.session_id.as_deref()), ("heart_rate", None));
    assert_eq!(e1.time.to_string(), "2025-01-20T12:00:00.123456Z");
    let e1 = events(&e1).remove(0);
    assert!(e1.ends_with(", 0?: hrv 45 1; heart_rate 72 1; stress_level 0.7 1"), "{e1}");

    let e2 = read(
        r#"{"device_type":"oura_ring","user_id":"u1","timestamp":"2025-01-27T10:30:00+00:00","readings":[{"metric":"hrv","value":45,"timestamp":"2025-01-27T10:30:00+00:00","confidence":0.9}]}"#,
    );
    assert_eq!((&*e2.device_id, &*e2.event_type), ("oura_ring", "readings"));
    assert!(events(&e2)[0].ends_with(", 0: hrv 45 0.9"));

    let e3 = read(
        r#"{"event_id":"…","user_id":"u1","device_type":"whoop_band","metric_type":"heart_rate","value":72,"timestamp":"2025-01-27T10:30:00Z","metadata":{}}"#,
    );
    assert_eq!((&*e3.device_id, &*e3.event_type), ("whoop_band", "heart_rate"));
    assert!(events(&e3)[0].ends_with(", 0: heart_rate 72 1"));
}

#[test]
fn metrics_come_before_readings_and_readings_before_a_flat_metric() {
    let all = r#""metric_type":"strain","value":3,"readings":[{"metric":"hrv","value":2}]"#;
    let of = |members: &str| events(&read(&e1(members))).remove(0);
    assert_eq!(of(&format!(r#"{all},"metrics":{{"heart_rate":60}}"#)), "0, 0: heart_rate 60 1");
    assert_eq!(of(&format!(r#"{all},"metrics":[]"#)), "0, 0: hrv 2 1");
    assert_eq!(
        of(r#""metric_type":"strain","value":3,"readings":{},"metrics":null"#),
        "0, 0: strain 3 1"
    );
    assert_eq!(reason(&e1(&format!(r#"{all},"metrics":{{}}"#))), Some("no_readings"));
    assert_eq!(reason(&e1(r#""metric_type":"","value":3"#)), Some("no_readings"));
    assert_eq!(reason(&e1(r#""metric_type":7,"value":3"#)), Some("no_readings"));
    assert_eq!(reason(&e1(r#""metric_type":"strain""#)), Some("no_readings"));
    assert_eq!(reason(&e1(r#""hrv":3"#)), Some("no_readings"));
}

#[test]
fn only_a_flat_metric_names_the_event_type() {
    let event_type = |members: &str| read(&e1(members)).event_type.to_string();
    assert_eq!(event_type(r#""metric_type":"sleep","value":1"#), "sleep");
    assert_eq!(event_type(r#""metric_type":"sleep","metrics":{"hrv":1}"#), "readings");
    assert_eq!(event_type(r#""event_type":"","metric_type":"sleep","value":1"#), "sleep");
    assert_eq!(event_type(r#""event_type":5,"metrics":{"hrv":1}"#), "readings");
    assert_eq!(event_type(r#""event_type":"nap","metric_type":"sleep","value":1"#), "nap");
}

#[test]
fn the_device_falls_back_to_its_type_then_the_source_then_unknown() {
    let device = |members: &str, headers: &[(&str, &str)]| {
        let text = e1(&format!(r#"{members}"metrics":{{"hrv":1}}"#));
        read_with(&text, headers).device_id.to_string()
    };
    let source = [("ce_specversion", "1.0"), ("ce_source", "urn:band")];
    assert_eq!(device(r#""device_id":"d","device_type":"t","#, &source), "d");
    assert_eq!(device(r#""device_id":"","device_type":"t","#, &source), "t");
    assert_eq!(device(r#""device_id":null,"device_type":9,"#, &source), "urn:band");
    assert_eq!(device("", &[("ce_specversion", "1.0"), ("ce_source", "")]), "unknown");
    assert_eq!(device("", &[("ce_source", "urn:band")]), "unknown", "no CloudEvent");
}

#[test]
fn a_value_is_a_number_or_a_string_that_is_one() {
    let of = |value: &str| events(&read(&e1(&format!(r#""metrics":{{"x":{value}}}"#)))).remove(0);
    for (value, read) in [
        ("5", "5"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.5e2", "150"),
        (r#""72""#, "72"),
        (r#""-7.5E-1""#, "-0.75"),
        (r#""7\u0032""#, "72"),
        ("true", "none"),
        ("1e999", "none"),
        (r#""1e999""#, "none"),
        (r#""""#, "none"),
        (r#"" 5""#, "none"),
        (r#""05""#, "none"),
        (r#""NaN""#, "none"),
        (r#""0x10""#, "none"),
        ("[5]", "none"),
        (r#"{"value":5}"#, "none"),
        (r#""+5""#, "none"),
        (r#"".5""#, "none"),
    ] {
        assert_eq!(of(value), format!("0, 0: x {read} 1"), "{value}");
    }
    assert_eq!(reason(&e1(r#""metrics":{"x":null}"#)), Some("no_readings"));
}

#[test]
fn a_confidence_is_read_like_a_value_and_is_1_when_absent() {
    let of = |given: &str| {
        events(&read(&e2(&format!(r#"{{"metric":"x","value":5{given}}}"#)))).remove(0)
    };
    for (given, read) in [
        ("", "1"),
        (r#","confidence":null"#, "1"),
        (r#","confidence":"0.25""#, "0.25"),
        (r#","confidence":7"#, "7"),
        (r#","confidence":true"#, "none"),
        (r#","confidence":1e999"#, "none"),
        (r#","confidence":{}"#, "none"),
    ] {
        assert_eq!(of(given), format!("0, 0: x 5 {read}"), "{given}");
    }
    let flat = read(&e1(r#""metric_type":"x","value":5,"confidence":0.5"#));
    assert_eq!(events(&flat), ["0, 0: x 5 0.5"]);
    let object = read(&e1(r#""metrics":{"x":5},"confidence":0.5"#));
    assert_eq!(events(&object), ["0, 0: x 5 1"]);
}

#[test]
fn names_that_are_empty_too_long_or_hold_control_characters_drop_their_reading() {
    let name = |length: usize| "n".repeat(length);
    for dropped in [
        String::new(),
        name(65),
        "a\\u0000b".into(),
        "a\\u007fb".into(),
        "a\\u0085b".into(),
        "a\u{85}".into(),
    ] {
        let text = e1(&format!(r#""metrics":{{"{dropped}":1,"hrv":2}}"#));
        assert_eq!(events(&read(&text)), ["0, 0: hrv 2 1"], "{dropped}");
        assert_eq!(reason(&e1(&format!(r#""metrics":{{"{dropped}":1}}"#))), Some("no_readings"));
    }
    for kept in [name(64), "ä".repeat(32), " ".into(), "a\u{a0}b".into()] {
        let text = e1(&format!(r#""metrics":{{"{kept}":1}}"#));
        assert_eq!(events(&read(&text)), [format!("0, 0: {kept} 1 1")]);
    }
}

#[test]
fn entries_that_are_no_reading_are_skipped() {
    for entry in [
        "7",
        "null",
        "[]",
        "{}",
        r#"{"metric":"x"}"#,
        r#"{"value":1}"#,
        r#"{"metric":"x","value":null}"#,
        r#"{"metric":5,"value":1}"#,
        r#"{"metric":null,"value":1}"#,
        r#"{"metric":"","value":1}"#,
    ] {
        let text = e2(&format!(r#"{entry},{{"metric":"hrv","value":2}},{entry}"#));
        assert_eq!(events(&read(&text)), ["0, 0: hrv 2 1"], "{entry}");
        assert_eq!(reason(&e2(entry)), Some("no_readings"), "{entry}");
    }
}

#[test]
fn readings_of_one_time_are_one_event_and_events_stand_in_time_order() {
    let record = read(&e2(
        r#"{"metric":"heart_rate","value":3,"timestamp":"2025-03-03T08:00:02Z"},{"metric":"hrv","value":1},
           {"metric":"hrv","value":2,"timestamp":"2025-03-03T09:00:01+01:00"},
           {"metric":"hrv","value":4,"timestamp":1740988802},
           {"metric":"strain","value":5,"timestamp":null}"#,
    ));
    let expected = [
        "0, 0: hrv 1 1; strain 5 1",
        "1000000, 60: hrv 2 1",
        "2000000, 0: hrv 4 1; heart_rate 3 1",
    ];
    assert_eq!(events(&record), expected);
    assert_eq!(record.time.as_micros(), EIGHT);
}

#[test]
fn of_two_readings_of_one_metric_at_one_time_the_last_counts() {
    let twice = |first: &str, second: &str| events(&read(&e2(&format!("{first},{second}"))));
    let (good, bad) = (r#"{"metric":"hrv","value":50}"#, r#"{"metric":"hrv","value":"x"}"#);
    assert_eq!(twice(good, bad), ["0, 0: hrv none 1"]);
    assert_eq!(twice(bad, good), ["0, 0: hrv 50 1"]);
    assert_eq!(twice(good, r#"{"metric":"hrv","value":null}"#), ["0, 0: hrv 50 1"]);
    assert_eq!(twice(good, r#"{"metric":"hrv","value":9,"timestamp":"x"}"#), ["0, 0: hrv none 1"]);
}

#[test]
fn the_first_reading_kept_at_a_time_gives_the_utc_offset() {
    let record = read(&e2(r#"{"metric":"","value":1,"timestamp":"2025-03-03T07:00:00-01:00"},
           {"metric":"x","value":"bad","timestamp":"2025-03-03T20:00:00+12:00"},
           {"metric":"hrv","value":2,"timestamp":"2025-03-02T22:00:00-10:00"}"#));
    assert_eq!(events(&record), ["0, 720: hrv 2 1; x none 1"]);
}

#[test]
fn a_reading_with_an_unreadable_timestamp_is_kept_without_value_at_the_records_time() {
    for stamp in [r#""yesterday""#, "true", "-5", r#""9999-12-31T23:59:59-00:01""#, "[]", r#""""#] {
        let text = e2(&format!(r#"{{"metric":"hrv","value":50,"timestamp":{stamp}}}"#));
        assert_eq!(events(&read(&text)), ["0, 0: hrv none 1"], "{stamp}");
    }
}

#[test]
fn of_a_key_given_twice_the_last_counts() {
    let record = read(
        r#"{"user_id":"first","user_id":"u","timestamp":5,"timestamp":"2025-03-03T08:00:00Z","metrics":{"hrv":1},"metrics":{"hrv":46,"hrv":47}}"#,
    );
    assert_eq!((&*record.user_id, events(&record)), ("u", vec!["0, 0: hrv 47 1".to_owned()]));
    assert_eq!(reason(&e1(r#""metrics":{"hrv":46,"hrv":null}"#)), Some("no_readings"));
    assert_eq!(
        events(&read(&e1(
            r#""metrics":{"hrv":1},"metrics":7,"readings":[{"metric":"x","value":2}]"#
        ))),
        ["0, 0: x 2 1"]
    );
    assert_eq!(
        events(&read(&e2(r#"{"metric":"a","metric":"x","value":1,"value":2}"#))),
        ["0, 0: x 2 1"]
    );
    assert_eq!(read(&e1(r#""metrics":{"hrv":1},"device\u005fid":"d""#)).device_id, "d");
}

#[test]
fn the_first_reason_that_applies_rejects() {
    let cases = [
        ("", "not_json"),
        ("{", "not_json"),
        (r#"{"a":NaN}"#, "not_json"),
        ("\u{feff}{}", "not_json"),
        (r#"{"user_id":"\ud800"}"#, "not_json"),
        (r#"{"x":"\udc00"}"#, "not_json"),
        (r#"{"a":1}x"#, "not_json"),
        ("[]", "not_an_object"),
        ("3", "not_an_object"),
        ("null", "not_an_object"),
        (r#""x""#, "not_an_object"),
        ("{}", "missing_user_id"),
        (r#"{"user_id":null}"#, "missing_user_id"),
        (r#"{"user_id":5}"#, "bad_user_id"),
        (r#"{"user_id":""}"#, "bad_user_id"),
        (r#"{"user_id":["u"]}"#, "bad_user_id"),
        (r#"{"user_id":"a\nb"}"#, "bad_user_id"),
        (r#"{"user_id":"a\u009fb"}"#, "bad_user_id"),
        ("{\"user_id\":\"a\u{7f}\"}", "bad_user_id"),
        (r#"{"user_id":"u"}"#, "missing_timestamp"),
        (r#"{"user_id":"u","timestamp":null}"#, "missing_timestamp"),
        (r#"{"user_id":"u","timestamp":""}"#, "bad_timestamp"),
        (r#"{"user_id":"u","timestamp":{}}"#, "bad_timestamp"),
        (r#"{"user_id":"u","timestamp":-1,"device_id":"\u0001"}"#, "bad_timestamp"),
        (
            r#"{"user_id":"u","timestamp":0,"device_id":"\u0001","event_type":"\u0001"}"#,
            "bad_device_id",
        ),
        (r#"{"user_id":"u","timestamp":0,"event_type":"\u0001"}"#, "bad_event_type"),
        (r#"{"user_id":"u","timestamp":2e9}"#, "timestamp_in_future"),
        (r#"{"user_id":"u","timestamp":0}"#, "no_readings"),
        (r#"{"user_id":"u","timestamp":0,"metrics":{}}"#, "no_readings"),
    ];
    for (text, expected) in cases {
        assert_eq!(reason(text), Some(expected), "{text}");
    }
}

#[test]
fn names_may_have_255_bytes() {
    let (fits, too_long) = ("n".repeat(255), "n".repeat(256));
    for (field, rejected) in [
        ("user_id", "bad_user_id"),
        ("device_id", "bad_device_id"),
        ("event_type", "bad_event_type"),
    ] {
        let text = |name: &str| {
            format!(r#"{{"user_id":"u","timestamp":0,"metrics":{{"hrv":1}},"{field}":"{name}"}}"#)
        };
        assert_eq!(reason(&text(&fits)), None, "{field}");
        assert_eq!(reason(&text(&too_long)), Some(rejected), "{field}");
    }
    let flat = format!(r#""metric_type":"{too_long}","value":1"#);
    assert_eq!(reason(&e1(&flat)), Some("bad_event_type"));
    let session =
        |name: &str| read(&e1(&format!(r#""session_id":{name},"metrics":{{"x":1}}"#))).session_id;
    assert_eq!(session(r#""s1""#).as_deref(), Some("s1"));
    assert_eq!(session(&format!("\"{too_long}\"")), None);
    assert_eq!(session("7"), None);
}

#[test]
fn a_rejection_knows_the_user_as_soon_as_there_is_one() {
    let user = |text: &str| {
        let message = at_arrival(text, &[]);
        decode(&message, &Intake::default()).unwrap_err().user_id.map(Cow::into_owned)
    };
    assert_eq!(user(r#"{"user_id":"u"}"#).as_deref(), Some("u"));
    assert_eq!(user(r#"{"user_id":""}"#), None);
    assert_eq!(user("[]"), None);
}

#[test]
fn a_rejection_names_the_place_and_quotes_nothing() {
    let text = r#"{"user_id":"secret_user","metrics":{"secret_metric":123.25 "#;
    let message = at_arrival(text, &[]);
    let rejection = decode(&message, &Intake::default()).unwrap_err();
    assert_eq!(rejection.detail, "not JSON at byte 59: expected `,` or the closing bracket");
    assert_eq!(format!("{rejection:?}"), "Rejection { .. }");
}

#[test]
fn a_message_may_have_a_mebibyte() {
    let padded = |length: usize| {
        let text = e1(r#""metrics":{"hrv":1},"pad":"""#);
        let pad = " ".repeat(length - text.len());
        text + &pad
    };
    assert_eq!(reason(&padded(1 << 20)), None);
    assert_eq!(reason(&padded((1 << 20) + 1)), Some("too_large"));
}

#[test]
fn bytes_that_are_no_utf8_are_no_json() {
    let message = Message { value: b"{\"user_id\":\"\xff\"}", ..Message::default() };
    assert_eq!(decode(&message, &Intake::default()).unwrap_err().reason, Reason::NotJson);
}

#[test]
fn sixty_four_levels_are_read_and_one_more_is_not_json() {
    let nested = |levels: usize| {
        e1(&format!(r#""metrics":{{"hrv":1}},"x":{}{}"#, "[".repeat(levels), "]".repeat(levels)))
    };
    assert_eq!(reason(&nested(63)), None);
    assert_eq!(reason(&nested(64)), Some("not_json"));
}

#[test]
fn the_future_begins_five_minutes_after_arrival() {
    let at = |micros: i64| {
        let text = format!(
            r#"{{"user_id":"u","timestamp":"2025-03-03T08:05:{:02}.{:06}Z","metrics":{{"hrv":1}}}}"#,
            micros / 1_000_000,
            micros % 1_000_000
        );
        reason(&text)
    };
    assert_eq!(at(1_000_000), None);
    assert_eq!(at(1_000_001), Some("timestamp_in_future"));
    let reading = |stamp: &str, value: &str| {
        reason(&e2(&format!(r#"{{"metric":"x","value":{value},"timestamp":"{stamp}"}}"#)))
    };
    assert_eq!(reading("2025-03-03T08:05:01Z", "1"), None);
    assert_eq!(reading("2025-03-03T08:05:02Z", "1"), Some("timestamp_in_future"));
    assert_eq!(
        reading("2025-03-03T08:05:02Z", "\"x\""),
        Some("timestamp_in_future"),
        "excluded too"
    );
    assert_eq!(reading("2025-03-03T08:05:02Z", "null"), Some("no_readings"), "skipped");
}

#[test]
fn without_a_kafka_timestamp_the_records_own_time_cut_to_the_millisecond_serves() {
    let text = r#"{"user_id":"u","timestamp":"2025-03-03T08:00:00.123456Z","metrics":{"hrv":1}}"#;
    let message = Message { value: text.as_bytes(), ..Message::default() };
    let record = decode(&message, &Intake::default()).unwrap();
    assert_eq!(record.record_time.as_micros(), EIGHT + 123_000);
    assert_eq!(record.time.as_micros(), EIGHT + 123_456);
}

#[test]
fn ten_thousand_readings_are_read_and_one_more_is_too_many() {
    let metrics = |count: usize| {
        let list: Vec<String> = (0..count).map(|i| format!(r#""m{i}":1"#)).collect();
        e1(&format!(r#""metrics":{{{},"dropped":null,"":1,"m0":2}}"#, list.join(",")))
    };
    let readings = |count: usize| {
        let list: Vec<String> =
            (0..count).map(|_| r#"{"metric":"x","value":1}"#.to_owned()).collect();
        e2(&format!("7,{{}},{}", list.join(",")))
    };
    assert_eq!(events(&read(&metrics(10_000)))[0].matches(';').count(), 9_999);
    assert_eq!(reason(&metrics(10_001)), Some("too_many_readings"));
    assert_eq!(events(&read(&readings(10_000))), ["0, 0: x 1 1"]);
    assert_eq!(reason(&readings(10_001)), Some("too_many_readings"));
}

#[test]
fn a_structured_cloud_event_is_unwrapped() {
    let payload = r#"{"user_id":"u","metrics":{"hrv":1}}"#;
    let quoted = payload.replace('"', "\\\"");
    let encoded = BASE64_STANDARD.encode(payload);
    let around = r#""specversion":"1.0","time":"2025-03-03T08:00:00Z","source":"urn:band""#;
    for data in [
        format!(r#""data":{payload}"#),
        format!(r#""data":"{quoted}""#),
        format!(r#""data_base64":"{encoded}""#),
        format!(r#""data_base64":"{encoded}","data":5"#),
        format!(r#""data":{payload},"data_base64":null"#),
        format!(r#""data":7,"data":{payload}"#),
    ] {
        let record = read(&format!("{{{around},{data}}}"));
        assert_eq!((&*record.user_id, &*record.device_id), ("u", "urn:band"), "{data}");
        assert_eq!(events(&record), ["0, 0: hrv 1 1"], "{data}");
    }
}

#[test]
fn a_payload_that_says_its_time_and_device_needs_no_envelope_for_it() {
    let text = format!(
        r#"{{"specversion":"1.0","time":"nonsense","source":"urn:band","data":{}}}"#,
        e1(r#""device_id":"d","metrics":{"hrv":1}"#)
    );
    assert_eq!(read(&text).device_id, "d");
    assert_eq!(
        reason(r#"{"specversion":1,"time":"nonsense","data":{"user_id":"u"}}"#),
        Some("bad_timestamp")
    );
    assert_eq!(reason(r#"{"specversion":1,"data":{"user_id":"u"}}"#), Some("missing_timestamp"));
    let number =
        r#"{"specversion":1,"time":1740988800,"data":{"user_id":"u","metrics":{"hrv":1}}}"#;
    assert_eq!(events(&read(number)), ["0, 0: hrv 1 1"]);
}

#[test]
fn a_wrapped_payload_that_is_no_object_says_so() {
    for (data, expected) in [
        (r#""data":null"#, "not_an_object"),
        (r#""data":[1]"#, "not_an_object"),
        (r#""data":5"#, "not_an_object"),
        (r#""data":"5""#, "not_an_object"),
        (r#""data":"""#, "not_json"),
        (r#""data":"{""#, "not_json"),
        (r#""data_base64":"e30""#, "not_json"),
        (r#""data_base64":"e3-9""#, "not_json"),
        (r#""data_base64":7"#, "not_json"),
        (r#""data_base64":"/w==""#, "not_json"),
        (r#""data_base64":"bnVsbA==""#, "not_an_object"),
        (r#""data_base64":"""#, "not_json"),
        (r#""data_base64":{},"data":{}"#, "not_json"),
        (r#""data_base64":null"#, "missing_user_id"),
        (r#""x":1"#, "missing_user_id"),
    ] {
        let text = format!(r#"{{"specversion":"1.0",{data}}}"#);
        assert_eq!(reason(&text), Some(expected), "{data}");
    }
    let data_of_no_cloud_event = e1(r#""data":{"user_id":"other"},"metrics":{"hrv":1}"#);
    assert_eq!(read(&data_of_no_cloud_event).user_id, "u");
}

#[test]
fn the_depth_of_text_in_an_envelope_is_counted_anew() {
    let deep = |levels: usize| {
        let nest = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        e1(&format!(r#""metrics":{{"hrv":1}},"x":{nest}"#))
    };
    let wrap = |data: &str| format!(r#"{{"specversion":"1.0","data":{data}}}"#);
    let quote = |text: &str| format!("\"{}\"", text.replace('"', "\\\""));
    assert_eq!(reason(&wrap(&deep(62))), None);
    assert_eq!(reason(&wrap(&deep(63))), Some("not_json"));
    assert_eq!(reason(&wrap(&quote(&deep(63)))), None);
    assert_eq!(reason(&wrap(&quote(&deep(64)))), Some("not_json"));
}

#[test]
fn in_binary_mode_the_value_is_the_payload_whatever_it_looks_like() {
    let headers = [("ce_specversion", "1.0"), ("ce_time", "2025-03-03T08:00:00Z")];
    let text =
        r#"{"user_id":"u","metrics":{"hrv":1},"specversion":"1.0","data":{"user_id":"other"}}"#;
    let record = read_with(text, &headers);
    assert_eq!((&*record.user_id, events(&record)), ("u", vec!["0, 0: hrv 1 1".to_owned()]));
    let message = at_arrival(text, &[("ce_specversion", ""), ("ce_time", "1740988800")]);
    assert_eq!(decode(&message, &Intake::default()).unwrap_err().reason, Reason::BadTimestamp);
}

#[test]
fn a_time_without_an_offset_is_read_in_the_zone_of_its_source_and_marked() {
    let mut intake = Intake::default();
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    intake.naive_zones.by_source.insert("oura_ring".into(), berlin);
    let text = |device: &str| {
        format!(
            r#"{{"user_id":"u","device_type":"{device}","timestamp":"2025-03-03T08:00:00","readings":[{{"metric":"x","value":1}},{{"metric":"x","value":2,"timestamp":"2025-03-03T09:00:00+01:00"}}]}}"#
        )
    };
    let read = |device: &str| {
        let text = text(device);
        events(&decode(&at_arrival(&text, &[]), &intake).unwrap())
    };
    assert_eq!(read("oura_ring"), ["-3600000000, 60?: x 1 1", "0, 60: x 2 1"]);
    assert_eq!(read("whoop_band"), ["0, 0?: x 2 1"]);
}

#[test]
fn a_trace_is_continued_when_it_is_well_formed() {
    let of = |text: &str| {
        let headers: Headers<'_> = [("traceparent", text.as_bytes())].into_iter().collect();
        headers.traceparent().is_some()
    };
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    assert!(of(&format!("00-{trace}-{parent}-01")));
    for bad in [
        String::new(),
        format!("00-{trace}-{parent}"),
        format!("00-{trace}-{parent}-01-x"),
        format!("01-{trace}-{parent}-01"),
        format!("ff-{trace}-{parent}-01"),
        format!("00-{}-{parent}-01", trace.to_uppercase()),
        format!("00-{}-{parent}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{trace}x-{parent}-01"),
        format!("00-{trace}-{parent}-1"),
    ] {
        assert!(!of(&bad), "{bad}");
    }
    assert!(Headers::default().traceparent().is_none());
}
