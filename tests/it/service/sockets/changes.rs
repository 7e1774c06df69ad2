//! What becomes of users while somebody follows them: they are put into quarantine and released, erased and let in
//! again. Of whoever is erased nothing is sent from then on.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Came, Known, Socket, open, stored};
use super::following::site;
use crate::service::erase::sign;
use crate::service::feed::{Event, stream};
use crate::service::http::issuer::SigningKey;
use crate::service::site::Site;

fn events_of(user: &str, numbers: std::ops::Range<usize>) -> Vec<Event> {
    numbers.map(|number| Event::of(user, 3, number)).collect()
}

/// The next status of a user.
fn status(socket: &mut Socket, user: &str) -> Value {
    loop {
        let message = socket.message();
        if message["type"] == "status" && message["user_id"] == user {
            return message["status"].clone();
        }
    }
}

#[test]
fn whoever_follows_a_user_is_told_of_their_quarantine_and_of_its_end() {
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    for user in ["ada", "bob"] {
        stream(site.kafka, &site.topics.events, &events_of(user, 0..10), 10);
    }
    site.wait_caught_up();
    let mut own = open(&bridge, &key.token("ada", "self"));
    own.say(&json!({ "type": "subscribe", "users": ["ada"] }));
    assert_eq!(own.message()["status"], "stale");
    let mut all = open(&bridge, &key.token("ops", "operator"));
    all.say(&json!({ "type": "subscribe", "users": "*" }));
    assert!(all.message()["cursor"].is_string());
    let quarantine = |user: &str, since: &str| {
        site.sql(&format!("UPDATE users SET quarantined_at = {since} WHERE user_id = '{user}'"));
    };
    // Whoever follows everybody is told of what is new since the first look after they came: once that was.
    let was_looked = ["now()", "NULL"].iter().cycle().take(40).any(|since| {
        quarantine("bob", since);
        loop {
            // What was said before they came may come yet.
            match all.next_within(Duration::from_millis(2_500)) {
                Came::Message(message) if message["type"] == "status" => break true,
                Came::Message(_) => {}
                _ => break false,
            }
        }
    });
    assert!(was_looked);
    quarantine("ada", "now()");
    assert_eq!(status(&mut own, "ada"), "quarantined");
    assert_eq!(status(&mut all, "ada"), "quarantined");
    let mut late = open(&bridge, &key.token("ada", "self"));
    late.say(&json!({ "type": "subscribe", "users": ["ada"] }));
    assert_eq!(late.message()["status"], "quarantined");
    quarantine("ada", "NULL");
    for socket in [&mut own, &mut all, &mut late] {
        assert_eq!(status(socket, "ada"), "stale");
    }
    bridge.end();
}

fn follow(site: &Site<'_>, socket: &mut Socket, known: &mut Known, subscribe: &Value) {
    socket.say(subscribe);
    let all = stored(site);
    while known.messages.len() < all {
        known.take(socket.message());
    }
}

#[test]
fn of_whoever_is_erased_nothing_more_is_sent_and_let_in_again_they_are_numbered_on() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    sign(&mut site);
    let bridge = site.start();
    let send = |numbers: std::ops::Range<usize>| {
        stream(site.kafka, &site.topics.events, &events_of("ada", numbers), 100);
        site.wait_caught_up();
    };
    send(0..60);
    let token = key.token("ada", "self");
    let (mut own, mut all) = (open(&bridge, &token), open(&bridge, &key.token("ops", "operator")));
    let (mut named, mut every) = (Known::default(), Known::default());
    let from_the_start = json!({ "type": "subscribe", "users": ["ada"], "after": { "ada": 0 } });
    follow(&site, &mut own, &mut named, &from_the_start);
    // "1", the cursor of whoever knows nothing.
    let everybody = json!({ "type": "subscribe", "users": "*", "after": "MQ" });
    follow(&site, &mut all, &mut every, &everybody);
    let before = named.newest["ada"];
    assert!(before > 1, "{before}");

    site.run(&["erase", "ada"]);
    send(60..80);
    let mut late = open(&bridge, &token);
    late.say(&from_the_start);
    let snapshot = late.message();
    let nobody = (&snapshot["mode"], &snapshot["n"], &snapshot["clock"], &snapshot["status"]);
    assert_eq!(nobody, (&Value::Null, &json!(0), &Value::Null, &json!("stale")));
    for socket in [&mut own, &mut all, &mut late] {
        assert_eq!(socket.next_within(Duration::from_millis(300)), Came::Nothing);
    }

    site.run(&["erase", "--readmit", "ada"]);
    send(80..140);
    let count = stored(&site);
    assert!(count > 1, "{count}");
    for (socket, known) in [(&mut own, &mut named), (&mut all, &mut every)] {
        let had = known.messages.len();
        while known.messages.len() < had + count {
            known.take(socket.message());
        }
        assert_eq!(known.newest["ada"], before + count as i64, "numbered on, without a gap");
    }
    // Whoever has followed an unknown user meets the new one, and nothing of the old.
    let mut known = Known::default();
    known.newest.insert("ada".to_owned(), before);
    while known.messages.len() < count {
        known.take(late.message());
    }
    known.equals_store(&site, |_| true);
    let mut again = Known::default();
    again.newest.insert("ada".to_owned(), before);
    let mut latest = open(&bridge, &token);
    follow(&site, &mut latest, &mut again, &from_the_start);
    again.equals_store(&site, |_| true);
    bridge.end();
}
