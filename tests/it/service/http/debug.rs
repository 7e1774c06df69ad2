//! An operator looks into a single user: why, why not, at any time, record by record, and live.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::issuer::{SigningKey, claims, now, set_of};
use super::office::ask;
use super::people::trust_at;
use super::said::{lines, said};
use crate::servers::Bridge;
use crate::service::feed::{Event, MORNING, stream};
use crate::service::site::{Site, Stamps};

const PATH: &str = "/debug/users/ada";

/// An installation of which this much was read of one user.
fn site(key: &SigningKey, events: usize) -> Option<(Site<'static>, Bridge)> {
    let mut site = Site::shared(Stamps::Producer)?;
    trust_at(&mut site, &set_of(&[key]));
    site.set("BRIDGE__HTTP__DEBUG", "true");
    let bridge = site.start();
    let events: Vec<Event> = (0..events).map(|number| Event::swinging("ada", number)).collect();
    // Several batches, so that there are several times at which something was stored.
    for some in events.chunks(20) {
        stream(site.kafka, &site.topics.events, some, 20);
        site.wait_caught_up();
    }
    Some((site, bridge))
}

/// The newest of each alert that was open when number `n` was the newest that was said.
fn open_by(said: &[Value], n: &Value) -> Vec<Value> {
    let mut newest = BTreeMap::new();
    for message in
        said.iter().filter(|said| said["type"] == "alert" && said["n"].as_i64() <= n.as_i64())
    {
        newest.insert(message["id"].as_str().expect("an id"), message);
    }
    let is_open = |message: &&&Value| {
        ["firing", "acknowledged"].contains(&message["status"].as_str().expect("a status"))
    };
    let mut open: Vec<Value> =
        newest.values().filter(is_open).map(|&message| message.clone()).collect();
    open.sort_by_key(|message| message["n"].as_i64());
    open
}

/// Outcomes as `replay --explain` prints them for the same records.
fn replayed(site: &Site<'_>) -> Vec<Value> {
    let log = site.run(&["export", "log", "--user", "ada"]);
    let output = site.output(&["replay", "--explain"], &log);
    lines(crate::support::stdout(&output))
}

#[test]
fn why_is_told_with_every_rule_and_equals_replay_at_any_time() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key, 60) else { return };
    let operator = key.token("ops", "operator");
    let outcomes = replayed(&site);
    let now = ask(&bridge, PATH, &operator);
    assert_eq!(now.status, 200, "{now:?}");
    let now = now.json();
    let state = lines(&site.run(&["export", "states"])).remove(0);
    assert_eq!(now["state"], state);
    let newest = &now["outcomes"][0]["outcomes"][0];
    assert_eq!(newest["explanation"], outcomes[59]["explanation"]);
    assert_eq!(newest["explanation"]["rules"].as_array().map(Vec::len), Some(12));
    assert_eq!(now["why"], outcomes[59]["text"]);
    assert_eq!(now["outcomes"].as_array().map(Vec::len), Some(10));
    assert_eq!(now["newest_record"]["number"], 60);
    let lane = &now["lane"];
    assert_eq!((&lane["condition"], &lane["mailbox"]), (&json!("running"), &json!(0)));
    let age = lane["actor_age_seconds"].as_f64().expect("it is in memory");
    assert!(age > 0.0 && lane["missing"].is_null(), "{lane}");
    let all = said(&site, "ada");
    assert_eq!(now["alerts"], json!(open_by(&all, &now["n"])));
    let baseline = &now["baselines"][0];
    let status = baseline["status"].as_str().expect("a text");
    assert!(status == "calibrated" || status.starts_with("calibrating "), "{baseline}");
    assert_eq!(now["readings"]["stale"].as_array().map(Vec::len), Some(3), "all are of 2025");

    let times = site.sql("SELECT number || '|' || to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM event_records WHERE number IN (20, 40, 60) ORDER BY number");
    let mut were_open = 0;
    for line in times.lines() {
        let (number, at) = line.split_once('|').expect("two columns");
        let number: usize = number.parse().expect("a number");
        let then = ask(&bridge, &format!("{PATH}?as_of={at}"), &operator).json();
        assert_eq!(then["record_number"], number, "{at}");
        assert_eq!(
            then["outcomes"][0]["outcomes"][0]["explanation"],
            outcomes[number - 1]["explanation"]
        );
        assert_eq!(then["why"], outcomes[number - 1]["text"]);
        assert_eq!(then["state"]["mode"], outcomes[number - 1]["mode"]);
        assert_eq!(then["alerts"], json!(open_by(&all, &then["n"])));
        were_open += then["alerts"].as_array().expect("a list").len();
    }
    assert!(were_open > 0, "there is an alert to tell of");
    let before = ask(&bridge, &format!("{PATH}?as_of=2020-01-01T00:00:00Z"), &operator).json();
    assert_eq!((&before["state"], &before["record_number"]), (&Value::Null, &json!(0)));
    assert!(ask(&bridge, &format!("{PATH}?as_of=soon"), &operator).detail().starts_with("`as_of`"));

    let page = ask(&bridge, &format!("{PATH}/events?after=20&limit=5"), &operator).json();
    let events = page["events"].as_array().expect("a list");
    assert_eq!((events.len(), &page["next"]), (5, &json!(25)));
    for (event, place) in events.iter().zip(20..) {
        assert_eq!(event["record"]["number"], place + 1);
        assert_eq!(event["outcomes"][0]["explanation"], outcomes[place]["explanation"]);
        assert_eq!(event["message"]["value"]["user_id"], "ada");
        assert!(event["record"]["offset"].is_number());
    }
    let rest = ask(&bridge, &format!("{PATH}/events?after=55"), &operator).json();
    assert_eq!(rest["events"].as_array().map(Vec::len), Some(5));
    assert_eq!(rest["next"], Value::Null);

    let explained = site.run(&["explain", "ada"]);
    let why = now["why"].as_str().expect("a text");
    assert!(explained.starts_with(why), "{explained}");
    assert!(explained.contains("hrv_drop_ms"), "{explained}");
    explains_the_same(&site, &now, &explained);
    let nobody = site.output(&["explain", "bob"], "");
    assert!(crate::support::stderr(&nobody).contains("nothing is stored of the user"));
    bridge.end();
    let reads = "SELECT count(*) FROM phi_access_log WHERE user_id = 'ada' AND table_name = 'biometric_events'";
    assert!(site.number(reads) >= 9, "each look is written down");
}

#[test]
fn the_last_evaluation_is_told_of_however_many_records_were_none_since() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key, 40) else { return };
    let operator = key.token("ops", "operator");
    let before = ask(&bridge, PATH, &operator).json();
    assert!(before["counterfactual"].is_object(), "{}", before["why_not"]);
    let nothing = |number: usize| {
        let mut event = Event::swinging("ada", number);
        // Of the day before, it says nothing of now.
        let time = MORNING + i64::try_from(number).expect("few") * 120;
        event.value = event.value.replace(&time.to_string(), &(time - 86_400).to_string());
        event
    };
    let events: Vec<Event> = (40..60).map(nothing).collect();
    stream(site.kafka, &site.topics.events, &events, 20);
    site.wait_caught_up();
    let after = ask(&bridge, PATH, &operator).json();
    assert_eq!(after["outcomes"][0]["outcomes"][0]["kind"], "not_evaluated");
    assert_eq!(after["record_number"], 60);
    for what in ["why", "why_not", "counterfactual"] {
        assert_eq!(after[what], before[what], "{what}");
    }
    bridge.end();
}

/// What is told at a terminal is what the endpoint tells, but for what only the owner of the lane knows.
fn explains_the_same(site: &Site<'_>, shown: &Value, explained: &str) {
    let json = |arguments: &[&str]| -> Value {
        let all = [&["explain", "ada", "--json"], arguments].concat();
        serde_json::from_str(&site.run(&all)).expect("JSON")
    };
    let mut told = json(&[]);
    let missing = told["lane"]["missing"].take();
    assert!(missing.as_str().is_some_and(|why| why.contains("owns the lane")), "{missing}");
    let mut shown = shown.clone();
    for only_owner in ["condition", "actor_age_seconds", "mailbox"] {
        assert!(!shown["lane"][only_owner].take().is_null(), "{only_owner}");
    }
    // How old readings are goes on.
    for all in [&mut told, &mut shown] {
        for readings in ["stale", "fresh"] {
            let readings = all["readings"][readings].as_array_mut().expect("a list");
            readings.iter_mut().for_each(|reading| drop(reading["age_seconds"].take()));
        }
    }
    assert_eq!(told, shown);
    let told = [("readings", "reading "), ("lane", "lane "), ("outcomes", "record 60 of ")];
    for (what, line) in told.into_iter().chain([("alerts", "alert ")]) {
        let is_there = explained.lines().any(|text| text.starts_with(line));
        assert!(is_there || (what == "alerts" && shown[what] == json!([])), "{what}: {explained}");
    }
    assert_eq!(json(&["--at", "2020-01-01T00:00:00Z"])["state"], Value::Null);
}

#[test]
fn a_page_of_records_ends_when_it_is_long_and_says_where_to_go_on() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key, 1) else { return };
    let large = |number: i64| {
        let seconds = MORNING + number * 120;
        let reading = |place: i64| {
            format!("{{\"metric\":\"metric-{place}\",\"value\":{place},\"timestamp\":{seconds}}}")
        };
        let readings: Vec<String> = (0..3_000).map(reading).collect();
        let value = format!(
            "{{\"user_id\":\"ada\",\"device_type\":\"d\",\"timestamp\":{seconds},\"readings\":[{}]}}",
            readings.join(",")
        );
        Event { user: "ada".to_owned(), value, record_time: (seconds + 1) * 1_000 }
    };
    let events: Vec<Event> = (1..40).map(large).collect();
    stream(site.kafka, &site.topics.events, &events, 10);
    site.wait_caught_up();
    let operator = key.token("ops", "operator");
    let (mut after, mut numbers, mut pages) = (json!(0), Vec::new(), 0);
    while !after.is_null() {
        let answer = ask(&bridge, &format!("{PATH}/events?limit=100&after={after}"), &operator);
        // What ends it is the record with which it is long enough.
        assert!(answer.body.len() < 5 << 20, "{} bytes", answer.body.len());
        let page = answer.json();
        let events = page["events"].as_array().expect("a list");
        numbers.extend(events.iter().map(|event| event["record"]["number"].as_i64()));
        after = page["next"].clone();
        pages += 1;
    }
    assert_eq!(numbers, (1..=40).map(Some).collect::<Vec<_>>(), "each once");
    assert!(pages > 1, "all of it is too much for one");
    bridge.end();
}

#[test]
fn only_operators_look_into_users_and_only_where_the_settings_let_them() {
    let key = SigningKey::elliptic("e");
    let Some((mut site, bridge)) = site(&key, 1) else { return };
    for what in ["", "/events", "/live"] {
        for (subject, scope) in [("ada", "self"), ("nurse", "care:ada"), ("audit", "auditor")] {
            let answer = ask(&bridge, &format!("{PATH}{what}"), &key.token(subject, scope));
            assert_eq!(answer.status, 404, "{what} to {scope}");
        }
    }
    let denied =
        "SELECT count(*) FROM phi_access_log WHERE access_type = 'DENIED' AND user_id = 'ada'";
    assert_eq!(site.number(denied), 9);
    bridge.end();
    site.set("BRIDGE__HTTP__DEBUG", "false");
    let bridge = site.start();
    bridge.wait_until("at its store", |_, body| body["parts"]["keys"]["ok"] == true);
    for what in ["", "/events", "/live"] {
        let answer = ask(&bridge, &format!("{PATH}{what}"), &key.token("ops", "operator"));
        assert_eq!(answer.status, 404, "{what}");
    }
    bridge.end();
}

#[test]
fn what_is_said_of_a_user_is_told_while_it_is_and_goes_on_where_it_was() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key, 20) else { return };
    let operator = key.token("ops", "operator");
    let follow = |after: i64| {
        let mut stream = TcpStream::connect(bridge.address()).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let head = format!(
            "GET {PATH}/live HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {operator}\r\n\
             Last-Event-ID: {after}\r\n\r\n",
            bridge.address()
        );
        stream.write_all(head.as_bytes()).expect("taken");
        BufReader::new(stream)
    };
    let told = |reader: &mut BufReader<TcpStream>, count: usize| {
        let mut told = Vec::new();
        while told.len() < count {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).expect("in time") > 0, "it goes on");
            if let Some(data) = line.strip_prefix("data: ") {
                told.push(serde_json::from_str::<Value>(data).expect("JSON"));
            }
        }
        told
    };
    let before = said(&site, "ada");
    let mut reader = follow(1);
    assert_eq!(told(&mut reader, before.len() - 1), before[1..]);
    let more: Vec<Event> = (20..100).map(|number| Event::swinging("ada", number)).collect();
    stream(site.kafka, &site.topics.events, &more, 80);
    site.wait_caught_up();
    let after = said(&site, "ada");
    assert!(after.len() > before.len() + 1);
    assert_eq!(told(&mut reader, after.len() - before.len()), after[before.len()..]);
    drop(reader);
    site.wait_sql(&format!(
        "SELECT string_agg(access_type || ' ' || records, ', ' ORDER BY id) =
                'SUBSCRIBE 0, SUBSCRIPTION ENDED {}'
         FROM phi_access_log WHERE user_id = 'ada' AND record_id = 'live'
         AND table_name = 'mode_transitions, biometric_alerts'",
        after.len() - 1
    ));
    bridge.end();
}

#[test]
fn whoever_follows_a_user_is_sent_nothing_once_their_token_has_ended() {
    let key = SigningKey::elliptic("e");
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    trust_at(&mut site, &set_of(&[&key]));
    site.set("BRIDGE__HTTP__DEBUG", "true");
    site.set("BRIDGE__AUTH__LEEWAY", "0s");
    let made = site.run(&["tokens", "new", "ops", "operator"]);
    let made: Vec<&str> = made.lines().map(str::trim).collect();
    let tokens = site.key_file.with_extension("tokens");
    std::fs::write(&tokens, made[3]).expect("written");
    site.set("BRIDGE__AUTH__TOKENS_FILE", tokens.to_str().expect("a path"));
    let bridge = site.start();
    stream(site.kafka, &site.topics.events, &[Event::swinging("ada", 0)], 1);
    site.wait_caught_up();
    let follow = |token: &str| {
        let mut stream = TcpStream::connect(bridge.address()).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let head =
            format!("GET {PATH}/live HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("taken");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        reader
    };
    let mut claims = claims("ops", "operator");
    claims["exp"] = json!(now() + 3);
    let (signed, own) = (follow(&key.sign(&claims)), follow(made[1]));
    std::fs::write(&tokens, "").expect("written");
    for reader in [signed, own] {
        // Chunks end with an empty one.
        let mut rest = reader.lines().map(|line| line.expect("in time, long before five minutes"));
        assert!(rest.any(|line| line == "0"));
    }
    bridge.end();
}

#[test]
fn whoever_tails_sees_what_is_said_of_one_user_or_of_everybody() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key, 20) else { return };
    let mut one = site.spawn(&["tail", "ada", "--json"]);
    let mut all = site.spawn(&["tail"]);
    site.wait_sql("SELECT count(*) = 2 FROM phi_access_log WHERE table_name = 'outbox'");
    let before = said(&site, "ada").len();
    let more: Vec<Event> = (20..100)
        .flat_map(|number| [Event::swinging("ada", number), Event::swinging("bob", number)])
        .collect();
    stream(site.kafka, &site.topics.events, &more, 160);
    site.wait_caught_up();
    let (ada, bob) = (said(&site, "ada").split_off(before), said(&site, "bob"));
    assert!(ada.len() > 1 && bob.len() > 1);
    let mut shown = BufReader::new(one.stdout.take().expect("a pipe")).lines();
    for message in &ada {
        let line = shown.next().expect("it goes on").expect("text");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["n"], &line["user_id"]), (&message["n"], &json!("ada")));
    }
    let shown = BufReader::new(all.stdout.take().expect("a pipe")).lines();
    let shown: Vec<String> =
        shown.take(ada.len() + bob.len()).map(|line| line.expect("text")).collect();
    let of = |user: &str| shown.iter().filter(|line| line.contains(&format!("  {user}  "))).count();
    assert_eq!((of("ada"), of("bob")), (ada.len(), bob.len()), "{shown:?}");
    for mut child in [one, all] {
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
    }
    bridge.end();
}

#[test]
fn of_many_records_any_time_is_told_and_without_a_state_near_it_that_is_said() {
    let key = SigningKey::elliptic("e");
    let Some((site, bridge)) = site(&key, 20) else { return };
    let operator = key.token("ops", "operator");
    let more: Vec<Event> = (20..10_100).map(|number| Event::swinging("ada", number)).collect();
    stream(site.kafka, &site.topics.events, &more, 2_000);
    site.wait_caught_up();
    let stored = |number: usize| {
        site.sql(&format!(
            "SELECT to_char(max(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
             FROM event_records WHERE number <= {number}"
        ))
    };
    let bases = "SELECT count(*), min(record_number), max(record_number) FROM base_checkpoints";
    assert_eq!(site.sql(bases), "10|1000|10000");
    let outcomes = replayed(&site);
    for number in [20, 4_900, 5_000, 5_100, 9_999, 10_100] {
        let path = format!("{PATH}?as_of={}", stored(number));
        let then = ask(&bridge, &path, &operator).json();
        let newest = then["record_number"].as_u64().expect("a number") as usize;
        assert!(newest >= number, "{newest} of {number}");
        assert_eq!(then["outcomes"].as_array().map(Vec::len), Some(10), "{number}");
        assert_eq!(then["why"], outcomes[newest - 1]["text"], "{number}");
    }
    let near = ask(&bridge, &format!("{PATH}/events?after=10050"), &operator).json();
    assert_eq!(near["events"][0]["record"]["number"], 10_051);

    site.sql("DELETE FROM base_checkpoints");
    let now = ask(&bridge, PATH, &operator).json();
    assert_eq!((&now["record_number"], &now["outcomes"]), (&json!(10_100), &Value::Null));
    assert!(now["outcomes_missing"].as_str().expect("a reason").contains("10000 records"));
    assert!(now["why"].as_str().expect("a text").starts_with("In "), "{}", now["why"]);
    assert_eq!(now["rules"].as_array().map(Vec::len), Some(12), "how things stand is known");
    let near = ask(&bridge, &format!("{PATH}?as_of={}", stored(20)), &operator).json();
    assert!(near["outcomes"].is_array(), "the beginning is near");
    let far = ask(&bridge, &format!("{PATH}/events?after=10050"), &operator);
    assert_eq!(far.status, 422);
    assert!(far.detail().starts_with("`after`: more than 10000 records"), "{}", far.detail());
    let from = "from=2025-03-03T08:00:00Z&to=2025-03-20T08:00:00Z";
    let timeline = ask(&bridge, &format!("/api/v1/users/ada/timeline?{from}"), &operator).json();
    assert_eq!(timeline["readings"][0]["count"], 10_100);
    assert!(timeline["readings"][0]["points"].as_array().expect("points").len() <= 400);
    bridge.end();
}
