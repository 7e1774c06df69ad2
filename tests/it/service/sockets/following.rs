//! What somebody is sent who follows users: where they stand, what was missed, what is new, and nothing twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Came, Known, open, stored};
use crate::service::feed::{Event, crowd, stream};
use crate::service::http::issuer::{SigningKey, set_of};
use crate::service::http::people::trust_at;
use crate::service::site::{Site, Stamps};

/// An installation with an issuer.
pub(crate) fn site(key: &SigningKey) -> Option<Site<'static>> {
    let mut site = Site::shared(Stamps::Producer)?;
    trust_at(&mut site, &set_of(&[key]));
    Some(site)
}

fn subscribe(users: &Value, after: &Value) -> Value {
    json!({ "type": "subscribe", "users": users, "after": after })
}

#[test]
fn a_snapshot_comes_first_and_then_what_is_new_and_what_was_missed_comes_after_a_number() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let events: Vec<Event> = (0..160).map(|number| Event::of("ada", 3, number)).collect();
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &events[..80], 100);
    site.wait_caught_up();
    let token = key.token("ada", "self");
    let mut socket = open(&bridge, &token);
    socket.say(&subscribe(&json!(["ada"]), &Value::Null));
    let snapshot = socket.message();
    let before = stored(&site) as i64;
    assert!(before > 2, "{before}");
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!((&snapshot["user_id"], &snapshot["n"]), (&json!("ada"), &json!(before)));
    assert_eq!(snapshot["status"], "stale", "the events are of long ago");
    let mode = site.run(&["export", "states"]);
    let state: Value = serde_json::from_str(mode.trim()).expect("JSON");
    for field in ["mode", "confidence", "seq", "clock"] {
        assert_eq!(snapshot[field], state[field], "{field}");
    }
    assert!(snapshot["as_of"].is_string());

    stream(site.kafka, &site.topics.events, &events[80..], 100);
    site.wait_caught_up();
    let all = stored(&site) as i64;
    assert!(all > before);
    for n in before + 1..=all {
        assert_eq!(socket.message()["n"], n, "live messages in order");
    }
    drop(socket);

    // Whoever comes again goes on where they were; whoever knows nothing gets everything.
    for after in [0, before, all - 1] {
        let mut known = Known::default();
        known.newest.insert("ada".to_owned(), after);
        let mut socket = open(&bridge, &token);
        socket.say(&subscribe(&json!(["ada"]), &json!({ "ada": after })));
        assert_eq!(socket.message()["n"], all, "the snapshot says where the end is");
        for _ in after..all {
            known.take(socket.message());
        }
        assert_eq!(socket.next_within(Duration::from_millis(300)), Came::Nothing);
        if after == 0 {
            known.equals_store(&site, |_| true);
        }
    }
    let rows = site.sql(
        "SELECT access_type, record_id, records FROM phi_access_log
         WHERE access_type LIKE 'SUBSCRI%' AND user_id = 'ada'
         AND table_name = 'neuros_checkpoints, mode_transitions, biometric_alerts' ORDER BY id",
    );
    assert!(
        rows.starts_with(&format!("SUBSCRIBE||0\nSUBSCRIPTION ENDED||{}", all - before)),
        "{rows}"
    );
    assert_eq!(bridge.metric("biometric_sockets "), 0.0);
    bridge.end();
}

/// Is over when it goes out of scope, also when its thread panics.
struct Sets<'s>(&'s AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn whoever_is_cut_off_again_and_again_reconstructs_what_the_store_holds() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_lanes(3);
    let events = crowd(20, 60);
    let names: Vec<String> = (0..20).map(|user| format!("user-{user}")).collect();
    let theirs: Vec<&str> = names.iter().map(String::as_str).take(7).collect();
    let operator = key.token("ops", "operator");
    let is_sent = AtomicBool::new(false);
    let (by_name, by_cursor) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Sets(&is_sent);
            stream(site.kafka, &site.topics.events, &events, 40);
            site.wait_caught_up();
        });
        let by_name = scope.spawn(|| {
            let mut known = Known::default();
            let mut round = 0;
            loop {
                let is_last = is_sent.load(Ordering::SeqCst);
                let mut socket = open(&bridge, &operator);
                let after = known.after(&theirs);
                socket.say(&subscribe(&json!(theirs), &after));
                round += 1;
                // Cut off after a few messages, in the middle of whatever it is.
                let most = if is_last { usize::MAX } else { round * 5 % 23 + 1 };
                for _ in 0..most {
                    match socket.next_within(Duration::from_millis(900)) {
                        Came::Message(message) => known.take(message),
                        Came::Nothing => break,
                        other => panic!("{other:?}"),
                    }
                }
                if is_last {
                    return known;
                }
            }
        });
        let by_cursor = scope.spawn(|| {
            let mut known = Known::default();
            let mut socket = open(&bridge, &operator);
            socket.say(&subscribe(&json!("*"), &Value::Null));
            known.take(socket.message());
            assert!(known.cursor.is_some(), "before the first message already");
            let mut round = 0;
            loop {
                let is_last = is_sent.load(Ordering::SeqCst);
                round += 1;
                let most = if is_last { usize::MAX } else { round * 7 % 31 + 1 };
                for _ in 0..most {
                    match socket.next_within(Duration::from_millis(900)) {
                        Came::Message(message) => known.take(message),
                        Came::Nothing => break,
                        other => panic!("{other:?}"),
                    }
                }
                if is_last {
                    return known;
                }
                socket = open(&bridge, &operator);
                socket.say(&subscribe(&json!("*"), &json!(known.cursor)));
            }
        });
        (by_name.join().expect("followed"), by_cursor.join().expect("followed"))
    });
    by_name.equals_store(&site, |user_id| theirs.contains(&user_id));
    by_cursor.equals_store(&site, |_| true);
    bridge.end();
}

#[test]
fn a_user_turns_fresh_with_an_event_of_now_and_stale_when_none_follows() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    let policy = site.key_file.with_extension("policy.yaml");
    std::fs::write(&policy, "version: quickly-stale\nfresh_for:\n  default: 4s\n")
        .expect("written");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "1");
    let bridge = site.start();
    bridge.wait_lanes(3);
    let mut socket = open(&bridge, &key.token("ada", "self"));
    socket.say(&subscribe(&json!(["ada"]), &Value::Null));
    let snapshot = socket.message();
    let unknown = (&snapshot["mode"], &snapshot["n"], &snapshot["status"]);
    assert_eq!(unknown, (&Value::Null, &json!(0), &json!("stale")), "nobody knows her yet");
    let now = crate::service::http::issuer::now();
    stream(site.kafka, &site.topics.events, &[Event::at("ada", 3, 1, now - 1)], 1);
    let mut statuses = Vec::new();
    while statuses.len() < 2 {
        let message = socket.message();
        if message["type"] == "status" {
            assert_eq!(message["user_id"], "ada");
            statuses.push(message["status"].clone());
        }
    }
    assert_eq!(statuses, ["fresh", "stale"]);
    bridge.end();
}

#[test]
fn nobody_turns_stale_by_a_checkpoint_that_is_older_than_their_snapshot() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    site.set("BRIDGE__CHECKPOINT__EVERY", "1h");
    let bridge = site.start();
    bridge.wait_lanes(3);
    let now = crate::service::http::issuer::now();
    stream(site.kafka, &site.topics.events, &[Event::at("ada", 3, 1, now - 1)], 1);
    site.wait_caught_up();
    let checkpoint = site.number("SELECT record_number FROM users WHERE user_id = 'ada'");
    assert_eq!(checkpoint, 0, "the event is in no checkpoint");
    let mut socket = open(&bridge, &key.token("ada", "self"));
    socket.say(&subscribe(&json!(["ada"]), &Value::Null));
    assert_eq!(socket.message()["status"], "fresh");
    // As long as three looks.
    assert_eq!(socket.next_within(Duration::from_secs(6)), Came::Nothing);
    // Of a quarantine somebody is told all the same.
    site.sql("UPDATE users SET quarantined_at = now() WHERE user_id = 'ada'");
    assert_eq!(socket.message()["status"], "quarantined");
    bridge.end();
}

#[test]
fn a_cursor_of_elsewhere_or_older_than_what_is_kept_is_told_as_such() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &crowd(3, 10), 100);
    site.wait_caught_up();
    let operator = key.token("ops", "operator");
    let follow = |cursor: &str| {
        let mut socket = open(&bridge, &operator);
        socket.say(&subscribe(&json!("*"), &json!(cursor)));
        socket
    };
    // "1 0:99999999"
    assert_eq!(follow("MSAwOjk5OTk5OTk5").code(), 4009, "of the future");
    assert_eq!(follow("no cursor").code(), 4009);
    // "1", the cursor of whoever knows nothing.
    let mut socket = follow("MQ");
    assert_eq!(socket.message()["type"], "status");
    let mut known = Known::default();
    for _ in 0..stored(&site) {
        known.take(socket.message());
    }
    known.equals_store(&site, |_| true);
    site.sql("DELETE FROM outbox WHERE number = 2");
    let ended = follow("MQ").closed();
    if ended == (1013, "come again with `after`".to_owned()) {
        // The hub had not handed that out yet, which it tells all who follow.
        assert_eq!(follow("MQ").code(), 4009, "some of it is no longer kept");
    } else {
        assert_eq!(ended.0, 4009, "some of it is no longer kept: {ended:?}");
    }
    bridge.end();
}

#[test]
fn a_message_that_does_not_open_is_passed_over_by_nobody() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &crowd(3, 10), 100);
    site.wait_caught_up();
    let messages = "sink < 2 AND user_number IS NOT NULL";
    let newest = format!(
        "(lane, number) = (SELECT lane, number FROM outbox WHERE {messages}
          ORDER BY recorded_at DESC, lane DESC, number DESC LIMIT 1)"
    );
    let spoil = || {
        site.sql(&format!(
            "UPDATE outbox SET body = set_byte(body, length(body) - 1,
             get_byte(body, length(body) - 1) # 1) WHERE {newest}"
        ));
    };
    let follow = || {
        let mut socket = open(&bridge, &key.token("ops", "operator"));
        // "1", the cursor of whoever knows nothing.
        socket.say(&subscribe(&json!("*"), &json!("MQ")));
        socket
    };
    spoil();
    let mut socket = follow();
    assert_eq!(socket.code(), 1011, "what was stored does not open");
    spoil();
    let mut known = Known::default();
    let mut socket = follow();
    while known.messages.len() < stored(&site) {
        known.take(socket.message());
    }
    known.equals_store(&site, |_| true);
    bridge.end();
}

#[test]
fn a_user_whom_nobody_can_restore_keeps_nothing_from_whoever_follows_others_too() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "1");
    let bridge = site.start();
    let events = ["ada", "bob"].map(|user| Event::of(user, 3, 0));
    stream(site.kafka, &site.topics.events, &events, 2);
    site.wait_caught_up();
    bridge.end();
    // Ada's checkpoint does not open, and of her records one is missing.
    site.sql("UPDATE users SET checkpoint = 'none'::bytea WHERE user_id = 'ada'");
    site.sql(
        "DELETE FROM event_records
         WHERE user_number = (SELECT user_number FROM users WHERE user_id = 'ada')",
    );
    let bridge = site.start();
    bridge.wait_lanes(3);
    let mut socket = open(&bridge, &key.token("ops", "operator"));
    socket.say(&subscribe(&json!(["ada", "bob"]), &Value::Null));
    let (ada, bob) = (socket.message(), socket.message());
    assert_eq!((&ada["user_id"], &bob["user_id"]), (&json!("ada"), &json!("bob")));
    assert_eq!(
        (&ada["mode"], &ada["seq"], &ada["status"]),
        (&Value::Null, &Value::Null, &json!("stale"))
    );
    assert!(bob["mode"].is_string(), "{bob}");
    site.sql("UPDATE users SET quarantined_at = now() WHERE user_id = 'ada'");
    let now = crate::service::http::issuer::now();
    stream(site.kafka, &site.topics.events, &[Event::at("bob", 3, 1, now - 1)], 1);
    let mut told = std::collections::BTreeMap::new();
    while told.len() < 2 {
        let message = socket.message();
        if message["type"] == "status" {
            told.insert(message["user_id"].to_string(), message["status"].clone());
        }
    }
    let wanted = [("\"ada\"", "quarantined"), ("\"bob\"", "fresh")];
    assert_eq!(told, wanted.map(|(user, status)| (user.to_owned(), json!(status))).into());
    let mut late = open(&bridge, &key.token("ops", "operator"));
    late.say(&subscribe(&json!(["ada"]), &Value::Null));
    assert_eq!(late.message()["status"], "quarantined");
    bridge.end();
}
