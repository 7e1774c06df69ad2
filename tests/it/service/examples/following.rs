//! Whatever happens between a client and the store, what the client has printed is what the store holds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::follower::{Given, Kind, count, known, messages, snapshots, token_file};
use super::line::Line;
use crate::servers::{Bridge, Program, Server as _, Servers};
use crate::service::erase::sign;
use crate::service::feed::{Event, crowd, stream};
use crate::service::http::issuer::{SigningKey, now};
use crate::service::site::Site;
use crate::service::sockets::client::{all_stored, stored};
use crate::service::sockets::following::site;

const USERS: [&str; 5] = ["user-0", "user-1", "user-2", "user-3", "user-4"];

/// How far connections come that are cut: into a handshake, into snapshots, into messages if there are so many.
const LIMITS: [usize; 8] = [150, 1_900, 300, 2_700, 600, 3_500, 900, 1_100];

/// From now on modes change with nearly every event.
pub(super) fn make_moody(site: &mut Site<'_>) {
    let policy = site.key_file.with_extension("policy.yaml");
    let text = "version: moody\nselection: {cooldown: 0s}\nreturn: {after_calm: 0s}\n";
    std::fs::write(&policy, text).expect("written");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
}

fn wait_all(site: &Site<'_>, client: &Program) {
    site.wait_caught_up();
    let all = stored(site);
    client.wait_lines(&format!("all {all}"), |lines| count(lines) == all);
}

/// The same JSON with all numbers as doubles.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, plain(value))).collect()
        }
        other => other,
    }
}

fn reconstructs(kind: Kind) {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let Some(mut site) = site(&key) else { return };
    make_moody(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(3);
    let line = Line::to(bridge.address());
    let token_file = token_file(&key.token("ops", "operator"));
    let given = Given { bridge: &line.url(), token_file: &token_file, users: &USERS };
    let client = kind.start(&given);
    let events = crowd(USERS.len(), 80);
    let mut quarters = events.chunks(events.len() / 4);
    let mut send = || stream(site.kafka, &site.topics.events, quarters.next().expect("one"), 20);

    send();
    wait_all(&site, &client);
    // A bridge that is restarted tells it to come again, and more happens meanwhile.
    bridge.end();
    send();
    bridge.start_again();
    wait_all(&site, &client);
    // It dies itself in the middle of its work, and is started again.
    let before = stored(&site);
    send();
    client.wait_lines("some of it", |lines| count(lines) > before);
    client.kill();
    let had = snapshots(&client.lines());
    client.start_again();
    // It may have printed all before it died.
    client.wait_lines("everybody again", |lines| snapshots(lines) >= had + USERS.len());
    wait_all(&site, &client);
    // The bridge dies, and the line is cut again and again; nobody comes through while there is no bridge.
    bridge.kill();
    line.cut_after(LIMITS);
    send();
    bridge.start_again();
    wait_all(&site, &client);

    // Those that end before the last snapshot are, whatever there is to be said.
    assert!(line.cuts() >= 5, "{} connections were cut", line.cuts());
    let complaints = client.complaints();
    assert!(complaints.contains("the bridge is being restarted"), "{complaints}");
    client.stop();
    let known = known(&client.lines());
    let same = |messages: BTreeMap<(String, i64), Value>| {
        // What JavaScript prints has no 60.0.
        messages.into_iter().map(|(of, message)| (of, plain(message))).collect::<BTreeMap<_, _>>()
    };
    let stored = same(all_stored(&site, |_| true));
    assert_eq!(known.messages.len(), stored.len(), "messages known and stored");
    assert!(same(known.messages) == stored, "each as it is stored");
    assert!(known.repeated <= 1, "what it was printing when it died: {}", known.repeated);
    bridge.end();
}

#[test]
fn the_client_in_python_reconstructs_what_the_store_holds() {
    reconstructs(Kind::Python);
}

#[test]
fn the_client_in_typescript_reconstructs_what_the_store_holds() {
    reconstructs(Kind::Node);
}

#[test]
fn the_client_that_enters_like_a_browser_reconstructs_what_the_store_holds() {
    reconstructs(Kind::Browser);
}

/// The events of somebody up to a moment ago.
pub(super) fn of_today(user: &str) -> Vec<Event> {
    const COUNT: usize = 80;
    let first = now() - 120 * i64::try_from(COUNT).expect("few");
    let time = |number: usize| first + 120 * i64::try_from(number).expect("few");
    (0..COUNT).map(|number| Event::at(user, 3, number, time(number))).collect()
}

/// An installation that can erase people, an instance of it, and somebody of whom nothing has come.
pub(super) fn somebody_to_erase(key: &SigningKey) -> Option<(Site<'static>, Bridge, String)> {
    if !Servers::available_for_examples() {
        return None;
    }
    let mut site = site(key)?;
    sign(&mut site);
    // Whether somebody is fresh is read from checkpoints.
    site.set("BRIDGE__CHECKPOINT__EVERY_RECORDS", "1");
    let bridge = site.start();
    bridge.wait_lanes(3);
    // Of a name that no other test has in the cache.
    let user = format!("eve-{}", site.group);
    Some((site, bridge, user))
}

/// Somebody is erased while a client follows them, and let in again.
fn forgets(kind: Kind) {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge, user)) = somebody_to_erase(&key) else { return };
    let send = || {
        stream(site.kafka, &site.topics.events, &of_today(&user), 40);
        site.wait_caught_up();
    };
    let token_file = token_file(&key.token(&user, "self"));
    let url = format!("http://{}", bridge.address());
    let client = kind.start(&Given { bridge: &url, token_file: &token_file, users: &[&user] });
    client.wait_lines("that nobody knows her", |lines| snapshots(lines) == 1);
    send();
    let before = stored(&site);
    let is_fresh = |lines: &[String]| {
        messages(lines).any(|it| it["type"] == "status" && it["status"] == "fresh")
    };
    client.wait_lines("all of her", |lines| count(lines) == before && is_fresh(lines));
    site.run(&["erase", &user]);
    let forgotten = json!({ "type": "forgotten", "user_id": user });
    let has_forgotten = |lines: &[String]| messages(lines).any(|message| message == forgotten);
    client.wait_lines("that she is gone", has_forgotten);
    site.run(&["erase", "--readmit", &user]);
    send();
    let after = stored(&site);
    assert!(after > 2, "{after}");
    let lines = client.wait_lines("what is new", |lines| count(lines) == before + after);
    client.stop();
    let numbers = messages(&lines).filter(|message| message["message_id"].is_string());
    let numbers: Vec<usize> = numbers.map(|it| it["n"].as_u64().expect("one") as usize).collect();
    let all: Vec<usize> = (1..=before + after).collect();
    assert_eq!(numbers, all, "her numbers go on, and each comes once");
    assert_eq!(messages(&lines).filter(|message| *message == forgotten).count(), 1);
    bridge.end();
}

#[test]
fn the_client_in_python_forgets_whom_the_bridge_forgets() {
    forgets(Kind::Python);
}

#[test]
fn the_client_in_typescript_forgets_whom_the_bridge_forgets() {
    forgets(Kind::Node);
}

#[test]
fn who_follows_from_now_on_misses_nothing_between_two_connections() {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    bridge.wait_lanes(3);
    let send = |from: usize, to: usize| {
        let events: Vec<Event> = (from..to).map(|number| Event::of("ada", 3, number)).collect();
        stream(site.kafka, &site.topics.events, &events, 40);
        site.wait_caught_up();
    };
    send(0, 40);
    let before = stored(&site);
    let token_file = token_file(&key.token("ada", "self"));
    let url = format!("http://{}", bridge.address());
    let given = Given { bridge: &url, token_file: &token_file, users: &["ada"] };
    let clients = [Kind::Python, Kind::Node].map(|kind| kind.start_with(&given, &["--json"]));
    // Each knows where she stands, and has had no message yet, when it goes.
    for (client, positions) in &clients {
        client.wait_lines("a snapshot", |_| positions.exists());
        client.stop();
    }
    send(40, 120);
    let after = stored(&site) - before;
    assert!(after > 2, "{after}");
    for (client, _) in &clients {
        client.start_again();
        let lines = client.wait_lines("what was missed", |lines| count(lines) == after);
        let numbers = messages(&lines).filter(|message| message["message_id"].is_string());
        let first = numbers.map(|message| message["n"].as_u64().expect("one")).next();
        assert_eq!(first, Some(before as u64 + 1));
        client.stop();
    }
    bridge.end();
}

#[test]
fn what_is_for_people_says_who_what_and_why() {
    if !Servers::available_for_examples() {
        return;
    }
    let key = SigningKey::elliptic("e");
    let Some(site) = site(&key) else { return };
    let bridge = site.start();
    let events: Vec<Event> = (0..80).map(|number| Event::of("ada", 3, number)).collect();
    stream(site.kafka, &site.topics.events, &events, 100);
    site.wait_caught_up();
    let token_file = token_file(&key.token("ada", "self"));
    let url = format!("http://{}", bridge.address());
    let given = Given { bridge: &url, token_file: &token_file, users: &["ada"] };
    let all = stored(&site);
    let said = [Kind::Python, Kind::Node].map(|kind| {
        let (client, _) = kind.start_with(&given, &["--all"]);
        // What the bridge may say of itself meanwhile is not looked at.
        let told = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !line.contains("what is known is")).cloned().collect()
        };
        let lines = client.wait_lines("all", |lines| told(lines).len() == all + 1);
        client.stop();
        told(&lines)
    });
    assert_eq!(said[0], said[1], "both say the same");
    assert!(said[0][0].starts_with("ada is in mode "), "{}", said[0][0]);
    let changes = site.run(&["export", "transitions", "--user", "ada"]);
    let changes: Vec<String> = changes.lines().map(str::to_owned).collect();
    for change in messages(&changes) {
        let [time, before, mode, why] = ["time", "previous_mode", "mode", "reason_text"]
            .map(|name| change[name].as_str().expect("a text"));
        let told = format!("{time}  ada  {before} → {mode}: {why}");
        assert!(said[0].contains(&told), "{told}");
    }
    assert!(said[0].iter().any(|line| line.contains("  ada  alert firing (")), "{:?}", said[0]);
    bridge.end();
}
