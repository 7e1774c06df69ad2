//! Decoding is total: whatever the bytes, it answers, twice the same, and what it accepts is sound.

use neuros::event::Record;
use neuros::time::{Micros, Timestamp};
use neuros::wire::{Headers, Intake, Message, Reason, decode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::logs::sending;
use super::settings::cases;
use super::text::{damage, is_json, nearly_json, value};

/// 9999-12-31T23:59:59.999999Z.
const LAST: Timestamp = Timestamp::from_micros(253_402_300_799_999_999);

/// Decodes twice, checks the answers, and gives the reason of a rejection.
pub(crate) fn reason_of(
    value: &[u8],
    headers: Headers<'_>,
    arrival: Option<Timestamp>,
) -> Option<Reason> {
    let message = Message { value, headers, record_time: arrival };
    let intake = Intake::default();
    let (answer, again) = (decode(&message, &intake), decode(&message, &intake));
    assert!(answer == again, "two answers to one message");
    match answer {
        Ok(record) => {
            check(&record);
            let owned = record.clone().into_owned();
            assert!(owned == record, "the owned record is another");
            None
        }
        Err(rejection) => {
            let named = rejection.user_id.as_deref();
            let early = rejection.reason <= Reason::BadUserId;
            assert!(if early {
                named.is_none()
            } else {
                named.is_some_and(|name| !name.is_empty() && is_name(name))
            });
            assert!(!rejection.detail.is_empty());
            Some(rejection.reason)
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 255 && !text.chars().any(char::is_control)
}

/// What holds of every record that was accepted.
fn check(record: &Record<'_>) {
    let Record { user_id, device_id, event_type, session_id, time, record_time, .. } = record;
    let names = [Some(user_id.as_str()), Some(device_id), Some(event_type), session_id.as_deref()];
    for name in names.into_iter().flatten() {
        assert!(!name.is_empty() && is_name(name), "a name of {} bytes", name.len());
    }
    let times = [*time].into_iter().chain(record.events().map(|event| event.time));
    for time in times {
        assert!(time >= Timestamp::from_micros(0) && time <= LAST, "{time}");
        assert!(time <= *record_time + Micros::from_minutes(5), "{time} arrived at {record_time}");
    }
    let events: Vec<_> = record.events().collect();
    assert!(!events.is_empty());
    assert!(events.is_sorted_by(|one, next| one.time < next.time), "events by time");
    assert!((1..=10_000).contains(&events.iter().map(|event| event.readings.len()).sum::<usize>()));
    for event in events {
        assert!(!event.readings.is_empty());
        assert!(event.utc_offset_minutes.abs() < 24 * 60);
        assert!(
            event.readings.is_sorted_by(|one, next| one.metric < next.metric),
            "by metric, each once"
        );
        for reading in event.readings {
            for number in [reading.value, reading.confidence].into_iter().flatten() {
                assert!(number.is_finite());
                assert!(number != 0.0 || number.is_sign_positive(), "minus zero is zero");
            }
            let name = reading.metric.name();
            assert!(!name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control));
        }
    }
}

fn plainly(value: &[u8]) -> Option<Reason> {
    reason_of(value, Headers::default(), Some(Timestamp::from_micros(1_740_988_800_000_000)))
}

proptest! {
    #![proptest_config(cases(1_200))]

    #[test]
    fn random_bytes_are_answered(value in vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        plainly(&value);
        plainly(text.as_bytes());
    }

    #[test]
    fn not_json_is_exactly_what_serde_json_refuses(bytes in nearly_json()) {
        if let Some(is_json) = is_json(&bytes) {
            let reason = plainly(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(reason != Some(Reason::NotJson), is_json, "{}", text);
            let is_object = text.trim_start().starts_with('{');
            prop_assert_eq!(reason == Some(Reason::NotAnObject), is_json && !is_object, "{}", text);
        }
    }

    #[test]
    fn a_damaged_message_is_answered(
        sending in sending(),
        damages in vec(damage(), 1..6),
        as_cloud_event in any::<bool>(),
    ) {
        let mut value = sending.logged().text.into_bytes();
        damages.iter().for_each(|damage| damage.apply(&mut value));
        let attributes: [(&str, &[u8]); 2] = [("ce_specversion", b"1.0"), ("ce_source", b"band")];
        let headers = attributes.into_iter().filter(|_| as_cloud_event).collect();
        reason_of(&value, headers, sending.logged().record_time);
    }

    #[test]
    fn a_field_that_nobody_reads_matters_only_as_json(sending in sending(), value in value()) {
        let plain = sending.logged();
        let mut more = plain.clone();
        more.text.insert_str(1, &format!("\"unread\":{value},"));
        match is_json(value.as_bytes()) {
            Some(true) => prop_assert!(plain.decoded() == more.decoded()),
            // Something like `1,"a":2` is no value, and yet leaves the object JSON.
            Some(false) if is_json(more.text.as_bytes()) == Some(false) => {
                let reason = more.decoded().err().map(|rejection| rejection.reason);
                prop_assert_eq!(reason, Some(Reason::NotJson));
            }
            _ => {}
        }
    }
}

#[test]
fn sixty_four_levels_are_read_and_no_more_however_deep_it_goes() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[{\"metrics\":", "}]]")] {
        let levels = open.matches(['[', '{']).count();
        for depth in [1, 21, 31, 32, 63, 64, 65, 66, 127, 129, 5_000, 100_000] {
            let count = depth / levels;
            let nested = format!("{}0{}", open.repeat(count), close.repeat(count));
            let allowed = count * levels <= 64;
            assert_eq!(plainly(nested.as_bytes()) != Some(Reason::NotJson), allowed, "{depth}");
            assert_eq!(plainly(open.repeat(count).as_bytes()), Some(Reason::NotJson));
        }
    }
    for key in ["metrics", "readings", "user_id", "data", "specversion", "unread"] {
        for (depth, allowed) in [(63, true), (64, false), (100_000, false)] {
            let value = format!("{{\"{key}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(
                plainly(value.as_bytes()) != Some(Reason::NotJson),
                allowed,
                "{key} {depth}"
            );
        }
    }
}
