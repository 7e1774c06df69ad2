//! A long run of damaged messages, the same ones everywhere: each is answered.

use std::collections::BTreeMap;

use neuros::time::Timestamp;
use neuros::wire::{Headers, Reason};

use super::settings::Draws;
use super::text::is_json;
use super::wire::reason_of;

const COUNT: usize = 200_000;

/// Messages of every shape and habit, from which the damaged ones are bred.
const SEEDS: [&str; 14] = [
    r#"{"user_id":"test_user_123","device_id":"oura_ring_456","event_type":"heart_rate","timestamp":"2025-01-20T12:00:00.123456","metrics":{"hrv":45,"heart_rate":72,"stress_level":0.7}}"#,
    r#"{"device_type":"oura_ring","user_id":"u1","timestamp":"2025-01-27T10:30:00+00:00","readings":[{"metric":"hrv","value":45,"timestamp":"2025-01-27T10:30:00+00:00","confidence":0.9},{"metric":"heart_rate","value":"61.5","timestamp":"2025-01-27T12:29:59.999999999+02:00"}]}"#,
    r#"{"event_id":"9b1","user_id":"u1","device_type":"whoop_band","metric_type":"heart_rate","value":72,"timestamp":"2025-01-27T10:30:00Z","confidence":"0.8","metadata":{}}"#,
    r#"{"specversion":"1.0","source":"/band","time":"2025-01-27 10:30Z","data":{"user_id":"u1","metrics":{"recovery_score":55}}}"#,
    r#"{"specversion":"1.0","source":"/band","time":1737973800,"data":"{\"user_id\":\"u1\",\"metrics\":{\"hrv\":4.5e1}}"}"#,
    r#"{"specversion":"1.0","data_base64":"eyJ1c2VyX2lkIjoidTEiLCJ0aW1lc3RhbXAiOjE3Mzc5NzM4MDAsIm1ldHJpY3MiOnsiaHJ2Ijo0NX19"}"#,
    r#"{"user_id":"\u00e9\ud83d\ude00","timestamp":1737973800.25,"metrics":{"a\/b":-0.0,"hrv":1e999,"x":null,"y":[1,{"z":[]}]}}"#,
    r#"{"user_id":"u1","timestamp":1737973800000,"metrics":{"hrv":1,"hrv":2},"metrics":{"hrv":3,"strain":20.5}}"#,
    r#"{"user_id":"u1","timestamp":"9999-12-31T23:59:59.9Z","readings":[{"metric":"","value":1},{"value":2},7,{"metric":"m","value":true}]}"#,
    " {\r\n\t\"user_id\" : \"u1\" , \"session_id\" : \"s\u{7f}\" , \"timestamp\" : 0 , \"metrics\" : { } } ",
    r#"{"user_id":"u1","device_id":"","event_type":5,"timestamp":"1970-01-01T00:00-0001","readings":[]}"#,
    r#"[{"user_id":"u1"},"text",-12.5e-3,true,false,null]"#,
    "\"漢字 and \u{2028}\"",
    "\u{feff}{\"user_id\":\"u1\"}",
];

/// Bytes that mean something to a reader of JSON, times or UTF-8.
const TELLING: &[u8] = b"{}[]\":,\\/u0159eE+-.TZ \n\t\x00\x1f\x7f\x80\xc2\xe2\xed\xf0\xff";

fn damage(bytes: &mut Vec<u8>, draws: &mut Draws) {
    let place = draws.below(bytes.len() + 1);
    let end = (place + 1 + draws.below(12)).min(bytes.len());
    let place = place.min(end);
    match draws.below(8) {
        0 | 1 if place < end => bytes[place] ^= 1 << draws.below(8),
        2 if place < end => bytes[place] = draws.pick(TELLING),
        3 => bytes.insert(place, draws.pick(TELLING)),
        4 => {
            bytes.drain(place..end);
        }
        5 => {
            let slice = bytes[place..end].to_vec();
            bytes.splice(place..place, slice);
        }
        6 => {
            let other = draws.pick(&SEEDS).as_bytes();
            let from = draws.below(other.len());
            let slice = &other[from..other.len().min(from + 1 + draws.below(40))];
            bytes.splice(place..end, slice.iter().copied());
        }
        7 if draws.below(8) == 0 => bytes.truncate(place),
        _ => {
            // A digit for a digit leaves most of the message as it is.
            let digits = bytes.iter_mut().skip(place).find(|byte| byte.is_ascii_digit());
            digits.into_iter().for_each(|digit| *digit = draws.pick(b"0123456789"));
        }
    }
}

#[test]
fn every_damaged_message_is_answered_twice_the_same_and_soundly() {
    let mut draws = Draws(14);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let arrival = Timestamp::from_micros(1_738_000_000_000_000);
    for number in 0..COUNT {
        let mut bytes = SEEDS[number % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..1 + draws.below(2) {
            damage(&mut bytes, &mut draws);
        }
        let attributes: [(&str, &[u8]); 3] = [
            ("ce_specversion", b"1.0"),
            ("ce_time", b"2025-01-27T10:30:00Z"),
            ("ce_source", &bytes),
        ];
        let headers: Headers<'_> = attributes.into_iter().filter(|_| number % 5 == 0).collect();
        let arrival = Some(arrival).filter(|_| number % 3 > 0);
        let reason = reason_of(&bytes, headers, arrival);
        // A CloudEvent holds a second text, which is no business of the reference.
        if !bytes.windows(11).any(|key| key == b"specversion")
            && let Some(is_json) = is_json(&bytes)
        {
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(reason != Some(Reason::NotJson), is_json, "{text}");
        }
        *reasons.entry(reason.map_or("accepted", |reason| reason.as_str())).or_default() += 1;
    }
    println!("{reasons:?}");
    assert!(reasons["accepted"] > COUNT / 20, "a run that reaches no further than the scanner");
    for reason in Reason::ALL {
        let name = reason.as_str();
        let needs_size = ["too_large", "too_many_readings"].contains(&name);
        assert!(needs_size || reasons.contains_key(name), "no message was {name}");
    }
}
