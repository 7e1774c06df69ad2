//! On a SQLite file the API, what operators are shown of a single user, and sockets are the same as on a server.

use std::io::{BufRead as _, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::issuer::{SigningKey, set_of};
use super::office::{ask, ask_saying};
use super::people::trust_at;
use super::said::{lines, said, strain};
use crate::servers::{Bridge, folder};
use crate::service::feed::{Event, stream};
use crate::service::site::{Site, Stamps};
use crate::service::sockets::client::{Known, open};

/// Events of the user at first.
const EVENTS: usize = 60;

fn send(site: &Site<'_>, numbers: std::ops::Range<usize>) {
    let events: Vec<Event> = numbers.map(|number| Event::swinging("ada", number)).collect();
    stream(site.kafka, &site.topics.events, &events, 20);
}

/// An installation on a SQLite file that has read the first events.
fn site(key: &SigningKey) -> Option<(Site<'static>, Bridge)> {
    let mut site = Site::shared(Stamps::Producer)?;
    trust_at(&mut site, &set_of(&[key]));
    let file = folder().join(format!("{}.db", site.group));
    site.set("POSTGRES_URL", &format!("sqlite:{}?mode=rwc", file.display()));
    site.set("BRIDGE__HTTP__DEBUG", "true");
    site.run(&["migrate", "up"]);
    let bridge = site.start();
    bridge.wait_lanes(3);
    send(&site, 0..EVENTS);
    let token = key.token("ada", "self");
    let is_there = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let state = ask(&bridge, "/api/v1/users/ada/state", &token);
        state.status == 200 && state.json()["record_number"] == EVENTS
    });
    assert!(is_there, "{}", bridge.log());
    Some((site, bridge))
}

#[test]
fn on_a_sqlite_file_the_api_shows_what_is_stored_and_does_what_is_asked() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key) else { return };
    let token = key.token("ada", "self");
    let path = |what: &str| format!("/api/v1/users/ada/{what}");
    let shown = |what: &str| ask(&bridge, &path(what), &token).json();
    let (changes, alerts) = (shown("transitions")["transitions"].clone(), shown("alerts"));
    assert_eq!(changes, json!(lines(&site.run(&["export", "transitions"]))));
    assert_eq!(alerts["alerts"], json!(lines(&site.run(&["export", "alerts"]))));

    let timeline = shown("timeline?from=2025-03-03T08:00:00Z&to=2025-03-04T08:00:00Z");
    for line in timeline["readings"].as_array().expect("lines") {
        assert_eq!(line["count"], EVENTS, "{}", line["name"]);
    }
    let modes = timeline["modes"].as_array().expect("modes");
    // The first event of all changes the mode already.
    let entered: Vec<&Value> = modes.iter().map(|lasting| &lasting["mode"]).collect();
    let changes = changes.as_array().expect("changes");
    assert!(changes.len() > 1);
    assert_eq!(entered, changes.iter().map(|change| &change["mode"]).collect::<Vec<_>>());

    strain(&site, "bob");
    let own = key.token("bob", "self");
    let open_of_bob = || {
        let alerts = ask(&bridge, "/api/v1/users/bob/alerts?open=true", &own);
        if alerts.status == 200 { alerts.json()["alerts"][0].clone() } else { Value::Null }
    };
    let is_told = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        open_of_bob().is_object()
    });
    assert!(is_told, "{}", bridge.log());
    let alert = open_of_bob()["id"].as_str().expect("an id").to_owned();
    let head = [format!("Authorization: Bearer {own}")];
    let ack = format!("/api/v1/users/bob/alerts/{alert}/ack");
    let done = ask_saying(&bridge, "POST", &ack, &head, "");
    assert_eq!((done.status, &done.json()["outcome"]), (202, &json!("done")));
    assert_eq!(ask_saying(&bridge, "POST", &ack, &head, "").status, 409);
    assert_eq!(open_of_bob()["status"], "acknowledged");

    let mut known = Known::default();
    let mut socket = open(&bridge, &token);
    socket.say(&json!({ "type": "subscribe", "users": ["ada"], "after": { "ada": 0 } }));
    let all = said(&site, "ada").len();
    while known.messages.len() < all {
        known.take(socket.message());
    }
    known.equals_store(&site, |user_id| user_id == "ada");
    bridge.end();
}

#[test]
fn on_a_sqlite_file_an_operator_is_told_why_at_any_time_and_follows() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key) else { return };
    let operator = key.token("ops", "operator");
    let log = site.run(&["export", "log", "--user", "ada"]);
    let output = site.output(&["replay", "--explain"], &log);
    let outcomes = lines(crate::support::stdout(&output));
    let now = ask(&bridge, "/debug/users/ada", &operator).json();
    assert_eq!(now["newest_record"]["number"], EVENTS);
    assert_eq!(now["why"], outcomes[EVENTS - 1]["text"]);
    let newest = &now["outcomes"][0]["outcomes"][0];
    assert_eq!(newest["explanation"], outcomes[EVENTS - 1]["explanation"]);
    assert_eq!(now["lane"]["condition"], "running");
    let events = ask(&bridge, "/debug/users/ada/events?after=20&limit=5", &operator).json();
    for (event, place) in events["events"].as_array().expect("a list").iter().zip(20..) {
        assert_eq!(event["record"]["number"], place + 1);
        assert_eq!(event["outcomes"][0]["explanation"], outcomes[place]["explanation"]);
    }
    let stored = events["events"][0]["record"]["recorded_at"].as_str().expect("a time").to_owned();
    let then = ask(&bridge, &format!("/debug/users/ada?as_of={stored}"), &operator).json();
    let number = then["record_number"].as_u64().expect("a number");
    assert!((21..=EVENTS as u64).contains(&number), "{number}");
    let place = usize::try_from(number).expect("few") - 1;
    assert_eq!(then["why"], outcomes[place]["text"]);
    let explained = site.run(&["explain", "ada"]);
    assert!(explained.starts_with(now["why"].as_str().expect("a text")), "{explained}");

    let mut tail = site.spawn(&["tail", "ada", "--json"]);
    let shown = BufReader::new(tail.stdout.take().expect("a pipe"));
    let is_told = AtomicBool::new(false);
    let first = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let line = shown.lines().next().expect("a line").expect("text");
            is_told.store(true, Ordering::SeqCst);
            line
        });
        // What comes before it looks is not told.
        let mut number = EVENTS;
        while !is_told.load(Ordering::SeqCst) && number < 3_000 {
            send(&site, number..number + 20);
            number += 20;
            std::thread::sleep(Duration::from_millis(200));
        }
        reading.join().expect("a line")
    });
    tail.kill().expect("it runs");
    tail.wait().expect("it has ended");
    let first: Value = serde_json::from_str(&first).expect("JSON");
    let all = said(&site, "ada");
    let mut stored =
        all.iter().find(|message| message["n"] == first["n"]).expect("it is stored").clone();
    stored.as_object_mut().expect("an object").remove("explanation");
    assert_eq!(first, stored);
    bridge.end();
}
